//! The table `backup_codes`.

use super::account::removing;
use super::plan::{BYTEA, INT, INTS, Row, Statement, TEXT, TEXTS, TIME, plans};
use crate::error::Error;
use crate::pure::keyring::Ciphertext;
use crate::pure::name::Account;
use crate::pure::timestamp::Timestamp;
use pgrx::datum::{DatumWithOid, TimestampWithTimeZone};

plans! {
    LOAD(TEXT) =
        "SELECT salt::bytea, sealed, key_id::text, used_at::timestamptz[], imported
         FROM totp.backup_codes WHERE account::text = $1";
    REENCRYPT(TEXT, TEXT, TEXT) =
        "UPDATE totp.backup_codes SET sealed = $2, key_id = $3 WHERE account::text = $1";
    LOCK(TEXT) =
        "SELECT FROM totp.backup_codes WHERE account::text = $1 FOR NO KEY UPDATE";
    COUNT(TEXT) =
        "SELECT used_at::timestamptz[] FROM totp.backup_codes WHERE account::text = $1";
    SPEND(TEXT, BYTEA, INT, TIME) =
        "UPDATE totp.backup_codes SET used_at[$3] = $4
         WHERE account::text = $1 AND salt::bytea = $2 AND used_at[$3] IS NULL
         RETURNING used_at::timestamptz[]";
    DELETE(TEXT) =
        "DELETE FROM totp.backup_codes WHERE account::text = $1";
    REMOVE(TEXT) =
        removing!(
            "totp.backup_codes WHERE account::text = $1",
            "(SELECT max(at) FROM unnest(used_at) AS at)"
        );
    INSERT(TEXT, BYTEA, TEXT, TEXT, INT) =
        "INSERT INTO totp.backup_codes (account, salt, sealed, key_id, used_at)
         VALUES ($1, $2, $3, $4, array_fill(NULL::timestamptz, ARRAY[$5]))";
    // Checks the key ID once, not per row.
    INSERT_IMPORTED(TEXTS, TEXTS, TEXTS, INTS, TEXT) =
        "WITH key AS MATERIALIZED (SELECT $5::totp.key_id AS id)
         INSERT INTO totp.backup_codes (account, salt, sealed, key_id, used_at, imported)
         SELECT s.account, decode(s.salt, 'hex'), s.sealed, key.id,
                array_fill(NULL::timestamptz, ARRAY[s.codes]), true
         FROM key, unnest($1, $2, $3, $4) AS s (account, salt, sealed, codes)";
}

/// A row of the table: the backup codes of an account.
pub struct StoredSet {
    /// The salt of the hashes.
    pub salt: Vec<u8>,
    /// The encrypted hashes of the codes.
    pub ciphertext: Ciphertext,
    /// When each code was spent, in the order of the hashes.
    pub used_at: Vec<Option<TimestampWithTimeZone>>,
    /// Whether another system issued the codes.
    pub is_imported: bool,
}

/// A set of codes that another system issued.
pub struct ImportedSet {
    /// The salt of the hashes, in hex.
    pub salt: String,
    /// The encrypted hashes of the codes.
    pub ciphertext: Ciphertext,
    /// The number of codes.
    pub count: i32,
}

/// Reads the backup codes of an account.
pub fn load(account: &Account) -> Result<Option<StoredSet>, Error> {
    LOAD.row(&[account.into()], |row: &Row| {
        Ok(StoredSet {
            salt: row.get(1)?,
            ciphertext: Ciphertext { token: row.get(2)?, key_id: row.get(3)? },
            used_at: row.get(4)?,
            is_imported: row.get(5)?,
        })
    })
}

/// Writes the re-encrypted hashes of an account's codes.
pub fn reencrypt(account: &Account, ciphertext: &Ciphertext) -> Result<(), Error> {
    let (token, key_id) = (ciphertext.token.as_str(), ciphertext.key_id.as_str());
    REENCRYPT.run(&[account.into(), token.into(), key_id.into()])
}

/// Locks the backup codes of an account, and so waits for one that is being spent.
pub fn lock(account: &Account) -> Result<(), Error> {
    LOCK.rows(&[account.into()], |_| Ok(())).map(|_| ())
}

/// Returns how many codes an account has left.
pub fn count(account: &Account) -> Result<i32, Error> {
    let used_at = COUNT.row(&[account.into()], |row| row.get(1))?;
    Ok(used_at.map(unused).unwrap_or_default())
}

/// Spends a code, given its position in the set, from 0. Returns how many codes are left, or `None`
/// if the code was spent, or its set replaced, in the meantime.
pub fn spend(
    account: &Account,
    set: &StoredSet,
    position: usize,
    now: Timestamp,
) -> Result<Option<i32>, Error> {
    let number = i32::try_from(position).unwrap_or(i32::MAX).saturating_add(1);
    let arguments = [account.into(), set.salt.as_slice().into(), number.into(), now.into()];
    Ok(SPEND.row(&arguments, |row| row.get(1))?.map(unused))
}

/// Returns how many codes of a set are unused.
fn unused(used_at: Vec<Option<TimestampWithTimeZone>>) -> i32 {
    used_at.iter().filter(|time| time.is_none()).count() as i32
}

/// Replaces the set with a new one of `count` codes. The caller holds the account's row.
pub fn replace(
    account: &Account,
    salt: &[u8],
    ciphertext: &Ciphertext,
    count: i32,
) -> Result<(), Error> {
    REMOVE.run(&[account.into()])?;
    INSERT.run(&[
        account.into(),
        salt.into(),
        ciphertext.token.as_str().into(),
        ciphertext.key_id.as_str().into(),
        count.into(),
    ])
}

/// Writes sets of codes that another system issued, encrypted with one key. The accounts must not
/// have any.
pub fn insert_imported(sets: &[(&Account, ImportedSet)], key_id: &str) -> Result<(), Error> {
    if sets.is_empty() {
        return Ok(());
    }
    let texts = |text: fn(&Account, &ImportedSet) -> String| -> DatumWithOid {
        sets.iter().map(|(account, set)| text(account, set)).collect::<Vec<_>>().into()
    };
    let counts: Vec<i32> = sets.iter().map(|(_, set)| set.count).collect();
    INSERT_IMPORTED.run(&[
        texts(|account, _| account.to_string()),
        texts(|_, set| set.salt.clone()),
        texts(|_, set| set.ciphertext.token.clone()),
        counts.into(),
        key_id.into(),
    ])
}

/// Removes the whole set.
pub fn delete(account: &Account) -> Result<(), Error> {
    DELETE.run(&[account.into()])
}
