//! Verification of the audit trail.

use super::argument;
use crate::error::audit_verification::detail;
use crate::flow::audit_verification;
use crate::server::LargeJson;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

#[pg_extern(volatile, parallel_restricted, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn audit_verify(
    since: default!(Option<TimestampWithTimeZone>, "NULL"),
    until: default!(Option<TimestampWithTimeZone>, "NULL"),
    digests: default!(Option<LargeJson>, "NULL"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(seal, Option<i64>),
            name!(id, Option<i64>),
            name!(problem, Option<String>),
            name!(detail, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let digests = argument::digests(digests)?;
    let (findings, last) = audit_verification::verify(argument::times(since, until), &digests)?;
    let rows = findings.into_iter().map(|finding| {
        let problem = finding.cause.problem().as_str().to_owned();
        (finding.seal, finding.id, Some(problem), Some(detail(&finding.cause)))
    });
    Ok(TableIterator::new(rows.chain(std::iter::once((last, None, None, None)))))
}
