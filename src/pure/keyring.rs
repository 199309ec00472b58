//! Fernet keys, and encryption with them.
//!
//! A ciphertext is a standard Fernet token. Its payload includes its associated data, so that a
//! token copied to another row, or an older token of the same row, does not decrypt there. The
//! `fernet` crate generates each token's IV and timestamp; neither is relied on here.

use super::timestamp::Timestamp;
use fernet::Fernet;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

/// The length of a key in characters: 32 bytes in padded URL-safe base64.
const KEY_CHARS: usize = 44;
/// When tokens are decrypted, as seconds since 1970: the crate refuses those that are more than 60
/// seconds ahead, but the server's clock may have been set back since it wrote them.
const END_OF_TIME: u64 = u64::MAX - 60;
/// The labels that signing keys are derived from.
const AUDIT_LABEL: &[u8] = b"totp audit trail";
const ACCOUNT_LABEL: &[u8] = b"totp audit account";
const CHECKPOINT_LABEL: &[u8] = b"totp audit checkpoint";
const TOKEN_LABEL: &[u8] = b"totp token";
const ALPHABET: base32::Alphabet = base32::Alphabet::Rfc4648 { padding: false };

/// What a ciphertext is bound to: its row, and which of the row's successive values it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssociatedData<'a> {
    purpose: &'static str,
    account: &'a str,
    label: &'a str,
    identity: String,
}

impl<'a> AssociatedData<'a> {
    /// Identifies the secret of a factor. A secret that replaced another has a different creation
    /// time.
    pub fn factor(account: &'a str, label: &'a str, made_at: Timestamp) -> Self {
        let identity = made_at.micros().to_string();
        Self { purpose: "totp", account, label, identity }
    }

    /// Identifies the hashes of an account's backup codes. Another set has a different salt.
    pub fn backup_codes(account: &'a str, salt: &[u8]) -> Self {
        Self { purpose: "backup", account, label: "", identity: hex(salt) }
    }

    /// Identifies the secret of a hardware token, by its serial number. A token that was removed and
    /// imported again has a different creation time.
    pub fn hardware_token(serial: &'a str, made_at: Timestamp) -> Self {
        let identity = made_at.micros().to_string();
        Self { purpose: "hardware", account: "", label: serial, identity }
    }

    /// Identifies the hash of an account's temporary pass. Another pass has a different salt.
    pub fn pass(account: &'a str, salt: &[u8]) -> Self {
        Self { purpose: "pass", account, label: "", identity: hex(salt) }
    }

    /// Returns the same associated data for a renamed account.
    pub fn renamed(self, account: &'a str) -> Self {
        Self { account, ..self }
    }

    /// Identifies the decoy, which belongs to no row.
    fn decoy() -> Self {
        Self::factor("nobody", "default", Timestamp::from_micros(0))
    }
}

/// A value to encrypt and, for a TOTP secret, the names that its authenticator app shows.
#[derive(Default)]
pub struct Plaintext {
    /// The secret or the hash.
    pub value: Zeroizing<Vec<u8>>,
    /// The issuer that the authenticator app shows.
    pub issuer: Option<String>,
    /// The account name that the authenticator app shows.
    pub account_name: Option<String>,
    /// The session that created the secret, if the account's own session did.
    pub session: Option<String>,
}

impl Plaintext {
    /// Wraps a value without names.
    pub fn of(value: &[u8]) -> Self {
        Self { value: Zeroizing::new(value.to_vec()), ..Self::default() }
    }
}

/// A Fernet token and the ID of its key.
#[derive(Debug, Clone)]
pub struct Ciphertext {
    /// The token.
    pub token: String,
    /// The first 16 hex digits of the key's SHA-256.
    pub key_id: String,
}

/// Why a text is not a keyring. No variant contains any part of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Malformed {
    /// It contains no key.
    Empty,
    /// It begins with a byte order mark.
    ByteOrderMark,
    /// This line is neither a key nor a comment.
    Line(usize),
    /// The key on this line repeats an earlier one.
    Duplicate(usize),
}

/// Why a ciphertext cannot be decrypted. A damaged token and one from another row look the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreadable {
    /// Its key is not in the keyring.
    UnknownKey(String),
    /// It does not decrypt under its key, or its associated data differs.
    Damaged,
}

struct Key {
    id: String,
    fernet: Fernet,
    audit: Hmac<Sha256>,
    account: Hmac<Sha256>,
    checkpoint: Zeroizing<[u8; 32]>,
    token: Hmac<Sha256>,
}

/// One or more keys. The first encrypts; all decrypt. Keys are wiped when the keyring is dropped.
pub struct Keyring {
    primary: Key,
    others: Vec<Key>,
    /// A token that belongs to no row, decrypted to take as long as a real one would.
    decoy: Ciphertext,
}

impl Keyring {
    /// Parses one key per line, ignoring surrounding whitespace, empty lines and `#` comments.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        if text.starts_with('\u{feff}') {
            return Err(Malformed::ByteOrderMark);
        }
        let mut keys: Vec<Key> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = Key::parse(line).ok_or(Malformed::Line(index + 1))?;
            if keys.iter().any(|other| other.id == key.id) {
                return Err(Malformed::Duplicate(index + 1));
            }
            keys.push(key);
        }
        let mut keys = keys.into_iter();
        let primary = keys.next().ok_or(Malformed::Empty)?;
        let decoy = primary.encrypt(&AssociatedData::decoy(), &Plaintext::of(&[0; 20]));
        Ok(Self { primary, others: keys.collect(), decoy })
    }

    /// Generates a key, as one line of a key file.
    pub fn new_key() -> Zeroizing<String> {
        Zeroizing::new(Fernet::generate_key())
    }

    /// Returns the ID of a key: the first 16 hex digits of the SHA-256 of its 44 characters.
    pub fn id_of(key: &str) -> String {
        let mut id = hex(&Sha256::digest(key));
        id.truncate(16);
        id
    }

    /// Encrypts a value with the first key, bound to its associated data.
    pub fn encrypt(&self, associated_data: &AssociatedData, plaintext: &Plaintext) -> Ciphertext {
        self.primary.encrypt(associated_data, plaintext)
    }

    /// Decrypts a token. Fails if the associated data differs.
    pub fn decrypt(
        &self,
        associated_data: &AssociatedData,
        ciphertext: &Ciphertext,
    ) -> Result<Plaintext, Unreadable> {
        let key = self
            .keys()
            .find(|key| key.id == ciphertext.key_id)
            .ok_or_else(|| Unreadable::UnknownKey(ciphertext.key_id.clone()))?;
        let payload = key
            .fernet
            .decrypt_at_time(&ciphertext.token, None, END_OF_TIME)
            .map_err(|_| Unreadable::Damaged)?;
        unpack(associated_data, Zeroizing::new(payload)).ok_or(Unreadable::Damaged)
    }

    /// Decrypts the decoy, to take as long as `decrypt`.
    pub fn decrypt_decoy(&self) -> Plaintext {
        self.decrypt(&AssociatedData::decoy(), &self.decoy).unwrap_or_default()
    }

    /// Returns the ID of the key that encrypts.
    pub fn primary_id(&self) -> &str {
        &self.primary.id
    }

    /// Returns the IDs of all keys, starting with the key that encrypts.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys().map(|key| key.id.as_str())
    }

    /// Returns the key that signs the audit trail.
    pub fn audit_key(&self) -> &Hmac<Sha256> {
        &self.primary.audit
    }

    /// Returns the key with an ID that verifies the audit trail.
    pub fn audit_key_of(&self, id: &str) -> Option<&Hmac<Sha256>> {
        self.keys().find(|key| key.id == id).map(|key| &key.audit)
    }

    /// Returns all keys that verify the audit trail.
    pub fn audit_keys(&self) -> impl Iterator<Item = &Hmac<Sha256>> {
        self.keys().map(|key| &key.audit)
    }

    /// Returns the name of an account in the audit trail where names must not appear, under each
    /// key: their keyed hashes, starting with the one that is in use.
    pub fn hashed_accounts(&self, account: &str) -> impl Iterator<Item = String> {
        self.keys().map(move |key| {
            let mut hash = key.account.clone();
            hash.update(account.as_bytes());
            format!("hmac-sha256:{}", hex(&hash.finalize().into_bytes()))
        })
    }

    /// Returns the seed of the key pair that signs checkpoints of the audit trail.
    pub fn checkpoint_seed(&self) -> &[u8; 32] {
        &self.primary.checkpoint
    }

    /// Returns the key that signs tokens.
    pub fn token_key(&self) -> &Hmac<Sha256> {
        &self.primary.token
    }

    /// Returns the keys that verify tokens.
    pub fn token_keys(&self) -> impl Iterator<Item = &Hmac<Sha256>> {
        self.keys().map(|key| &key.token)
    }

    fn keys(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.primary).chain(&self.others)
    }
}

impl Key {
    fn parse(text: &str) -> Option<Self> {
        let fernet = Some(text).filter(|text| text.len() == KEY_CHARS).and_then(Fernet::new)?;
        Some(Self {
            id: Keyring::id_of(text),
            fernet,
            audit: signing_key(text, AUDIT_LABEL)?,
            account: signing_key(text, ACCOUNT_LABEL)?,
            checkpoint: derived(text, CHECKPOINT_LABEL)?,
            token: signing_key(text, TOKEN_LABEL)?,
        })
    }

    fn encrypt(&self, associated_data: &AssociatedData, plaintext: &Plaintext) -> Ciphertext {
        let payload = pack(associated_data, plaintext);
        Ciphertext { token: self.fernet.encrypt(payload.as_bytes()), key_id: self.id.clone() }
    }
}

/// Derives a signing key: HMAC-SHA256 of a fixed label under the key's 44 characters.
fn signing_key(key: &str, label: &[u8]) -> Option<Hmac<Sha256>> {
    Hmac::new_from_slice(&*derived(key, label)?).ok()
}

fn derived(key: &str, label: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let mut derivation = Hmac::<Sha256>::new_from_slice(key.as_bytes()).ok()?;
    derivation.update(label);
    Some(Zeroizing::new(derivation.finalize().into_bytes().into()))
}

/// Returns bytes as hex digits.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn pack(associated_data: &AssociatedData, plaintext: &Plaintext) -> Zeroizing<String> {
    let AssociatedData { purpose, account, label, identity } = associated_data;
    let secret = Zeroizing::new(base32::encode(ALPHABET, &plaintext.value));
    let mut fields =
        json!({ "purpose": purpose, "account": account, "label": label, "identity": identity });
    for (name, value) in [
        ("issuer", &plaintext.issuer),
        ("account_name", &plaintext.account_name),
        ("session", &plaintext.session),
    ] {
        if let (Some(fields), Some(value)) = (fields.as_object_mut(), value) {
            fields.insert(name.to_owned(), value.as_str().into());
        }
    }
    // The secret is added by hand, so that no copy of it remains in a `Value`.
    let fields = fields.to_string();
    let open = fields.strip_suffix('}').unwrap_or(&fields);
    Zeroizing::new(format!("{open},\"secret\":\"{}\"}}", secret.as_str()))
}

fn unpack(associated_data: &AssociatedData, payload: Zeroizing<Vec<u8>>) -> Option<Plaintext> {
    let mut fields: Map<String, Value> = serde_json::from_slice(&payload).ok()?;
    let mut take = |name: &str| match fields.remove(name) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    };
    let secret = Zeroizing::new(take("secret")?);
    let found = [take("purpose")?, take("account")?, take("label")?, take("identity")?];
    let expected = [
        associated_data.purpose,
        associated_data.account,
        associated_data.label,
        &associated_data.identity,
    ];
    let is_here = found.iter().zip(expected).fold(Choice::from(1), |so_far, (found, expected)| {
        so_far & found.as_bytes().ct_eq(expected.as_bytes())
    });
    if !bool::from(is_here) {
        return None;
    }
    let value = Zeroizing::new(base32::decode(ALPHABET, &secret)?);
    Some(Plaintext {
        value,
        issuer: take("issuer"),
        account_name: take("account_name"),
        session: take("session"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";
    const SECOND: &str = "ZmVybmV0LXRlc3Qta2V5LW9mLTMyLWJ5dGVzLWxvbmc=";
    const MADE_AT: Timestamp = Timestamp::from_secs(1_900_000_000);

    fn associated_data() -> AssociatedData<'static> {
        AssociatedData::factor("alice", "phone", MADE_AT)
    }

    #[test]
    fn comments_whitespace_and_crlf_are_ignored() {
        let ring =
            Keyring::parse(&format!("# old and new\r\n\r\n {FIRST}\t \r\n#\n{SECOND}")).unwrap();
        assert_eq!(ring.primary.id, Keyring::id_of(FIRST));
        assert_eq!(ring.others.len(), 1);
    }

    #[test]
    fn errors_name_the_line() {
        let parse = |text: &str| Keyring::parse(text).err();
        assert_eq!(parse(""), Some(Malformed::Empty));
        assert_eq!(parse("# nothing\n\n"), Some(Malformed::Empty));
        assert_eq!(parse(&format!("\u{feff}{FIRST}")), Some(Malformed::ByteOrderMark));
        assert_eq!(parse(&format!("{FIRST}\nsecret")), Some(Malformed::Line(2)));
        assert_eq!(parse(&format!("{FIRST} {SECOND}")), Some(Malformed::Line(1)));
        assert_eq!(parse(FIRST.trim_end_matches('=')), Some(Malformed::Line(1)));
        assert_eq!(parse(&format!("{FIRST}\n\n{FIRST}")), Some(Malformed::Duplicate(3)));
    }

    #[test]
    fn a_key_id_is_the_start_of_its_sha256() {
        // printf %s "$KEY" | sha256sum | cut -c1-16
        assert_eq!(Keyring::id_of(FIRST), "d88a2cb53b61ef4d");
    }

    #[test]
    fn a_value_decrypts_only_with_its_associated_data() {
        let ring = Keyring::parse(FIRST).unwrap();
        let ciphertext = ring.encrypt(&associated_data(), &Plaintext::of(b"12345678901234567890"));
        let decrypt = |associated_data: AssociatedData| {
            ring.decrypt(&associated_data, &ciphertext).map(|plaintext| plaintext.value)
        };
        assert_eq!(decrypt(associated_data()).unwrap().as_slice(), b"12345678901234567890");
        for elsewhere in [
            AssociatedData::factor("bob", "phone", MADE_AT),
            AssociatedData::factor("alice", "tablet", MADE_AT),
            AssociatedData::factor("alice", "phone", MADE_AT.plus_micros(1)),
            AssociatedData { purpose: "backup", ..associated_data() },
        ] {
            assert_eq!(
                decrypt(elsewhere.clone()).err(),
                Some(Unreadable::Damaged),
                "{elsewhere:?}"
            );
        }
    }

    #[test]
    fn backup_codes_decrypt_only_in_their_account_and_set() {
        let ring = Keyring::parse(FIRST).unwrap();
        let ciphertext = ring
            .encrypt(&AssociatedData::backup_codes("alice", &[1; 16]), &Plaintext::of(&[7; 32]));
        let decrypt = |account, salt: &[u8]| {
            ring.decrypt(&AssociatedData::backup_codes(account, salt), &ciphertext)
        };
        assert_eq!(decrypt("alice", &[1; 16]).unwrap().value.as_slice(), [7; 32]);
        assert!(decrypt("bob", &[1; 16]).is_err());
        assert!(decrypt("alice", &[2; 16]).is_err());
    }

    #[test]
    fn a_hardware_token_decrypts_only_under_its_serial_number() {
        let ring = Keyring::parse(FIRST).unwrap();
        let here = AssociatedData::hardware_token("A1", MADE_AT);
        let ciphertext = ring.encrypt(&here, &Plaintext::of(&[7; 20]));
        assert_eq!(ring.decrypt(&here, &ciphertext).unwrap().value.as_slice(), [7; 20]);
        for elsewhere in [
            AssociatedData::hardware_token("A2", MADE_AT),
            AssociatedData::hardware_token("A1", MADE_AT.plus_micros(1)),
            AssociatedData::factor("", "A1", MADE_AT),
        ] {
            assert!(ring.decrypt(&elsewhere, &ciphertext).is_err(), "{elsewhere:?}");
        }
    }

    #[test]
    fn a_token_from_the_future_is_decrypted() {
        let ring = Keyring::parse(FIRST).unwrap();
        let payload = pack(&associated_data(), &Plaintext::of(b"0123456789"));
        for seconds in [0, 4_000_000_000, u64::MAX] {
            let token = ring.primary.fernet.encrypt_at_time(payload.as_bytes(), seconds);
            let ciphertext = Ciphertext { token, key_id: ring.primary.id.clone() };
            let plaintext = ring.decrypt(&associated_data(), &ciphertext).unwrap();
            assert_eq!(plaintext.value.as_slice(), b"0123456789");
        }
    }

    #[test]
    fn issuer_and_account_name_are_kept() {
        let ring = Keyring::parse(FIRST).unwrap();
        let plaintext = Plaintext {
            issuer: Some("Acme \"}".into()),
            account_name: Some("alice".into()),
            ..Plaintext::of(b"0123456789")
        };
        let decrypted = ring
            .decrypt(&associated_data(), &ring.encrypt(&associated_data(), &plaintext))
            .unwrap();
        assert_eq!(decrypted.issuer, plaintext.issuer);
        assert_eq!(decrypted.account_name, plaintext.account_name);
        assert_eq!(decrypted.value, plaintext.value);
    }

    #[test]
    fn quotes_in_names_are_escaped() {
        let ring = Keyring::parse(FIRST).unwrap();
        let odd = AssociatedData::factor("a\",\"secret\":\"AAAA\\\n\u{1}", "\u{202e}🔑", MADE_AT);
        let ciphertext = ring.encrypt(&odd, &Plaintext::of(b"0123456789"));
        assert_eq!(ring.decrypt(&odd, &ciphertext).unwrap().value.as_slice(), b"0123456789");
    }

    #[test]
    fn every_flipped_bit_is_detected() {
        let ring = Keyring::parse(FIRST).unwrap();
        let ciphertext = ring.encrypt(&associated_data(), &Plaintext::of(b"12345678901234567890"));
        for position in 0..ciphertext.token.len() {
            for bit in 0..7 {
                let mut token = ciphertext.token.clone().into_bytes();
                *token.get_mut(position).unwrap() ^= 1 << bit;
                let token = String::from_utf8(token).unwrap();
                let decrypted =
                    ring.decrypt(&associated_data(), &Ciphertext { token, ..ciphertext.clone() });
                assert_eq!(decrypted.err(), Some(Unreadable::Damaged), "bit {bit} of {position}");
            }
        }
    }

    #[test]
    fn an_old_key_decrypts_and_a_removed_one_is_named() {
        let ciphertext = Keyring::parse(FIRST)
            .unwrap()
            .encrypt(&associated_data(), &Plaintext::of(b"0123456789"));
        let rotated = Keyring::parse(&format!("{SECOND}\n{FIRST}")).unwrap();
        assert!(rotated.decrypt(&associated_data(), &ciphertext).is_ok());
        assert_eq!(
            rotated.encrypt(&associated_data(), &Plaintext::of(b"0123456789")).key_id,
            Keyring::id_of(SECOND)
        );
        let removed = Keyring::parse(SECOND).unwrap();
        assert_eq!(
            removed.decrypt(&associated_data(), &ciphertext).err(),
            Some(Unreadable::UnknownKey(Keyring::id_of(FIRST)))
        );
        let foreign = removed.decrypt(
            &associated_data(),
            &Ciphertext { key_id: Keyring::id_of(SECOND), ..ciphertext },
        );
        assert_eq!(foreign.err(), Some(Unreadable::Damaged));
    }

    #[test]
    fn the_decoy_decrypts() {
        assert_eq!(Keyring::parse(FIRST).unwrap().decrypt_decoy().value.len(), 20);
    }

    #[test]
    fn a_new_key_is_a_valid_keyring() {
        assert!(Keyring::parse(&Keyring::new_key()).is_ok());
    }
}
