//! The pure functions around a secret that the caller holds. They read no table and no key.

use super::{argument, enrol};
use crate::clock;
use crate::error::Error;
use crate::pure::invalid::Invalid;
use crate::pure::moment::Moment;
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
    let compute = || -> Result<String, Error> {
        let secret = argument::secret(secret)?;
        let parameters = enrol::parameters(algorithm, digits, period)?;
        let step = moment(at)?.step(i64::from(parameters.period));
        Ok(Otp::new(&secret, &parameters).code(step).ok_or(Invalid::Time)?)
    };
    Ok(compute()?)
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
    let compute = || -> Result<bool, Error> {
        let secret = argument::secret(secret)?;
        let parameters = enrol::parameters(algorithm, digits, period)?;
        let width = drift_steps.unwrap_or(1);
        if !(0..=1000).contains(&width) {
            return Err(Invalid::DriftSteps(width).into());
        }
        let step = moment(at)?.step(i64::from(parameters.period));
        let Some(code) = argument::totp_code(code) else {
            return Ok(false);
        };
        let window = Window { width: i64::from(width), drift: 0 };
        Ok(Otp::new(&secret, &parameters).find(&code, window.steps(step)).is_some())
    };
    Ok(compute()?)
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
    let compute = || -> Result<String, Error> {
        let secret = argument::secret(secret)?;
        let account_name = AccountName::new(argument::required(account_name, "account_name")?)?;
        let issuer = Issuer::new(argument::required(issuer, "issuer")?)?;
        let parameters = enrol::parameters(algorithm, digits, period)?;
        Ok(uri::build(&secret, &account_name, &issuer, &parameters).to_string())
    };
    Ok(compute()?)
}

fn moment(at: Option<TimestampWithTimeZone>) -> Result<Moment, Invalid> {
    at.as_ref().map(clock::moment).filter(|at| at.is_countable()).ok_or(Invalid::Time)
}
