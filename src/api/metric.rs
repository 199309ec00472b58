//! Values for monitoring.

use crate::flow::metric;
use pgrx::prelude::*;

#[pg_extern(volatile, parallel_restricted, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn metric_values() -> TableIterator<
    'static,
    (
        name!(name, String),
        name!(label, Option<String>),
        name!(outcome, Option<String>),
        name!(value, f64),
    ),
> {
    TableIterator::new(metric::values().into_iter().map(|(name, label, outcome, value)| {
        (name.to_owned(), label, outcome.map(str::to_owned), value)
    }))
}
