//! JSON Web Tokens.

use super::argument;
use crate::flow::jwt;
use crate::server::Json;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

#[pg_extern(volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn jwt_sign(claims: Option<Json>) -> Result<String, ErrorReport> {
    Ok(jwt::sign(argument::claims(claims)?)?)
}
