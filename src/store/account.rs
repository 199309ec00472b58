//! The table `accounts`: locks, and the row that serializes changes to one account.

use super::plan::{BOOL, INT, Row, Statement, TEXT, TEXTS, TIME, plans};
use crate::clock;
use crate::error::Error;
use crate::pure::lock::LockState;
use crate::pure::name::Account;
use crate::pure::timestamp::Timestamp;
use pgrx::datum::TimestampWithTimeZone;
use std::ops::RangeInclusive;

plans! {
    ENSURE(TEXT, TIME) =
        "INSERT INTO totp.accounts (account, changed_at, created_at) VALUES ($1, $2, $2)
         ON CONFLICT (account) DO NOTHING";
    ENSURE_ALL(TEXTS, TIME) =
        "INSERT INTO totp.accounts (account, changed_at, created_at)
         SELECT name, $2, $2 FROM unnest($1) AS name
         ON CONFLICT (account) DO NOTHING RETURNING account::text";
    CHANGED(TEXTS) =
        "SELECT account::text FROM totp.accounts
         WHERE account::text = ANY ($1) AND changed_at <> created_at";
    LOCK(TEXT) =
        "SELECT failures::integer, locked_until, suspended, recovery_at FROM totp.accounts
         WHERE account::text = $1 FOR NO KEY UPDATE";
    HOLD(TEXT) =
        "SELECT FROM totp.accounts WHERE account::text = $1 FOR KEY SHARE";
    TRY_LOCK(TEXT) =
        "SELECT FROM totp.accounts WHERE account::text = $1 FOR NO KEY UPDATE SKIP LOCKED";
    READ(TEXT) =
        "SELECT failures::integer, locked_until, suspended FROM totp.accounts
         WHERE account::text = $1";
    COUNT(TEXT, INT) =
        "UPDATE totp.accounts SET failures = greatest(failures, $2) WHERE account::text = $1";
    LOCK_OUT(TEXT, INT, TIME, BOOL) =
        "UPDATE totp.accounts
         SET failures = greatest(failures, $2), locked_until = greatest(locked_until, $3),
             suspended = suspended OR $4
         WHERE account::text = $1";
    CLEAR(TEXT) =
        "UPDATE totp.accounts SET failures = 0, locked_until = NULL, suspended = false
         WHERE account::text = $1";
    RECOVERY_AT(TEXT) =
        "SELECT recovery_at FROM totp.accounts WHERE account::text = $1 AND recovery_at IS NOT NULL";
    RECOVERED_OF(TEXTS, TIME) =
        "SELECT account::text FROM totp.accounts
         WHERE account::text = ANY ($1) AND recovery_at <= $2";
    RECOVERED(TIME) =
        "SELECT account::text FROM totp.accounts WHERE recovery_at <= $1";
    START_RECOVERY(TEXT, TIME) =
        "UPDATE totp.accounts SET recovery_at = $2 WHERE account::text = $1";
    CANCEL_RECOVERY(TEXT, TIME) =
        "UPDATE totp.accounts SET recovery_at = NULL WHERE account::text = $1 AND recovery_at > $2";
    // Skips tokens in use: their changed_at no longer matches, which revokes them too.
    MARK_CHANGED(TEXT, TIME) =
        "WITH tokens AS (
             DELETE FROM totp.tokens WHERE id = ANY (ARRAY(
                 SELECT id FROM totp.tokens WHERE account::text = $1 FOR UPDATE SKIP LOCKED))),
         sessions AS (DELETE FROM totp.sessions WHERE account::text = $1)
         UPDATE totp.accounts
         SET changed_at = greatest($2, changed_at + interval '1 microsecond'),
             recovery_at = NULL
         WHERE account::text = $1";
    // A change is dated at its call's time or just after the previous change, hence the
    // millisecond.
    VERIFIED(TEXT, TIME, TIME) =
        "SELECT EXISTS (
             SELECT FROM totp.accounts AS a
             WHERE a.account::text = $1 AND (
                 EXISTS (SELECT FROM totp.factors AS f
                         WHERE f.account::text = a.account::text AND f.state = 'active'
                           AND f.last_used_at BETWEEN greatest($2, a.changed_at - interval '1 ms')
                                                  AND $3)
                 OR EXISTS (SELECT FROM totp.backup_codes AS b, unnest(b.used_at) AS code (used_at)
                            WHERE b.account::text = a.account::text
                              AND code.used_at BETWEEN greatest($2, a.changed_at - interval '1 ms')
                                                AND $3)))";
    RENAME(TEXT, TEXT) =
        "UPDATE totp.accounts SET account = $2 WHERE account::text = $1";
    // Waits for valid tokens in use; another call may be removing expired ones.
    DELETE(TEXT, TIME) =
        "WITH tokens AS (DELETE FROM totp.tokens WHERE account::text = $1 AND expires_at > $2),
         ended AS (
             DELETE FROM totp.tokens WHERE id = ANY (ARRAY(
                 SELECT id FROM totp.tokens WHERE account::text = $1 AND expires_at <= $2
                 FOR UPDATE SKIP LOCKED))),
         sessions AS (DELETE FROM totp.sessions WHERE account::text = $1)
         DELETE FROM totp.accounts WHERE account::text = $1";
    STATUS(TEXT, TIME) =
        "SELECT a.failures::integer, a.locked_until, a.suspended,
                (SELECT count(*) FROM totp.factors AS f
                 WHERE f.account::text = a.account::text AND f.state = 'active')::integer,
                EXISTS (SELECT FROM totp.factors AS f
                        WHERE f.account::text = a.account::text AND f.state = 'pending'
                          AND f.created_at > $2
                          AND f.changed_at = a.changed_at),
                (SELECT cardinality(array_positions(b.used_at, NULL))
                 FROM totp.backup_codes AS b WHERE b.account::text = a.account::text),
                greatest(a.last_verified_at,
                         (SELECT max(f.last_used_at) FROM totp.factors AS f
                          WHERE f.account::text = a.account::text),
                         (SELECT max(code.used_at)
                          FROM totp.backup_codes AS b, unnest(b.used_at) AS code (used_at)
                          WHERE b.account::text = a.account::text)),
                a.recovery_at
         FROM totp.accounts AS a WHERE a.account::text = $1";
}

/// A statement that removes rows that show when the account `$1` was last verified: its row keeps
/// the latest of these times.
macro_rules! removing {
    ($rows:literal, $time:literal) => {
        concat!(
            "WITH removed AS (DELETE FROM ",
            $rows,
            " RETURNING ",
            $time,
            " AS at)
             UPDATE totp.accounts
             SET last_verified_at = greatest(last_verified_at, (SELECT max(at) FROM removed))
             WHERE account::text = $1 AND EXISTS (SELECT FROM removed)"
        )
    };
}
pub(super) use removing;

/// The status of an account.
#[derive(Default)]
pub struct Status {
    /// The lock state in the table.
    pub lock_state: LockState,
    /// Number of active factors.
    pub factors: i32,
    /// Whether a factor is waiting for its first code.
    pub pending: bool,
    /// Number of unused backup codes.
    pub backup_codes_left: i32,
    /// When a code was last accepted.
    pub last_verified_at: Option<Timestamp>,
    /// When a recovery takes effect.
    pub recovery_at: Option<Timestamp>,
}

/// What is known of an account whose row is locked.
pub struct LockedAccount {
    /// The lock state in the table.
    pub lock_state: LockState,
    /// When a recovery takes effect.
    pub recovery_at: Option<Timestamp>,
}

/// Creates the account's row if there is none. Returns whether it did.
pub fn ensure(account: &Account, now: Timestamp) -> Result<bool, Error> {
    let arguments = [account.into(), now.into()];
    Ok(ENSURE.execute(&arguments)? > 0)
}

/// Creates the rows of accounts that have none. Returns the accounts that it created.
pub fn ensure_all(accounts: &[&Account], now: Timestamp) -> Result<Vec<String>, Error> {
    let names: Vec<String> = accounts.iter().map(|account| account.to_string()).collect();
    ENSURE_ALL.rows(&[names.into(), now.into()], |row| row.get(1))
}

/// Returns which of these accounts have changed their factors since they were created.
pub fn changed(accounts: &[&str]) -> Result<Vec<String>, Error> {
    let names: Vec<String> = accounts.iter().map(|&account| account.to_owned()).collect();
    CHANGED.rows(&[names.into()], |row| row.get(1))
}

/// Locks the account's row, as every change to factors or backup codes does first. Returns `None`
/// if there is no such account.
pub fn lock(account: &Account) -> Result<Option<LockedAccount>, Error> {
    LOCK.row(&[account.into()], |row| {
        let recovery_at = row.optional(4)?.as_ref().map(clock::from_sql);
        Ok(LockedAccount { lock_state: read_lock_state(row)?, recovery_at })
    })
}

/// Keeps the account from being renamed or erased until the end of the transaction. Fails with a
/// serialization failure if it has been since the transaction's snapshot was taken.
pub fn hold(account: &Account) -> Result<(), Error> {
    HOLD.rows(&[account.into()], |_| Ok(()))?;
    Ok(())
}

/// Locks the account's row. Returns `false` if another transaction has locked it.
pub fn try_lock(account: &Account) -> Result<bool, Error> {
    Ok(TRY_LOCK.row(&[account.into()], |_| Ok(()))?.is_some())
}

/// Reads the account's lock state without locking its row.
pub fn read(account: &Account) -> Result<Option<LockState>, Error> {
    READ.row(&[account.into()], read_lock_state)
}

fn read_lock_state(row: &Row) -> Result<LockState, Error> {
    lock_state(row.get(1)?, row.optional(2)?, row.get(3)?)
}

/// Writes a failure. Values only rise here, because a concurrent failure may have written more.
pub fn record_failure(account: &Account, after: &LockState) -> Result<(), Error> {
    let failures = i32::try_from(after.failures).unwrap_or(i32::MAX);
    if after.locked_until.is_none() && !after.suspended {
        return COUNT.run(&[account.into(), failures.into()]);
    }
    let locked_until = after.locked_until.map(clock::to_sql);
    LOCK_OUT.run(&[account.into(), failures.into(), locked_until.into(), after.suspended.into()])
}

/// Clears failures, lock and suspension.
pub fn clear(account: &Account) -> Result<(), Error> {
    CLEAR.run(&[account.into()])
}

/// Reads when a recovery of the account takes effect, or took effect.
pub fn recovery_at(account: &Account) -> Result<Option<Timestamp>, Error> {
    RECOVERY_AT.row(&[account.into()], |row| Ok(clock::from_sql(&row.get(1)?)))
}

/// Returns which of these accounts have a recovery that took effect, and still have their factors.
pub fn recovered_of(accounts: &[&str], now: Timestamp) -> Result<Vec<String>, Error> {
    let names: Vec<String> = accounts.iter().map(|&account| account.to_owned()).collect();
    RECOVERED_OF.rows(&[names.into(), now.into()], |row| row.get(1))
}

/// Does the same for all accounts.
pub fn recovered(now: Timestamp) -> Result<Vec<String>, Error> {
    RECOVERED.rows(&[now.into()], |row| row.get(1))
}

/// Records when a recovery takes effect. The caller holds the account's row.
pub fn start_recovery(account: &Account, effective_at: Timestamp) -> Result<(), Error> {
    START_RECOVERY.run(&[account.into(), effective_at.into()])
}

/// Cancels the recovery of an account. Returns whether one was waiting.
pub fn cancel_recovery(account: &Account, now: Timestamp) -> Result<bool, Error> {
    Ok(CANCEL_RECOVERY.execute(&[account.into(), now.into()])? > 0)
}

/// Records that the account's factors changed: ends its tokens, its recovery, its other pending
/// factors and the verification of its sessions.
pub fn mark_changed(account: &Account, now: Timestamp) -> Result<(), Error> {
    MARK_CHANGED.run(&[account.into(), now.into()])
}

/// Returns whether an account was verified within a time range, with no change to the factors
/// since.
pub fn is_verified(account: &Account, time: RangeInclusive<Timestamp>) -> Result<bool, Error> {
    let arguments = [account.into(), (*time.start()).into(), (*time.end()).into()];
    VERIFIED.value(&arguments)
}

/// Renames an account. Its factors and codes follow, but must be re-encrypted.
pub fn rename(account: &Account, new: &Account) -> Result<(), Error> {
    RENAME.run(&[account.into(), new.into()])
}

/// Removes an account with its factors and codes. Returns whether it existed.
pub fn delete(account: &Account, now: Timestamp) -> Result<bool, Error> {
    Ok(DELETE.execute(&[account.into(), now.into()])? > 0)
}

/// Returns the status of an account, or `None` if there is no such account. Pending factors created
/// before `pending_since`, or before the account's factors last changed, do not count.
pub fn status(account: &Account, pending_since: Timestamp) -> Result<Option<Status>, Error> {
    let read = |row: &Row| {
        Ok(Status {
            lock_state: lock_state(row.get(1)?, row.optional(2)?, row.get(3)?)?,
            factors: row.get(4)?,
            pending: row.get(5)?,
            backup_codes_left: row.optional(6)?.unwrap_or_default(),
            last_verified_at: row.optional(7)?.as_ref().map(clock::from_sql),
            recovery_at: row.optional(8)?.as_ref().map(clock::from_sql),
        })
    };
    STATUS.row(&[account.into(), pending_since.into()], read)
}

/// Builds a lock state from its three columns.
pub(super) fn lock_state(
    failures: i32,
    locked_until: Option<TimestampWithTimeZone>,
    suspended: bool,
) -> Result<LockState, Error> {
    Ok(LockState {
        failures: u32::try_from(failures).map_err(|_| Error::Corrupt("number of failures"))?,
        locked_until: locked_until.as_ref().map(clock::from_sql),
        suspended,
    })
}
