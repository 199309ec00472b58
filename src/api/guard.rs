//! How full shared memory is.

use crate::flow::status;
use pgrx::prelude::*;

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
    let row = status::guard_usage().map(|usage| {
        let [slots, used, locked, evictions, rolled_back] =
            [usage.slots, usage.used, usage.locked, usage.evictions, usage.rolled_back]
                .map(u64::cast_signed);
        (slots, used, locked, evictions, rolled_back)
    });
    TableIterator::new(row)
}
