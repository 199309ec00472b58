//! The rights with which statements run.

use super::run_user_code;
use crate::error::Error;
use pgrx::pg_sys;

/// The role that owns the tables of the extension.
const OWNER: &std::ffi::CStr = c"totp_owner";

/// Runs `work` with the rights of `totp_owner`, as a SECURITY DEFINER function of that role would.
/// This is for functions that run with the rights of their caller and read the caller's tables: only
/// the owner's own statements may be inside, never a statement over a table that someone else made.
pub fn with_owner_rights<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    // SAFETY: reads the catalogs; a role that does not exist yields the invalid OID.
    let owner = unsafe { pg_sys::get_role_oid(OWNER.as_ptr(), true) };
    if owner == pg_sys::InvalidOid {
        return Err(Error::Corrupt("role"));
    }
    with_rights_of(owner, work)
}

/// Runs `work` with the rights of the session's current role, as if a SECURITY DEFINER function had
/// not changed them. This is for system views that show more to some roles than to `totp_owner`.
pub fn with_session_rights<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    // SAFETY: a function without arguments that reads this process's state.
    with_rights_of(unsafe { pg_sys::GetOuterUserId() }, work)
}

/// Runs `work`, which calls a function of this role, with its rights and as a security-restricted
/// operation, so that the function can neither take back the rights of its caller nor call
/// functions of this extension that write. What it sets is undone.
pub fn with_restricted_rights_of<T>(
    owner: pg_sys::Oid,
    work: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    run_user_code(|| with_rights(owner, pg_sys::SECURITY_RESTRICTED_OPERATION, work))
}

/// Runs `work` with the rights of a role that exists.
fn with_rights_of<T>(
    other: pg_sys::Oid,
    work: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    with_rights(other, 0, work)
}

fn with_rights<T>(
    other: pg_sys::Oid,
    restrictions: u32,
    work: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    /// Restores the role also if an error of the server unwinds; if it ends the transaction, the
    /// server restores it.
    struct Restore(pg_sys::Oid, i32);
    impl Drop for Restore {
        fn drop(&mut self) {
            // SAFETY: sets variables of this process to values that they had before.
            unsafe { pg_sys::SetUserIdAndSecContext(self.0, self.1) };
        }
    }
    let (mut role, mut context) = (pg_sys::InvalidOid, 0);
    // SAFETY: writes to two local variables.
    unsafe { pg_sys::GetUserIdAndSecContext(&mut role, &mut context) };
    let _restore = Restore(role, context);
    let local = context | (pg_sys::SECURITY_LOCAL_USERID_CHANGE | restrictions) as i32;
    // SAFETY: sets variables of this process; the role exists.
    unsafe { pg_sys::SetUserIdAndSecContext(other, local) };
    work()
}
