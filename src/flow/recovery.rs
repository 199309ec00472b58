//! Recovery links, for people who have lost their authenticator apps and backup codes.

use super::context::Context;
use super::disable::disable_without_code;
use super::token::{TokenSpec, issue};
use crate::error::Error;
use crate::pure::audit::{Event, Outcome};
use crate::pure::event;
use crate::pure::name::Account;
use crate::pure::token::{Kind, Token};
use crate::{server, settings, store};
use serde_json::Map;
use zeroize::Zeroizing;

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

/// Turns two-factor authentication off for the account of a token, once. Returns `false` if the
/// token is not valid.
pub fn confirm(token: Option<&str>) -> Result<bool, Error> {
    let context = Context::begin()?;
    let Some(token) = token
        .and_then(|text| Token::read(text, Kind::Recovery, &context.keyring))
        .filter(|token| context.now < token.expires_at)
    else {
        return Ok(false);
    };
    let Some(stored) = store::token::load(&token)? else {
        return Ok(false);
    };
    // The account's factors cannot change while its row is locked: the token is checked again then.
    let account = &stored.scope.account;
    if store::account::lock(account)?.is_none()
        || !store::token::load(&token)?.is_some_and(|stored| stored.is_current)
        || !store::token::spend(&token, context.now)?
    {
        return Ok(false);
    }
    disable_without_code(&context, account)?;
    context.record(account, Event::Recover, Outcome::Ok, Map::new())?;
    context.announce(account, event::Kind::Recovered, Map::new())?;
    if settings::force_sync_commit() {
        server::force_sync_commit();
    }
    Ok(true)
}
