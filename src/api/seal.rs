//! Seals of the audit trail.

use super::argument;
use crate::flow::lock_timeout::limited;
use crate::flow::seal;
use crate::server::Text;
use pgrx::JsonB;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn audit_seal() -> Result<Option<i64>, ErrorReport> {
    Ok(seal::seal()?)
}

#[pg_extern(volatile, parallel_restricted, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn audit_digest() -> Result<JsonB, ErrorReport> {
    Ok(seal::digest()?)
}

#[pg_extern(volatile, parallel_restricted, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn audit_checkpoint() -> Result<String, ErrorReport> {
    Ok(seal::checkpoint()?)
}

#[pg_extern(volatile, parallel_restricted, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn audit_verifier_key() -> Result<String, ErrorReport> {
    Ok(seal::verifier_key()?)
}

#[pg_extern(volatile, parallel_restricted, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn audit_proof(id: Option<i64>) -> Result<JsonB, ErrorReport> {
    Ok(JsonB(seal::proof(id)?))
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn audit_prune(
    before: Option<TimestampWithTimeZone>,
    reason: Option<Text>,
) -> Result<i64, ErrorReport> {
    let (before, reason) = (argument::required_time(before, "before")?, argument::reason(reason)?);
    Ok(limited(|| seal::prune(before, &reason))?)
}

#[pg_extern(stable, parallel_restricted, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn audit_names(account: Option<Text>) -> Result<Vec<String>, ErrorReport> {
    Ok(seal::names(&argument::account(account)?)?)
}
