//! When failed attempts lock an account, and for how long.

use super::timestamp::Timestamp;

/// The lock policy, from the settings.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// The number of consecutive failures at which an account is first locked.
    pub max_failures: u32,
    /// The length of the first lock, in microseconds; each further failure doubles it.
    pub lockout: i64,
    /// The maximum length of a lock, in microseconds.
    pub max_lockout: i64,
    /// The number of consecutive failures that suspends TOTP (SP 800-63B-4, 3.2.2: at most 100).
    pub suspend_after: u32,
}

/// The lock state of an account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LockState {
    /// The number of consecutive failures.
    pub failures: u32,
    /// The time until which every attempt is refused.
    pub locked_until: Option<Timestamp>,
    /// Whether TOTP is refused until an administrator or a backup code lifts the suspension.
    pub suspended: bool,
}

impl Policy {
    /// The maximum number of failures counted, set by the type of the table's column.
    pub const FAILURES_LIMIT: u32 = i32::MAX as u32;

    /// Returns the length of the lock after this many failures, in microseconds; `None` if too few.
    pub fn lock(&self, failures: u32) -> Option<i64> {
        let doublings = failures.checked_sub(self.max_failures)?;
        let factor = 1_i64.checked_shl(doublings).filter(|factor| *factor > 0).unwrap_or(i64::MAX);
        Some(self.lockout.saturating_mul(factor).min(self.max_lockout))
    }

    /// Returns the lock state after one more failure. Further failures never shorten a lock, even
    /// if the clock was set back in between.
    pub fn after_failure(&self, before: &LockState, now: Timestamp) -> LockState {
        let failures = before.failures.saturating_add(1).min(Self::FAILURES_LIMIT);
        let lock = self.lock(failures).map(|duration| now.plus_micros(duration));
        LockState {
            failures,
            locked_until: before.locked_until.max(lock),
            suspended: before.suspended || failures >= self.suspend_after,
        }
    }
}

impl LockState {
    /// Returns the end of the lock, if the account is locked now.
    pub fn locked(&self, now: Timestamp) -> Option<Timestamp> {
        self.locked_until.filter(|until| *until > now)
    }

    /// Combines the lock states in memory and in the table; the stricter one wins.
    pub fn stricter(&self, other: &Self) -> Self {
        Self {
            failures: self.failures.max(other.failures),
            locked_until: self.locked_until.max(other.locked_until),
            suspended: self.suspended || other.suspended,
        }
    }

    /// Returns whether a success has nothing to clear.
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng, rngs::SmallRng};

    const SECOND: i64 = 1_000_000;
    const DEFAULT: Policy = Policy {
        max_failures: 5,
        lockout: 30 * SECOND,
        max_lockout: 3600 * SECOND,
        suspend_after: 100,
    };

    fn policies(random: &mut SmallRng) -> Policy {
        let lockout = random.random_range(1..=86_400) * SECOND;
        Policy {
            max_failures: random.random_range(1..=100),
            lockout,
            max_lockout: random.random_range(1..=7 * 86_400) * SECOND,
            suspend_after: random.random_range(1..=100),
        }
    }

    fn random() -> SmallRng {
        let seed = std::env::var("TOTP_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
        println!("TOTP_TEST_SEED={seed}");
        SmallRng::seed_from_u64(seed)
    }

    #[test]
    fn the_fifth_failure_locks_and_further_ones_double() {
        assert_eq!(DEFAULT.lock(4), None);
        assert_eq!(DEFAULT.lock(5), Some(30 * SECOND));
        assert_eq!(DEFAULT.lock(6), Some(60 * SECOND));
        assert_eq!(DEFAULT.lock(11), Some(1920 * SECOND));
        assert_eq!(DEFAULT.lock(12), Some(3600 * SECOND));
    }

    #[test]
    fn no_number_of_failures_overflows() {
        for failures in [67, 68, 69, 132, u32::MAX / 2, 1 << 31, u32::MAX] {
            assert_eq!(DEFAULT.lock(failures), Some(3600 * SECOND), "{failures}");
        }
        let worst = LockState { failures: u32::MAX, locked_until: None, suspended: true };
        let after = DEFAULT.after_failure(&worst, Timestamp::from_micros(i64::MAX));
        assert_eq!(after.failures, Policy::FAILURES_LIMIT);
    }

    #[test]
    fn the_hundredth_failure_suspends() {
        let before = LockState { failures: 98, ..LockState::default() };
        let after = DEFAULT.after_failure(&before, Timestamp::from_secs(0));
        assert!(!after.suspended);
        assert!(DEFAULT.after_failure(&after, Timestamp::from_secs(0)).suspended);
    }

    #[test]
    fn locks_never_shrink_while_failing_and_are_capped() {
        let mut random = random();
        for _ in 0..2_000 {
            let policy = policies(&mut random);
            let mut lock_state = LockState::default();
            let mut now = Timestamp::from_secs(random.random_range(0..4_000_000_000));
            for failure in 1..=130_u32 {
                // The clock can be set back by up to a day.
                now = now.plus_secs(random.random_range(-86_400..86_400));
                let after = policy.after_failure(&lock_state, now);
                assert_eq!(after.failures, failure);
                assert!(after.locked_until >= lock_state.locked_until);
                assert_eq!(after.locked(now).is_some(), after.locked_until > Some(now));
                if failure >= policy.max_failures {
                    let lock = policy.lock(failure).unwrap();
                    assert!(after.locked_until >= Some(now.plus_micros(lock)));
                    assert!(lock <= policy.max_lockout);
                    assert!(Some(lock) >= policy.lock(failure - 1));
                    let capped = now.plus_micros(policy.max_lockout);
                    assert!(after.locked_until <= lock_state.locked_until.max(Some(capped)));
                } else {
                    assert_eq!(after.locked_until, None);
                }
                assert_eq!(after.suspended, failure >= policy.suspend_after);
                lock_state = after;
            }
            assert!(!lock_state.is_clean());
        }
        assert!(LockState::default().is_clean());
    }

    #[test]
    fn the_stricter_of_two_lock_states_wins() {
        let memory = LockState {
            failures: 5,
            locked_until: Some(Timestamp::from_secs(9)),
            suspended: false,
        };
        let table = LockState { failures: 3, locked_until: None, suspended: true };
        let both = memory.stricter(&table);
        assert_eq!(both, table.stricter(&memory));
        assert_eq!(
            both,
            LockState { failures: 5, locked_until: Some(Timestamp::from_secs(9)), suspended: true }
        );
    }
}
