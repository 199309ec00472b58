//! The table `hardware_tokens`.

use super::plan::{BIGINT, INTS, Row, Statement, TEXT, TEXTS, TIME, plans};
use crate::clock;
use crate::error::Error;
use crate::pure::keyring::Ciphertext;
use crate::pure::name::{Account, Serial};
use crate::pure::otp::Parameters;
use crate::pure::timestamp::Timestamp;
use pgrx::datum::{DatumWithOid, TimestampWithTimeZone};

plans! {
    // A token is assigned as long as the account has the factor that was made of it, and no recovery
    // has taken effect.
    LOAD(TEXTS, TIME) =
        "SELECT t.serial::text, t.algorithm::text, t.digits::integer, t.period::integer, t.sealed,
                t.key_id::text, t.created_at, t.last_step::bigint,
                EXISTS (SELECT FROM totp.factors AS f
                        JOIN totp.accounts AS a ON a.account::text = f.account::text
                        WHERE (a.recovery_at <= $2) IS NOT TRUE AND f.account::text = t.account::text AND f.label::text = t.serial::text
                          AND f.state = 'active' AND f.created_at = t.assigned_at)
         FROM totp.hardware_tokens AS t WHERE t.serial::text = ANY ($1)";
    LOCK(TEXT) =
        "SELECT FROM totp.hardware_tokens WHERE serial::text = $1 FOR NO KEY UPDATE";
    // Checks the key ID once, not per row.
    INSERT(TEXTS, TEXTS, INTS, INTS, TEXTS, TEXT, TIME) =
        "WITH key AS MATERIALIZED (SELECT $6::totp.key_id AS id)
         INSERT INTO totp.hardware_tokens
             (serial, algorithm, digits, period, sealed, key_id, created_at)
         SELECT t.serial, t.algorithm, t.digits, t.period, t.sealed, key.id, $7
         FROM key, unnest($1, $2, $3, $4, $5) AS t (serial, algorithm, digits, period, sealed)
         ON CONFLICT (serial) DO NOTHING RETURNING serial::text";
    ASSIGN(TEXT, TEXT, TIME, BIGINT) =
        "UPDATE totp.hardware_tokens SET account = $2, assigned_at = $3, last_step = $4
         WHERE serial::text = $1";
    DELETE(TEXT) =
        "DELETE FROM totp.hardware_tokens WHERE serial::text = $1";
}

/// A row of the table.
pub struct HardwareToken {
    /// The serial number.
    pub serial: String,
    /// The algorithm, digits and period of its codes.
    pub parameters: Parameters,
    /// The encrypted secret.
    pub ciphertext: Ciphertext,
    /// When it was imported.
    pub created_at: Timestamp,
    /// The step of the second code with which it was last assigned; -1 before the first time.
    pub last_step: i64,
    /// Whether it is the factor of an account.
    pub is_assigned: bool,
}

/// Reads the tokens with these serial numbers, as far as there are any.
pub fn load(serials: &[&Serial], now: Timestamp) -> Result<Vec<HardwareToken>, Error> {
    let serials: Vec<String> = serials.iter().map(|serial| serial.to_string()).collect();
    LOAD.rows(&[serials.into(), now.into()], read)
}

fn read(row: &Row) -> Result<HardwareToken, Error> {
    let algorithm: String = row.get(2)?;
    let parameters = Parameters::new(&algorithm, row.get(3)?, row.get(4)?);
    let created_at: TimestampWithTimeZone = row.get(7)?;
    Ok(HardwareToken {
        serial: row.get(1)?,
        parameters: parameters.map_err(|_| Error::Corrupt("algorithm, digits or period"))?,
        ciphertext: Ciphertext { token: row.get(5)?, key_id: row.get(6)? },
        created_at: clock::from_sql(&created_at),
        last_step: row.get(8)?,
        is_assigned: row.get(9)?,
    })
}

/// Locks a token's row, as every change to it does first. Returns `false` if there is none.
pub fn lock(serial: &Serial) -> Result<bool, Error> {
    Ok(LOCK.row(&[(&**serial).into()], |_| Ok(()))?.is_some())
}

/// Writes tokens that were imported at one time and encrypted with one key. Returns the serial numbers
/// that were not taken.
pub fn insert(
    tokens: &[(&Serial, Parameters, Ciphertext)],
    key_id: &str,
    created_at: Timestamp,
) -> Result<Vec<String>, Error> {
    let texts = |text: fn(&(&Serial, Parameters, Ciphertext)) -> String| -> DatumWithOid {
        tokens.iter().map(text).collect::<Vec<_>>().into()
    };
    let numbers = |number: fn(&Parameters) -> i32| -> DatumWithOid {
        tokens.iter().map(|(_, parameters, _)| number(parameters)).collect::<Vec<_>>().into()
    };
    let arguments = [
        texts(|(serial, _, _)| serial.to_string()),
        texts(|(_, parameters, _)| parameters.algorithm.name().to_owned()),
        numbers(|parameters| parameters.digits.into()),
        numbers(|parameters| parameters.period.cast_signed()),
        texts(|(_, _, ciphertext)| ciphertext.token.clone()),
        key_id.into(),
        created_at.into(),
    ];
    INSERT.rows(&arguments, |row| row.get(1))
}

/// Records to which account a token is assigned: its factor was created at that time. Codes up to a step
/// will not assign it again. The caller holds the token's row.
pub fn assign(
    serial: &Serial,
    account: &Account,
    at: Timestamp,
    last_step: i64,
) -> Result<(), Error> {
    ASSIGN.run(&[(&**serial).into(), account.into(), at.into(), last_step.into()])
}

/// Removes a token. Returns whether there was one.
pub fn delete(serial: &Serial) -> Result<bool, Error> {
    Ok(DELETE.execute(&[(&**serial).into()])? > 0)
}
