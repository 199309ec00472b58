//! Adjusting to an authenticator app whose clock has drifted (RFC 6238, section 6).

use super::attempt::{Attempt, Refusal};
use super::audit::field;
use super::context::Context;
use super::verify::{DecryptedFactor, check_lock, is_suspended};
use crate::error::Error;
use crate::guard::AccountGuard;
use crate::pure::audit::{Event, Outcome};
use crate::pure::code::TotpCode;
use crate::pure::event::Kind;
use crate::pure::name::{Account, Label};
use crate::pure::verdict::Method;
use crate::store::factor::SpentStep;
use crate::{settings, store};
use serde_json::Map;
use zeroize::Zeroizing;

/// Sets the drift of a factor from two consecutive codes. Returns `false` if they are not
/// consecutive or too far from the server's time, which counts as a failure.
pub fn resync(
    account: &Account,
    label: &Label,
    codes: Option<(&TotpCode, &TotpCode)>,
) -> Result<bool, Error> {
    let context = Context::begin()?;
    if check_lock(account, context.now)?.is_some() {
        return Ok(false);
    }
    let (Some(lock_state), Some((first, second))) = (context.lock_account(account)?, codes) else {
        return Ok(false);
    };
    let account_guard = AccountGuard::of(account);
    let memory = account_guard.lock_state();
    let is_locked = lock_state.stricter(&memory).locked(context.now).is_some();
    if is_locked || is_suspended(&lock_state, &memory) {
        return Ok(false);
    }
    let Some(enrolment) = store::factor::load(account)? else {
        return Ok(false);
    };
    let Some(factor) = enrolment.factors.into_iter().find(|factor| factor.label == *label) else {
        return Ok(false);
    };
    let decrypted = DecryptedFactor::decrypt(&context.keyring, account, factor)?;
    let codes = Zeroizing::new([first.expose(), second.expose()].concat());
    let Ok(attempt) =
        Attempt::begin(&context, account, &account_guard, Event::Resync, &codes, lock_state)
    else {
        return Ok(false);
    };
    let attempt = attempt.with_recovery(enrolment.recovery_at);
    let now = context.now.step(i64::from(decrypted.factor.parameters.period));
    let reach = settings::resync_steps();
    // The second code's step sets the drift, so it must be within reach.
    let steps = now.saturating_sub(reach + 1)..=now.saturating_add(reach - 1);
    let Some(step) = decrypted.otp.find_pair(first, second, steps) else {
        return Ok(attempt.fail(Outcome::Invalid)?.is_ok());
    };
    if let Err(refusal) =
        attempt.spend_in_memory(&decrypted.factor, decrypted.secret.expose(), step, reach)
    {
        return Ok(attempt.reject(refusal)?.is_ok());
    }
    let method = Method::Totp { label: label.to_string() };
    let spent = SpentStep { step, drift: step - now, at: context.now };
    let verdict = if store::factor::spend(account, &decrypted.factor, spent)? {
        attempt.record_success(&method, Map::new())?;
        context.announce(account, Kind::Resynced, field("label", &**label))?;
        attempt.succeed(method)?
    } else {
        attempt.reject(Refusal::Raced)?
    };
    Ok(verdict.is_ok())
}
