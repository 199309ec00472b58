//! JSON from outside, from callers and in tokens.

use serde::de::DeserializeOwned;

/// Keys that begin like this belong to serde_json. It represents a number of arbitrary precision as
/// an object with such a key, and would read an object with that key as a number.
const RESERVED: &str = "$serde_json";

/// Parses JSON. Returns `None` if it is not valid, is something else, or has a reserved key.
pub fn parse<T: DeserializeOwned>(text: &str) -> Option<T> {
    if has_reserved_key(text) { None } else { serde_json::from_str(text).ok() }
}

/// Returns whether a key of any object, however it is escaped, is reserved. For text that is not
/// valid JSON, it may return either.
fn has_reserved_key(text: &str) -> bool {
    let mut rest = text;
    // Outside of strings, JSON has no quotes.
    while let Some(string) = rest.find('"').and_then(|start| rest.get(start..)) {
        let mut strings = serde_json::Deserializer::from_str(string).into_iter::<String>();
        let Some(Ok(key)) = strings.next() else {
            return true;
        };
        rest = string.get(strings.byte_offset()..).unwrap_or_default();
        if key.starts_with(RESERVED) && rest.trim_start().starts_with(':') {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    const NUMBER: &str = "$serde_json::private::Number";

    #[test]
    fn an_object_with_a_reserved_key_is_refused_wherever_it_is() {
        for text in [
            format!(r#"{{"{NUMBER}": "1e131071"}}"#),
            format!(r#"{{"{NUMBER}"  :"1"}}"#),
            format!(r#"{{"sub": {{"{NUMBER}": "1"}}}}"#),
            format!(r#"{{"a": [1, "x", [{{"b": "\"", "{NUMBER}": "1"}}]]}}"#),
            r#"{"sub": {"\u0024serde_json::private::Number": "1"}}"#.to_owned(),
            r#"{"sub": {"$serde\u005fjson::private::\u004eumber": "1"}}"#.to_owned(),
            r#"{"$serde_json::private::RawValue": "1"}"#.to_owned(),
        ] {
            assert_eq!(parse::<Value>(&text), None, "{text}");
        }
    }

    #[test]
    fn a_text_is_no_key() {
        for text in [
            format!(r#"{{"a": "{NUMBER}", "b": ["{NUMBER}"]}}"#),
            format!(r#"{{"a": "\"{NUMBER}\": 1", "b": "\\"}}"#),
            r#"{"serde_json": {"$": 1.10, "": "é\n"}}"#.to_owned(),
            r#""$serde_json""#.to_owned(),
        ] {
            assert!(parse::<Value>(&text).is_some(), "{text}");
        }
    }

    #[test]
    fn what_is_not_json_is_nothing() {
        for text in ["", "{", "\"", "{\"a\": \"\\ud800\"}", "{\"a\" 1}", "[1] \"", "nul"] {
            assert_eq!(parse::<Value>(text), None, "{text}");
        }
    }
}
