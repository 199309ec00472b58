//! Re-encrypting rows that were encrypted with older keys.

use super::argument;
use crate::error::notice;
use crate::flow::rotation::{self, Step};
use crate::server::Json;
use pgrx::JsonB;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn key_rotate_step(batch: Option<i32>, state: Option<Json>) -> Result<Option<JsonB>, ErrorReport> {
    let Step { state, report } = rotation::step(batch, argument::rotation_state(state)?)?;
    if let Some(report) = report {
        notice::rotation(report);
    }
    Ok(state.map(JsonB))
}
