//! Ciphertexts. After `t`, the input is a token that an attacker chose; after `p`, the payload of a
//! token under a key of the keyring; after `c`, pairs of a place and a character to put into one.

use super::{changed, text};
use crate::pure::keyring::{AssociatedData, Ciphertext, Keyring, Plaintext, Unreadable};
use crate::pure::timestamp::Timestamp;
use fernet::Fernet;
use std::sync::LazyLock;

const KEY: &str = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";
static FERNET: LazyLock<Fernet> = LazyLock::new(|| Fernet::new(KEY).unwrap());
static KEYRING: LazyLock<Keyring> = LazyLock::new(|| Keyring::parse(KEY).unwrap());
static GENUINE: LazyLock<String> =
    LazyLock::new(|| KEYRING.encrypt(&here(), &Plaintext::of(b"12345678901234567890")).token);

fn here() -> AssociatedData<'static> {
    AssociatedData::factor("alice", "phone", Timestamp::from_micros(1))
}

fn decrypted(associated_data: &AssociatedData, token: String) -> Result<Plaintext, Unreadable> {
    let ciphertext = Ciphertext { token, key_id: KEYRING.primary_id().to_owned() };
    KEYRING.decrypt(associated_data, &ciphertext)
}

pub fn check(data: &[u8]) -> bool {
    match data.split_first() {
        Some((b't', token)) => {
            let read = decrypted(&here(), text(token).to_owned());
            assert_eq!(read.err(), Some(Unreadable::Damaged), "a forged token");
            false
        }
        Some((b'p', payload)) => is_read(payload),
        Some((b'c', changes)) => {
            assert_intact(changes);
            false
        }
        _ => false,
    }
}

/// What decrypts in one place does not in another, and can be encrypted again.
fn is_read(payload: &[u8]) -> bool {
    let token = FERNET.encrypt_at_time(payload, 0);
    let elsewhere = AssociatedData::factor("alice", "phone", Timestamp::from_micros(2));
    let others = [here().renamed("bob"), elsewhere, AssociatedData::backup_codes("alice", &[1])];
    let Ok(plaintext) = decrypted(&here(), token.clone()) else {
        return false;
    };
    for other in others {
        assert_eq!(decrypted(&other, token.clone()).err(), Some(Unreadable::Damaged));
    }
    let again = decrypted(&here(), KEYRING.encrypt(&here(), &plaintext).token).unwrap();
    assert!(again.value == plaintext.value, "another value");
    assert_eq!(again.issuer, plaintext.issuer);
    assert_eq!(again.account_name, plaintext.account_name);
    assert_eq!(again.session, plaintext.session);
    true
}

/// A token that was changed does not decrypt. The padding at its end stands for nothing: the library
/// reads a token with any of it.
fn assert_intact(changes: &[u8]) {
    if let Some(changed) = changed(&GENUINE, changes) {
        let is_unchanged = changed.trim_end_matches('=') == GENUINE.trim_end_matches('=');
        assert_eq!(decrypted(&here(), changed).is_ok(), is_unchanged);
    }
}
