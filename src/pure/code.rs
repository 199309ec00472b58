//! Codes as people type them.

use super::backup_code::BackupCode;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Maximum length of typed input, in bytes. Longer input is rejected without parsing.
const LIMIT: usize = 64;

/// A TOTP code: 6 to 8 ASCII digits.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct TotpCode(String);

impl TotpCode {
    /// Parses 6 to 8 ASCII digits, ignoring whitespace. Returns `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > LIMIT {
            return None;
        }
        let code = Self(text.chars().filter(|c| !c.is_ascii_whitespace()).collect());
        let digits = code.0.bytes().all(|b| b.is_ascii_digit());
        (digits && (6..=8).contains(&code.0.len())).then_some(code)
    }

    /// Returns the digits.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// A code of either kind.
pub enum Code {
    /// A code from an authenticator app.
    Totp(TotpCode),
    /// A backup code.
    Backup(BackupCode),
}

/// The kinds of code that a function accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepts {
    /// TOTP codes only.
    Totp,
    /// Backup codes only.
    Backup,
    /// Either kind; the length distinguishes them.
    Either,
}

impl Code {
    /// Parses a code of an accepted kind; returns `None` if the text is not one.
    pub fn parse(text: &str, accepts: Accepts) -> Option<Self> {
        let totp = || TotpCode::parse(text).map(Self::Totp);
        let backup = || BackupCode::parse(text).map(Self::Backup);
        match accepts {
            Accepts::Totp => totp(),
            Accepts::Backup => backup(),
            Accepts::Either => totp().or_else(backup),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whitespace_is_ignored() {
        for text in ["123456", " 123456 ", "123 456", "1 2 3\t4 5 6\n"] {
            assert_eq!(TotpCode::parse(text).unwrap().expose(), "123456", "{text:?}");
        }
        assert_eq!(TotpCode::parse("07081804").unwrap().expose(), "07081804");
    }

    #[test]
    fn anything_else_is_rejected() {
        for text in [
            "",
            " ",
            "12345",
            "123456789",
            "+123456",
            "-123456",
            "12345a",
            "1e5",
            "123-456",
            "１２３４５６",
            "١٢٣٤٥٦",
            "123456\u{200f}",
            "12345\u{0}6",
            "123\u{a0}456",
        ] {
            assert!(TotpCode::parse(text).is_none(), "{text:?}");
        }
        assert!(TotpCode::parse(&"1".repeat(100_000)).is_none());
        assert!(TotpCode::parse(&" ".repeat(100_000)).is_none());
    }

    #[test]
    fn the_length_determines_the_kind() {
        assert!(matches!(Code::parse("123456", Accepts::Either), Some(Code::Totp(_))));
        assert!(matches!(
            Code::parse("0123-4567-89AB-CDEF", Accepts::Either),
            Some(Code::Backup(_))
        ));
        assert!(Code::parse("0123-4567-89AB-CDEF", Accepts::Totp).is_none());
        assert!(Code::parse("123456", Accepts::Backup).is_none());
    }
}
