//! A code as a person types it.

use super::backup_code::BackupCode;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The most bytes a typed code can have before it is looked at. Marks of several bytes can stand
/// between any two of its characters.
pub(super) const LIMIT: usize = 256;

/// A character that stands between those of a code or a secret and means nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// A character of Unicode's property White_Space.
    Blank,
    /// A dash of any kind, or the minus sign.
    Dash,
    /// One that is not shown: Unicode's property Default_Ignorable_Code_Point.
    Invisible,
}

impl Mark {
    /// Tells what mark a character is, if any.
    pub(super) fn of(c: char) -> Option<Self> {
        match c {
            c if c.is_whitespace() => Some(Self::Blank),
            // Unicode's category Pd, and U+2212.
            '-'
            | '\u{58a}'
            | '\u{5be}'
            | '\u{1400}'
            | '\u{1806}'
            | '\u{2010}'..='\u{2015}'
            | '\u{2212}'
            | '\u{2e17}'
            | '\u{2e1a}'
            | '\u{2e3a}'
            | '\u{2e3b}'
            | '\u{2e40}'
            | '\u{2e5d}'
            | '\u{301c}'
            | '\u{3030}'
            | '\u{30a0}'
            | '\u{fe31}'
            | '\u{fe32}'
            | '\u{fe58}'
            | '\u{fe63}'
            | '\u{ff0d}'
            | '\u{10d6e}'
            | '\u{10ead}' => Some(Self::Dash),
            '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'
            | '\u{1160}'
            | '\u{17b4}'
            | '\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fff8}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}' => Some(Self::Invisible),
            _ => None,
        }
    }
}

/// A TOTP code: 6 to 8 ASCII digits.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct TotpCode(String);

impl TotpCode {
    /// Reads 6 to 8 ASCII digits. Blanks and invisible marks are dropped, and dashes between digits:
    /// in front of them one could be a minus sign. Anything else is no code.
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

    /// The digits.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// What a code can be.
pub enum Code {
    /// Digits of an authenticator app.
    Totp(TotpCode),
    /// A one-time recovery code.
    Backup(BackupCode),
}

/// Which kinds of code a function takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepts {
    /// TOTP codes only.
    Totp,
    /// Backup codes only.
    Backup,
    /// Either kind; their lengths tell them apart.
    Either,
}

impl Code {
    /// Reads a code of an accepted kind; `None` when the text cannot be one.
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
    fn blanks_are_dropped() {
        for text in ["123456", " 123456 ", "123 456", "1 2 3\t4 5 6\n"] {
            assert_eq!(TotpCode::parse(text).unwrap().expose(), "123456", "{text:?}");
        }
        assert_eq!(TotpCode::parse("07081804").unwrap().expose(), "07081804");
    }

    #[test]
    fn dashes_between_digits_and_invisible_marks_are_dropped() {
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
    fn anything_else_is_no_code() {
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
    fn the_kind_follows_from_the_length() {
        assert!(matches!(Code::parse("123456", Accepts::Either), Some(Code::Totp(_))));
        assert!(matches!(
            Code::parse("0123-4567-89AB-CDEF", Accepts::Either),
            Some(Code::Backup(_))
        ));
        assert!(Code::parse("0123-4567-89AB-CDEF", Accepts::Totp).is_none());
        assert!(Code::parse("123456", Accepts::Backup).is_none());
    }
}
