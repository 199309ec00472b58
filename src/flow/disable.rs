//! Turning two-factor authentication off, and removing one of several authenticator apps.

use super::audit::field;
use super::context::Context;
use super::requirement;
use super::session;
use super::verify::{check_lock, verify_within};
use crate::error::Error;
use crate::pure::audit::{Event, Outcome};
use crate::pure::code::Code;
use crate::pure::event::Kind;
use crate::pure::name::{Account, Label};
use crate::pure::verdict::{Reason, Verdict};
use crate::store;
use crate::store::factor::FactorRow;
use serde_json::Map;

/// Turns two-factor authentication off after checking a code.
pub fn disable(account: &Account, code: Option<&Code>) -> Result<Verdict, Error> {
    let context = Context::begin()?;
    if let Some(verdict) = check_lock(account, context.now)? {
        return Ok(verdict);
    }
    context.lock_account(account)?;
    if requirement::is_required(account, context.now)? {
        context.record_free(account, Event::Disable, Outcome::Required, Map::new())?;
        return Ok(Verdict::refused(Reason::Required, None));
    }
    let verdict = verify_within(&context, account, code, Event::Disable)?;
    if verdict.is_ok() {
        store::pass::delete(account)?;
        store::factor::delete_all(account)?;
        store::backup_code::delete(account)?;
        store::account::mark_changed(account, context.now)?;
        context.announce(account, Kind::Disabled, Map::new())?;
    }
    Ok(verdict)
}

/// Removes one of several authenticator apps after checking a code from any of them or a backup
/// code. The last active one stays: `disable` removes that.
pub fn remove(account: &Account, label: &Label, code: Option<&Code>) -> Result<Verdict, Error> {
    let context = Context::begin()?;
    if let Some(verdict) = check_lock(account, context.now)? {
        return Ok(verdict);
    }
    context.lock_account(account)?.ok_or(Error::NoFactor)?;
    let factors = store::factor::all(account)?;
    let is_this = |row: &&FactorRow| row.factor.label == *label;
    if !factors.iter().any(|row| is_this(&row)) {
        return Err(Error::NoFactor);
    }
    let mut active = factors.iter().filter(|row| row.is_active()).peekable();
    if active.peek().is_some() && active.all(|row| is_this(&row)) {
        let (outcome, reason) = match requirement::is_required(account, context.now)? {
            true => (Outcome::Required, Reason::Required),
            false => (Outcome::LastFactor, Reason::LastFactor),
        };
        context.record_free(account, Event::Remove, outcome, field("label", &**label))?;
        return Ok(Verdict::refused(reason, None));
    }
    let verdict = verify_within(&context, account, code, Event::Remove)?;
    if let Some(method) = &verdict.method {
        store::factor::delete(account, label)?;
        store::account::mark_changed(account, context.now)?;
        // That ended all sessions, but in this one a right code has just been entered.
        session::mark_verified(account, method, context.now)?;
        context.record(account, Event::Remove, Outcome::Ok, field("removed", &**label))?;
        context.announce(account, Kind::DeviceRemoved, field("label", &**label))?;
    }
    Ok(verdict)
}
