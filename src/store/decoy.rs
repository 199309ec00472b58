//! The table `decoys`, to which failures of unknown accounts are written.

use super::plan::{INT, Statement, plans};
use crate::error::Error;
use pgrx::pg_sys::Oid;

/// Number of rows in the table.
const DECOYS: i32 = 256;

plans! {
    EMPTY_TABLE() =
        "SELECT 'totp.decoys'::regclass::oid WHERE NOT EXISTS (SELECT FROM totp.decoys)";
    CREATE() =
        "INSERT INTO totp.decoys (slot) SELECT generate_series(0, 255) ON CONFLICT (slot) DO NOTHING";
    // A decoy that another transaction holds is skipped, so that no call waits for one.
    COUNT(INT) =
        "UPDATE totp.decoys SET failures = greatest(failures, 0)
         WHERE slot = (SELECT slot FROM totp.decoys WHERE slot = $1 FOR NO KEY UPDATE SKIP LOCKED)";
}

/// Returns the table's OID if it has no rows.
pub fn empty_table() -> Result<Option<Oid>, Error> {
    EMPTY_TABLE.row(&[], |row| row.get(1))
}

/// Creates the rows. Waits for another transaction that does so, too.
pub fn create() -> Result<(), Error> {
    CREATE.run(&[])
}

/// Writes what a failure would write, but to a decoy, for an account that does not exist.
pub fn record_failure(slot: i32) -> Result<(), Error> {
    COUNT.run(&[slot.rem_euclid(DECOYS).into()])
}
