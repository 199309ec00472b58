//! Enrolment, from a new secret to a confirmed factor.

use super::attempt::{Attempt, locked};
use super::audit::field;
use super::backup_code;
use super::context::Context;
use super::verify::{DecryptedFactor, check_lock, is_suspended};
use crate::error::Error;
use crate::guard::AccountGuard;
use crate::pure::audit::{Event, Outcome};
use crate::pure::code::TotpCode;
use crate::pure::keyring::{AssociatedData, Plaintext};
use crate::pure::name::{Account, AccountName, Issuer, Label};
use crate::pure::otp::Parameters;
use crate::pure::secret::Secret;
use crate::pure::verdict::{Method, Reason, Verdict};
use crate::pure::{qr, uri};
use crate::store::factor::{Factor, SpentStep};
use crate::{random, server, settings, store};
use serde_json::Map;
use zeroize::Zeroizing;

/// Maximum number of factors per account, including pending ones.
pub const FACTORS_LIMIT: i32 = 20;

/// What a person needs to set up an authenticator app.
pub struct Created {
    /// The secret in base32, for typing in.
    pub secret: Zeroizing<String>,
    /// The `otpauth` URI.
    pub uri: Zeroizing<String>,
    /// The URI as a QR code.
    pub qr_svg: String,
}

/// Creates a pending factor, replacing a pending one with the same label. An active one keeps
/// working.
pub fn create(
    account: &Account,
    label: Label,
    issuer: Option<Issuer>,
    account_name: AccountName,
    parameters: Parameters,
) -> Result<Created, Error> {
    let context = Context::begin()?;
    let issuer = match issuer {
        Some(issuer) => issuer,
        None => Issuer::new(settings::issuer().unwrap_or_else(server::database_name))?,
    };
    let secret = Secret::from_bytes(random::vec(parameters.algorithm.secret_bytes())?)?;
    let uri = uri::build(&secret, &account_name, &issuer, &parameters);
    let qr_svg = qr::svg(&uri)?;

    let account_guard = AccountGuard::of(account);
    if store::account::ensure(account, context.now)? {
        // Shared memory may have failures of a removed account of this name. There is no secret to
        // guess yet.
        account_guard.created();
        account_guard.clear_at_commit();
    }
    store::account::lock(account)?;
    let expired = context.now.plus_secs(-settings::pending_ttl());
    if store::factor::count_others(account, &label, expired)? >= FACTORS_LIMIT {
        return Err(Error::TooManyFactors);
    }
    let associated_data = AssociatedData::factor(account, &label, context.now);
    let plaintext = Plaintext {
        issuer: Some(issuer.to_string()),
        account_name: Some(account_name.to_string()),
        ..Plaintext::of(secret.expose())
    };
    let ciphertext = context.keyring.encrypt(&associated_data, &plaintext);
    let factor =
        Factor { label, parameters, ciphertext, last_step: -1, drift: 0, created_at: context.now };
    store::factor::upsert_pending(account, &factor)?;
    account_guard.created_secret(secret.expose());
    context.record_free(account, Event::Create, Outcome::Ok, field("label", &*factor.label))?;
    store::factor::sweep(expired)?;
    Ok(Created { secret: secret.to_base32(), uri, qr_svg })
}

/// The result of a confirmation.
pub struct Confirmation {
    /// Whether the factor is active now.
    pub verdict: Verdict,
    /// New backup codes, if the account had none.
    pub backup_codes: Option<Vec<String>>,
}

impl From<Verdict> for Confirmation {
    fn from(verdict: Verdict) -> Self {
        Self { verdict, backup_codes: None }
    }
}

/// Checks the first code of a pending factor and activates the factor.
pub fn confirm(
    account: &Account,
    label: &Label,
    code: Option<&TotpCode>,
) -> Result<Confirmation, Error> {
    let context = Context::begin()?;
    if let Some(verdict) = check_lock(account, context.now)? {
        return Ok(verdict.into());
    }
    let lock_state = store::account::lock(account)?.ok_or(Error::NoPending)?;
    let since = context.now.plus_secs(-settings::pending_ttl());
    let pending = store::factor::pending(account, label, since)?.ok_or(Error::NoPending)?;
    let account_guard = AccountGuard::of(account);
    let memory = account_guard.lock_state();
    if let Some(until) = lock_state.stricter(&memory).locked(context.now) {
        return Ok(locked(until, context.now).into());
    }
    if is_suspended(&lock_state, &memory) {
        return Ok(Verdict::refused(Reason::Suspended, None).into());
    }
    let Some(code) = code else {
        return Ok(Verdict::refused(Reason::Invalid, None).into());
    };
    let decrypted = DecryptedFactor::decrypt(&context.keyring, account, pending)?;
    let attempt = match Attempt::begin(
        &context,
        account,
        &account_guard,
        Event::Confirm,
        code.expose(),
        lock_state,
    ) {
        Ok(attempt) => attempt,
        Err(verdict) => return Ok(verdict.into()),
    };
    let (window, now) = decrypted.window(&context);
    let Some(step) = decrypted.otp.find(code, window.steps(now)) else {
        return Ok(attempt.fail(Outcome::Invalid)?.into());
    };
    if let Err(refusal) = attempt.spend_in_memory(
        &decrypted.factor,
        decrypted.secret.expose(),
        step,
        settings::window_steps(),
    ) {
        return Ok(attempt.reject(refusal)?.into());
    }
    let drift = window.follow(step - now, settings::resync_steps());
    let spent = SpentStep { step, drift, at: context.now };
    if !store::factor::activate(account, &decrypted.factor, spent)? {
        return Err(Error::NoPending);
    }
    store::account::mark_changed(account, context.now)?;
    let backup_codes = match store::backup_code::count(account)? {
        0 => Some(backup_code::new_set(&context, account)?),
        _ => None,
    };
    let method = Method::Totp { label: label.to_string() };
    if let Some(entry) = attempt.success_entry(&method, Map::new()) {
        store::audit::append(&entry)?;
    }
    Ok(Confirmation { verdict: attempt.succeed(method)?, backup_codes })
}
