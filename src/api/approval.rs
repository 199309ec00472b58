//! Approvals: a code for exactly one action.

use super::{argument, verdict};
use crate::clock;
use crate::flow::lock_timeout::{limited, read};
use crate::flow::{approval, session};
use crate::pure::code::Accepts;
use crate::server::{Json, Text};
use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::{JsonB, Uuid};

#[pg_extern(volatile, parallel_unsafe, security_definer, requires = [current_account])]
#[search_path(pg_catalog, pg_temp)]
fn approval_request(
    action: Option<Text>,
    payload: Option<Json>,
    account: default!(Option<Text>, "totp.current_account()"),
    approver: default!(Option<Text>, "NULL"),
    ttl: default!(Option<Interval>, "NULL"),
) -> Result<
    TableIterator<
        'static,
        (name!(id, Uuid), name!(summary, String), name!(expires_at, TimestampWithTimeZone)),
    >,
    ErrorReport,
> {
    let subject = argument::subject(action, payload)?;
    // NULL is also what the default gives to a session without an account.
    if account.is_none() {
        session::account()?;
    }
    let account = argument::account(account)?;
    let approver = argument::approver(approver)?;
    let ttl = argument::approval_ttl(ttl)?;
    let done = limited(|| approval::request(&account, &subject, approver.as_ref(), ttl))?;
    let row = (Uuid::from_bytes(done.id), done.summary, clock::to_sql(done.expires_at));
    Ok(TableIterator::once(row))
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn approval_confirm(
    id: Option<Uuid>,
    code: Option<Text>,
) -> Result<pgrx::composite_type!('static, "totp.verdict"), ErrorReport> {
    let id = argument::id(id)?;
    let code = argument::code(code, Accepts::Either);
    let (account, verdict) = limited(|| approval::confirm(id, code.as_ref()))?;
    Ok(verdict::tuple(account.as_ref(), verdict)?)
}

#[pg_extern(stable, parallel_restricted, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn approval_status(
    id: Option<Uuid>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(state, &'static str),
            name!(account, String),
            name!(approver, Option<String>),
            name!(action, String),
            name!(payload, JsonB),
            name!(summary, String),
            name!(requested_at, TimestampWithTimeZone),
            name!(expires_at, TimestampWithTimeZone),
            name!(confirmed_at, Option<TimestampWithTimeZone>),
            name!(used_at, Option<TimestampWithTimeZone>),
        ),
    >,
    ErrorReport,
> {
    let id = argument::id(id)?;
    let found = read(|| approval::status(id))?;
    Ok(TableIterator::new(found.into_iter().filter_map(|(approval, state)| {
        let payload = serde_json::from_str(&approval.payload).ok()?;
        Some((
            state.as_str(),
            approval.account.to_string(),
            approval.approver.map(|name| name.to_string()),
            approval.action,
            JsonB(payload),
            approval.summary,
            clock::to_sql(approval.requested_at),
            clock::to_sql(approval.expires_at),
            approval.times.confirmed_at.map(clock::to_sql),
            approval.times.used_at.map(clock::to_sql),
        ))
    })))
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn approval_cancel(id: Option<Uuid>) -> Result<bool, ErrorReport> {
    let id = argument::id(id)?;
    Ok(limited(|| approval::cancel(id))?)
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn approval_use(action: Option<Text>, payload: Option<Json>) -> Result<bool, ErrorReport> {
    let subject = argument::subject(action, payload)?;
    Ok(limited(|| approval::spend(&subject, false))?)
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn approval_spend(
    action: Option<Text>,
    payload: Option<Json>,
    by_another: Option<bool>,
) -> Result<bool, ErrorReport> {
    let subject = argument::subject(action, payload)?;
    Ok(limited(|| approval::spend(&subject, by_another.unwrap_or(true)))?)
}
