//! Hardware tokens, by their serial numbers.

use super::argument;
use crate::flow::hardware_token::{assign, remove};
use crate::flow::lock_timeout::limited;
use crate::server::Text;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn token_assign(
    account: Option<Text>,
    serial: Option<Text>,
    code1: Option<Text>,
    code2: Option<Text>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(assigned, bool),
            name!(backup_codes, Option<Vec<String>>),
            name!(reason, &'static str),
            name!(retry_after_seconds, Option<i32>),
        ),
    >,
    ErrorReport,
> {
    let account = argument::account(account)?;
    let serial = argument::serial(serial)?;
    let codes = (argument::totp_code(code1), argument::totp_code(code2));
    let codes = codes.0.as_ref().zip(codes.1.as_ref());
    let done = limited(|| assign(&account, &serial, codes))?;
    let verdict = done.verdict;
    let reason = verdict.reason.as_str();
    let row = (verdict.is_ok(), done.backup_codes, reason, verdict.retry_after_seconds());
    Ok(TableIterator::once(row))
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn token_remove(serial: Option<Text>, reason: Option<Text>) -> Result<bool, ErrorReport> {
    let serial = argument::serial(serial)?;
    let reason = argument::reason(reason)?;
    Ok(limited(|| remove(&serial, &reason))?)
}
