//! Locks on tables.

use pgrx::pg_sys;

/// Locks a table until the end of the transaction, in a mode that reading and writing rows does not
/// conflict with, but the same lock does, and VACUUM. Returns `false` if another transaction holds such a
/// lock. Unlike an advisory lock, a role without privileges on the table cannot take it.
pub fn try_lock_table(table: pg_sys::Oid) -> bool {
    // SAFETY: takes values. The server locks any OID, whether or not a table has it.
    unsafe { pg_sys::ConditionalLockRelationOid(table, pg_sys::ShareUpdateExclusiveLock as i32) }
}
