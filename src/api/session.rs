//! Who a session is, and whether it proved a second factor.

use super::argument;
use crate::error::Error;
use crate::flow::session;
use crate::jwt_secret;
use crate::server::Json;
use crate::{clock, settings};
use pgrx::datum::Interval;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

#[pg_extern(stable, parallel_restricted)]
#[search_path(pg_catalog, pg_temp)]
fn current_account() -> Option<String> {
    session::current().map(|session| session.account.to_string())
}

#[pg_extern(stable, parallel_restricted)]
#[search_path(pg_catalog, pg_temp)]
fn session_account() -> Result<String, ErrorReport> {
    Ok(session::account()?.to_string())
}

#[pg_extern(volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn verified_account() -> Result<String, ErrorReport> {
    Ok(argument::writing(session::verified_account)?.to_string())
}

#[pg_extern(stable, parallel_restricted, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn totp_verified(max_age: default!(Option<Interval>, "NULL")) -> Result<bool, ErrorReport> {
    let max_age = argument::max_age(max_age).map_err(Error::from)?;
    Ok(session::is_verified(max_age)?)
}

#[pg_extern(volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn jwt_sign(claims: Option<Json>) -> Result<String, ErrorReport> {
    let sign = || -> Result<_, Error> {
        let claims = argument::claims(claims)?;
        let secret = jwt_secret::read()?;
        Ok(secret.sign(claims, clock::now()?, settings::jwt_ttl())?)
    };
    Ok(sign()?)
}
