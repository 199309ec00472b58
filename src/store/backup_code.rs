//! The table `backup_codes`.

use super::account::removing;
use super::plan::{BYTEA, INT, INTS, Row, Statement, TEXT, TEXTS, TIME, plans};
use crate::error::Error;
use crate::pure::keyring::Ciphertext;
use crate::pure::name::Account;
use crate::pure::timestamp::Timestamp;
use pgrx::datum::DatumWithOid;

plans! {
    LOAD(TEXT) =
        "SELECT slot, salt, sealed, key_id::text, used_at IS NOT NULL, imported
         FROM totp.backup_codes WHERE account = $1 ORDER BY slot";
    REENCRYPT(TEXT, INT, TEXT, TEXT) =
        "UPDATE totp.backup_codes SET sealed = $3, key_id = $4 WHERE account = $1 AND slot = $2";
    COUNT(TEXT) =
        "SELECT count(*)::integer FROM totp.backup_codes WHERE account = $1 AND used_at IS NULL";
    SPEND(TEXT, INT, BYTEA, TIME) =
        "UPDATE totp.backup_codes SET used_at = $4
         WHERE account = $1 AND slot = $2 AND salt = $3 AND used_at IS NULL";
    DELETE_ALL(TEXT) =
        "DELETE FROM totp.backup_codes WHERE account = $1";
    REMOVE_SET(TEXT) =
        removing!("totp.backup_codes WHERE account = $1", "used_at");
    INSERT(TEXT, BYTEA, TEXTS, TEXT) =
        "INSERT INTO totp.backup_codes (account, slot, salt, sealed, key_id)
         SELECT $1, slot, $2, sealed, $4 FROM unnest($3) WITH ORDINALITY AS code (sealed, slot)";
    // Checks the key ID once, not per row.
    INSERT_IMPORTED(TEXTS, INTS, TEXTS, TEXTS, TEXT) =
        "WITH key AS MATERIALIZED (SELECT $5::totp.key_id AS id)
         INSERT INTO totp.backup_codes (account, slot, salt, sealed, key_id, imported)
         SELECT c.account, c.slot, decode(c.salt, 'hex'), c.sealed, key.id, true
         FROM key, unnest($1, $2, $3, $4) AS c (account, slot, salt, sealed)";
}

/// A row of the table.
pub struct StoredCode {
    /// The code's position in its set, from 1.
    pub slot: i32,
    /// The salt of its set.
    pub salt: Vec<u8>,
    /// The encrypted hash of the code.
    pub ciphertext: Ciphertext,
    /// Whether the code is spent.
    pub is_used: bool,
    /// Whether another system issued the codes of its set.
    pub is_imported: bool,
}

/// A code of a set that another system issued.
pub struct ImportedCode {
    /// The code's position in its set, from 1.
    pub slot: i32,
    /// The salt of its set, in hex.
    pub salt: String,
    /// The encrypted hash of the code.
    pub ciphertext: Ciphertext,
}

/// Reads the codes of an account, including used ones.
pub fn load(account: &Account) -> Result<Vec<StoredCode>, Error> {
    LOAD.rows(&[account.into()], stored_code)
}

fn stored_code(row: &Row) -> Result<StoredCode, Error> {
    Ok(StoredCode {
        slot: row.get(1)?,
        salt: row.get(2)?,
        ciphertext: Ciphertext { token: row.get(3)?, key_id: row.get(4)? },
        is_used: row.get(5)?,
        is_imported: row.get(6)?,
    })
}

/// Writes the re-encrypted hash of a code.
pub fn reencrypt(account: &Account, slot: i32, ciphertext: &Ciphertext) -> Result<(), Error> {
    let (token, key_id) = (ciphertext.token.as_str(), ciphertext.key_id.as_str());
    let arguments = [account.into(), slot.into(), token.into(), key_id.into()];
    REENCRYPT.run(&arguments)
}

/// Returns how many codes an account has left.
pub fn count(account: &Account) -> Result<i32, Error> {
    COUNT.value(&[account.into()])
}

/// Spends a code. Returns `false` if it was spent, or its set replaced, in the meantime.
pub fn spend(account: &Account, code: &StoredCode, now: Timestamp) -> Result<bool, Error> {
    Ok(SPEND.execute(&[
        account.into(),
        code.slot.into(),
        code.salt.as_slice().into(),
        now.into(),
    ])? > 0)
}

/// Replaces the set with a new one, encrypted with one key. The caller holds the account's row.
pub fn replace(
    account: &Account,
    salt: &[u8],
    tokens: Vec<String>,
    key_id: &str,
) -> Result<(), Error> {
    REMOVE_SET.run(&[account.into()])?;
    INSERT.run(&[account.into(), salt.into(), tokens.into(), key_id.into()])
}

/// Writes sets of codes that another system issued, encrypted with one key. The accounts must not
/// have any.
pub fn insert_imported(codes: &[(&Account, ImportedCode)], key_id: &str) -> Result<(), Error> {
    if codes.is_empty() {
        return Ok(());
    }
    let texts = |text: fn(&Account, &ImportedCode) -> String| -> DatumWithOid {
        codes.iter().map(|(account, code)| text(account, code)).collect::<Vec<_>>().into()
    };
    let slots: Vec<i32> = codes.iter().map(|(_, code)| code.slot).collect();
    INSERT_IMPORTED.run(&[
        texts(|account, _| account.to_string()),
        slots.into(),
        texts(|_, code| code.salt.clone()),
        texts(|_, code| code.ciphertext.token.clone()),
        key_id.into(),
    ])
}

/// Removes the whole set.
pub fn delete_all(account: &Account) -> Result<(), Error> {
    DELETE_ALL.run(&[account.into()])
}
