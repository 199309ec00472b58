//! QR codes.

use super::argument;
use crate::pure::qr;
use crate::server::{self, Text};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

#[pg_extern(immutable, parallel_safe)]
#[search_path(pg_catalog, pg_temp)]
fn qr_svg(data: Option<Text>) -> Result<String, ErrorReport> {
    Ok(qr::svg(&argument::required(data, "data")?)?)
}

#[pg_extern(immutable, parallel_safe)]
#[search_path(pg_catalog, pg_temp)]
fn qr_text(data: Option<Text>) -> Result<String, ErrorReport> {
    server::require_unicode()?;
    Ok(qr::text(&argument::required(data, "data")?)?)
}
