//! Codes as people type them.

use super::backup_code::BackupCode;
use super::mark::{LIMIT, Mark};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A TOTP code: 6 to 8 ASCII digits.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct TotpCode(String);

impl TotpCode {
    /// Parses 6 to 8 ASCII digits, ignoring whitespace, invisible characters, and dashes between
    /// digits; a leading dash could be a minus sign. Returns `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > LIMIT {
            return None;
        }
        let mut code = Self(String::with_capacity(text.len()));
        let mut after_dash = false;
        for c in text.chars() {
            match Mark::of(c) {
                None if c.is_ascii_digit() => {
                    code.0.push(c);
                    after_dash = false;
                }
                None => return None,
                Some(Mark::Dash) if code.0.is_empty() => return None,
                Some(Mark::Dash) => after_dash = true,
                Some(Mark::Blank | Mark::Invisible) => {}
            }
        }
        (!after_dash && (6..=8).contains(&code.0.len())).then_some(code)
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
    /// A code from an authenticator app, or a backup code that another system issued.
    Ambiguous(TotpCode, BackupCode),
}

/// The kinds of code that a function accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepts {
    /// TOTP codes only.
    Totp,
    /// Backup codes only.
    Backup,
    /// Either kind. Only eight digits can be both, if another system issued the backup codes.
    Either,
}

impl Code {
    /// Parses a code of an accepted kind; returns `None` if the text is not one.
    pub fn parse(text: &str, accepts: Accepts) -> Option<Self> {
        let totp = Some(accepts).filter(|it| *it != Accepts::Backup);
        let totp = totp.and_then(|_| TotpCode::parse(text));
        let backup = Some(accepts).filter(|it| *it != Accepts::Totp);
        let backup = backup.and_then(|_| BackupCode::parse_imported(text));
        match (totp, backup) {
            (Some(totp), Some(backup)) => Some(Self::Ambiguous(totp, backup)),
            (Some(totp), None) => Some(Self::Totp(totp)),
            (None, backup) => backup.map(Self::Backup),
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
    fn dashes_between_digits_and_invisible_characters_are_ignored() {
        for text in [
            "123-456",
            "12-34-56",
            "123 \u{2013} 456",
            "123\u{2011}456",
            "123\u{2212}456",
            "123\u{fe58}456",
            "123\u{ff0d}456",
            "123\u{ad}456",
            "123\u{a0}456",
            "123\u{202f}456",
            "123\u{2009}456",
            "123\u{3000}456",
            "\u{85}123456\u{2028}",
            "123456\u{200f}",
            "\u{feff}123456",
            "\u{202a}123456\u{202c}",
            "\u{2066}123456\u{2069}",
            "1\u{200b}2\u{200c}3\u{200d}4\u{2060}5\u{fe0f}6\u{61c}",
        ] {
            let code = TotpCode::parse(text).unwrap_or_else(|| panic!("{text:?}"));
            assert_eq!(code.expose(), "123456", "{text:?}");
        }
        let widest = "\u{e0100}\u{2011}\u{3000}";
        let longest = ["1", "2", "3", "4", "5", "6", "7", "8"].join(widest);
        assert_eq!(TotpCode::parse(&longest).unwrap().expose(), "12345678");
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
            "-1 23456",
            "123456-",
            "\u{2212}123456",
            " \u{200e}\u{2013} 123456",
            "123456 \u{2014}",
            "123+456",
            "123.456",
            "123,456",
            "123_456",
            "123\u{2800}456",
            "1\u{fe0f}\u{20e3}23456",
            "１２３４５６",
            "١٢٣٤٥٦",
            "12345\u{0}6",
            "12345\u{1b}6",
        ] {
            assert!(TotpCode::parse(text).is_none(), "{text:?}");
        }
        assert!(TotpCode::parse(&"1".repeat(100_000)).is_none());
        assert!(TotpCode::parse(&format!("123456{}", " ".repeat(250))).is_some());
        assert!(TotpCode::parse(&format!("123456{}", " ".repeat(251))).is_none());
        assert!(TotpCode::parse(&" ".repeat(100_000)).is_none());
    }

    #[test]
    fn the_length_determines_the_kind() {
        assert!(matches!(Code::parse("123456", Accepts::Either), Some(Code::Totp(_))));
        assert!(matches!(
            Code::parse("0123-4567-89AB-CDEF", Accepts::Either),
            Some(Code::Backup(_))
        ));
        assert!(matches!(Code::parse("12345678", Accepts::Either), Some(Code::Ambiguous(..))));
        assert!(matches!(Code::parse("12345678", Accepts::Totp), Some(Code::Totp(_))));
        assert!(matches!(Code::parse("12345678", Accepts::Backup), Some(Code::Backup(_))));
        assert!(Code::parse("0123-4567-89AB-CDEF", Accepts::Totp).is_none());
        assert!(Code::parse("123456", Accepts::Backup).is_none());
    }
}
