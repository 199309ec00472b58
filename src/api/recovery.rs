//! Recovery links, for people who have lost their authenticator apps and backup codes.

use super::argument;
use crate::flow::lock_timeout::limited;
use crate::flow::recovery;
use crate::pure::token::Kind;
use crate::server::Text;
use pgrx::datum::Interval;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn recovery_create(
    account: Option<Text>,
    ttl: default!(Option<Interval>, "NULL"),
) -> Result<String, ErrorReport> {
    let account = argument::account(account)?;
    let ttl = argument::ttl(ttl, Kind::Recovery)?;
    Ok(limited(|| recovery::create(&account, ttl))?.to_string())
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn recovery_confirm(token: Option<Text>) -> Result<bool, ErrorReport> {
    let token = argument::compared(token);
    Ok(limited(|| recovery::confirm(token.as_str()))?)
}
