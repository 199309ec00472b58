//! The rows of `preflight`: what each check found, and what to do about it.

use super::Error;
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

/// Key IDs, each with the number of rows encrypted with that key.
pub type KeyRows = Vec<(String, i64)>;

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
    /// Whether statement parameters are logged.
    StatementLogging(bool),
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
                "totp is not listed in it: a ROLLBACK undoes failures and spent codes.",
                "Add totp to shared_preload_libraries and restart the server.",
            ),
            Finding::KeyCommand => ok("key_source", "The keys come from totp.key_command."),
            Finding::KeyFile { in_data_directory: false } => {
                ok("key_source", "The key file is outside the data directory.")
            }
            Finding::KeyFile { in_data_directory: true } => warn(
                "key_source",
                "The key file is in the data directory: a physical backup contains both the secrets \
                 and the keys that decrypt them.",
                "Move it to a directory of its own, set totp.key_file accordingly, and reload the server.",
            ),
            Finding::KeyVariable => warn(
                "key_source",
                "The keys come from the server's environment, so changing them requires a restart.",
                "Put them into a file with mode 0600 and set totp.key_file to it.",
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
                fail("missing_keys", "No row needs a key.", "Restore the keyring.")
            }
            Finding::UnknownKeys(rows) => fail("missing_keys", list(&rows), "Restore the keyring."),
            Finding::MissingKeys(rows) if rows.is_empty() => {
                ok("missing_keys", "Every key that stored rows need is in the keyring.")
            }
            Finding::MissingKeys(rows) => fail(
                "missing_keys",
                list(&rows),
                "Add these keys to the keyring again, below the first key. A restored database needs \
                 the keyring that was in use when the backup was made.",
            ),
            Finding::OlderKeys(rows) if rows.is_empty() => ok(
                "key_rotation",
                "No row in this database is waiting to be re-encrypted with the first key.",
            ),
            Finding::OlderKeys(rows) => warn(
                "key_rotation",
                list(&rows),
                "CALL totp.key_rotate(); when no database of the server needs these keys any \
                 longer, remove them.",
            ),
            Finding::StatementLogging(false) => {
                ok("statement_logging", "No setting writes statement parameters to the log.")
            }
            Finding::StatementLogging(true) => warn(
                "statement_logging",
                "Statements are logged with their parameters, including codes and imported secrets.",
                "Set log_parameter_max_length = 0, or turn off log_statement, \
                 log_min_duration_statement, log_min_duration_sample and \
                 log_transaction_sample_rate.",
            ),
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
                "A crash during the write of a page does not damage the page.",
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

fn list(keys: &KeyRows) -> String {
    let named = keys.iter().map(|(key_id, rows)| format!("with key {key_id}: {rows}"));
    format!("Rows encrypted {}.", named.collect::<Vec<_>>().join(", "))
}
