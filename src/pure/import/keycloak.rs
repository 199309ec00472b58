//! Keycloak: the table `credential`, and the export of a realm as JSON.

use super::{Cells, Grouping, Item, Problem, SourceFactor, optional, required};
use crate::pure::json;
use crate::pure::otp::Parameters;
use crate::pure::secret::Secret;
use serde::Deserialize;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

/// The columns of `credential`, without the user.
pub const COLUMNS: [&str; 4] = ["type", "secret_data", "credential_data", "user_label"];

/// Reads a row of `credential`, or the same values in an export. The secret is the text itself, and
/// base32 only if the row says so.
pub fn parse(cells: &Cells) -> Result<Item, Problem> {
    match required(cells, 0, "type")? {
        "otp" => {}
        "recovery-authn-codes" => return Err(Problem::HashedBackupCodes),
        _ => return Ok(Item::Other),
    }
    let object = |place, name| -> Result<Map<String, Value>, Problem> {
        optional(cells, place).and_then(json::parse).ok_or(Problem::Malformed(name))
    };
    let (secret, data) = (object(1, "secret_data")?, object(2, "credential_data")?);
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let number = |name: &'static str| {
        let number = data.get(name).and_then(Value::as_i64);
        number.and_then(|number| i32::try_from(number).ok()).ok_or(Problem::Malformed(name))
    };
    match text(data.get("subType")).as_deref() {
        Some("totp") => {}
        Some("hotp") => return Err(Problem::Hotp),
        _ => return Err(Problem::Malformed("subType")),
    }
    let algorithm = text(data.get("algorithm")).ok_or(Problem::Malformed("algorithm"))?;
    // HmacSHA1, HmacSHA256 or HmacSHA512.
    let algorithm = algorithm.strip_prefix("Hmac").unwrap_or(&algorithm);
    let parameters = Parameters::new(algorithm, number("digits")?, number("period")?)?;
    let value = Zeroizing::new(text(secret.get("value")).ok_or(Problem::Missing("value"))?);
    let secret = match data.get("secretEncoding").unwrap_or(&Value::Null) {
        Value::Null => Secret::from_bytes(value.as_bytes().to_vec())?,
        Value::String(encoding) if encoding.eq_ignore_ascii_case("base32") => {
            Secret::from_base32(&value)?
        }
        _ => return Err(Problem::Malformed("secretEncoding")),
    };
    Ok(SourceFactor::with_parameters(optional(cells, 3), secret, parameters).into())
}

#[derive(Deserialize)]
struct Realm {
    #[serde(default)]
    users: Vec<User>,
}

#[derive(Deserialize)]
struct User {
    id: Option<String>,
    username: Option<String>,
    #[serde(default)]
    credentials: Vec<Credential>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Credential {
    #[serde(rename = "type")]
    kind: Option<String>,
    user_label: Option<String>,
    secret_data: Option<String>,
    credential_data: Option<String>,
}

/// Reads the export of a realm, or of several in an array. The account is the user's ID, or the
/// name where there is no ID. Returns `None` if the text is something else.
pub fn parse_export(text: &str) -> Option<Grouping> {
    let realms: Vec<Realm> = if text.trim_start().starts_with('[') {
        json::parse(text)?
    } else {
        vec![json::parse(text)?]
    };
    let mut grouping = Grouping::default();
    for user in realms.into_iter().flat_map(|realm| realm.users) {
        let account = user.id.or(user.username);
        for credential in user.credentials {
            let Credential { kind, user_label, secret_data, credential_data } = credential;
            let cells = [kind, secret_data, credential_data, user_label];
            let cells: Cells = cells.into_iter().map(|text| text.map(Zeroizing::new)).collect();
            grouping.add(account.as_deref(), parse(&cells));
        }
    }
    Some(grouping)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{cells, factor};
    use super::*;
    use crate::pure::invalid::Invalid;

    const DATA: &str =
        r#"{"subType":"totp","digits":6,"counter":0,"period":30,"algorithm":"HmacSHA1"}"#;
    const SECRET: &str = r#"{"value":"ABCDEFGHIJKLMNOPQRST"}"#;

    #[test]
    fn the_secret_is_the_text_itself() {
        let read = factor(parse(&cells(&["otp", SECRET, DATA, "phone"])));
        assert_eq!(read.secret.expose(), b"ABCDEFGHIJKLMNOPQRST");
        assert_eq!(read.label, "phone");
        let data = r#"{"subType":"totp","digits":8,"counter":0,"period":60,
            "algorithm":"HmacSHA512","secretEncoding":"BASE32"}"#;
        let secret = r#"{"value":"GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"}"#;
        let base32 = factor(parse(&cells(&["otp", secret, data, ""])));
        assert_eq!(base32.secret.expose(), b"12345678901234567890");
        assert_eq!(base32.parameters, Parameters::new("SHA512", 8, 60).unwrap());
    }

    #[test]
    fn other_credentials_are_passed_over_or_reported() {
        let result = |texts: &[&str]| parse(&cells(texts));
        assert!(matches!(result(&["password", "{}", "{}"]), Ok(Item::Other)));
        let codes = result(&["recovery-authn-codes", "{}", "{}"]);
        assert_eq!(codes.unwrap_err(), Problem::HashedBackupCodes);
        let problem = |secret: &str, data: &str| result(&["otp", secret, data]).unwrap_err();
        assert_eq!(problem("", DATA), Problem::Malformed("secret_data"));
        assert_eq!(problem("{}", DATA), Problem::Missing("value"));
        assert_eq!(problem(SECRET, "{"), Problem::Malformed("credential_data"));
        assert_eq!(problem(r#"{"value":"short"}"#, DATA), Invalid::SecretLength(5).into());
        assert_eq!(problem(SECRET, &DATA.replace("totp", "hotp")), Problem::Hotp);
        assert_eq!(problem(SECRET, &DATA.replace("SHA1", "MD5")), Invalid::Algorithm.into());
        assert_eq!(problem(SECRET, &DATA.replace("30", "3e9")), Problem::Malformed("period"));
        let encoding = DATA.replace('}', r#","secretEncoding":"HEX"}"#);
        assert_eq!(problem(SECRET, &encoding), Problem::Malformed("secretEncoding"));
    }

    #[test]
    fn an_export_is_read_by_user() {
        let credential = |label: &str| {
            serde_json::json!({ "type": "otp", "userLabel": label, "secretData": SECRET,
                "credentialData": DATA })
        };
        let realm = serde_json::json!({ "realm": "r", "users": [
            { "id": "1", "username": "alice", "credentials": [credential("a"), { "type": "password" }] },
            { "username": "bob", "credentials": [credential("b")] },
            { "id": "3", "username": "carol" },
            { "credentials": [credential("d")] },
        ]});
        for text in [realm.to_string(), format!(" [{realm}]")] {
            let groups = parse_export(&text).unwrap().groups();
            let names: Vec<_> = groups.iter().map(|(name, _)| name.clone().ok()).collect();
            let texts: Vec<_> = names.iter().map(|name| name.as_deref().unwrap_or("")).collect();
            assert_eq!(texts, ["1", "bob", ""]);
            assert!(groups.iter().take(2).all(|(_, account)| account.factors.len() == 1));
        }
        for text in ["", "{", "[1]", "\"x\"", r#"{"users": 1}"#] {
            assert!(parse_export(text).is_none(), "{text}");
        }
        assert!(parse_export("{}").unwrap().groups().is_empty());
    }
}
