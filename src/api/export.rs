//! Exporting the secret of a factor.

use super::argument;
use crate::flow::export::{Exported, export, export_all, export_migration};
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

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn totp_export_all(
    accounts: Option<Vec<Option<String>>>,
    reason: Option<Text>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(account, String),
            name!(label, String),
            name!(uri, Option<String>),
            name!(last_step, Option<i64>),
        ),
    >,
    ErrorReport,
> {
    let accounts = argument::accounts(accounts)?;
    let reason = argument::reason(reason)?;
    let exported = limited(|| export_all(&accounts, &reason))?;
    Ok(TableIterator::new(exported.into_iter().map(|exported| {
        let Exported { account, label, uri, last_step } = exported;
        (account, label, uri.map(|uri| uri.to_string()), last_step)
    })))
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn totp_export_migration(
    accounts: Option<Vec<Option<String>>>,
    reason: Option<Text>,
) -> Result<TableIterator<'static, (name!(account, String), name!(uri, String))>, ErrorReport> {
    let accounts = argument::accounts(accounts)?;
    let reason = argument::reason(reason)?;
    let exported = limited(|| export_migration(&accounts, &reason))?;
    Ok(TableIterator::new(exported.into_iter().map(|(account, uri)| (account, uri.to_string()))))
}
