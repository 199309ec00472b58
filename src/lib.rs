//! Two-factor authentication inside PostgreSQL: TOTP (RFC 6238), backup codes, lockout and audit,
//! with secrets encrypted by Fernet in tables that the extension owns.
//!
//! Imports go one way: `api` (SQL functions) → `flow` (what a call does) → `store` (tables) and
//! `guard` (shared memory) → `pure` (decisions).
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod api;
mod clock;
#[cfg(test)]
mod corpus;
mod error;
mod flow;
mod guard;
mod keys;
#[cfg(feature = "panic")]
mod panic;
mod pure;
mod random;
mod server;
mod settings;
mod store;

use pgrx::prelude::*;

::pgrx::pg_module_magic!(name, version);

extension_sql_file!("../sql/schema.sql", name = "schema", bootstrap);
extension_sql_file!("../sql/help.sql", name = "help");
extension_sql_file!("../sql/procedures.sql", name = "procedures");
extension_sql_file!("../sql/triggers.sql", name = "triggers");
extension_sql_file!(
    "../sql/views.sql",
    name = "views",
    requires = [api::guard::guard_usage, api::key::key_ids, api::session::current_account,]
);
extension_sql_file!(
    "../sql/metrics.sql",
    name = "metrics",
    requires = [api::metric::metric_values]
);
extension_sql_file!(
    "../sql/self_service.sql",
    name = "self_service",
    requires = [
        "views",
        api::approval::approval_cancel,
        api::approval::approval_confirm,
        api::approval::approval_request,
        api::approval::approval_status,
        api::backup_code::rotate_attempt,
        api::challenge::challenge_login,
        api::disable::disable_attempt,
        api::disable::remove_attempt,
        api::enrol::totp_confirm,
        api::enrol::totp_create,
        api::session::current_account,
        api::session::missing_claim,
        api::session::session_account,
        api::session::totp_verified,
        api::session::verified_account,
        api::status::account_factors,
        api::status::totp_status,
        api::verify::totp_attempt,
    ]
);
// `finalize` puts this after all functions, so that none has to be listed here.
extension_sql_file!("../sql/functions.sql", name = "functions", finalize);

/// Called by the server when it loads the library.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    server::hide_backtraces();
    settings::init();
    guard::init();
}
