//! The table `audit_events`.

use super::plan::{BYTEA, Plan, Statement, TEXT, TIME, plans};
use crate::error::Error;
use crate::pure::audit::Entry;
use pgrx::datum::DatumWithOid;
use std::thread::LocalKey;

/// The statement that appends an entry, whose values are its first seven parameters. It may follow
/// a WITH clause that makes the change.
macro_rules! appending {
    ($change:literal, $from:literal) => {
        concat!(
            $change,
            " INSERT INTO totp.audit_events (at, account, event, outcome, actor, detail, mac)
              SELECT $1, $2, $3, $4, $5, $6::jsonb, $7 ",
            $from
        )
    };
}
pub(super) use appending;

plans! {
    APPEND(TIME, TEXT, TEXT, TEXT, TEXT, TEXT, BYTEA) =
        appending!("", "");
}

/// A signed entry, written either alone or in one statement with the change that it reports.
pub struct SignedEntry {
    /// The entry.
    pub entry: Entry,
    /// Its HMAC.
    pub mac: [u8; 32],
}

impl SignedEntry {
    /// Returns the first seven parameters.
    pub(super) fn arguments(&self) -> Vec<DatumWithOid<'_>> {
        vec![
            self.entry.at.into(),
            self.entry.account.as_str().into(),
            self.entry.event.as_str().into(),
            self.entry.outcome.as_str().into(),
            self.entry.actor.as_str().into(),
            self.entry.detail.as_deref().into(),
            self.mac.as_slice().into(),
        ]
    }
}

/// Runs a statement, in its second form if there is an entry to append. Returns how many rows it
/// wrote.
pub(super) fn audited<'a, const N: usize>(
    (plain, appending): (&'static LocalKey<Plan>, &'static LocalKey<Plan>),
    entry: &'a Option<SignedEntry>,
    arguments: [DatumWithOid<'a>; N],
) -> Result<usize, Error> {
    match entry {
        Some(signed) => {
            let mut all = signed.arguments();
            all.extend(arguments);
            appending.execute(&all)
        }
        None => plain.execute(&arguments),
    }
}

/// Appends an entry.
pub fn append(signed: &SignedEntry) -> Result<(), Error> {
    APPEND.run(&signed.arguments())
}
