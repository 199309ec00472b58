//! When to stop waiting for rows that other transactions have locked.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The time since passes over the rows stopped making progress. Only whole passes count, however
/// long they take: rows that one pass skipped may be free in the next.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct StallTimer {
    /// When the first of the latest passes without progress ended.
    since: Option<Duration>,
}

impl StallTimer {
    /// Records the end of a pass at `now`, on any monotonic clock. Returns whether passes have made
    /// no progress for longer than `limit`, which takes at least two passes.
    pub fn is_over(&mut self, has_result: bool, now: Duration, limit: Duration) -> bool {
        if has_result {
            self.since = None;
            return false;
        }
        let since = *self.since.get_or_insert(now);
        now.saturating_sub(since) > limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(2);

    fn second(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn one_pass_without_progress_is_never_enough() {
        let mut stall_timer = StallTimer::default();
        assert!(!stall_timer.is_over(true, second(1), LIMIT));
        assert!(!stall_timer.is_over(false, second(100), LIMIT));
        assert!(!stall_timer.is_over(false, second(102), LIMIT));
        assert!(stall_timer.is_over(false, second(103), LIMIT));
    }

    #[test]
    fn progress_restarts_the_timer() {
        let mut stall_timer = StallTimer::default();
        assert!(!stall_timer.is_over(false, second(1), LIMIT));
        assert!(!stall_timer.is_over(true, second(9), LIMIT));
        assert!(!stall_timer.is_over(false, second(10), LIMIT));
        assert!(stall_timer.is_over(false, second(13), LIMIT));
    }

    #[test]
    fn two_passes_are_enough_when_they_take_longer_than_the_limit() {
        let mut stall_timer = StallTimer::default();
        assert!(!stall_timer.is_over(false, second(5), LIMIT));
        assert!(stall_timer.is_over(false, second(10), LIMIT));
    }
}
