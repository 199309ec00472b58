//! Importing a secret from another system.

use super::argument;
use crate::error::notice;
use crate::flow::import::import;
use crate::flow::lock_timeout::limited;
use crate::pure::uri;
use crate::server::Text;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn totp_import(
    account: Option<Text>,
    uri: Option<Text>,
    label: default!(Option<Text>, "'default'"),
    reason: default!(Option<Text>, "NULL"),
) -> Result<bool, ErrorReport> {
    let account = argument::account(account)?;
    let label = argument::label(label)?;
    let imported = uri::parse(&argument::required(uri, "uri")?)?;
    let reason = reason.map(|text| argument::reason(Some(text))).transpose()?;
    if limited(|| import(&account, label, imported, reason.as_ref()))? {
        notice::weak_secret();
    }
    Ok(true)
}
