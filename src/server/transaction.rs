//! The running transaction: what it may do, and how it commits.

use super::audit::transaction_id;
use crate::error::Error;
use pgrx::{PgXactCallbackEvent, pg_sys, register_xact_callback};
use std::cell::Cell;

/// Fails in a read-only transaction, on a standby, and in a parallel query: the calling function
/// may be wrongly marked PARALLEL SAFE.
pub fn require_writable() -> Result<(), Error> {
    // SAFETY: a flag of this process, and a function without arguments that reads shared state.
    if unsafe { pg_sys::XactReadOnly || pg_sys::RecoveryInProgress() } {
        return Err(Error::ReadOnly);
    }
    // SAFETY: a function without arguments that reads this process's state.
    if unsafe { pg_sys::IsInParallelMode() } {
        return Err(Error::Parallel);
    }
    if is_maintenance() { Err(Error::Maintenance) } else { Ok(()) }
}

/// Returns whether the server evaluates an index expression, a materialized view or the like for a
/// command that maintains it. The code in it is that of the owner, whoever's session it is, and
/// autovacuum's is a superuser's.
pub fn is_maintenance() -> bool {
    // SAFETY: functions without arguments that read this process's state. The workers of logical
    // replication apply changes for users.
    unsafe { pg_sys::InSecurityRestrictedOperation() && !pg_sys::IsLogicalWorker() }
}

/// Returns whether each statement of the transaction sees everything committed before it.
pub fn is_read_committed() -> bool {
    // SAFETY: a variable of this process, set when a transaction begins.
    unsafe { pg_sys::XactIsoLevel <= pg_sys::XACT_READ_COMMITTED as i32 }
}

/// Returns whether the caller has begun a transaction block.
pub fn is_transaction_block() -> bool {
    // SAFETY: a function without arguments that reads this process's state.
    unsafe { pg_sys::IsTransactionBlock() }
}

thread_local! {
    /// The transaction that is to wait for standbys, if it has not ended.
    static WAITING: Cell<i64> = const { Cell::new(0) };
}

/// Makes the running transaction commit synchronously, regardless of the settings of the caller: it
/// waits for the disk, and for synchronous standbys if there are any.
pub fn force_sync_commit() {
    // SAFETY: sets a flag of the running transaction, which then waits for the disk.
    unsafe { pg_sys::ForceSyncCommit() };
    let transaction = transaction_id();
    // Once is enough, however many codes it spends.
    if WAITING.replace(transaction) == transaction {
        return;
    }
    // The wait for standbys depends on a setting. It is read at the end, so that is where the caller's
    // value counts. pgrx keeps the callback for COMMIT of a transaction that was prepared instead.
    for event in [PgXactCallbackEvent::PreCommit, PgXactCallbackEvent::PrePrepare] {
        register_xact_callback(event, move || {
            if WAITING.get() == transaction {
                WAITING.set(0);
                wait_for_standbys();
            }
        });
    }
}

/// Raises `synchronous_commit` to `on` until the transaction has ended, if it is below `remote_write`, which
/// is enough: a standby that has received a commit does not lose it by becoming the primary.
fn wait_for_standbys() {
    const LEAST: pg_sys::SyncCommitLevel::Type =
        pg_sys::SyncCommitLevel::SYNCHRONOUS_COMMIT_REMOTE_WRITE;
    // SAFETY: a variable of this process.
    if i64::from(unsafe { pg_sys::synchronous_commit }) >= i64::from(LEAST) {
        return;
    }
    // SAFETY: both strings end with NUL. The function changes a setting of this session for the running
    // transaction, as SET LOCAL does; any user may.
    unsafe {
        pg_sys::set_config_option(
            c"synchronous_commit".as_ptr(),
            c"on".as_ptr(),
            pg_sys::GucContext::PGC_USERSET,
            pg_sys::GucSource::PGC_S_SESSION,
            pg_sys::GucAction::GUC_ACTION_LOCAL,
            true,
            0,
            false,
        );
    }
}
