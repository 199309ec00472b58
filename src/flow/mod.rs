//! What a call does: read the tables, ask the guard, decide, write. No SQL function and no SQL text
//! stands here.
#![forbid(unsafe_code)]

pub mod admin;
mod attempt;
mod audit;
pub mod backup_code;
pub mod challenge;
mod context;
pub mod disable;
pub mod enrol;
pub mod export;
pub mod import;
pub mod jwt;
pub mod key;
pub mod lock_timeout;
pub mod preflight;
pub mod recovery;
pub mod rename;
pub mod resync;
pub mod rotation;
pub mod session;
pub mod status;
mod token;
pub mod trust;
pub mod verify;
