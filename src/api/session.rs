//! Whose session this is, and whether it is verified.

use super::argument;
use crate::flow::lock_timeout::{limited, read};
use crate::flow::session;
use pgrx::datum::Interval;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

#[pg_extern(stable, parallel_restricted)]
#[search_path(pg_catalog, pg_temp)]
pub fn current_account() -> Option<String> {
    session::current().map(|session| session.account.to_string())
}

#[pg_extern(stable, parallel_restricted)]
#[search_path(pg_catalog, pg_temp)]
fn session_account() -> Result<String, ErrorReport> {
    Ok(session::account()?.to_string())
}

#[pg_extern(stable, parallel_restricted)]
#[search_path(pg_catalog, pg_temp)]
fn missing_claim() -> Option<String> {
    session::missing_claim()
}

#[pg_extern(volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn verified_account() -> Result<String, ErrorReport> {
    Ok(limited(session::verified_account)?.to_string())
}

#[pg_extern(stable, parallel_restricted, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn totp_verified(max_age: default!(Option<Interval>, "NULL")) -> Result<bool, ErrorReport> {
    let max_age = argument::max_age(max_age)?;
    Ok(read(|| session::is_verified(max_age))?)
}
