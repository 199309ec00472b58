//! Logic that needs no server: no pgrx, no unsafe code, no clock and no random generator. Callers
//! pass in the time, the random bytes and the keys.
#![forbid(unsafe_code)]

pub mod approval;
pub mod audit;
pub mod audit_verification;
pub mod backup_code;
pub mod canonical;
pub mod checkpoint;
pub mod claims;
pub mod code;
pub mod configuration;
pub mod event;
pub mod hba;
pub mod id_set;
pub mod import;
mod instant;
pub mod invalid;
pub mod json;
pub mod jwt;
pub mod jwt_secret;
pub mod keyring;
pub mod lock;
mod mark;
pub mod merkle;
pub mod metric;
pub mod name;
pub mod otp;
pub mod qr;
pub mod redaction;
pub mod requirement;
pub mod seal;
pub mod secret;
pub mod stall_timer;
pub mod timestamp;
pub mod token;
pub mod uri;
pub mod verdict;
