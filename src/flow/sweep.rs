//! Removing expired rows as new ones arrive, without a background job.

use crate::error::Error;
use crate::pure::timestamp::Timestamp;
use crate::server;
use std::cell::Cell;

/// Minimum time between two sweeps of a table by one server process, in microseconds.
const INTERVAL_MICROS: u64 = 1_000_000;

/// When a server process last removed all expired rows of a table.
pub struct Sweep(Cell<Timestamp>);

impl Sweep {
    /// The state of a new process.
    pub const fn new() -> Self {
        Self(Cell::new(Timestamp::from_micros(i64::MIN)))
    }

    /// Removes some expired rows, at most once per second unless more of them are left. `remove` returns
    /// whether there are no more.
    pub fn run(
        &self,
        now: Timestamp,
        remove: impl FnOnce() -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let is_due = now.micros_since(self.0.get()).unsigned_abs() >= INTERVAL_MICROS;
        // At other isolation levels, rows that another transaction has removed would cause errors.
        if is_due && server::is_read_committed() && remove()? {
            self.0.set(now);
        }
        Ok(())
    }
}
