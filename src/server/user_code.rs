//! Code of users that the extension runs: a function of the application, or those in a view.

use pgrx::pg_sys;

/// Runs `work`, which runs code of users, and then undoes what that code has set. A `search_path` that
/// it left behind would have the statements that follow call its functions, with the rights of
/// `totp_owner`.
pub fn run_user_code<T>(work: impl FnOnce() -> T) -> T {
    /// Undoes the changes also if an error of the server unwinds.
    struct Undo(i32);
    impl Drop for Undo {
        fn drop(&mut self) {
            // SAFETY: ends the level that was begun below, and those within it that an error has left
            // open. It is still open, since only the end of a transaction or subtransaction that began
            // earlier would end it before.
            unsafe { pg_sys::AtEOXact_GUC(false, self.0) };
        }
    }
    // SAFETY: increments a variable of this process.
    let _undo = Undo(unsafe { pg_sys::NewGUCNestLevel() });
    work()
}
