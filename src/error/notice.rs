//! Notices and warnings.

use super::report;
use crate::pure::keyring::Unreadable;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use std::path::Path;

/// Reports that an imported secret is short.
pub fn weak_secret() {
    notice!("the imported secret has fewer than 128 bits");
}

/// Reports that some secrets of a large import are short.
pub fn weak_secrets(count: u64) {
    match count {
        1 => notice!("1 of the imported secrets has fewer than 128 bits"),
        _ => notice!("{count} of the imported secrets have fewer than 128 bits"),
    }
}

/// Reports the progress of an import.
pub fn import_progress(done: usize) {
    notice!("{done} done so far");
}

/// Returns the result of `key_generate` after it wrote the key file.
pub fn generated(key_id: &str, file: &Path, in_data_directory: bool) -> String {
    let advice = if in_data_directory {
        "; move it out of the data directory, where pg_basebackup copies it and pg_upgrade leaves it behind"
    } else {
        ""
    };
    format!("wrote key {key_id} to {}{advice}", file.display())
}

/// Logs that the library was loaded too late for shared memory.
pub fn not_preloaded() {
    log!("totp is not in shared_preload_libraries, so a rollback undoes failures and spent codes");
}

/// Logs that a secret is handed out, whatever becomes of the transaction.
pub fn exported(account: &str, label: &str, actor: &str, reason: &str) {
    let message = format!("totp_export disclosed factor {label:?} of account {account:?}");
    let detail = format!("Login role: {actor:?}; reason: {reason:?}.");
    ErrorReport::new(PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION, message, "totp")
        .set_detail(detail)
        .report(PgLogLevel::LOG);
}

/// Reports the progress of a verification of the audit trail.
pub fn verified(done: i64, total: i64) {
    notice!("checked {done} entries; the seals count {total}");
}

/// The progress or the result of a key rotation.
pub enum Rotation {
    /// Some of the rows are done.
    Progress {
        /// The number of rows that are done.
        done: i64,
        /// The total number of rows.
        total: i64,
    },
    /// The rotation has ended.
    End {
        /// The number of rows that are done.
        done: i64,
        /// The ID of the key that encrypts them.
        key_id: String,
        /// The rows that were left unchanged.
        unrotated: Vec<Unrotated>,
    },
}

/// Reports the progress or the result of a key rotation.
pub fn rotation(report: Rotation) {
    match report {
        Rotation::Progress { done, total } => notice!("re-encrypted {done} of {total} rows"),
        Rotation::End { done, key_id, unrotated } => {
            notice!("re-encrypted {done} rows with key {key_id}");
            for rows in unrotated {
                ErrorReport::from(rows).report(PgLogLevel::WARNING);
            }
        }
    }
}

/// Why a key rotation left rows unchanged. This is a warning, because the other rows are done.
#[derive(Debug)]
pub enum Unrotated {
    /// They could not be decrypted.
    Unreadable {
        /// The number of rows.
        rows: i64,
        /// Some of the rows, each with the reason.
        named: Vec<(String, Unreadable)>,
    },
    /// Other transactions had them locked.
    InUse {
        /// The number of rows.
        rows: i64,
    },
}

impl From<Unrotated> for ErrorReport {
    fn from(unrotated: Unrotated) -> Self {
        const CODE: PgSqlErrorCode = PgSqlErrorCode::ERRCODE_WARNING;
        match unrotated {
            Unrotated::Unreadable { rows, named } => {
                let because = |(row, reason)| match reason {
                    Unreadable::UnknownKey(id) => format!("{row} (key {id} is not in the keyring)"),
                    Unreadable::Damaged => {
                        format!("{row} (it is damaged or was copied from another row)")
                    }
                };
                let named: Vec<String> = named.into_iter().map(because).collect();
                report(
                    CODE,
                    match rows {
                        1 => "1 row could not be decrypted and was left unchanged".to_owned(),
                        _ => format!("{rows} rows could not be decrypted and were left unchanged"),
                    },
                    format!("Affected rows include {}.", named.join("; ")),
                    "Add missing keys to the keyring and call key_rotate again; restore damaged rows \
                     from a backup, or have their accounts enrol again.",
                )
            }
            Unrotated::InUse { rows } => report(
                CODE,
                match rows {
                    1 => "1 row was in use and was left unchanged".to_owned(),
                    _ => format!("{rows} rows were in use and were left unchanged"),
                },
                "Other transactions held conflicting locks at each attempt.",
                "Call key_rotate again after those transactions have ended.",
            ),
        }
    }
}
