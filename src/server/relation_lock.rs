//! Locks on tables and sequences.
//!
//! Their mode conflicts with itself, but not with reading and writing rows or drawing numbers. For a
//! table it also conflicts with VACUUM. Unlike an advisory lock, a role without privileges cannot take
//! it.

use pgrx::pg_sys;

const MODE: i32 = pg_sys::ShareUpdateExclusiveLock as i32;

/// Locks a table or a sequence until the end of the transaction, or returns `false` if another
/// transaction has locked it.
pub fn try_lock_relation(relation: pg_sys::Oid) -> bool {
    // SAFETY: takes values. The server locks any OID, whether or not a relation has it.
    unsafe { pg_sys::ConditionalLockRelationOid(relation, MODE) }
}

/// Locks a table or a sequence until the end of the transaction. Waits for other transactions up to
/// `lock_timeout`.
pub fn lock_relation(relation: pg_sys::Oid) {
    // SAFETY: takes values, as above. A timeout or a cancellation unwinds.
    unsafe { pg_sys::LockRelationOid(relation, MODE) }
}
