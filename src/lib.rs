//! Two-factor authentication inside PostgreSQL: TOTP (RFC 6238), backup codes, lock-out and audit,
//! on tables that the extension owns and seals with Fernet.
//!
//! Imports go one way: `api` (SQL functions) → `flow` (what a call does) → `store` (tables) and
//! `guard` (shared memory) → `pure` (decisions).
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod api;
mod clock;
mod error;
mod flow;
mod guard;
mod jwt_secret;
mod key_command;
mod keys;
mod pure;
mod random;
mod server;
#[cfg(feature = "pg_test")]
mod server_tests;
mod settings;
mod store;

use pgrx::prelude::*;

::pgrx::pg_module_magic!(name, version);

extension_sql_file!("../sql/schema.sql", name = "schema", bootstrap);
extension_sql_file!(
    "../sql/comments.sql",
    name = "comments",
    requires = [
        api::admin::backup_reissue,
        api::admin::totp_export,
        api::admin::totp_forget,
        api::admin::totp_import,
        api::admin::totp_prune,
        api::admin::totp_rename,
        api::admin::totp_reset,
        api::admin::totp_unlock,
        api::backup::backup_remaining,
        api::backup::backup_rotate,
        api::challenge::challenge_account,
        api::challenge::challenge_create,
        api::challenge::challenge_login,
        api::challenge::challenge_verify,
        api::challenge::recovery_confirm,
        api::challenge::recovery_create,
        api::challenge::trust_create,
        api::challenge::trust_revoke,
        api::challenge::trust_verify,
        api::enrol::totp_confirm,
        api::enrol::totp_create,
        api::enrol::totp_disable,
        api::enrol::totp_remove,
        api::key::key_generate,
        api::key::key_ids,
        api::key::key_rotate_step,
        api::otp::totp_check,
        api::otp::totp_code,
        api::otp::totp_uri,
        api::picture::qr_svg,
        api::picture::qr_text,
        api::preflight::preflight,
        api::session::current_account,
        api::session::jwt_sign,
        api::session::session_account,
        api::session::totp_verified,
        api::session::verified_account,
        api::status::guard_usage,
        api::status::totp_enabled,
        api::status::totp_status,
        api::verify::backup_verify,
        api::verify::totp_attempt,
        api::verify::totp_resync,
        api::verify::totp_verify,
    ]
);
extension_sql_file!("../sql/views.sql", name = "views", requires = ["comments"]);
extension_sql_file!("../sql/procedures.sql", name = "procedures", requires = ["comments"]);
extension_sql_file!("../sql/triggers.sql", name = "triggers", requires = ["comments"]);
extension_sql_file!("../sql/self_service.sql", name = "self_service", requires = ["views"]);
extension_sql_file!("../sql/grants.sql", name = "grants", finalize);

/// Called by the server when it loads the library.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    server::hide_backtraces();
    settings::init();
    guard::init();
}

/// What `cargo pgrx test` asks of an extension.
#[cfg(all(test, feature = "pg_test"))]
pub mod pg_test {
    /// Nothing to prepare.
    pub fn setup(_options: Vec<&str>) {}

    /// The configuration of the test server.
    pub fn postgresql_conf_options() -> Vec<&'static str> {
        vec!["shared_preload_libraries = 'totp'"]
    }
}
