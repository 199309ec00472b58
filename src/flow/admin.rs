//! What administrators do to accounts, each time with a reason for the audit trail.

use super::backup;
use super::call::{Call, field};
use crate::error::Error;
use crate::guard::Subject;
use crate::pure::audit::{Event, Outcome};
use crate::pure::name::{Account, Justification};
use crate::{clock, server, settings, store};

/// Removes all factors and codes of an account, and its lock: it must enrol anew. `false` when there
/// is no such account.
pub fn reset(account: &Account, why: &Justification) -> Result<bool, Error> {
    let call = Call::begin()?;
    if store::account::lock(account)?.is_none() {
        return Ok(false);
    }
    switch_off(&call, account)?;
    call.record(account, Event::Reset, Outcome::Ok, field("reason", &**why))?;
    Ok(true)
}

/// Removes all factors and codes of an account, and its lock, where no code was asked for. The caller
/// holds its row.
pub fn switch_off(call: &Call, account: &Account) -> Result<(), Error> {
    store::factor::delete_all(account)?;
    store::backup_code::delete_all(account)?;
    store::account::clear(account)?;
    store::account::changed(account, call.now)?;
    Subject::of(account).pardon();
    Ok(())
}

/// Lifts an account's lock and suspension and forgets its failures. `false` when there is no such
/// account.
pub fn unlock(account: &Account, why: &Justification) -> Result<bool, Error> {
    let call = Call::begin()?;
    if store::account::lock(account)?.is_none() {
        return Ok(false);
    }
    store::account::clear(account)?;
    Subject::of(account).pardon();
    call.record(account, Event::Unlock, Outcome::Ok, field("reason", &**why))?;
    Ok(true)
}

/// Issues a new set of backup codes; the old one dies.
pub fn reissue(account: &Account, why: &Justification) -> Result<Vec<String>, Error> {
    let call = Call::begin()?;
    store::account::lock(account)?;
    if !store::factor::is_enrolled(account)? {
        return Err(Error::NotEnrolled);
    }
    let codes = backup::new_set(&call, account)?;
    call.record(account, Event::Reissue, Outcome::Ok, field("reason", &**why))?;
    Ok(codes)
}

/// Erases an account: nothing stays but its audit trail. `false` when there is no such account.
pub fn forget(account: &Account, why: &Justification) -> Result<bool, Error> {
    let call = Call::begin()?;
    if !store::account::delete(account, call.now)? {
        return Ok(false);
    }
    Subject::of(account).pardon();
    call.record(account, Event::Forget, Outcome::Ok, field("reason", &**why))?;
    Ok(true)
}

/// Removes what has expired and counts it.
pub fn prune() -> Result<i32, Error> {
    server::require_writable()?;
    let now = clock::now()?;
    let removed = store::factor::prune(now.plus_secs(-settings::pending_ttl()))?
        + store::token::prune(now)?
        + store::session::prune(now.plus_secs(-settings::session_ttl()))?;
    Ok(i32::try_from(removed).unwrap_or(i32::MAX))
}
