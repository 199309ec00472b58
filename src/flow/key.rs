//! Encryption keys.

use crate::error::Error;
use crate::{keys, server};

/// Generates a key, for superusers only: see `keys::generate`.
pub fn generate() -> Result<String, Error> {
    server::require_superuser()?;
    keys::generate()
}

/// Returns the IDs of all encryption keys, and whether each is the first.
pub fn ids() -> Result<Vec<(String, bool)>, Error> {
    let keyring = keys::keyring()?;
    Ok(keyring.ids().map(|id| (id.to_owned(), id == keyring.primary_id())).collect())
}
