//! The limit on audit events without shared memory, per server process.

use crate::pure::timestamp::Timestamp;
use std::cell::Cell;

const WINDOW_MICROS: i64 = 60_000_000;

thread_local! {
    static WINDOW: Cell<(Timestamp, u32)> = const { Cell::new((Timestamp::from_micros(0), 0)) };
}

/// Returns whether this process may record another event: at most `limit` per minute.
pub fn may_record(limit: u32, now: Timestamp) -> bool {
    let (mut start, mut recorded) = WINDOW.get();
    if !(0..WINDOW_MICROS).contains(&now.micros_since(start)) {
        (start, recorded) = (now, 0);
    }
    WINDOW.set((start, recorded.saturating_add(1)));
    recorded < limit
}
