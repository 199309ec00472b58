//! Trusted devices: "do not ask on this device again".

use super::audit::field;
use super::context::{self, Context, begin_reading};
use super::token::{TokenSpec, issue};
use super::waiting_recovery::is_over;
use crate::error::Error;
use crate::pure::audit::{Event, Outcome};
use crate::pure::event::Kind;
use crate::pure::name::Account;
use crate::pure::timestamp::Timestamp;
use crate::pure::token::{self, Token};
use crate::store::token::StoredToken;
use crate::{clock, settings, store};
use serde_json::Map;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Creates a token for a device of an account that has just been verified. It is valid for `ttl`
/// microseconds, by default for `totp.trust_ttl`.
pub fn create(account: &Account, ttl: Option<i64>) -> Result<Zeroizing<String>, Error> {
    let context = Context::begin()?;
    // While the row is held, the account's factors cannot change.
    context.lock_account(account)?.ok_or(Error::NotVerified)?;
    let since = context.now.plus_secs(-settings::challenge_ttl());
    let lately = since..=context.now.plus_secs(Timestamp::MAX_CLOCK_SKEW_SECS);
    if !store::account::is_verified(account, lately)? {
        return Err(Error::NotVerified);
    }
    let ttl = ttl.unwrap_or_else(|| settings::trust_ttl().saturating_mul(1_000_000));
    let scope =
        TokenSpec { kind: token::Kind::Trust, purpose: "trust", binding: None, claims: "{}" };
    let token = issue(&context, account, &scope, ttl)?;
    context.record_free(account, Event::Trust, Outcome::Ok, Map::new())?;
    context.announce(account, Kind::Trusted, Map::new())?;
    Ok(token)
}

/// Returns whether a token makes a device trusted by the account.
pub fn verify(account: &Account, token: Option<&str>) -> Result<bool, Error> {
    begin_reading()?;
    let keyring = context::keyring()?;
    let now = clock::now()?;
    let Some(token) = token
        .and_then(|text| Token::read(text, token::Kind::Trust, &keyring))
        .filter(|token| now < token.expires_at)
    else {
        return Ok(false);
    };
    let is_valid = |stored: &StoredToken| stored.is_current && !is_over(stored.recovery_at, now);
    let stored = store::token::load(&token)?.filter(is_valid);
    Ok(stored
        .is_some_and(|stored| stored.scope.account.as_bytes().ct_eq(account.as_bytes()).into()))
}

/// Revokes the trust in all devices of an account and returns their number.
pub fn revoke(account: &Account) -> Result<i32, Error> {
    let context = Context::begin()?;
    // Wait for concurrent calls that are making a device trusted.
    if context.lock_account(account)?.is_none() {
        return Ok(0);
    }
    let revoked = store::token::revoke(account, token::Kind::Trust, context.now)?;
    let revoked = i32::try_from(revoked).unwrap_or(i32::MAX);
    let fields = field("devices", revoked);
    context.record_free(account, Event::TrustRevoke, Outcome::Ok, fields.clone())?;
    if revoked > 0 {
        context.announce(account, Kind::TrustRevoked, fields)?;
    }
    Ok(revoked)
}
