//! Supabase Auth: the table `auth.mfa_factors`.

use super::{Cells, Item, Problem, SourceFactor, optional, required};
use crate::pure::secret::Secret;

/// The columns, without the user.
pub const COLUMNS: [&str; 4] = ["secret", "friendly_name", "factor_type", "status"];

/// Reads a row. The secret is base32, or JSON if Supabase Auth encrypts its columns. Codes have six
/// digits and use SHA-1.
pub fn parse(cells: &Cells) -> Result<Item, Problem> {
    if optional(cells, 2) != Some("totp") {
        return Ok(Item::Other);
    }
    if optional(cells, 3) != Some("verified") {
        return Err(Problem::Unconfirmed);
    }
    let secret = required(cells, 0, "secret")?;
    if secret.starts_with('{') {
        return Err(Problem::Encrypted);
    }
    Ok(SourceFactor::of(optional(cells, 1), Secret::from_base32(secret)?)?.into())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{cells, factor};
    use super::*;
    use crate::pure::invalid::Invalid;

    const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

    #[test]
    fn a_verified_totp_factor_is_read() {
        let read = factor(parse(&cells(&[SECRET, "my phone", "totp", "verified"])));
        assert_eq!(read.secret.expose(), b"12345678901234567890");
        assert_eq!((read.label.as_str(), read.last_step), ("my phone", None));
    }

    #[test]
    fn other_factors_are_passed_over_or_reported() {
        let result = |texts: &[&str]| parse(&cells(texts));
        for kind in ["phone", "webauthn"] {
            assert!(matches!(result(&["", "", kind, "verified"]), Ok(Item::Other)), "{kind}");
        }
        let unverified = result(&[SECRET, "", "totp", "unverified"]);
        assert_eq!(unverified.unwrap_err(), Problem::Unconfirmed);
        let encrypted = r#"{"key_id":"k","alg":"aes-gcm-hkdf","data":"AA==","nonce":"AA=="}"#;
        let encrypted = result(&[encrypted, "", "totp", "verified"]);
        assert_eq!(encrypted.unwrap_err(), Problem::Encrypted);
        let missing = result(&["", "", "totp", "verified"]);
        assert_eq!(missing.unwrap_err(), Problem::Missing("secret"));
        assert_eq!(result(&["1", "", "totp", "verified"]).unwrap_err(), Invalid::Base32.into());
    }
}
