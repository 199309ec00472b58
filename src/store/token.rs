//! The table `tokens`: what makes a signed token single-use, capped and revocable.

use super::account;
use super::plan::{BYTEA, INT, Row, Statement, TEXT, TIME, UUID, plans};
use crate::error::Error;
use crate::pure::lock::LockState;
use crate::pure::name::Account;
use crate::pure::timestamp::Timestamp;
use crate::pure::token::{Kind, Token};
use pgrx::Uuid;
use pgrx::datum::DatumWithOid;

/// How many rows a sweep removes.
const SWEPT: usize = 100;

plans! {
    INSERT(UUID, TEXT, TEXT, TEXT, BYTEA, TEXT, TIME, TIME) =
        "INSERT INTO totp.tokens
             (id, kind, account, purpose, binding, claims, created_at, expires_at, changed_at)
         VALUES ($1, $2, $3, $4, $5, $6::jsonb, $7, $8,
                 (SELECT changed_at FROM totp.accounts WHERE account = $3))";
    // An array, so that the rows are removed through the primary key, however many they seemed to be when
    // this was planned. Ordered, which draws the planner to the index on expires_at.
    SWEEP(TIME) =
        "DELETE FROM totp.tokens WHERE id = ANY (ARRAY(
             SELECT id FROM totp.tokens WHERE expires_at <= $1
             ORDER BY expires_at LIMIT 100 FOR UPDATE SKIP LOCKED))";
    LOAD(UUID, TEXT) =
        "SELECT t.account::text, t.purpose::text, t.binding::bytea, t.attempts,
                t.used_at IS NOT NULL, t.changed_at IS NOT DISTINCT FROM a.changed_at,
                coalesce(a.failures::integer, 0), a.locked_until, coalesce(a.suspended, false)
         FROM totp.tokens AS t LEFT JOIN totp.accounts AS a ON a.account = t.account
         WHERE t.id = $1 AND t.kind = $2";
    CLAIM(UUID, TEXT, TIME, INT) =
        "UPDATE totp.tokens AS t SET attempts = attempts + 1, used_at = $3
         WHERE id = $1 AND kind = $2 AND used_at IS NULL AND attempts < $4
           AND changed_at IS NOT DISTINCT FROM (
               SELECT CASE WHEN a.locked_until > $3 THEN 'infinity' ELSE a.changed_at END
               FROM totp.accounts AS a WHERE a.account = t.account)
         RETURNING account::text, purpose::text, binding::bytea";
    SPEND(UUID, TIME) =
        "UPDATE totp.tokens SET used_at = $2 WHERE id = $1 AND used_at IS NULL";
    UNCLAIM(UUID) =
        "UPDATE totp.tokens SET used_at = NULL WHERE id = $1";
    CLAIMS(UUID) =
        "SELECT claims::text FROM totp.tokens WHERE id = $1";
    REVOKE(TEXT, TEXT, TIME) =
        "DELETE FROM totp.tokens WHERE account = $1 AND kind = $2 AND expires_at > $3";
    PRUNE(TIME) =
        "DELETE FROM totp.tokens WHERE id IN (
             SELECT id FROM totp.tokens WHERE expires_at <= $1 FOR UPDATE SKIP LOCKED)";
}

/// What a new row holds beside the token itself.
pub struct NewToken<'a> {
    /// The token.
    pub token: &'a Token,
    /// Whose it is.
    pub account: &'a Account,
    /// What it is for, in the application's words.
    pub purpose: &'a str,
    /// The hash of what must be given again.
    pub binding: &'a [u8],
    /// A JSON object.
    pub claims: &'a str,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What a token is good for.
pub struct Scope {
    /// Whose it is.
    pub account: Account,
    /// What it is for, in the application's words.
    pub purpose: String,
    /// The hash of what must be given again.
    pub binding: Vec<u8>,
}

/// A row of the table, beside its account's lock.
pub struct StoredToken {
    /// What it is good for.
    pub scope: Scope,
    /// Codes tried on it.
    pub attempts: i32,
    /// Whether it was used.
    pub is_used: bool,
    /// Whether the account's factors are those of when it was made.
    pub is_current: bool,
    /// The account's lock.
    pub lock_state: LockState,
}

/// Writes the row of a new token.
pub fn insert(new: &NewToken) -> Result<(), Error> {
    let arguments = [
        id(new.token),
        new.token.kind.as_str().into(),
        new.account.into(),
        new.purpose.into(),
        new.binding.into(),
        new.claims.into(),
        new.created_at.into(),
        new.token.expires_at.into(),
    ];
    INSERT.run(&arguments)
}

/// Removes some tokens that have ended, passing over those in use. Says whether these were all.
pub fn sweep(now: Timestamp) -> Result<bool, Error> {
    Ok(SWEEP.execute(&[now.into()])? < SWEPT)
}

/// Reads the row of a token, which may be gone.
pub fn load(token: &Token) -> Result<Option<StoredToken>, Error> {
    let arguments = [id(token), token.kind.as_str().into()];
    LOAD.row(&arguments, stored_token)
}

fn stored_token(row: &Row) -> Result<StoredToken, Error> {
    Ok(StoredToken {
        scope: scope(row)?,
        attempts: row.get(4)?,
        is_used: row.get(5)?,
        is_current: row.get(6)?,
        lock_state: account::lock_state(row.get(7)?, row.optional(8)?, row.get(9)?)?,
    })
}

fn scope(row: &Row) -> Result<Scope, Error> {
    Ok(Scope {
        account: Account::new(row.get(1)?).map_err(|_| Error::Corrupt("account"))?,
        purpose: row.get(2)?,
        binding: row.get(3)?,
    })
}

/// Uses a token and counts the try, in one statement. `None` when it was used before, tried `max`
/// times, or revoked, or its account is locked.
pub fn claim(token: &Token, now: Timestamp, max: i32) -> Result<Option<Scope>, Error> {
    let arguments = [id(token), token.kind.as_str().into(), now.into(), max.into()];
    CLAIM.row(&arguments, scope)
}

/// Uses a token, whose account the caller holds. `false` when it was used before.
pub fn spend(token: &Token, now: Timestamp) -> Result<bool, Error> {
    Ok(SPEND.execute(&[id(token), now.into()])? > 0)
}

/// Makes a token that this transaction has claimed usable again; the try stays counted.
pub fn unclaim(token: &Token) -> Result<(), Error> {
    UNCLAIM.run(&[id(token)])
}

/// The claims of a token, as a JSON object.
pub fn claims(token: &Token) -> Result<String, Error> {
    let rows = CLAIMS.rows(&[id(token)], |row| row.get::<String>(1))?;
    rows.into_iter().next().ok_or(Error::Corrupt("token"))
}

/// Removes the tokens of one kind of an account and counts those that were still good.
pub fn revoke(account: &Account, kind: Kind, now: Timestamp) -> Result<usize, Error> {
    REVOKE.execute(&[account.into(), kind.as_str().into(), now.into()])
}

/// Removes what has ended and counts it.
pub fn prune(now: Timestamp) -> Result<usize, Error> {
    PRUNE.execute(&[now.into()])
}

fn id(token: &Token) -> DatumWithOid<'static> {
    Uuid::from_bytes(token.id).into()
}
