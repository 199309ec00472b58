//! Accounts that must have a second factor.

use super::argument;
use crate::clock;
use crate::flow::lock_timeout::{limited, read};
use crate::flow::requirement;
use crate::server::Text;
use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn totp_require(
    account: Option<Text>,
    reason: Option<Text>,
    grace: default!(Option<Interval>, "NULL"),
    renew: default!(Option<bool>, "false"),
) -> Result<TimestampWithTimeZone, ErrorReport> {
    let (account, reason) = (argument::account(account)?, argument::reason(reason)?);
    let (grace, renew) = (argument::grace(grace)?, renew.unwrap_or_default());
    let deadline = limited(|| requirement::require(&account, &reason, grace, renew))?;
    Ok(clock::to_sql(deadline))
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn totp_exempt(
    account: Option<Text>,
    until: Option<TimestampWithTimeZone>,
    reason: Option<Text>,
) -> Result<bool, ErrorReport> {
    let (account, reason) = (argument::account(account)?, argument::reason(reason)?);
    let until = argument::required_time(until, "until")?;
    Ok(limited(|| requirement::exempt(&account, until, &reason))?)
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn totp_release(account: Option<Text>, reason: Option<Text>) -> Result<bool, ErrorReport> {
    let (account, reason) = (argument::account(account)?, argument::reason(reason)?);
    Ok(limited(|| requirement::release(&account, &reason))?)
}

#[pg_extern(stable, parallel_restricted, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn totp_requirement(
    account: Option<Text>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(state, &'static str),
            name!(deadline, Option<TimestampWithTimeZone>),
            name!(remaining, Option<Interval>),
            name!(reason, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let account = argument::account(account)?;
    let standing = read(|| requirement::standing(&account))?;
    Ok(TableIterator::once((
        standing.state.as_str(),
        standing.deadline.map(clock::to_sql),
        standing.remaining.map(clock::interval),
        standing.reason,
    )))
}

#[pg_extern(stable, parallel_restricted, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn totp_compliant() -> Result<bool, ErrorReport> {
    Ok(read(requirement::is_compliant)?)
}
