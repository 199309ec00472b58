//! Locks on tables and sequences.
//!
//! Their mode conflicts with itself, but not with reading and writing rows or drawing numbers. For a
//! table it also conflicts with VACUUM. Unlike an advisory lock, a role without privileges cannot take
//! it.

use pgrx::pg_sys;
use std::ffi::CStr;
use std::ptr;

const MODE: pg_sys::LOCKMODE = pg_sys::ShareUpdateExclusiveLock as pg_sys::LOCKMODE;

/// Locks a table or a sequence until the end of the transaction, or returns `false` if another
/// transaction has locked it.
pub fn try_lock_relation(relation: pg_sys::Oid) -> bool {
    // SAFETY: takes values. The server locks any OID, whether or not a relation has it.
    unsafe { pg_sys::ConditionalLockRelationOid(relation, MODE) }
}

/// Locks a table or a sequence of the extension until the end of the transaction. Waits for other
/// transactions up to `lock_timeout`. If they replace it meanwhile, locks the new one.
pub fn lock_relation(name: &CStr) {
    // SAFETY: names are C strings, which the server only reads. An error, such as a timeout, unwinds.
    unsafe {
        let name = pg_sys::makeRangeVar(c"totp".as_ptr().cast_mut(), name.as_ptr().cast_mut(), -1);
        pg_sys::RangeVarGetRelidExtended(name, MODE, 0, None, ptr::null_mut());
    }
}
