//! Adjusting to an authenticator app whose clock has drifted.

use super::argument;
use crate::flow::lock_timeout::limited;
use crate::flow::resync;
use crate::server::Text;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn totp_resync(
    account: Option<Text>,
    code1: Option<Text>,
    code2: Option<Text>,
    label: default!(Option<Text>, "'default'"),
) -> Result<bool, ErrorReport> {
    let account = argument::account(account)?;
    let label = argument::label(label)?;
    let codes = (argument::totp_code(code1), argument::totp_code(code2));
    let codes = codes.0.as_ref().zip(codes.1.as_ref());
    Ok(limited(|| resync::resync(&account, &label, codes))?)
}
