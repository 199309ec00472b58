//! Checking a code.

use super::argument;
use super::verdict::tuple;
use crate::flow::lock_timeout::limited;
use crate::flow::verify;
use crate::pure::code::Accepts;
use crate::server::Text;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn totp_verify(account: Option<Text>, code: Option<Text>) -> Result<bool, ErrorReport> {
    let account = argument::account(account)?;
    let code = argument::code(code, Accepts::Totp);
    Ok(limited(|| verify::verify(&account, code.as_ref()))?.is_ok())
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn totp_attempt(
    account: Option<Text>,
    code: Option<Text>,
) -> Result<pgrx::composite_type!('static, "totp.verdict"), ErrorReport> {
    let account = argument::account(account)?;
    let code = argument::code(code, Accepts::Either);
    let verdict = limited(|| verify::attempt(&account, code.as_ref()))?;
    Ok(tuple(Some(&account), verdict)?)
}
