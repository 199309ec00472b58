//! How a recovery that waits for `totp.recovery_delay` ends: it takes effect, or is canceled.
//!
//! Nothing runs when the delay has passed. From then on, functions that read treat the account as one
//! without factors, and the first call that writes removes them.

use super::audit::field;
use super::context::Context;
use super::unenrol::unenrol;
use crate::error::Error;
use crate::guard::{self, AccountGuard};
use crate::pure::audit::{Event, Outcome};
use crate::pure::event;
use crate::pure::lock::LockState;
use crate::pure::name::Account;
use crate::pure::timestamp::Timestamp;
use crate::pure::token::Kind;
use crate::{server, settings, store};
use serde_json::{Map, Value};

impl Context {
    /// Locks the account's row, as every change to factors or backup codes does first, and has a
    /// recovery take effect whose delay has passed. Returns `None` if there is no such account.
    pub fn lock_account(&self, account: &Account) -> Result<Option<LockState>, Error> {
        let Some(locked) = store::account::lock(account)? else {
            return Ok(None);
        };
        if !is_over(locked.recovery_at, self.now) {
            if locked.recovery_at.is_some() {
                guard::expect_recovery();
            }
            return Ok(Some(locked.lock_state));
        }
        recover(self, account)?;
        Ok(Some(LockState::default()))
    }

    /// Has a recovery take effect whose delay has passed. Returns whether there was one. Locks the
    /// account's row only in that case.
    pub fn complete_recovery(&self, account: &Account) -> Result<bool, Error> {
        if !is_over(store::account::recovery_at(account)?, self.now) {
            return Ok(false);
        }
        let locked = store::account::lock(account)?;
        if !locked.is_some_and(|locked| is_over(locked.recovery_at, self.now)) {
            return Ok(false);
        }
        recover(self, account)?;
        Ok(true)
    }

    /// Does the same unless another transaction has locked the account's row, and returns `false` in
    /// that case: the factors that still show are gone. Calls for many accounts must not wait for each
    /// other.
    pub fn try_complete_recovery(&self, account: &Account) -> Result<bool, Error> {
        if !is_over(store::account::recovery_at(account)?, self.now) {
            return Ok(true);
        }
        if !store::account::try_lock(account)? {
            return Ok(false);
        }
        self.complete_recovery(account)?;
        Ok(true)
    }
}

/// Does the same for several accounts. Returns those whose rows other transactions have locked.
pub fn complete_recoveries(accounts: &[String], now: Timestamp) -> Result<Vec<String>, Error> {
    let mut busy = Vec::new();
    for name in accounts {
        let account = Account::new(name.clone()).map_err(|_| Error::Corrupt("account"))?;
        if !Context::at(now)?.try_complete_recovery(&account)? {
            busy.push(name.clone());
        }
    }
    Ok(busy)
}

/// Returns whether a recovery has taken effect, given the time at which it does.
pub fn is_over(recovery_at: Option<Timestamp>, now: Timestamp) -> bool {
    recovery_at.is_some_and(|at| at <= now)
}

/// Turns two-factor authentication off. The caller holds the account's row.
pub fn recover(context: &Context, account: &Account) -> Result<(), Error> {
    unenrol(context, account)?;
    AccountGuard::of(account).recovered();
    context.record(account, Event::Recover, Outcome::Ok, Map::new())?;
    context.announce(account, event::Kind::Recovered, Map::new())?;
    if settings::force_sync_commit() {
        server::force_sync_commit();
    }
    Ok(())
}

/// Cancels a recovery that waits, and revokes all recovery links of the account. Returns whether
/// there were any.
pub fn cancel(account: &Account) -> Result<bool, Error> {
    let context = Context::begin()?;
    // Wait for a link that is being used. There are links for accounts that do not exist, too.
    context.lock_account(account)?;
    let was_waiting = store::account::cancel_recovery(account, context.now)?;
    let links = store::token::revoke(account, Kind::Recovery, context.now)?;
    if !was_waiting && links == 0 {
        return Ok(false);
    }
    record_cancel(&context, account, Map::new())?;
    Ok(true)
}

/// Cancels a recovery that waits because a right code has been entered: the owner of the account has
/// not lost everything. The caller holds the account's row.
pub fn cancel_by_code(context: &Context, account: &Account, method: &str) -> Result<(), Error> {
    cancel_waiting(context, account, field("method", method))
}

/// Cancels a recovery that waits because an administrator changes the account. The caller holds the
/// account's row.
pub fn cancel_by_change(context: &Context, account: &Account) -> Result<(), Error> {
    cancel_waiting(context, account, Map::new())
}

fn cancel_waiting(
    context: &Context,
    account: &Account,
    fields: Map<String, Value>,
) -> Result<(), Error> {
    if store::account::cancel_recovery(account, context.now)? {
        store::token::revoke(account, Kind::Recovery, context.now)?;
        record_cancel(context, account, fields)?;
    }
    Ok(())
}

fn record_cancel(
    context: &Context,
    account: &Account,
    fields: Map<String, Value>,
) -> Result<(), Error> {
    context.record(account, Event::RecoveryCancel, Outcome::Ok, fields.clone())?;
    context.announce(account, event::Kind::RecoveryCanceled, fields)
}
