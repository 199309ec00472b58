//! The table `factors`.

use super::account::{self, removing};
use super::plan::{BIGINT, BIGINTS, INT, INTS, Row, Statement, TEXT, TEXTS, TIME, plans};
use crate::clock;
use crate::error::Error;
use crate::pure::keyring::Ciphertext;
use crate::pure::lock::LockState;
use crate::pure::name::{Account, Label};
use crate::pure::otp::Parameters;
use crate::pure::timestamp::Timestamp;
use pgrx::datum::{DatumWithOid, TimestampWithTimeZone};

plans! {
    LOAD(TEXT) =
        "SELECT a.failures::integer, a.locked_until, a.suspended, f.label::text, f.algorithm::text,
                f.digits::integer, f.period::integer, f.sealed, f.key_id::text,
                f.last_step::bigint, f.drift::integer, f.created_at, a.recovery_at
         FROM totp.accounts AS a
         LEFT JOIN totp.factors AS f ON f.account::text = a.account::text AND f.state = 'active'
         WHERE a.account::text = $1";
    PENDING(TEXT, TEXT, TIME) =
        "SELECT label::text, algorithm::text, digits::integer, period::integer, sealed, key_id::text,
                last_step::bigint, drift::integer, created_at
         FROM totp.factors
         WHERE account::text = $1 AND label::text = $2 AND state = 'pending' AND created_at > $3
           AND changed_at = (SELECT a.changed_at FROM totp.accounts AS a
                             WHERE a.account::text = $1)";
    LABELS(TEXT, TIME, TIME) =
        "SELECT f.label::text, f.state::text, f.created_at, f.last_used_at
         FROM totp.factors AS f JOIN totp.accounts AS a ON a.account::text = f.account::text
         WHERE f.account::text = $1
           AND (f.state = 'active' OR (f.created_at > $2 AND f.changed_at = a.changed_at))
           AND (a.recovery_at <= $3) IS NOT TRUE
         ORDER BY f.label, f.state";
    ENROLLED(TEXT, TIME) =
        "SELECT EXISTS (
             SELECT FROM totp.factors AS f JOIN totp.accounts AS a ON a.account::text = f.account::text
             WHERE f.account::text = $1 AND f.state = 'active'
               AND (a.recovery_at <= $2) IS NOT TRUE)";
    ALL(TEXT) =
        "SELECT label::text, algorithm::text, digits::integer, period::integer, sealed, key_id::text,
                last_step::bigint, drift::integer, created_at, state::text
         FROM totp.factors WHERE account::text = $1 ORDER BY label, state";
    ALL_OF(TEXTS) =
        "SELECT label::text, algorithm::text, digits::integer, period::integer, sealed, key_id::text,
                last_step::bigint, drift::integer, created_at, state::text, account::text
         FROM totp.factors WHERE account::text = ANY ($1)";
    // Checks the key ID once, not per row.
    INSERT_IMPORTED(TEXTS, TEXTS, TEXTS, INTS, INTS, TEXTS, TEXT, BIGINTS, INTS, TIME) =
        "WITH key AS MATERIALIZED (SELECT $7::totp.key_id AS id)
         INSERT INTO totp.factors
             (account, label, state, algorithm, digits, period, sealed, key_id, last_step, drift,
              created_at, confirmed_at)
         SELECT f.account, f.label, 'active', f.algorithm, f.digits, f.period, f.sealed, key.id,
                f.last_step, f.drift, $10, $10
         FROM key, unnest($1, $2, $3, $4, $5, $6, $8, $9)
              AS f (account, label, algorithm, digits, period, sealed, last_step, drift)";
    INSERT_ACTIVE(TEXT, TEXT, TEXT, INT, INT, TEXT, TEXT, TIME) =
        "INSERT INTO totp.factors
             (account, label, state, algorithm, digits, period, sealed, key_id, created_at,
              confirmed_at)
         VALUES ($1, $2, 'active', $3, $4, $5, $6, $7, $8, $8)";
    REENCRYPT(TEXT, TEXT, TEXT, TEXT, TEXT, BIGINT) =
        "UPDATE totp.factors SET sealed = $4, key_id = $5, last_step = greatest(last_step, $6)
         WHERE account::text = $1 AND label::text = $2 AND state::text = $3";
    LOCK(TEXT) =
        "SELECT FROM totp.factors WHERE account::text = $1 ORDER BY label, state FOR NO KEY UPDATE";
    DELETE(TEXT, TEXT) =
        removing!("totp.factors WHERE account::text = $1 AND label::text = $2", "last_used_at");
    PRUNE(TIME) =
        "DELETE FROM totp.factors WHERE state = 'pending' AND created_at <= $1";
    UPSERT_PENDING(TEXT, TEXT, TEXT, INT, INT, TEXT, TEXT, TIME) =
        "INSERT INTO totp.factors
             (account, label, state, algorithm, digits, period, sealed, key_id, created_at,
              changed_at)
         SELECT $1, $2, 'pending', $3, $4, $5, $6, $7, $8, changed_at
         FROM totp.accounts WHERE account::text = $1
         ON CONFLICT (account, label, state) DO UPDATE
         SET algorithm = excluded.algorithm, digits = excluded.digits, period = excluded.period,
             sealed = excluded.sealed, key_id = excluded.key_id, created_at = excluded.created_at,
             changed_at = excluded.changed_at, last_step = -1, drift = 0";
    COUNT_OTHERS(TEXT, TEXT, TIME) =
        "SELECT count(DISTINCT f.label)::integer
         FROM totp.factors AS f JOIN totp.accounts AS a ON a.account::text = f.account::text
         WHERE f.account::text = $1 AND f.label::text <> $2
           AND (f.state = 'active' OR (f.created_at > $3 AND f.changed_at = a.changed_at))";
    SPEND(TEXT, TEXT, TIME, BIGINT, INT, TIME) =
        "UPDATE totp.factors SET last_step = $4, drift = $5, last_used_at = $6
         WHERE account::text = $1 AND label::text = $2 AND state = 'active' AND created_at = $3
           AND last_step::bigint < $4";
    ACTIVATE(TEXT, TEXT, TIME, BIGINT, INT, TIME) =
        "UPDATE totp.factors
         SET state = 'active', last_step = $4, drift = $5, confirmed_at = $6, last_used_at = $6
         WHERE account::text = $1 AND label::text = $2 AND state = 'pending' AND created_at = $3";
    DELETE_ACTIVE(TEXT, TEXT) =
        removing!(
            "totp.factors WHERE account::text = $1 AND label::text = $2 AND state = 'active'",
            "last_used_at"
        );
    DELETE_ALL(TEXT) =
        "WITH removed AS (DELETE FROM totp.factors WHERE account::text = $1)
         UPDATE totp.accounts SET last_verified_at = NULL WHERE account::text = $1";
    SWEEP(TIME) =
        "DELETE FROM totp.factors WHERE ctid = ANY (ARRAY(
             SELECT ctid FROM totp.factors WHERE state = 'pending' AND created_at <= $1
             LIMIT 100 FOR UPDATE SKIP LOCKED))";
}

/// A row of the table.
pub struct Factor {
    /// The label, unique among the account's factors of the same state.
    pub label: Label,
    /// The algorithm, digits and period of its codes.
    pub parameters: Parameters,
    /// The encrypted secret.
    pub ciphertext: Ciphertext,
    /// The newest spent step; -1 if there is none.
    pub last_step: i64,
    /// How many steps the authenticator app's clock is ahead.
    pub drift: i64,
    /// When the secret was created. With the label, it distinguishes the secret from a replacement.
    pub created_at: Timestamp,
}

/// A step to which a right code belongs.
#[derive(Clone, Copy)]
pub struct SpentStep {
    /// The step.
    pub step: i64,
    /// The factor's drift from now on.
    pub drift: i64,
    /// When the code was accepted.
    pub at: Timestamp,
}

/// An account with its active factors.
pub struct Enrolment {
    /// The account's lock state in the table.
    pub lock_state: LockState,
    /// When a recovery takes effect, if there is one.
    pub recovery_at: Option<Timestamp>,
    /// Its active factors, possibly none.
    pub factors: Vec<Factor>,
}

/// Reads an account and its active factors. Returns `None` if there is no such account.
pub fn load(account: &Account) -> Result<Option<Enrolment>, Error> {
    let mut enrolment: Option<Enrolment> = None;
    LOAD.rows(&[account.into()], |row| {
        let lock_state = account::lock_state(row.get(1)?, row.optional(2)?, row.get(3)?)?;
        let label: Option<String> = row.optional(4)?;
        let recovery_at = row.optional(13)?.as_ref().map(clock::from_sql);
        enrolment
            .get_or_insert(Enrolment { lock_state, recovery_at, factors: Vec::new() })
            .factors
            .extend(label.map(|label| factor(row, label, 5)).transpose()?);
        Ok(())
    })?;
    Ok(enrolment)
}

/// Reads a pending factor created after `since`, and after the account's factors last changed.
pub fn pending(
    account: &Account,
    label: &Label,
    since: Timestamp,
) -> Result<Option<Factor>, Error> {
    let arguments = [account.into(), label.into(), since.into()];
    let read = |row: &Row| factor(row, row.get(1)?, 2);
    PENDING.row(&arguments, read)
}

/// What the owner of an account may know of a factor.
pub struct LabelledFactor {
    /// The label.
    pub label: String,
    /// `pending` or `active`.
    pub state: String,
    /// When the secret was created.
    pub created_at: Timestamp,
    /// When one of its codes was last accepted.
    pub last_used_at: Option<Timestamp>,
}

/// Reads the labels of an account, not counting pending factors created up to `since`, or before
/// the account's factors last changed.
pub fn labels(
    account: &Account,
    since: Timestamp,
    now: Timestamp,
) -> Result<Vec<LabelledFactor>, Error> {
    let read = |row: &Row| {
        let (created_at, last_used_at): (TimestampWithTimeZone, _) =
            (row.get(3)?, row.optional(4)?);
        Ok(LabelledFactor {
            label: row.get(1)?,
            state: row.get(2)?,
            created_at: clock::from_sql(&created_at),
            last_used_at: last_used_at.as_ref().map(clock::from_sql),
        })
    };
    LABELS.rows(&[account.into(), since.into(), now.into()], read)
}

/// Returns whether the account has an active factor, and no recovery has taken effect.
pub fn is_enrolled(account: &Account, now: Timestamp) -> Result<bool, Error> {
    ENROLLED.value(&[account.into(), now.into()])
}

/// A factor and its state.
pub struct FactorRow {
    /// The factor.
    pub factor: Factor,
    /// `pending` or `active`.
    pub state: String,
}

impl FactorRow {
    /// Returns whether a code has confirmed the factor.
    pub fn is_active(&self) -> bool {
        self.state == "active"
    }
}

/// Reads all factors of an account, including pending ones.
pub fn all(account: &Account) -> Result<Vec<FactorRow>, Error> {
    let read =
        |row: &Row| Ok(FactorRow { factor: factor(row, row.get(1)?, 2)?, state: row.get(10)? });
    ALL.rows(&[account.into()], read)
}

/// Locks the factors of an account, and so waits for codes that are being spent.
pub fn lock(account: &Account) -> Result<(), Error> {
    LOCK.rows(&[account.into()], |_| Ok(())).map(|_| ())
}

/// Reads all factors of several accounts, each with its account.
pub fn all_of(accounts: &[&str]) -> Result<Vec<(String, FactorRow)>, Error> {
    let read = |row: &Row| {
        let factor = factor(row, row.get(1)?, 2)?;
        Ok((row.get(11)?, FactorRow { factor, state: row.get(10)? }))
    };
    let names: Vec<String> = accounts.iter().map(|&account| account.to_owned()).collect();
    ALL_OF.rows(&[names.into()], read)
}

/// Writes active factors that were created at one time and encrypted with one key. The accounts must
/// not have any with the same labels.
pub fn insert_imported(
    factors: &[(&Account, Factor)],
    key_id: &str,
    created_at: Timestamp,
) -> Result<(), Error> {
    let texts = |text: fn(&Account, &Factor) -> String| -> DatumWithOid {
        factors.iter().map(|(account, factor)| text(account, factor)).collect::<Vec<_>>().into()
    };
    let numbers = |number: fn(&Factor) -> i32| -> DatumWithOid {
        factors.iter().map(|(_, factor)| number(factor)).collect::<Vec<_>>().into()
    };
    let steps: Vec<i64> = factors.iter().map(|(_, factor)| factor.last_step).collect();
    INSERT_IMPORTED.run(&[
        texts(|account, _| account.to_string()),
        texts(|_, factor| factor.label.to_string()),
        texts(|_, factor| factor.parameters.algorithm.name().to_owned()),
        numbers(|factor| factor.parameters.digits.into()),
        numbers(|factor| factor.parameters.period.cast_signed()),
        texts(|_, factor| factor.ciphertext.token.clone()),
        key_id.into(),
        steps.into(),
        numbers(|factor| i32::try_from(factor.drift).unwrap_or_default()),
        created_at.into(),
    ])
}

/// Writes a pending factor, replacing a pending one with the same label.
pub fn upsert_pending(account: &Account, factor: &Factor) -> Result<(), Error> {
    UPSERT_PENDING.run(&row_arguments(account, factor))
}

/// Writes an active factor. The account must not have one with the same label.
pub fn insert_active(account: &Account, factor: &Factor) -> Result<(), Error> {
    INSERT_ACTIVE.run(&row_arguments(account, factor))
}

/// Writes a factor's re-encrypted secret and its newest spent step.
pub fn reencrypt(
    account: &Account,
    row: &FactorRow,
    ciphertext: &Ciphertext,
    last_step: i64,
) -> Result<(), Error> {
    REENCRYPT.run(&[
        account.into(),
        (&row.factor.label).into(),
        row.state.as_str().into(),
        ciphertext.token.as_str().into(),
        ciphertext.key_id.as_str().into(),
        last_step.into(),
    ])
}

/// Removes the factors with a label, both pending and active.
pub fn delete(account: &Account, label: &Label) -> Result<(), Error> {
    DELETE.run(&[account.into(), label.into()])
}

/// Removes the pending factors of all accounts created up to `until`, and returns their number.
pub fn prune(until: Timestamp) -> Result<usize, Error> {
    PRUNE.execute(&[until.into()])
}

/// Returns how many other labels an account has, not counting those of pending factors created up
/// to `since`, or before the account's factors last changed.
pub fn count_others(account: &Account, label: &Label, since: Timestamp) -> Result<usize, Error> {
    let arguments = [account.into(), label.into(), since.into()];
    let count: i32 = COUNT_OTHERS.value(&arguments)?;
    Ok(usize::try_from(count).unwrap_or_default())
}

/// Spends a step of an active factor. Returns `false` if the step or a newer one was already spent,
/// or if the secret was replaced.
pub fn spend(account: &Account, factor: &Factor, spent: SpentStep) -> Result<bool, Error> {
    Ok(SPEND.execute(&step_arguments(account, factor, spent))? > 0)
}

/// Activates a pending factor, replacing an active one with its label, and spends the step that
/// confirmed it. Returns `false` if it is no longer pending. The caller holds the account's row.
pub fn activate(account: &Account, factor: &Factor, spent: SpentStep) -> Result<bool, Error> {
    DELETE_ACTIVE.execute(&[account.into(), (&factor.label).into()])?;
    let written = ACTIVATE.execute(&step_arguments(account, factor, spent))?;
    Ok(written > 0)
}

/// Removes all factors of an account, including pending ones, and what is known of removed ones.
pub fn delete_all(account: &Account) -> Result<(), Error> {
    DELETE_ALL.run(&[account.into()])
}

/// Removes some pending factors of any account created up to `until`.
pub fn sweep(until: Timestamp) -> Result<(), Error> {
    SWEEP.run(&[until.into()])
}

fn step_arguments<'a>(
    account: &'a Account,
    factor: &'a Factor,
    spent: SpentStep,
) -> [DatumWithOid<'a>; 6] {
    [
        account.into(),
        (&factor.label).into(),
        factor.created_at.into(),
        spent.step.into(),
        i32::try_from(spent.drift).unwrap_or_default().into(),
        spent.at.into(),
    ]
}

fn row_arguments<'a>(account: &'a Account, factor: &'a Factor) -> Vec<DatumWithOid<'a>> {
    vec![
        account.into(),
        (&factor.label).into(),
        factor.parameters.algorithm.name().into(),
        i32::from(factor.parameters.digits).into(),
        factor.parameters.period.cast_signed().into(),
        factor.ciphertext.token.as_str().into(),
        factor.ciphertext.key_id.as_str().into(),
        factor.created_at.into(),
    ]
}

/// Reads a factor whose columns begin at position `first`, with the algorithm.
fn factor(row: &Row, label: String, first: usize) -> Result<Factor, Error> {
    let corrupt = |_| Error::Corrupt("factor");
    let algorithm: String = row.get(first)?;
    let created_at: TimestampWithTimeZone = row.get(first + 7)?;
    Ok(Factor {
        label: Label::new(label).map_err(corrupt)?,
        parameters: Parameters::new(&algorithm, row.get(first + 1)?, row.get(first + 2)?)
            .map_err(corrupt)?,
        ciphertext: Ciphertext { token: row.get(first + 3)?, key_id: row.get(first + 4)? },
        last_step: row.get(first + 5)?,
        drift: row.get::<i32>(first + 6)?.into(),
        created_at: clock::from_sql(&created_at),
    })
}
