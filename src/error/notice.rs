//! Notices and warnings.

use super::report;
use crate::pure::keyring::Unreadable;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

/// An imported secret is short.
pub fn weak_secret() {
    notice!("the imported secret has fewer than 128 bits");
}

/// The library was loaded too late for shared memory.
pub fn not_preloaded() {
    log!("totp is not in shared_preload_libraries: a rollback undoes failures and spent codes");
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
                    Unreadable::UnknownKey(id) => format!("{row}: key {id} is not in the keyring"),
                    Unreadable::Damaged => format!("{row}: it does not open under its own key"),
                };
                let named: Vec<String> = named.into_iter().map(because).collect();
                report(
                    CODE,
                    format!("rows that do not open stay as they are: {rows}"),
                    format!("Among them: {}.", named.join("; ")),
                    "Add missing keys to the keyring and call key_rotate again; restore damaged rows, \
                     or let their accounts enrol again.",
                )
            }
            Unrotated::InUse { rows } => report(
                CODE,
                format!("rows that are in use stay as they are: {rows}"),
                "Other transactions held them each time they were looked for.",
                "Call key_rotate again when those have ended.",
            ),
        }
    }
}
