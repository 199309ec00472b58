//! Events for the application.

use super::argument;
use crate::clock;
use crate::error::Error;
use crate::flow::event;
use crate::flow::lock_timeout::limited;
use pgrx::JsonB;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn events_read(
    after: default!(Option<i64>, "0"),
    max_rows: default!(Option<i32>, "100"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(position, i64),
            name!(id, i64),
            name!(at, TimestampWithTimeZone),
            name!(account, String),
            name!(event, String),
            name!(detail, Option<JsonB>),
        ),
    >,
    ErrorReport,
> {
    let max_rows = argument::max_rows(max_rows)?;
    let events =
        limited(|| event::read(after.unwrap_or(0), max_rows)).map_err(|error| match error {
            Error::Busy => Error::EventsBusy,
            error => error,
        })?;
    Ok(TableIterator::new(events.into_iter().map(|event| {
        let at = clock::to_sql(event.at);
        (event.position, event.id, at, event.account, event.event, event.detail)
    })))
}
