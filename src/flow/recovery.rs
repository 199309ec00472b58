//! Recovery links, for people who have lost their authenticator apps and backup codes.

use super::audit::field;
use super::context::Context;
use super::disable::disable_without_code;
use super::token::{TokenSpec, issue};
use crate::error::Error;
use crate::pure::audit::{Event, Outcome};
use crate::pure::event;
use crate::pure::name::Account;
use crate::pure::timestamp::Timestamp;
use crate::pure::token::{Kind, Token};
use crate::pure::verdict::Reason;
use crate::store::account::Recovery;
use crate::store::token::StoredToken;
use crate::{server, settings, store};
use serde_json::Map;
use zeroize::Zeroizing;

/// The longest time for which a recovery that waits can keep its token valid after the token's own
/// expiry: the longest delay, and as long again.
const LONGEST_SECS: i64 = 2 * 30 * 86_400;

/// Creates a token for the application to mail. It is valid for `ttl` microseconds, by default for
/// `totp.recovery_ttl`.
pub fn create(account: &Account, ttl: Option<i64>) -> Result<Zeroizing<String>, Error> {
    let context = Context::begin()?;
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
    /// When the recovery can take effect, if it has to wait.
    pub effective_at: Option<Timestamp>,
}

impl From<Reason> for Answer {
    fn from(reason: Reason) -> Self {
        Self { reason, effective_at: None }
    }
}

/// Turns two-factor authentication off for the account of a token, once. With
/// `totp.recovery_delay`, the first call only begins the delay, and one after it takes effect.
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
    // The account's factors cannot change while its row is locked: the token is checked again then.
    let account = &stored.scope.account;
    if store::account::lock(account)?.is_none()
        || !store::token::load(&token)?.is_some_and(|stored| stored.is_current && !stored.is_used)
    {
        return Ok(gone.into());
    }
    let recovery = match store::account::recovery(account, context.now)? {
        None if settings::recovery_delay() > 0 => Some(start(&context, account)?),
        recovery => recovery,
    };
    if let Some(recovery) = recovery
        && context.now < recovery.effective_at
    {
        // The link that was used now is the one to be used then.
        store::token::extend(&token, recovery.expires_at)?;
        return Ok(Answer { reason: Reason::Waiting, effective_at: Some(recovery.effective_at) });
    }
    if !store::token::spend(&token, context.now)? {
        return Ok(gone.into());
    }
    disable_without_code(&context, account)?;
    context.record(account, Event::Recover, Outcome::Ok, Map::new())?;
    context.announce(account, event::Kind::Recovered, Map::new())?;
    if settings::force_sync_commit() {
        server::force_sync_commit();
    }
    Ok(Reason::Ok.into())
}

/// Begins the delay of a recovery. If nobody uses the link in time after it, the recovery lapses,
/// so that a later link has to wait again.
fn start(context: &Context, account: &Account) -> Result<Recovery, Error> {
    let delay = settings::recovery_delay();
    let effective_at = context.now.plus_secs(delay);
    let expires_at = effective_at.plus_secs(delay.max(settings::recovery_ttl()));
    let recovery = Recovery { effective_at, expires_at };
    store::account::start_recovery(account, &recovery)?;
    let fields = field("delay_seconds", delay);
    context.record(account, Event::RecoveryStart, Outcome::Ok, fields.clone())?;
    context.announce(account, event::Kind::RecoveryStarted, fields)?;
    Ok(recovery)
}
