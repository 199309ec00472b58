//! The table `decoys`, to which failures of unknown accounts are written.

use super::audit::{SignedEntry, appending, audited};
use super::plan::{BIGINT, BYTEA, INT, TEXT, TIME, plans};
use crate::error::Error;

/// Number of rows in the table.
const DECOYS: i32 = 256;

plans! {
    // A decoy that another transaction holds is skipped, so that no call waits for one.
    COUNT(INT) =
        "UPDATE totp.decoys SET failures = greatest(failures, 0)
         WHERE slot = (SELECT slot FROM totp.decoys WHERE slot = $1 FOR NO KEY UPDATE SKIP LOCKED)";
    // The second decoy takes as long as the audit entry that is left out.
    COUNT_TWICE(INT) =
        "WITH counted AS (
             UPDATE totp.decoys SET failures = greatest(failures, 0)
             WHERE slot = (SELECT slot FROM totp.decoys WHERE slot = $1
                           FOR NO KEY UPDATE SKIP LOCKED))
         UPDATE totp.decoys SET failures = greatest(failures, 0)
         WHERE slot = (SELECT slot FROM totp.decoys WHERE slot = ($1 + 128) % 256
                       FOR NO KEY UPDATE SKIP LOCKED)";
    COUNT_AUDITED(
        BIGINT, TIME, TEXT, TEXT, TEXT, TEXT, TEXT, TEXT, TEXT, BIGINT, BIGINT, TEXT, BYTEA,
        INT
    ) =
        appending!(
            "WITH counted AS (
                 UPDATE totp.decoys SET failures = greatest(failures, 0)
                 WHERE slot = (SELECT slot FROM totp.decoys WHERE slot = $14
                               FOR NO KEY UPDATE SKIP LOCKED))",
            ""
        );
}

/// Writes what a failure would write, but to a decoy, for an account that does not exist.
/// `is_left_out` says that an audit entry is left out because there were too many.
pub fn record_failure(
    slot: i32,
    audit: Option<SignedEntry>,
    is_left_out: bool,
) -> Result<(), Error> {
    let plain = if is_left_out { &COUNT_TWICE } else { &COUNT };
    audited((plain, &COUNT_AUDITED), &audit, [slot.rem_euclid(DECOYS).into()])?;
    Ok(())
}
