//! The secret that an authenticator app shares with the server.

use super::invalid::Invalid;
use super::mark::Mark;
use std::fmt;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

const ALPHABET: base32::Alphabet = base32::Alphabet::Rfc4648 { padding: false };

/// A TOTP secret of 80 to 1024 bits, wiped from memory when dropped.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// The minimum length in bytes: 80 bits, as used by the first authenticator apps.
    pub const MIN_BYTES: usize = 10;
    /// The maximum length in bytes: 1024 bits.
    pub const MAX_BYTES: usize = 128;

    /// Creates a secret from raw bytes. Fails if the length is out of range.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, Invalid> {
        let bytes = Zeroizing::new(bytes);
        if !(Self::MIN_BYTES..=Self::MAX_BYTES).contains(&bytes.len()) {
            return Err(Invalid::SecretLength(bytes.len()));
        }
        Ok(Self(bytes))
    }

    /// Parses base32 (RFC 4648, 6) as people copy it: in any case, in groups, with trailing padding.
    /// Rejects groups of different lengths: one of them could be another word, whose letters would
    /// become part of the secret.
    pub fn from_base32(text: &str) -> Result<Self, Invalid> {
        let text = text.trim_end_matches(|c| c == '=' || Mark::of(c).is_some());
        let mut canonical = Zeroizing::new(String::with_capacity(text.len()));
        let mut groups = Vec::new();
        for group in text.split(|c| matches!(Mark::of(c), Some(Mark::Blank | Mark::Dash))) {
            let start = canonical.len();
            let shown = group.chars().filter(|c| Mark::of(*c).is_none());
            canonical.extend(shown.map(|c| c.to_ascii_uppercase()));
            groups.push(canonical.len() - start);
        }
        if !canonical.bytes().all(|b| matches!(b, b'A'..=b'Z' | b'2'..=b'7')) {
            return Err(Invalid::Base32);
        }
        groups.retain(|length| *length > 0);
        if !is_grouping(&groups) {
            return Err(Invalid::Base32Groups);
        }
        let bytes = base32::decode(ALPHABET, &canonical).ok_or(Invalid::Base32)?;
        Self::from_bytes(bytes)
    }

    /// Returns upper-case base32 without padding, as the `otpauth` format requires.
    pub fn to_base32(&self) -> Zeroizing<String> {
        Zeroizing::new(base32::encode(ALPHABET, &self.0))
    }

    /// Returns whether raw bytes have the same codes: HMAC pads keys with zero bytes (RFC 2104,
    /// section 2). Compares in constant time.
    pub fn equals(&self, other: &[u8]) -> bool {
        without_padding(&self.0).ct_eq(without_padding(other)).into()
    }

    /// Returns the raw bytes. The name makes every use easy to find.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

fn without_padding(key: &[u8]) -> &[u8] {
    let length = key.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    key.get(..length).unwrap_or(key)
}

/// Whether groups of these lengths form one secret: equal, or short with a shorter one at the end.
fn is_grouping(lengths: &[usize]) -> bool {
    const SHORT: usize = 8;
    let Some((last, others)) = lengths.split_last() else {
        return true;
    };
    others.iter().all(|length| {
        Some(length) == others.first() && (last == length || (last < length && *length <= SHORT))
    })
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base32_is_read_as_people_type_it() {
        let plain = Secret::from_base32("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ").unwrap();
        assert_eq!(plain.expose(), b"12345678901234567890");
        for copy in [
            "gezd gnbv gy3t qojq gezd gnbv gy3t qojq",
            "GEZD-GNBV-GY3T-QOJQ-GEZD-GNBV-GY3T-QOJQ",
            " GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ==== \n",
            "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ = = =",
            "gezdg nbvgy 3tqoj qgezd gnbvg y3tqo jq",
            "GEZDGNBVGY3TQOJQ\nGEZDGNBVGY3TQOJQ\n",
            "\u{feff}gezd\u{a0}gnbv\u{2011}gy3t\u{2013}qojq\u{3000}gezd gnbv gy3t\u{200b} qojq",
        ] {
            assert_eq!(Secret::from_base32(copy).unwrap().expose(), plain.expose(), "{copy}");
        }
        assert_eq!(plain.to_base32().as_str(), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
    }

    #[test]
    fn other_characters_are_rejected() {
        for text in ["GEZDGNBVGY3TQOJ0", "GEZDGNBVGY3TQOJ1", "GEZDGNBVGY3TQOJ8", "ÄEZDGNBV", "+"] {
            assert_eq!(Secret::from_base32(text).err(), Some(Invalid::Base32), "{text}");
        }
    }

    #[test]
    fn words_next_to_a_secret_are_rejected() {
        for text in [
            "secret=GEZDGNBVGY3TQOJQ",
            "=GEZDGNBVGY3TQOJQ",
            "GEZDGNBV=GY3TQOJQ",
            "GEZDGNBVGY3TQOJQ== x",
            "key: GEZDGNBVGY3TQOJQ",
            "key=GEZDGNBVGY3TQOJQ&step=30",
            "GEZDGNBVGY3TQOJQ, digits=six",
            "\"GEZDGNBVGY3TQOJQ\"",
        ] {
            assert_eq!(Secret::from_base32(text).err(), Some(Invalid::Base32), "{text}");
        }
        for text in [
            "secret GEZDGNBVGY3TQOJQ",
            "secret - GEZD GNBV GY3T QOJQ",
            "GEZDGNBVGY3TQOJQ alice",
            "GEZD GNBV GY3T QOJQ alice",
            "GEZDGNBVGY3TQOJQ\nGitHub",
            "a GEZDGNBVGY3TQOJQ",
        ] {
            assert_eq!(Secret::from_base32(text).err(), Some(Invalid::Base32Groups), "{text}");
        }
    }

    #[test]
    fn secrets_with_the_same_codes_are_equal() {
        let secret = Secret::from_bytes(b"1234567890\0".to_vec()).unwrap();
        assert!(secret.equals(b"1234567890"));
        assert!(secret.equals(b"1234567890\0\0\0"));
        assert!(!secret.equals(b"\x001234567890"));
        assert!(!secret.equals(b"123456789"));
    }

    #[test]
    fn length_is_10_to_128_bytes() {
        for (length, fits) in
            [(0, false), (1, false), (9, false), (10, true), (128, true), (129, false)]
        {
            let secret = Secret::from_bytes(vec![7; length]);
            assert_eq!(secret.is_ok(), fits, "{length} bytes");
        }
    }

    #[test]
    fn every_length_survives_base32() {
        for length in Secret::MIN_BYTES..=Secret::MAX_BYTES {
            let secret = Secret::from_bytes((0..length as u8).collect()).unwrap();
            let copy = Secret::from_base32(&secret.to_base32()).unwrap();
            assert_eq!(copy.expose(), secret.expose());
        }
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::from_bytes(vec![65; 20]).unwrap()), "Secret(..)");
    }
}
