//! What administrators do to an account, each time with a reason for the audit trail.

use super::argument;
use crate::flow::admin;
use crate::flow::lock_timeout::limited;
use crate::server::Text;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn totp_reset(account: Option<Text>, reason: Option<Text>) -> Result<bool, ErrorReport> {
    let (account, reason) = (argument::account(account)?, argument::reason(reason)?);
    Ok(limited(|| admin::reset(&account, &reason))?)
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn totp_unlock(account: Option<Text>, reason: Option<Text>) -> Result<bool, ErrorReport> {
    let (account, reason) = (argument::account(account)?, argument::reason(reason)?);
    Ok(limited(|| admin::unlock(&account, &reason))?)
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn totp_forget(account: Option<Text>, reason: Option<Text>) -> Result<bool, ErrorReport> {
    let (account, reason) = (argument::account(account)?, argument::reason(reason)?);
    Ok(limited(|| admin::forget(&account, &reason))?)
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn totp_prune() -> Result<i32, ErrorReport> {
    Ok(limited(admin::prune)?)
}
