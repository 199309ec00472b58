//! Backup codes.

use super::argument;
use crate::error::Error;
use crate::flow::backup;
use crate::pure::code::Accepts;
use crate::server::Text;
use crate::store;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn backup_rotate(
    account: Option<Text>,
    code: Option<Text>,
) -> Result<Option<Vec<String>>, ErrorReport> {
    let account = argument::account(account).map_err(Error::from)?;
    let code = argument::code(code, Accepts::Either);
    Ok(argument::writing(|| backup::rotate(&account, code.as_ref()))?)
}

#[pg_extern(stable, parallel_restricted, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn backup_remaining(account: Option<Text>) -> Result<i32, ErrorReport> {
    let account = argument::account(account).map_err(Error::from)?;
    Ok(store::backup_code::count(&account)?)
}
