//! What each call does: read the tables, consult the guard, decide, write. SQL functions and SQL
//! text belong in other layers.
#![forbid(unsafe_code)]

pub mod admin;
pub mod approval;
mod attempt;
mod audit;
pub mod audit_verification;
pub mod backup_code;
pub mod bulk_import;
pub mod challenge;
mod context;
pub mod disable;
pub mod enrol;
pub mod event;
pub mod export;
pub mod hardware_token;
pub mod import;
pub mod jwt;
pub mod key;
pub mod lock_timeout;
pub mod metric;
mod new_account;
pub mod pass;
pub mod preflight;
pub mod recovery;
pub mod rename;
pub mod requirement;
pub mod resync;
pub mod rotation;
pub mod seal;
pub mod session;
pub mod source;
pub mod status;
mod sweep;
mod tenant;
mod token;
pub mod trust;
mod unenrol;
pub mod verify;
pub mod waiting_recovery;
