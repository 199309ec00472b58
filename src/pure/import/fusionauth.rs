//! FusionAuth: users as JSON, as its import takes them.

use super::{Grouping, Item, Problem, SourceFactor};
use crate::pure::json;
use crate::pure::otp::Parameters;
use crate::pure::secret::Secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use zeroize::Zeroizing;

#[derive(Deserialize)]
struct Document {
    users: Vec<User>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct User {
    id: Option<String>,
    email: Option<String>,
    username: Option<String>,
    two_factor: Option<TwoFactor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TwoFactor {
    #[serde(default)]
    methods: Vec<Method>,
    #[serde(default)]
    recovery_codes: Vec<String>,
}

#[derive(Deserialize)]
struct Method {
    method: Option<String>,
    name: Option<String>,
    secret: Option<String>,
    authenticator: Option<Authenticator>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Authenticator {
    algorithm: Option<String>,
    code_length: Option<i32>,
    time_step: Option<i32>,
}

/// Reads an object with an array of users. The account is the user's ID, or the email address or the
/// user name where there is no ID. Returns `None` if the text is something else.
pub fn parse(text: &str) -> Option<Grouping> {
    let Document { users } = json::parse(text)?;
    let mut grouping = Grouping::default();
    for User { id, email, username, two_factor } in users {
        let account = id.or(email).or(username);
        let Some(TwoFactor { methods, recovery_codes }) = two_factor else {
            continue;
        };
        for method in methods {
            if method.method.as_deref() == Some("authenticator") {
                grouping.add(account.as_deref(), factor(method).map(Item::from));
            }
        }
        if !recovery_codes.is_empty() {
            let codes = recovery_codes.into_iter().map(Zeroizing::new).collect();
            grouping.add(account.as_deref(), Ok(Item::BackupCodes(codes)));
        }
    }
    Some(grouping)
}

/// Reads an authenticator app. Its secret is base64.
fn factor(method: Method) -> Result<SourceFactor, Problem> {
    let secret = Zeroizing::new(method.secret.ok_or(Problem::Missing("secret"))?);
    let secret = STANDARD.decode(secret.as_str()).map_err(|_| Problem::Malformed("secret"))?;
    let secret = Secret::from_bytes(secret)?;
    let (algorithm, digits, period) = match method.authenticator {
        Some(known) => (known.algorithm, known.code_length, known.time_step),
        None => (None, None, None),
    };
    // HmacSHA1, HmacSHA256 or HmacSHA512.
    let algorithm = algorithm.unwrap_or_else(|| "SHA1".to_owned());
    let algorithm = algorithm.strip_prefix("Hmac").unwrap_or(&algorithm);
    let parameters = Parameters::new(algorithm, digits.unwrap_or(6), period.unwrap_or(30))?;
    Ok(SourceFactor::with_parameters(method.name.as_deref(), secret, parameters))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pure::invalid::Invalid;

    const USERS: &str = r#"{"users": [
        {"id": "1", "email": "a@x", "twoFactor": {"recoveryCodes": ["VK3TJ-8KD2M", "short"], "methods": [
            {"method": "authenticator", "name": "Work app", "secret": "MTIzNDU2Nzg5MDEyMzQ1Njc4OTA=",
             "authenticator": {"algorithm": "HmacSHA1", "codeLength": 6, "timeStep": 30}},
            {"method": "sms", "mobilePhone": "555-555-5555"}]}},
        {"email": "b@x", "twoFactor": {"methods": [{"method": "authenticator", "secret": "MTIzNDU2Nzg5MDEyMzQ1Njc4OTA="}]}},
        {"username": "carol", "twoFactor": {"methods": [{"method": "authenticator", "secret": "!"},
            {"method": "authenticator"}, {"method": "authenticator", "secret": "MTIzNDU2Nzg5MDEyMzQ1Njc4OTA=",
             "authenticator": {"codeLength": 9}}]}},
        {"id": "4"}]}"#;

    #[test]
    fn users_are_read() {
        let groups = parse(USERS).unwrap().groups();
        let [(first, alice), (second, bob), (third, carol)] = groups.as_slice() else {
            panic!("{groups:?}");
        };
        assert_eq!(first.as_deref(), Ok("1"));
        let factor = alice.factors.first().unwrap();
        assert_eq!(factor.secret.expose(), b"12345678901234567890");
        assert_eq!(factor.label, "Work app");
        assert_eq!(alice.backup_codes.first().unwrap().expose(), "VK3TJ8KD2M");
        assert_eq!(alice.problems, [Problem::Malformed("a backup code")]);
        assert_eq!((second.as_deref(), bob.factors.len()), (Ok("b@x"), 1));
        assert_eq!(third.as_deref(), Ok("carol"));
        let expected =
            [Problem::Malformed("secret"), Problem::Missing("secret"), Invalid::Digits(9).into()];
        assert_eq!(carol.problems, expected);
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "{}", "[]", r#"{"users": 1}"#, r#"{"users": [{"id": 1}]}"#] {
            assert!(parse(text).is_none(), "{text}");
        }
        assert!(parse(r#"{"users": []}"#).unwrap().groups().is_empty());
    }
}
