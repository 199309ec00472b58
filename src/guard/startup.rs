//! The time since which shared memory has recorded spent steps.
//!
//! Before that time, a step may have been spent without a trace: by a transaction that was rolled
//! back, or on a primary that failed before its commit was replicated to this server.

use crate::pure::timestamp::Timestamp;
use crate::{clock, server};
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::UNIX_EPOCH;

/// The server's start, and its promotion if it started as a standby.
pub struct Start {
    started: Timestamp,
    was_standby: bool,
    /// Microseconds since 1970; 0 until the first call after the promotion.
    promoted: AtomicI64,
}

impl Start {
    /// Returns the start of a server whose shared memory is being created.
    pub fn now() -> Self {
        let directory = server::data_directory();
        let was_standby =
            ["standby.signal", "recovery.signal"].iter().any(|name| directory.join(name).exists());
        Self { started: clock::system(), was_standby, promoted: AtomicI64::new(0) }
    }

    /// Returns the time since which spent steps have been recorded. Do not call while the server
    /// replays WAL.
    pub fn time(&self) -> Timestamp {
        if !self.was_standby {
            return self.started;
        }
        let known = self.promoted.load(Ordering::Relaxed);
        if known != 0 {
            return Timestamp::from_micros(known);
        }
        let promoted = promotion(&server::data_directory())
            .filter(|promoted| *promoted >= self.started)
            .unwrap_or_else(clock::system);
        // Another process may have been faster; all must use the same time.
        match self.promoted.compare_exchange(
            0,
            promoted.micros(),
            Ordering::Relaxed,
            Ordering::Relaxed,
        ) {
            Ok(_) => promoted,
            Err(earlier) => Timestamp::from_micros(earlier),
        }
    }
}

/// Returns when the server became a primary: the time of its newest timeline history file.
fn promotion(data_directory: &Path) -> Option<Timestamp> {
    std::fs::read_dir(data_directory.join("pg_wal"))
        .ok()?
        .flatten()
        .filter(|file| file.path().extension().is_some_and(|extension| extension == "history"))
        .filter_map(|file| file.metadata().ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok())
        .filter_map(|written| i64::try_from(written.as_micros()).ok())
        .max()
        .map(Timestamp::from_micros)
}
