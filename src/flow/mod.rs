//! What a call does: read the tables, ask the guard, decide, write. No SQL function and no SQL text
//! stands here.
#![forbid(unsafe_code)]

pub mod admin;
pub mod attempt;
pub mod backup;
pub mod call;
pub mod challenge;
pub mod enrol;
pub mod preflight;
pub mod recovery;
pub mod resync;
pub mod rotation;
pub mod session;
pub mod status;
mod token;
pub mod transfer;
mod trial;
pub mod trust;
