//! Rows that have ended go as new ones come; no background job is needed for it.

use crate::error::Error;
use crate::pure::moment::Moment;
use std::cell::Cell;

/// How often a server process looks for rows that have ended: each second at most.
const PERIOD_MICROS: u64 = 1_000_000;

/// When a table was last swept by this process.
pub struct Sweep(Cell<Moment>);

impl Sweep {
    /// Not swept yet.
    pub const fn new() -> Self {
        Self(Cell::new(Moment::from_micros(i64::MIN)))
    }

    /// Sweeps, unless that was done a moment ago.
    pub fn when_due(
        &self,
        now: Moment,
        sweep: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Error> {
        if now.micros_since(self.0.get()).unsigned_abs() < PERIOD_MICROS {
            return Ok(());
        }
        self.0.set(now);
        sweep()
    }
}
