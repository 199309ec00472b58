//! Encryption keys.

use crate::flow::key;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

#[pg_extern(volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn key_generate() -> Result<String, ErrorReport> {
    Ok(key::generate()?)
}

#[pg_extern(volatile, parallel_restricted)]
#[search_path(pg_catalog, pg_temp)]
fn key_ids()
-> Result<TableIterator<'static, (name!(key_id, String), name!(is_primary, bool))>, ErrorReport> {
    Ok(TableIterator::new(key::ids()?))
}
