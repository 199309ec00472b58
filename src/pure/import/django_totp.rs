//! django-totp: its tables `django_totp_totp` and `django_totp_backupcode`.

use super::{Cells, Item, Problem, SourceFactor, flag, required};
use crate::pure::secret::Secret;
use fernet::Fernet;
use zeroize::Zeroizing;

/// The column of `django_totp_totp`, without the user.
pub const COLUMNS: [&str; 1] = ["secret_key"];
/// The columns of `django_totp_backupcode`.
pub const CODE_COLUMNS: [&str; 2] = ["code", "is_used"];

/// The application's setting `TOTP_ENCRYPTION_KEY`.
pub struct Key(Fernet);

impl Key {
    /// Parses a Fernet key. Returns `None` if the text is not one.
    pub fn parse(text: &str) -> Option<Self> {
        Fernet::new(text.trim()).map(Self)
    }

    fn decrypt(&self, token: &str) -> Result<Zeroizing<String>, Problem> {
        let value = self.0.decrypt(token).map_err(|_| Problem::Undecryptable)?;
        String::from_utf8(value).map(Zeroizing::new).map_err(|_| Problem::Undecryptable)
    }

    /// Reads a row of `django_totp_totp`, to which a column is added: whether the account has
    /// backup codes. It gets them when the first code confirms the app. Codes have six digits and
    /// use SHA-1.
    pub fn parse_factor(&self, cells: &Cells) -> Result<Item, Problem> {
        if !flag(cells, 1, true) {
            return Err(Problem::Unconfirmed);
        }
        let secret = self.decrypt(required(cells, 0, "secret_key")?)?;
        Ok(SourceFactor::of(None, Secret::from_base32(&secret)?)?.into())
    }

    /// Reads a row of `django_totp_backupcode`.
    pub fn parse_code(&self, cells: &Cells) -> Result<Item, Problem> {
        if flag(cells, 1, false) {
            return Ok(Item::Other);
        }
        Ok(Item::BackupCodes(vec![self.decrypt(required(cells, 0, "code")?)?]))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{cells, factor};
    use super::*;

    const KEY: &str = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";
    const OTHER: &str = "ZmVybmV0LXRlc3Qta2V5LW9mLTMyLWJ5dGVzLWxvbmc=";

    fn encrypted(text: &str) -> String {
        Fernet::new(KEY).unwrap().encrypt(text.as_bytes())
    }

    #[test]
    fn a_secret_and_unused_codes_are_decrypted() {
        let key = Key::parse(&format!("{KEY}\n")).unwrap();
        let secret = encrypted("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        let read = factor(key.parse_factor(&cells(&[&secret, "true"])));
        assert_eq!(read.secret.expose(), b"12345678901234567890");
        let code = encrypted("aB_-56789012345x");
        let Ok(Item::BackupCodes(codes)) = key.parse_code(&cells(&[&code, "false"])) else {
            panic!("no code");
        };
        assert_eq!(codes.first().unwrap().as_str(), "aB_-56789012345x");
        assert!(matches!(key.parse_code(&cells(&[&code, "true"])), Ok(Item::Other)));
    }

    #[test]
    fn another_key_and_broken_rows_are_reported() {
        assert!(Key::parse("a wrong key").is_none());
        let key = Key::parse(OTHER).unwrap();
        let problem = |texts: &[&str]| key.parse_factor(&cells(texts)).unwrap_err();
        assert_eq!(problem(&[&encrypted("x"), "true"]), Problem::Undecryptable);
        assert_eq!(problem(&["x", "true"]), Problem::Undecryptable);
        assert_eq!(problem(&["", "true"]), Problem::Missing("secret_key"));
        assert_eq!(problem(&["x", "false"]), Problem::Unconfirmed);
        assert_eq!(key.parse_code(&cells(&["x", "f"])).unwrap_err(), Problem::Undecryptable);
    }
}
