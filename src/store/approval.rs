//! The table `approvals`: actions that wait for a code, each for one use.

use super::plan::{BIGINT, BOOL, BYTEA, Row, Statement, TEXT, TIME, UUID, plans};
use crate::clock;
use crate::error::Error;
use crate::pure::approval::{Subject, Times};
use crate::pure::name::Account;
use crate::pure::timestamp::Timestamp;
use pgrx::Uuid;
use pgrx::datum::TimestampWithTimeZone;

plans! {
    INSERT(UUID, TEXT, TEXT, TEXT, TEXT, BYTEA, TEXT, TIME, TIME) =
        "INSERT INTO totp.approvals
             (id, account, approver, action, payload, digest, summary, requested_at, expires_at)
         VALUES ($1, $2, $3, $4, $5::jsonb, $6, $7, $8, $9)";
    REQUESTED(TEXT, TIME) =
        "SELECT count(*) FILTER (
                    WHERE confirmed_at IS NULL AND cancelled_at IS NULL AND expires_at > $2),
                count(*) FILTER (WHERE requested_at > $2 - interval '1 min')
         FROM totp.approvals WHERE account::text = $1";
    // Whatever changes the factors of the account that has confirmed it voids it, a recovery that has
    // taken effect too.
    LOAD(UUID, TIME) =
        "SELECT account::text, approver::text, action, payload::text, summary, requested_at,
                expires_at, confirmed_at, used_at, cancelled_at,
                confirmed_at IS NOT NULL AND NOT EXISTS (
                    SELECT FROM totp.accounts AS a
                    WHERE a.account::text = coalesce(p.approver, p.account)
                      AND a.changed_at = p.changed_at AND (a.recovery_at <= $2) IS NOT TRUE)
         FROM totp.approvals AS p WHERE id = $1";
    CLAIM(UUID, TIME) =
        "UPDATE totp.approvals AS p
         SET confirmed_at = $2, changed_at = (
             SELECT changed_at FROM totp.accounts AS a WHERE a.account::text = coalesce(p.approver, p.account))
         WHERE id = $1 AND confirmed_at IS NULL AND cancelled_at IS NULL AND expires_at > $2";
    UNCLAIM(UUID) =
        "UPDATE totp.approvals SET confirmed_at = NULL, changed_at = NULL WHERE id = $1";
    CANCEL(UUID, TIME) =
        "UPDATE totp.approvals SET cancelled_at = $2
         WHERE id = $1 AND used_at IS NULL AND cancelled_at IS NULL AND expires_at > $2";
    // One that another transaction is using is skipped: there may be an equal one.
    USE(TEXT, BYTEA, TIME, BOOL) =
        "UPDATE totp.approvals SET used_at = $3
         WHERE used_at IS NULL AND id = (
             SELECT p.id FROM totp.approvals AS p
             JOIN totp.accounts AS a ON a.account::text = coalesce(p.approver, p.account)
             WHERE p.account::text = $1 AND p.digest = $2 AND p.confirmed_at IS NOT NULL
               AND p.used_at IS NULL AND p.cancelled_at IS NULL AND p.expires_at > $3
               AND p.changed_at = a.changed_at AND (a.recovery_at <= $3) IS NOT TRUE
               AND (p.approver IS NOT NULL OR NOT $4)
             ORDER BY p.expires_at, p.id LIMIT 1 FOR NO KEY UPDATE OF p SKIP LOCKED)
         RETURNING id::text";
    CONCERNS(TEXT) =
        "SELECT EXISTS (SELECT FROM totp.approvals WHERE account::text = $1 OR approver::text = $1)";
    RENAME(TEXT, TEXT) =
        "WITH void AS (
             DELETE FROM totp.approvals
             WHERE account::text = $1 AND approver::text = $2
                 OR account::text = $2 AND approver::text = $1)
         UPDATE totp.approvals
         SET account = CASE account WHEN $1 THEN $2 ELSE account END,
             approver = CASE approver WHEN $1 THEN $2 ELSE approver END
         WHERE account::text = $1 AND approver::text IS DISTINCT FROM $2
            OR approver::text = $1 AND account::text <> $2";
    FORGET(TEXT) =
        "DELETE FROM totp.approvals WHERE account::text = $1 OR approver::text = $1";
    SWEEP(TIME) =
        "DELETE FROM totp.approvals WHERE id = ANY (ARRAY(
             SELECT id FROM totp.approvals WHERE expires_at <= $1
             ORDER BY expires_at LIMIT 10 FOR UPDATE SKIP LOCKED))";
    SWEEP_UNCONFIRMED(TEXT, TIME, BIGINT) =
        "DELETE FROM totp.approvals WHERE id = ANY (ARRAY(
             SELECT id FROM totp.approvals WHERE id = ANY (ARRAY(
                 SELECT id FROM totp.approvals
                 WHERE account::text = $1 AND confirmed_at IS NULL
                   AND (cancelled_at IS NOT NULL OR expires_at <= $2)
                 ORDER BY requested_at DESC LIMIT 1000 OFFSET $3))
             FOR UPDATE SKIP LOCKED))";
    PRUNE(TIME) =
        "DELETE FROM totp.approvals WHERE id IN (
             SELECT id FROM totp.approvals WHERE expires_at <= $1 FOR UPDATE SKIP LOCKED)";
}

/// The ID of an approval.
pub type Id = [u8; 16];

/// The values of a new row.
pub struct NewApproval<'a> {
    /// The ID.
    pub id: Id,
    /// The account that asks.
    pub account: &'a Account,
    /// The account that must confirm, if it is another one.
    pub approver: Option<&'a Account>,
    /// What is to be approved.
    pub subject: &'a Subject,
    /// When it is requested.
    pub requested_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
}

/// A row of the table.
pub struct Approval {
    /// The account that asks.
    pub account: Account,
    /// The account that must confirm, if it is another one.
    pub approver: Option<Account>,
    /// The action.
    pub action: String,
    /// The payload, as JSON.
    pub payload: String,
    /// What a person is shown.
    pub summary: String,
    /// When it was requested.
    pub requested_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
    /// What happened to it, and when.
    pub times: Times,
}

impl Approval {
    /// Returns the account whose code confirms it.
    pub fn confirmer(&self) -> &Account {
        self.approver.as_ref().unwrap_or(&self.account)
    }
}

/// Writes the row of a new approval.
pub fn insert(new: &NewApproval) -> Result<(), Error> {
    INSERT.run(&[
        uuid(new.id).into(),
        new.account.into(),
        new.approver.map(|name| &**name).into(),
        (&*new.subject.action).into(),
        new.subject.payload.as_str().into(),
        new.subject.digest().as_slice().into(),
        new.subject.summary().as_str().into(),
        new.requested_at.into(),
        new.expires_at.into(),
    ])
}

/// How many requests of an account there are.
pub struct Requested {
    /// Those that are pending.
    pub pending: i64,
    /// Those of the last minute, whatever became of them.
    pub in_last_minute: i64,
}

/// Counts the requests of an account.
pub fn requested(account: &Account, now: Timestamp) -> Result<Requested, Error> {
    let read = |row: &Row| Ok(Requested { pending: row.get(1)?, in_last_minute: row.get(2)? });
    REQUESTED.row(&[account.into(), now.into()], read)?.ok_or(Error::Corrupt("result"))
}

/// Reads the row of an approval.
pub fn load(id: Id, now: Timestamp) -> Result<Option<Approval>, Error> {
    LOAD.row(&[uuid(id).into(), now.into()], |row: &Row| {
        let account = |name: String| Account::new(name).map_err(|_| Error::Corrupt("account"));
        let time = |place| -> Result<Option<Timestamp>, Error> {
            let time = row.optional::<TimestampWithTimeZone>(place)?;
            Ok(time.as_ref().map(clock::from_sql))
        };
        Ok(Approval {
            account: account(row.get(1)?)?,
            approver: row.optional(2)?.map(account).transpose()?,
            action: row.get(3)?,
            payload: row.get(4)?,
            summary: row.get(5)?,
            requested_at: time(6)?.ok_or(Error::Corrupt("time"))?,
            expires_at: time(7)?.ok_or(Error::Corrupt("time"))?,
            times: Times {
                confirmed_at: time(8)?,
                used_at: time(9)?,
                cancelled_at: time(10)?,
                is_void: row.get(11)?,
            },
        })
    })
}

/// Confirms a pending approval. Returns `false` if it no longer is pending.
pub fn claim(id: Id, now: Timestamp) -> Result<bool, Error> {
    Ok(CLAIM.execute(&[uuid(id).into(), now.into()])? > 0)
}

/// Makes an approval that this transaction has claimed pending again.
pub fn unclaim(id: Id) -> Result<(), Error> {
    UNCLAIM.run(&[uuid(id).into()])
}

/// Cancels an approval. Returns `false` if it was used, has expired, or was cancelled before.
pub fn cancel(id: Id, now: Timestamp) -> Result<bool, Error> {
    Ok(CANCEL.execute(&[uuid(id).into(), now.into()])? > 0)
}

/// Uses a confirmed approval of an account for what has this digest; one that another account has
/// confirmed, if `by_another`. Returns its ID, or `None` if there is none.
pub fn spend(
    account: &Account,
    digest: &[u8],
    now: Timestamp,
    by_another: bool,
) -> Result<Option<String>, Error> {
    let arguments = [account.into(), digest.into(), now.into(), by_another.into()];
    USE.row(&arguments, |row| row.get(1))
}

/// Returns whether an account has asked for an approval, or is to give one.
pub fn concerns(account: &Account) -> Result<bool, Error> {
    CONCERNS.value(&[account.into()])
}

/// Renames an account in its approvals, and in those that it is asked for. Removes those between the
/// old name and the new one: nobody approves their own request in place of another.
pub fn rename(account: &Account, new: &Account) -> Result<(), Error> {
    RENAME.run(&[account.into(), new.into()])
}

/// Removes the approvals of an account, and those that it is asked for.
pub fn forget(account: &Account) -> Result<bool, Error> {
    Ok(FORGET.execute(&[account.into()])? > 0)
}

/// Removes some approvals that expired before a time.
pub fn sweep(before: Timestamp) -> Result<(), Error> {
    SWEEP.run(&[before.into()])
}

/// Removes requests of an account that were cancelled or have expired before a code confirmed them,
/// except for the latest `kept`.
pub fn sweep_unconfirmed(account: &Account, now: Timestamp, kept: i64) -> Result<(), Error> {
    SWEEP_UNCONFIRMED.run(&[account.into(), now.into(), kept.into()])
}

/// Removes approvals that expired before a time and returns their number.
pub fn prune(before: Timestamp) -> Result<usize, Error> {
    PRUNE.execute(&[before.into()])
}

fn uuid(id: Id) -> Uuid {
    Uuid::from_bytes(id)
}

/// Returns an ID as text.
pub fn text(id: Id) -> String {
    uuid(id).to_string()
}
