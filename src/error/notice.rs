//! Notices and warnings.

use super::report;
use crate::pure::keyring::Unreadable;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use std::path::Path;

/// An imported secret is short.
pub fn weak_secret() {
    notice!("the imported secret has fewer than 128 bits");
}

/// What `key_generate` returns after it wrote the key file.
pub fn generated(key_id: &str, file: &Path, in_data_directory: bool) -> String {
    let advice = if in_data_directory {
        "; move it out of the data directory, where pg_basebackup copies it and pg_upgrade leaves it behind"
    } else {
        ""
    };
    format!("wrote key {key_id} to {}{advice}", file.display())
}

/// The library was loaded too late for shared memory.
pub fn not_preloaded() {
    log!("totp is not in shared_preload_libraries, so a rollback undoes failures and spent codes");
}

/// What a rotation of keys has to report.
pub enum Rotation {
    /// So many rows are done, of so many.
    Progress {
        /// Rows that are done.
        done: i64,
        /// All rows.
        total: i64,
    },
    /// It has ended.
    End {
        /// Rows that are done.
        done: i64,
        /// The key that they are encrypted with.
        key_id: String,
        /// What was left.
        unrotated: Vec<Unrotated>,
    },
}

/// Reports on a rotation of keys.
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

/// Why a rotation of keys left rows as they were. A warning: the others are done.
#[derive(Debug)]
pub enum Unrotated {
    /// They do not open.
    Unreadable {
        /// How many.
        rows: i64,
        /// Some of them, and why.
        named: Vec<(String, Unreadable)>,
    },
    /// Other transactions held them.
    InUse {
        /// How many.
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
                "Other transactions had them locked each time they were tried.",
                "Call key_rotate again after those transactions have ended.",
            ),
        }
    }
}
