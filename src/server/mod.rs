//! Small safe wrappers for server functions that pgrx does not provide. Only this module and the
//! guard contain unsafe code.

mod audit;
mod citus;
mod datum;
mod lock_timeout;
mod memory;
mod process;
mod relation_lock;
mod rights;
mod session;
mod transaction;
mod user_code;

pub use audit::{
    application_name, client_address, database_id, next_audit_id, next_transaction_id,
    transaction_id,
};
pub use citus::require_local_tables;
pub use datum::{Document, Json, LargeJson, RelationId, Text, composite};
pub use lock_timeout::{on_error, with_lock_timeout};
pub use memory::with_own_memory;
pub use process::{
    check_for_interrupts, close_files_on_exec, data_directory, hide_backtraces, is_preloading,
    kill_group, kill_group_at_exit, reserve_setting_prefix, set_nonblocking, sleep,
};
pub use relation_lock::{lock_relation, try_lock_relation};
pub use rights::{with_owner_rights, with_restricted_rights_of, with_session_rights};
pub use session::{
    connection_id, database_name, effective_role, installation_id, is_text, require_superuser,
    require_unicode, session_user, session_user_as_text, setting,
};
pub use transaction::{
    force_sync_commit, is_maintenance, is_read_committed, is_transaction_block, require_writable,
};
pub use user_code::run_user_code;
