//! The longest wait for a row that another transaction holds.

use crate::error::Error;
use crate::{server, settings};

/// Runs what writes, and waits for each row at most `totp.lock_timeout`.
pub fn limited<T>(flow: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    server::with_lock_timeout(settings::lock_timeout(), flow)
}
