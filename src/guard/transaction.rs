//! What the running transaction changed in shared memory, and how its end settles those changes.

use super::memory;
use super::table::{self, Key};
use crate::error::Error;
use crate::pure::timestamp::Timestamp;
use crate::settings;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgLogLevel, pg_guard, pg_sys};
use std::cell::RefCell;
use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::Ordering;

/// A change, and the subtransaction that made it.
struct Note {
    subtransaction: pg_sys::SubTransactionId,
    change: Change,
}

#[derive(Clone, Copy)]
enum Change {
    /// An attempt was reserved and has not succeeded.
    Attempt(Key),
    /// The code of an attempt was right, and is being spent in the table. If that fails, it was not
    /// a wrong guess: neither the failure nor the lock that it would have set remains.
    Match { key: Key, lock: Option<Timestamp> },
    /// The table was raised to `failures`, and an audit event reports `told` rolled-back attempts.
    Written { key: Key, failures: u32, told: u32 },
    /// The account's failures were cleared in the table. Shared memory follows at commit.
    Clear(Key),
    /// A step was spent, possibly after an older one. A rollback gives it back unless `burn` is
    /// set.
    Step { key: Key, step: i64, older: Option<i64>, burn: bool },
}

impl Change {
    fn is_attempt_of(&self, own: Key) -> bool {
        matches!(*self, Self::Attempt(key) | Self::Match { key, .. } if key == own)
    }
}

thread_local! {
    static NOTES: RefCell<Vec<Note>> = const { RefCell::new(Vec::new()) };
}

/// Registers the callbacks with the server. Called once.
pub fn init() {
    // SAFETY: the functions live as long as the process and take no argument.
    unsafe {
        pg_sys::RegisterXactCallback(Some(at_end), null_mut());
        pg_sys::RegisterSubXactCallback(Some(at_subtransaction_end), null_mut());
    }
}

/// Records that an attempt was reserved.
pub fn record_attempt(key: Key) {
    note(Change::Attempt(key));
}

/// Records that the code of an account's newest attempt is right.
pub fn record_match(key: Key, lock: Option<Timestamp>) {
    replace_attempt(key, Change::Match { key, lock });
}

/// Records that the right code cannot be spent: the attempt counts as a failure.
pub fn record_mismatch(key: Key) {
    replace_attempt(key, Change::Attempt(key));
}

fn replace_attempt(key: Key, change: Change) {
    NOTES.with_borrow_mut(|notes| {
        if let Some(note) = notes.iter_mut().rfind(|note| note.change.is_attempt_of(key)) {
            note.change = change;
        }
    });
}

/// Records that an account's newest attempt succeeded. What it spent stays spent after a rollback
/// if `burn` is set; until now a rollback would have given it back.
pub fn record_success(key: Key, burn: bool) {
    NOTES.with_borrow_mut(|notes| {
        let Some(place) = notes.iter().rposition(|note| note.change.is_attempt_of(key)) else {
            return;
        };
        for note in notes.iter_mut().skip(place) {
            if let Change::Step { burn: burns, .. } = &mut note.change {
                *burns = burn;
            }
        }
        notes.remove(place);
    });
}

/// Records that an account's failures were cleared in the table.
pub fn record_clear(key: Key) {
    note(Change::Clear(key));
}

/// Records that a failure was written to the table.
pub fn record_written(key: Key, failures: u32, told: u32) {
    note(Change::Written { key, failures, told });
}

/// Records that a step was spent. Unless its attempt succeeds, a rollback gives the step back.
pub fn record_step(key: Key, step: i64, older: Option<i64>) {
    note(Change::Step { key, step, older, burn: false });
}

fn note(change: Change) {
    // SAFETY: a function without arguments that reads the transaction's state.
    let subtransaction = unsafe { pg_sys::GetCurrentSubTransactionId() };
    NOTES.with_borrow_mut(|notes| notes.push(Note { subtransaction, change }));
}

/// Settles a change of a transaction that was committed, and so is in the table.
fn committed(change: Change) {
    match change {
        Change::Attempt(_) | Change::Match { .. } => {}
        Change::Clear(key) => {
            memory::with_bucket(key, |bucket, _| table::clear(bucket, key));
        }
        Change::Written { key, failures, told } => {
            memory::with_bucket(key, |bucket, _| table::record_commit(bucket, key, failures, told));
        }
        Change::Step { key, step, .. } => {
            memory::with_bucket(key, |bucket, _| table::release(bucket, key, step, None));
        }
    }
}

/// Settles a change of a transaction that was rolled back: only shared memory has a record of it.
fn rolled_back(change: Change) {
    match change {
        Change::Attempt(key) => {
            memory::with_bucket(key, |bucket, header| {
                header.rolled_back.fetch_add(1, Ordering::Relaxed);
                table::record_rollback(bucket, key);
            });
        }
        Change::Match { key, lock } => {
            memory::with_bucket(key, |bucket, _| table::undo_attempt(bucket, key, lock));
        }
        Change::Written { .. } | Change::Clear(_) | Change::Step { burn: true, .. } => {}
        Change::Step { key, step, older, burn: false } => {
            memory::with_bucket(key, |bucket, _| table::release(bucket, key, step, older));
        }
    }
}

/// Settles all changes, newest first, so that steps are given back in reverse order.
fn settle(end: impl Fn(Change)) {
    let notes = NOTES.take();
    notes.iter().rev().for_each(|note| end(note.change));
}

/// Refuses to prepare a transaction that may have to give a step back: its end would not be noticed
/// here.
fn refuse_to_prepare() {
    let gives_back = NOTES.with_borrow(|notes| {
        notes.iter().any(|note| matches!(note.change, Change::Step { burn: false, .. }))
    });
    if gives_back && !settings::burn_on_rollback() {
        ErrorReport::from(Error::Prepared).report(PgLogLevel::ERROR);
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn at_end(event: pg_sys::XactEvent::Type, _argument: *mut c_void) {
    use pg_sys::XactEvent::*;
    match event {
        XACT_EVENT_COMMIT => settle(committed),
        XACT_EVENT_ABORT => settle(rolled_back),
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
    NOTES.with_borrow_mut(|notes| {
        // The changes of this subtransaction and its children are the newest.
        let first =
            notes.iter().rposition(|note| note.subtransaction < own).map_or(0, |place| place + 1);
        match event {
            SUBXACT_EVENT_COMMIT_SUB => {
                notes.iter_mut().skip(first).for_each(|note| note.subtransaction = parent);
            }
            SUBXACT_EVENT_ABORT_SUB => {
                notes.drain(first..).rev().for_each(|note| rolled_back(note.change));
            }
            _ => {}
        }
    });
}
