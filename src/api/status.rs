//! The status of an account.

use super::argument;
use crate::clock;
use crate::flow::lock_timeout::read;
use crate::flow::status;
use crate::server::Text;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

#[pg_extern(stable, parallel_restricted, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn totp_enabled(account: Option<Text>) -> Result<bool, ErrorReport> {
    let account = argument::account(account)?;
    Ok(read(|| status::is_enabled(&account))?)
}

#[pg_extern(stable, parallel_restricted, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn totp_status(
    account: Option<Text>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(enabled, bool),
            name!(pending, bool),
            name!(factors, i32),
            name!(backup_codes_left, i32),
            name!(failures, i32),
            name!(locked_until, Option<TimestampWithTimeZone>),
            name!(suspended, bool),
            name!(last_verified_at, Option<TimestampWithTimeZone>),
            name!(recovery_at, Option<TimestampWithTimeZone>),
            name!(requirement, &'static str),
            name!(deadline, Option<TimestampWithTimeZone>),
        ),
    >,
    ErrorReport,
> {
    let account = argument::account(account)?;
    let (status, standing, now) = read(|| status::status(&account))?;
    Ok(TableIterator::once((
        status.factors > 0,
        status.pending,
        status.factors,
        status.backup_codes_left,
        i32::try_from(status.lock_state.failures).unwrap_or(i32::MAX),
        status.lock_state.locked(now).map(clock::to_sql),
        status.lock_state.suspended,
        status.last_verified_at.map(clock::to_sql),
        status.recovery_at.map(clock::to_sql),
        standing.state.as_str(),
        standing.deadline.map(clock::to_sql),
    )))
}

#[pg_extern(stable, parallel_restricted, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn account_factors(
    account: Option<Text>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(label, String),
            name!(state, String),
            name!(created_at, TimestampWithTimeZone),
            name!(last_used_at, Option<TimestampWithTimeZone>),
        ),
    >,
    ErrorReport,
> {
    let account = argument::account(account)?;
    let factors = read(|| status::factors(&account))?;
    Ok(TableIterator::new(factors.into_iter().map(|factor| {
        let last_used_at = factor.last_used_at.map(clock::to_sql);
        (factor.label, factor.state, clock::to_sql(factor.created_at), last_used_at)
    })))
}
