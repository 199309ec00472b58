//! Challenges: the step between the password and the second factor.

use super::{argument, verdict};
use crate::flow::challenge;
use crate::flow::lock_timeout::{limited, read};
use crate::pure::code::Accepts;
use crate::pure::token::Kind;
use crate::server::{Json, Text};
use pgrx::datum::Interval;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use serde_json::Value;

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn challenge_create(
    account: Option<Text>,
    purpose: default!(Option<Text>, "'login'"),
    binding: default!(Option<Text>, "NULL"),
    claims: default!(Option<Json>, "'{}'"),
    ttl: default!(Option<Interval>, "NULL"),
) -> Result<String, ErrorReport> {
    let account = argument::account(account)?;
    let purpose = argument::purpose(purpose)?;
    let binding = argument::optional(binding, "binding")?;
    let claims = Value::Object(argument::claims(claims)?).to_string();
    let ttl = argument::ttl(ttl, Kind::Challenge)?;
    let create = || challenge::create(&account, &purpose, binding.as_deref(), &claims, ttl);
    Ok(limited(create)?.to_string())
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn challenge_verify(
    token: Option<Text>,
    code: Option<Text>,
    binding: default!(Option<Text>, "NULL"),
    purpose: default!(Option<Text>, "'login'"),
) -> Result<pgrx::composite_type!('static, "totp.verdict"), ErrorReport> {
    let code = argument::code(code, Accepts::Either);
    let [token, binding, purpose] = [token, binding, purpose].map(argument::compared);
    let result = limited(|| {
        let purpose = purpose.as_str().unwrap_or(challenge::LOGIN);
        challenge::verify(token.as_str(), code.as_ref(), binding.as_str(), purpose)
    })?;
    Ok(verdict::tuple(result.account.as_ref(), result.verdict)?)
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn challenge_login(
    token: Option<Text>,
    code: Option<Text>,
    binding: Option<Text>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(verified, bool),
            name!(account, Option<String>),
            name!(method, Option<&'static str>),
            name!(label, Option<String>),
            name!(reason, &'static str),
            name!(retry_after, Option<Interval>),
            name!(backup_codes_left, Option<i32>),
            name!(access_token, Option<String>),
            name!(retry_after_seconds, Option<i32>),
        ),
    >,
    ErrorReport,
> {
    let code = argument::code(code, Accepts::Either);
    let [token, binding] = [token, binding].map(argument::compared);
    let (result, access_token) =
        limited(|| challenge::log_in(token.as_str(), code.as_ref(), binding.as_str()))?;
    let (verified, account, method, label, reason, retry_after, left, seconds) =
        verdict::columns(result.account.as_ref(), result.verdict);
    let row = (verified, account, method, label, reason, retry_after, left, access_token, seconds);
    Ok(TableIterator::once(row))
}

#[pg_extern(stable, parallel_restricted, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn challenge_account(token: Option<Text>) -> Result<Option<String>, ErrorReport> {
    let token = argument::compared(token);
    let account = read(|| challenge::account(token.as_str()))?;
    Ok(account.map(|account| account.to_string()))
}
