//! Sessions: whose they are, and whether they are verified.

use super::context::{Context, begin_reading};
use crate::error::Error;
use crate::pure::claims::Claims;
use crate::pure::name::Account;
use crate::pure::timestamp::Timestamp;
use crate::pure::verdict::Method;
use crate::settings::{self, Identity};
use crate::store::session::Session;
use crate::{clock, server, store};

/// Returns the session of this call, or `None` if nothing identifies its account.
pub fn current() -> Option<Session> {
    if server::is_maintenance() {
        return None;
    }
    let login = server::session_user_as_text()?;
    match settings::identity() {
        Identity::Role => {
            Some(Session { account: Account::new(login).ok()?, id: Some(server::connection_id()) })
        }
        // Any role can set the claims: they are trusted only from servers that have checked the
        // token.
        Identity::Jwt if settings::is_jwt_login(&login) => {
            let text = server::setting(c"request.jwt.claims")?;
            let Claims { account, session } = Claims::read(&text, &settings::jwt_claim())?;
            // JSON can write characters that the database cannot store.
            if !server::is_text(&account) || !session.as_deref().is_none_or(server::is_text) {
                return None;
            }
            // Nothing else in the claims is sure to differ between two logins.
            Some(Session { account, id: session })
        }
        Identity::Jwt => None,
    }
}

/// Returns the account of this session.
pub fn account() -> Result<Account, Error> {
    current().map(|session| session.account).ok_or(Error::NoSession)
}

/// Returns the claim that the token of this session lacks, which names its account or the session
/// itself. Returns `None` if both are there, or the session has no trusted token.
pub fn missing_claim() -> Option<String> {
    let login = server::session_user_as_text()?;
    if !matches!(settings::identity(), Identity::Jwt) || !settings::is_jwt_login(&login) {
        return None;
    }
    let account_claim = settings::jwt_claim();
    match current() {
        Some(session) => session.id.is_none().then(|| "session_id".to_owned()),
        None => server::setting(c"request.jwt.claims")
            .is_some_and(|text| Claims::name_nobody(&text, &account_claim))
            .then_some(account_claim),
    }
}

/// Returns the account of this session, which must be verified if the account is enrolled. Holds
/// the account's row: a concurrent enrolment has ended, and no other can begin.
pub fn verified_account() -> Result<Account, Error> {
    let context = Context::begin()?;
    let Session { account, id } = current().ok_or(Error::NoSession)?;
    context.lock_account(&account)?;
    if !store::factor::is_enrolled(&account, context.now)? || is_verified(None)? {
        Ok(account)
    } else if id.is_none() {
        Err(Error::SessionUnidentified)
    } else {
        Err(Error::SessionNotVerified)
    }
}

/// Refuses a session that was last verified by a temporary pass: its holder must not get at other
/// accounts.
pub fn refuse_pass() -> Result<(), Error> {
    let method = current().map(|session| store::session::method(&session)).transpose()?.flatten();
    match method.as_deref() {
        Some(method) if method == Method::Pass.as_str() => Err(Error::PassSession),
        _ => Ok(()),
    }
}

/// Records that the current session is verified, if it belongs to the account.
pub fn mark_verified(account: &Account, method: &Method, now: Timestamp) -> Result<(), Error> {
    let Some(session) = current().filter(|session| session.account == *account) else {
        return Ok(());
    };
    begin(&session, method, now)
}

/// Records that a session is verified, whether it is new or continues.
pub fn begin(session: &Session, method: &Method, now: Timestamp) -> Result<(), Error> {
    store::session::mark_verified(session, now, method.as_str())?;
    // At other isolation levels, rows that another transaction has removed would cause errors.
    if server::is_read_committed() {
        store::session::sweep(&session.account, now.plus_secs(-settings::session_ttl()))?;
    }
    Ok(())
}

/// Returns whether the current session was verified within the last `max_age` microseconds, within
/// `totp.session_ttl`, and since the last change to the account's factors.
pub fn is_verified(max_age: Option<i64>) -> Result<bool, Error> {
    begin_reading()?;
    let Some(session) = current() else {
        return Ok(false);
    };
    let longest = settings::session_ttl().saturating_mul(1_000_000);
    let age = max_age.map_or(longest, |age| age.min(longest));
    let now = clock::now()?;
    let latest = now.plus_secs(Timestamp::MAX_CLOCK_SKEW_SECS);
    store::session::is_verified(&session, now.plus_micros(-age)..=latest, now)
}
