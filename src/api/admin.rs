//! What administrators do, each time with a reason for the audit trail.

use super::argument;
use crate::error::Error;
use crate::flow::{admin, transfer};
use crate::pure::name::{Account, Justification};
use crate::pure::uri;
use crate::server::Text;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn totp_reset(account: Option<Text>, reason: Option<Text>) -> Result<bool, ErrorReport> {
    Ok(justified(account, reason, admin::reset)?)
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn totp_unlock(account: Option<Text>, reason: Option<Text>) -> Result<bool, ErrorReport> {
    Ok(justified(account, reason, admin::unlock)?)
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn backup_reissue(account: Option<Text>, reason: Option<Text>) -> Result<Vec<String>, ErrorReport> {
    Ok(justified(account, reason, admin::reissue)?)
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn totp_forget(account: Option<Text>, reason: Option<Text>) -> Result<bool, ErrorReport> {
    Ok(justified(account, reason, admin::forget)?)
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn totp_prune() -> Result<i32, ErrorReport> {
    Ok(argument::writing(admin::prune)?)
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn totp_import(
    account: Option<Text>,
    uri: Option<Text>,
    label: default!(Option<Text>, "'default'"),
    reason: default!(Option<Text>, "NULL"),
) -> Result<bool, ErrorReport> {
    let import = || -> Result<bool, Error> {
        let account = argument::account(account)?;
        let label = argument::label(label)?;
        let imported = uri::parse(&argument::required(uri, "uri")?)?;
        let why = argument::optional(reason, "reason")?.map(Justification::new).transpose()?;
        argument::writing(|| transfer::import(&account, label, imported, why.as_ref()))
    };
    if import()? {
        notice!("the imported secret has fewer than 128 bits");
    }
    Ok(true)
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn totp_export(
    account: Option<Text>,
    label: Option<Text>,
    reason: Option<Text>,
) -> Result<String, ErrorReport> {
    let label = argument::label(label).map_err(Error::from)?;
    let uri = justified(account, reason, |account, why| transfer::export(account, &label, why))?;
    Ok(uri.to_string())
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn totp_rename(
    account: Option<Text>,
    new_account: Option<Text>,
    reason: Option<Text>,
) -> Result<bool, ErrorReport> {
    let new = argument::account(new_account).map_err(Error::from)?;
    justified(account, reason, |account, why| transfer::rename(account, &new, why))?;
    Ok(true)
}

fn justified<T>(
    account: Option<Text>,
    reason: Option<Text>,
    flow: impl FnOnce(&Account, &Justification) -> Result<T, Error>,
) -> Result<T, Error> {
    let account = argument::account(account)?;
    let why = Justification::new(argument::required(reason, "reason")?)?;
    argument::writing(|| flow(&account, &why))
}
