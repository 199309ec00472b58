//! Exporting the secret of a factor.

use super::argument;
use crate::flow::export::export;
use crate::flow::lock_timeout::limited;
use crate::server::Text;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn totp_export(
    account: Option<Text>,
    label: Option<Text>,
    reason: Option<Text>,
) -> Result<String, ErrorReport> {
    let (account, label) = (argument::account(account)?, argument::label(label)?);
    let reason = argument::reason(reason)?;
    Ok(limited(|| export(&account, &label, &reason))?.to_string())
}
