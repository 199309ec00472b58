//! The table `tokens`, which makes signed tokens single-use, limited and revocable.

use super::account;
use super::plan::{BYTEA, INT, Row, Statement, TEXT, TIME, UUID, plans};
use crate::clock;
use crate::error::Error;
use crate::pure::lock::LockState;
use crate::pure::name::Account;
use crate::pure::timestamp::Timestamp;
use crate::pure::token::{Kind, Token};
use pgrx::Uuid;
use pgrx::datum::DatumWithOid;

/// Maximum number of rows that a sweep removes.
const SWEPT: usize = 100;

plans! {
    INSERT(UUID, TEXT, TEXT, TEXT, BYTEA, TEXT, TIME, TIME) =
        "INSERT INTO totp.tokens
             (id, kind, account, purpose, binding, claims, created_at, expires_at, changed_at)
         VALUES ($1, $2, $3, $4, $5, $6::jsonb, $7, $8,
                 (SELECT changed_at FROM totp.accounts WHERE account::text = $3))";
    // An array, so that the rows are removed through the primary key, regardless of how many the
    // planner expects. Ordered, so that the planner prefers the index on expires_at.
    SWEEP(TIME) =
        "DELETE FROM totp.tokens WHERE id = ANY (ARRAY(
             SELECT id FROM totp.tokens WHERE expires_at <= $1
             ORDER BY expires_at LIMIT 100 FOR UPDATE SKIP LOCKED))";
    LOAD(UUID, TEXT) =
        "SELECT t.account::text, t.purpose::text, t.binding::bytea, t.attempts,
                t.used_at IS NOT NULL, t.changed_at IS NOT DISTINCT FROM a.changed_at,
                coalesce(a.failures::integer, 0), a.locked_until, coalesce(a.suspended, false),
                t.expires_at, a.recovery_at
         FROM totp.tokens AS t LEFT JOIN totp.accounts AS a ON a.account::text = t.account::text
         WHERE t.id = $1 AND t.kind::text = $2";
    CLAIM(UUID, TEXT, TIME, INT) =
        "UPDATE totp.tokens AS t SET attempts = attempts::integer + 1, used_at = $3
         WHERE id = $1 AND kind::text = $2 AND used_at IS NULL AND attempts::integer < $4
           AND changed_at IS NOT DISTINCT FROM (
               SELECT CASE WHEN a.locked_until > $3 OR a.recovery_at <= $3 THEN 'infinity'
                           ELSE a.changed_at END
               FROM totp.accounts AS a WHERE a.account::text = t.account::text)
         RETURNING account::text, purpose::text, binding::bytea";
    SPEND(UUID, TIME) =
        "UPDATE totp.tokens SET used_at = $2 WHERE id = $1 AND used_at IS NULL";
    EXTEND(UUID, TIME) =
        "UPDATE totp.tokens SET expires_at = $2 WHERE id = $1 AND expires_at < $2";
    UNCLAIM(UUID, INT) =
        "UPDATE totp.tokens SET used_at = NULL, attempts = attempts::integer - $2 WHERE id = $1";
    CLAIMS(UUID) =
        "SELECT claims::text FROM totp.tokens WHERE id = $1";
    REVOKE(TEXT, TEXT, TIME) =
        "DELETE FROM totp.tokens
         WHERE account::text = $1 AND kind::text = $2 AND expires_at > $3 AND used_at IS NULL";
    PRUNE(TIME) =
        "DELETE FROM totp.tokens WHERE id IN (
             SELECT id FROM totp.tokens WHERE expires_at <= $1 FOR UPDATE SKIP LOCKED)";
}

/// The values of a new row.
pub struct NewToken<'a> {
    /// The token.
    pub token: &'a Token,
    /// The account of the token.
    pub account: &'a Account,
    /// What the token is for, in the application's words.
    pub purpose: &'a str,
    /// The hash of the value that must be presented again.
    pub binding: &'a [u8],
    /// A JSON object.
    pub claims: &'a str,
    /// When the token was created.
    pub created_at: Timestamp,
}

/// What a token is valid for.
pub struct Scope {
    /// The account of the token.
    pub account: Account,
    /// What the token is for, in the application's words.
    pub purpose: String,
    /// The hash of the value that must be presented again.
    pub binding: Vec<u8>,
}

/// A row of the table, with its account's lock state.
pub struct StoredToken {
    /// What the token is valid for.
    pub scope: Scope,
    /// When the token expires. That of a recovery that waits is later than the token itself says.
    pub expires_at: Timestamp,
    /// Codes tried with the token.
    pub attempts: i32,
    /// Whether the token was used.
    pub is_used: bool,
    /// Whether the account's factors have not changed since the token was created.
    pub is_current: bool,
    /// The account's lock state.
    pub lock_state: LockState,
    /// When a recovery of the account takes effect, if there is one.
    pub recovery_at: Option<Timestamp>,
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

/// Removes some expired tokens, skipping those in use. Returns whether there are no more.
pub fn sweep(now: Timestamp) -> Result<bool, Error> {
    Ok(SWEEP.execute(&[now.into()])? < SWEPT)
}

/// Reads the row of a token. Returns `None` if it no longer exists.
pub fn load(token: &Token) -> Result<Option<StoredToken>, Error> {
    let arguments = [id(token), token.kind.as_str().into()];
    LOAD.row(&arguments, stored_token)
}

fn stored_token(row: &Row) -> Result<StoredToken, Error> {
    Ok(StoredToken {
        scope: scope(row)?,
        expires_at: clock::from_sql(&row.get(10)?),
        attempts: row.get(4)?,
        is_used: row.get(5)?,
        is_current: row.get(6)?,
        lock_state: account::lock_state(row.get(7)?, row.optional(8)?, row.get(9)?)?,
        recovery_at: row.optional(11)?.as_ref().map(clock::from_sql),
    })
}

fn scope(row: &Row) -> Result<Scope, Error> {
    Ok(Scope {
        account: Account::new(row.get(1)?).map_err(|_| Error::Corrupt("account"))?,
        purpose: row.get(2)?,
        binding: row.get(3)?,
    })
}

/// Uses a token and counts the attempt, in one statement. Returns `None` if it was already used,
/// tried `max` times or revoked, or if its account is locked or recovered.
pub fn claim(token: &Token, now: Timestamp, max: i32) -> Result<Option<Scope>, Error> {
    let arguments = [id(token), token.kind.as_str().into(), now.into(), max.into()];
    CLAIM.row(&arguments, scope)
}

/// Uses a token. Returns `false` if it was already used. The caller holds the account's row.
pub fn spend(token: &Token, now: Timestamp) -> Result<bool, Error> {
    Ok(SPEND.execute(&[id(token), now.into()])? > 0)
}

/// Sets a token to expire later.
pub fn extend(token: &Token, expires_at: Timestamp) -> Result<(), Error> {
    EXTEND.run(&[id(token), expires_at.into()])
}

/// Makes a token that this transaction has claimed usable again. The attempt stays counted, unless no
/// code was looked at.
pub fn unclaim(token: &Token, is_counted: bool) -> Result<(), Error> {
    UNCLAIM.run(&[id(token), i32::from(!is_counted).into()])
}

/// Returns the claims of a token, as a JSON object.
pub fn claims(token: &Token) -> Result<String, Error> {
    let rows = CLAIMS.rows(&[id(token)], |row| row.get::<String>(1))?;
    rows.into_iter().next().ok_or(Error::Corrupt("token"))
}

/// Removes an account's unexpired and unused tokens of one kind and returns their number.
pub fn revoke(account: &Account, kind: Kind, now: Timestamp) -> Result<usize, Error> {
    REVOKE.execute(&[account.into(), kind.as_str().into(), now.into()])
}

/// Removes expired tokens, skipping those in use, and returns their number.
pub fn prune(now: Timestamp) -> Result<usize, Error> {
    PRUNE.execute(&[now.into()])
}

fn id(token: &Token) -> DatumWithOid<'static> {
    Uuid::from_bytes(token.id).into()
}
