//! The table of entries in shared memory, one bucket at a time. The caller holds the bucket's lock.
//!
//! Whatever an account does, it has one entry. No account can therefore take room from others.
#![forbid(unsafe_code)]

use super::entry::Entry;
use crate::pure::timestamp::Timestamp;
use std::sync::atomic::{AtomicU64, Ordering};

/// Slots per bucket. An entry belongs to one bucket and may use any slot there: with many slots, few
/// buckets are full long before the others.
const SLOTS_PER_BUCKET: usize = 32;

/// A keyed hash that identifies an account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Key(pub [u64; 2]);

impl Key {
    /// Marks a free slot. A hash is zero as rarely as two accounts have the same hash.
    const FREE: Self = Self([0, 0]);

    /// Returns the key of an account that takes a name which the running transaction has given up.
    pub fn successor(self) -> Self {
        let Self([first, second]) = self;
        Self([first, second ^ u64::MAX])
    }
}

/// The slots that share one hash value. Their keys lie together: a search reads 512 bytes, and no
/// entries.
pub struct Bucket {
    keys: [Key; SLOTS_PER_BUCKET],
    entries: [Entry; SLOTS_PER_BUCKET],
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
    /// Entries evicted to make room for others.
    pub evictions: u64,
    /// Attempts whose transaction was rolled back.
    pub rolled_back: u64,
}

impl Bucket {
    /// A bucket of free slots, the initial content of shared memory.
    pub const FREE: Self = Self {
        keys: [Key::FREE; SLOTS_PER_BUCKET],
        entries: [Entry::new(Timestamp::from_micros(0)); SLOTS_PER_BUCKET],
    };
    /// The number of slots.
    pub const SLOTS: usize = SLOTS_PER_BUCKET;

    /// Runs `work` on the entry of an account. Returns `None` if it has none.
    pub fn with_entry<T>(&mut self, key: Key, work: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        let (slot, entry) = self.slots().find(|(slot, _)| **slot == key)?;
        let result = work(entry);
        if entry.is_empty() {
            *slot = Key::FREE;
        }
        Some(result)
    }

    /// Runs `work` on the entry of an account, which is created if it has none, in a free slot or in
    /// place of the first that may be evicted. If all must stay, returns the time at which one may go.
    pub fn with_new_entry<T>(
        &mut self,
        key: Key,
        now: Timestamp,
        evictions: &AtomicU64,
        work: impl FnOnce(&mut Entry) -> T,
    ) -> Result<T, Timestamp> {
        if !self.keys.contains(&key) {
            if !self.keys.contains(&Key::FREE) {
                self.evict(now, evictions)?;
            }
            if let Some((slot, entry)) = self.slots().find(|(slot, _)| **slot == Key::FREE) {
                (*slot, *entry) = (key, Entry::new(now));
            }
        }
        self.with_entry(key, work).ok_or(now)
    }

    /// Frees a slot.
    fn evict(&mut self, now: Timestamp, evictions: &AtomicU64) -> Result<(), Timestamp> {
        let pinned_until = |entry: &Entry| entry.pinned_until(now);
        let first = self.entries.iter().filter_map(pinned_until).min().unwrap_or(now);
        let may_go = |(_, entry): &(&mut Key, &mut Entry)| pinned_until(entry).is_none();
        let rank = |(_, entry): &(&mut Key, &mut Entry)| entry.eviction_rank();
        let (slot, entry) = self.slots().filter(may_go).min_by_key(rank).ok_or(first)?;
        if entry.is_needed(now) {
            evictions.fetch_add(1, Ordering::Relaxed);
        }
        *slot = Key::FREE;
        Ok(())
    }

    /// Removes the entry of an account and returns it.
    pub fn take(&mut self, key: Key) -> Option<Entry> {
        let (slot, entry) = self.slots().find(|(slot, _)| **slot == key)?;
        *slot = Key::FREE;
        Some(*entry)
    }

    /// Adds the slots to the counts.
    pub fn count_into(&self, usage: &mut Usage, now: Timestamp) {
        usage.slots += Self::SLOTS as u64;
        for (_, entry) in self.keys.iter().zip(&self.entries).filter(|(key, _)| **key != Key::FREE)
        {
            usage.used += u64::from(entry.is_needed(now));
            usage.locked += u64::from(entry.is_locked(now));
        }
    }

    fn slots(&mut self) -> impl Iterator<Item = (&mut Key, &mut Entry)> {
        self.keys.iter_mut().zip(&mut self.entries)
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::tests::{POLICY, at};
    use super::super::entry::{Admission, Request, Spend, SpentStep};
    use super::*;
    use crate::pure::lock::LockState;

    fn key(n: u64) -> Key {
        Key([n, 1])
    }

    struct Table {
        bucket: Bucket,
        evictions: AtomicU64,
    }

    impl Table {
        fn new() -> Self {
            Self { bucket: Bucket::FREE, evictions: AtomicU64::new(0) }
        }

        fn with<T>(
            &mut self,
            n: u64,
            second: i64,
            work: impl FnOnce(&mut Entry) -> T,
        ) -> Result<T, Timestamp> {
            self.bucket.with_new_entry(key(n), at(second), &self.evictions, work)
        }

        /// The failures after an attempt of an account whose row has `committed` failures.
        fn reserve(&mut self, n: u64, committed: u32, second: i64) -> Result<u32, Timestamp> {
            let committed = LockState { failures: committed, ..LockState::default() };
            let request = Request { now: at(second), is_repeat: false, has_written: false };
            match self.with(n, second, |entry| entry.reserve(&committed, &POLICY, request))? {
                Admission::Reserved { after } => Ok(after.failures),
                Admission::Locked { until } | Admission::Full { until } => Err(until),
            }
        }

        fn spend(
            &mut self,
            n: u64,
            secret: u32,
            step: i64,
            second: i64,
        ) -> Result<Spend, Timestamp> {
            let spent = SpentStep { secret, step, expires: at(second + 90), is_pending: false };
            self.with(n, second, |entry| entry.spend(spent, at(second)))
        }

        /// Fills the bucket with accounts that are locked until second 130 or later.
        fn fill(&mut self) {
            for n in 1_000..1_000 + Bucket::SLOTS as u64 {
                // One that finds no room is missing.
                let _ = self.reserve(n, 1, 100);
                self.bucket.with_entry(key(n), |entry| entry.record_commit(2));
            }
        }

        fn failures(&mut self, n: u64) -> Option<u32> {
            self.bucket.with_entry(key(n), |entry| entry.lock_state(0).failures)
        }

        fn used(&self, second: i64) -> u64 {
            let mut usage = Usage::default();
            self.bucket.count_into(&mut usage, at(second));
            usage.used
        }
    }

    #[test]
    fn an_account_has_one_entry_of_its_own() {
        let mut table = Table::new();
        for secret in 0..1_000 {
            assert!(matches!(
                table.spend(1, secret, 10, i64::from(secret)),
                Ok(Spend::Done { .. })
            ));
        }
        assert_eq!(table.used(1_000), 1);
        assert_eq!(table.evictions.load(Ordering::Relaxed), 0);
        assert!(matches!(table.spend(2, 999, 10, 1_000), Ok(Spend::Done { older: None, .. })));
        assert_eq!(table.used(1_000), 2);
    }

    #[test]
    fn an_entry_with_nothing_left_is_freed() {
        let mut table = Table::new();
        assert_eq!(table.reserve(1, 0, 0), Ok(1));
        assert_eq!(table.used(0), 1);
        table.bucket.with_entry(key(1), |entry| entry.subtract(1));
        assert_eq!(table.failures(1), None);
    }

    #[test]
    fn entries_are_evicted_only_if_no_slot_is_free() {
        let mut table = Table::new();
        let slots = Bucket::SLOTS as u64;
        for n in 0..slots {
            assert_eq!(table.reserve(n, 0, 100), Ok(1));
        }
        assert!(table.bucket.take(key(5)).is_some());
        assert!(table.bucket.take(key(5)).is_none());
        assert_eq!(table.reserve(slots, 0, 100), Ok(1));
        assert_eq!(table.evictions.load(Ordering::Relaxed), 0);
        assert_eq!(table.used(100), slots);
        // The one that has been untouched for the longest time goes.
        for n in (0..=slots).filter(|n| ![5, 7].contains(n)) {
            assert_eq!(table.reserve(n, 1, 101), Ok(2));
        }
        assert_eq!(table.reserve(5, 0, 102), Ok(1));
        assert_eq!(table.evictions.load(Ordering::Relaxed), 1);
        assert_eq!(table.failures(7), None);
        assert_eq!(table.used(102), slots);
    }

    #[test]
    fn a_full_bucket_refuses_other_accounts_but_none_that_it_knows() {
        let mut table = Table::new();
        assert!(table.spend(1, 5, 3, 100).is_ok());
        table.fill();
        assert_eq!(table.reserve(50, 0, 110), Err(at(130)));
        assert_eq!(table.spend(51, 5, 3, 110), Err(at(130)));
        assert_eq!(table.spend(1, 5, 3, 110), Ok(Spend::Spent));
        assert_eq!(table.reserve(1, 0, 110), Ok(1));
        assert_eq!(table.reserve(50, 0, 131), Ok(1));
        assert_eq!(table.spend(1, 5, 3, 131), Ok(Spend::Spent));
    }

    #[test]
    fn failures_that_are_not_committed_are_not_evicted_for_an_hour() {
        let mut table = Table::new();
        assert_eq!(table.reserve(1, 0, 100), Ok(1));
        assert_eq!(table.reserve(1, 0, 100), Ok(2));
        for n in 1_000..1_100 {
            assert_eq!(table.reserve(n, 0, 131), Ok(1));
        }
        assert_eq!(table.failures(1), Some(2));
        for n in 2_000..2_100 {
            assert_eq!(table.reserve(n, 0, 131 + 3_600), Ok(1));
        }
        assert_eq!(table.failures(1), None);
    }
}
