//! Checking a code.

use super::argument;
use super::verdict::tuple;
use crate::error::Error;
use crate::flow::attempt::attempt;
use crate::flow::resync;
use crate::pure::audit::Event;
use crate::pure::code::Accepts;
use crate::pure::name::Account;
use crate::pure::verdict::Verdict;
use crate::server::Text;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn totp_verify(account: Option<Text>, code: Option<Text>) -> Result<bool, ErrorReport> {
    Ok(verify(account, code, Accepts::Totp)?.1.is_ok())
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn backup_verify(account: Option<Text>, code: Option<Text>) -> Result<bool, ErrorReport> {
    Ok(verify(account, code, Accepts::Backup)?.1.is_ok())
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn totp_attempt(
    account: Option<Text>,
    code: Option<Text>,
) -> Result<pgrx::composite_type!('static, "totp.verdict"), ErrorReport> {
    let (account, verdict) = verify(account, code, Accepts::Either)?;
    Ok(tuple(Some(&account), verdict)?)
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn totp_resync(
    account: Option<Text>,
    code1: Option<Text>,
    code2: Option<Text>,
    label: default!(Option<Text>, "'default'"),
) -> Result<bool, ErrorReport> {
    let account = argument::account(account).map_err(Error::from)?;
    let label = argument::label(label).map_err(Error::from)?;
    let codes = (argument::totp_code(code1), argument::totp_code(code2));
    let codes = codes.0.as_ref().zip(codes.1.as_ref());
    Ok(argument::writing(|| resync::resync(&account, &label, codes))?)
}

fn verify(
    account: Option<Text>,
    code: Option<Text>,
    accepts: Accepts,
) -> Result<(Account, Verdict), Error> {
    let account = argument::account(account)?;
    let code = argument::code(code, accepts);
    let verdict = argument::writing(|| attempt(&account, code.as_ref(), Event::Verify))?;
    Ok((account, verdict))
}
