//! The table `sessions`: which sessions are verified, and since when.

use super::plan::{Statement, TEXT, TIME, plans};
use crate::error::Error;
use crate::pure::name::Account;
use crate::pure::timestamp::Timestamp;
use std::ops::RangeInclusive;

plans! {
    MARK_VERIFIED(TEXT, TEXT, TIME, TEXT) =
        "INSERT INTO totp.sessions (account, session_id, verified_at, method, changed_at)
         SELECT account, $2, $3, $4, changed_at FROM totp.accounts WHERE account::text = $1
         ON CONFLICT (account, session_id) DO UPDATE
         SET verified_at = excluded.verified_at, method = excluded.method,
             changed_at = excluded.changed_at";
    SWEEP(TEXT, TIME) =
        "DELETE FROM totp.sessions WHERE account::text = $1 AND session_id = ANY (ARRAY(
             SELECT session_id FROM totp.sessions
             WHERE account::text = $1 AND verified_at <= $2 FOR UPDATE SKIP LOCKED))";
    VERIFIED(TEXT, TEXT, TIME, TIME, TIME) =
        "SELECT EXISTS (
             SELECT FROM totp.sessions AS s
             JOIN totp.accounts AS a ON a.account::text = s.account::text
             WHERE s.account::text = $1 AND s.session_id = $2 AND s.verified_at BETWEEN $3 AND $4
               AND s.changed_at = a.changed_at AND (a.recovery_at <= $5) IS NOT TRUE)";
    METHOD(TEXT, TEXT) =
        "SELECT s.method::text FROM totp.sessions AS s JOIN totp.accounts AS a ON a.account::text = s.account::text
         WHERE s.account::text = $1 AND s.session_id = $2 AND s.changed_at = a.changed_at";
    END(TEXT, TEXT) =
        "DELETE FROM totp.sessions WHERE account::text = $1 AND method::text = $2";
    PRUNE(TIME) =
        "DELETE FROM totp.sessions WHERE (account, session_id) IN (
             SELECT account, session_id FROM totp.sessions WHERE verified_at <= $1
             FOR UPDATE SKIP LOCKED)";
}

/// A session of an account.
pub struct Session {
    /// The account.
    pub account: Account,
    /// An ID that is unique among the account's sessions. A session without one is never verified.
    pub id: Option<String>,
}

/// Records that a session is verified, if it has an ID.
pub fn mark_verified(session: &Session, now: Timestamp, method: &str) -> Result<(), Error> {
    match session.id.as_deref() {
        Some(id) => {
            MARK_VERIFIED.run(&[(&session.account).into(), id.into(), now.into(), method.into()])
        }
        None => Ok(()),
    }
}

/// Removes the account's sessions verified up to `ended`. Sessions of other accounts are left
/// alone, so that they need not wait for this transaction.
pub fn sweep(account: &Account, ended: Timestamp) -> Result<(), Error> {
    SWEEP.run(&[account.into(), ended.into()])
}

/// Returns whether a session was verified within a time range, with no change to the factors since,
/// and no recovery that has taken effect.
pub fn is_verified(
    session: &Session,
    time: RangeInclusive<Timestamp>,
    now: Timestamp,
) -> Result<bool, Error> {
    let (since, until) = (*time.start(), *time.end());
    match session.id.as_deref() {
        Some(id) => {
            let account = &session.account;
            VERIFIED.value(&[account.into(), id.into(), since.into(), until.into(), now.into()])
        }
        None => Ok(false),
    }
}

/// Returns by which kind of code a session was last verified, with no change to the factors since.
pub fn method(session: &Session) -> Result<Option<String>, Error> {
    match session.id.as_deref() {
        Some(id) => METHOD.row(&[(&session.account).into(), id.into()], |row| row.get(1)),
        None => Ok(None),
    }
}

/// Removes the account's sessions that were last verified by a kind of code. Returns `false` if there
/// were none.
pub fn end(account: &Account, method: &str) -> Result<bool, Error> {
    Ok(END.execute(&[account.into(), method.into()])? > 0)
}

/// Removes sessions verified up to `ended` and returns their number.
pub fn prune(ended: Timestamp) -> Result<usize, Error> {
    PRUNE.execute(&[ended.into()])
}
