//! Single-use backup codes: 80 random bits, formatted for people to type.

use super::mark::{LIMIT, Mark};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

const ALPHABET: base32::Alphabet = base32::Alphabet::Crockford;
const LENGTH: usize = 16;
/// The PBKDF2 iteration count: the minimum in SP 800-132. SP 800-63B-4, 3.1.2.2 permits a low count
/// because the codes are random.
const ROUNDS: u32 = 1_000;

/// The number of random bytes in a code.
pub const ENTROPY_BYTES: usize = 10;
/// The length in bytes of the salt that the codes of a set share.
pub const SALT_BYTES: usize = 16;
/// The length of a stored hash, in bytes. A code has only 10 bytes to guess.
const HASH_BYTES: usize = 16;

/// The length of a code that another system issued. Shorter ones would be too easy to guess.
const IMPORTED_LENGTH: std::ops::RangeInclusive<usize> = 8..=64;
/// The characters of our own codes in canonical form.
const CHARACTERS: &[u8] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// A backup code in canonical form: 16 Crockford base32 characters, or, if another system issued it,
/// any other printable ASCII characters.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct BackupCode(String);

impl std::fmt::Debug for BackupCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BackupCode(..)")
    }
}

impl BackupCode {
    /// Creates a code from 80 random bits.
    pub fn from_entropy(entropy: &[u8; ENTROPY_BYTES]) -> Self {
        Self(base32::encode(ALPHABET, entropy))
    }

    /// Parses a typed code, ignoring case, whitespace, dashes and invisible characters. O is read as
    /// 0, I and L as 1.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > LIMIT {
            return None;
        }
        let mut code = Self(String::with_capacity(text.len()));
        for c in text.chars().filter(|c| Mark::of(*c).is_none()) {
            code.0.push(match c.to_ascii_uppercase() {
                'O' => '0',
                'I' | 'L' => '1',
                'U' => return None,
                c if c.is_ascii_alphanumeric() => c,
                _ => return None,
            });
        }
        (code.0.len() == LENGTH).then_some(code)
    }

    /// Parses a typed code that another system may have issued: 8 to 64 printable ASCII characters,
    /// whose case matters. Whitespace, dashes and invisible characters do not. What could be a code
    /// of our own is read as one, so that each text is only one code.
    pub fn parse_imported(text: &str) -> Option<Self> {
        if let Some(own) = Self::parse(text) {
            return Some(own);
        }
        if text.len() > LIMIT {
            return None;
        }
        let mut code = Self(String::with_capacity(text.len()));
        code.0.extend(text.chars().filter(|c| Mark::of(*c).is_none()));
        let is_printable = code.0.bytes().all(|byte| byte.is_ascii_graphic());
        (is_printable && IMPORTED_LENGTH.contains(&code.0.len())).then_some(code)
    }

    /// Whether the code has the form of those that we issue.
    pub fn is_own(&self) -> bool {
        self.0.len() == LENGTH && self.0.bytes().all(|byte| CHARACTERS.contains(&byte))
    }

    /// Returns the code in canonical form.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Formats the code for display: `XXXX-XXXX-XXXX-XXXX`.
    pub fn grouped(&self) -> String {
        let mut text = String::with_capacity(LENGTH + 3);
        for (place, c) in self.0.chars().enumerate() {
            if place > 0 && place % 4 == 0 {
                text.push('-');
            }
            text.push(c);
        }
        text
    }

    /// Returns the first bytes of the PBKDF2-HMAC-SHA256 of the code (RFC 8018, 5.2).
    fn hash(&self, salt: &[u8]) -> Zeroizing<[u8; HASH_BYTES]> {
        let mut hash = Zeroizing::new([0; HASH_BYTES]);
        pbkdf2::pbkdf2_hmac::<Sha256>(self.0.as_bytes(), salt, ROUNDS, hash.as_mut_slice());
        hash
    }
}

/// The salted hashes of the codes of a set.
pub struct HashedSet(Zeroizing<Vec<u8>>);

impl HashedSet {
    /// A set without codes, in which a search takes as long as in others.
    pub fn empty() -> Self {
        Self(Zeroizing::default())
    }

    /// Hashes the codes of a set.
    pub fn of(codes: &[BackupCode], salt: &[u8]) -> Self {
        let mut hashes = Zeroizing::new(Vec::with_capacity(codes.len() * HASH_BYTES));
        for code in codes {
            hashes.extend_from_slice(code.hash(salt).as_slice());
        }
        Self(hashes)
    }

    /// Reads the hashes as `expose` returns them. Returns `None` if there is a part of one.
    pub fn from_bytes(bytes: Zeroizing<Vec<u8>>) -> Option<Self> {
        bytes.len().is_multiple_of(HASH_BYTES).then_some(Self(bytes))
    }

    /// Returns the hashes one after another, which are stored encrypted.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Returns the position of a code in the set, from 0, if it is one of the set. Compares all
    /// hashes, each in constant time.
    pub fn find(&self, code: &BackupCode, salt: &[u8]) -> Option<usize> {
        let hash = code.hash(salt);
        let mut found = None;
        for (position, stored) in self.0.chunks_exact(HASH_BYTES).enumerate() {
            if hash.as_slice().ct_eq(stored).into() {
                found = Some(position);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_parsed_as_people_type_it() {
        let code =
            BackupCode::from_entropy(&[0x00, 0x44, 0x32, 0x14, 0xc7, 0x42, 0x54, 0xb6, 0x35, 0xcf]);
        assert_eq!(code.grouped(), "0123-4567-89AB-CDEF");
        for text in
            ["0123456789abcdef", " o123 4567 89ab cdef ", "OI23-4567-89AB-CDEF", "0l23456789ABCDEF"]
        {
            assert_eq!(BackupCode::parse(text).unwrap().0, code.0, "{text}");
        }
        for text in [
            "0123\u{2011}4567\u{2013}89AB\u{2212}CDEF",
            "0123\u{a0}4567\u{3000}89AB\u{202f}CDEF",
            "\u{feff}0123-4567-89AB-CDEF\u{200f}",
            "0123\u{ad}4567\u{200b}89AB\u{2060}CDEF",
            "- 0123456789ABCDEF -",
        ] {
            assert_eq!(BackupCode::parse(text).unwrap().0, code.0, "{text:?}");
        }
    }

    #[test]
    fn anything_else_is_rejected() {
        for text in [
            "",
            "----",
            "０123-4567-89AB-CDEF",
            "٠123-4567-89AB-CDEF",
            "+0123-4567-89AB-CDEF",
            "\u{2014}\u{a0}\u{200b}",
            "0123-4567-89AB-CDE",
            "0123-4567-89AB-CDEFG",
            "U123-4567-89AB-CDEF",
            "é123-4567-89AB-CDEF",
            "0123_4567_89AB_CDEF",
        ] {
            assert!(BackupCode::parse(text).is_none(), "{text}");
        }
        assert!(BackupCode::parse(&"0".repeat(1_000_000)).is_none());
    }

    #[test]
    fn a_code_of_another_system_is_parsed_as_it_was_issued() {
        for (text, canonical) in [
            ("12345678", "12345678"),
            (" 1234-5678 ", "12345678"),
            ("lhweewhl", "lhweewhl"),
            ("aB3dE-fGh1J", "aB3dEfGh1J"),
            ("aB3dE\u{2011}fGh1J\u{200b}", "aB3dEfGh1J"),
            ("T_d9EeW_2XZyhlMy", "T_d9EeW_2XZyhlMy"),
            ("BJrPMcWK2bjLx-cF", "BJrPMcWK2bjLxcF"),
            ("unused-code+/=.", "unusedcode+/=."),
        ] {
            let code = BackupCode::parse_imported(text).unwrap();
            assert_eq!((code.expose(), code.is_own()), (canonical, false), "{text}");
        }
        // 16 letters and digits without U: read as one of ours, so that case does not matter.
        let code = BackupCode::parse_imported("D60SzH0qt7Q7Yl0Q").unwrap();
        assert_eq!((code.expose(), code.is_own()), ("D60SZH0QT7Q7Y10Q", true));
        assert!(BackupCode::parse_imported("UABCDEFGHJKMNPQR").is_some_and(|code| !code.is_own()));
    }

    #[test]
    fn a_text_that_no_system_issues_is_rejected() {
        let (long, longer) = ("x".repeat(64), "x".repeat(65));
        assert!(BackupCode::parse_imported(&long).is_some());
        for text in ["", "1234567", "1-2-3-4-5-6-7", "password\u{e9}", "12345678\u{0}", &longer] {
            assert!(BackupCode::parse_imported(text).is_none(), "{text:?}");
        }
        assert!(BackupCode::parse_imported(&"-".repeat(100_000)).is_none());
    }

    #[test]
    fn the_hash_is_pbkdf2_hmac_sha256() {
        // hashlib.pbkdf2_hmac("sha256", b"0123456789ABCDEF", bytes(range(16)), 1000)[:16]
        let expected = "18cb607b36bf8cd5c2b059329d625429";
        let salt: Vec<u8> = (0..16).collect();
        let set = HashedSet::of(&[BackupCode::parse("0123456789ABCDEF").unwrap()], &salt);
        let hex: String = set.expose().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, expected);
    }

    #[test]
    fn a_code_is_found_in_its_set_with_its_salt() {
        let salt = [7; SALT_BYTES];
        let code = |n| BackupCode::from_entropy(&[n; ENTROPY_BYTES]);
        let set = HashedSet::of(&[code(1), code(2), code(3)], &salt);
        let stored = HashedSet::from_bytes(Zeroizing::new(set.expose().to_vec())).unwrap();
        assert_eq!(stored.find(&code(1), &salt), Some(0));
        assert_eq!(stored.find(&code(3), &salt), Some(2));
        assert_eq!(stored.find(&code(4), &salt), None);
        assert_eq!(stored.find(&code(1), &[8; SALT_BYTES]), None);
        assert_eq!(HashedSet::empty().find(&code(1), &salt), None);
        assert!(HashedSet::from_bytes(Zeroizing::new(vec![0; HASH_BYTES + 1])).is_none());
    }
}
