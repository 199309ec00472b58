//! Secrets in base32 as people copy them.

use super::silence::assert_silent;
use super::text;
use crate::pure::invalid::Invalid;
use crate::pure::secret::Secret;

const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

pub fn check(data: &[u8]) -> bool {
    let text = text(data);
    let secret = match Secret::from_base32(text) {
        Ok(secret) => secret,
        Err(invalid) => {
            assert_silent(&invalid);
            if let Invalid::SecretLength(length) = invalid {
                assert!(!(Secret::MIN_BYTES..=Secret::MAX_BYTES).contains(&length));
            }
            return false;
        }
    };
    let letters: String = text.chars().filter(char::is_ascii_alphanumeric).collect();
    assert!(secret.expose() == decoded(&letters), "another secret");
    assert!((Secret::MIN_BYTES..=Secret::MAX_BYTES).contains(&secret.expose().len()));
    let written = secret.to_base32();
    let groups: Vec<&str> =
        written.as_bytes().chunks(4).map(|group| std::str::from_utf8(group).unwrap()).collect();
    for copy in [written.to_string(), groups.join(" ").to_lowercase(), format!("{}=", &*written)] {
        let again = Secret::from_base32(&copy).unwrap();
        assert!(again.expose() == secret.expose(), "another secret");
    }
    true
}

/// Decodes base32 without padding, bit by bit (RFC 4648, section 6).
fn decoded(letters: &str) -> Vec<u8> {
    let value = |letter: char| ALPHABET.find(letter.to_ascii_uppercase()).unwrap();
    let bits: Vec<bool> = letters
        .chars()
        .map(value)
        .flat_map(|value| (0..5).rev().map(move |place| value >> place & 1 == 1))
        .collect();
    let byte = |bits: &[bool]| bits.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
    bits.chunks_exact(8).map(byte).collect()
}
