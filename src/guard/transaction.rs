//! What the running transaction changed in shared memory, and how its end settles those changes.

use super::entry::{Entry, SpentStep, Unreported};
use super::memory;
use super::table::Key;
use crate::error::Error;
use crate::{clock, settings};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgLogLevel, pg_guard, pg_sys};
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

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
    /// An attempt succeeded. Its commit takes these failures back.
    Success { key: Key, failures: u32 },
    /// The account was renamed. Until commit, its new name leads to the entry of the old one, and the
    /// old name to an entry of its own.
    Renamed { from: Key, to: Key, vacated: Key },
    /// The table was raised to this many failures.
    Written { key: Key, failures: u32 },
    /// These failures of the account were cleared in the table. Shared memory follows at commit.
    Clear { key: Key, failures: u32 },
    /// A recovery of the account took effect.
    Recovered(Key),
    /// The account was created. A rollback leaves nothing of it.
    NewAccount(Key),
    /// A secret was created. A rollback leaves nothing of it, so its steps are given back.
    NewSecret { key: Key, secret: u32 },
    /// A step was spent, possibly after an older one. A rollback gives it back unless `burn` is
    /// set.
    Step { key: Key, spent: SpentStep, older: Option<i64>, evicted: Option<SpentStep>, burn: bool },
    /// An audit event was written. A rollback leaves what it reports to the next one.
    Reported { key: Key, unreported: Unreported },
    /// An audit event was written that counts toward the limit. A rollback takes it off the count and
    /// leaves it to the next one.
    Recorded(Key),
}

impl Change {
    fn key(&self) -> Key {
        match *self {
            Self::Attempt { key, .. }
            | Self::Match { key, .. }
            | Self::Success { key, .. }
            | Self::Renamed { from: key, .. }
            | Self::Written { key, .. }
            | Self::Clear { key, .. }
            | Self::Recovered(key)
            | Self::NewAccount(key)
            | Self::Recorded(key)
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
    /// Whether an account was renamed. Only then are the changes searched for it.
    static HAS_RENAMED: Cell<bool> = const { Cell::new(false) };
    /// Whether the client has asked for the commit.
    static IS_COMMITTING: Cell<bool> = const { Cell::new(false) };
    /// Whether the server has refused a write of this transaction, so that callers may repeat it.
    static IS_REFUSED: Cell<bool> = const { Cell::new(false) };
    /// When the newest attempt was first made, if it is repeated.
    static FIRST_MADE: Cell<Option<Instant>> = const { Cell::new(None) };
    /// The attempt of the last transaction that the server refused, and when it was first made.
    static REFUSED: Cell<Option<(Key, u64, Instant)>> = const { Cell::new(None) };
}

/// How long an attempt can be repeated: callers that do so wait no longer.
const REPEAT_TIME: Duration = Duration::from_secs(2);

/// Registers the callbacks with the server. Called once.
pub fn init() {
    // SAFETY: the functions live as long as the process and take no argument.
    unsafe {
        pg_sys::RegisterXactCallback(Some(at_end), null_mut());
        pg_sys::RegisterSubXactCallback(Some(at_subtransaction_end), null_mut());
    }
}

/// Returns the key of an account's entry: that of its old name until a renaming is committed. A name
/// that was given up leads to an entry of its own.
pub fn resolve(key: Key) -> Key {
    // An import makes a million changes, each of which looks up a key.
    if !HAS_RENAMED.get() {
        return key;
    }
    PENDING.with_borrow(|pending| {
        let renamed = pending.iter().rev().find_map(|it| match it.change {
            Change::Renamed { from, to, .. } if to == key => Some(from),
            Change::Renamed { vacated, .. } if vacated == key => Some(key.successor()),
            _ => None,
        });
        renamed.unwrap_or(key)
    })
}

/// Records that an account was renamed.
pub fn record_rename(from: Key, to: Key, vacated: Key) {
    HAS_RENAMED.set(true);
    record(Change::Renamed { from, to, vacated });
}

/// Returns how many failures of an account right codes of this transaction have cleared.
pub fn cleared(key: Key) -> u32 {
    sum(|change| match *change {
        Change::Success { key: own, failures } if own == key => failures,
        _ => 0,
    })
}

/// Returns how many failures of an account this transaction takes back at its commit.
pub fn taken_back(key: Key) -> u32 {
    sum(|change| match *change {
        Change::Success { key: own, failures } | Change::Clear { key: own, failures }
            if own == key =>
        {
            failures
        }
        _ => 0,
    })
}

fn sum(failures: impl Fn(&Change) -> u32) -> u32 {
    let each = |it: &PendingChange| failures(&it.change);
    PENDING.with_borrow(|pending| pending.iter().map(each).fold(0, u32::saturating_add))
}

/// Returns whether the transaction has written failures of an account to the table.
pub fn has_written(key: Key) -> bool {
    PENDING.with_borrow(|pending| {
        pending.iter().any(|it| matches!(it.change, Change::Written { key: own, .. } if own == key))
    })
}

/// Returns whether an attempt repeats, with the same code, one whose transaction the server refused
/// with a serialization failure: some middleware repeats such transactions by itself.
pub fn is_repeat(key: Key, code: u64) -> bool {
    let is_same = |(own, same, first): &(Key, u64, Instant)| {
        *own == key && *same == code && first.elapsed() < REPEAT_TIME
    };
    let repeated = REFUSED.take().filter(is_same);
    FIRST_MADE.set(repeated.map(|(_, _, first)| first));
    repeated.is_some()
}

/// Returns whether a recovery of an account took effect in the transaction.
pub fn has_recovered(key: Key) -> bool {
    PENDING.with_borrow(|pending| {
        pending.iter().any(|it| matches!(it.change, Change::Recovered(own) if own == key))
    })
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
/// returns whether it did not count as one before.
pub fn record_mismatch(key: Key) -> bool {
    matches!(
        replace_attempt(key, |code| Change::Attempt { key, code, has_failed: false }),
        Some(Change::Match { .. })
    )
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

/// Records that an account's newest attempt succeeded, and how many failures its commit takes back.
/// What it spent stays spent after a rollback if `burn` is set; until now a rollback would have given
/// it back.
pub fn record_success(key: Key, failures: u32, burn: bool) {
    take_attempt(key, |later| {
        for it in later {
            if let Change::Step { burn: burns, .. } = &mut it.change {
                *burns = burn;
            }
        }
    });
    record(Change::Success { key, failures });
}

/// Records that an account's failures were cleared in the table.
pub fn record_clear(key: Key, failures: u32) {
    record(Change::Clear { key, failures });
}

/// Records that a recovery of an account took effect.
pub fn record_recovery(key: Key) {
    record(Change::Recovered(key));
}

/// Records that an account was created.
pub fn record_new_account(key: Key) {
    record(Change::NewAccount(key));
}

/// Records that a secret of an account was created.
pub fn record_new_secret(key: Key, secret: u32) {
    record(Change::NewSecret { key, secret });
}

/// Records that a failure was written to the table.
pub fn record_written(key: Key, failures: u32) {
    record(Change::Written { key, failures });
}

/// Records that a step was spent. Unless its attempt succeeds, a rollback gives the step back.
pub fn record_step(key: Key, spent: SpentStep, older: Option<i64>, evicted: Option<SpentStep>) {
    record(Change::Step { key, spent, older, evicted, burn: false });
}

/// Records that an audit event reports something, and which part of it a rollback would lose.
pub fn record_reported(key: Key, unreported: Unreported) {
    if unreported != Unreported::default() {
        record(Change::Reported { key, unreported });
    }
}

/// Records that an audit event was written that counts toward the limit.
pub fn record_event(key: Key) {
    record(Change::Recorded(key));
}

fn record(change: Change) {
    // SAFETY: a function without arguments that reads the transaction's state.
    let subtransaction = unsafe { pg_sys::GetCurrentSubTransactionId() };
    PENDING.with_borrow_mut(|pending| pending.push(PendingChange { subtransaction, change }));
}

/// Settles a change made by a transaction that was committed, so the change is in the table.
fn committed(change: Change) {
    match change {
        Change::Success { key, failures } | Change::Clear { key, failures } => {
            memory::with_entry(key, |entry| entry.subtract(failures));
        }
        Change::Written { key, failures } => {
            memory::with_entry(key, |entry| entry.record_commit(failures));
        }
        Change::Step { .. } => release(change),
        _ => {}
    }
}

fn release(change: Change) {
    if let Change::Step { key, spent, older, evicted, .. } = change {
        let (secret, step) = (spent.secret, spent.step);
        memory::with_entry(key, |entry| entry.release((secret, step), older, evicted));
    }
}

/// Settles changes that were committed, and then moves entries to the new names of their accounts.
fn commit(pending: &[PendingChange]) {
    pending.iter().for_each(|it| committed(it.change));
    let mut names: Vec<(Key, Key)> = Vec::new();
    for it in pending.iter().rev() {
        if let Change::Renamed { from, to, vacated } = it.change {
            for (name, entry) in [(to, from), (vacated, vacated.successor())] {
                if names.iter().all(|(known, _)| *known != name) {
                    names.push((name, entry));
                }
            }
        }
    }
    let moved = |(name, key): &(Key, Key)| Some((*name, memory::take(*key)?));
    let moved: Vec<_> = names.iter().filter(|(name, key)| name != key).filter_map(moved).collect();
    let now = clock::system();
    for (name, entry) in moved {
        memory::with_new_entry(name, now, |new| new.take_over(entry));
    }
}

/// Settles a change of a transaction that was rolled back: only shared memory has a record of it.
fn rolled_back(change: Change) {
    match change {
        Change::Attempt { key, code, has_failed } => {
            if !has_failed {
                memory::with_entry(key, Entry::end_attempt);
            }
            if IS_REFUSED.get() || IS_COMMITTING.get() {
                let first = FIRST_MADE.get().unwrap_or_else(Instant::now);
                REFUSED.set(Some((key, code, first)));
            }
            count_rolled_back();
            add_unreported(key, Unreported { failures: 1, ..Unreported::default() });
        }
        Change::Success { key, .. } => {
            count_rolled_back();
            add_unreported(key, Unreported { successes: 1, ..Unreported::default() });
        }
        Change::Reported { key, unreported } => add_unreported(key, unreported),
        Change::Recorded(key) => {
            memory::with_entry(key, Entry::take_event_back);
            add_unreported(key, Unreported { events: 1, ..Unreported::default() });
        }
        Change::Step { burn, .. } => {
            // If the server refused the commit, the client knows that it failed, and the code had no
            // effect.
            if !burn || IS_COMMITTING.get() {
                release(change);
            }
        }
        Change::Match { .. }
        | Change::Written { .. }
        | Change::Clear { .. }
        | Change::Renamed { .. }
        | Change::Recovered(_)
        | Change::NewAccount(_)
        | Change::NewSecret { .. } => {}
    }
}

/// Settles a change to an account that is gone with the transaction that created it.
fn forgotten(change: Change) {
    match change {
        Change::Attempt { key, .. } => {
            memory::with_entry(key, |entry| entry.undo_attempt(None));
        }
        Change::Step { .. } => release(change),
        Change::NewAccount(key) => {
            memory::remove_unused(key);
        }
        _ => {}
    }
}

/// Settles changes that were rolled back, newest first, so that steps are given back in reverse order.
/// What an account or a secret did after the transaction created it is gone with it.
fn roll_back(pending: &[PendingChange]) {
    let (mut accounts, mut secrets) = (HashSet::new(), HashSet::new());
    let mut newest_is_new = false;
    let mut forget = Vec::with_capacity(pending.len());
    for it in pending {
        match it.change {
            Change::NewAccount(key) => _ = accounts.insert(key),
            Change::NewSecret { key, secret } => _ = secrets.insert((key, secret)),
            Change::Step { key, spent, .. } => {
                newest_is_new = secrets.contains(&(key, spent.secret))
            }
            _ => {}
        }
        let is_of_secret = matches!(it.change, Change::Step { .. } | Change::Success { .. });
        forget.push(accounts.contains(&it.change.key()) || newest_is_new && is_of_secret);
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
    // If there is no room for it, nothing is reported.
    memory::with_new_entry(key, now, |entry| entry.add_unreported(unreported));
}

/// Settles all changes at the end of the transaction.
fn settle(end: impl Fn(&[PendingChange])) {
    end(&PENDING.take());
    HAS_RENAMED.set(false);
    IS_COMMITTING.set(false);
    IS_REFUSED.set(false);
}

/// Settles changes whose outcome is open: what they spent stays spent here, failures stay counted, and
/// what an audit event reports is left to the next one, along with the attempts.
fn prepare(pending: &[PendingChange]) {
    for it in pending {
        match it.change {
            Change::Reported { key, unreported } => add_unreported(key, unreported),
            Change::Attempt { key, .. } | Change::Success { key, .. } => {
                add_unreported(key, Unreported { prepared: 1, ..Unreported::default() });
            }
            _ => {}
        }
    }
}

/// Refuses to prepare a transaction that may have to give a step back, or has renamed an account: its
/// end would not be noticed here.
fn refuse_to_prepare() {
    let has = |is: fn(&Change) -> bool| {
        PENDING.with_borrow(|pending| pending.iter().any(|it| is(&it.change)))
    };
    let gives_back = has(|change| matches!(change, Change::Step { burn: false, .. }));
    if gives_back && !settings::burn_on_rollback() {
        ErrorReport::from(Error::Prepared).report(PgLogLevel::ERROR);
    }
    if has(|change| matches!(change, Change::Renamed { .. })) {
        ErrorReport::from(Error::PreparedRename).report(PgLogLevel::ERROR);
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
        XACT_EVENT_PREPARE => settle(prepare),
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
    let undone = PENDING.with_borrow_mut(|pending| {
        // The changes of this subtransaction and its children are the newest.
        let first =
            pending.iter().rposition(|it| it.subtransaction < own).map_or(0, |place| place + 1);
        match event {
            SUBXACT_EVENT_COMMIT_SUB => {
                pending.iter_mut().skip(first).for_each(|it| it.subtransaction = parent);
                Vec::new()
            }
            SUBXACT_EVENT_ABORT_SUB => pending.split_off(first),
            _ => Vec::new(),
        }
    });
    roll_back(&undone);
}
