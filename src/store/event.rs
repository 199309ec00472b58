//! The table `events`, from which the application reads what happened.

use super::plan::{BIGINT, INT, Row, Statement, TEXT, TEXTS, TIME, plans};
use crate::clock;
use crate::error::Error;
use crate::pure::event::Kind;
use crate::pure::name::Account;
use crate::pure::timestamp::Timestamp;
use pgrx::JsonB;

/// Maximum number of rows that a sweep removes.
const SWEPT: usize = 100;

/// A statement that appends events and announces them. Anybody can listen, so the notification says
/// nothing but that there is something.
macro_rules! notifying {
    ($insert:expr) => {
        concat!(
            "WITH added AS (",
            $insert,
            " RETURNING id) SELECT pg_notify('totp', id::text) FROM added"
        )
    };
}

/// The statement that appends an event.
macro_rules! inserting {
    () => {
        "INSERT INTO totp.events (at, account, event, detail) VALUES ($1, $2, $3, $4::jsonb)"
    };
}

/// The statement that appends one event for each account.
macro_rules! inserting_all {
    () => {
        "INSERT INTO totp.events (at, account, event, detail)
         SELECT $1, e.account, $3, e.detail::jsonb
         FROM unnest($2, $4) WITH ORDINALITY AS e (account, detail, place) ORDER BY place"
    };
}

plans! {
    APPEND(TIME, TEXT, TEXT, TEXT) =
        inserting!();
    APPEND_AND_NOTIFY(TIME, TEXT, TEXT, TEXT) =
        notifying!(inserting!());
    APPEND_ALL(TIME, TEXTS, TEXT, TEXTS) =
        inserting_all!();
    APPEND_ALL_AND_NOTIFY(TIME, TEXTS, TEXT, TEXTS) =
        notifying!(inserting_all!());
    // The arrays are read once, whatever plan was made for the table when it was small.
    SWEEP(TIME) =
        "DELETE FROM totp.events WHERE at < $1 AND id = ANY (ARRAY(
             SELECT id FROM totp.events WHERE at < $1 AND id = ANY (ARRAY(
                 SELECT id FROM totp.events ORDER BY id LIMIT 100))
             FOR UPDATE SKIP LOCKED))";
    // What is visible is committed, or this transaction's own; what is committed later gets a higher
    // position. A position of a transaction that is rolled back is not used again.
    NUMBER() =
        "UPDATE totp.events AS e SET position = n.position
         FROM (SELECT id, at, nextval('totp.events_position_seq') AS position
               FROM (SELECT id, at FROM totp.events WHERE position IS NULL ORDER BY id, at) AS waiting) AS n
         WHERE n.id = e.id AND n.at = e.at";
    // Logical replication copies positions, but not the sequence. One that was never used returns its
    // last value next.
    ADVANCE() =
        "SELECT setval('totp.events_position_seq', max(position)) FROM totp.events
         HAVING max(position) >= (
             SELECT last_value + is_called::integer FROM totp.events_position_seq)";
    READ(BIGINT, INT) =
        "SELECT position, id, at, account::text, event, detail FROM totp.events
         WHERE position > $1 ORDER BY position LIMIT $2";
    RENAME(TEXT, TEXT) =
        "UPDATE totp.events SET account = $2 WHERE account::text = $1";
    FORGET(TEXT) =
        "DELETE FROM totp.events WHERE account::text = $1";
    PRUNE(TIME) =
        "DELETE FROM totp.events WHERE at < $1";
}

/// A row of the table.
pub struct Event {
    /// Its place in the order in which events are read.
    pub position: i64,
    /// Its ID.
    pub id: i64,
    /// When it happened.
    pub at: Timestamp,
    /// The account.
    pub account: String,
    /// The name of its kind.
    pub event: String,
    /// Further details.
    pub detail: Option<JsonB>,
}

/// Appends an event.
pub fn append(
    at: Timestamp,
    account: &Account,
    kind: Kind,
    detail: Option<&str>,
    notify: bool,
) -> Result<(), Error> {
    let arguments = [at.into(), account.into(), kind.as_str().into(), detail.into()];
    if notify {
        APPEND_AND_NOTIFY.rows(&arguments, |_| Ok(())).map(|_| ())
    } else {
        APPEND.run(&arguments)
    }
}

/// Appends one event for each account.
pub fn append_all(
    at: Timestamp,
    accounts: Vec<String>,
    kind: Kind,
    details: Vec<Option<String>>,
    notify: bool,
) -> Result<(), Error> {
    let arguments = [at.into(), accounts.into(), kind.as_str().into(), details.into()];
    if notify {
        APPEND_ALL_AND_NOTIFY.rows(&arguments, |_| Ok(())).map(|_| ())
    } else {
        APPEND_ALL.run(&arguments)
    }
}

/// Removes some events that are older than a time, skipping those in use. Returns whether there are no
/// more.
pub fn sweep(before: Timestamp) -> Result<bool, Error> {
    Ok(SWEEP.execute(&[before.into()])? < SWEPT)
}

/// Gives all committed events a position. The caller has locked the sequence.
pub fn number() -> Result<(), Error> {
    ADVANCE.rows(&[], |_| Ok(()))?;
    NUMBER.run(&[])
}

/// Returns events after a position.
pub fn read(after: i64, max_rows: i32) -> Result<Vec<Event>, Error> {
    READ.rows(&[after.into(), max_rows.into()], |row: &Row| {
        Ok(Event {
            position: row.get(1)?,
            id: row.get(2)?,
            at: clock::from_sql(&row.get(3)?),
            account: row.get(4)?,
            event: row.get(5)?,
            detail: row.optional(6)?,
        })
    })
}

/// Renames the account of its events.
pub fn rename(account: &Account, new: &Account) -> Result<(), Error> {
    RENAME.run(&[account.into(), new.into()])
}

/// Removes the events of an account.
pub fn forget(account: &Account) -> Result<(), Error> {
    FORGET.run(&[account.into()])
}

/// Removes events that are older than a time. Returns their number.
pub fn prune(before: Timestamp) -> Result<usize, Error> {
    PRUNE.execute(&[before.into()])
}
