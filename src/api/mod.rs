//! The SQL functions. Each reads its arguments, calls one flow and shapes the result.
//!
//! Functions that touch tables are SECURITY DEFINER with a pinned search_path and belong to
//! `totp_owner`. None that decides is STRICT: a NULL code is a refused code, never a NULL answer.

mod admin;
mod argument;
mod backup;
mod challenge;
mod enrol;
mod key;
mod otp;
mod picture;
mod preflight;
mod session;
mod status;
mod verdict;
mod verify;
