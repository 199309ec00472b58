//! django-allauth: the table `mfa_authenticator`.

use super::{Cells, Item, Problem, SourceFactor, optional, required};
use crate::pure::json;
use crate::pure::secret::Secret;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Map, Value};
use sha1::Sha1;
use zeroize::Zeroizing;

/// The columns, without the user.
pub const COLUMNS: [&str; 2] = ["type", "data"];

/// The number of recovery codes and their length, which allauth's settings can change, but which
/// its table does not record.
const CODES: u32 = 10;
const DIGITS: u32 = 8;

/// Reads a row. Codes have six digits and use SHA-1.
pub fn parse(cells: &Cells) -> Result<Item, Problem> {
    let kind = required(cells, 0, "type")?;
    if !["totp", "recovery_codes"].contains(&kind) {
        return Ok(Item::Other);
    }
    let data: Map<String, Value> =
        optional(cells, 1).and_then(json::parse).ok_or(Problem::Malformed("data"))?;
    let text = |name: &'static str| match data.get(name) {
        Some(Value::String(text)) => Ok(text.as_str()),
        _ => Err(Problem::Missing(name)),
    };
    if kind == "totp" {
        let secret = Secret::from_base32(text("secret")?)?;
        return Ok(SourceFactor::of(None, secret)?.into());
    }
    if let Some(migrated) = data.get("migrated_codes").filter(|codes| !codes.is_null()) {
        let codes: Option<Vec<_>> = migrated.as_array().and_then(|codes| {
            codes.iter().map(|code| Some(Zeroizing::new(code.as_str()?.to_owned()))).collect()
        });
        return Ok(Item::BackupCodes(codes.ok_or(Problem::Malformed("migrated_codes"))?));
    }
    let used = data.get("used_mask").and_then(Value::as_u64);
    let used = used.ok_or(Problem::Malformed("used_mask"))?;
    Ok(Item::BackupCodes(codes(text("seed")?, used)?))
}

/// Computes the recovery codes of a seed that are not marked as used: each is the beginning of an
/// HMAC-SHA-1 over the numbers of all codes so far.
fn codes(seed: &str, used: u64) -> Result<Vec<Zeroizing<String>>, Problem> {
    // A seed that an adapter of the application encrypted is something else.
    if seed.is_empty() || !seed.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Problem::Encrypted);
    }
    let mut mac =
        Hmac::<Sha1>::new_from_slice(seed.as_bytes()).map_err(|_| Problem::Malformed("seed"))?;
    let mut codes = Vec::new();
    for number in 0..CODES {
        mac.update(format!("{number:3},").as_bytes());
        let digest = mac.clone().finalize().into_bytes();
        let start: [u8; 4] =
            digest.iter().copied().take(4).collect::<Vec<_>>().try_into().unwrap_or_default();
        let value = u32::from_be_bytes(start) % 10_u32.pow(DIGITS);
        if used & (1 << number) == 0 {
            codes.push(Zeroizing::new(format!("{value:08}")));
        }
    }
    Ok(codes)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{cells, factor};
    use super::*;
    use crate::pure::invalid::Invalid;

    fn recovery(data: &str) -> Result<Vec<String>, Problem> {
        match parse(&cells(&["recovery_codes", data]))? {
            Item::BackupCodes(codes) => Ok(codes.iter().map(|code| code.to_string()).collect()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_secret_is_read() {
        let data = r#"{"secret": "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"}"#;
        let read = factor(parse(&cells(&["totp", data])));
        assert_eq!(read.secret.expose(), b"12345678901234567890");
        assert!(matches!(parse(&cells(&["webauthn", "{}"])), Ok(Item::Other)));
    }

    #[test]
    fn recovery_codes_are_computed_from_the_seed() {
        // hmac.new(seed, digestmod="sha1"), updated with "  0,", "  1," and so on; the first four
        // bytes of each digest modulo 10 ** 8.
        let seed =
            "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff0011223344556677";
        let all = recovery(&format!(r#"{{"seed": "{seed}", "used_mask": 0}}"#)).unwrap();
        assert_eq!(all, EXPECTED);
        let some = recovery(&format!(r#"{{"seed": "{seed}", "used_mask": 5}}"#)).unwrap();
        assert_eq!(some.first(), all.get(1));
        assert_eq!(some.get(1), all.get(3));
        assert_eq!(some.len(), 8);
    }

    const EXPECTED: [&str; 10] = [
        "96543028", "77560411", "64398994", "56181033", "03197695", "03785152", "09748224",
        "76340105", "94950737", "16606028",
    ];

    #[test]
    fn migrated_codes_are_taken_as_they_are() {
        let data = r#"{"migrated_codes": ["abc-123", "x"], "seed": "ff", "used_mask": 0}"#;
        assert_eq!(recovery(data).unwrap(), ["abc-123", "x"]);
    }

    #[test]
    fn broken_data_says_why() {
        let problem = |kind, data| parse(&cells(&[kind, data])).unwrap_err();
        assert_eq!(problem("", "{}"), Problem::Missing("type"));
        assert_eq!(problem("totp", ""), Problem::Malformed("data"));
        assert_eq!(problem("totp", "[]"), Problem::Malformed("data"));
        assert_eq!(problem("totp", "{}"), Problem::Missing("secret"));
        assert_eq!(problem("totp", r#"{"secret": "gAAAA0"}"#), Invalid::Base32.into());
        assert_eq!(problem("recovery_codes", r#"{"seed": "ff"}"#), Problem::Malformed("used_mask"));
        let encrypted = r#"{"seed": "gAAAAA", "used_mask": 0}"#;
        assert_eq!(problem("recovery_codes", encrypted), Problem::Encrypted);
        let odd = r#"{"migrated_codes": [1]}"#;
        assert_eq!(problem("recovery_codes", odd), Problem::Malformed("migrated_codes"));
    }
}
