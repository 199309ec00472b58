//! JSON in a form that depends on its value only: the canonical form of RFC 8785, with two
//! differences. Numbers are exact, where RFC 8785 rounds them to 64-bit floats: two amounts must not
//! become one. Times are written in one way, and in UTC if they have an offset.

use super::instant;
use serde_json::{Map, Number, Value};

/// Returns JSON in canonical form.
pub fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write(value, &mut text);
    text
}

fn write(value: &Value, text: &mut String) {
    match value {
        Value::Number(number) => text.push_str(&decimal(number)),
        Value::String(string) => match instant::canonical(string) {
            Some(time) => write_string(&time, text),
            None => write_string(string, text),
        },
        Value::Array(values) => {
            text.push('[');
            for (place, value) in values.iter().enumerate() {
                if place > 0 {
                    text.push(',');
                }
                write(value, text);
            }
            text.push(']');
        }
        Value::Object(members) => write_object(members, text),
        Value::Null | Value::Bool(_) => text.push_str(&value.to_string()),
    }
}

/// Members are in the order of their names as UTF-16 (RFC 8785, section 3.2.3).
fn write_object(members: &Map<String, Value>, text: &mut String) {
    let mut members: Vec<(&String, &Value)> = members.iter().collect();
    members.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
    text.push('{');
    for (place, (name, value)) in members.into_iter().enumerate() {
        if place > 0 {
            text.push(',');
        }
        write_string(name, text);
        text.push(':');
        write(value, text);
    }
    text.push('}');
}

/// serde_json escapes what RFC 8785, section 3.2.2.2 does, and in the same way.
fn write_string(string: &str, text: &mut String) {
    text.push_str(&Value::from(string).to_string());
}

/// Writes a number as ECMAScript does (RFC 8785, section 3.2.2.3), but with all its digits.
fn decimal(number: &Number) -> String {
    let text = number.to_string();
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(unsigned) => ("-", unsigned),
        None => ("", text.as_str()),
    };
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let Ok(exponent) = exponent.parse::<i64>() else {
        return text;
    };
    let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{integer}{fraction}");
    let digits = all.trim_start_matches('0');
    let leading = all.len() - digits.len();
    let digits = digits.trim_end_matches('0');
    if digits.is_empty() {
        return "0".to_owned();
    }
    // The value is 0.digits times ten to the power of n.
    let n = (integer.len() as i64 - leading as i64).saturating_add(exponent);
    let k = digits.len() as i64;
    let zeros = |count: i64| "0".repeat(usize::try_from(count).unwrap_or_default());
    let split = |at: i64| digits.split_at(usize::try_from(at).unwrap_or_default());
    match n {
        n if k <= n && n <= 21 => format!("{sign}{digits}{}", zeros(n - k)),
        1..=21 => {
            let (integer, fraction) = split(n);
            format!("{sign}{integer}.{fraction}")
        }
        -5..=0 => format!("{sign}0.{}{digits}", zeros(-n)),
        n => {
            let (first, rest) = split(1);
            let point = if rest.is_empty() { "" } else { "." };
            let exponent = n.saturating_sub(1);
            let plus = if exponent < 0 { "" } else { "+" };
            format!("{sign}{first}{point}{rest}e{plus}{exponent}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> String {
        canonical(&serde_json::from_str(text).unwrap())
    }

    #[test]
    fn the_example_of_rfc_8785() {
        // RFC 8785, section 3.2.2 and 3.2.3.
        let example = r#"{
            "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
            "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
            "literals": [null, true, false]
        }"#;
        let expected = concat!(
            r#"{"literals":[null,true,false],"numbers":[333333333.33333329,1e+30,4.5,0.002,1e-27],"#,
            r#""string":"€$\u000f\nA'B\"\\\\\"/"}"#
        );
        assert_eq!(of(example), expected);
        let sorted = r#"{
            "\u20ac": "Euro Sign", "\r": "Carriage Return", "\ufb33": "Hebrew Letter Dalet With Dagesh",
            "1": "One", "\ud83d\ude00": "Emoji: Grinning Face", "\u0080": "Control",
            "\u00f6": "Latin Small Letter O With Diaeresis"
        }"#;
        let names: Vec<String> = of(sorted)
            .trim_matches(['{', '}'])
            .split("\",\"")
            .map(|member| member.rsplit(":\"").next().unwrap().trim_matches('"').to_owned())
            .collect();
        assert_eq!(
            names.iter().map(|name| name.split(' ').next().unwrap()).collect::<Vec<_>>(),
            ["Carriage", "One", "Control", "Latin", "Euro", "Emoji:", "Hebrew"]
        );
    }

    #[test]
    fn numbers_as_ecmascript_writes_them() {
        // RFC 8785, appendix B.
        for (number, expected) in [
            ("0", "0"),
            ("-0", "0"),
            ("-0.00e7", "0"),
            ("9007199254740992", "9007199254740992"),
            ("295147905179352830000", "295147905179352830000"),
            ("999999999999999900000", "999999999999999900000"),
            ("1e21", "1e+21"),
            ("1e+23", "1e+23"),
            ("9.999999999999997e-7", "9.999999999999997e-7"),
            ("0.000001", "0.000001"),
            ("0.0000001", "1e-7"),
            ("333333333.3333332", "333333333.3333332"),
            ("-1424953923781206.2", "-1424953923781206.2"),
            ("5e-324", "5e-324"),
            ("1.7976931348623157e308", "1.7976931348623157e+308"),
        ] {
            assert_eq!(of(number), expected, "{number}");
        }
    }

    #[test]
    fn a_number_is_compared_by_its_value() {
        for text in ["10", "10.00", "1e1", "1E+1", "0.10e2", "100e-1", "10.000000000000000000000"] {
            assert_eq!(of(text), "10", "{text}");
        }
        assert_eq!(of("10.01"), "10.01");
        assert_ne!(of("10000000000000000.01"), of("10000000000000000.02"));
        assert_ne!(of("9007199254740993"), of("9007199254740992"));
        assert_ne!(of("-10"), of("10"));
    }

    #[test]
    fn a_time_is_compared_by_its_value_and_other_text_as_it_is() {
        assert_eq!(of(r#""2030-01-01T12:00:00.50+02:00""#), r#""2030-01-01T10:00:00.5Z""#);
        assert_eq!(of(r#""2030-01-01 12:00""#), r#""2030-01-01T12:00:00""#);
        assert_eq!(of(r#""10.00""#), r#""10.00""#);
        assert_eq!(of(r#"{"2030-01-01T12:00:00+02:00": 1}"#), r#"{"2030-01-01T12:00:00+02:00":1}"#);
    }

    #[test]
    fn null_and_absent_differ_and_arrays_keep_their_order() {
        assert_ne!(of(r#"{"a": null}"#), of("{}"));
        assert_ne!(of("[1, 2]"), of("[2, 1]"));
        assert_eq!(
            of(r#"{"b": 1, "a": [1, {"d": 2, "c": 3}]}"#),
            r#"{"a":[1,{"c":3,"d":2}],"b":1}"#
        );
    }
}
