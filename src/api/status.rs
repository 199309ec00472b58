//! What is known of an account, and of shared memory.

use super::argument;
use crate::error::Error;
use crate::flow::status;
use crate::server::Text;
use crate::{clock, guard, store};
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

#[pg_extern(stable, parallel_restricted, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn totp_enabled(account: Option<Text>) -> Result<bool, ErrorReport> {
    let account = argument::account(account).map_err(Error::from)?;
    Ok(store::factor::is_enrolled(&account)?)
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
        ),
    >,
    ErrorReport,
> {
    let account = argument::account(account).map_err(Error::from)?;
    let (status, now) = status::status(&account)?;
    Ok(TableIterator::once((
        status.factors > 0,
        status.pending,
        status.factors,
        status.backup_codes_left,
        i32::try_from(status.standing.failures).unwrap_or(i32::MAX),
        status.standing.locked(now).map(clock::timestamp),
        status.standing.suspended,
        status.last_verified_at.map(clock::timestamp),
    )))
}

#[pg_extern(volatile, parallel_restricted)]
#[search_path(pg_catalog, pg_temp)]
fn guard_usage() -> TableIterator<
    'static,
    (
        name!(slots, i64),
        name!(used, i64),
        name!(locked, i64),
        name!(evictions, i64),
        name!(rolled_back, i64),
    ),
> {
    let row = guard::usage().map(|usage| {
        let [slots, used, locked, evictions, rolled_back] =
            [usage.slots, usage.used, usage.locked, usage.evictions, usage.rolled_back]
                .map(u64::cast_signed);
        (slots, used, locked, evictions, rolled_back)
    });
    TableIterator::new(row)
}
