//! The identity of a session: the claims of its JSON Web Token, as set by PostgREST.

use super::json;
use super::name::{Account, hashed};
use serde_json::{Map, Value};

/// Maximum length of a session ID, in bytes; longer ones are stored as a hash.
const SESSION_LIMIT: usize = 255;

/// The account and session that a set of claims identifies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The account.
    pub account: Account,
    /// The session of the account: the claim `session_id`, or else `jti`.
    pub session: Option<String>,
}

impl Claims {
    /// Parses the claims; `account_claim` identifies the account. Returns `None` if the text is not
    /// a JSON object, or that claim is missing or not a valid account name.
    pub fn read(text: &str, account_claim: &str) -> Option<Self> {
        let claims: Map<String, Value> = json::parse(text)?;
        let account = Account::new(claim_text(claims.get(account_claim)?)?).ok()?;
        let session = ["session_id", "jti"].iter().find_map(|name| claim_text(claims.get(*name)?));
        Some(Self { account, session: session.map(bounded) })
    }

    /// Returns whether claims are there, but not the one that names the account.
    pub fn name_nobody(text: &str, account_claim: &str) -> bool {
        json::parse(text)
            .is_some_and(|claims: Map<_, _>| claims.get(account_claim).is_none_or(Value::is_null))
    }
}

/// Returns a claim as text if it is a non-empty string or a number. A string that contains NUL is
/// rejected, because SQL would see only the part before it.
fn claim_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() && !text.contains('\0') => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn bounded(session: String) -> String {
    if session.len() <= SESSION_LIMIT { session } else { hashed(&session) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<(String, Option<String>)> {
        Claims::read(text, "sub").map(|claims| (claims.account.to_string(), claims.session))
    }

    #[test]
    fn session_id_takes_precedence_over_jti() {
        let session = |claims: &str| read(claims).unwrap().1;
        assert_eq!(session(r#"{"sub": "a", "jti": "j", "session_id": "s"}"#), Some("s".into()));
        assert_eq!(session(r#"{"sub": "a", "jti": "j"}"#), Some("j".into()));
        assert_eq!(session(r#"{"sub": "a", "session_id": "", "jti": "j"}"#), Some("j".into()));
        assert_eq!(session(r#"{"sub": "a", "session_id": null, "jti": 7}"#), Some("7".into()));
        assert_eq!(
            session(r#"{"sub": "a", "session_id": "s\u0000", "jti": "j"}"#),
            Some("j".into())
        );
        assert_eq!(session(r#"{"sub": "a"}"#), None);
    }

    #[test]
    fn claims_without_a_valid_account_are_rejected() {
        for claims in [
            "",
            "null",
            "[]",
            "{",
            "{}",
            r#"{"sub": ""}"#,
            r#"{"sub": null}"#,
            r#"{"sub": ["a"]}"#,
            r#"{"sub": {"a": 1}}"#,
            r#"{"sub": true}"#,
            r#"{"sub": "a\u0000b"}"#,
            r#"{"Sub": "a"}"#,
            r#"{"sub": {"$serde_json::private::Number": "1"}}"#,
            r#"{"sub": {"\u0024serde_json::private::Number": "1"}}"#,
            r#"{"sub": "a", "b": [{"$serde_json::private::Number": "1"}]}"#,
        ] {
            assert_eq!(read(claims), None, "{claims}");
        }
        assert_eq!(read(&format!(r#"{{"sub": "{}"}}"#, "a".repeat(256))), None);
        assert_eq!(read(&"[".repeat(100_000)), None);
    }

    #[test]
    fn claims_without_an_account_name_nobody() {
        for claims in ["{}", r#"{"role": "authenticated"}"#, r#"{"sub": null}"#, r#"{"Sub": "a"}"#]
        {
            assert!(Claims::name_nobody(claims, "sub"), "{claims}");
        }
        for claims in ["", "{", "[]", r#"{"sub": "a"}"#, r#"{"sub": ""}"#, r#"{"sub": [1]}"#] {
            assert!(!Claims::name_nobody(claims, "sub"), "{claims}");
        }
    }

    #[test]
    fn large_numbers_stay_distinct() {
        let read = |sub: &str| read(&format!(r#"{{"sub": {sub}}}"#)).unwrap().0;
        assert_eq!(read("100000000000000000001"), "100000000000000000001");
        assert_eq!(read("18446744073709551617"), "18446744073709551617");
    }

    #[test]
    fn another_claim_can_identify_the_account() {
        let claims = Claims::read(r#"{"sub": "a", "email": "b@c"}"#, "email").unwrap();
        assert_eq!(&*claims.account, "b@c");
        assert_eq!(read(r#"{"sub": 42}"#), Some(("42".into(), None)));
    }

    #[test]
    fn a_long_session_id_is_hashed() {
        let session = |id: &str| {
            let claims = format!(r#"{{"sub": "a", "session_id": "{id}"}}"#);
            read(&claims).unwrap().1.unwrap()
        };
        assert_eq!(session(&"s".repeat(255)), "s".repeat(255));
        let (first, second) = (session(&"s".repeat(256)), session(&"s".repeat(257)));
        assert!(first.starts_with("sha256:") && first != second);
    }
}
