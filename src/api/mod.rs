//! The SQL functions. Each reads its arguments, calls one flow and returns the result.
//!
//! Functions that touch tables are SECURITY DEFINER with a pinned search_path and belong to
//! `totp_owner`. No function that makes a decision is STRICT: a NULL code is a refused code, never
//! a NULL result.

mod admin;
mod approval;
mod argument;
mod audit_verification;
mod backup_code;
mod bulk_import;
mod challenge;
mod disable;
mod enrol;
mod event;
mod export;
mod guard;
mod hardware_token;
mod import;
mod jwt;
mod key;
mod metric;
mod otp;
mod pass;
mod preflight;
mod qr;
mod recovery;
mod rename;
mod requirement;
mod resync;
mod rotation;
mod seal;
mod session;
mod status;
mod trust;
mod verdict;
mod verify;
