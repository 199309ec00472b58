//! Enrolling an authenticator app.

use super::argument;
use crate::flow::enrol;
use crate::flow::lock_timeout::limited;
use crate::pure::name::{AccountName, Issuer};
use crate::server::Text;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn totp_create(
    account: Option<Text>,
    label: default!(Option<Text>, "'default'"),
    issuer: default!(Option<Text>, "NULL"),
    account_name: default!(Option<Text>, "NULL"),
    algorithm: default!(Option<Text>, "'SHA1'"),
    digits: default!(Option<i32>, 6),
    period: default!(Option<i32>, 30),
) -> Result<
    TableIterator<'static, (name!(secret, String), name!(uri, String), name!(qr_svg, String))>,
    ErrorReport,
> {
    let account = argument::account(account)?;
    let label = argument::label(label)?;
    let issuer = argument::optional(issuer, "issuer")?.map(Issuer::new).transpose()?;
    let account_name = argument::optional(account_name, "account_name")?;
    let account_name = AccountName::new(account_name.unwrap_or_else(|| account.to_string()))?;
    let parameters = argument::parameters(algorithm, digits, period)?;
    let created = limited(|| enrol::create(&account, label, issuer, account_name, parameters))?;
    let row = (created.secret.to_string(), created.uri.to_string(), created.qr_svg);
    Ok(TableIterator::once(row))
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn totp_confirm(
    account: Option<Text>,
    code: Option<Text>,
    label: default!(Option<Text>, "'default'"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(confirmed, bool),
            name!(backup_codes, Option<Vec<String>>),
            name!(reason, &'static str),
        ),
    >,
    ErrorReport,
> {
    let account = argument::account(account)?;
    let label = argument::label(label)?;
    let code = argument::totp_code(code);
    let done = limited(|| enrol::confirm(&account, &label, code.as_ref()))?;
    let row = (done.verdict.is_ok(), done.backup_codes, done.verdict.reason.as_str());
    Ok(TableIterator::once(row))
}
