//! The table `passes`: temporary passes from the help desk.

use super::plan::{BYTEA, INT, Row, Statement, TEXT, TIME, plans};
use crate::error::Error;
use crate::pure::keyring::Ciphertext;
use crate::pure::name::Account;
use crate::pure::timestamp::Timestamp;

plans! {
    REPLACE(TEXT, BYTEA, TEXT, TEXT, INT, TIME, TIME) =
        "INSERT INTO totp.passes (account, salt, sealed, key_id, uses_left, issued_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (account) DO UPDATE
         SET salt = excluded.salt, sealed = excluded.sealed, key_id = excluded.key_id,
             uses_left = excluded.uses_left, issued_at = excluded.issued_at,
             expires_at = excluded.expires_at";
    // A code of a factor, even of one that was removed since, has ended the pass.
    LOAD(TEXT, TIME) =
        "SELECT p.salt::bytea, p.sealed, p.key_id::text
         FROM totp.passes AS p JOIN totp.accounts AS a ON a.account::text = p.account::text
         WHERE p.account::text = $1 AND p.uses_left > 0 AND p.expires_at > $2
           AND coalesce(a.last_verified_at < p.issued_at, true)
           AND NOT EXISTS (
               SELECT FROM totp.factors AS f
               WHERE f.account::text = p.account::text AND f.last_used_at >= p.issued_at)";
    SPEND(TEXT, BYTEA, TIME) =
        "UPDATE totp.passes SET uses_left = uses_left - 1
         WHERE account::text = $1 AND salt = $2 AND uses_left > 0 AND expires_at > $3
         RETURNING uses_left";
    LOCK(TEXT) =
        "SELECT FROM totp.passes WHERE account::text = $1 FOR NO KEY UPDATE";
    DELETE(TEXT) =
        "DELETE FROM totp.passes WHERE account::text = $1";
    PRUNE(TIME) =
        "DELETE FROM totp.passes WHERE account IN (
             SELECT account FROM totp.passes WHERE expires_at <= $1 FOR UPDATE SKIP LOCKED)";
}

/// A new pass.
pub struct NewPass<'a> {
    /// The account.
    pub account: &'a Account,
    /// The salt of the hash.
    pub salt: &'a [u8],
    /// The encrypted hash.
    pub ciphertext: &'a Ciphertext,
    /// How often it can be used.
    pub uses: i32,
    /// When it is issued.
    pub issued_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
}

/// A pass that can be used.
pub struct StoredPass {
    /// The salt of the hash.
    pub salt: Vec<u8>,
    /// The encrypted hash.
    pub ciphertext: Ciphertext,
}

/// Writes a pass in place of an earlier one.
pub fn replace(new: &NewPass) -> Result<(), Error> {
    REPLACE.run(&[
        new.account.into(),
        new.salt.into(),
        new.ciphertext.token.as_str().into(),
        new.ciphertext.key_id.as_str().into(),
        new.uses.into(),
        new.issued_at.into(),
        new.expires_at.into(),
    ])
}

/// Reads the pass of an account, if it can be used.
pub fn load(account: &Account, now: Timestamp) -> Result<Option<StoredPass>, Error> {
    LOAD.row(&[account.into(), now.into()], |row: &Row| {
        Ok(StoredPass {
            salt: row.get(1)?,
            ciphertext: Ciphertext { token: row.get(2)?, key_id: row.get(3)? },
        })
    })
}

/// Uses a pass. Returns how often it can still be used, or `None` if it could not be used.
pub fn spend(account: &Account, pass: &StoredPass, now: Timestamp) -> Result<Option<i32>, Error> {
    SPEND.row(&[account.into(), pass.salt.as_slice().into(), now.into()], |row| row.get(1))
}

/// Locks the pass of an account, and so waits for a call that is using it.
pub fn lock(account: &Account) -> Result<(), Error> {
    LOCK.rows(&[account.into()], |_| Ok(())).map(|_| ())
}

/// Removes the pass of an account. Returns `false` if there was none.
pub fn delete(account: &Account) -> Result<bool, Error> {
    Ok(DELETE.execute(&[account.into()])? > 0)
}

/// Removes expired passes and returns their number.
pub fn prune(now: Timestamp) -> Result<usize, Error> {
    PRUNE.execute(&[now.into()])
}
