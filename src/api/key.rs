//! Encryption keys.

use crate::flow::rotation::{self, Told};
use crate::{keys, server};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

#[pg_extern(volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn key_generate() -> Result<String, ErrorReport> {
    server::require_superuser()?;
    Ok(keys::generate()?)
}

#[pg_extern(volatile, parallel_restricted)]
#[search_path(pg_catalog, pg_temp)]
fn key_ids()
-> Result<TableIterator<'static, (name!(key_id, String), name!(is_primary, bool))>, ErrorReport> {
    let keyring = keys::keyring()?;
    let of_key = |(place, id): (usize, &str)| (id.to_owned(), place == 0);
    Ok(TableIterator::new(keyring.ids().enumerate().map(of_key).collect::<Vec<_>>()))
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn key_rotate_step(batch: Option<i32>, first: Option<bool>) -> Result<bool, ErrorReport> {
    match rotation::step(batch.unwrap_or_default(), first.unwrap_or_default())? {
        Told::Nothing => Ok(false),
        Told::Progress { done, of } => {
            notice!("re-encrypted {done} of {of} rows");
            Ok(false)
        }
        Told::End { done, key_id, unrotated } => {
            notice!("re-encrypted {done} rows with key {key_id}");
            for rows in unrotated {
                ErrorReport::from(rows).report(PgLogLevel::WARNING);
            }
            Ok(true)
        }
    }
}
