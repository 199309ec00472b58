//! Enrolling an authenticator app.

use super::argument;
use crate::flow::enrol::{self, NewFactor};
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
    digits: default!(Option<i32>, "NULL"),
    period: default!(Option<i32>, "NULL"),
    reuse: default!(Option<bool>, "false"),
    qr: default!(Option<bool>, "true"),
) -> Result<
    TableIterator<
        'static,
        (name!(secret, String), name!(uri, String), name!(qr_svg, Option<String>)),
    >,
    ErrorReport,
> {
    let account = argument::account(account)?;
    let label = argument::label(label)?;
    let issuer = argument::optional(issuer, "issuer")?.map(Issuer::new).transpose()?;
    let account_name = argument::optional(account_name, "account_name")?;
    let account_name = AccountName::new(account_name.unwrap_or_else(|| account.to_string()))?;
    let algorithm = argument::algorithm(algorithm);
    let reuse = reuse.unwrap_or_default();
    let qr = qr.unwrap_or(true);
    let new = NewFactor { label, issuer, account_name, algorithm, digits, period, reuse, qr };
    let created = limited(|| enrol::create(&account, new))?;
    let secret = created.secret.to_base32().to_string();
    let row = (secret, created.uri.to_string(), created.qr_svg);
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
            name!(retry_after_seconds, Option<i32>),
            name!(clock_offset_seconds, Option<i32>),
        ),
    >,
    ErrorReport,
> {
    let account = argument::account(account)?;
    let label = argument::label(label)?;
    let code = argument::totp_code(code);
    let done = limited(|| enrol::confirm(&account, &label, code.as_ref()))?;
    let verdict = done.verdict;
    let row = (
        verdict.is_ok(),
        done.backup_codes,
        verdict.reason.as_str(),
        verdict.retry_after_seconds(),
        done.clock_offset.and_then(|seconds| i32::try_from(seconds).ok()),
    );
    Ok(TableIterator::once(row))
}
