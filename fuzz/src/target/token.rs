//! Tokens: kind, ID and expiry of one that is signed, and pairs of a place and a character to put there.

use super::{changed, text};
use crate::pure::keyring::Keyring;
use crate::pure::timestamp::Timestamp;
use crate::pure::token::{Kind, Token};
use std::sync::LazyLock;

const KINDS: [Kind; 3] = [Kind::Challenge, Kind::Recovery, Kind::Trust];
static KEYRING: LazyLock<Keyring> = LazyLock::new(|| {
    let keys = "ZmVybmV0LXRlc3Qta2V5LW9mLTMyLWJ5dGVzLWxvbmc=\ncw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";
    Keyring::parse(keys).unwrap()
});

pub fn check(data: &[u8]) -> bool {
    // Nobody without a key makes a token.
    for kind in KINDS {
        assert_eq!(Token::read(text(data), kind, &KEYRING), None, "a forged token");
    }
    let Some((start, changes)) = data.split_at_checked(25) else {
        return false;
    };
    let kind = KINDS[usize::from(start[0]) % KINDS.len()];
    let expiry = i64::from_be_bytes(start[17..25].try_into().unwrap());
    let id = start[1..17].try_into().unwrap();
    let token = Token { kind, id, expires_at: Timestamp::from_micros(expiry) };
    let signed = token.signed(&KEYRING);
    let Some(changed) = changed(&signed, changes) else {
        return false;
    };
    let is_unchanged = changed == *signed;
    for other in KINDS {
        let expected = (is_unchanged && other == kind).then_some(token);
        assert_eq!(Token::read(&changed, other, &KEYRING), expected);
    }
    is_unchanged
}
