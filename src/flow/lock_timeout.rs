//! The maximum wait for a row that another transaction holds.

use crate::error::Error;
use crate::{guard, server, settings};

/// Runs a flow that only reads, waiting at most `totp.lock_timeout` for each table.
pub fn read<T>(flow: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    server::with_lock_timeout(settings::lock_timeout(), flow)
}

/// Runs a flow that writes, waiting at most `totp.lock_timeout` for each row.
pub fn limited<T>(flow: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    server::with_lock_timeout(settings::lock_timeout(), || {
        server::on_error(flow, guard::mark(), guard::unanswered)
    })
}
