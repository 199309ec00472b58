//! Rows of any table that are encrypted with an older key. They are found page by page, so a table
//! of millions needs no index on its keys.

use super::plan::{BIGINT, INT, Row, Statement, TEXT, TEXTS, plans};
use crate::clock;
use crate::error::Error;
use crate::pure::keyring::{AssociatedData, Ciphertext};
use crate::pure::timestamp::Timestamp;
use pgrx::datum::TimestampWithTimeZone;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Number of slices that the rows of a page are divided into, a power of two. The rows of one slice
/// are so few that their new versions mostly fit on the same page. Then no index is written, and
/// the next slice reuses the space of the old versions, so the table hardly grows.
pub const SLICES: i32 = 8;

plans! {
    COUNT(TEXT) =
        "SELECT (SELECT count(*) FROM totp.factors WHERE key_id::text <> $1)
              + (SELECT count(*) FROM totp.backup_codes WHERE key_id::text <> $1)
              + (SELECT count(*) FROM totp.hardware_tokens WHERE key_id::text <> $1)";
    KEYS() =
        "SELECT key_id, sum(rows)::bigint
         FROM (SELECT key_id::text, count(*) FROM totp.factors GROUP BY key_id
               UNION ALL
               SELECT key_id::text, count(*) FROM totp.backup_codes GROUP BY key_id
               UNION ALL
               SELECT key_id::text, count(*) FROM totp.hardware_tokens GROUP BY key_id)
              AS used (key_id, rows)
         GROUP BY key_id ORDER BY key_id";
    HAS_ROWS() =
        "SELECT EXISTS (SELECT FROM totp.factors) OR EXISTS (SELECT FROM totp.backup_codes)
             OR EXISTS (SELECT FROM totp.hardware_tokens)";
    PAGES_OF(TEXT) =
        "SELECT pg_relation_size($1::regclass) / current_setting('block_size')::bigint";
    FACTORS(TEXT, TEXT, TEXT, INT, INT, BIGINT) =
        "SELECT ctid::text, account::text, sealed, key_id::text, label::text, created_at
         FROM totp.factors
         WHERE ctid > $1::tid AND ctid < $2::tid AND key_id::text <> $3 AND hashtid(ctid) & $4 = $5
         LIMIT $6 FOR NO KEY UPDATE SKIP LOCKED";
    BACKUP_CODES(TEXT, TEXT, TEXT, INT, INT, BIGINT) =
        "SELECT ctid::text, account::text, sealed, key_id::text, salt::bytea
         FROM totp.backup_codes
         WHERE ctid > $1::tid AND ctid < $2::tid AND key_id::text <> $3 AND hashtid(ctid) & $4 = $5
         LIMIT $6 FOR NO KEY UPDATE SKIP LOCKED";
    HARDWARE_TOKENS(TEXT, TEXT, TEXT, INT, INT, BIGINT) =
        "SELECT ctid::text, serial::text, sealed, key_id::text, created_at
         FROM totp.hardware_tokens
         WHERE ctid > $1::tid AND ctid < $2::tid AND key_id::text <> $3 AND hashtid(ctid) & $4 = $5
         LIMIT $6 FOR NO KEY UPDATE SKIP LOCKED";
    // Checks the key ID once, not per row.
    UPDATE_FACTORS(TEXTS, TEXTS, TEXT) =
        "WITH key AS MATERIALIZED (SELECT $3::totp.key_id AS id)
         UPDATE totp.factors AS old SET sealed = fresh.sealed, key_id = key.id
         FROM key, unnest($1::tid[], $2) AS fresh (row, sealed) WHERE old.ctid = fresh.row";
    UPDATE_BACKUP_CODES(TEXTS, TEXTS, TEXT) =
        "WITH key AS MATERIALIZED (SELECT $3::totp.key_id AS id)
         UPDATE totp.backup_codes AS old SET sealed = fresh.sealed, key_id = key.id
         FROM key, unnest($1::tid[], $2) AS fresh (row, sealed) WHERE old.ctid = fresh.row";
    UPDATE_HARDWARE_TOKENS(TEXTS, TEXTS, TEXT) =
        "WITH key AS MATERIALIZED (SELECT $3::totp.key_id AS id)
         UPDATE totp.hardware_tokens AS old SET sealed = fresh.sealed, key_id = key.id
         FROM key, unnest($1::tid[], $2) AS fresh (row, sealed) WHERE old.ctid = fresh.row";
    ANNOUNCE() =
        "SELECT pg_try_advisory_xact_lock_shared('totp.accounts'::regclass::oid::integer, 0)";
}

/// Returns every key that encrypted a row, and the number of its rows.
pub fn keys() -> Result<Vec<(String, i64)>, Error> {
    KEYS.rows(&[], |row| Ok((row.get(1)?, row.get(2)?)))
}

/// Returns whether there are any encrypted rows.
pub fn has_rows() -> Result<bool, Error> {
    HAS_ROWS.value(&[])
}

/// A table with ciphertexts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Table {
    /// `factors`.
    Factors,
    /// `backup_codes`.
    BackupCodes,
    /// `hardware_tokens`.
    HardwareTokens,
}

impl Table {
    /// All tables, in the order in which they are rotated.
    pub const ALL: [Self; 3] = [Self::Factors, Self::BackupCodes, Self::HardwareTokens];

    /// Returns the next table; `None` after the last.
    pub fn next(self) -> Option<Self> {
        Self::ALL.into_iter().skip_while(|table| *table != self).nth(1)
    }

    /// Returns how many pages the table has.
    pub fn pages(self) -> Result<i64, Error> {
        let name = match self {
            Self::Factors => "totp.factors",
            Self::BackupCodes => "totp.backup_codes",
            Self::HardwareTokens => "totp.hardware_tokens",
        };
        PAGES_OF.value(&[name.into()])
    }
}

/// The columns that a row's ciphertext is bound to.
enum Identity {
    Factor { account: String, label: String, made_at: Timestamp },
    BackupCodes { account: String, salt: Vec<u8> },
    HardwareToken { serial: String, made_at: Timestamp },
}

/// A row with an older key, locked by this transaction.
pub struct OutdatedRow {
    /// The row's page, and its position on the page.
    position: (i64, i64),
    identity: Identity,
    /// The row's ciphertext.
    pub ciphertext: Ciphertext,
}

impl OutdatedRow {
    /// Returns the associated data of the ciphertext.
    pub fn associated_data(&self) -> AssociatedData<'_> {
        match &self.identity {
            Identity::Factor { account, label, made_at } => {
                AssociatedData::factor(account, label, *made_at)
            }
            Identity::BackupCodes { account, salt } => AssociatedData::backup_codes(account, salt),
            Identity::HardwareToken { serial, made_at } => {
                AssociatedData::hardware_token(serial, *made_at)
            }
        }
    }
}

impl fmt::Display for OutdatedRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.identity {
            Identity::Factor { account, label, .. } => write!(f, "factor {label:?} of {account:?}"),
            Identity::BackupCodes { account, .. } => write!(f, "backup codes of {account:?}"),
            Identity::HardwareToken { serial, .. } => write!(f, "hardware token {serial:?}"),
        }
    }
}

/// The range in which a batch looks for rows.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct ScanRange {
    /// The row position, a page and a position on it, after which the range begins.
    pub after: (i64, i64),
    /// The page before which the range ends.
    pub end: i64,
    /// The slice of each page's rows, from 0.
    pub slice: i32,
    /// How many slices there are: `SLICES`, or 1 for all rows at once.
    pub slices: i32,
}

/// The rows of one batch.
pub struct Batch {
    /// The rows.
    pub rows: Vec<OutdatedRow>,
    /// The position of the last row, if the range may have more.
    pub last: Option<(i64, i64)>,
}

/// Shows other sessions, until the end of the transaction, that this session is rotating keys.
pub fn announce() -> Result<(), Error> {
    ANNOUNCE.rows(&[], |_| Ok(()))?;
    Ok(())
}

/// Locks and reads up to `limit` rows that are not encrypted with `key_id`. Skips rows that another
/// transaction holds.
pub fn take(table: Table, range: ScanRange, key_id: &str, limit: i64) -> Result<Batch, Error> {
    let ScanRange { after, end, slice, slices } = range;
    let (from, to) = (tid(after), tid((end, 0)));
    let arguments = [
        from.as_str().into(),
        to.as_str().into(),
        key_id.into(),
        (slices - 1).into(),
        slice.into(),
        limit.into(),
    ];
    let rows = match table {
        Table::Factors => FACTORS.rows(&arguments, factor)?,
        Table::BackupCodes => BACKUP_CODES.rows(&arguments, backup_codes)?,
        Table::HardwareTokens => HARDWARE_TOKENS.rows(&arguments, hardware_token)?,
    };
    let is_full = rows.len() as i64 == limit;
    // A row that a login has just moved has a new position, which may be anywhere. If it is in the
    // range, rows before it may be skipped: they are left for the next pass.
    let is_on_the_way = |position: &(i64, i64)| after < *position && *position < (end, 0);
    let last = rows.iter().map(|row| row.position).filter(is_on_the_way).max();
    Ok(Batch { last: last.filter(|_| is_full), rows })
}

/// Writes the re-encrypted ciphertexts of rows that `take` has locked.
pub fn reencrypt(
    table: Table,
    rows: &[(&OutdatedRow, Ciphertext)],
    key_id: &str,
) -> Result<(), Error> {
    let positions: Vec<String> = rows.iter().map(|(row, _)| tid(row.position)).collect();
    let tokens: Vec<&str> = rows.iter().map(|(_, ciphertext)| ciphertext.token.as_str()).collect();
    let arguments = [positions.into(), tokens.into(), key_id.into()];
    match table {
        Table::Factors => UPDATE_FACTORS.execute(&arguments)?,
        Table::BackupCodes => UPDATE_BACKUP_CODES.execute(&arguments)?,
        Table::HardwareTokens => UPDATE_HARDWARE_TOKENS.execute(&arguments)?,
    };
    Ok(())
}

/// Returns how many rows of all tables are not encrypted with `key_id`.
pub fn count(key_id: &str) -> Result<i64, Error> {
    COUNT.value(&[key_id.into()])
}

fn factor(row: &Row) -> Result<OutdatedRow, Error> {
    let made_at: TimestampWithTimeZone = row.get(6)?;
    let (account, label) = (row.get(2)?, row.get(5)?);
    outdated_row(row, Identity::Factor { account, label, made_at: clock::from_sql(&made_at) })
}

fn backup_codes(row: &Row) -> Result<OutdatedRow, Error> {
    outdated_row(row, Identity::BackupCodes { account: row.get(2)?, salt: row.get(5)? })
}

fn hardware_token(row: &Row) -> Result<OutdatedRow, Error> {
    let made_at: TimestampWithTimeZone = row.get(5)?;
    let made_at = clock::from_sql(&made_at);
    outdated_row(row, Identity::HardwareToken { serial: row.get(2)?, made_at })
}

fn outdated_row(row: &Row, identity: Identity) -> Result<OutdatedRow, Error> {
    Ok(OutdatedRow {
        position: position(&row.get::<String>(1)?).ok_or(Error::Corrupt("row position"))?,
        identity,
        ciphertext: Ciphertext { token: row.get(3)?, key_id: row.get(4)? },
    })
}

fn tid((page, item): (i64, i64)) -> String {
    format!("({page},{item})")
}

fn position(tid: &str) -> Option<(i64, i64)> {
    let (page, item) = tid.strip_prefix('(')?.strip_suffix(')')?.split_once(',')?;
    Some((page.parse().ok()?, item.parse().ok()?))
}
