//! State that a ROLLBACK cannot undo: failures, locks and spent steps in shared memory.
//!
//! A caller can roll back every row that a function wrote. An attempt is therefore reserved here
//! before any code is compared, and a step is spent here before its row is written. Without
//! `shared_preload_libraries` there is no shared memory: every function then behaves as if nothing
//! were recorded, and callers rely on row locks and committed rows alone.

mod entry;
mod limit;
mod memory;
mod startup;
mod table;
mod transaction;

use crate::error::notice;
use crate::pure::lock::{LockState, Policy};
use crate::pure::metric::{self, Method};
use crate::pure::timestamp::Timestamp;
use crate::{clock, server, settings};
pub use entry::{Admission, Spend, Unreported};
use entry::{Entry, Request, SpentStep};
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use table::Key;
pub use table::Usage;

/// Hash keys, drawn when the server starts and shared by all its processes.
static HASHERS: OnceLock<[RandomState; 2]> = OnceLock::new();

/// Sets up shared memory if the library is loaded early enough. Called once.
pub fn init() {
    if server::is_preloading() {
        HASHERS.get_or_init(|| [RandomState::new(), RandomState::new()]);
        memory::init();
        transaction::init();
    } else {
        notice::not_preloaded();
    }
}

/// Returns whether there is shared memory.
pub fn is_on() -> bool {
    memory::is_on()
}

/// An account's entry in shared memory.
pub struct AccountGuard {
    key: Key,
}

impl AccountGuard {
    /// Looks an account up by the hash of its name, its database and this installation.
    pub fn of(account: &str) -> Self {
        let installation_id = if is_on() { server::installation_id() } else { (0, 0) };
        Self { key: transaction::resolve(hashed((installation_id, account))) }
    }

    /// Returns one entry for all accounts that do not exist or have no factor. No account has an
    /// empty name.
    pub fn of_strangers() -> Self {
        Self::of("")
    }

    /// Returns the lock state that shared memory records.
    pub fn lock_state(&self) -> LockState {
        self.lock_state_without(0)
    }

    /// Returns the same without the failures that the running transaction has cleared. They no longer
    /// show, but count for the lock until the commit: a rollback may follow.
    pub fn shown_lock_state(&self) -> LockState {
        self.lock_state_without(transaction::cleared(self.key))
    }

    fn lock_state_without(&self, cleared: u32) -> LockState {
        let state = self.work(|entry| entry.lock_state(cleared)).unwrap_or_default();
        if !state.is_clean() && transaction::has_recovered(self.key) {
            return LockState::default();
        }
        state
    }

    /// Reserves one attempt with a code before anything is compared, or refuses it. `committed` is
    /// the lock state in the table; the stricter of both counts. The reservation is a failure until
    /// `accept`.
    pub fn reserve(
        &self,
        code: &str,
        committed: &LockState,
        policy: &Policy,
        now: Timestamp,
    ) -> Admission {
        if !is_on() {
            return without_memory(committed, policy, now);
        }
        let code = tag(code);
        let is_repeat = transaction::is_repeat(self.key, code);
        let request = Request { now, is_repeat, has_written: transaction::has_written(self.key) };
        let admission = self
            .work_or_new(now, |entry| entry.reserve(committed, policy, request))
            .map(|room| room.unwrap_or_else(|until| Admission::Full { until }));
        if matches!(admission, Some(Admission::Reserved { .. })) {
            transaction::record_attempt(self.key, code);
        }
        admission.unwrap_or_else(|| without_memory(committed, policy, now))
    }

    /// Returns the lock state after the reserved attempt has failed; without shared memory, `after`.
    pub fn fail(&self, after: LockState, policy: &Policy, now: Timestamp) -> LockState {
        let cleared = transaction::cleared(self.key);
        let failed = self.work_or_new(now, |entry| entry.fail(policy, cleared, now));
        if is_on() {
            transaction::record_failure(self.key);
        }
        failed.and_then(Result::ok).unwrap_or(after)
    }

    /// Records that the code of the attempt is right and is about to be spent in the table. Even if
    /// spending it fails, it is not a wrong guess. `after` is the lock state after a failure.
    pub fn matched(&self, after: &LockState) {
        if is_on() {
            transaction::record_match(self.key);
            self.work(|entry| entry.undo_attempt(after.locked_until));
        }
    }

    /// Records that the right code could not be spent: it counts as a failure after all.
    pub fn mismatched(&self, policy: &Policy, now: Timestamp) {
        if is_on() && transaction::record_mismatch(self.key) {
            self.work_or_new(now, |entry| entry.redo_attempt(policy, now));
        }
    }

    /// Withdraws the reserved attempt, so that it counts against nobody.
    pub fn withdraw(&self, after: &LockState) {
        if is_on() {
            transaction::withdraw(self.key);
            self.work(|entry| entry.undo_attempt(after.locked_until));
        }
    }

    /// Records that the attempt succeeded. Its failures are cleared, and what it spent stays spent
    /// after a rollback, unless `totp.burn_on_rollback` is off.
    pub fn accept(&self) {
        if is_on() {
            transaction::record_success(self.key, self.settled(), settings::burn_on_rollback());
        }
    }

    /// Records that the failures were cleared in the table without a code. Shared memory follows at
    /// commit, so that a rollback clears nothing.
    pub fn clear_at_commit(&self) {
        if is_on() {
            transaction::record_clear(self.key, self.settled());
        }
    }

    /// Records that this transaction has a recovery take effect. The lock, whose factors are gone, no
    /// longer shows, but it counts until the commit for attempts at new factors: a rollback may follow.
    pub fn recovered(&self) {
        if is_on() {
            transaction::record_recovery(self.key);
        }
    }

    /// Records that this transaction gave the account another name. Until it commits, that name leads
    /// to this entry: a rollback must not leave failures and spent steps under a name that is gone.
    pub fn renamed(&self, old: &str, new: &str) {
        if is_on() {
            let [to, vacated] = [new, old].map(|name| hashed((server::installation_id(), name)));
            transaction::record_rename(self.key, to, vacated);
        }
    }

    /// Records that this transaction created the account.
    pub fn created(&self) {
        if is_on() {
            transaction::record_new_account(self.key);
        }
    }

    /// Records that this transaction created a secret of the account.
    pub fn created_secret(&self, secret: &[u8]) {
        if is_on() {
            transaction::record_new_secret(self.key, secret_tag(secret));
        }
    }

    /// Records that a failure was written to the table.
    pub fn record_written(&self, after: &LockState) {
        if is_on() {
            transaction::record_written(self.key, after.failures);
        }
    }

    /// Spends a step of one of the account's secrets.
    pub fn spend(
        &self,
        secret: &[u8],
        step: i64,
        expires: Timestamp,
        is_pending: bool,
        now: Timestamp,
    ) -> Spend {
        let spent = SpentStep { secret: secret_tag(secret), step, expires, is_pending };
        let spend = self
            .work_or_new(now, |entry| entry.spend(spent, now))
            .map(|room| room.unwrap_or_else(|until| Spend::Full { until }));
        if let Some(Spend::Done { older, evicted }) = spend {
            transaction::record_step(self.key, spent, older, evicted);
        }
        spend.unwrap_or(Spend::Done { older: None, evicted: None })
    }

    /// Returns the newest spent step of one of the account's secrets that shared memory records.
    pub fn spent_step(&self, secret: &[u8]) -> Option<i64> {
        self.work(|entry| entry.spent_step(secret_tag(secret))).flatten()
    }

    /// Returns whether an audit event that costs its caller nothing may be written: at most `limit`
    /// per minute. The next event reports how many were left out.
    pub fn may_record(&self, limit: u32, now: Timestamp) -> bool {
        let may = self
            .work_or_new(now, |entry| entry.may_record(limit, now))
            .map(|room| room.unwrap_or_default());
        if may == Some(true) {
            transaction::record_event(self.key);
        }
        may.unwrap_or_else(|| limit::may_record(limit, now))
    }

    /// Takes what no audit event has reported yet, for one that is about to be written.
    pub fn take_unreported(&self) -> Unreported {
        let taken = self.work(Entry::take_unreported);
        let unreported = taken.unwrap_or_default();
        if is_on() {
            transaction::record_reported(self.key, unreported);
        }
        unreported
    }

    /// Records that a secret of the account is handed out. If the transaction is rolled back, the
    /// next audit event reports it.
    pub fn exported(&self) {
        if is_on() {
            let export = Unreported { exports: 1, ..Unreported::default() };
            transaction::record_reported(self.key, export);
        }
    }

    fn settled(&self) -> u32 {
        let taken_back = transaction::taken_back(self.key);
        self.work(|entry| entry.settled(taken_back)).unwrap_or_default()
    }

    fn work<T>(&self, work: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        memory::with_entry(self.key, work)
    }

    fn work_or_new<T>(
        &self,
        now: Timestamp,
        work: impl FnOnce(&mut Entry) -> T,
    ) -> Option<Result<T, Timestamp>> {
        memory::with_new_entry(self.key, now, work)
    }
}

/// The failures of a client within a minute, over all accounts. Without shared memory, nothing is
/// counted.
pub struct ClientGuard {
    key: Key,
}

impl ClientGuard {
    /// Looks a client up.
    pub fn of(client: &str) -> Self {
        let installation_id = if is_on() { server::installation_id() } else { (0, 0) };
        Self { key: hashed((installation_id, "client", client)) }
    }

    /// Returns until when the client must wait, if it has caused `limit` failures within a minute.
    pub fn exceeded_until(&self, limit: u32, now: Timestamp) -> Option<Timestamp> {
        let entry = AccountGuard { key: self.key };
        entry.work(|entry| entry.exceeded_until(limit, now)).flatten()
    }

    /// Counts a failure, whatever becomes of its transaction. A full memory counts none.
    pub fn count(&self, now: Timestamp) {
        AccountGuard { key: self.key }.work_or_new(now, |entry| entry.count_in_minute(now));
    }
}

/// Returns a mark of the changes that the running transaction has made so far.
pub fn mark() -> usize {
    transaction::mark()
}

/// Records that a call ended with an error, and so gave no answer: the steps that it spent since
/// `mark` are given back. After a serialization failure, the caller may repeat the whole transaction
/// with the same code.
pub fn unanswered(mark: usize, is_serialization_failure: bool) {
    transaction::record_error(mark, is_serialization_failure);
}

fn without_memory(committed: &LockState, policy: &Policy, now: Timestamp) -> Admission {
    match committed.locked(now) {
        Some(until) => Admission::Locked { until },
        None => Admission::Reserved { after: policy.after_failure(committed, now) },
    }
}

/// Returns the time since which shared memory has recorded spent steps, or `None` without it. Do
/// not call while the server replays WAL.
pub fn started_at() -> Option<Timestamp> {
    memory::header().map(|header| header.start.time())
}

/// Records that there is a recovery that waits. When it takes effect, nothing tells shared memory that a
/// lock has ended.
pub fn expect_recovery() {
    if let Some(header) = memory::header() {
        header.has_recoveries.store(true, Ordering::Relaxed);
    }
}

/// Returns whether a recovery may have begun since the server started. Before its transaction ends, a
/// call that begins one says so.
pub fn may_have_recovered() -> bool {
    memory::header().is_some_and(|header| header.has_recoveries.load(Ordering::Relaxed))
}

/// Counts a verification.
pub fn count(method: Method, result: metric::Result) {
    if let Some(header) = memory::header()
        && let Some(counter) = header.verifications.get(metric::place(method, result))
    {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Returns the number of verifications by method and result since the server started, in all its
/// databases; `None` without shared memory.
pub fn counters() -> Option<Vec<u64>> {
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    memory::header().map(|header| header.verifications.iter().map(load).collect())
}

/// Returns how full shared memory is, and what has happened since the server started.
pub fn usage() -> Option<Usage> {
    memory::usage(clock::system())
}

/// Panics while a lock is held, as a bug would.
#[cfg(feature = "panic")]
#[allow(clippy::panic)]
pub fn panic_under_lock() -> bool {
    let panic = |_: &mut Entry| panic!("a bug under a lock");
    AccountGuard::of("nobody").work_or_new(clock::system(), panic).is_some()
}

/// Returns a keyed hash of a code or secret.
fn tag(text: impl AsRef<[u8]>) -> u64 {
    hashed(text.as_ref()).0[0]
}

/// Returns a short keyed hash of a secret.
fn secret_tag(secret: &[u8]) -> u32 {
    tag(secret) as u32
}

fn hashed(value: impl std::hash::Hash) -> Key {
    let part = |hasher: &RandomState| hasher.hash_one(&value);
    HASHERS.get().map(|[first, second]| Key([part(first), part(second)])).unwrap_or_default()
}
