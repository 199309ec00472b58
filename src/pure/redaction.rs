//! Removes possible keys from the error output of a program before it is logged.

use zeroize::Zeroizing;

/// The length from which a run of letters and digits may be a key or a secret, or most of one: a key
/// has 44 characters, or 64 as hex digits, and a secret for JSON Web Tokens at least 32.
const SUSPICIOUS: usize = 32;
/// The replacement for a possible key.
const LEFT_OUT: &str = "[left out]";

/// Returns the text without possible keys, and without control characters except newlines. If more
/// text followed, the last word may be the start of a key and is removed too.
pub fn redacted(text: &[u8], more_followed: bool) -> String {
    let text = Zeroizing::new(String::from_utf8_lossy(text).into_owned());
    let mut rest = text.as_str();
    let mut redacted = String::with_capacity(text.len());
    while !rest.is_empty() {
        let (word, after) = split_where(rest, |next| !is_of_keys(next));
        let is_cut = more_followed && after.is_empty() && !word.is_empty();
        redacted.push_str(if word.len() < SUSPICIOUS && !is_cut { word } else { LEFT_OUT });
        let (between, after) = split_where(after, is_of_keys);
        let fit = |next: char| if next == '\n' || !next.is_control() { next } else { ' ' };
        redacted.extend(between.chars().map(fit));
        rest = after;
    }
    redacted.truncate(redacted.trim_end().len());
    redacted
}

/// Whether a character occurs in hex or in either alphabet of base64.
fn is_of_keys(character: char) -> bool {
    character.is_ascii_alphanumeric() || "+/-_=".contains(character)
}

fn split_where(text: &str, is_wanted: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(is_wanted).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";

    fn whole(text: &str) -> String {
        redacted(text.as_bytes(), false)
    }

    #[test]
    fn possible_keys_are_removed() {
        let hex = "730ff4c7af3d469228f8ed513ba13c87f7904ac2889af25aa4b79b5e9c05e1ee";
        for key in [KEY, KEY.trim_end_matches('='), hex, &KEY.replace('_', "/")] {
            let line = whole(&format!("+ echo '{key}', said the shell\n"));
            assert_eq!(line, "+ echo '[left out]', said the shell");
        }
        assert_eq!(whole(&KEY[..32]), "[left out]");
        assert_eq!(whole(&format!("{KEY}{KEY}")), "[left out]");
    }

    #[test]
    fn the_start_of_a_key_is_removed_where_the_text_was_cut() {
        for length in 1..KEY.len() {
            let text = format!("+ echo {}", &KEY[..length]);
            assert_eq!(redacted(text.as_bytes(), true), "+ echo [left out]");
        }
        assert_eq!(redacted(b"all is well\n", true), "all is well");
    }

    #[test]
    fn other_text_is_kept() {
        let text = "vault: connection refused (https://vault.example:8200/v1/secret)\nexit 2";
        assert_eq!(whole(text), text);
        assert_eq!(whole(""), "");
        assert_eq!(whole("\n"), "");
    }

    #[test]
    fn control_characters_are_replaced() {
        let colour = redacted(b"\x1b[31mred\xff\x00\tend", false);
        assert_eq!(colour, " [31mred\u{fffd}  end");
    }
}
