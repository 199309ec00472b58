//! Looks for what would make the second factor weaker, or lose secrets, before it does: the
//! checklist of a deployment as a query. Each check gives one row, also when all is well.

use crate::error::Error;
use crate::keys::{self, Origin};
use crate::pure::keyring::Keyring;
use crate::store::key_use::{self, KeyUse};
use crate::{guard, server, settings};
use pgrx::pg_sys::panic::ErrorReport;
use std::path::Path;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// As it should be.
    Ok,
    /// It works, but something is weaker than it could be.
    Warn,
    /// Something does not work, or protects nothing.
    Fail,
}

impl Status {
    /// The word in SQL.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// The result of one check.
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How it ended.
    pub status: Status,
    /// What was found.
    pub detail: String,
    /// What to do about it, when there is something to do.
    pub hint: Option<String>,
}

impl Check {
    fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, status: Status::Ok, detail: detail.into(), hint: None }
    }

    fn warn(name: &'static str, detail: impl Into<String>, hint: &str) -> Self {
        Self { name, status: Status::Warn, detail: detail.into(), hint: Some(hint.to_owned()) }
    }

    fn fail(name: &'static str, detail: impl Into<String>, hint: &str) -> Self {
        Self { status: Status::Fail, ..Self::warn(name, detail, hint) }
    }
}

/// All checks. Reads only.
pub fn checks() -> Result<Vec<Check>, Error> {
    let mut checks = vec![preload(), key_source()];
    checks.extend(keyring(&key_use::count()?));
    checks.extend([statement_logging(), clock(), fsync(), full_page_writes()]);
    checks.extend([burn_on_rollback(), cold_start(), force_sync_commit()]);
    Ok(checks)
}

fn preload() -> Check {
    const NAME: &str = "shared_preload_libraries";
    if guard::is_on() {
        return Check::ok(NAME, "Failures and spent codes survive a ROLLBACK.");
    }
    Check::warn(
        NAME,
        "totp is not listed in it: a ROLLBACK undoes failures and spent codes.",
        "Add totp to shared_preload_libraries and restart the server.",
    )
}

/// Who copies the data should not get the key along with them.
fn key_source() -> Check {
    const NAME: &str = "key_source";
    match keys::origin() {
        Ok(Some(Origin::Command)) => Check::ok(NAME, "The keys come from totp.key_command."),
        Ok(Some(Origin::File(file))) if is_in_data_directory(&file) => Check::warn(
            NAME,
            "The key file is in the data directory: a physical backup contains both the secrets \
             and the keys that decrypt them.",
            "Move it to a directory of its own, set totp.key_file accordingly, and reload the server.",
        ),
        Ok(Some(Origin::File(_))) => Check::ok(NAME, "The key file is outside the data directory."),
        Ok(Some(Origin::Variable)) => Check::warn(
            NAME,
            "The keys come from the server's environment, so changing them requires a restart.",
            "Put them into a file with mode 0600 and set totp.key_file to it.",
        ),
        // What is wrong with it is told by the check of the keyring.
        Ok(None) | Err(_) => Check::warn(
            NAME,
            "No source of encryption keys can be read.",
            "Set totp.key_file or totp.key_command.",
        ),
    }
}

fn is_in_data_directory(file: &Path) -> bool {
    match (file.canonicalize(), server::data_directory().canonicalize()) {
        (Ok(file), Ok(directory)) => file.starts_with(directory),
        _ => false,
    }
}

/// Whether there are keys, whether they open all rows, and whether rows wait for a rotation.
fn keyring(used: &[KeyUse]) -> Vec<Check> {
    const NAME: &str = "keyring";
    match keys::keyring() {
        Ok(keyring) => {
            let ids: Vec<&str> = keyring.ids().collect();
            let detail = format!("Key IDs: {}; the first key encrypts.", ids.join(", "));
            vec![Check::ok(NAME, detail), missing_keys(&keyring, used), rotation(&keyring, used)]
        }
        Err(error) => {
            let report = ErrorReport::from(error);
            let detail = [report.message(), report.detail().unwrap_or_default()].join(": ");
            let needed =
                if used.is_empty() { "No row needs a key.".to_owned() } else { list(used) };
            vec![
                Check::fail(NAME, detail, report.hint().unwrap_or_default()),
                Check::fail(MISSING_KEYS, needed, "Restore the keyring."),
            ]
        }
    }
}

const MISSING_KEYS: &str = "missing_keys";

fn missing_keys(keyring: &Keyring, used: &[KeyUse]) -> Check {
    let is_missing = |key: &&KeyUse| !keyring.ids().any(|id| id == key.key_id);
    let missing: Vec<&KeyUse> = used.iter().filter(is_missing).collect();
    if missing.is_empty() {
        return Check::ok(MISSING_KEYS, "Every key that stored rows need is in the keyring.");
    }
    Check::fail(
        MISSING_KEYS,
        list(missing),
        "Add these keys to the keyring again, below the first key. A restored database needs \
         the keyring that was in use when the backup was made.",
    )
}

fn rotation(keyring: &Keyring, used: &[KeyUse]) -> Check {
    const NAME: &str = "key_rotation";
    const HINT: &str = "CALL totp.key_rotate(); when no database of the server needs these keys any \
         longer, remove them.";
    let older: Vec<&KeyUse> = used
        .iter()
        .filter(|key| key.key_id != keyring.primary_id())
        .filter(|key| keyring.ids().any(|id| id == key.key_id))
        .collect();
    if older.is_empty() {
        return Check::ok(
            NAME,
            "No row in this database is waiting to be re-encrypted with the first key.",
        );
    }
    Check::warn(NAME, list(older), HINT)
}

fn list<'a>(keys: impl IntoIterator<Item = &'a KeyUse>) -> String {
    let named = keys.into_iter().map(|key| format!("with key {}: {}", key.key_id, key.rows));
    format!("Rows encrypted {}.", named.collect::<Vec<_>>().join(", "))
}

/// A code that is logged is worthless once accepted; a secret that is imported is not.
fn statement_logging() -> Check {
    const NAME: &str = "statement_logging";
    let is = |name, value: &str| server::setting(name).as_deref() == Some(value);
    let is_on = is(c"log_statement", "all")
        || !is(c"log_min_duration_statement", "-1")
        || !is(c"log_min_duration_sample", "-1")
        || !is(c"log_transaction_sample_rate", "0");
    if !is_on || is(c"log_parameter_max_length", "0") {
        return Check::ok(NAME, "No setting writes statement parameters to the log.");
    }
    Check::warn(
        NAME,
        "Statements are logged with their parameters, including codes and imported secrets.",
        "Set log_parameter_max_length = 0, or turn off log_statement, log_min_duration_statement, \
         log_min_duration_sample and log_transaction_sample_rate.",
    )
}

fn clock() -> Check {
    const NAME: &str = "clock";
    if settings::clock().is_none() {
        return Check::ok(NAME, "The time comes from the operating system.");
    }
    Check::fail(
        NAME,
        "totp.clock is set: time stands still, and each code is valid either forever or never.",
        "Reset totp.clock for the server, the database and the role.",
    )
}

fn fsync() -> Check {
    const NAME: &str = "fsync";
    if server::setting(c"fsync").as_deref() == Some("on") {
        return Check::ok(NAME, "Codes spent before a crash remain spent after it.");
    }
    Check::fail(NAME, "It is off: a crash can make spent codes valid again.", "Set fsync = on.")
}

fn full_page_writes() -> Check {
    const NAME: &str = "full_page_writes";
    if server::setting(c"full_page_writes").as_deref() == Some("on") {
        return Check::ok(NAME, "A crash during the write of a page does not damage the page.");
    }
    Check::warn(
        NAME,
        "It is off: a crash can damage rows unless the file system writes pages atomically.",
        "Set full_page_writes = on.",
    )
}

fn burn_on_rollback() -> Check {
    const NAME: &str = "burn_on_rollback";
    if settings::burn_on_rollback() {
        return Check::ok(NAME, "A code remains spent when its transaction is rolled back.");
    }
    Check::warn(
        NAME,
        "It is off: rolling back a transaction makes its code valid again.",
        "Set totp.burn_on_rollback = on, unless the application retries transactions.",
    )
}

fn cold_start() -> Check {
    const NAME: &str = "cold_start";
    if settings::cold_start() {
        return Check::ok(NAME, "Codes from before the server started are refused.");
    }
    Check::warn(
        NAME,
        "It is off: after a crash or a promotion, a spent code might be valid again.",
        "Set totp.cold_start = on.",
    )
}

fn force_sync_commit() -> Check {
    const NAME: &str = "force_sync_commit";
    if settings::force_sync_commit() {
        return Check::ok(
            NAME,
            "A transaction that spends a code waits until its commit is on disk.",
        );
    }
    Check::warn(
        NAME,
        "It is off: with synchronous_commit = off, a crash can make spent codes valid again.",
        "Set totp.force_sync_commit = on.",
    )
}
