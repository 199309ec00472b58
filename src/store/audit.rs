//! The table `audit_events`.

use super::plan::{BYTEA, Statement, TEXT, TEXTS, TIME, plans};
use crate::error::Error;
use crate::pure::audit::Entry;
use pgrx::datum::DatumWithOid;

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
    APPEND_ALL(TIME, TEXTS, TEXT, TEXT, TEXT, TEXTS, TEXTS) =
        "INSERT INTO totp.audit_events (at, account, event, outcome, actor, detail, mac)
         SELECT $1, e.account, $3, $4, $5, e.detail::jsonb, decode(e.mac, 'hex')
         FROM unnest($2, $6, $7) AS e (account, detail, mac)";
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

/// Appends an entry.
pub fn append(signed: &SignedEntry) -> Result<(), Error> {
    APPEND.run(&signed.arguments())
}

/// Appends entries that differ only in their accounts and details.
pub fn append_all(signed: &[SignedEntry]) -> Result<(), Error> {
    let Some(SignedEntry { entry: first, .. }) = signed.first() else {
        return Ok(());
    };
    let hex = |mac: &[u8; 32]| mac.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let accounts: Vec<String> = signed.iter().map(|it| it.entry.account.clone()).collect();
    let details: Vec<Option<String>> = signed.iter().map(|it| it.entry.detail.clone()).collect();
    let macs: Vec<String> = signed.iter().map(|it| hex(&it.mac)).collect();
    APPEND_ALL.run(&[
        first.at.into(),
        accounts.into(),
        first.event.as_str().into(),
        first.outcome.as_str().into(),
        first.actor.as_str().into(),
        details.into(),
        macs.into(),
    ])
}
