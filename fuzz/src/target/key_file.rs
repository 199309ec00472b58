//! Key files, and the removal of their keys from the error output of a command.

use super::silence::assert_silent;
use super::text;
use crate::pure::keyring::{Keyring, Malformed};
use crate::pure::redaction::redacted;

/// The characters of keys that may remain next to each other in a log.
const MAX_RUN: usize = 31;

pub fn check(data: &[u8]) -> bool {
    let is_of_keys = |c: char| c.is_ascii_alphanumeric() || "+/-_=".contains(c);
    let logged = redacted(data, false);
    assert!(logged.split(|c| !is_of_keys(c)).all(|run| run.len() <= MAX_RUN), "a key in the log");
    assert!(logged.chars().all(|c| c == '\n' || !c.is_control()));

    let text = text(data);
    let keyring = match Keyring::parse(text) {
        Ok(keyring) => keyring,
        Err(malformed) => {
            assert_silent(&malformed);
            if let Malformed::Line(line) | Malformed::Duplicate(line) = malformed {
                assert!((1..=text.lines().count()).contains(&line));
            }
            return false;
        }
    };
    let lines = text.lines().map(str::trim_ascii);
    let keys: Vec<&str> = lines.filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let ids: Vec<String> = keys.iter().map(|key| Keyring::id_of(key)).collect();
    assert!(keyring.ids().eq(&ids), "other keys");
    let again = Keyring::parse(&keys.join("\n")).unwrap();
    assert!(again.ids().eq(&ids), "other keys");
    assert_eq!(keyring.decrypt_decoy().value.len(), 20);
    true
}
