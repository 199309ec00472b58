//! Turning two-factor authentication off, and removing one of several authenticator apps.

use super::argument;
use crate::flow::disable;
use crate::flow::lock_timeout::limited;
use crate::pure::code::Accepts;
use crate::pure::verdict::Verdict;
use crate::server::Text;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn totp_disable(account: Option<Text>, code: Option<Text>) -> Result<bool, ErrorReport> {
    let account = argument::account(account)?;
    let code = argument::code(code, Accepts::Either);
    Ok(limited(|| disable::disable(&account, code.as_ref()))?.is_ok())
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn totp_remove(
    account: Option<Text>,
    label: Option<Text>,
    code: Option<Text>,
) -> Result<bool, ErrorReport> {
    let account = argument::account(account)?;
    let label = argument::label(label)?;
    let code = argument::code(code, Accepts::Either);
    Ok(limited(|| disable::remove(&account, &label, code.as_ref()))?.is_ok())
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn disable_attempt(
    account: Option<Text>,
    code: Option<Text>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(disabled, bool),
            name!(reason, &'static str),
            name!(retry_after_seconds, Option<i32>),
        ),
    >,
    ErrorReport,
> {
    let account = argument::account(account)?;
    let code = argument::code(code, Accepts::Either);
    let verdict = limited(|| disable::disable(&account, code.as_ref()))?;
    Ok(TableIterator::once(outcome(&verdict)))
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn remove_attempt(
    account: Option<Text>,
    label: Option<Text>,
    code: Option<Text>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(removed, bool),
            name!(reason, &'static str),
            name!(retry_after_seconds, Option<i32>),
        ),
    >,
    ErrorReport,
> {
    let account = argument::account(account)?;
    let label = argument::label(label)?;
    let code = argument::code(code, Accepts::Either);
    let verdict = limited(|| disable::remove(&account, &label, code.as_ref()))?;
    Ok(TableIterator::once(outcome(&verdict)))
}

fn outcome(verdict: &Verdict) -> (bool, &'static str, Option<i32>) {
    (verdict.is_ok(), verdict.reason.as_str(), verdict.retry_after_seconds())
}
