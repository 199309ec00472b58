//! Enrolment, from a new secret to a confirmed factor.

use super::attempt::{Attempt, locked};
use super::audit::field;
use super::backup_code;
use super::context::Context;
use super::session;
use super::tenant::Tenant;
use super::verify::{DecryptedFactor, check_lock, is_suspended};
use super::waiting_recovery::cancel_by_code;
use crate::error::Error;
use crate::guard::AccountGuard;
use crate::pure::audit::{Event, Outcome};
use crate::pure::code::TotpCode;
use crate::pure::event::Kind;
use crate::pure::keyring::{AssociatedData, Plaintext};
use crate::pure::name::{Account, AccountName, Image, Issuer, Label};
use crate::pure::otp::Parameters;
use crate::pure::secret::Secret;
use crate::pure::verdict::{Method, Reason, Verdict};
use crate::pure::{qr, uri};
use crate::store::factor::{Factor, SpentStep};
use crate::{random, server, settings, store};
use serde_json::Map;
use zeroize::Zeroizing;

/// Maximum number of factors per account, including pending ones.
pub const FACTORS_LIMIT: usize = 20;

/// How long a pending secret can be shown again. A page is reloaded at once, or not at all.
const REUSABLE_SECS: i64 = 60;

/// How far from the server's time to look for a first code, to tell a wrong clock from a wrong
/// code. A wrong code of 6 digits matches one of the 5760 steps by chance with p = 0.6 %, and is
/// then reported as a clock that is off.
const CLOCK_OFF_SECS: i64 = 86_400;

/// What a person needs to set up an authenticator app.
pub struct Created {
    /// The secret.
    pub secret: Secret,
    /// The `otpauth` URI.
    pub uri: Zeroizing<String>,
    /// The URI as a QR code, if that was asked for.
    pub qr_svg: Option<String>,
}

impl Created {
    fn new(
        secret: Secret,
        account_name: &AccountName,
        issuer: &Issuer,
        parameters: &Parameters,
        image: Option<&Image>,
        qr: bool,
    ) -> Result<Self, Error> {
        let uri = uri::build(&secret, account_name, issuer, parameters, image);
        let qr_svg = qr.then(|| qr::svg(&uri)).transpose()?;
        Ok(Self { secret, uri, qr_svg })
    }
}

/// A secret to create, and how an authenticator app shows it.
pub struct NewFactor {
    /// The label.
    pub label: Label,
    /// The issuer; the tenant's if there is none.
    pub issuer: Option<Issuer>,
    /// The account.
    pub account_name: AccountName,
    /// The name of the algorithm.
    pub algorithm: String,
    /// The number of digits; the tenant's if there is none.
    pub digits: Option<i32>,
    /// The period in seconds; the tenant's if there is none.
    pub period: Option<i32>,
    /// Whether a pending secret from the last minute may be returned instead, if it has the same
    /// properties.
    pub reuse: bool,
    /// Whether to draw the QR code, which takes longer than everything else.
    pub qr: bool,
}

/// Creates a pending factor, replacing a pending one with the same label. An active one keeps
/// working.
pub fn create(account: &Account, new: NewFactor) -> Result<Created, Error> {
    let context = Context::begin()?;
    let NewFactor { label, issuer, account_name, algorithm, digits, period, reuse, qr } = new;
    let tenant = Tenant::of(account)?;
    let issuer = tenant.issuer(issuer)?;
    let parameters = tenant.parameters(&algorithm, digits, period)?;
    let image = tenant.image.as_ref();
    let secret = Secret::from_bytes(random::vec(parameters.algorithm.secret_bytes())?)?;
    let created = Created::new(secret, &account_name, &issuer, &parameters, image, qr)?;
    let session = session::current().filter(|session| session.account == *account);
    // A session without an ID could be anyone's.
    let reuse = reuse && session.as_ref().is_none_or(|session| session.id.is_some());
    let plaintext = Plaintext {
        issuer: Some(issuer.to_string()),
        account_name: Some(account_name.to_string()),
        session: session.and_then(|session| session.id),
        ..Plaintext::of(created.secret.expose())
    };

    context.ensure_account(account)?;
    context.lock_account(account)?;
    let expired = context.now.plus_secs(-settings::pending_ttl());
    if reuse && let Some(pending) = pending_like(&context, account, &label, parameters, &plaintext)?
    {
        let mut fields = field("label", &*label);
        fields.insert("reused".to_owned(), true.into());
        context.record_free(account, Event::Create, Outcome::Ok, fields)?;
        return Created::new(pending, &account_name, &issuer, &parameters, image, qr);
    }
    // Before the first enrolment, anyone who knows the password can create pending factors: they
    // must not keep the owner from enrolling.
    let is_first = &*label == Label::DEFAULT && !store::factor::is_enrolled(account, context.now)?;
    if !is_first && store::factor::count_others(account, &label, expired)? >= FACTORS_LIMIT {
        return Err(Error::TooManyFactors);
    }
    let associated_data = AssociatedData::factor(account, &label, context.now);
    let ciphertext = context.keyring.encrypt(&associated_data, &plaintext);
    let factor =
        Factor { label, parameters, ciphertext, last_step: -1, drift: 0, created_at: context.now };
    store::factor::upsert_pending(account, &factor)?;
    AccountGuard::of(account).created_secret(created.secret.expose());
    context.record_free(account, Event::Create, Outcome::Ok, field("label", &*factor.label))?;
    // At other isolation levels, rows that another transaction has removed would cause errors.
    if server::is_read_committed() {
        store::factor::sweep(expired)?;
    }
    Ok(created)
}

/// Returns the secret of a pending factor from the last minute, if it is otherwise like a new one,
/// both in what an authenticator app shows and in the session that created it.
fn pending_like(
    context: &Context,
    account: &Account,
    label: &Label,
    parameters: Parameters,
    new: &Plaintext,
) -> Result<Option<Secret>, Error> {
    let since = context.now.plus_secs(-settings::pending_ttl().min(REUSABLE_SECS));
    let pending = store::factor::pending(account, label, since)?;
    let Some(factor) = pending.filter(|factor| factor.parameters == parameters) else {
        return Ok(None);
    };
    let associated_data = AssociatedData::factor(account, label, factor.created_at);
    // One that cannot be decrypted is replaced.
    let Ok(old) = context.keyring.decrypt(&associated_data, &factor.ciphertext) else {
        return Ok(None);
    };
    let shown = |it: &Plaintext| (it.issuer.clone(), it.account_name.clone(), it.session.clone());
    let is_like = shown(&old) == shown(new);
    Ok(if is_like { Some(Secret::from_bytes(old.value.to_vec())?) } else { None })
}

/// The result of a confirmation.
pub struct Confirmation {
    /// Whether the factor is active now.
    pub verdict: Verdict,
    /// New backup codes, if the account had none.
    pub backup_codes: Option<Vec<String>>,
    /// By how many seconds the clock of the authenticator app seems to be ahead, if that is why.
    pub clock_offset: Option<i64>,
}

impl From<Verdict> for Confirmation {
    fn from(verdict: Verdict) -> Self {
        Self { verdict, backup_codes: None, clock_offset: None }
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
    let lock_state = context.lock_account(account)?.ok_or(Error::NoPending)?;
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
        return miss(attempt, &decrypted, code, now);
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
    activate(&context, account, &decrypted.factor, spent, attempt)
}

/// Activates a pending factor, and ends the attempt that has confirmed it. Creates backup codes if the
/// account has none. The caller holds the account's row.
pub fn activate(
    context: &Context,
    account: &Account,
    factor: &Factor,
    spent: SpentStep,
    attempt: Attempt,
) -> Result<Confirmation, Error> {
    let kind = match settings::events() && store::factor::is_enrolled(account, context.now)? {
        true => Kind::DeviceAdded,
        false => Kind::Enrolled,
    };
    if !store::factor::activate(account, factor, spent)? {
        return Err(Error::NoPending);
    }
    cancel_by_code(context, account, "totp")?;
    store::account::mark_changed(account, context.now)?;
    let backup_codes = match store::backup_code::count(account)? {
        0 => Some(backup_code::new_set(context, account)?),
        _ => None,
    };
    let method = Method::Totp { label: factor.label.to_string() };
    attempt.record_success(&method, Map::new())?;
    context.announce(account, kind, field("label", &*factor.label))?;
    Ok(Confirmation { verdict: attempt.succeed(method)?, backup_codes, clock_offset: None })
}

/// Counts a failure, and reports a code that would be right at another time. Only here: for a
/// confirmed factor, that would help to guess a code.
fn miss(
    attempt: Attempt,
    pending: &DecryptedFactor,
    code: &TotpCode,
    now: i64,
) -> Result<Confirmation, Error> {
    let period = i64::from(pending.factor.parameters.period);
    let Some(offset) = pending.otp.offset(code, now, CLOCK_OFF_SECS / period) else {
        return Ok(attempt.fail(Outcome::Invalid)?.into());
    };
    let verdict = Verdict { reason: Reason::ClockOff, ..attempt.fail(Outcome::ClockOff)? };
    Ok(Confirmation { clock_offset: Some(offset * period), ..verdict.into() })
}
