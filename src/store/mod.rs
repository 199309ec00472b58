//! The tables, one per file. Statements are prepared once per server process. They qualify every
//! table name, take values as parameters, and run in functions whose search_path is pinned.
#![forbid(unsafe_code)]

pub mod account;
pub mod approval;
pub mod audit;
pub mod backup_code;
pub mod catalog;
pub mod decoy;
pub mod event;
pub mod factor;
pub mod hardware_token;
pub mod pass;
mod plan;
pub mod requirement;
pub mod rotation;
pub mod seal;
pub mod session;
pub mod source;
pub mod tenant;
pub mod token;
