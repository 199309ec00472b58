//! Following an app's clock that went astray (RFC 6238, 6).

use super::attempt::{Opened, is_suspended, refused_by_lock};
use super::call::Call;
use super::trial::{Refusal, Trial};
use crate::error::Error;
use crate::guard::Subject;
use crate::pure::audit::{Event, Outcome};
use crate::pure::code::TotpCode;
use crate::pure::name::{Account, Label};
use crate::pure::verdict::Method;
use crate::store::factor::Spent;
use crate::{settings, store};
use serde_json::Map;

/// Sets the drift of a factor from two consecutive codes. `false` when they are no such pair near
/// enough to the server's time; that counts as a failure.
pub fn resync(
    account: &Account,
    label: &Label,
    codes: Option<(&TotpCode, &TotpCode)>,
) -> Result<bool, Error> {
    let call = Call::begin()?;
    if refused_by_lock(account, call.now)?.is_some() {
        return Ok(false);
    }
    let (Some(standing), Some((first, second))) = (store::account::lock(account)?, codes) else {
        return Ok(false);
    };
    let subject = Subject::of(account);
    let memory = subject.standing();
    let is_locked = standing.stricter(&memory).locked(call.now).is_some();
    if is_locked || is_suspended(&standing, &memory) {
        return Ok(false);
    }
    let factors = store::factor::load(account)?.map(|enrolment| enrolment.factors);
    let Some(factor) = factors.into_iter().flatten().find(|factor| factor.label == *label) else {
        return Ok(false);
    };
    let opened = Opened::open(&call.keyring, account, factor)?;
    let Ok(trial) = Trial::begin(&call, account, &subject, Event::Resync, standing) else {
        return Ok(false);
    };
    let now = call.now.step(i64::from(opened.factor.parameters.period));
    let reach = settings::resync_steps();
    // The second code's step must be within reach, so that its drift is.
    let steps = now.saturating_sub(reach + 1)..=now.saturating_add(reach - 1);
    let Some(step) = opened.otp.find_pair(first, second, steps) else {
        return Ok(trial.miss(Outcome::Invalid)?.is_ok());
    };
    if let Err(refusal) = trial.spend_in_memory(&opened.factor, opened.secret.expose(), step) {
        return Ok(trial.refuse(refusal)?.is_ok());
    }
    let method = Method::Totp { label: label.to_string() };
    let spent = Spent { step, drift: step - now, at: call.now };
    let audit = trial.success(&method, Map::new());
    let verdict = if store::factor::spend(account, &opened.factor, spent, audit)? {
        trial.hit(method)?
    } else {
        trial.refuse(Refusal::Raced)?
    };
    Ok(verdict.is_ok())
}
