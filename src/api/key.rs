//! Encryption keys.

use crate::{keys, server};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

#[pg_extern(volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn key_generate() -> Result<String, ErrorReport> {
    server::require_superuser()?;
    Ok(keys::generate()?)
}
