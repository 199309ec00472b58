//! The entries of shared memory and the operations on them, one bucket at a time. The caller holds
//! the bucket's lock.
//!
//! Whatever an account does, it has one entry, with its failures and a few of the steps that it
//! spent. No account can therefore take room from others.
#![forbid(unsafe_code)]

use crate::pure::lock::{LockState, Policy};
use crate::pure::timestamp::Timestamp;
use std::sync::atomic::{AtomicU64, Ordering};

/// Slots per bucket. An entry belongs to one bucket and may use any slot there: with many slots, few
/// buckets are full long before the others.
pub const SLOTS_PER_BUCKET: usize = 32;
/// Spent steps per account. The one that expires first makes room for another.
const STEPS: usize = 4;
/// How long two or more failures that are not in the table cannot be evicted, in seconds. A single
/// one can: an attacker who makes room by causing a failure for each of many accounts gains only
/// one guess.
const UNCOMMITTED_SECS: i64 = 3_600;
/// The period of the limit on audit events, in seconds.
const WINDOW_SECS: i64 = 60;

/// The slots that share one hash value.
pub type Bucket = [Slot; SLOTS_PER_BUCKET];

/// A keyed hash that identifies an account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Key(pub [u64; 2]);

impl Key {
    /// Returns the key of an account that takes a name which the running transaction has given up.
    pub fn successor(self) -> Self {
        let Self([first, second]) = self;
        Self([first, second ^ u64::MAX])
    }
}

/// A slot in shared memory.
#[derive(Debug, Clone, Copy)]
pub struct Slot {
    key: Key,
    entry: Option<Entry>,
}

/// What shared memory holds about one account.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Attempts that were reserved and did not succeed.
    failures: u32,
    /// How many of them have no result yet.
    in_flight: u32,
    /// How many of them a committed transaction has written to the table.
    committed: u32,
    /// What no committed audit event has reported yet.
    unreported: Unreported,
    /// When the current period of the limit on audit events began.
    window_start: Timestamp,
    /// Audit events in that period.
    recorded: u32,
    locked_until: Timestamp,
    touched: Timestamp,
    steps: [SpentStep; STEPS],
}

/// The newest spent step of one secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpentStep {
    /// A keyed hash of the secret: short, since it tells a few secrets of one account apart.
    pub secret: u32,
    /// The step.
    pub step: i64,
    /// When no window reaches that step any more.
    pub expires: Timestamp,
    /// Whether the secret was not confirmed before. Such steps make room first.
    pub is_pending: bool,
}

/// What happened to an account without a trace in the audit trail, until an audit event reports it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unreported {
    /// Failed attempts whose transaction was rolled back.
    pub failures: u32,
    /// Accepted codes whose transaction was rolled back.
    pub successes: u32,
    /// Secrets that were exported by a transaction that was rolled back.
    pub exports: u32,
    /// Events above the limit, or whose transaction was rolled back.
    pub events: u32,
}

impl Unreported {
    fn add(&mut self, other: Self) {
        self.failures = self.failures.saturating_add(other.failures);
        self.successes = self.successes.saturating_add(other.successes);
        self.exports = self.exports.saturating_add(other.exports);
        self.events = self.events.saturating_add(other.events);
    }
}

/// A request for an attempt.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// The time of the call.
    pub now: Timestamp,
    /// Whether the attempt was counted before.
    pub is_repeat: bool,
    /// Whether the transaction has written failures, which are not committed yet.
    pub has_written: bool,
}

/// The result of a request for an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// One comparison is allowed.
    Reserved {
        /// The account's lock state if the attempt fails.
        after: LockState,
    },
    /// The account is locked.
    Locked {
        /// When to try again.
        until: Timestamp,
    },
    /// There is no room for the account, whose failures could not be counted.
    Full {
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
        /// The step of another secret that made room.
        evicted: Option<SpentStep>,
    },
    /// The step, or a newer one, was already spent.
    Spent,
    /// There is no room to record it.
    Full {
        /// When to try again.
        until: Timestamp,
    },
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

impl SpentStep {
    const NONE: Self =
        Self { secret: 0, step: -1, expires: Timestamp::from_micros(0), is_pending: false };
}

impl Entry {
    const fn new(now: Timestamp) -> Self {
        let none = Timestamp::from_micros(0);
        Self {
            failures: 0,
            in_flight: 0,
            committed: 0,
            unreported: Unreported { failures: 0, successes: 0, exports: 0, events: 0 },
            window_start: now,
            recorded: 0,
            locked_until: none,
            touched: now,
            steps: [SpentStep::NONE; STEPS],
        }
    }

    fn lock_state(&self) -> LockState {
        let locked_until = Some(self.locked_until).filter(|until| until.micros() > 0);
        LockState { failures: self.failures, locked_until, suspended: false }
    }

    fn count(&mut self, policy: &Policy, now: Timestamp) {
        let after = policy.after_failure(&self.lock_state(), now);
        self.failures = after.failures;
        self.locked_until = after.locked_until.unwrap_or(self.locked_until);
        self.touched = now;
    }

    /// Returns the time until which the entry must stay, or `None` if it may be evicted.
    fn pinned_until(&self, now: Timestamp) -> Option<Timestamp> {
        let uncommitted = (self.failures > self.committed.saturating_add(1))
            .then(|| self.touched.plus_secs(UNCOMMITTED_SECS));
        let step = self.steps.iter().map(|step| step.expires).max();
        [Some(self.locked_until), uncommitted, step].into_iter().max()?.filter(|until| *until > now)
    }

    fn is_needed(&self, now: Timestamp) -> bool {
        self.failures > 0
            || self.recorded > 0 && self.is_in_window(now)
            || self.steps.iter().any(|step| step.step >= 0 && step.expires > now)
    }

    fn is_in_window(&self, now: Timestamp) -> bool {
        (0..WINDOW_SECS * 1_000_000).contains(&now.micros_since(self.window_start))
    }

    fn step_of(&mut self, secret: u32) -> Option<&mut SpentStep> {
        self.steps.iter_mut().find(|spent| spent.step >= 0 && spent.secret == secret)
    }
}

impl Slot {
    /// An empty slot, the initial content of shared memory.
    pub const FREE: Self = Self { key: Key([0, 0]), entry: None };

    /// Adds this slot to the counts.
    pub fn count_into(&self, usage: &mut Usage, now: Timestamp) {
        usage.slots += 1;
        if let Some(entry) = self.entry {
            usage.used += u64::from(entry.is_needed(now));
            usage.locked += u64::from(entry.locked_until > now);
        }
    }

    /// The order of eviction: free slots, then accounts whose failures are all in the table and
    /// reported, then the others; within each group, the one that has been untouched for the
    /// longest time.
    fn eviction_rank(&self) -> (u8, Timestamp) {
        match self.entry {
            None => (0, Timestamp::from_micros(0)),
            Some(entry) if entry.failures <= entry.committed => (1, entry.touched),
            Some(entry) => (2, entry.touched),
        }
    }
}

/// Returns the lock state of an account.
pub fn lock_state(bucket: &mut Bucket, key: Key) -> LockState {
    find(bucket, key).map(|entry| entry.lock_state()).unwrap_or_default()
}

/// Reserves an attempt, which counts as a failure from now on. One that repeats an attempt from a
/// transaction that the server could not commit has already been counted.
pub fn reserve(
    bucket: &mut Bucket,
    key: Key,
    committed: &LockState,
    policy: &Policy,
    attempt: Request,
    evictions: &AtomicU64,
) -> Admission {
    let Request { now, is_repeat, has_written } = attempt;
    let entry = match find_or_insert(bucket, key, now, evictions) {
        Ok(entry) => entry,
        Err(until) => return Admission::Full { until },
    };
    let before = entry.lock_state().stricter(committed);
    if let Some(until) = before.locked(now) {
        return Admission::Locked { until };
    }
    let after = match is_repeat && entry.failures > 0 {
        true => before,
        false => policy.after_failure(&before, now),
    };
    entry.failures = after.failures;
    entry.in_flight = entry.in_flight.saturating_add(1);
    if !has_written {
        entry.committed = entry.committed.max(committed.failures);
    }
    entry.locked_until = after.locked_until.unwrap_or(Timestamp::from_micros(0));
    entry.touched = now;
    Admission::Reserved { after }
}

/// Returns the lock state after a reserved attempt has failed. Attempts that have no result yet may
/// turn out to be right, so they do not count. If a success has cleared the failures since, this
/// failure is the first of a new series.
pub fn fail(
    bucket: &mut Bucket,
    key: Key,
    policy: &Policy,
    now: Timestamp,
    evictions: &AtomicU64,
) -> Option<LockState> {
    let entry = find_or_insert(bucket, key, now, evictions).ok()?;
    entry.in_flight = entry.in_flight.saturating_sub(1);
    if entry.failures == 0 {
        entry.count(policy, now);
    }
    let failures = entry.failures.saturating_sub(entry.in_flight).max(1);
    let lock = policy.lock(failures).map(|duration| now.plus_micros(duration));
    let known = Some(entry.locked_until).filter(|_| entry.in_flight == 0 && lock.is_some());
    let suspended = failures >= policy.suspend_after;
    Some(LockState { failures, locked_until: lock.max(known), suspended })
}

/// Ends an attempt without a result: it stays counted.
pub fn end_attempt(bucket: &mut Bucket, key: Key) {
    if let Some(entry) = find(bucket, key) {
        entry.in_flight = entry.in_flight.saturating_sub(1);
    }
}

/// Counts an attempt that seemed to be right as a failure again.
pub fn redo_attempt(
    bucket: &mut Bucket,
    key: Key,
    policy: &Policy,
    now: Timestamp,
    evictions: &AtomicU64,
) {
    if let Ok(entry) = find_or_insert(bucket, key, now, evictions) {
        entry.count(policy, now);
        entry.in_flight = entry.in_flight.saturating_add(1);
    }
}

/// Undoes an attempt that was not a failure. `lock` is the lock that it would have set.
pub fn undo_attempt(bucket: &mut Bucket, key: Key, lock: Option<Timestamp>) {
    if let Some(entry) = find(bucket, key) {
        entry.failures = entry.failures.saturating_sub(1);
        entry.in_flight = entry.in_flight.saturating_sub(1);
        entry.committed = entry.committed.min(entry.failures);
        if lock == Some(entry.locked_until) {
            entry.locked_until = Timestamp::from_micros(0);
        }
        remove_if_empty(bucket, key);
    }
}

/// Returns the number of failures that a success, or a call that clears them, takes back at its commit.
pub fn settled(bucket: &mut Bucket, key: Key) -> u32 {
    find(bucket, key).map_or(0, |entry| entry.failures.saturating_sub(entry.in_flight))
}

/// Takes failures back, and the lock with the last of them.
pub fn subtract(bucket: &mut Bucket, key: Key, failures: u32) {
    if let Some(entry) = find(bucket, key) {
        entry.failures = entry.failures.saturating_sub(failures);
        entry.committed = entry.committed.saturating_sub(failures);
        if entry.failures == 0 {
            entry.locked_until = Timestamp::from_micros(0);
        }
        remove_if_empty(bucket, key);
    }
}

/// Moves what is known of an account to another name.
pub fn take(bucket: &mut Bucket, key: Key) -> Option<Entry> {
    let entry = find(bucket, key).copied();
    remove(bucket, key);
    entry
}

/// Adds what `take` took. The stricter of both counts.
pub fn put(bucket: &mut Bucket, key: Key, taken: Entry, now: Timestamp, evictions: &AtomicU64) {
    if let Ok(entry) = find_or_insert(bucket, key, now, evictions) {
        let state = entry.lock_state().stricter(&taken.lock_state());
        entry.unreported.add(taken.unreported);
        *entry = Entry {
            failures: state.failures,
            locked_until: state.locked_until.unwrap_or(entry.locked_until),
            unreported: entry.unreported,
            ..taken
        };
    }
}

/// Removes the entry of an account that has neither failures nor spent steps.
pub fn remove_unused(bucket: &mut Bucket, key: Key) {
    let is_unused =
        |entry: &mut Entry| entry.failures == 0 && entry.steps.iter().all(|spent| spent.step < 0);
    if find(bucket, key).is_some_and(is_unused) {
        remove(bucket, key);
    }
}

fn remove(bucket: &mut Bucket, key: Key) {
    bucket.iter_mut().filter(|slot| slot.key == key).for_each(|slot| *slot = Slot::FREE);
}

/// Records that a step of one of the account's secrets is spent.
pub fn spend(
    bucket: &mut Bucket,
    key: Key,
    spent: SpentStep,
    now: Timestamp,
    evictions: &AtomicU64,
) -> Spend {
    let SpentStep { secret, step, .. } = spent;
    let entry = match find_or_insert(bucket, key, now, evictions) {
        Ok(entry) => entry,
        Err(until) => return Spend::Full { until },
    };
    let older = entry.step_of(secret).map(|spent| spent.step);
    if older.is_some_and(|older| older >= step) {
        return Spend::Spent;
    }
    // In this order: its own, expired ones, those of secrets that were not confirmed, the first to expire.
    let rank = |it: &SpentStep| {
        let is_own = older.is_some() && it.secret == secret;
        (!is_own, it.expires > now, !it.is_pending, it.expires)
    };
    let Some(place) = entry.steps.iter_mut().min_by_key(|it| rank(it)) else {
        return Spend::Done { older, evicted: None };
    };
    let (_, is_live, is_confirmed, until) = rank(place);
    if older.is_none() && is_live && is_confirmed && spent.is_pending {
        return Spend::Full { until };
    }
    let evicted = Some(*place).filter(|_| older.is_none() && is_live);
    *place = spent;
    Spend::Done { older, evicted }
}

/// Returns the newest spent step of one of the account's secrets.
pub fn spent_step(bucket: &mut Bucket, key: Key, secret: u32) -> Option<i64> {
    find(bucket, key)?.step_of(secret).map(|spent| spent.step)
}

/// Gives a step back, unless a newer one of its secret was spent since; an older one stays spent, and
/// the one that made room for it returns.
pub fn release(
    bucket: &mut Bucket,
    key: Key,
    (secret, step): (u32, i64),
    older: Option<i64>,
    evicted: Option<SpentStep>,
) {
    let Some(entry) = find(bucket, key) else { return };
    if let Some(spent) = entry.step_of(secret)
        && spent.step == step
    {
        match older {
            Some(older) => spent.step = older,
            None => *spent = evicted.unwrap_or(SpentStep::NONE),
        }
    }
    remove_if_empty(bucket, key);
}

/// Records that a committed transaction has written this many failures to the table.
pub fn record_commit(bucket: &mut Bucket, key: Key, failures: u32) {
    if let Some(entry) = find(bucket, key) {
        entry.committed = entry.committed.max(failures);
    }
}

/// Adds to what an audit event has to report about an account. If there is no room for it, nothing
/// is added.
pub fn add_unreported(
    bucket: &mut Bucket,
    key: Key,
    unreported: Unreported,
    now: Timestamp,
    evictions: &AtomicU64,
) {
    if let Ok(entry) = find_or_insert(bucket, key, now, evictions) {
        entry.unreported.add(unreported);
    }
}

/// Takes what an audit event has to report about an account.
pub fn take_unreported(bucket: &mut Bucket, key: Key) -> Unreported {
    let unreported = find(bucket, key).map(|entry| std::mem::take(&mut entry.unreported));
    remove_if_empty(bucket, key);
    unreported.unwrap_or_default()
}

/// Returns whether another audit event of a kind that costs its caller nothing may be recorded; one
/// above the limit is left for a later event to report. Without room for the account, none may be
/// recorded.
pub fn may_record(
    bucket: &mut Bucket,
    key: Key,
    limit: u32,
    now: Timestamp,
    evictions: &AtomicU64,
) -> bool {
    let Ok(entry) = find_or_insert(bucket, key, now, evictions) else { return false };
    if !entry.is_in_window(now) {
        (entry.window_start, entry.recorded) = (now, 0);
    }
    let may = entry.recorded < limit;
    if may {
        entry.recorded += 1;
    } else {
        entry.unreported.events = entry.unreported.events.saturating_add(1);
    }
    may
}

fn find(bucket: &mut Bucket, key: Key) -> Option<&mut Entry> {
    bucket.iter_mut().find(|slot| slot.key == key)?.entry.as_mut()
}

/// Finds the entry of an account, or creates one in place of the first that may be evicted. If all
/// must stay, returns the time at which one may go.
fn find_or_insert<'a>(
    bucket: &'a mut Bucket,
    key: Key,
    now: Timestamp,
    evictions: &AtomicU64,
) -> Result<&'a mut Entry, Timestamp> {
    let pinned_until = |slot: &Slot| slot.entry?.pinned_until(now);
    let first = bucket.iter().filter_map(pinned_until).min().unwrap_or(now);
    let known = bucket.iter().position(|slot| slot.key == key && slot.entry.is_some());
    let slot = match known {
        Some(position) => bucket.get_mut(position),
        None => bucket
            .iter_mut()
            .filter(|slot| pinned_until(slot).is_none())
            .min_by_key(|slot| slot.eviction_rank()),
    };
    let slot = slot.ok_or(first)?;
    if known.is_none() {
        if slot.entry.is_some_and(|entry| entry.is_needed(now)) {
            evictions.fetch_add(1, Ordering::Relaxed);
        }
        *slot = Slot { key, entry: None };
    }
    Ok(slot.entry.get_or_insert(Entry::new(now)))
}

/// Frees the slot of an account about which there is nothing left to remember.
fn remove_if_empty(bucket: &mut Bucket, key: Key) {
    let is_empty = |entry: &mut Entry| {
        entry.failures == 0
            && entry.recorded == 0
            && entry.unreported == Unreported::default()
            && entry.steps.iter().all(|spent| spent.step < 0)
    };
    if find(bucket, key).is_some_and(is_empty) {
        remove(bucket, key);
    }
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
            self.reserve_again(n, committed, second, false)
        }

        fn reserve_again(&mut self, n: u64, committed: u32, second: i64, again: bool) -> Admission {
            let committed = LockState { failures: committed, ..LockState::default() };
            let request = Request { now: at(second), is_repeat: again, has_written: false };
            reserve(&mut self.bucket, key(n), &committed, &POLICY, request, &self.evictions)
        }

        /// The failures that a failed attempt would write, and whether it locks.
        fn fail(&mut self, n: u64, second: i64) -> Option<(u32, bool)> {
            let after = fail(&mut self.bucket, key(n), &POLICY, at(second), &self.evictions)?;
            Some((after.failures, after.locked_until.is_some()))
        }

        fn spend(&mut self, n: u64, secret: u32, step: i64, second: i64) -> Spend {
            let spent = SpentStep { secret, step, expires: at(second + 90), is_pending: false };
            spend(&mut self.bucket, key(n), spent, at(second), &self.evictions)
        }

        fn release(&mut self, n: u64, secret: u32, step: i64, older: Option<i64>) {
            release(&mut self.bucket, key(n), (secret, step), older, None);
        }

        fn may_record(&mut self, n: u64, second: i64) -> bool {
            may_record(&mut self.bucket, key(n), 3, at(second), &self.evictions)
        }

        /// Fills the bucket with accounts that are locked until second 130 or later.
        fn fill(&mut self) {
            for n in 0..SLOTS_PER_BUCKET as u64 {
                self.reserve(1000 + n, 1, 100);
                record_commit(&mut self.bucket, key(1000 + n), 2);
            }
        }

        fn evictions(&self) -> u64 {
            self.evictions.load(Ordering::Relaxed)
        }

        fn used(&self, second: i64) -> u64 {
            let mut usage = Usage::default();
            self.bucket.iter().for_each(|slot| slot.count_into(&mut usage, at(second)));
            usage.used
        }
    }

    fn failures_of(admission: Admission) -> Option<u32> {
        match admission {
            Admission::Reserved { after } => Some(after.failures),
            _ => None,
        }
    }

    #[test]
    fn attempts_count_when_reserved_and_are_then_refused() {
        let mut table = Table::new();
        assert_eq!(failures_of(table.reserve(1, 0, 100)), Some(1));
        assert_eq!(failures_of(table.reserve(1, 0, 100)), Some(2));
        assert_eq!(table.reserve(1, 0, 100), Admission::Locked { until: at(130) });
        assert_eq!(table.reserve(1, 0, 129), Admission::Locked { until: at(130) });
        assert_eq!(failures_of(table.reserve(1, 0, 130)), Some(3));
        assert_eq!(table.reserve(1, 0, 189), Admission::Locked { until: at(190) });
    }

    #[test]
    fn the_greater_of_memory_and_table_counts() {
        let mut table = Table::new();
        assert_eq!(failures_of(table.reserve(1, 7, 0)), Some(8));
        subtract(&mut table.bucket, key(1), 8);
        assert_eq!(failures_of(table.reserve(1, 0, 0)), Some(1));
    }

    #[test]
    fn a_repeated_attempt_counts_once() {
        let mut table = Table::new();
        assert_eq!(failures_of(table.reserve_again(1, 0, 0, true)), Some(1));
        assert_eq!(failures_of(table.reserve_again(1, 0, 0, true)), Some(1));
        assert_eq!(failures_of(table.reserve(1, 0, 0)), Some(2));
    }

    #[test]
    fn attempts_without_a_result_are_no_failures_yet() {
        let mut table = Table::new();
        table.reserve(1, 0, 0);
        table.reserve(1, 0, 0);
        assert_eq!(table.fail(1, 0), Some((1, false)));
        assert_eq!(table.fail(1, 0), Some((2, true)));
        // A success in between clears them.
        let mut table = Table::new();
        table.reserve(1, 0, 0);
        table.reserve(1, 0, 0);
        undo_attempt(&mut table.bucket, key(1), None);
        subtract(&mut table.bucket, key(1), 0);
        assert_eq!(table.fail(1, 0), Some((1, false)));
        assert_eq!(lock_state(&mut table.bucket, key(1)).failures, 1);
    }

    #[test]
    fn a_step_is_spent_once_and_older_ones_with_it() {
        let mut table = Table::new();
        assert_eq!(table.spend(1, 5, 10, 300), Spend::Done { older: None, evicted: None });
        assert_eq!(table.spend(1, 5, 10, 300), Spend::Spent);
        assert_eq!(table.spend(1, 5, 9, 300), Spend::Spent);
        assert_eq!(table.spend(1, 5, 11, 300), Spend::Done { older: Some(10), evicted: None });
        assert_eq!(table.spend(1, 6, 10, 300), Spend::Done { older: None, evicted: None });
        assert_eq!(table.spend(2, 5, 10, 300), Spend::Done { older: None, evicted: None });
    }

    #[test]
    fn giving_back_an_older_step_keeps_the_newer_one_spent() {
        let mut table = Table::new();
        table.spend(1, 5, 10, 300);
        table.spend(1, 5, 11, 300);
        table.release(1, 5, 10, None);
        assert_eq!(table.spend(1, 5, 11, 300), Spend::Spent);
        table.release(1, 5, 11, None);
        assert_eq!(table.spend(1, 5, 11, 300), Spend::Done { older: None, evicted: None });
    }

    #[test]
    fn giving_back_a_newer_step_keeps_the_older_one_spent() {
        let mut table = Table::new();
        table.spend(1, 5, 10, 300);
        table.spend(1, 5, 11, 300);
        table.release(1, 5, 11, Some(10));
        assert_eq!(table.spend(1, 5, 10, 300), Spend::Spent);
        assert_eq!(table.spend(1, 5, 11, 300), Spend::Done { older: Some(10), evicted: None });
    }

    #[test]
    fn an_account_has_one_slot_and_its_first_step_to_expire_makes_room() {
        let mut table = Table::new();
        for secret in 0..1_000 {
            assert!(matches!(table.spend(1, secret, 10, i64::from(secret)), Spend::Done { .. }));
        }
        assert_eq!(table.used(1_000), 1);
        assert_eq!(table.spend(1, 999, 10, 1_000), Spend::Spent);
        assert_eq!(table.spend(1, 996, 10, 1_000), Spend::Spent);
        assert!(matches!(table.spend(1, 995, 10, 1_000), Spend::Done { older: None, .. }));
        assert_eq!(table.evictions(), 0);
    }

    #[test]
    fn what_made_room_returns_when_the_other_is_given_back() {
        let mut table = Table::new();
        for secret in 0..STEPS as u32 {
            table.spend(1, secret, 10, i64::from(secret));
        }
        let Spend::Done { evicted: Some(evicted), .. } = table.spend(1, 9, 10, 10) else {
            panic!("nothing made room")
        };
        assert_eq!(evicted.secret, 0);
        release(&mut table.bucket, key(1), (9, 10), None, Some(evicted));
        assert_eq!(table.spend(1, 0, 10, 10), Spend::Spent);
        // A secret that was not confirmed takes no room of others.
        let pending = SpentStep { secret: 7, step: 10, expires: at(90), is_pending: true };
        let spend = spend(&mut table.bucket, key(1), pending, at(10), &table.evictions);
        assert_eq!(spend, Spend::Full { until: at(90) });
    }

    #[test]
    fn nothing_stays_when_all_was_given_back() {
        let mut table = Table::new();
        table.reserve(1, 0, 0);
        table.spend(1, 5, 10, 0);
        subtract(&mut table.bucket, key(1), 1);
        table.release(1, 5, 10, None);
        assert_eq!(table.used(0), 0);
        assert!(table.bucket.iter().all(|slot| slot.entry.is_none()));
    }

    #[test]
    fn a_full_bucket_refuses_other_accounts_but_none_that_it_knows() {
        let mut table = Table::new();
        table.spend(1, 5, 3, 100);
        table.fill();
        assert_eq!(table.reserve(50, 0, 110), Admission::Full { until: at(130) });
        assert_eq!(table.spend(51, 5, 3, 110), Spend::Full { until: at(130) });
        assert_eq!(table.spend(1, 5, 3, 110), Spend::Spent);
        assert_eq!(failures_of(table.reserve(1, 0, 110)), Some(1));
        assert_eq!(failures_of(table.reserve(50, 0, 131)), Some(1));
        assert_eq!(table.spend(1, 5, 3, 131), Spend::Spent);
    }

    #[test]
    fn failures_outside_the_table_are_not_evicted_for_an_hour() {
        let mut table = Table::new();
        table.reserve(1, 0, 100);
        table.reserve(1, 0, 100);
        for n in 0..100 {
            assert_eq!(failures_of(table.reserve(1000 + n, 0, 131)), Some(1));
        }
        assert_eq!(lock_state(&mut table.bucket, key(1)).failures, 2);
        for n in 0..100 {
            table.reserve(2000 + n, 0, 131 + UNCOMMITTED_SECS);
        }
        assert_eq!(lock_state(&mut table.bucket, key(1)), LockState::default());
    }

    #[test]
    fn what_is_unreported_is_taken_once() {
        let mut table = Table::new();
        let one = Unreported { failures: 1, ..Unreported::default() };
        for _ in 0..2 {
            add_unreported(&mut table.bucket, key(1), one, at(0), &table.evictions);
        }
        assert_eq!(take_unreported(&mut table.bucket, key(1)).failures, 2);
        assert_eq!(take_unreported(&mut table.bucket, key(1)), Unreported::default());
        assert!(table.bucket.iter().all(|slot| slot.entry.is_none()));
    }

    #[test]
    fn events_are_limited_per_minute_and_the_others_counted() {
        let mut table = Table::new();
        let recorded = (0..10).filter(|_| table.may_record(1, 0)).count();
        assert_eq!(recorded, 3);
        assert_eq!(take_unreported(&mut table.bucket, key(1)).events, 7);
        assert!(!table.may_record(1, 59));
        assert!(table.may_record(1, 60));
        // The clock was set back.
        assert!(table.may_record(1, 10));
    }
}
