//! Who a session says it is: the claims of its JSON Web Token, as PostgREST hands them down.

use super::json;
use super::name::{Account, hashed};
use serde_json::{Map, Value};

/// Longer names of sessions are kept as a hash.
const SESSION_LIMIT: usize = 255;

/// What is read from the claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The account.
    pub account: Account,
    /// What tells this session of the account from others: the claim `session_id`, else `jti`.
    pub session: Option<String>,
}

impl Claims {
    /// Reads the claims, of which one names the account. `None` when it is not there or can be no
    /// account.
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

/// A claim that can name something: a non-empty text, or a number. NUL, which JSON can write, would
/// end a text of SQL: what follows it would be seen here, and not there.
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
    fn the_session_is_named_by_its_id_before_its_jti() {
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
    fn what_can_be_no_account_is_nobody() {
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
        for claims in ["{}", r#"{"role": "authenticated"}"#, r#"{"sub": null}"#, r#"{"Sub": "a"}"#] {
            assert!(Claims::name_nobody(claims, "sub"), "{claims}");
        }
        for claims in ["", "{", "[]", r#"{"sub": "a"}"#, r#"{"sub": ""}"#, r#"{"sub": [1]}"#] {
            assert!(!Claims::name_nobody(claims, "sub"), "{claims}");
        }
    }

    #[test]
    fn large_numbers_stay_apart() {
        let read = |sub: &str| read(&format!(r#"{{"sub": {sub}}}"#)).unwrap().0;
        assert_eq!(read("100000000000000000001"), "100000000000000000001");
        assert_eq!(read("18446744073709551617"), "18446744073709551617");
    }

    #[test]
    fn another_claim_can_name_the_account() {
        let claims = Claims::read(r#"{"sub": "a", "email": "b@c"}"#, "email").unwrap();
        assert_eq!(&*claims.account, "b@c");
        assert_eq!(read(r#"{"sub": 42}"#), Some(("42".into(), None)));
    }

    #[test]
    fn a_long_session_is_named_by_its_hash() {
        let session = |id: &str| {
            let claims = format!(r#"{{"sub": "a", "session_id": "{id}"}}"#);
            read(&claims).unwrap().1.unwrap()
        };
        assert_eq!(session(&"s".repeat(255)), "s".repeat(255));
        let (first, second) = (session(&"s".repeat(256)), session(&"s".repeat(257)));
        assert!(first.starts_with("sha256:") && first != second);
    }
}
