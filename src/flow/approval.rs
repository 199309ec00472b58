//! Approvals: a code for exactly one action.

use super::audit::field;
use super::context::{Context, begin_reading};
use super::requirement;
use super::session;
use super::verify::{check_lock, verify_within, with_backup_codes_left};
use crate::error::Error;
use crate::pure::approval::{State, Subject};
use crate::pure::audit::{Event, Outcome};
use crate::pure::code::Code;
use crate::pure::event::Kind;
use crate::pure::invalid::Invalid;
use crate::pure::name::Account;
use crate::pure::timestamp::Timestamp;
use crate::pure::verdict::{Reason, Verdict};
use crate::store::approval::{Approval, Id, NewApproval};
use crate::{clock, random, server, settings, store};
use serde_json::{Map, Value};

/// Maximum number of pending requests per account.
const PENDING_LIMIT: i64 = 100;
/// Maximum number of requests per account that are kept although no code has confirmed them in time.
const UNCONFIRMED_LIMIT: i64 = 100;
/// Maximum number of requests per account and minute that are announced. A request needs no code, and
/// whoever is asked may get mail.
const ANNOUNCED_LIMIT: i64 = 20;
/// How long an approval can be looked up after it has expired, in seconds.
const KEPT_SECS: i64 = 86_400;

/// A request that was written.
pub struct Requested {
    /// The ID.
    pub id: Id,
    /// What a person is shown.
    pub summary: String,
    /// When it expires.
    pub expires_at: Timestamp,
}

/// Requests an approval by the account itself, or by another one. It can be used for `ttl`
/// microseconds, by default for `totp.approval_ttl`.
pub fn request(
    account: &Account,
    subject: &Subject,
    approver: Option<&Account>,
    ttl: Option<i64>,
) -> Result<Requested, Error> {
    let context = Context::begin()?;
    if approver == Some(account) {
        return Err(Invalid::Approver.into());
    }
    refuse_overdue(account, context.now)?;
    let requested = store::approval::requested(account, context.now)?;
    if requested.pending >= PENDING_LIMIT {
        return Err(Error::TooManyApprovals);
    }
    let id = random::uuid()?;
    let ttl = ttl.unwrap_or_else(|| settings::approval_ttl().saturating_mul(1_000_000));
    let expires_at = context.now.plus_micros(ttl);
    store::approval::insert(&NewApproval {
        id: id.into_bytes(),
        account,
        approver,
        subject,
        requested_at: context.now,
        expires_at,
    })?;
    let asked_of = fields(id.to_string(), &subject.action);
    let mut fields = asked_of.clone();
    let asked = approver.unwrap_or(account);
    if approver.is_some() {
        fields.insert("approver".to_owned(), context.audited_name(asked).into());
    }
    context.record_free(account, Event::ApprovalRequest, Outcome::Ok, fields)?;
    if requested.in_last_minute < ANNOUNCED_LIMIT {
        context.announce(asked, Kind::ApprovalAsked, asked_of)?;
    }
    store::approval::sweep_unconfirmed(account, context.now, UNCONFIRMED_LIMIT)?;
    // At other isolation levels, rows that another transaction has removed would cause errors.
    if server::is_read_committed() {
        store::approval::sweep(context.now.plus_secs(-KEPT_SECS))?;
    }
    Ok(Requested { id: id.into_bytes(), summary: subject.summary(), expires_at })
}

fn fields(id: String, action: &str) -> Map<String, Value> {
    let mut fields = field("approval", id);
    fields.insert("action".to_owned(), action.into());
    fields
}

/// An account that must enrol first can do nothing else.
fn refuse_overdue(account: &Account, now: Timestamp) -> Result<(), Error> {
    let standing = requirement::standing_at(account, now)?;
    if standing.is_overdue() { Err(Error::Overdue) } else { Ok(()) }
}

/// Confirms an approval with a code of the account that must confirm it. Returns that account, if
/// there is such an approval, with the verdict.
pub fn confirm(id: Id, code: Option<&Code>) -> Result<(Option<Account>, Verdict), Error> {
    let context = Context::begin()?;
    let Some(approval) = store::approval::load(id, context.now)? else {
        return Ok((None, Verdict::refused(Reason::Invalid, None)));
    };
    let refused = |reason| Ok((Some(approval.confirmer().clone()), Verdict::refused(reason, None)));
    match approval.times.state(approval.expires_at, context.now) {
        State::Pending => (),
        State::Expired => return refused(Reason::Expired),
        State::Confirmed | State::Used | State::Cancelled => return refused(Reason::Spent),
    }
    if let Some(verdict) = check_lock(approval.confirmer(), context.now)? {
        return Ok((Some(approval.confirmer().clone()), verdict));
    }
    // Claimed before the code is spent: of two calls at once, one keeps its code.
    if code.is_some() && !store::approval::claim(id, context.now)? {
        return refused(Reason::Spent);
    }
    let verdict = verify_within(&context, approval.confirmer(), code, Event::Approve)?;
    let verdict = with_backup_codes_left(approval.confirmer(), verdict)?;
    if verdict.is_ok() {
        let mut fields = fields(store::approval::text(id), &approval.action);
        let by = context.audited_name(approval.confirmer());
        fields.insert("confirmed_by".to_owned(), by.into());
        context.record(&approval.account, Event::ApprovalConfirm, Outcome::Ok, fields)?;
    } else if code.is_some() {
        store::approval::unclaim(id)?;
    }
    Ok((Some(approval.confirmer().clone()), verdict))
}

/// Returns an approval and its state.
pub fn status(id: Id) -> Result<Option<(Approval, State)>, Error> {
    begin_reading()?;
    let now = clock::now()?;
    Ok(store::approval::load(id, now)?.map(|approval| {
        let state = approval.times.state(approval.expires_at, now);
        (approval, state)
    }))
}

/// Cancels an approval that is pending, or confirmed and not used. Returns `false` if there is no
/// such approval.
pub fn cancel(id: Id) -> Result<bool, Error> {
    let context = Context::begin()?;
    let approval = store::approval::load(id, context.now)?;
    let Some(approval) = approval.filter(|approval| !approval.times.is_void) else {
        return Ok(false);
    };
    if !store::approval::cancel(id, context.now)? {
        return Ok(false);
    }
    let fields = fields(store::approval::text(id), &approval.action);
    context.record_free(&approval.account, Event::ApprovalCancel, Outcome::Ok, fields)?;
    Ok(true)
}

/// Uses a confirmed approval of the session's account for an action. Returns `false` if there is
/// none; if `by_another`, one that the account has confirmed itself does not count.
pub fn spend(subject: &Subject, by_another: bool) -> Result<bool, Error> {
    let context = Context::begin()?;
    let account = session::account()?;
    refuse_overdue(&account, context.now)?;
    let digest = subject.digest();
    let Some(id) = store::approval::spend(&account, &digest, context.now, by_another)? else {
        return Ok(false);
    };
    let fields = fields(id, &subject.action);
    context.record(&account, Event::ApprovalUse, Outcome::Ok, fields)?;
    if settings::force_sync_commit() {
        server::force_sync_commit();
    }
    Ok(true)
}

/// Removes approvals that expired a day ago, and returns their number.
pub fn prune(now: Timestamp) -> Result<usize, Error> {
    store::approval::prune(now.plus_secs(-KEPT_SECS))
}
