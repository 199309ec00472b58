//! Hardware tokens: their import, their assignment to accounts, and their removal.

use super::attempt::{Attempt, locked};
use super::audit::field;
use super::bulk_import::{BATCH, Options, Outcome, Progress};
use super::context::Context;
use super::enrol::{Confirmation, FACTORS_LIMIT, activate};
use super::import::{WEAK_BELOW_BYTES, has_secret};
use super::verify::{DecryptedFactor, check_lock, is_suspended};
use crate::error::{Error, notice};
use crate::guard::AccountGuard;
use crate::keys::import_file;
use crate::pure::audit::{Event, Outcome as AuditOutcome};
use crate::pure::code::TotpCode;
use crate::pure::import::hardware_token::{
    NumberedToken, SourceToken, StoredToken, Tokens, is_new,
};
use crate::pure::import::{Problem, pskc};
use crate::pure::keyring::{AssociatedData, Plaintext};
use crate::pure::name::{Account, AuditReason, Label, Serial};
use crate::pure::otp::Parameters;
use crate::pure::secret::Secret;
use crate::pure::verdict::{Reason, Verdict};
use crate::store::factor::{Factor, FactorRow, SpentStep};
use crate::store::hardware_token::HardwareToken;
use crate::{server, store};
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};
use zeroize::Zeroizing;

/// How many steps a token's clock may be off when it is assigned: with the usual period, a bit more
/// than eight hours, as after years in a drawer. Two wrong codes match by chance in one of 500 million
/// attempts.
const DRIFT_LIMIT: i64 = 1_000;

/// Reads the tokens of a PSKC document. `key_file` names the file with its key or password.
pub fn of_pskc(document: &str, key_file: Option<&str>) -> Result<Tokens, Error> {
    let key = key_file.map(import_file::read).transpose()?;
    Ok(pskc::parse(document, key.as_deref().map(String::as_str))?)
}

/// Imports tokens, which belong to nobody yet. The account of an outcome is the serial number.
pub fn import(options: &Options, tokens: Tokens) -> Result<Vec<Outcome>, Error> {
    let context = Context::begin()?;
    let (mut outcomes, mut weak, mut progress) = (Vec::new(), 0, Progress::begin());
    let mut rows = tokens.into_rows();
    loop {
        let batch: Vec<_> = rows.by_ref().take(BATCH.unsigned_abs() as usize).collect();
        if batch.is_empty() {
            break;
        }
        server::check_for_interrupts();
        let written =
            server::with_own_memory(|| import_batch(&context, options, &batch, &mut weak))?;
        outcomes.extend(written);
        progress.report(outcomes.len());
    }
    if weak > 0 {
        notice::weak_secrets(weak);
    }
    Ok(outcomes)
}

fn import_batch(
    context: &Context,
    options: &Options,
    batch: &[NumberedToken],
    weak: &mut u64,
) -> Result<Vec<Outcome>, Error> {
    let serials: Vec<&Serial> =
        batch.iter().filter_map(|(serial, _)| serial.as_ref().ok()).collect();
    let stored = store::hardware_token::load(&serials, context.now)?;
    let stored: HashMap<&str, &HardwareToken> =
        stored.iter().map(|token| (token.serial.as_str(), token)).collect();
    let mut outcomes = Vec::with_capacity(batch.len());
    let mut new = Vec::new();
    for (serial, token) in batch {
        let mut outcome =
            Outcome { account: None, factors: 0, backup_codes: 0, problems: Vec::new() };
        match (serial, token) {
            (Err(problem), _) => outcome.problems.push(problem.clone()),
            (Ok(serial), token) => {
                outcome.account = Some(serial.to_string());
                let token = token.as_ref().map_err(Clone::clone);
                let stored = stored.get(&**serial).copied();
                match token.and_then(|token| Ok((is_new_here(context, token, stored)?, token))) {
                    Ok((true, token)) => new.push((outcomes.len(), serial, token)),
                    Ok((false, _)) => {}
                    Err(problem) => outcome.problems.push(problem),
                }
            }
        }
        outcomes.push(outcome);
    }
    let written = if options.dry_run { None } else { Some(write(context, options, &new)?) };
    for (position, serial, token) in new {
        let Some(outcome) = outcomes.get_mut(position) else {
            continue;
        };
        if written.as_ref().is_none_or(|written| written.contains(&**serial)) {
            outcome.factors = 1;
            *weak += u64::from(is_weak(token));
        } else {
            outcome.problems.push(Problem::ImportedMeanwhile);
        }
    }
    Ok(outcomes)
}

fn is_new_here(
    context: &Context,
    token: &SourceToken,
    stored: Option<&HardwareToken>,
) -> Result<bool, Problem> {
    let secret = stored.and_then(|stored| decrypt(context, stored).ok());
    let stored = stored.map(|stored| StoredToken {
        parameters: stored.parameters,
        secret: secret.as_ref().map(|secret| secret.expose()),
    });
    is_new(token, stored.as_ref())
}

fn is_weak(token: &SourceToken) -> bool {
    token.secret.expose().len() < WEAK_BELOW_BYTES
}

/// Writes new tokens and their audit entries. Returns the serial numbers that were not taken.
fn write(
    context: &Context,
    options: &Options,
    new: &[(usize, &Serial, &SourceToken)],
) -> Result<HashSet<String>, Error> {
    let encrypt = |(_, serial, token): &(usize, &'_ Serial, &SourceToken)| {
        let associated_data = AssociatedData::hardware_token(serial, context.now);
        context.keyring.encrypt(&associated_data, &Plaintext::of(token.secret.expose()))
    };
    let rows: Vec<(&Serial, Parameters, _)> =
        new.iter().map(|it| (it.1, it.2.parameters, encrypt(it))).collect();
    let key_id = context.keyring.primary_id();
    let written = store::hardware_token::insert(&rows, key_id, context.now)?;
    let written: HashSet<String> = written.into_iter().collect();
    let of_written = new.iter().filter(|(_, serial, _)| written.contains(&***serial));
    let entries = of_written.filter_map(|(_, serial, token)| {
        let mut fields = field("serial", &***serial);
        fields.insert("weak".to_owned(), is_weak(token).into());
        fields.insert("function".to_owned(), options.function.into());
        add_reason(&mut fields, options.reason.as_ref());
        context.general_entry(Event::Import, fields)
    });
    store::audit::append_all(&entries.collect::<Vec<_>>())?;
    Ok(written)
}

fn add_reason(fields: &mut Map<String, Value>, reason: Option<&AuditReason>) {
    if let Some(reason) = reason {
        fields.insert("reason".to_owned(), (**reason).into());
    }
}

fn decrypt(context: &Context, token: &HardwareToken) -> Result<Secret, Error> {
    let associated_data = AssociatedData::hardware_token(&token.serial, token.created_at);
    let plaintext = context.keyring.decrypt(&associated_data, &token.ciphertext)?;
    Ok(Secret::from_bytes(plaintext.value.to_vec())?)
}

/// Makes a token a factor of an account, labelled with the serial number, if two consecutive codes show
/// that the user has it. They also tell how far the token's clock is off.
pub fn assign(
    account: &Account,
    serial: &Serial,
    codes: Option<(&TotpCode, &TotpCode)>,
) -> Result<Confirmation, Error> {
    let context = Context::begin()?;
    if let Some(verdict) = check_lock(account, context.now)? {
        return Ok(verdict.into());
    }
    // An unknown serial number creates no account.
    find(&context, serial)?;
    context.ensure_account(account)?;
    let lock_state = context.lock_account(account)?.ok_or(Error::NoAccount)?;
    store::hardware_token::lock(serial)?;
    // Read again: another transaction may have assigned it while this one was waiting.
    let token = find(&context, serial)?;
    let account_guard = AccountGuard::of(account);
    let memory = account_guard.lock_state();
    if let Some(until) = lock_state.stricter(&memory).locked(context.now) {
        return Ok(locked(until, context.now).into());
    }
    if is_suspended(&lock_state, &memory) {
        return Ok(Verdict::refused(Reason::Suspended, None).into());
    }
    let Some((first, second)) = codes else {
        return Ok(Verdict::refused(Reason::Invalid, None).into());
    };
    let factor = new_factor(&context, account, &token)?;
    let decrypted = DecryptedFactor::decrypt(&context.keyring, account, factor)?;
    let codes = Zeroizing::new([first.expose(), second.expose()].concat());
    let attempt = match Attempt::begin(
        &context,
        account,
        &account_guard,
        Event::Assign,
        &codes,
        lock_state,
    ) {
        Ok(attempt) => attempt,
        Err(verdict) => return Ok(verdict.into()),
    };
    let now = context.now.step(token.parameters.period.into());
    // The second code's step sets the drift, so it must be within the limit.
    let steps = now.saturating_sub(DRIFT_LIMIT + 1)..=now.saturating_add(DRIFT_LIMIT - 1);
    let Some(step) = decrypted.otp.find_pair(first, second, steps) else {
        return Ok(attempt.fail(AuditOutcome::Invalid)?.into());
    };
    let drift = step - now;
    let factor = Factor { drift, ..decrypted.factor };
    let secret = decrypted.secret.expose();
    if let Err(refusal) = attempt.spend_in_memory(&factor, secret, step, drift.max(0)) {
        return Ok(attempt.reject(refusal)?.into());
    }
    store::factor::upsert_pending(account, &factor)?;
    store::hardware_token::assign(serial, account, factor.created_at, step)?;
    let spent = SpentStep { step, drift, at: context.now };
    activate(&context, account, &factor, spent, attempt)
}

fn find(context: &Context, serial: &Serial) -> Result<HardwareToken, Error> {
    match store::hardware_token::load(&[serial], context.now)?.pop() {
        None => Err(Error::NoHardwareToken),
        Some(token) if token.is_assigned => Err(Error::HardwareTokenAssigned),
        Some(token) => Ok(token),
    }
}

/// Returns the factor that a token becomes. Fails if the account has one with its label or secret.
fn new_factor(
    context: &Context,
    account: &Account,
    token: &HardwareToken,
) -> Result<Factor, Error> {
    let label = Label::new(token.serial.clone())?;
    let secret = decrypt(context, token)?;
    let factors = store::factor::all(account)?;
    // Pending ones with this label are replaced; the others will be void.
    let active: Vec<FactorRow> = factors.into_iter().filter(FactorRow::is_active).collect();
    if active
        .iter()
        .any(|row| row.factor.label == label || has_secret(context, account, row, &secret))
    {
        return Err(Error::FactorExists);
    }
    if active.len() >= FACTORS_LIMIT {
        return Err(Error::TooManyFactors);
    }
    let associated_data = AssociatedData::factor(account, &label, context.now);
    let ciphertext = context.keyring.encrypt(&associated_data, &Plaintext::of(secret.expose()));
    Ok(Factor {
        label,
        parameters: token.parameters,
        ciphertext,
        last_step: token.last_step,
        drift: 0,
        created_at: context.now,
    })
}

/// Removes a token. A factor that was made of it stays. Returns `false` if there is none.
pub fn remove(serial: &Serial, reason: &AuditReason) -> Result<bool, Error> {
    let context = Context::begin()?;
    if !store::hardware_token::delete(serial)? {
        return Ok(false);
    }
    let mut fields = field("serial", &**serial);
    add_reason(&mut fields, Some(reason));
    context.record_general(Event::TokenRemove, fields)?;
    Ok(true)
}
