//! The table `decoys`, to which failures of unknown accounts are written.

use super::account::write_failure;
use super::audit::{SignedEntry, appending};
use super::plan::{BIGINT, BOOL, BYTEA, INT, TEXT, TIME, plans};
use crate::error::Error;
use crate::pure::lock::LockState;

/// Number of rows in the table.
const DECOYS: i32 = 256;

plans! {
    // A decoy that another transaction holds is skipped, so that no call waits for one.
    FAIL(INT, INT, TIME, BOOL) =
        "UPDATE totp.decoys
         SET failures = greatest(failures, $2), locked_until = greatest(locked_until, $3),
             suspended = suspended OR $4
         WHERE slot = (SELECT slot FROM totp.decoys WHERE slot = $1 FOR NO KEY UPDATE SKIP LOCKED)";
    // The second decoy takes as long as the audit entry that is left out.
    FAIL_TWICE(INT, INT, TIME, BOOL) =
        "WITH failed AS (
             UPDATE totp.decoys
             SET failures = greatest(failures, $2), locked_until = greatest(locked_until, $3),
                 suspended = suspended OR $4
             WHERE slot = (SELECT slot FROM totp.decoys WHERE slot = $1
                           FOR NO KEY UPDATE SKIP LOCKED))
         UPDATE totp.decoys
         SET failures = greatest(failures, $2), locked_until = greatest(locked_until, $3),
             suspended = suspended OR $4
         WHERE slot = (SELECT slot FROM totp.decoys WHERE slot = ($1 + 128) % 256
                       FOR NO KEY UPDATE SKIP LOCKED)";
    FAIL_AUDITED(
        BIGINT, TIME, TEXT, TEXT, TEXT, TEXT, TEXT, TEXT, TEXT, BIGINT, BIGINT, TEXT, BYTEA,
        INT, INT, TIME, BOOL
    ) =
        appending!(
            "WITH failed AS (
                 UPDATE totp.decoys
                 SET failures = greatest(failures, $15), locked_until = greatest(locked_until, $16),
                     suspended = suspended OR $17
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
    let slot = slot.rem_euclid(DECOYS).into();
    let plain = if is_left_out { &FAIL_TWICE } else { &FAIL };
    write_failure((plain, &FAIL_AUDITED), slot, &LockState::default(), audit)
}
