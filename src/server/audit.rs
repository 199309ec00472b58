//! What the audit trail records about the session and its transaction.

use super::process::c_bytes;
use pgrx::datum::{Inet, IntoDatum};
use pgrx::{direct_function_call, pg_sys};
use std::cell::OnceCell;

/// Returns the ID of the running transaction, with its epoch, and assigns one if it has none.
pub fn transaction_id() -> i64 {
    // SAFETY: a function without arguments; the transaction may write, as every caller has checked.
    let id = unsafe { pg_sys::GetTopFullTransactionId() };
    id.value.cast_signed()
}

/// Returns the ID that the next transaction will get, with its epoch.
pub fn next_transaction_id() -> i64 {
    // SAFETY: a function without arguments that reads shared memory.
    let id = unsafe { pg_sys::ReadNextFullTransactionId() };
    id.value.cast_signed()
}

/// Draws the number of an entry of the audit trail, as its identity column would.
pub fn next_audit_id() -> i64 {
    // SAFETY: catalog lookups with static C strings. A missing sequence yields the invalid OID, for
    // which nextval raises an error; it never returns NULL. The argument has the type that it expects.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"totp".as_ptr(), true);
        let sequence = pg_sys::get_relname_relid(c"audit_events_id_seq".as_ptr(), schema);
        direct_function_call::<i64>(pg_sys::nextval_oid, &[sequence.into_datum()])
    }
    .unwrap_or_default()
}

/// Returns the address of the client; `None` for a local socket, and in a background process.
pub fn client_address() -> Option<String> {
    thread_local! {
        static ADDRESS: OnceCell<Option<String>> = const { OnceCell::new() };
    }
    // SAFETY: a function without arguments that reads what is known since the client connected.
    let read = || unsafe { direct_function_call::<Inet>(pg_sys::inet_client_addr, &[]) };
    ADDRESS.with(|address| address.get_or_init(|| read().map(|inet| inet.0)).clone())
}

/// Returns the `application_name` of the session, in which the server allows only ASCII; `None` if it
/// is empty.
pub fn application_name() -> Option<String> {
    // SAFETY: a variable of this process: null or a C string that lives until the setting changes.
    let name = unsafe { c_bytes(pg_sys::application_name) }?;
    String::from_utf8(name).ok().filter(|name| !name.is_empty() && name.is_ascii())
}

/// Returns the system identifier of the cluster, and the OID of the database.
pub fn database_id() -> (u64, u32) {
    // SAFETY: a function without arguments and a variable, both set before a session begins.
    unsafe { (pg_sys::GetSystemIdentifier(), pg_sys::MyDatabaseId.to_u32()) }
}
