//! Enrolling an app, and switching two-factor authentication off.

use super::argument;
use crate::error::Error;
use crate::flow::enrol;
use crate::pure::code::Accepts;
use crate::pure::name::{AccountName, Issuer};
use crate::pure::otp::Parameters;
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
    let read = || -> Result<_, Error> {
        let account = argument::account(account)?;
        let label = argument::label(label)?;
        let issuer = argument::optional(issuer, "issuer")?.map(Issuer::new).transpose()?;
        let account_name = argument::optional(account_name, "account_name")?;
        let account_name = AccountName::new(account_name.unwrap_or_else(|| account.to_string()))?;
        let parameters = parameters(algorithm, digits, period)?;
        argument::writing(|| enrol::create(&account, label, issuer, account_name, parameters))
    };
    let created = read()?;
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
    let account = argument::account(account).map_err(Error::from)?;
    let label = argument::label(label).map_err(Error::from)?;
    let code = argument::totp_code(code);
    let done = argument::writing(|| enrol::confirm(&account, &label, code.as_ref()))?;
    let row = (done.verdict.is_ok(), done.backup_codes, done.verdict.reason.word());
    Ok(TableIterator::once(row))
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn totp_disable(account: Option<Text>, code: Option<Text>) -> Result<bool, ErrorReport> {
    let account = argument::account(account).map_err(Error::from)?;
    let code = argument::code(code, Accepts::Either);
    Ok(argument::writing(|| enrol::disable(&account, code.as_ref()))?.is_ok())
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn totp_remove(
    account: Option<Text>,
    label: Option<Text>,
    code: Option<Text>,
) -> Result<bool, ErrorReport> {
    let account = argument::account(account).map_err(Error::from)?;
    let label = argument::label(label).map_err(Error::from)?;
    let code = argument::code(code, Accepts::Either);
    Ok(argument::writing(|| enrol::remove(&account, &label, code.as_ref()))?)
}

/// NULL stands for the default in each of them.
pub(super) fn parameters(
    algorithm: Option<Text>,
    digits: Option<i32>,
    period: Option<i32>,
) -> Result<Parameters, Error> {
    let algorithm = match algorithm {
        Some(Text::Fits(name)) => name,
        Some(Text::TooLong | Text::Foreign) => String::new().into(),
        None => "SHA1".to_owned().into(),
    };
    Ok(Parameters::new(&algorithm, digits.unwrap_or(6), period.unwrap_or(30))?)
}
