//! Encryption keys.

use super::audit::field;
use super::context::{Context, begin_writing};
use crate::error::{Error, KeyRows, KeyringError};
use crate::pure::audit::Event;
use crate::pure::keyring::Keyring;
use crate::store::rotation;
use crate::{clock, keys, server};

/// Generates a key, for superusers only: see `keys::generate`. Fails while rows of this
/// database need keys that are not in the keyring, since a new key would not help.
pub fn generate() -> Result<String, Error> {
    server::require_superuser()?;
    let used = rotation::keys()?;
    if used.is_empty() {
        return generate_recorded();
    }
    let missing = match keys::keyring() {
        Ok(keyring) => split(used, &keyring).1,
        Err(Error::Keyring(KeyringError::Missing { .. })) => used,
        Err(error) => return Err(error),
    };
    if missing.is_empty() { generate_recorded() } else { Err(Error::KeysNeeded(missing)) }
}

/// Generates a key and writes that to the audit trail, where there is one to write to.
fn generate_recorded() -> Result<String, Error> {
    let (text, id) = keys::generate()?;
    if begin_writing().is_ok() {
        let context = Context::at(clock::now()?)?;
        context.record_general(Event::KeyGenerate, field("key_id", id))?;
    }
    Ok(text)
}

/// Splits the keys of rows into those that the keyring has and those that it lacks.
pub fn split(used: KeyRows, keyring: &Keyring) -> (KeyRows, KeyRows) {
    used.into_iter().partition(|(id, _)| keyring.ids().any(|known| known == id))
}

/// Returns the IDs of all encryption keys, and whether each is the first.
pub fn ids() -> Result<Vec<(String, bool)>, Error> {
    let keyring = keys::keyring()?;
    Ok(keyring.ids().map(|id| (id.to_owned(), id == keyring.primary_id())).collect())
}
