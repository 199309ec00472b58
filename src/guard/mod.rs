//! State that a ROLLBACK cannot undo: failures, locks and spent steps in shared memory.
//!
//! A caller can roll back every row that a function wrote. An attempt is therefore reserved here
//! before any code is compared, and a step is spent here before its row is written. Without
//! `shared_preload_libraries` there is no shared memory: every function then behaves as if nothing
//! were recorded, and callers rely on row locks and committed rows alone.

mod memory;
mod startup;
mod table;
mod transaction;

use crate::error::notice;
use crate::pure::lock::{LockState, Policy};
use crate::pure::timestamp::Timestamp;
use crate::{clock, server, settings};
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
pub use table::{Admission, Usage};
use table::{Bucket, Key, Spend};

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

/// An account's entries in shared memory.
pub struct AccountGuard<'a> {
    account: &'a str,
    installation_id: (u32, u32),
    key: Key,
}

impl<'a> AccountGuard<'a> {
    /// Identifies an account by a hash of its name, its database and this installation.
    pub fn of(account: &'a str) -> Self {
        let installation_id = if is_on() { server::installation_id() } else { (0, 0) };
        Self { account, installation_id, key: hashed((installation_id, account)) }
    }

    /// Returns the lock state that shared memory records.
    pub fn lock_state(&self) -> LockState {
        self.work(table::lock_state).unwrap_or_default()
    }

    /// Reserves one attempt before any code is compared, or refuses it. `committed` is the lock
    /// state in the table; the stricter of the two applies. The reservation counts as a failure
    /// until `accept`.
    pub fn reserve(&self, committed: &LockState, policy: &Policy, now: Timestamp) -> Admission {
        let reserve = |bucket: &mut Bucket, header: &memory::Header| {
            table::reserve(bucket, self.key, committed, policy, now, &header.evictions)
        };
        let Some(admission) = memory::with_bucket(self.key, reserve) else {
            return without_memory(committed, policy, now);
        };
        if matches!(admission, Admission::Reserved { .. }) {
            transaction::record_attempt(self.key);
        }
        admission
    }

    /// Records that the code is right and is about to be spent in the table: an error there is not
    /// a wrong guess. `after` is the lock state that a failure would cause.
    pub fn matched(&self, after: &LockState) {
        if is_on() {
            transaction::record_match(self.key, after.locked_until);
        }
    }

    /// Records that the right code could not be spent: the attempt counts as a failure after all.
    pub fn mismatched(&self) {
        if is_on() {
            transaction::record_mismatch(self.key);
        }
    }

    /// Records that the attempt succeeded, and clears the failures. What it spent stays spent even
    /// if the transaction aborts, unless `totp.burn_on_rollback` is off.
    pub fn accept(&self) {
        transaction::record_success(self.key, settings::burn_on_rollback());
        self.work(table::clear);
    }

    /// Clears the failures at commit, after they were cleared in the table without a code. Until
    /// then they stay, because a rollback must not clear failures.
    pub fn clear_at_commit(&self) {
        if is_on() {
            transaction::record_clear(self.key);
        }
    }

    /// Records that a failure was written to the table, with an audit event that reports
    /// `rolled_back` earlier attempts.
    pub fn record_written(&self, after: &LockState, rolled_back: u32) {
        if is_on() {
            transaction::record_written(self.key, after.failures, rolled_back);
        }
    }

    /// Spends a step of one of the account's secrets. Returns `false` if it was already spent, or
    /// if there is no room because all entries of its bucket must stay.
    pub fn spend(&self, secret: &[u8], step: i64, expires: Timestamp, now: Timestamp) -> bool {
        let key = self.step_key(secret);
        let spend = memory::with_bucket(key, |bucket, header| {
            table::spend(bucket, key, step, expires, now, &header.evictions)
        });
        match spend {
            Some(Spend::Done { older }) => transaction::record_step(key, step, older),
            Some(Spend::Refused) => return false,
            None => {}
        }
        true
    }

    /// Returns the newest spent step of one of the account's secrets that shared memory records.
    pub fn spent_step(&self, secret: &[u8]) -> Option<i64> {
        let key = self.step_key(secret);
        memory::with_bucket(key, |bucket, _| table::spent_step(bucket, key)).flatten()
    }

    fn step_key(&self, secret: &[u8]) -> Key {
        hashed((self.installation_id, self.account, secret))
    }

    fn work<T>(&self, work: impl FnOnce(&mut Bucket, Key) -> T) -> Option<T> {
        memory::with_bucket(self.key, |bucket, _| work(bucket, self.key))
    }
}

fn without_memory(committed: &LockState, policy: &Policy, now: Timestamp) -> Admission {
    match committed.locked(now) {
        Some(until) => Admission::Refused { until },
        None => Admission::Reserved { after: policy.after_failure(committed, now), rolled_back: 0 },
    }
}

/// Returns the time since which shared memory has recorded spent steps, or `None` without it. Do
/// not call while the server replays WAL.
pub fn started_at() -> Option<Timestamp> {
    memory::header().map(|header| header.start.time())
}

/// Returns how full shared memory is, and what has happened since the server started.
pub fn usage() -> Option<Usage> {
    memory::usage(clock::system())
}

/// Panics while a lock is held, as a bug would.
#[cfg(feature = "pg_test")]
#[allow(clippy::panic)]
pub fn panic_under_lock() -> bool {
    AccountGuard::of("nobody").work(|_, _| panic!("a bug under a lock")).unwrap_or_default()
}

fn hashed(value: impl std::hash::Hash) -> Key {
    let part = |hasher: &RandomState| hasher.hash_one(&value);
    HASHERS.get().map(|[first, second]| Key([part(first), part(second)])).unwrap_or_default()
}
