//! The SQL type `totp.verdict`.

use crate::error::Error;
use crate::pure::name::Account;
use crate::pure::verdict::{Method, Verdict};
use crate::{clock, server};
use pgrx::datum::Interval;
use pgrx::heap_tuple::PgHeapTuple;
use pgrx::prelude::*;

/// The columns verified, account, method, label, reason, retry_after, backup_codes_left,
/// retry_after_seconds.
pub type Columns = (
    bool,
    Option<String>,
    Option<&'static str>,
    Option<String>,
    &'static str,
    Option<Interval>,
    Option<i32>,
    Option<i32>,
);

/// Returns the columns of a verdict. A refused token has no account.
pub fn columns(account: Option<&Account>, verdict: Verdict) -> Columns {
    let (verified, reason) = (verdict.is_ok(), verdict.reason.as_str());
    let seconds = verdict.retry_after_seconds();
    let retry_after = verdict.retry_after.map(clock::interval);
    let method = verdict.method.as_ref().map(Method::as_str);
    let label = match verdict.method {
        Some(Method::Totp { label }) => Some(label),
        Some(Method::Backup | Method::Pass) | None => None,
    };
    let left = verdict.backup_codes_left;
    let account = account.map(|name| name.to_string());
    (verified, account, method, label, reason, retry_after, left, seconds)
}

/// Returns a verdict as a row.
pub fn tuple(
    account: Option<&Account>,
    verdict: Verdict,
) -> Result<PgHeapTuple<'static, AllocatedByRust>, Error> {
    let (verified, account, method, label, reason, retry_after, left, seconds) =
        columns(account, verdict);
    let columns = [
        Some(verified).into(),
        account.into(),
        method.into(),
        label.into(),
        Some(reason).into(),
        retry_after.into(),
        left.into(),
        seconds.into(),
    ];
    server::composite(c"verdict", columns).ok_or(Error::Corrupt("type verdict"))
}
