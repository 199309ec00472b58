//! Renaming an account.

use super::argument;
use crate::flow::lock_timeout::limited;
use crate::flow::rename::rename;
use crate::server::Text;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn totp_rename(
    account: Option<Text>,
    new_account: Option<Text>,
    reason: Option<Text>,
) -> Result<bool, ErrorReport> {
    let (account, new) = (argument::account(account)?, argument::account(new_account)?);
    let reason = argument::reason(reason)?;
    limited(|| rename(&account, &new, &reason))?;
    Ok(true)
}
