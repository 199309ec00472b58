//! What a program that handles keys complains of, made fit for a log.

use std::iter::Peekable;
use std::str::Chars;

/// So many letters and digits in a row may be a key, or much of one: it has 44 characters, or 64 as hex
/// digits.
const SUSPICIOUS: usize = 40;
/// What stands instead.
const LEFT_OUT: &str = "[left out]";

/// The text without what may be a key, and without control characters but the ends of lines.
pub fn redacted(complaint: &[u8]) -> String {
    let text = String::from_utf8_lossy(complaint);
    let mut rest = text.trim_end().chars().peekable();
    let mut redacted = String::with_capacity(text.len());
    while rest.peek().is_some() {
        let word = take(&mut rest, is_of_keys);
        redacted.push_str(if word.len() < SUSPICIOUS { &word } else { LEFT_OUT });
        for between in take(&mut rest, |next| !is_of_keys(next)).chars() {
            let is_fit = between == '\n' || !between.is_control();
            redacted.push(if is_fit { between } else { ' ' });
        }
    }
    redacted
}

/// Base64 and hex, in any spelling.
fn is_of_keys(character: char) -> bool {
    character.is_ascii_alphanumeric() || "+/-_=".contains(character)
}

fn take(rest: &mut Peekable<Chars>, is_wanted: impl Fn(char) -> bool) -> String {
    std::iter::from_fn(|| rest.next_if(|next| is_wanted(*next))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";

    #[test]
    fn what_may_be_a_key_is_left_out() {
        let hex = "730ff4c7af3d469228f8ed513ba13c87f7904ac2889af25aa4b79b5e9c05e1ee";
        for key in [KEY, KEY.trim_end_matches('='), hex, &KEY.replace('_', "/")] {
            let line = redacted(format!("+ echo '{key}', said the shell\n").as_bytes());
            assert_eq!(line, "+ echo '[left out]', said the shell");
        }
        assert_eq!(redacted(&KEY.as_bytes()[..40]), "[left out]");
        assert_eq!(redacted(format!("{KEY}{KEY}").as_bytes()), "[left out]");
    }

    #[test]
    fn what_is_no_key_stays() {
        let text = "vault: connection refused (https://vault.example:8200/v1/secret)\nexit 2";
        assert_eq!(redacted(text.as_bytes()), text);
        assert_eq!(redacted(b""), "");
        assert_eq!(redacted(b"\n"), "");
    }

    #[test]
    fn the_terminal_is_left_alone() {
        assert_eq!(redacted(b"\x1b[31mred\xff\x00\tend"), " [31mred\u{fffd}  end");
    }
}
