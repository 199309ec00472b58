//! What one call works with from beginning to end.

use crate::error::{Error, KeyringError};
use crate::pure::keyring::Keyring;
use crate::pure::timestamp::Timestamp;
use crate::store::rotation;
use crate::{clock, keys, server};
use std::rc::Rc;

/// The time and the keys of a call, sampled once.
pub struct Context {
    /// The time of the call.
    pub now: Timestamp,
    /// The encryption keys.
    pub keyring: Rc<Keyring>,
}

impl Context {
    /// Begins a call that writes. Fails before any attempt is counted.
    pub fn begin() -> Result<Self, Error> {
        begin_writing()?;
        Self::at(clock::now()?)
    }

    /// Continues a call that has already read the clock.
    pub fn at(now: Timestamp) -> Result<Self, Error> {
        Ok(Self { now, keyring: keyring()? })
    }
}

/// Returns the current keyring. If there is none, the error proposes a new key only if no row needs
/// an old one.
pub fn keyring() -> Result<Rc<Keyring>, Error> {
    match keys::keyring() {
        Err(Error::Keyring(KeyringError::Missing { .. })) => {
            Err(KeyringError::Missing { is_needed: rotation::has_rows()? }.into())
        }
        result => result,
    }
}

/// Begins a call that writes, and may end before it needs a context.
pub fn begin_writing() -> Result<(), Error> {
    server::require_writable()?;
    server::require_local_tables()
}

/// Begins a call that only reads what is known of an account.
pub fn begin_reading() -> Result<(), Error> {
    server::require_local_tables()
}
