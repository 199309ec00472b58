//! The rows of `preflight`: what each check found, and what to do about it.

use super::{Error, KeyRows};
use crate::pure::configuration::Configured;
use pgrx::pg_sys::panic::ErrorReport;

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Everything is in order.
    Ok,
    /// It works, but is weaker than it could be.
    Warn,
    /// It does not work, or gives no protection.
    Fail,
}

impl Status {
    /// Returns the name used in SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// A row of `preflight`.
pub struct Check {
    /// The name of the check.
    pub name: &'static str,
    /// The result.
    pub status: Status,
    /// What the check found.
    pub detail: String,
    /// What to do about it, if anything.
    pub hint: Option<String>,
}

/// What a check found.
pub enum Finding {
    /// Whether shared memory is available.
    Preload(bool),
    /// The keys come from a command.
    KeyCommand,
    /// The keys come from a file.
    KeyFile {
        /// Whether the file is in the data directory.
        in_data_directory: bool,
    },
    /// The keys come from the server's environment.
    KeyVariable,
    /// No source has keys, or the source cannot be read.
    NoKeySource,
    /// The IDs of the keys.
    Keyring(Vec<String>),
    /// The keyring cannot be used.
    NoKeyring(Error),
    /// Keys that rows need, when the keyring cannot be used.
    UnknownKeys(KeyRows),
    /// Keys that rows need but the keyring does not contain.
    MissingKeys(KeyRows),
    /// Keys in the keyring that rows need, other than the first.
    OlderKeys(KeyRows),
    /// The settings because of which statement parameters are logged.
    StatementLogging(Vec<Configured>),
    /// The settings of the extension that are not at their defaults.
    Settings(Vec<Configured>),
    /// Login roles whose claims are trusted, and which do not exist.
    JwtLogins(Vec<String>),
    /// The extension's roles that are missing, or have attributes that they must not have.
    RoleAttributes(Vec<String>),
    /// Members of `totp_owner`.
    MembersOfOwner(Vec<String>),
    /// Roles, other than superusers, that can grant the extension's roles.
    Admins(Vec<String>),
    /// Members of the extension's roles.
    Members(Vec<String>),
    /// Privileges that the extension did not grant.
    Grants(Vec<String>),
    /// Objects of the extension that belong to others.
    Owners(Vec<String>),
    /// Columns, indexes and domains whose collation is not "C".
    Collations(Vec<String>),
    /// The order of the database's own collation has changed.
    NewOrder,
    /// Whether the sequence of the audit trail's IDs is behind them.
    AuditSequence {
        /// Whether it is behind.
        is_behind: bool,
    },
    /// Whether entries of the audit trail have not been sealed for a day.
    AuditSeal {
        /// Whether there are such entries.
        is_late: bool,
        /// When the last seal was made, if there is one.
        last: Option<String>,
    },
    /// Keys in the keyring that neither rows nor signatures need.
    UnusedKeys(Vec<String>),
    /// Rows that expired a day ago or earlier.
    ExpiredRows {
        /// How many there are, or were counted.
        count: i64,
        /// Whether there are many.
        are_many: bool,
    },
    /// The server listens on no address that other machines can reach.
    LocalLogins,
    /// The caller cannot read pg_hba.conf.
    UnknownLogins,
    /// The lines and types of rules in pg_hba.conf that allow network logins without encryption.
    NetworkLogins(Vec<(i32, String)>),
    /// The caller cannot see the state of standbys.
    UnknownStandbys,
    /// Standbys whose clock differs from this server's: their names, and by how many seconds the time
    /// of their last reply is ahead.
    StandbyClocks(Vec<(String, f64)>),
    /// Whether `totp.tenant_function` names a suitable function, if it is set.
    TenantFunction(Option<bool>),
    /// Whether `totp.clock` is set.
    Clock(bool),
    /// The setting `fsync`.
    Fsync(bool),
    /// The setting `full_page_writes`.
    FullPageWrites(bool),
    /// Whether Citus leaves the tables alone.
    Citus(Result<(), Error>),
    /// The setting `totp.burn_on_rollback`.
    BurnOnRollback(bool),
    /// The setting `totp.cold_start`.
    ColdStart(bool),
    /// The setting `totp.force_sync_commit`.
    ForceSyncCommit(bool),
}

impl From<Finding> for Check {
    fn from(finding: Finding) -> Self {
        match finding {
            Finding::Preload(true) => {
                ok("shared_preload_libraries", "Failures and spent codes survive a ROLLBACK.")
            }
            Finding::Preload(false) => warn(
                "shared_preload_libraries",
                "totp is not listed: a ROLLBACK undoes failures and spent codes.",
                "Add totp to shared_preload_libraries and restart the server.",
            ),
            Finding::KeyCommand => ok("key_source", "The keys come from totp.key_command."),
            Finding::KeyFile { in_data_directory: false } => {
                ok("key_source", "The key file is outside the data directory.")
            }
            Finding::KeyFile { in_data_directory: true } => fail(
                "key_source",
                "The key file is in the data directory: pg_basebackup copies it together with the secrets, and \
                 pg_upgrade leaves it behind.",
                "Copy it to a directory of its own, set totp.key_file accordingly, reload the server, and remove the \
                 old file.",
            ),
            Finding::KeyVariable => warn(
                "key_source",
                "The keys come from the server's environment, so changing them requires a restart.",
                "Put them into a file with mode 0600 and set totp.key_file to its path.",
            ),
            Finding::NoKeySource => warn(
                "key_source",
                "No source of encryption keys can be read.",
                "Set totp.key_file or totp.key_command.",
            ),
            Finding::Keyring(ids) => {
                ok("keyring", format!("Key IDs: {}; the first key encrypts.", ids.join(", ")))
            }
            Finding::NoKeyring(error) => error_found("keyring", error),
            Finding::UnknownKeys(rows) if rows.is_empty() => {
                ok("missing_keys", "No row in this database needs a key.")
            }
            Finding::UnknownKeys(rows) => fail("missing_keys", list(&rows), "Restore the keyring."),
            Finding::MissingKeys(rows) if rows.is_empty() => {
                ok("missing_keys", "Every key that stored rows need is in the keyring.")
            }
            Finding::MissingKeys(rows) => fail(
                "missing_keys",
                list(&rows),
                "Add these keys back to the keyring, below the first key. A restored database needs \
                 the keyring that was in use when the backup was made.",
            ),
            Finding::OlderKeys(rows) if rows.is_empty() => ok(
                "key_rotation",
                "No row in this database is waiting to be re-encrypted with the first key.",
            ),
            Finding::OlderKeys(rows) => warn(
                "key_rotation",
                list(&rows),
                "Run CALL totp.key_rotate(). Once no database on the server needs these keys \
                 any longer, remove them.",
            ),
            Finding::StatementLogging(settings) if settings.is_empty() => {
                ok("statement_logging", "No setting writes statement parameters to the log.")
            }
            Finding::StatementLogging(settings) => warn(
                "statement_logging",
                format!(
                    "Statement parameters, including codes and imported secrets, can be logged: {}.",
                    joined(&settings)
                ),
                "Set log_parameter_max_length, log_parameter_max_length_on_error and \
                 auto_explain.log_parameter_max_length to 0, and turn off auto_explain.log_verbose, \
                 pgaudit.log_parameter and debug_print_plan, for all roles and databases.",
            ),
            Finding::Settings(settings) if settings.is_empty() => {
                ok("settings", "All settings of the extension have their default values.")
            }
            Finding::Settings(settings) => ok(
                "settings",
                format!("These settings differ from their defaults: {}.", joined(&settings)),
            ),
            Finding::JwtLogins(missing) if missing.is_empty() => {
                ok("jwt_logins", "All login roles listed in totp.jwt_logins exist.")
            }
            Finding::JwtLogins(missing) => warn(
                "jwt_logins",
                format!(
                    "totp.jwt_logins lists roles that do not exist: {}. Whoever can create roles can \
                     create them and claim to be any user.",
                    missing.join(", ")
                ),
                "Remove them from totp.jwt_logins. If there is no API server, set it to an empty string.",
            ),
            Finding::RoleAttributes(roles) if roles.is_empty() => ok(
                "role_attributes",
                "None of the extension's roles can log in or has other attributes.",
            ),
            Finding::RoleAttributes(roles) => fail(
                "role_attributes",
                format!("These roles are not as the extension created them: {}.", roles.join(", ")),
                "Rename or re-create missing roles, and remove the attributes with ALTER ROLE ... \
                 NOLOGIN NOSUPERUSER NOCREATEROLE NOCREATEDB NOREPLICATION NOBYPASSRLS.",
            ),
            Finding::MembersOfOwner(members) if members.is_empty() => {
                ok("owner_members", "Nobody is a member of totp_owner.")
            }
            Finding::MembersOfOwner(members) => fail(
                "owner_members",
                format!("Members can read and change all tables: {}.", members.join(", ")),
                "Revoke totp_owner from its members.",
            ),
            Finding::Admins(admins) if admins.is_empty() => {
                ok("role_admins", "Only superusers can grant the extension's roles.")
            }
            Finding::Admins(admins) => warn(
                "role_admins",
                format!("These roles can grant the extension's roles: {}.", admins.join(", ")),
                "Revoke ADMIN OPTION from roles that should not decide who has these roles.",
            ),
            Finding::Members(members) if members.is_empty() => {
                ok("role_members", "Only superusers have the extension's roles.")
            }
            Finding::Members(members) => ok("role_members", format!("{}.", members.join(", "))),
            Finding::Grants(grants) if grants.is_empty() => {
                ok("grants", "There are no privileges other than those granted by the extension.")
            }
            Finding::Grants(grants) => warn(
                "grants",
                format!("The extension did not grant these privileges: {}.", grants.join(", ")),
                "Revoke them, and grant the extension's roles instead.",
            ),
            Finding::Owners(owners) if owners.is_empty() => ok(
                "owners",
                "Tables and privileged functions belong to totp_owner, everything else to a superuser.",
            ),
            Finding::Owners(owners) => fail(
                "owners",
                format!("These objects have the wrong owner: {}.", owners.join(", ")),
                "Tables, views, sequences and SECURITY DEFINER functions must belong to totp_owner, \
                 everything else to a superuser: use ALTER ... OWNER TO.",
            ),
            Finding::Collations(others) if others.is_empty() => {
                ok("collation", "Accounts are found regardless of the database's collation.")
            }
            Finding::Collations(others) => fail(
                "collation",
                format!("The collation of these objects should be \"C\": {}.", others.join(", ")),
                "Restore the original definitions, then run REINDEX SCHEMA totp. With any other \
                 collation, accounts might not be found after an upgrade of the operating system.",
            ),
            Finding::NewOrder => warn(
                "collation",
                "The sort order of the database's collation has changed. The extension's tables do not \
                 depend on it, but indexes on your tables might miss rows.",
                "Run REINDEX DATABASE, then ALTER DATABASE ... REFRESH COLLATION VERSION.",
            ),
            Finding::AuditSequence { is_behind: false } => {
                ok("audit_sequence", "New entries in the audit trail get new IDs.")
            }
            Finding::AuditSequence { is_behind: true } => warn(
                "audit_sequence",
                "The sequence of the audit trail is behind its entries, so IDs will be repeated. \
                 Logical replication does not copy sequences.",
                "SELECT setval('totp.audit_events_id_seq', max(id)) FROM totp.audit_events;",
            ),
            Finding::AuditSeal { is_late: false, last: None } => {
                ok("audit_seal", "No entry of the audit trail has been left unsealed for a day.")
            }
            Finding::AuditSeal { is_late: false, last: Some(last) } => ok(
                "audit_seal",
                format!(
                    "No entry of the audit trail has been left unsealed for a day. The last seal was \
                     made at {last} UTC."
                ),
            ),
            Finding::AuditSeal { is_late: true, last } => warn(
                "audit_seal",
                format!(
                    "Entries of the audit trail have not been sealed for a day: their removal would not \
                     be noticed. {}",
                    match last {
                        Some(last) => format!("The last seal was made at {last} UTC."),
                        None => "There is no seal.".to_owned(),
                    }
                ),
                "Call totp.audit_seal() at regular intervals; a transaction that never ends holds it up.",
            ),
            Finding::UnusedKeys(ids) if ids.is_empty() => ok(
                "unused_keys",
                "This database needs every key in the keyring, or only the first.",
            ),
            Finding::UnusedKeys(ids) => warn(
                "unused_keys",
                format!(
                    "Nothing in this database needs these keys, neither rows nor the audit trail: {}.",
                    ids.join(", ")
                ),
                "Remove them from the keyring, unless another database on the server, or a backup that \
                 you might restore, needs them. Trusted devices and links that they signed are then \
                 refused.",
            ),
            Finding::ExpiredRows { count: 0, .. } => {
                ok("expired_rows", "No rows are left that expired more than a day ago.")
            }
            Finding::ExpiredRows { count, are_many: false } => {
                ok("expired_rows", format!("Rows that expired more than a day ago: {count}."))
            }
            Finding::ExpiredRows { count, are_many: true } => warn(
                "expired_rows",
                format!(
                    "At least {count} rows expired more than a day ago: pending factors, tokens, sessions \
                     or events."
                ),
                "Call totp.totp_prune() at regular intervals.",
            ),
            Finding::LocalLogins => ok(
                "network_logins",
                "The server listens on no address that other machines can reach.",
            ),
            Finding::UnknownLogins => warn(
                "network_logins",
                "Your role cannot read the rules in pg_hba.conf, so it is unknown whether logins over the \
                 network are encrypted.",
                "Call preflight as a superuser, or GRANT EXECUTE ON FUNCTION pg_hba_file_rules() to your \
                 role.",
            ),
            Finding::NetworkLogins(rules) if rules.is_empty() => ok(
                "network_logins",
                "According to pg_hba.conf, logins from other machines are encrypted or refused.",
            ),
            Finding::NetworkLogins(rules) => warn(
                "network_logins",
                format!(
                    "Codes and new secrets can be read on the network: pg_hba.conf allows logins without \
                     encryption in {}.",
                    rules
                        .iter()
                        .map(|(line, kind)| format!("line {line} ({kind})"))
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
                "Write hostssl instead, and let clients use sslmode=verify-full.",
            ),
            Finding::UnknownStandbys => warn(
                "standby_clocks",
                "Your role cannot see the state of standbys, so their clocks are unknown.",
                "Call preflight as a superuser or as a member of pg_monitor.",
            ),
            Finding::StandbyClocks(off) if off.is_empty() => ok(
                "standby_clocks",
                "No standby is connected whose clock differs from this server's.",
            ),
            Finding::StandbyClocks(off) => warn(
                "standby_clocks",
                format!(
                    "Compared with this server's clock, the last reply of a standby is from another time: \
                     {}.",
                    off.iter()
                        .map(|(name, ahead)| format!("{name} {ahead:+.0} s"))
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
                "Synchronize the clocks of both servers: after a promotion, codes are checked by the \
                 standby's clock. If it does not reply, check wal_receiver_status_interval.",
            ),
            Finding::TenantFunction(None) => {
                ok("tenant_function", "All accounts have the same defaults.")
            }
            Finding::TenantFunction(Some(true)) => {
                ok("tenant_function", "The function named by totp.tenant_function exists.")
            }
            Finding::TenantFunction(Some(false)) => {
                error_found("tenant_function", Error::NoTenantFunction)
            }
            Finding::Clock(false) => ok("clock", "The time comes from the operating system."),
            Finding::Clock(true) => fail(
                "clock",
                "totp.clock is set: time stands still, and each code is valid either forever or never.",
                "Reset totp.clock for the server, the database and the role.",
            ),
            Finding::Fsync(true) => {
                ok("fsync", "Codes spent before a crash remain spent after it.")
            }
            Finding::Fsync(false) => fail(
                "fsync",
                "It is off: a crash can make spent codes valid again.",
                "Set fsync = on.",
            ),
            Finding::FullPageWrites(true) => ok(
                "full_page_writes",
                "A crash while a page is being written does not damage the page.",
            ),
            Finding::FullPageWrites(false) => warn(
                "full_page_writes",
                "It is off: a crash can damage rows unless the file system writes pages atomically.",
                "Set full_page_writes = on.",
            ),
            Finding::Citus(Ok(())) => {
                ok("citus", "The tables are on this node, and Citus does not manage them.")
            }
            Finding::Citus(Err(error)) => error_found("citus", error),
            Finding::BurnOnRollback(true) => {
                ok("burn_on_rollback", "A code remains spent when its transaction is rolled back.")
            }
            Finding::BurnOnRollback(false) => warn(
                "burn_on_rollback",
                "It is off: rolling back a transaction makes its code valid again.",
                "Set totp.burn_on_rollback = on, unless the application retries transactions.",
            ),
            Finding::ColdStart(true) => {
                ok("cold_start", "Codes from before the server started are refused.")
            }
            Finding::ColdStart(false) => warn(
                "cold_start",
                "It is off: after a crash or a promotion, a spent code might be valid again.",
                "Set totp.cold_start = on.",
            ),
            Finding::ForceSyncCommit(true) => ok(
                "force_sync_commit",
                "A transaction that spends a code waits until its commit is on disk.",
            ),
            Finding::ForceSyncCommit(false) => warn(
                "force_sync_commit",
                "It is off: with synchronous_commit = off, a crash can make spent codes valid again.",
                "Set totp.force_sync_commit = on.",
            ),
        }
    }
}

fn ok(name: &'static str, detail: impl Into<String>) -> Check {
    Check { name, status: Status::Ok, detail: detail.into(), hint: None }
}

fn warn(name: &'static str, detail: impl Into<String>, hint: &str) -> Check {
    Check { name, status: Status::Warn, detail: detail.into(), hint: Some(hint.to_owned()) }
}

fn fail(name: &'static str, detail: impl Into<String>, hint: &str) -> Check {
    Check { status: Status::Fail, ..warn(name, detail, hint) }
}

fn error_found(name: &'static str, error: Error) -> Check {
    let report = ErrorReport::from(error);
    let detail = [report.message(), report.detail().unwrap_or_default()].join(": ");
    fail(name, detail, report.hint().unwrap_or_default())
}

fn joined(settings: &[Configured]) -> String {
    settings.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

pub(super) fn list(keys: &KeyRows) -> String {
    let named = keys.iter().map(|(key_id, rows)| format!("with key {key_id}: {rows}"));
    format!("Rows encrypted {}.", named.collect::<Vec<_>>().join(", "))
}
