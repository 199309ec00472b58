//! The checks of a deployment.

use crate::error::preflight::Check;
use crate::flow::preflight;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

#[pg_extern(volatile, parallel_restricted, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn preflight_ok() -> Result<bool, ErrorReport> {
    Ok(preflight::is_ok()?)
}

#[pg_extern(volatile, parallel_restricted, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn preflight() -> Result<
    TableIterator<
        'static,
        (
            name!(check_name, String),
            name!(status, String),
            name!(detail, String),
            name!(hint, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let row = |check: Check| {
        (check.name.to_owned(), check.status.as_str().to_owned(), check.detail, check.hint)
    };
    Ok(TableIterator::new(preflight::checks()?.into_iter().map(row)))
}
