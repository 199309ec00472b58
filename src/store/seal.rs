//! The table `audit_seals`.

use super::plan::{BIGINT, BYTEA, Row, Statement, TEXT, TIME, plans};
use crate::clock;
use crate::error::Error;
use crate::pure::id_set::IdSet;
use crate::pure::merkle::Hash;
use crate::pure::seal::{Seal, SignedSeal};
use crate::pure::timestamp::Timestamp;
use pgrx::JsonB;
use pgrx::datum::DatumWithOid;

/// The columns of a seal, in the order in which they are read.
macro_rules! columns {
    ($prefix:literal, $suffix:literal) => {
        concat!(
            $prefix,
            " id, at, origin, from_xid, to_xid, entries, ids::text, first_at, last_at, root, previous,
              next_xid, next_id, key_id, mac ",
            $suffix
        )
    };
}

plans! {
    // Seals are made one after another; reading and logging in go on.
    LOCK() =
        "LOCK TABLE totp.audit_seals IN SHARE ROW EXCLUSIVE MODE";
    ALL() =
        columns!("SELECT", "FROM totp.audit_seals ORDER BY id");
    LAST() =
        columns!("SELECT", "FROM totp.audit_seals ORDER BY id DESC LIMIT 1");
    OF_ENTRY(BIGINT, BIGINT) =
        columns!("SELECT", "FROM totp.audit_seals WHERE origin = $1 AND $2 >= from_xid AND $2 < to_xid");
    // All entries of these seals are older than $1.
    LAST_BEFORE(TIME) =
        columns!(
            "SELECT",
            "FROM totp.audit_seals
             WHERE id < coalesce((SELECT min(id) FROM totp.audit_seals WHERE last_at >= $1),
                                 (SELECT max(id) + 1 FROM totp.audit_seals))
             ORDER BY id DESC LIMIT 1"
        );
    SEALED_TO(BIGINT) =
        "SELECT max(to_xid) FROM totp.audit_seals WHERE origin = $1";
    // Sessions that hold IDs in advance, or a sequence that was set back, make IDs say nothing.
    FLOOR(BIGINT, BIGINT, BIGINT) =
        "SELECT coalesce(max(next_id), 0)::bigint FROM totp.audit_seals
         WHERE origin = $1 AND next_xid <= $2
         HAVING coalesce((SELECT max(next_id) FROM totp.audit_seals WHERE origin = $1), 0) <= $3";
    LAST_ID() =
        "SELECT CASE WHEN seqcache = 1 AND seqincrement > 0
                     THEN (SELECT last_value FROM totp.audit_events_id_seq) ELSE -1 END
         FROM pg_sequence WHERE seqrelid = 'totp.audit_events_id_seq'::regclass";
    // All transactions before this one have ended.
    OLDEST_RUNNING() =
        "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint";
    // Entries that came from another database and that no seal closes, by origin.
    FOREIGN(BIGINT) =
        "SELECT e.origin, coalesce(s.to_xid, 0), max(e.xid) + 1
         FROM totp.audit_events AS e
         LEFT JOIN (SELECT origin, max(to_xid) AS to_xid FROM totp.audit_seals GROUP BY origin) AS s
             ON s.origin = e.origin
         WHERE e.origin <> $1 AND e.xid >= coalesce(s.to_xid, 0)
         GROUP BY e.origin, s.to_xid ORDER BY e.origin";
    INSERT(BIGINT, TIME, BIGINT, BIGINT, BIGINT, BIGINT, TEXT, TIME, TIME, BYTEA, BYTEA, BIGINT, BIGINT, TEXT, BYTEA) =
        "INSERT INTO totp.audit_seals
             (id, at, origin, from_xid, to_xid, entries, ids, first_at, last_at, root, previous,
              next_xid, next_id, key_id, mac)
         VALUES ($1, $2, $3, $4, $5, $6, $7::int8multirange, $8, $9, $10, $11, $12, $13, $14, $15)";
    DIGEST(BIGINT, TEXT, TIME, TIME, TEXT) =
        "SELECT jsonb_build_object(
             'database_name', $5::text, 'block_id', $1, 'hash', $2,
             'last_transaction_commit_time', to_char($3 AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US'),
             'digest_time', to_char($4 AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US'))";
}

/// Makes other calls that make a seal wait for the end of this transaction.
pub fn lock() -> Result<(), Error> {
    LOCK.run(&[])
}

/// Returns all seals in order.
pub fn all() -> Result<Vec<SignedSeal>, Error> {
    ALL.rows(&[], read)
}

/// Returns the last seal.
pub fn last() -> Result<Option<SignedSeal>, Error> {
    LAST.row(&[], read)
}

/// Returns the seal that closes entries of a transaction.
pub fn of_entry(origin: i64, xid: i64) -> Result<Option<SignedSeal>, Error> {
    OF_ENTRY.row(&[origin.into(), xid.into()], read)
}

/// Returns the last seal for which all entries, and those of the seals before, are older than a time.
pub fn last_before(before: Timestamp) -> Result<Option<SignedSeal>, Error> {
    LAST_BEFORE.row(&[before.into()], read)
}

/// Returns the first transaction of a database whose entries are not sealed.
pub fn sealed_to(origin: i64) -> Result<i64, Error> {
    let to_xid = SEALED_TO.row(&[origin.into()], |row| row.optional(1))?;
    Ok(to_xid.flatten().unwrap_or(0))
}

/// Returns an ID below those of all entries of a transaction and later ones. `last_id` is the last ID
/// that was drawn.
pub fn floor(origin: i64, from_xid: i64, last_id: i64) -> Result<i64, Error> {
    let arguments = [origin.into(), from_xid.into(), last_id.into()];
    Ok(FLOOR.row(&arguments, |row| row.get(1))?.unwrap_or(0))
}

/// Returns the last ID that was drawn, or −1 if IDs are not drawn in ascending order.
pub fn last_id() -> Result<i64, Error> {
    LAST_ID.value(&[])
}

/// Returns the oldest transaction that is still running.
pub fn oldest_running() -> Result<i64, Error> {
    OLDEST_RUNNING.value(&[])
}

/// Returns the databases, other than this one, whose entries are not all sealed, each with the range
/// of their transactions.
pub fn foreign(origin: i64) -> Result<Vec<(i64, i64, i64)>, Error> {
    FOREIGN.rows(&[origin.into()], |row| Ok((row.get(1)?, row.get(2)?, row.get(3)?)))
}

/// Returns a digest of a seal: its hash, in the format of Azure SQL Database's ledger.
pub fn digest(seal: &Seal, hash: &str, database: &str, now: Timestamp) -> Result<JsonB, Error> {
    DIGEST.value(&[seal.id.into(), hash.into(), seal.last_at.into(), now.into(), database.into()])
}

/// Appends a seal.
pub fn append(SignedSeal { seal, mac }: &SignedSeal) -> Result<(), Error> {
    let ids = seal.ids.to_string();
    let arguments: [DatumWithOid; 15] = [
        seal.id.into(),
        seal.at.into(),
        seal.origin.into(),
        seal.from_xid.into(),
        seal.to_xid.into(),
        seal.entries.into(),
        ids.as_str().into(),
        seal.first_at.into(),
        seal.last_at.into(),
        seal.root.as_slice().into(),
        seal.previous.as_slice().into(),
        seal.next_xid.into(),
        seal.next_id.into(),
        seal.key_id.as_str().into(),
        mac.as_slice().into(),
    ];
    INSERT.run(&arguments)
}

fn read(row: &Row) -> Result<SignedSeal, Error> {
    let time = |place| Ok::<_, Error>(clock::from_sql(&row.get(place)?));
    let hash = |place| -> Result<Hash, Error> {
        row.get::<Vec<u8>>(place)?.try_into().map_err(|_| Error::Corrupt("hash"))
    };
    let ids: String = row.get(7)?;
    let seal = Seal {
        id: row.get(1)?,
        at: time(2)?,
        origin: row.get(3)?,
        from_xid: row.get(4)?,
        to_xid: row.get(5)?,
        entries: row.get(6)?,
        // What is not a set of IDs does not fit the signature either.
        ids: IdSet::parse(&ids).unwrap_or_default(),
        first_at: time(8)?,
        last_at: time(9)?,
        root: hash(10)?,
        previous: hash(11)?,
        next_xid: row.get(12)?,
        next_id: row.get(13)?,
        key_id: row.get(14)?,
    };
    Ok(SignedSeal { seal, mac: row.get(15)? })
}
