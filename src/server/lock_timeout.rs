//! The maximum time to wait for a row.

use crate::error::Error;
use pgrx::prelude::PgSqlErrorCode;
use pgrx::{PgTryBuilder, pg_sys};

/// Runs `call`, in which waiting for a lock longer than `milliseconds` fails with `Error::Busy`.
pub fn with_lock_timeout<T>(
    milliseconds: i32,
    call: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    struct Restore(i32);
    impl Drop for Restore {
        fn drop(&mut self) {
            // SAFETY: a variable of this process, read when a wait begins.
            unsafe { pg_sys::LockTimeout = self.0 };
        }
    }
    // SAFETY: as above. 0 means that the caller has set no limit.
    let callers = unsafe { pg_sys::LockTimeout };
    let _restore = Restore(callers);
    if callers == 0 || callers > milliseconds {
        // SAFETY: as above.
        unsafe { pg_sys::LockTimeout = milliseconds };
    }
    PgTryBuilder::new(std::panic::AssertUnwindSafe(call))
        .catch_when(PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE, |_| Err(Error::Busy))
        .catch_when(PgSqlErrorCode::ERRCODE_T_R_DEADLOCK_DETECTED, |_| Err(Error::Busy))
        // Another transaction has created, renamed or erased the account in the meantime.
        .catch_when(PgSqlErrorCode::ERRCODE_UNIQUE_VIOLATION, |_| Err(Error::Busy))
        .catch_when(PgSqlErrorCode::ERRCODE_FOREIGN_KEY_VIOLATION, |_| Err(Error::Busy))
        .execute()
}

/// Runs `call`. If it fails, calls `note` with `mark`, and whether it was a serialization failure.
pub fn on_error<T>(
    call: impl FnOnce() -> Result<T, Error>,
    mark: usize,
    note: fn(usize, bool),
) -> Result<T, Error> {
    let result = PgTryBuilder::new(std::panic::AssertUnwindSafe(call))
        .catch_when(PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE, move |error| {
            note(mark, true);
            error.rethrow()
        })
        .catch_others(move |error| {
            note(mark, false);
            error.rethrow()
        })
        .execute();
    if result.is_err() {
        note(mark, false);
    }
    result
}
