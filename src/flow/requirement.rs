//! Accounts that must have a second factor.

use super::audit::field;
use super::context::{Context, begin_reading};
use super::session;
use crate::error::Error;
use crate::pure::audit::{Event, Outcome};
use crate::pure::event::Kind;
use crate::pure::name::{Account, AuditReason};
use crate::pure::requirement::Standing;
use crate::pure::timestamp::Timestamp;
use crate::store::requirement::NewRequirement;
use crate::{clock, settings, store};
use serde_json::{Map, Value};

/// Requires an account to have a second factor within `grace` microseconds, by default within
/// `totp.grace`. Returns the deadline, which does not move if the account was required before, unless
/// it is to be renewed.
pub fn require(
    account: &Account,
    reason: &AuditReason,
    grace: Option<i64>,
    renew: bool,
) -> Result<Timestamp, Error> {
    let context = Context::begin()?;
    let grace = grace.unwrap_or_else(|| settings::grace().saturating_mul(1_000_000));
    let new = NewRequirement {
        account,
        now: context.now,
        deadline: context.now.plus_micros(grace),
        reason,
    };
    let mut fields = fields(reason, "grace_seconds", grace / 1_000_000);
    if renew {
        fields.insert("renewed".to_owned(), true.into());
    }
    if renew {
        store::requirement::renew(&new)?;
    } else if !store::requirement::add(&new)? {
        return Ok(store::requirement::load(account)?.ok_or(Error::Busy)?.deadline);
    }
    context.record(account, Event::Require, Outcome::Ok, fields.clone())?;
    context.announce(account, Kind::Required, fields)?;
    Ok(new.deadline)
}

/// 31 December 9999, the last day that most drivers can read: an exemption until infinity ends here.
const LAST_EXEMPTION: Timestamp = Timestamp::from_micros(253_402_214_400_000_000);

/// Exempts an account until a time; one that has passed ends an exemption. Returns `false` if the
/// account is not required to have a second factor.
pub fn exempt(account: &Account, until: Timestamp, reason: &AuditReason) -> Result<bool, Error> {
    let context = Context::begin()?;
    let until = until.min(LAST_EXEMPTION);
    if !store::requirement::exempt(account, until, reason)? {
        return Ok(false);
    }
    let seconds = until.micros_since(context.now) / 1_000_000;
    let fields = fields(reason, "exempt_seconds", seconds.max(0));
    context.record(account, Event::Exempt, Outcome::Ok, fields.clone())?;
    context.announce(account, Kind::Exempted, fields)?;
    Ok(true)
}

/// Lifts the requirement. Returns `false` if there was none.
pub fn release(account: &Account, reason: &AuditReason) -> Result<bool, Error> {
    let context = Context::begin()?;
    if !store::requirement::delete(account)? {
        return Ok(false);
    }
    let fields = field("reason", &**reason);
    context.record(account, Event::Release, Outcome::Ok, fields.clone())?;
    context.announce(account, Kind::Released, fields)?;
    Ok(true)
}

fn fields(reason: &AuditReason, name: &str, seconds: i64) -> Map<String, Value> {
    let mut fields = field("reason", &**reason);
    fields.insert(name.to_owned(), seconds.into());
    fields
}

/// Returns what an account has to do. Reads only.
pub fn standing(account: &Account) -> Result<Standing, Error> {
    begin_reading()?;
    standing_at(account, clock::now()?)
}

/// Does the same, at a time.
pub fn standing_at(account: &Account, now: Timestamp) -> Result<Standing, Error> {
    let requirement = store::requirement::load(account)?;
    // Most accounts are not required to: then nothing else is read.
    let is_enrolled = requirement.is_some() && store::factor::is_enrolled(account, now)?;
    Ok(Standing::of(requirement, is_enrolled, now))
}

/// Returns whether the current session has an account that is not overdue. Reads only.
pub fn is_compliant() -> Result<bool, Error> {
    begin_reading()?;
    match session::current() {
        Some(session) => Ok(!standing(&session.account)?.is_overdue()),
        None => Ok(false),
    }
}

/// Returns whether an account must have a second factor. The caller holds the account's row.
pub fn is_required(account: &Account, now: Timestamp) -> Result<bool, Error> {
    let requirement = store::requirement::load(account)?;
    Ok(requirement.is_some_and(|requirement| !requirement.is_exempt(now)))
}
