//! The table `decoys`, to which failures of unknown accounts are written.

use super::plan::{INT, Statement, plans};
use crate::error::Error;

/// Number of rows in the table.
const DECOYS: i32 = 256;

plans! {
    // A decoy that another transaction holds is skipped, so that no call waits for one.
    COUNT(INT) =
        "UPDATE totp.decoys SET failures = greatest(failures, 0)
         WHERE slot = (SELECT slot FROM totp.decoys WHERE slot = $1 FOR NO KEY UPDATE SKIP LOCKED)";
}

/// Writes what a failure would write, but to a decoy, for an account that does not exist.
pub fn record_failure(slot: i32) -> Result<(), Error> {
    COUNT.run(&[slot.rem_euclid(DECOYS).into()])
}
