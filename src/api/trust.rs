//! Trusted devices: "do not ask on this device again".

use super::argument;
use crate::flow::lock_timeout::{limited, read};
use crate::flow::trust;
use crate::pure::token::Kind;
use crate::server::Text;
use pgrx::datum::Interval;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn trust_create(
    account: Option<Text>,
    ttl: default!(Option<Interval>, "NULL"),
) -> Result<String, ErrorReport> {
    let account = argument::account(account)?;
    let ttl = argument::ttl(ttl, Kind::Trust)?;
    Ok(limited(|| trust::create(&account, ttl))?.to_string())
}

#[pg_extern(stable, parallel_restricted, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn trust_verify(account: Option<Text>, token: Option<Text>) -> Result<bool, ErrorReport> {
    let account = argument::account(account)?;
    let token = argument::compared(token);
    Ok(read(|| trust::verify(&account, token.as_str()))?)
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn trust_revoke(account: Option<Text>) -> Result<i32, ErrorReport> {
    let account = argument::account(account)?;
    Ok(limited(|| trust::revoke(&account))?)
}
