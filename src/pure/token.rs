//! Signed tokens for challenges, recovery links and trusted devices.
//!
//! The format is unpadded base64url of version (1 byte), kind (1), ID (16), expiry (8, microseconds
//! since 1970, big-endian) and the HMAC-SHA256 of these (32). The ID has no meaning in itself: a
//! table row states what the token is valid for.

use super::keyring::Keyring;
use super::timestamp::Timestamp;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::Mac;
use std::ops::Range;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

const VERSION: u8 = 1;
const ID: Range<usize> = 2..18;
const EXPIRY: Range<usize> = 18..26;
const MAC: Range<usize> = 26..58;

/// The purpose of a token. A token of one kind is never accepted as another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Links the password step of a login to the second factor.
    Challenge,
    /// Turns off two-factor authentication.
    Recovery,
    /// Lets a device skip the second factor.
    Trust,
}

impl Kind {
    /// Returns the name used in SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Challenge => "challenge",
            Self::Recovery => "recovery",
            Self::Trust => "trust",
        }
    }

    /// Returns the maximum lifetime in days.
    pub const fn max_days(self) -> i64 {
        match self {
            Self::Challenge => 1,
            Self::Recovery => 7,
            Self::Trust => 366,
        }
    }

    const fn byte(self) -> u8 {
        match self {
            Self::Challenge => b'C',
            Self::Recovery => b'R',
            Self::Trust => b'T',
        }
    }
}

/// The contents of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// The purpose.
    pub kind: Kind,
    /// The ID of its table row.
    pub id: [u8; 16],
    /// The time from which it is no longer accepted.
    pub expires_at: Timestamp,
}

impl Token {
    /// The length of a token in characters.
    pub const CHARS: usize = 78;

    /// Returns the token as text, signed with the first key.
    pub fn signed(&self, keyring: &Keyring) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAC.end));
        bytes.extend([VERSION, self.kind.byte()]);
        bytes.extend(self.id);
        bytes.extend(self.expires_at.micros().to_be_bytes());
        let mut mac = keyring.token_key().clone();
        mac.update(&bytes);
        bytes.extend(mac.finalize().into_bytes());
        Zeroizing::new(URL_SAFE_NO_PAD.encode(&*bytes))
    }

    /// Parses a token of one kind. Returns `None` if it was altered, is of another kind, or was not
    /// signed with a key in the keyring.
    pub fn read(text: &str, kind: Kind, keyring: &Keyring) -> Option<Self> {
        if text.len() != Self::CHARS {
            return None;
        }
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).ok()?);
        let signed = bytes.get(..MAC.start)?;
        let mac = bytes.get(MAC)?;
        let is_signed = keyring.token_keys().any(|key| {
            let mut expected = key.clone();
            expected.update(signed);
            expected.verify_slice(mac).is_ok()
        });
        let is_kind = bytes.get(..ID.start)?.ct_eq(&[VERSION, kind.byte()]);
        if !is_signed || !bool::from(is_kind) {
            return None;
        }
        let expiry = i64::from_be_bytes(bytes.get(EXPIRY)?.try_into().ok()?);
        Some(Self {
            kind,
            id: bytes.get(ID)?.try_into().ok()?,
            expires_at: Timestamp::from_micros(expiry),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";
    const NEW: &str = "ZmVybmV0LXRlc3Qta2V5LW9mLTMyLWJ5dGVzLWxvbmc=";

    fn token(kind: Kind) -> Token {
        Token { kind, id: *b"0123456789abcdef", expires_at: Timestamp::from_secs(1_700_000_000) }
    }

    fn ring(keys: &[&str]) -> Keyring {
        Keyring::parse(&keys.join("\n")).unwrap()
    }

    #[test]
    fn a_signed_token_round_trips() {
        let ring = ring(&[OLD]);
        let text = token(Kind::Trust).signed(&ring);
        assert_eq!(text.len(), Token::CHARS);
        assert_eq!(Token::read(&text, Kind::Trust, &ring), Some(token(Kind::Trust)));
    }

    #[test]
    fn no_kind_is_accepted_as_another() {
        let ring = ring(&[OLD]);
        let kinds = [Kind::Challenge, Kind::Recovery, Kind::Trust];
        for signed in kinds {
            for read in kinds {
                let text = token(signed).signed(&ring);
                assert_eq!(Token::read(&text, read, &ring).is_some(), signed == read);
            }
        }
    }

    #[test]
    fn every_changed_character_is_rejected() {
        let ring = ring(&[OLD]);
        let text = token(Kind::Challenge).signed(&ring);
        for place in 0..text.len() {
            for byte in 0..128 {
                let mut changed = text.as_bytes().to_vec();
                if std::mem::replace(changed.get_mut(place).unwrap(), byte) == byte {
                    continue;
                }
                let changed = String::from_utf8(changed).unwrap();
                let read = Token::read(&changed, Kind::Challenge, &ring);
                assert_eq!(read, None, "character {byte} at {place}");
            }
        }
    }

    #[test]
    fn other_lengths_are_rejected() {
        let ring = ring(&[OLD]);
        let text = token(Kind::Challenge).signed(&ring);
        for length in 0..text.len() {
            assert_eq!(Token::read(&text[..length], Kind::Challenge, &ring), None);
        }
        for more in ["=", "A", " ", "\n"] {
            let longer = format!("{}{more}", text.as_str());
            assert_eq!(Token::read(&longer, Kind::Challenge, &ring), None);
        }
    }

    #[test]
    fn an_old_key_verifies_until_it_is_removed() {
        let text = token(Kind::Challenge).signed(&ring(&[OLD]));
        let read = |keys: &[&str]| Token::read(&text, Kind::Challenge, &ring(keys)).is_some();
        assert!(read(&[OLD]));
        assert!(read(&[NEW, OLD]));
        assert!(!read(&[NEW]));
    }

    #[test]
    fn the_signature_is_an_hmac_under_a_derived_key() {
        // Python: key = hmac.digest(OLD, b"totp token", "sha256"); hmac.digest(key, bytes, "sha256")
        let text = token(Kind::Challenge).signed(&ring(&[OLD]));
        let bytes = URL_SAFE_NO_PAD.decode(text.as_str()).unwrap();
        let hex: String = bytes[MAC].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "d4396898bd9988816b1029400ea30cf6fa973e1f142103754bb64d97352e6b1f");
    }
}
