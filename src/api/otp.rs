//! Computations on a secret that the caller provides. They read neither tables nor keys.

use super::argument;
use crate::pure::invalid::Invalid;
use crate::pure::name::{AccountName, Issuer};
use crate::pure::otp::{Otp, Window};
use crate::pure::uri;
use crate::server::Text;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

#[pg_extern(immutable, parallel_safe)]
#[search_path(pg_catalog, pg_temp)]
fn totp_code(
    secret: Option<Text>,
    at: Option<TimestampWithTimeZone>,
    algorithm: default!(Option<Text>, "'SHA1'"),
    digits: default!(Option<i32>, 6),
    period: default!(Option<i32>, 30),
) -> Result<String, ErrorReport> {
    let secret = argument::secret(secret)?;
    let parameters = argument::parameters(algorithm, digits, period)?;
    let step = argument::time(at)?.step(i64::from(parameters.period));
    Ok(Otp::new(&secret, &parameters).code(step).ok_or(Invalid::Time)?)
}

#[pg_extern(immutable, parallel_safe)]
#[search_path(pg_catalog, pg_temp)]
fn totp_check(
    secret: Option<Text>,
    code: Option<Text>,
    at: Option<TimestampWithTimeZone>,
    algorithm: default!(Option<Text>, "'SHA1'"),
    digits: default!(Option<i32>, 6),
    period: default!(Option<i32>, 30),
    drift_steps: default!(Option<i32>, 1),
) -> Result<bool, ErrorReport> {
    let secret = argument::secret(secret)?;
    let parameters = argument::parameters(algorithm, digits, period)?;
    let window = Window { width: argument::drift_steps(drift_steps)?, drift: 0 };
    let step = argument::time(at)?.step(i64::from(parameters.period));
    let Some(code) = argument::totp_code(code) else {
        return Ok(false);
    };
    Ok(Otp::new(&secret, &parameters).find(&code, window.steps(step)).is_some())
}

#[pg_extern(immutable, parallel_safe)]
#[search_path(pg_catalog, pg_temp)]
fn totp_uri(
    secret: Option<Text>,
    account_name: Option<Text>,
    issuer: Option<Text>,
    algorithm: default!(Option<Text>, "'SHA1'"),
    digits: default!(Option<i32>, 6),
    period: default!(Option<i32>, 30),
) -> Result<String, ErrorReport> {
    let secret = argument::secret(secret)?;
    let account_name = AccountName::new(argument::required(account_name, "account_name")?)?;
    let issuer = Issuer::new(argument::required(issuer, "issuer")?)?;
    let parameters = argument::parameters(algorithm, digits, period)?;
    Ok(uri::build(&secret, &account_name, &issuer, &parameters, None).to_string())
}
