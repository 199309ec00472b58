//! When to stop waiting for rows that others hold.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long passes over the rows have moved nothing. Only whole passes count, however long they take:
/// what one has missed, the next may find free.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct StallTimer {
    /// When the first of the latest passes without a result ended.
    since: Option<Duration>,
}

impl StallTimer {
    /// Notes the end of a pass at `now`, on any clock that only goes forward; whether there have been
    /// passes without a result for longer than `limit`, thus two at least.
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
    fn one_pass_without_a_result_is_not_enough_however_long_it_took() {
        let mut stall_timer = StallTimer::default();
        assert!(!stall_timer.is_over(true, second(1), LIMIT));
        assert!(!stall_timer.is_over(false, second(100), LIMIT));
        assert!(!stall_timer.is_over(false, second(102), LIMIT));
        assert!(stall_timer.is_over(false, second(103), LIMIT));
    }

    #[test]
    fn a_result_begins_it_anew() {
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
