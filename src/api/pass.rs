//! Temporary passes.

use super::argument;
use crate::flow::lock_timeout::limited;
use crate::flow::pass;
use crate::server::Text;
use pgrx::datum::Interval;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn pass_issue(
    account: Option<Text>,
    reason: Option<Text>,
    ttl: default!(Option<Interval>, "'1 hour'"),
    uses: default!(Option<i32>, 1),
) -> Result<String, ErrorReport> {
    let (account, reason) = (argument::account(account)?, argument::reason(reason)?);
    let (ttl, uses) = (argument::pass_ttl(ttl)?, argument::uses(uses)?);
    Ok(limited(|| pass::issue(&account, &reason, ttl, uses))?)
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn pass_revoke(account: Option<Text>, reason: Option<Text>) -> Result<bool, ErrorReport> {
    let (account, reason) = (argument::account(account)?, argument::reason(reason)?);
    Ok(limited(|| pass::revoke(&account, &reason))?)
}
