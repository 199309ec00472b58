//! What shared memory holds about one account: its failures and a few of the steps that it spent.
#![forbid(unsafe_code)]

use crate::pure::lock::{LockState, Policy};
use crate::pure::timestamp::Timestamp;

/// Spent steps per account. The one that expires first makes room for another.
const STEPS: usize = 4;
/// How long two or more failures that are not in the table cannot be evicted, in seconds. A single
/// one can: an attacker who makes room by causing a failure for each of many accounts gains only
/// one guess.
const UNCOMMITTED_SECS: i64 = 3_600;
/// The period of the limit on audit events, in seconds.
const WINDOW_SECS: i64 = 60;

/// The entry of one account.
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
    /// Attempts whose transaction was prepared, so that its end is not known here.
    pub prepared: u32,
}

impl Unreported {
    fn add(&mut self, other: Self) {
        self.failures = self.failures.saturating_add(other.failures);
        self.successes = self.successes.saturating_add(other.successes);
        self.exports = self.exports.saturating_add(other.exports);
        self.events = self.events.saturating_add(other.events);
        self.prepared = self.prepared.saturating_add(other.prepared);
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

impl SpentStep {
    const NONE: Self =
        Self { secret: 0, step: -1, expires: Timestamp::from_micros(0), is_pending: false };
}

impl Entry {
    /// Creates an entry without failures and steps.
    pub const fn new(now: Timestamp) -> Self {
        let none = Timestamp::from_micros(0);
        Self {
            failures: 0,
            in_flight: 0,
            committed: 0,
            unreported: Unreported {
                failures: 0,
                successes: 0,
                exports: 0,
                events: 0,
                prepared: 0,
            },
            window_start: now,
            recorded: 0,
            locked_until: none,
            touched: now,
            steps: [SpentStep::NONE; STEPS],
        }
    }

    /// Returns the lock state without the failures that a transaction has `cleared`.
    pub fn lock_state(&self, cleared: u32) -> LockState {
        let failures = self.failures.saturating_sub(cleared);
        let is_locked = self.locked_until.micros() > 0 && (failures > 0 || cleared == 0);
        LockState {
            failures,
            locked_until: is_locked.then_some(self.locked_until),
            suspended: false,
        }
    }

    /// Reserves an attempt, which counts as a failure from now on. One that repeats an attempt from
    /// a transaction that the server could not commit has already been counted. `committed` is the
    /// lock state in the table.
    pub fn reserve(
        &mut self,
        committed: &LockState,
        policy: &Policy,
        request: Request,
    ) -> Admission {
        let Request { now, is_repeat, has_written } = request;
        let before = self.lock_state(0).stricter(committed);
        if let Some(until) = before.locked(now) {
            return Admission::Locked { until };
        }
        let after = match is_repeat && self.failures > 0 {
            true => before,
            false => policy.after_failure(&before, now),
        };
        self.failures = after.failures;
        self.in_flight = self.in_flight.saturating_add(1);
        if !has_written {
            self.committed = self.committed.max(committed.failures);
        }
        self.locked_until = after.locked_until.unwrap_or(Timestamp::from_micros(0));
        self.touched = now;
        Admission::Reserved { after }
    }

    /// Returns the lock state to write after a reserved attempt has failed. Attempts that have no
    /// result yet may turn out to be right, so they do not count. Failures that the transaction has
    /// `cleared` count only for the lock, since it may be rolled back. If a success has cleared all
    /// failures since, this failure is the first of a new series.
    pub fn fail(&mut self, policy: &Policy, cleared: u32, now: Timestamp) -> LockState {
        self.in_flight = self.in_flight.saturating_sub(1);
        if self.failures == 0 {
            self.count(policy, now);
        }
        let lock = policy.lock(self.settled(0).max(1)).map(|duration| now.plus_micros(duration));
        let known = Some(self.locked_until).filter(|_| self.in_flight == 0 && lock.is_some());
        let failures = self.settled(cleared).max(1);
        let suspended = failures >= policy.suspend_after;
        LockState { failures, locked_until: lock.max(known), suspended }
    }

    /// Ends an attempt without a result: it stays counted.
    pub fn end_attempt(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Counts an attempt that seemed to be right as a failure again.
    pub fn redo_attempt(&mut self, policy: &Policy, now: Timestamp) {
        self.count(policy, now);
        self.in_flight = self.in_flight.saturating_add(1);
    }

    /// Undoes an attempt that was not a failure. `lock` is the lock that it would have set.
    pub fn undo_attempt(&mut self, lock: Option<Timestamp>) {
        self.failures = self.failures.saturating_sub(1);
        self.in_flight = self.in_flight.saturating_sub(1);
        self.committed = self.committed.min(self.failures);
        if lock == Some(self.locked_until) {
            self.locked_until = Timestamp::from_micros(0);
        }
    }

    fn count(&mut self, policy: &Policy, now: Timestamp) {
        let after = policy.after_failure(&self.lock_state(0), now);
        self.failures = after.failures;
        self.locked_until = after.locked_until.unwrap_or(self.locked_until);
        self.touched = now;
    }

    /// Returns the number of failures that a success, or a call that clears them, takes back at its
    /// commit, in addition to those that its transaction already takes back.
    pub fn settled(&self, taken_back: u32) -> u32 {
        self.failures.saturating_sub(self.in_flight).saturating_sub(taken_back)
    }

    /// Takes failures back, and the lock with the last of them.
    pub fn subtract(&mut self, failures: u32) {
        self.failures = self.failures.saturating_sub(failures);
        self.committed = self.committed.saturating_sub(failures);
        if self.failures == 0 {
            self.locked_until = Timestamp::from_micros(0);
        }
    }

    /// Records that a committed transaction has written this many failures to the table.
    pub fn record_commit(&mut self, failures: u32) {
        self.committed = self.committed.max(failures);
    }

    /// Takes over the entry of an account that now has this one's name. The stricter of both locks
    /// applies.
    pub fn take_over(&mut self, other: Self) {
        let state = self.lock_state(0).stricter(&other.lock_state(0));
        self.unreported.add(other.unreported);
        *self = Self {
            failures: state.failures,
            locked_until: state.locked_until.unwrap_or(self.locked_until),
            unreported: self.unreported,
            ..other
        };
    }

    /// Records that a step of one of the account's secrets is spent.
    pub fn spend(&mut self, spent: SpentStep, now: Timestamp) -> Spend {
        let SpentStep { secret, step, .. } = spent;
        let older = self.spent_step(secret);
        if older.is_some_and(|older| older >= step) {
            return Spend::Spent;
        }
        // In this order: its own, expired ones, those of secrets that were not confirmed, the first
        // to expire.
        let rank = |it: &SpentStep| {
            let is_own = older.is_some() && it.secret == secret;
            (!is_own, it.expires > now, !it.is_pending, it.expires)
        };
        let Some(place) = self.steps.iter_mut().min_by_key(|it| rank(it)) else {
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
    pub fn spent_step(&self, secret: u32) -> Option<i64> {
        let is_of = |spent: &&SpentStep| spent.step >= 0 && spent.secret == secret;
        self.steps.iter().find(is_of).map(|spent| spent.step)
    }

    /// Gives a step back, unless a newer one of its secret was spent since; an older one stays
    /// spent, and the one that made room for it returns.
    pub fn release(
        &mut self,
        (secret, step): (u32, i64),
        older: Option<i64>,
        evicted: Option<SpentStep>,
    ) {
        let is_this = |spent: &&mut SpentStep| spent.secret == secret && spent.step == step;
        if let Some(spent) = self.steps.iter_mut().find(is_this) {
            match older {
                Some(older) => spent.step = older,
                None => *spent = evicted.unwrap_or(SpentStep::NONE),
            }
        }
    }

    /// Adds to what an audit event has to report.
    pub fn add_unreported(&mut self, unreported: Unreported) {
        self.unreported.add(unreported);
    }

    /// Takes what an audit event has to report.
    pub fn take_unreported(&mut self) -> Unreported {
        std::mem::take(&mut self.unreported)
    }

    /// Returns whether another audit event of a kind that costs its caller nothing may be recorded;
    /// one above the limit is left for a later event to report.
    pub fn may_record(&mut self, limit: u32, now: Timestamp) -> bool {
        if !self.is_in_window(now) {
            (self.window_start, self.recorded) = (now, 0);
        }
        let may = self.recorded < limit;
        if may {
            self.recorded += 1;
        } else {
            self.unreported.events = self.unreported.events.saturating_add(1);
        }
        may
    }

    /// Takes an audit event off the count whose transaction was rolled back.
    pub fn take_event_back(&mut self) {
        self.recorded = self.recorded.saturating_sub(1);
    }

    /// Counts a failure of a client in the current minute.
    pub fn count_in_minute(&mut self, now: Timestamp) {
        if !self.is_in_window(now) {
            (self.window_start, self.recorded) = (now, 0);
        }
        self.recorded = self.recorded.saturating_add(1);
    }

    /// Returns when the current minute ends, if at least `limit` failures were counted in it.
    pub fn exceeded_until(&self, limit: u32, now: Timestamp) -> Option<Timestamp> {
        let end = self.window_start.plus_secs(WINDOW_SECS);
        (self.is_in_window(now) && self.recorded >= limit).then_some(end)
    }

    /// Returns the time until which the entry must stay, or `None` if it may be evicted.
    pub fn pinned_until(&self, now: Timestamp) -> Option<Timestamp> {
        let uncommitted = (self.failures > self.committed.saturating_add(1))
            .then(|| self.touched.plus_secs(UNCOMMITTED_SECS));
        let step = self.steps.iter().map(|step| step.expires).max();
        [Some(self.locked_until), uncommitted, step].into_iter().max()?.filter(|until| *until > now)
    }

    /// The order of eviction: accounts whose failures are all in the table and reported, then the
    /// others; within each group, the one that has been untouched for the longest time.
    pub fn eviction_rank(&self) -> (bool, Timestamp) {
        (self.failures > self.committed, self.touched)
    }

    /// Returns whether the account is locked.
    pub fn is_locked(&self, now: Timestamp) -> bool {
        self.locked_until > now
    }

    /// Returns whether the entry still matters to its account.
    pub fn is_needed(&self, now: Timestamp) -> bool {
        self.failures > 0
            || self.recorded > 0 && self.is_in_window(now)
            || self.steps.iter().any(|step| step.step >= 0 && step.expires > now)
    }

    /// Returns whether there are neither failures nor spent steps.
    pub fn is_unused(&self) -> bool {
        self.failures == 0 && self.steps.iter().all(|spent| spent.step < 0)
    }

    /// Returns whether there is nothing left to remember.
    pub fn is_empty(&self) -> bool {
        self.is_unused() && self.recorded == 0 && self.unreported == Unreported::default()
    }

    fn is_in_window(&self, now: Timestamp) -> bool {
        (0..WINDOW_SECS * 1_000_000).contains(&now.micros_since(self.window_start))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub const POLICY: Policy = Policy {
        max_failures: 2,
        lockout: 30_000_000,
        max_lockout: 60_000_000,
        suspend_after: 100,
    };

    pub fn at(second: i64) -> Timestamp {
        Timestamp::from_secs(second)
    }

    /// Reserves an attempt of an account whose row has `committed` failures.
    fn reserve(entry: &mut Entry, committed: u32, second: i64, is_repeat: bool) -> Admission {
        let committed = LockState { failures: committed, ..LockState::default() };
        let request = Request { now: at(second), is_repeat, has_written: false };
        entry.reserve(&committed, &POLICY, request)
    }

    fn failures_after(admission: Admission) -> Option<u32> {
        match admission {
            Admission::Reserved { after } => Some(after.failures),
            _ => None,
        }
    }

    /// The failures that a failed attempt would write, and whether it locks.
    fn fail(entry: &mut Entry) -> (u32, bool) {
        let after = entry.fail(&POLICY, 0, at(0));
        (after.failures, after.locked_until.is_some())
    }

    fn spend(entry: &mut Entry, secret: u32, step: i64, second: i64) -> Spend {
        let spent = SpentStep { secret, step, expires: at(second + 90), is_pending: false };
        entry.spend(spent, at(second))
    }

    const NEW: Spend = Spend::Done { older: None, evicted: None };

    #[test]
    fn attempts_count_when_reserved_and_are_then_refused() {
        let mut entry = Entry::new(at(0));
        assert_eq!(failures_after(reserve(&mut entry, 0, 100, false)), Some(1));
        assert_eq!(failures_after(reserve(&mut entry, 0, 100, false)), Some(2));
        let locked = Admission::Locked { until: at(130) };
        assert_eq!(reserve(&mut entry, 0, 100, false), locked);
        assert_eq!(reserve(&mut entry, 0, 129, false), locked);
        assert_eq!(failures_after(reserve(&mut entry, 0, 130, false)), Some(3));
        assert_eq!(reserve(&mut entry, 0, 189, false), Admission::Locked { until: at(190) });
    }

    #[test]
    fn the_greater_of_memory_and_table_counts() {
        let mut entry = Entry::new(at(0));
        assert_eq!(failures_after(reserve(&mut entry, 7, 0, false)), Some(8));
        entry.subtract(8);
        assert_eq!(failures_after(reserve(&mut entry, 0, 0, false)), Some(1));
    }

    #[test]
    fn a_repeated_attempt_counts_once() {
        let mut entry = Entry::new(at(0));
        assert_eq!(failures_after(reserve(&mut entry, 0, 0, true)), Some(1));
        assert_eq!(failures_after(reserve(&mut entry, 0, 0, true)), Some(1));
        assert_eq!(failures_after(reserve(&mut entry, 0, 0, false)), Some(2));
    }

    #[test]
    fn attempts_without_a_result_are_no_failures_yet() {
        let mut entry = Entry::new(at(0));
        reserve(&mut entry, 0, 0, false);
        reserve(&mut entry, 0, 0, false);
        assert_eq!(fail(&mut entry), (1, false));
        assert_eq!(fail(&mut entry), (2, true));
        // A success in between clears them.
        let mut entry = Entry::new(at(0));
        reserve(&mut entry, 0, 0, false);
        reserve(&mut entry, 0, 0, false);
        entry.undo_attempt(None);
        entry.subtract(1);
        assert_eq!(fail(&mut entry), (1, false));
        assert_eq!(entry.lock_state(0).failures, 1);
    }

    #[test]
    fn failures_that_are_cleared_but_not_committed_count_only_for_the_lock() {
        let policy = Policy { max_failures: 3, ..POLICY };
        let request = Request { now: at(100), is_repeat: false, has_written: false };
        let mut entry = Entry::new(at(0));
        for _ in 0..2 {
            entry.reserve(&LockState::default(), &policy, request);
            entry.fail(&policy, 0, at(100));
        }
        assert_eq!(entry.settled(0), 2);
        assert_eq!(entry.lock_state(2), LockState::default());
        entry.reserve(&LockState::default(), &policy, request);
        let failed = entry.fail(&policy, 2, at(100));
        assert_eq!((failed.failures, failed.locked_until), (1, Some(at(130))));
        // What is cleared already is not cleared again.
        assert_eq!(entry.settled(2), 1);
        entry.subtract(2);
        assert_eq!(entry.lock_state(0).failures, 1);
    }

    #[test]
    fn a_step_is_spent_once_and_older_ones_with_it() {
        let mut entry = Entry::new(at(0));
        assert_eq!(spend(&mut entry, 5, 10, 300), NEW);
        assert_eq!(spend(&mut entry, 5, 10, 300), Spend::Spent);
        assert_eq!(spend(&mut entry, 5, 9, 300), Spend::Spent);
        assert_eq!(spend(&mut entry, 5, 11, 300), Spend::Done { older: Some(10), evicted: None });
        assert_eq!(spend(&mut entry, 6, 10, 300), NEW);
    }

    #[test]
    fn giving_back_an_older_step_keeps_the_newer_one_spent() {
        let mut entry = Entry::new(at(0));
        spend(&mut entry, 5, 10, 300);
        spend(&mut entry, 5, 11, 300);
        entry.release((5, 10), None, None);
        assert_eq!(spend(&mut entry, 5, 11, 300), Spend::Spent);
        entry.release((5, 11), None, None);
        assert_eq!(spend(&mut entry, 5, 11, 300), NEW);
    }

    #[test]
    fn giving_back_a_newer_step_keeps_the_older_one_spent() {
        let mut entry = Entry::new(at(0));
        spend(&mut entry, 5, 10, 300);
        spend(&mut entry, 5, 11, 300);
        entry.release((5, 11), Some(10), None);
        assert_eq!(spend(&mut entry, 5, 10, 300), Spend::Spent);
        assert_eq!(spend(&mut entry, 5, 11, 300), Spend::Done { older: Some(10), evicted: None });
    }

    #[test]
    fn the_first_step_to_expire_makes_room() {
        let mut entry = Entry::new(at(0));
        for secret in 0..1_000 {
            assert!(matches!(spend(&mut entry, secret, 10, i64::from(secret)), Spend::Done { .. }));
        }
        assert_eq!(spend(&mut entry, 999, 10, 1_000), Spend::Spent);
        assert_eq!(spend(&mut entry, 996, 10, 1_000), Spend::Spent);
        assert!(matches!(spend(&mut entry, 995, 10, 1_000), Spend::Done { older: None, .. }));
    }

    #[test]
    fn what_made_room_returns_when_the_other_is_given_back() {
        let mut entry = Entry::new(at(0));
        for secret in 0..STEPS as u32 {
            spend(&mut entry, secret, 10, i64::from(secret));
        }
        let Spend::Done { evicted: Some(evicted), .. } = spend(&mut entry, 9, 10, 10) else {
            panic!("nothing made room")
        };
        assert_eq!(evicted.secret, 0);
        entry.release((9, 10), None, Some(evicted));
        assert_eq!(spend(&mut entry, 0, 10, 10), Spend::Spent);
        // A secret that was not confirmed takes no room of others.
        let pending = SpentStep { secret: 7, step: 10, expires: at(90), is_pending: true };
        assert_eq!(entry.spend(pending, at(10)), Spend::Full { until: at(90) });
    }

    #[test]
    fn nothing_is_left_when_all_was_given_back() {
        let mut entry = Entry::new(at(0));
        reserve(&mut entry, 0, 0, false);
        spend(&mut entry, 5, 10, 0);
        entry.subtract(1);
        assert!(!entry.is_empty());
        entry.release((5, 10), None, None);
        assert!(entry.is_empty());
    }

    #[test]
    fn what_is_unreported_is_taken_once() {
        let mut entry = Entry::new(at(0));
        let one = Unreported { failures: 1, ..Unreported::default() };
        entry.add_unreported(one);
        entry.add_unreported(one);
        assert_eq!(entry.take_unreported().failures, 2);
        assert!(entry.is_empty());
    }

    #[test]
    fn events_are_limited_per_minute_and_the_others_counted() {
        let mut entry = Entry::new(at(0));
        assert_eq!((0..10).filter(|_| entry.may_record(3, at(0))).count(), 3);
        assert_eq!(entry.take_unreported().events, 7);
        assert!(!entry.may_record(3, at(59)));
        assert!(entry.may_record(3, at(60)));
        // The clock was set back.
        assert!(entry.may_record(3, at(10)));
    }
}
