//! The entries of shared memory and the operations on them, one bucket at a time. The caller holds
//! the bucket's lock.
#![forbid(unsafe_code)]

use crate::pure::lock::{LockState, Policy};
use crate::pure::timestamp::Timestamp;
use std::sync::atomic::{AtomicU64, Ordering};

/// Slots per bucket. An entry belongs to one bucket and may use any slot there.
pub const SLOTS_PER_BUCKET: usize = 8;

/// The slots that share one hash value.
pub type Bucket = [Slot; SLOTS_PER_BUCKET];

/// A keyed hash that identifies an entry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Key(pub [u64; 2]);

/// A slot in shared memory.
#[derive(Debug, Clone, Copy)]
pub struct Slot {
    key: Key,
    entry: Entry,
}

/// The content of a slot.
#[derive(Debug, Clone, Copy)]
enum Entry {
    Free,
    Failures(Failures),
    Step {
        /// The newest spent step.
        step: i64,
        /// When no window reaches that step any more.
        expires: Timestamp,
    },
}

/// The failures of one account.
#[derive(Debug, Clone, Copy)]
struct Failures {
    /// Attempts that were reserved and did not succeed.
    count: u32,
    /// How many of them a committed transaction has written to the table.
    committed: u32,
    /// Attempts whose transaction was rolled back, until a committed audit event reports them.
    rolled_back: u32,
    locked_until: Timestamp,
    touched: Timestamp,
}

/// The result of a request for an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// One comparison is allowed.
    Reserved {
        /// The account's lock state if the attempt fails.
        after: LockState,
        /// Attempts that were rolled back and that no audit event has reported yet.
        rolled_back: u32,
    },
    /// No comparison is allowed.
    Refused {
        /// When to try again.
        until: Timestamp,
    },
}

/// The result of a request to spend a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spend {
    /// The step was not spent before. An older one may have been.
    Done {
        /// That older step.
        older: Option<i64>,
    },
    /// The step was already spent, or there is no room to record it.
    Refused,
}

/// How full shared memory is, and what has happened since the server started.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// All slots.
    pub slots: u64,
    /// Slots with an entry that is still needed.
    pub used: u64,
    /// Accounts that are locked.
    pub locked: u64,
    /// Failure entries evicted to make room for others.
    pub evictions: u64,
    /// Attempts whose transaction was rolled back.
    pub rolled_back: u64,
}

impl Slot {
    /// An empty slot, the initial content of shared memory.
    pub const FREE: Self = Self { key: Key([0, 0]), entry: Entry::Free };

    /// Adds this slot to the counts.
    pub fn count_into(&self, usage: &mut Usage, now: Timestamp) {
        usage.slots += 1;
        match self.entry {
            Entry::Free => {}
            Entry::Failures(failures) => {
                usage.used += 1;
                usage.locked += u64::from(failures.locked_until > now);
            }
            Entry::Step { expires, .. } => usage.used += u64::from(expires > now),
        }
    }

    /// Returns the time until which the entry must stay, or `None` if it may be evicted.
    fn pinned_until(&self, now: Timestamp) -> Option<Timestamp> {
        let until = match self.entry {
            Entry::Free => return None,
            Entry::Failures(failures) => failures.locked_until,
            Entry::Step { expires, .. } => expires,
        };
        Some(until).filter(|until| *until > now)
    }

    /// Returns the order of eviction, lowest first: free slots and expired steps, then failures
    /// that are committed to the table, then failures that are only here; of these, the longest
    /// untouched first.
    fn eviction_rank(&self) -> (u8, Timestamp) {
        match self.entry {
            Entry::Free => (0, Timestamp::from_micros(0)),
            Entry::Step { expires, .. } => (1, expires),
            Entry::Failures(f) if f.committed >= f.count && f.rolled_back == 0 => (2, f.touched),
            Entry::Failures(f) => (3, f.touched),
        }
    }
}

/// Returns the lock state of an account.
pub fn lock_state(bucket: &mut Bucket, key: Key) -> LockState {
    failures(bucket, key).map(|failures| failures.lock_state()).unwrap_or_default()
}

/// Reserves an attempt, which counts as a failure from now on.
pub fn reserve(
    bucket: &mut Bucket,
    key: Key,
    committed: &LockState,
    policy: &Policy,
    now: Timestamp,
    evictions: &AtomicU64,
) -> Admission {
    let known = failures(bucket, key).copied();
    let before = known.map(|f| f.lock_state()).unwrap_or_default().stricter(committed);
    if let Some(until) = before.locked(now) {
        return Admission::Refused { until };
    }
    let after = policy.after_failure(&before, now);
    let entry = Entry::Failures(Failures {
        count: after.failures,
        committed: known.map_or(0, |f| f.committed).max(committed.failures),
        rolled_back: known.map_or(0, |f| f.rolled_back),
        locked_until: after.locked_until.unwrap_or(Timestamp::from_micros(0)),
        touched: now,
    });
    match put(bucket, key, entry, now, evictions) {
        Ok(()) => Admission::Reserved { after, rolled_back: known.map_or(0, |f| f.rolled_back) },
        Err(until) => Admission::Refused { until },
    }
}

/// Undoes a reserved attempt that was not a failure, and the lock until `lock` if it set one.
pub fn undo_attempt(bucket: &mut Bucket, key: Key, lock: Option<Timestamp>) {
    let Some(failures) = failures(bucket, key) else { return };
    failures.count = failures.count.saturating_sub(1);
    failures.committed = failures.committed.min(failures.count);
    if lock == Some(failures.locked_until) {
        failures.locked_until = Timestamp::from_micros(0);
    }
    if failures.count == 0 && failures.rolled_back == 0 {
        clear(bucket, key);
    }
}

/// Removes an account's failures.
pub fn clear(bucket: &mut Bucket, key: Key) {
    if let Some(slot) = find(bucket, key) {
        *slot = Slot::FREE;
    }
}

/// Records that a step is spent.
pub fn spend(
    bucket: &mut Bucket,
    key: Key,
    step: i64,
    expires: Timestamp,
    now: Timestamp,
    evictions: &AtomicU64,
) -> Spend {
    let older = spent_step(bucket, key);
    if older.is_some_and(|older| older >= step) {
        return Spend::Refused;
    }
    match put(bucket, key, Entry::Step { step, expires }, now, evictions) {
        Ok(()) => Spend::Done { older },
        Err(_) => Spend::Refused,
    }
}

/// Returns the newest step that is recorded as spent.
pub fn spent_step(bucket: &mut Bucket, key: Key) -> Option<i64> {
    match find(bucket, key)?.entry {
        Entry::Step { step, .. } => Some(step),
        _ => None,
    }
}

/// Removes a spent step that is committed to the table or was given back. If an older step was
/// spent before it, records that one again.
pub fn release(bucket: &mut Bucket, key: Key, spent: i64, older: Option<i64>) {
    if let Some(slot) = find(bucket, key)
        && let Entry::Step { step, expires } = slot.entry
        && step == spent
    {
        match older {
            Some(step) => slot.entry = Entry::Step { step, expires },
            None => *slot = Slot::FREE,
        }
    }
}

/// Records that a transaction with an attempt was rolled back.
pub fn record_rollback(bucket: &mut Bucket, key: Key) {
    if let Some(failures) = failures(bucket, key) {
        failures.rolled_back = failures.rolled_back.saturating_add(1);
    }
}

/// Records that a transaction was committed that wrote `count` failures and reported `told`
/// rolled-back attempts.
pub fn record_commit(bucket: &mut Bucket, key: Key, count: u32, told: u32) {
    if let Some(failures) = failures(bucket, key) {
        failures.committed = failures.committed.max(count);
        failures.rolled_back = failures.rolled_back.saturating_sub(told);
    }
}

impl Failures {
    fn lock_state(&self) -> LockState {
        let locked_until = Some(self.locked_until).filter(|until| until.micros() > 0);
        LockState { failures: self.count, locked_until, suspended: false }
    }
}

fn find(bucket: &mut Bucket, key: Key) -> Option<&mut Slot> {
    bucket.iter_mut().find(|slot| slot.key == key && !matches!(slot.entry, Entry::Free))
}

fn failures(bucket: &mut Bucket, key: Key) -> Option<&mut Failures> {
    match &mut find(bucket, key)?.entry {
        Entry::Failures(failures) => Some(failures),
        _ => None,
    }
}

/// Writes an entry over the old one of its key, or else over the first in order of eviction. If all
/// entries must stay, returns the earliest time at which one may be evicted.
fn put(
    bucket: &mut Bucket,
    key: Key,
    entry: Entry,
    now: Timestamp,
    evictions: &AtomicU64,
) -> Result<(), Timestamp> {
    if let Some(slot) = find(bucket, key) {
        slot.entry = entry;
        return Ok(());
    }
    let first = bucket.iter().filter_map(|slot| slot.pinned_until(now)).min().unwrap_or(now);
    let victim = bucket
        .iter_mut()
        .filter(|slot| slot.pinned_until(now).is_none())
        .min_by_key(|slot| slot.eviction_rank())
        .ok_or(first)?;
    if matches!(victim.entry, Entry::Failures(_)) {
        evictions.fetch_add(1, Ordering::Relaxed);
    }
    *victim = Slot { key, entry };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy {
        max_failures: 2,
        lockout: 30_000_000,
        max_lockout: 60_000_000,
        suspend_after: 100,
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_secs(second)
    }

    fn key(n: u64) -> Key {
        Key([n, 1])
    }

    struct Table {
        bucket: Bucket,
        evictions: AtomicU64,
    }

    impl Table {
        fn new() -> Self {
            Self { bucket: [Slot::FREE; SLOTS_PER_BUCKET], evictions: AtomicU64::new(0) }
        }

        fn reserve(&mut self, n: u64, committed: u32, second: i64) -> Admission {
            let committed = LockState { failures: committed, ..LockState::default() };
            reserve(&mut self.bucket, key(n), &committed, &POLICY, at(second), &self.evictions)
        }

        fn spend(&mut self, n: u64, step: i64, second: i64) -> Spend {
            let expires = at(second + 90);
            spend(&mut self.bucket, key(n), step, expires, at(second), &self.evictions)
        }

        fn evictions(&self) -> u64 {
            self.evictions.load(Ordering::Relaxed)
        }
    }

    fn failures_of(admission: Admission) -> Option<u32> {
        match admission {
            Admission::Reserved { after, .. } => Some(after.failures),
            Admission::Refused { .. } => None,
        }
    }

    #[test]
    fn attempts_count_when_reserved_and_are_refused_once_locked() {
        let mut table = Table::new();
        assert_eq!(failures_of(table.reserve(1, 0, 100)), Some(1));
        assert_eq!(failures_of(table.reserve(1, 0, 100)), Some(2));
        assert_eq!(table.reserve(1, 0, 100), Admission::Refused { until: at(130) });
        assert_eq!(table.reserve(1, 0, 129), Admission::Refused { until: at(130) });
        assert_eq!(failures_of(table.reserve(1, 0, 130)), Some(3));
        assert_eq!(table.reserve(1, 0, 189), Admission::Refused { until: at(190) });
    }

    #[test]
    fn the_higher_of_recorded_and_committed_failures_applies() {
        let mut table = Table::new();
        assert_eq!(failures_of(table.reserve(1, 7, 0)), Some(8));
        clear(&mut table.bucket, key(1));
        assert_eq!(failures_of(table.reserve(1, 0, 0)), Some(1));
    }

    #[test]
    fn a_step_is_spent_once_along_with_older_ones() {
        let mut table = Table::new();
        assert_eq!(table.spend(1, 10, 300), Spend::Done { older: None });
        assert_eq!(table.spend(1, 10, 300), Spend::Refused);
        assert_eq!(table.spend(1, 9, 300), Spend::Refused);
        assert!(matches!(table.spend(1, 11, 300), Spend::Done { .. }));
        assert_eq!(table.spend(2, 10, 300), Spend::Done { older: None });
    }

    #[test]
    fn giving_back_an_older_step_keeps_the_newer_one_spent() {
        let mut table = Table::new();
        assert_eq!(table.spend(1, 10, 300), Spend::Done { older: None });
        assert!(matches!(table.spend(1, 11, 300), Spend::Done { .. }));
        release(&mut table.bucket, key(1), 10, None);
        assert_eq!(table.spend(1, 11, 300), Spend::Refused);
        release(&mut table.bucket, key(1), 11, None);
        assert!(matches!(table.spend(1, 11, 300), Spend::Done { .. }));
    }

    #[test]
    fn giving_back_a_newer_step_keeps_the_older_one_spent() {
        let mut table = Table::new();
        assert_eq!(table.spend(1, 10, 300), Spend::Done { older: None });
        assert_eq!(table.spend(1, 11, 300), Spend::Done { older: Some(10) });
        release(&mut table.bucket, key(1), 11, Some(10));
        assert_eq!(table.spend(1, 10, 300), Spend::Refused);
        assert_eq!(table.spend(1, 11, 300), Spend::Done { older: Some(10) });
    }

    #[test]
    fn a_full_bucket_evicts_committed_failures_first() {
        let mut table = Table::new();
        for n in 0..SLOTS_PER_BUCKET as u64 {
            table.reserve(n, 0, n as i64);
        }
        record_commit(&mut table.bucket, key(5), 1, 0);
        assert_eq!(failures_of(table.reserve(100, 0, 50)), Some(1));
        assert_eq!(lock_state(&mut table.bucket, key(5)), LockState::default());
        assert_eq!(lock_state(&mut table.bucket, key(0)).failures, 1);
        table.reserve(101, 0, 50);
        assert_eq!(lock_state(&mut table.bucket, key(0)), LockState::default());
        assert_eq!(table.evictions(), 2);
    }

    #[test]
    fn locks_and_live_steps_are_never_evicted() {
        let mut table = Table::new();
        for n in 0..SLOTS_PER_BUCKET as u64 - 1 {
            table.reserve(n, 1, 100);
        }
        table.spend(99, 3, 100);
        assert_eq!(table.reserve(50, 0, 110), Admission::Refused { until: at(130) });
        assert_eq!(table.spend(51, 3, 110), Spend::Refused);
        assert_eq!(table.reserve(0, 0, 110), Admission::Refused { until: at(130) });
        assert_eq!(failures_of(table.reserve(50, 0, 131)), Some(1));
        assert_eq!(table.spend(99, 3, 131), Spend::Refused);
    }

    #[test]
    fn rolled_back_attempts_are_reported_once() {
        let mut table = Table::new();
        table.reserve(1, 0, 0);
        record_rollback(&mut table.bucket, key(1));
        let Admission::Reserved { rolled_back, .. } = table.reserve(1, 0, 0) else {
            panic!("refused")
        };
        assert_eq!(rolled_back, 1);
        record_commit(&mut table.bucket, key(1), 2, rolled_back);
        assert!(matches!(table.reserve(1, 2, 40), Admission::Reserved { rolled_back: 0, .. }));
    }

    #[test]
    fn usage_counts_entries_still_needed() {
        let mut table = Table::new();
        table.reserve(1, 0, 0);
        table.reserve(2, 1, 0);
        table.spend(3, 1, 0);
        let count = |table: &Table, second| {
            let mut usage = Usage::default();
            table.bucket.iter().for_each(|slot| slot.count_into(&mut usage, at(second)));
            (usage.slots, usage.used, usage.locked)
        };
        assert_eq!(count(&table, 1), (8, 3, 1));
        assert_eq!(count(&table, 1000), (8, 2, 0));
    }
}
