//! Characters without meaning in typed codes and secrets: whitespace, dashes, invisible characters.

/// Maximum length of a typed code, in bytes. Longer text is rejected without parsing. It leaves room
/// for several marks between any two characters.
pub(super) const LIMIT: usize = 256;

/// A character without meaning in a code or a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// Has the Unicode property White_Space.
    Blank,
    /// Any dash, or the minus sign.
    Dash,
    /// Not displayed: has the Unicode property Default_Ignorable_Code_Point.
    Invisible,
}

impl Mark {
    /// Classifies a character; returns `None` if it is not a mark.
    pub(super) fn of(c: char) -> Option<Self> {
        match c {
            c if c.is_whitespace() => Some(Self::Blank),
            // The Unicode category Pd, and U+2212.
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
