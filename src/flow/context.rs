//! What one call works with from its begin to its end.

use crate::error::Error;
use crate::pure::keyring::Keyring;
use crate::pure::timestamp::Timestamp;
use crate::{clock, keys, server};
use std::rc::Rc;

/// A call that writes: its one sample of time, and its keys.
pub struct Context {
    /// The time of the call.
    pub now: Timestamp,
    /// The keys.
    pub keyring: Rc<Keyring>,
}

impl Context {
    /// Begins a call that writes. Fails before anything is counted.
    pub fn begin() -> Result<Self, Error> {
        server::require_writable()?;
        Self::at(clock::now()?)
    }

    /// Goes on with a call that has read the clock already.
    pub fn at(now: Timestamp) -> Result<Self, Error> {
        Ok(Self { now, keyring: keys::keyring()? })
    }
}
