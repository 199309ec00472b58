//! Challenges, recovery links and trusted devices: what signed tokens are for.

use super::argument;
use super::verdict::{self, tuple};
use crate::error::Error;
use crate::flow::{challenge, recovery, trust};
use crate::pure::code::Accepts;
use crate::pure::token::Kind;
use crate::server::{Json, Text};
use pgrx::datum::Interval;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use serde_json::Value;
use zeroize::Zeroizing;

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn challenge_create(
    account: Option<Text>,
    purpose: default!(Option<Text>, "'login'"),
    binding: default!(Option<Text>, "NULL"),
    claims: default!(Option<Json>, "'{}'"),
    ttl: default!(Option<Interval>, "NULL"),
) -> Result<String, ErrorReport> {
    let create = || -> Result<_, Error> {
        let account = argument::account(account)?;
        let purpose = argument::purpose(purpose)?;
        let binding = argument::optional(binding, "binding")?;
        let claims = Value::Object(argument::claims(claims)?).to_string();
        let ttl = argument::ttl(ttl, Kind::Challenge)?;
        argument::writing(|| {
            challenge::create(&account, &purpose, binding.as_deref(), &claims, ttl)
        })
    };
    Ok(create()?.to_string())
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
    let answer = argument::writing(|| {
        let [token, binding, purpose] = [&token, &binding, &purpose].map(as_str);
        challenge::verify(token, code.as_ref(), binding, purpose.unwrap_or(challenge::LOGIN))
    })?;
    Ok(tuple(answer.account.as_ref(), answer.verdict)?)
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
        ),
    >,
    ErrorReport,
> {
    let code = argument::code(code, Accepts::Either);
    let [token, binding] = [token, binding].map(argument::compared);
    let (answer, access_token) =
        argument::writing(|| challenge::log_in(as_str(&token), code.as_ref(), as_str(&binding)))?;
    let columns = verdict::columns(answer.account.as_ref(), answer.verdict)?;
    let (verified, account, method, label, reason, retry_after, left) = columns;
    let row = (verified, account, method, label, reason, retry_after, left, access_token);
    Ok(TableIterator::once(row))
}

#[pg_extern(stable, parallel_restricted, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn challenge_account(token: Option<Text>) -> Result<Option<String>, ErrorReport> {
    let token = argument::compared(token);
    let account = challenge::account(as_str(&token))?;
    Ok(account.map(|account| account.to_string()))
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn recovery_create(
    account: Option<Text>,
    ttl: default!(Option<Interval>, "NULL"),
) -> Result<String, ErrorReport> {
    let account = argument::account(account).map_err(Error::from)?;
    let ttl = argument::ttl(ttl, Kind::Recovery).map_err(Error::from)?;
    Ok(argument::writing(|| recovery::create(&account, ttl))?.to_string())
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn recovery_confirm(token: Option<Text>) -> Result<bool, ErrorReport> {
    let token = argument::compared(token);
    Ok(argument::writing(|| recovery::confirm(as_str(&token)))?)
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn trust_create(
    account: Option<Text>,
    ttl: default!(Option<Interval>, "NULL"),
) -> Result<String, ErrorReport> {
    let account = argument::account(account).map_err(Error::from)?;
    let ttl = argument::ttl(ttl, Kind::Trust).map_err(Error::from)?;
    Ok(argument::writing(|| trust::create(&account, ttl))?.to_string())
}

#[pg_extern(stable, parallel_restricted, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn trust_verify(account: Option<Text>, token: Option<Text>) -> Result<bool, ErrorReport> {
    let account = argument::account(account).map_err(Error::from)?;
    let token = argument::compared(token);
    Ok(trust::verify(&account, as_str(&token))?)
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn trust_revoke(account: Option<Text>) -> Result<i32, ErrorReport> {
    let account = argument::account(account).map_err(Error::from)?;
    Ok(argument::writing(|| trust::revoke(&account))?)
}

fn as_str(text: &Option<Zeroizing<String>>) -> Option<&str> {
    text.as_deref().map(String::as_str)
}
