//! The table `audit_events`.

use super::plan::{BIGINT, BIGINTS, BYTEA, Row, Statement, TEXT, TEXTS, TIME, plans};
use crate::clock;
use crate::error::Error;
use crate::pure::audit::{Entry, canonical};
use crate::pure::keyring::hex;
use crate::pure::timestamp::Timestamp;

/// The statement that reads entries that meet a condition, in the order of a seal.
macro_rules! reading {
    ($condition:literal) => {
        concat!(
            "SELECT id, at, account, event, outcome, actor, client, application, detail::text,
                    origin, xid, key_id, mac
             FROM totp.audit_events WHERE ",
            $condition,
            " ORDER BY id, at LIMIT 5000"
        )
    };
}

plans! {
    ENTRIES(BIGINT, TIME, BIGINT) =
        reading!("(id, at) > ($1, $2) AND id <= $3");
    UNSEALED(BIGINT, TIME, BIGINT, BIGINT, BIGINT) =
        reading!("(id, at) > ($1, $2) AND origin = $3 AND xid >= $4 AND xid < $5");
    WITH_ID(BIGINT) =
        reading!("id = $1");
    PRUNES() =
        reading!("event = 'audit_prune'");
    // Entries of a seal end with its last ID; later ones of the same transactions do not exist.
    PRUNE(BIGINT) =
        "WITH sealed AS (
             SELECT origin, max(to_xid) AS to_xid, max(upper(ids)) AS to_id
             FROM totp.audit_seals WHERE id <= $1 GROUP BY origin)
         DELETE FROM totp.audit_events AS e USING sealed AS s
         WHERE e.origin = s.origin AND e.xid < s.to_xid AND e.id < s.to_id";
    APPEND(BIGINT, TIME, TEXT, TEXT, TEXT, TEXT, TEXT, TEXT, TEXT, BIGINT, BIGINT, TEXT, BYTEA) =
        "INSERT INTO totp.audit_events
             (id, at, account, event, outcome, actor, client, application, detail, origin, xid,
              key_id, mac)
         OVERRIDING SYSTEM VALUE
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::jsonb, $10, $11, $12, $13)";
    APPEND_ALL(
        BIGINTS, TIME, TEXTS, TEXT, TEXT, TEXT, TEXT, TEXT, TEXTS, BIGINT, BIGINT, TEXT, TEXTS
    ) =
        "INSERT INTO totp.audit_events
             (id, at, account, event, outcome, actor, client, application, detail, origin, xid,
              key_id, mac)
         OVERRIDING SYSTEM VALUE
         SELECT e.id, $2, e.account, $4, $5, $6, $7, $8, e.detail::jsonb, $10, $11, $12,
                decode(e.mac, 'hex')
         FROM unnest($1, $3, $9, $13) AS e (id, account, detail, mac)";
}

/// A signed entry.
pub struct SignedEntry {
    /// The entry.
    pub entry: Entry,
    /// Its HMAC.
    pub mac: [u8; 32],
}

/// Appends an entry.
pub fn append(signed: &SignedEntry) -> Result<(), Error> {
    let entry = &signed.entry;
    APPEND.run(&[
        entry.id.into(),
        entry.at.into(),
        entry.account.as_str().into(),
        entry.event.as_ref().into(),
        entry.outcome.as_ref().into(),
        entry.actor.as_str().into(),
        entry.client.as_deref().into(),
        entry.application.as_deref().into(),
        entry.detail.as_deref().into(),
        entry.origin.into(),
        entry.xid.into(),
        entry.key_id.as_str().into(),
        signed.mac.as_slice().into(),
    ])
}

/// A stored entry and its MAC.
pub struct StoredEntry {
    /// The entry.
    pub entry: Entry,
    /// Its MAC.
    pub mac: Vec<u8>,
}

/// A position in the order of entries.
#[derive(Clone, Copy)]
pub struct Position {
    /// The ID of the last entry that was read.
    pub id: i64,
    /// Its time.
    pub at: Timestamp,
}

impl Position {
    /// The position just before an ID.
    pub fn before(id: i64) -> Self {
        Self { id: id.saturating_sub(1), at: Timestamp::from_micros(i64::MAX) }
    }
}

/// Returns some entries after a position, up to an ID. If there are none, that was all.
pub fn entries(after: Position, to_id: i64) -> Result<Vec<StoredEntry>, Error> {
    ENTRIES.rows(&[after.id.into(), after.at.into(), to_id.into()], read)
}

/// Returns some entries after a position, which transactions from `from_xid` up to, but without,
/// `to_xid` wrote in a database.
pub fn entries_of(
    after: Position,
    origin: i64,
    (from_xid, to_xid): (i64, i64),
) -> Result<Vec<StoredEntry>, Error> {
    let arguments =
        [after.id.into(), after.at.into(), origin.into(), from_xid.into(), to_xid.into()];
    UNSEALED.rows(&arguments, read)
}

/// Returns the entry with an ID.
pub fn entry(id: i64) -> Result<Option<StoredEntry>, Error> {
    WITH_ID.row(&[id.into()], read)
}

/// Returns the entries that say what was removed.
pub fn prunes() -> Result<Vec<StoredEntry>, Error> {
    PRUNES.rows(&[], read)
}

/// Removes the entries of all seals up to this one. Returns their number.
pub fn prune(to_seal: i64) -> Result<usize, Error> {
    PRUNE.execute(&[to_seal.into()])
}

fn read(row: &Row) -> Result<StoredEntry, Error> {
    let event: String = row.get(4)?;
    let outcome: String = row.get(5)?;
    let entry = Entry {
        id: row.get(1)?,
        at: clock::from_sql(&row.get(2)?),
        account: row.get(3)?,
        event: event.into(),
        outcome: outcome.into(),
        actor: row.get(6)?,
        client: row.optional(7)?,
        application: row.optional(8)?,
        detail: row.optional(9)?.map(canonical),
        origin: row.get(10)?,
        xid: row.get(11)?,
        key_id: row.get(12)?,
    };
    Ok(StoredEntry { entry, mac: row.get(13)? })
}

/// Appends entries of one call, which differ only in their IDs, accounts and details.
pub fn append_all(signed: &[SignedEntry]) -> Result<(), Error> {
    let Some(SignedEntry { entry: first, .. }) = signed.first() else {
        return Ok(());
    };
    let ids: Vec<i64> = signed.iter().map(|it| it.entry.id).collect();
    let accounts: Vec<String> = signed.iter().map(|it| it.entry.account.clone()).collect();
    let details: Vec<Option<String>> = signed.iter().map(|it| it.entry.detail.clone()).collect();
    let macs: Vec<String> = signed.iter().map(|it| hex(&it.mac)).collect();
    APPEND_ALL.run(&[
        ids.into(),
        first.at.into(),
        accounts.into(),
        first.event.as_ref().into(),
        first.outcome.as_ref().into(),
        first.actor.as_str().into(),
        first.client.as_deref().into(),
        first.application.as_deref().into(),
        details.into(),
        first.origin.into(),
        first.xid.into(),
        first.key_id.as_str().into(),
        macs.into(),
    ])
}
