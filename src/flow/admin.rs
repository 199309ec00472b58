//! What administrators do to accounts, each time with a reason for the audit trail.

use super::approval;
use super::audit::field;
use super::context::{Context, begin_writing};
use super::unenrol::unenrol;
use super::waiting_recovery::{cancel_by_change, complete_recoveries};
use crate::error::Error;
use crate::guard::AccountGuard;
use crate::pure::audit::{Event, Outcome};
use crate::pure::event::Kind;
use crate::pure::name::{Account, AuditReason};
use crate::{clock, settings, store};

/// Removes all factors and codes of an account, and its lock; the user must enrol again. Returns
/// `false` if there is no such account.
pub fn reset(account: &Account, reason: &AuditReason) -> Result<bool, Error> {
    let context = Context::begin()?;
    if context.lock_account(account)?.is_none() {
        return Ok(false);
    }
    cancel_by_change(&context, account)?;
    unenrol(&context, account)?;
    let fields = field("reason", &**reason);
    context.record(account, Event::Reset, Outcome::Ok, fields.clone())?;
    context.announce(account, Kind::Reset, fields)?;
    Ok(true)
}

/// Clears an account's lock, suspension and failures. Returns `false` if there is no such account.
pub fn unlock(account: &Account, reason: &AuditReason) -> Result<bool, Error> {
    let context = Context::begin()?;
    if context.lock_account(account)?.is_none() {
        return Ok(false);
    }
    store::account::clear(account)?;
    AccountGuard::of(account).clear_at_commit();
    let fields = field("reason", &**reason);
    context.record(account, Event::Unlock, Outcome::Ok, fields.clone())?;
    context.announce(account, Kind::Unlocked, fields)?;
    Ok(true)
}

/// Erases an account, except for its audit trail. Returns `false` if there is no such account.
pub fn forget(account: &Account, reason: &AuditReason) -> Result<bool, Error> {
    let context = Context::begin()?;
    let others = [store::requirement::delete(account)?, store::approval::forget(account)?];
    if !store::account::delete(account, context.now)? && !others.contains(&true) {
        return Ok(false);
    }
    store::event::forget(account)?;
    AccountGuard::of(account).clear_at_commit();
    context.record(account, Event::Forget, Outcome::Ok, field("reason", &**reason))?;
    Ok(true)
}

/// Removes expired rows and returns their number. Recoveries whose delay has passed take effect.
pub fn prune() -> Result<i32, Error> {
    begin_writing()?;
    let now = clock::now()?;
    complete_recoveries(&store::account::recovered(now)?, now)?;
    let removed = store::factor::prune(now.plus_secs(-settings::pending_ttl()))?
        + store::token::prune(now)?
        + approval::prune(now)?
        + store::pass::prune(now)?
        + store::session::prune(now.plus_secs(-settings::session_ttl()))?
        + store::event::prune(now.plus_secs(-settings::events_ttl()))?;
    Ok(i32::try_from(removed).unwrap_or(i32::MAX))
}
