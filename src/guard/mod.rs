//! What a ROLLBACK cannot undo: failures, locks and spent steps in shared memory.
//!
//! A caller can roll back every row that a function wrote. So an attempt is reserved here before
//! anything is compared, and a step is spent here before its row is written. Without
//! `shared_preload_libraries` there is no shared memory: every function then answers as if nothing
//! were known, and callers rely on row locks and committed rows alone.

mod memory;
mod start;
mod table;
mod transaction;

use crate::pure::lock::{Policy, Standing};
use crate::pure::moment::Moment;
use crate::{clock, server, settings};
pub use start::moment as started_at;
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
pub use table::{Admission, Usage};
use table::{Bucket, Key, Spend};

/// The keys of the hash: drawn when the server starts, the same in all its processes.
static HASHERS: OnceLock<[RandomState; 2]> = OnceLock::new();

/// Sets up shared memory, when the library is loaded early enough. Called once.
pub fn init() {
    if server::is_preloading() {
        HASHERS.get_or_init(|| [RandomState::new(), RandomState::new()]);
        memory::init();
        transaction::init();
    } else {
        pgrx::log!(
            "totp is not in shared_preload_libraries, so a rollback undoes failures and spent codes"
        );
    }
}

/// Whether there is shared memory.
pub fn is_on() -> bool {
    memory::is_on()
}

/// An account as memory knows it.
pub struct Subject<'a> {
    account: &'a str,
    installation: (u32, u32),
    key: Key,
}

impl<'a> Subject<'a> {
    /// Looks an account up by the hash of its name, its database and this installation.
    pub fn of(account: &'a str) -> Self {
        let installation = if is_on() { server::installation() } else { (0, 0) };
        Self { account, installation, key: hashed((installation, account)) }
    }

    /// What is known of it.
    pub fn standing(&self) -> Standing {
        self.work(table::standing).unwrap_or_default()
    }

    /// Reserves one attempt before anything is compared, or refuses. `committed` is the level of
    /// the table; the stricter of both counts. The reservation stands as a failure until `accept`.
    pub fn admit(&self, committed: &Standing, policy: &Policy, now: Moment) -> Admission {
        let reserve = |bucket: &mut Bucket, header: &memory::Header| {
            table::admit(bucket, self.key, committed, policy, now, &header.evictions)
        };
        let Some(admission) = memory::with_bucket(self.key, reserve) else {
            return without_memory(committed, policy, now);
        };
        if matches!(admission, Admission::Reserved { .. }) {
            transaction::note_attempt(self.key);
        }
        admission
    }

    /// The code of the attempt is right, and what it spends is about to be written: an error there
    /// is no wrong guess. `after` is where the account would stand otherwise.
    pub fn matched(&self, after: &Standing) {
        if is_on() {
            transaction::note_match(self.key, after.locked_until);
        }
    }

    /// The right code could not be spent: it counts as a wrong one after all.
    pub fn mismatched(&self) {
        if is_on() {
            transaction::note_mismatch(self.key);
        }
    }

    /// The attempt was a success: its failures are over, and what it spent stays spent, also when
    /// the transaction aborts (unless `totp.burn_on_rollback` is off).
    pub fn accept(&self) {
        transaction::note_success(self.key, settings::burn_on_rollback());
        self.work(table::clear);
    }

    /// Its failures were cleared in the table by somebody who gave no code. Memory follows at the
    /// commit: a rollback must not pardon anybody.
    pub fn pardon(&self) {
        if is_on() {
            transaction::note_pardon(self.key);
        }
    }

    /// A failure was written to the table, with the number of rolled-back attempts before it.
    pub fn note_written(&self, after: &Standing, rolled_back: u32) {
        if is_on() {
            transaction::note_written(self.key, after.failures, rolled_back);
        }
    }

    /// Spends a step of one of its secrets. `false` when it was spent before, or when memory is
    /// full of entries that must not go.
    pub fn spend(&self, secret: &[u8], step: i64, expires: Moment, now: Moment) -> bool {
        let key = self.step_key(secret);
        let spend = memory::with_bucket(key, |bucket, header| {
            table::spend(bucket, key, step, expires, now, &header.evictions)
        });
        match spend {
            Some(Spend::Done { older }) => transaction::note_step(key, step, older),
            Some(Spend::Refused) => return false,
            None => {}
        }
        true
    }

    /// The newest step of one of its secrets that memory knows to be spent.
    pub fn spent_step(&self, secret: &[u8]) -> Option<i64> {
        let key = self.step_key(secret);
        memory::with_bucket(key, |bucket, _| table::spent_step(bucket, key)).flatten()
    }

    fn step_key(&self, secret: &[u8]) -> Key {
        hashed((self.installation, self.account, secret))
    }

    fn work<T>(&self, work: impl FnOnce(&mut Bucket, Key) -> T) -> Option<T> {
        memory::with_bucket(self.key, |bucket, _| work(bucket, self.key))
    }
}

fn without_memory(committed: &Standing, policy: &Policy, now: Moment) -> Admission {
    match committed.locked(now) {
        Some(until) => Admission::Refused { until },
        None => Admission::Reserved { after: policy.after_failure(committed, now), rolled_back: 0 },
    }
}

/// How full memory is, and what happened since the server started.
pub fn usage() -> Option<Usage> {
    memory::usage(clock::system())
}

/// Panics while a lock is held, as a bug would.
#[cfg(feature = "pg_test")]
#[allow(clippy::panic)]
pub fn panic_under_lock() -> bool {
    Subject::of("nobody").work(|_, _| panic!("a bug under a lock")).unwrap_or_default()
}

fn hashed(value: impl std::hash::Hash) -> Key {
    let part = |hasher: &RandomState| hasher.hash_one(&value);
    HASHERS.get().map(|[first, second]| Key([part(first), part(second)])).unwrap_or_default()
}
