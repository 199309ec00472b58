//! Recovery links, for people who have lost their authenticator apps and backup codes.

use super::audit::field;
use super::context::Context;
use super::token::{TokenSpec, issue};
use super::waiting_recovery::recover;
use crate::error::Error;
use crate::pure::audit::{Event, Outcome};
use crate::pure::event;
use crate::pure::name::Account;
use crate::pure::timestamp::Timestamp;
use crate::pure::token::{Kind, Token};
use crate::pure::verdict::Reason;
use crate::store::token::StoredToken;
use crate::{guard, settings, store};
use serde_json::Map;
use zeroize::Zeroizing;

/// The longest time for which a recovery that waits can keep its token valid after the token's own
/// expiry: the longest delay, and as long again.
const LONGEST_SECS: i64 = 2 * 30 * 86_400;

/// Creates a token for the application to mail. It is valid for `ttl` microseconds, by default for
/// `totp.recovery_ttl`.
pub fn create(account: &Account, ttl: Option<i64>) -> Result<Zeroizing<String>, Error> {
    let context = Context::begin()?;
    context.complete_recovery(account)?;
    let ttl = ttl.unwrap_or_else(|| settings::recovery_ttl().saturating_mul(1_000_000));
    let scope =
        TokenSpec { kind: Kind::Recovery, purpose: "recovery", binding: None, claims: "{}" };
    let token = issue(&context, account, &scope, ttl)?;
    context.record(account, Event::RecoveryCreate, Outcome::Ok, Map::new())?;
    context.announce(account, event::Kind::RecoveryAsked, Map::new())?;
    Ok(token)
}

/// The answer to a recovery link.
pub struct Answer {
    /// `Ok` if two-factor authentication is off now.
    pub reason: Reason,
    /// When the recovery takes effect, if it has to wait.
    pub effective_at: Option<Timestamp>,
}

impl From<Reason> for Answer {
    fn from(reason: Reason) -> Self {
        Self { reason, effective_at: None }
    }
}

/// Turns two-factor authentication off for the account of a token, once. With
/// `totp.recovery_delay`, that takes effect after the delay.
pub fn confirm(token: Option<&str>) -> Result<Answer, Error> {
    let context = Context::begin()?;
    let Some(token) = token.and_then(|text| Token::read(text, Kind::Recovery, &context.keyring))
    else {
        return Ok(Reason::Invalid.into());
    };
    if token.expires_at.plus_secs(LONGEST_SECS) <= context.now {
        return Ok(Reason::Expired.into());
    }
    let gone = if context.now < token.expires_at { Reason::Spent } else { Reason::Expired };
    let is_expired = |stored: &StoredToken| stored.expires_at <= context.now;
    let Some(stored) = store::token::load(&token)?.filter(|stored| !is_expired(stored)) else {
        return Ok(gone.into());
    };
    let account = &stored.scope.account;
    if stored.is_current && !stored.is_used && context.complete_recovery(account)? {
        return Ok(Reason::Ok.into());
    }
    // The account's factors cannot change while its row is locked: the token is checked again then.
    let locked = store::account::lock(account)?;
    let is_valid = |stored: StoredToken| stored.is_current && !stored.is_used;
    let (Some(locked), true) = (locked, store::token::load(&token)?.is_some_and(is_valid)) else {
        return Ok(gone.into());
    };
    let effective_at = match locked.recovery_at {
        None if settings::recovery_delay() > 0 => start(&context, account)?,
        None => {
            if !store::token::spend(&token, context.now)? {
                return Ok(gone.into());
            }
            recover(&context, account)?;
            return Ok(Reason::Ok.into());
        }
        Some(effective_at) => effective_at,
    };
    // Until some time after that, using the link again shows how far the recovery is.
    let ttl = settings::recovery_delay().max(settings::recovery_ttl());
    store::token::extend(&token, effective_at.plus_secs(ttl))?;
    Ok(Answer { reason: Reason::Waiting, effective_at: Some(effective_at) })
}

/// Begins the delay of a recovery, and returns when it takes effect.
fn start(context: &Context, account: &Account) -> Result<Timestamp, Error> {
    let delay = settings::recovery_delay();
    let effective_at = context.now.plus_secs(delay);
    // A code that is about to be spent would not see the recovery that it should cancel.
    store::factor::lock(account)?;
    store::backup_code::lock(account)?;
    store::pass::lock(account)?;
    store::account::start_recovery(account, effective_at)?;
    guard::expect_recovery();
    let fields = field("delay_seconds", delay);
    context.record(account, Event::RecoveryStart, Outcome::Ok, fields.clone())?;
    context.announce(account, event::Kind::RecoveryStarted, fields)?;
    Ok(effective_at)
}
