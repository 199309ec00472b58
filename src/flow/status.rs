//! The status of an account, for its owner.

use super::context::begin_reading;
use super::requirement;
use super::verify::is_suspended;
use super::waiting_recovery::is_over;
use crate::error::Error;
use crate::guard::{self, AccountGuard, Usage};
use crate::pure::name::Account;
use crate::pure::requirement::Standing;
use crate::pure::timestamp::Timestamp;
use crate::store::account::Status;
use crate::store::factor::LabelledFactor;
use crate::{clock, settings, store};

/// Returns the status of an account, what it has to do, and the current time. The lock state is the
/// stricter of shared memory and table; the status is empty if there is no such account. Reads only.
pub fn status(account: &Account) -> Result<(Status, Standing, Timestamp), Error> {
    begin_reading()?;
    let now = clock::now()?;
    let standing = requirement::standing_at(account, now)?;
    let since = now.plus_secs(-settings::pending_ttl());
    let status = store::account::status(account, since)?;
    let Some(mut status) = status.filter(|status| !is_over(status.recovery_at, now)) else {
        return Ok((Status::default(), standing, now));
    };
    let memory = AccountGuard::of(account).shown_lock_state();
    let suspended = is_suspended(&status.lock_state, &memory);
    status.lock_state = status.lock_state.stricter(&memory);
    status.lock_state.suspended = suspended;
    Ok((status, standing, now))
}

/// Returns the factors of an account, without pending ones that can no longer be confirmed.
pub fn factors(account: &Account) -> Result<Vec<LabelledFactor>, Error> {
    begin_reading()?;
    let now = clock::now()?;
    store::factor::labels(account, now.plus_secs(-settings::pending_ttl()), now)
}

/// Returns whether an account has an active factor.
pub fn is_enabled(account: &Account) -> Result<bool, Error> {
    begin_reading()?;
    store::factor::is_enrolled(account, clock::now()?)
}

/// Returns how full shared memory is, or `None` without it.
pub fn guard_usage() -> Option<Usage> {
    guard::usage()
}
