//! Backup codes.

use super::argument;
use crate::flow::backup_code;
use crate::flow::lock_timeout::{limited, read};
use crate::flow::verify::verify;
use crate::pure::code::Accepts;
use crate::server::Text;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn backup_verify(account: Option<Text>, code: Option<Text>) -> Result<bool, ErrorReport> {
    let account = argument::account(account)?;
    let code = argument::code(code, Accepts::Backup);
    Ok(limited(|| verify(&account, code.as_ref()))?.is_ok())
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn backup_rotate(
    account: Option<Text>,
    code: Option<Text>,
) -> Result<Option<Vec<String>>, ErrorReport> {
    let account = argument::account(account)?;
    let code = argument::code(code, Accepts::Either);
    let (_, codes) = limited(|| backup_code::rotate(&account, code.as_ref()))?;
    Ok(codes)
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn rotate_attempt(
    account: Option<Text>,
    code: Option<Text>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(backup_codes, Option<Vec<String>>),
            name!(reason, &'static str),
            name!(retry_after_seconds, Option<i32>),
        ),
    >,
    ErrorReport,
> {
    let account = argument::account(account)?;
    let code = argument::code(code, Accepts::Either);
    let (verdict, codes) = limited(|| backup_code::rotate(&account, code.as_ref()))?;
    let row = (codes, verdict.reason.as_str(), verdict.retry_after_seconds());
    Ok(TableIterator::once(row))
}

#[pg_extern(stable, parallel_restricted, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn backup_remaining(account: Option<Text>) -> Result<i32, ErrorReport> {
    let account = argument::account(account)?;
    Ok(read(|| backup_code::remaining(&account))?)
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn backup_reissue(account: Option<Text>, reason: Option<Text>) -> Result<Vec<String>, ErrorReport> {
    let (account, reason) = (argument::account(account)?, argument::reason(reason)?);
    Ok(limited(|| backup_code::reissue(&account, &reason))?)
}
