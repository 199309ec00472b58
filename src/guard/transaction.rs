//! What the running transaction changed in shared memory, and how its end settles those changes.

use super::memory;
use super::table::{self, Key, Unreported};
use crate::error::Error;
use crate::pure::lock::LockState;
use crate::{clock, settings};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgLogLevel, pg_guard, pg_sys};
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::Ordering;

/// A change, and the subtransaction that made it.
struct PendingChange {
    subtransaction: pg_sys::SubTransactionId,
    change: Change,
}

#[derive(Clone, Copy)]
enum Change {
    /// An attempt with a code was reserved and has not succeeded.
    Attempt { key: Key, code: u64, has_failed: bool },
    /// The code of an attempt was right, and is being spent in the table. It does not count as a
    /// failure.
    Match { key: Key, code: u64 },
    /// An attempt succeeded, and cleared these failures. A rollback brings them back. A success with
    /// a secret that the transaction created is gone with it.
    Success { key: Key, before: LockState, is_new: bool },
    /// The account was renamed. Until commit, its new name leads to the entry of the old one.
    Renamed { from: Key, to: Key },
    /// The table was raised to this many failures.
    Written { key: Key, failures: u32 },
    /// The account's failures were cleared in the table. Shared memory follows at commit.
    Clear(Key),
    /// The account was created. A rollback leaves nothing of it.
    NewAccount(Key),
    /// A secret was created. A rollback leaves nothing of it, so its steps are given back.
    NewSecret { key: Key, secret: u64 },
    /// A step was spent, possibly after an older one. A rollback gives it back unless `burn` is
    /// set.
    Step { key: Key, secret: u64, step: i64, older: Option<i64>, burn: bool },
    /// An audit event was written. A rollback leaves what it reports, and the event itself if it
    /// counts here, to the next one.
    Reported { key: Key, unreported: Unreported },
}

impl Change {
    fn key(&self) -> Key {
        match *self {
            Self::Attempt { key, .. }
            | Self::Match { key, .. }
            | Self::Success { key, .. }
            | Self::Renamed { from: key, .. }
            | Self::Written { key, .. }
            | Self::Clear(key)
            | Self::NewAccount(key)
            | Self::NewSecret { key, .. }
            | Self::Step { key, .. }
            | Self::Reported { key, .. } => key,
        }
    }

    fn attempt_of(&self, own: Key) -> Option<u64> {
        match *self {
            Self::Attempt { key, code, .. } | Self::Match { key, code } if key == own => Some(code),
            _ => None,
        }
    }
}

thread_local! {
    static PENDING: RefCell<Vec<PendingChange>> = const { RefCell::new(Vec::new()) };
    /// Whether the client has asked for the commit.
    static IS_COMMITTING: Cell<bool> = const { Cell::new(false) };
    /// Whether the server has refused a write of this transaction, so that callers may repeat it.
    static IS_REFUSED: Cell<bool> = const { Cell::new(false) };
    /// The attempt of the last transaction that the server refused.
    static REFUSED: Cell<Option<(Key, u64)>> = const { Cell::new(None) };
}

/// Registers the callbacks with the server. Called once.
pub fn init() {
    // SAFETY: the functions live as long as the process and take no argument.
    unsafe {
        pg_sys::RegisterXactCallback(Some(at_end), null_mut());
        pg_sys::RegisterSubXactCallback(Some(at_subtransaction_end), null_mut());
    }
}

/// Returns the key of an account's entry: that of its old name until a renaming is committed.
pub fn resolve(key: Key) -> Key {
    PENDING.with_borrow(|pending| {
        let renamed = pending.iter().rev().find_map(|it| match it.change {
            Change::Renamed { from, to } if to == key => Some(from),
            _ => None,
        });
        renamed.unwrap_or(key)
    })
}

/// Records that an account was renamed.
pub fn record_rename(from: Key, to: Key) {
    record(Change::Renamed { from, to });
}

/// Returns whether an attempt repeats, with the same code, one whose transaction the server refused
/// with a serialization failure: some middleware repeats such transactions by itself.
pub fn is_repeat(key: Key, code: u64) -> bool {
    REFUSED.take() == Some((key, code))
}

/// Returns the number of changes so far.
pub fn mark() -> usize {
    PENDING.with_borrow(Vec::len)
}

/// Records that a call that began at a mark has failed: a rollback gives its steps back.
pub fn record_error(mark: usize, is_serialization_failure: bool) {
    PENDING.with_borrow_mut(|pending| {
        for it in pending.iter_mut().skip(mark) {
            if let Change::Step { burn, .. } = &mut it.change {
                *burn = false;
            }
        }
    });
    if is_serialization_failure {
        IS_REFUSED.set(true);
    }
}

/// Records that an attempt was reserved.
pub fn record_attempt(key: Key, code: u64) {
    record(Change::Attempt { key, code, has_failed: false });
}

/// Records that the code of an account's newest attempt is right.
pub fn record_match(key: Key) {
    replace_attempt(key, |code| Change::Match { key, code });
}

/// Records that the right code cannot be spent, so that the attempt counts as a failure, and
/// returns whether it did not count as one before. What an audit event for its success would have
/// reported is left to the next one.
pub fn record_mismatch(key: Key) -> bool {
    let was_match = matches!(
        replace_attempt(key, |code| Change::Attempt { key, code, has_failed: false }),
        Some(Change::Match { .. })
    );
    PENDING.with_borrow_mut(|pending| {
        let attempt = pending.iter().rposition(|it| it.change.attempt_of(key).is_some());
        let later = pending.split_off(attempt.map_or(pending.len(), |attempt| attempt + 1));
        for it in later {
            match it.change {
                Change::Reported { .. } => rolled_back(it.change),
                _ => pending.push(it),
            }
        }
    });
    was_match
}

/// Records that an account's newest attempt has failed.
pub fn record_failure(key: Key) {
    replace_attempt(key, |code| Change::Attempt { key, code, has_failed: true });
}

/// Forgets an account's newest attempt.
pub fn withdraw(key: Key) {
    take_attempt(key, |_| {});
}

/// Replaces an account's newest attempt and returns what it was.
fn replace_attempt(key: Key, change: impl Fn(u64) -> Change) -> Option<Change> {
    PENDING.with_borrow_mut(|pending| {
        let find = |it: &&mut PendingChange| it.change.attempt_of(key).is_some();
        let it = pending.iter_mut().rev().find(find)?;
        let code = it.change.attempt_of(key)?;
        Some(std::mem::replace(&mut it.change, change(code)))
    })
}

/// Removes an account's newest attempt and returns its code; `work` sees the changes after it.
fn take_attempt(key: Key, work: impl Fn(&mut [PendingChange])) -> Option<u64> {
    PENDING.with_borrow_mut(|pending| {
        let position = pending.iter().rposition(|it| it.change.attempt_of(key).is_some())?;
        let code = pending.remove(position).change.attempt_of(key);
        work(pending.get_mut(position..)?);
        code
    })
}

/// Records that an account's newest attempt succeeded. What it spent stays spent after a rollback
/// if `burn` is set; until now a rollback would have given it back.
pub fn record_success(key: Key, before: LockState, burn: bool) {
    let new_secrets: Vec<u64> = PENDING.with_borrow(|pending| {
        let new_secret = |it: &PendingChange| match it.change {
            Change::NewSecret { key: own, secret } if own == key => Some(secret),
            _ => None,
        };
        pending.iter().filter_map(new_secret).collect()
    });
    let is_new = Cell::new(false);
    take_attempt(key, |later| {
        for it in later {
            if let Change::Step { secret, burn: burns, .. } = &mut it.change {
                is_new.set(new_secrets.contains(secret));
                *burns = burn && !is_new.get();
            }
        }
    });
    record(Change::Success { key, before, is_new: is_new.get() });
}

/// Records that an account's failures were cleared in the table.
pub fn record_clear(key: Key) {
    record(Change::Clear(key));
}

/// Records that an account was created. One that takes the name of an account that the transaction
/// renamed shares the entry of that account, which must stay.
pub fn record_new_account(key: Key) {
    let is_shared = PENDING.with_borrow(|pending| {
        pending.iter().any(|it| matches!(it.change, Change::Renamed { from, .. } if from == key))
    });
    if !is_shared {
        record(Change::NewAccount(key));
    }
}

/// Records that a secret of an account was created.
pub fn record_new_secret(key: Key, secret: u64) {
    record(Change::NewSecret { key, secret });
}

/// Records that a failure was written to the table.
pub fn record_written(key: Key, failures: u32) {
    record(Change::Written { key, failures });
}

/// Records that a step was spent. Unless its attempt succeeds, a rollback gives the step back.
pub fn record_step(key: Key, secret: u64, step: i64, older: Option<i64>) {
    record(Change::Step { key, secret, step, older, burn: false });
}

/// Records that an audit event reports something, and which part of it a rollback would lose.
pub fn record_reported(key: Key, unreported: Unreported) {
    if unreported != Unreported::default() {
        record(Change::Reported { key, unreported });
    }
}

fn record(change: Change) {
    // SAFETY: a function without arguments that reads the transaction's state.
    let subtransaction = unsafe { pg_sys::GetCurrentSubTransactionId() };
    PENDING.with_borrow_mut(|pending| pending.push(PendingChange { subtransaction, change }));
}

/// Settles a change made by a transaction that was committed, so the change is in the table.
fn committed(change: Change) {
    match change {
        Change::Attempt { .. }
        | Change::Match { .. }
        | Change::Success { .. }
        | Change::NewAccount(_)
        | Change::NewSecret { .. }
        | Change::Reported { .. } => {}
        Change::Renamed { from, to } => {
            let now = clock::system();
            if from != to
                && let Some(Some(entry)) =
                    memory::with_bucket(from, |bucket, _| table::take(bucket, from))
            {
                memory::with_bucket(to, |bucket, header| {
                    table::put(bucket, to, entry, now, &header.evictions);
                });
            }
        }
        Change::Clear(key) => {
            memory::with_bucket(key, |bucket, _| table::clear(bucket, key));
        }
        Change::Written { key, failures } => {
            memory::with_bucket(key, |bucket, _| table::record_commit(bucket, key, failures));
        }
        Change::Step { key, secret, step, .. } => {
            memory::with_bucket(key, |bucket, _| table::release(bucket, key, (secret, step), None));
        }
    }
}

/// Settles changes that were committed: renamings last, and of several of one account the last one.
fn commit(pending: &[PendingChange]) {
    let renamed = |it: &PendingChange| match it.change {
        Change::Renamed { from, .. } => Some(from),
        _ => None,
    };
    pending.iter().filter(|it| renamed(it).is_none()).for_each(|it| committed(it.change));
    let mut moved = Vec::new();
    for it in pending.iter().rev() {
        if let Some(from) = renamed(it).filter(|from| !moved.contains(from)) {
            moved.push(from);
            committed(it.change);
        }
    }
}

/// Settles a change of a transaction that was rolled back: only shared memory has a record of it.
fn rolled_back(change: Change) {
    match change {
        Change::Attempt { key, code, has_failed } => {
            if !has_failed {
                memory::with_bucket(key, |bucket, _| table::end_attempt(bucket, key));
            }
            if IS_REFUSED.get() || IS_COMMITTING.get() {
                REFUSED.set(Some((key, code)));
            }
            count_rolled_back();
            add_unreported(key, Unreported { failures: 1, ..Unreported::default() });
        }
        Change::Success { key, before, is_new } => {
            let now = clock::system();
            memory::with_bucket(key, |bucket, header| {
                table::restore(bucket, key, &before, now, &header.evictions);
            });
            if !is_new {
                count_rolled_back();
                add_unreported(key, Unreported { successes: 1, ..Unreported::default() });
            }
        }
        Change::Reported { key, unreported } => add_unreported(key, unreported),
        Change::Step { key, secret, step, older, burn } => {
            // If the server refused the commit, the client knows that it failed: nothing came of
            // the code.
            if !burn || IS_COMMITTING.get() {
                let spent = (secret, step);
                memory::with_bucket(key, |bucket, _| table::release(bucket, key, spent, older));
            }
        }
        Change::Match { .. }
        | Change::Written { .. }
        | Change::Clear(_)
        | Change::Renamed { .. }
        | Change::NewAccount(_)
        | Change::NewSecret { .. } => {}
    }
}

/// Settles a change to an account that is gone with the transaction that created it.
fn forgotten(change: Change) {
    match change {
        Change::Attempt { key, .. } => {
            memory::with_bucket(key, |bucket, _| table::undo_attempt(bucket, key, None));
        }
        Change::Step { key, secret, step, older, .. } => {
            let spent = (secret, step);
            memory::with_bucket(key, |bucket, _| table::release(bucket, key, spent, older));
        }
        Change::NewAccount(key) => {
            memory::with_bucket(key, |bucket, _| table::remove_unused(bucket, key));
        }
        _ => {}
    }
}

/// Settles changes that were rolled back, newest first, so that steps are given back in reverse order.
/// What an account did after the transaction created it is gone with it.
fn roll_back(pending: &[PendingChange]) {
    let mut created = HashSet::new();
    let mut forget = Vec::with_capacity(pending.len());
    for it in pending {
        if let Change::NewAccount(key) = it.change {
            created.insert(key);
        }
        forget.push(created.contains(&it.change.key()));
    }
    for (it, forget) in pending.iter().zip(forget).rev() {
        if forget { forgotten(it.change) } else { rolled_back(it.change) }
    }
}

fn count_rolled_back() {
    if let Some(header) = memory::header() {
        header.rolled_back.fetch_add(1, Ordering::Relaxed);
    }
}

fn add_unreported(key: Key, unreported: Unreported) {
    let now = clock::system();
    memory::with_bucket(key, |bucket, header| {
        table::add_unreported(bucket, key, unreported, now, &header.evictions);
    });
}

/// Settles all changes at the end of the transaction.
fn settle(end: impl Fn(&[PendingChange])) {
    end(&PENDING.take());
    IS_COMMITTING.set(false);
    IS_REFUSED.set(false);
}

/// Refuses to prepare a transaction that may have to give a step back: its end would not be noticed
/// here.
fn refuse_to_prepare() {
    let gives_back = PENDING.with_borrow(|pending| {
        pending.iter().any(|it| matches!(it.change, Change::Step { burn: false, .. }))
    });
    if gives_back && !settings::burn_on_rollback() {
        ErrorReport::from(Error::Prepared).report(PgLogLevel::ERROR);
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn at_end(event: pg_sys::XactEvent::Type, _argument: *mut c_void) {
    use pg_sys::XactEvent::*;
    match event {
        XACT_EVENT_PRE_COMMIT => IS_COMMITTING.set(true),
        XACT_EVENT_COMMIT => settle(commit),
        XACT_EVENT_ABORT => settle(roll_back),
        XACT_EVENT_PRE_PREPARE => refuse_to_prepare(),
        // The outcome is open: what it spent stays spent here, and its failures stay counted.
        XACT_EVENT_PREPARE => settle(|_| {}),
        _ => {}
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn at_subtransaction_end(
    event: pg_sys::SubXactEvent::Type,
    own: pg_sys::SubTransactionId,
    parent: pg_sys::SubTransactionId,
    _argument: *mut c_void,
) {
    use pg_sys::SubXactEvent::*;
    PENDING.with_borrow_mut(|pending| {
        // The changes of this subtransaction and its children are the newest.
        let first =
            pending.iter().rposition(|it| it.subtransaction < own).map_or(0, |place| place + 1);
        match event {
            SUBXACT_EVENT_COMMIT_SUB => {
                pending.iter_mut().skip(first).for_each(|it| it.subtransaction = parent);
            }
            SUBXACT_EVENT_ABORT_SUB => {
                roll_back(&pending.split_off(first));
            }
            _ => {}
        }
    });
}
