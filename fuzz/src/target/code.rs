//! Codes as people type them.

use super::text;
use crate::pure::backup_code::BackupCode;
use crate::pure::code::{Accepts, Code, TotpCode};

pub fn check(data: &[u8]) -> bool {
    let text = text(data);
    let mut found = false;
    for accepts in [Accepts::Totp, Accepts::Backup, Accepts::Either] {
        let (totp, backup) = match Code::parse(text, accepts) {
            None => (None, None),
            Some(Code::Totp(totp)) => (Some(totp), None),
            Some(Code::Backup(backup)) => (None, Some(backup)),
            Some(Code::Ambiguous(totp, backup)) => {
                assert_eq!(totp.expose(), backup.expose());
                (Some(totp), Some(backup))
            }
        };
        assert!(totp.is_none() || accepts != Accepts::Backup);
        assert!(backup.is_none() || accepts != Accepts::Totp);
        found |= totp.is_some() || backup.is_some();
        totp.iter().for_each(|code| assert_totp(code, text));
        backup.iter().for_each(|code| assert_backup(code, text));
    }
    found
}

/// A code is the digits that were typed, and nothing but digits.
fn assert_totp(code: &TotpCode, text: &str) {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    assert_eq!(code.expose(), digits);
    assert!((6..=8).contains(&digits.len()));
    assert_eq!(TotpCode::parse(&digits).unwrap().expose(), digits);
}

/// A code in canonical form is itself, and one of ours is so however it is grouped.
fn assert_backup(code: &BackupCode, text: &str) {
    assert!((8..=64).contains(&code.expose().len()));
    assert!(code.expose().bytes().all(|byte| byte.is_ascii_graphic() && byte != b'-'));
    let again = BackupCode::parse_imported(code.expose()).unwrap();
    assert_eq!(again.expose(), code.expose());
    assert_eq!(code.is_own(), BackupCode::parse(text).is_some());
    if code.is_own() {
        let grouped = BackupCode::parse(&code.grouped().to_lowercase()).unwrap();
        assert_eq!(grouped.expose(), code.expose());
    }
}
