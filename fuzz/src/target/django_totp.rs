//! Rows of django-totp: a ciphertext and a flag. Nobody without the key can make one that decrypts, so
//! the first cell says what the second one is: `plain`, to be encrypted first, or a ciphertext.

use super::imported::{cells, is_item};
use super::silence::assert_silent;
use super::text;
use crate::pure::import::Problem;
use crate::pure::import::django_totp::Key;
use fernet::Fernet;
use std::sync::LazyLock;
use zeroize::Zeroizing;

const KEY: &str = "ZmVybmV0LXRlc3Qta2V5LW9mLTMyLWJ5dGVzLWxvbmc=";
static FERNET: LazyLock<Fernet> = LazyLock::new(|| Fernet::new(KEY).unwrap());
static PARSED: LazyLock<Key> = LazyLock::new(|| Key::parse(KEY).unwrap());

pub fn check(data: &[u8]) -> bool {
    let text = text(data);
    let Some((kind, row)) = text.split_once('\0') else {
        return Key::parse(text).is_some();
    };
    let mut cells = cells(row);
    let is_plain = kind == "plain";
    if let Some(Some(value)) = cells.first_mut()
        && is_plain
    {
        *value = Zeroizing::new(FERNET.encrypt_at_time(value.as_bytes(), 0));
    }
    let (factor, code) = (PARSED.parse_factor(&cells), PARSED.parse_code(&cells));
    if !is_plain {
        for error in [factor.as_ref().err(), code.as_ref().err()] {
            assert_silent(&error);
            assert!(matches!(
                error,
                None | Some(Problem::Undecryptable | Problem::Missing(_) | Problem::Unconfirmed)
            ));
        }
    }
    is_item(factor) | is_item(code)
}
