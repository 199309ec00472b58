//! From a new secret to a confirmed factor, and back to none.

use super::attempt::{Opened, attempt_within, is_suspended, refused_by_lock};
use super::backup;
use super::call::{Call, field};
use super::trial::{Trial, locked};
use crate::error::Error;
use crate::guard::Subject;
use crate::pure::audit::{Event, Outcome};
use crate::pure::code::{Code, TotpCode};
use crate::pure::keyring::{Content, Place};
use crate::pure::name::{Account, AccountName, Issuer, Label};
use crate::pure::otp::Parameters;
use crate::pure::secret::Secret;
use crate::pure::verdict::{Method, Reason, Verdict};
use crate::pure::{qr, uri};
use crate::store::factor::{Factor, Spent, Stated};
use crate::{random, server, settings, store};
use serde_json::Map;
use zeroize::Zeroizing;

/// The most factors of an account, pending ones included.
pub const FACTORS_LIMIT: i32 = 20;

/// What a person needs to set up an app.
pub struct Created {
    /// The secret in base32, to be typed in.
    pub secret: Zeroizing<String>,
    /// The `otpauth` URI.
    pub uri: Zeroizing<String>,
    /// The URI as a QR code.
    pub qr_svg: String,
}

/// Makes a pending factor, over an older pending one of its label. An active one goes on working.
pub fn create(
    account: &Account,
    label: Label,
    issuer: Option<Issuer>,
    account_name: AccountName,
    parameters: Parameters,
) -> Result<Created, Error> {
    let call = Call::begin()?;
    let issuer = match issuer {
        Some(issuer) => issuer,
        None => Issuer::new(settings::issuer().unwrap_or_else(server::database_name))?,
    };
    let secret = Secret::from_bytes(random::vec(parameters.algorithm.secret_bytes())?)?;
    let uri = uri::build(&secret, &account_name, &issuer, &parameters);
    let qr_svg = qr::svg(&uri)?;

    if store::account::ensure(account, call.now)? {
        // Memory may know a removed account of this name; nobody can guess at a secret yet.
        Subject::of(account).pardon();
    }
    store::account::lock(account)?;
    let expired = call.now.plus_secs(-settings::pending_ttl());
    if store::factor::count_others(account, &label, expired)? >= FACTORS_LIMIT {
        return Err(Error::TooManyFactors);
    }
    let place = Place::factor(account, &label, call.now);
    let content = Content {
        issuer: Some(issuer.to_string()),
        account_name: Some(account_name.to_string()),
        ..Content::of(secret.expose())
    };
    let sealed = call.keyring.seal(&place, &content);
    let factor =
        Factor { label, parameters, sealed, last_step: -1, drift: 0, created_at: call.now };
    store::factor::put_pending(account, &factor)?;
    call.record(account, Event::Create, Outcome::Ok, field("label", &*factor.label))?;
    store::factor::sweep(expired)?;
    Ok(Created { secret: secret.to_base32(), uri, qr_svg })
}

/// What came of a confirmation.
pub struct Confirmation {
    /// Whether the factor is active now.
    pub verdict: Verdict,
    /// New backup codes, when the account had none.
    pub backup_codes: Option<Vec<String>>,
}

impl From<Verdict> for Confirmation {
    fn from(verdict: Verdict) -> Self {
        Self { verdict, backup_codes: None }
    }
}

/// Checks the first code of a pending factor and makes the factor active.
pub fn confirm(
    account: &Account,
    label: &Label,
    code: Option<&TotpCode>,
) -> Result<Confirmation, Error> {
    let call = Call::begin()?;
    if let Some(verdict) = refused_by_lock(account, call.now)? {
        return Ok(verdict.into());
    }
    let standing = store::account::lock(account)?.ok_or(Error::NoPending)?;
    let since = call.now.plus_secs(-settings::pending_ttl());
    let pending = store::factor::pending(account, label, since)?.ok_or(Error::NoPending)?;
    let subject = Subject::of(account);
    let memory = subject.standing();
    if let Some(until) = standing.stricter(&memory).locked(call.now) {
        return Ok(locked(until, call.now).into());
    }
    if is_suspended(&standing, &memory) {
        return Ok(Verdict::refused(Reason::Suspended, None).into());
    }
    let Some(code) = code else {
        return Ok(Verdict::refused(Reason::Invalid, None).into());
    };
    let opened = Opened::open(&call.keyring, account, pending)?;
    let trial = match Trial::begin(&call, account, &subject, Event::Confirm, standing) {
        Ok(trial) => trial,
        Err(verdict) => return Ok(verdict.into()),
    };
    let (window, now) = opened.window(&call);
    let Some(step) = opened.otp.find(code, window.steps(now)) else {
        return Ok(trial.miss(Outcome::Invalid)?.into());
    };
    if let Err(refusal) = trial.spend_in_memory(&opened.factor, opened.secret.expose(), step) {
        return Ok(trial.refuse(refusal)?.into());
    }
    let drift = window.follow(step - now, settings::resync_steps());
    let spent = Spent { step, drift, at: call.now };
    if !store::factor::activate(account, &opened.factor, spent)? {
        return Err(Error::NoPending);
    }
    store::account::changed(account, call.now)?;
    let backup_codes = match store::backup_code::count(account)? {
        0 => Some(backup::new_set(&call, account)?),
        _ => None,
    };
    let method = Method::Totp { label: label.to_string() };
    if let Some(entry) = trial.success(&method, Map::new()) {
        store::audit_event::append(&entry)?;
    }
    Ok(Confirmation { verdict: trial.hit(method)?, backup_codes })
}

/// Switches two-factor authentication off, against a code.
pub fn disable(account: &Account, code: Option<&Code>) -> Result<Verdict, Error> {
    let call = Call::begin()?;
    if let Some(verdict) = refused_by_lock(account, call.now)? {
        return Ok(verdict);
    }
    store::account::lock(account)?;
    let verdict = attempt_within(&call, account, code, Event::Disable)?;
    if verdict.is_ok() {
        store::factor::delete_all(account)?;
        store::backup_code::delete_all(account)?;
        store::account::changed(account, call.now)?;
    }
    Ok(verdict)
}

/// Removes one of several apps, against a code of any of them or a backup code. The last active one
/// stays: that is `disable`.
pub fn remove(account: &Account, label: &Label, code: Option<&Code>) -> Result<bool, Error> {
    let call = Call::begin()?;
    if refused_by_lock(account, call.now)?.is_some() {
        return Ok(false);
    }
    store::account::lock(account)?.ok_or(Error::NoFactor)?;
    let factors = store::factor::all(account)?;
    let is_this = |stated: &&Stated| stated.factor.label == *label;
    if !factors.iter().any(|stated| is_this(&stated)) {
        return Err(Error::NoFactor);
    }
    let mut active = factors.iter().filter(|stated| stated.is_active()).peekable();
    if active.peek().is_some() && active.all(|stated| is_this(&stated)) {
        let fields = field("label", &**label);
        call.record(account, Event::Remove, Outcome::LastFactor, fields)?;
        return Ok(false);
    }
    let is_proved = attempt_within(&call, account, code, Event::Remove)?.is_ok();
    if is_proved {
        store::factor::delete(account, label)?;
        store::account::changed(account, call.now)?;
        call.record(account, Event::Remove, Outcome::Ok, field("removed", &**label))?;
    }
    Ok(is_proved)
}
