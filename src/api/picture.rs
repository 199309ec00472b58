//! QR codes.

use super::argument;
use crate::error::Error;
use crate::pure::qr;
use crate::server::{self, Text};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

#[pg_extern(immutable, parallel_safe)]
#[search_path(pg_catalog, pg_temp)]
fn qr_svg(data: Option<Text>) -> Result<String, ErrorReport> {
    let data = argument::required(data, "data").map_err(Error::from)?;
    Ok(qr::svg(&data).map_err(Error::from)?)
}

#[pg_extern(immutable, parallel_safe)]
#[search_path(pg_catalog, pg_temp)]
fn qr_text(data: Option<Text>) -> Result<String, ErrorReport> {
    server::require_unicode()?;
    let data = argument::required(data, "data").map_err(Error::from)?;
    Ok(qr::text(&data).map_err(Error::from)?)
}
