//! Challenges: what stands between the password and the second factor.

use super::attempt::attempt_within;
use super::call::{Call, field};
use super::session;
use super::token::{NewTerms, hashed_binding, issue};
use super::trial::locked;
use crate::error::Error;
use crate::pure::audit::{Event, Outcome};
use crate::pure::code::Code;
use crate::pure::jwt::Login;
use crate::pure::keyring::Keyring;
use crate::pure::name::{Account, Purpose};
use crate::pure::token::{Kind, Token};
use crate::pure::verdict::{Reason, Verdict};
use crate::store::session::Session;
use crate::store::token::{StoredToken, Terms};
use crate::{clock, jwt_secret, keys, random, settings, store};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// The purpose of a challenge, unless something else is said.
pub const LOGIN: &str = "login";

/// Makes a challenge for an account whose password was right. It lives for so many microseconds,
/// for `totp.challenge_ttl` when not said.
pub fn create(
    account: &Account,
    purpose: &Purpose,
    binding: Option<&str>,
    claims: &str,
    ttl: Option<i64>,
) -> Result<Zeroizing<String>, Error> {
    let call = Call::begin()?;
    let ttl = ttl.unwrap_or_else(|| settings::challenge_ttl().saturating_mul(1_000_000));
    issue(&call, account, &NewTerms { kind: Kind::Challenge, purpose, binding, claims }, ttl)
}

/// What an answer to a challenge came to. The account stays unknown to who gave no good token.
pub struct Answer {
    /// Whose challenge it was.
    pub account: Option<Account>,
    /// Whether it is met.
    pub verdict: Verdict,
}

impl Answer {
    /// What an anonymous caller may know of a refusal: not whose challenge it is, nor whether there
    /// is such an account.
    fn for_anybody(mut self) -> Self {
        self.account = None;
        if self.verdict.reason == Reason::NotEnrolled {
            self.verdict.reason = Reason::Invalid;
        }
        self
    }

    fn refused(reason: Reason) -> Self {
        Self { account: None, verdict: Verdict::refused(reason, None) }
    }
}

/// Checks a code for the account of a challenge. A hit uses the challenge up; so do
/// `totp.challenge_attempts` misses.
pub fn verify(
    token: Option<&str>,
    code: Option<&Code>,
    binding: Option<&str>,
    purpose: &str,
) -> Result<Answer, Error> {
    let call = Call::begin()?;
    // A forged token costs no look at a table.
    match read(token, &call.keyring) {
        Some(token) => check(&call, &token, code, binding, purpose),
        None => Ok(Answer::refused(Reason::Invalid)),
    }
}

/// As `verify`, for a login; a hit begins a session, and gives a JSON Web Token for it.
pub fn log_in(
    token: Option<&str>,
    code: Option<&Code>,
    binding: Option<&str>,
) -> Result<(Answer, Option<String>), Error> {
    let call = Call::begin()?;
    let Some(token) = read(token, &call.keyring) else {
        return Ok((Answer::refused(Reason::Invalid), None));
    };
    // Read first: without it a code would be spent in vain.
    let secret = jwt_secret::read()?;
    let answer = check(&call, &token, code, binding, LOGIN)?;
    let (Some(account), Some(method)) = (&answer.account, &answer.verdict.method) else {
        return Ok((answer.for_anybody(), None));
    };
    let session = Session { account: account.clone(), id: random::uuid()? };
    session::begin(&session, method, call.now)?;
    let claims = serde_json::from_str(&store::token::claims(&token)?)
        .map_err(|_| Error::Corrupt("claims"))?;
    let login = Login {
        account,
        account_claim: &settings::jwt_claim(),
        role: &settings::jwt_role(),
        method: method.word(),
        session_id: &session.id,
        now: call.now,
    };
    let access_token = secret.sign(login.claims(claims), call.now, settings::jwt_ttl())?;
    Ok((answer, Some(access_token)))
}

fn read(token: Option<&str>, keyring: &Keyring) -> Option<Token> {
    Token::read(token?, Kind::Challenge, keyring)
}

fn check(
    call: &Call,
    token: &Token,
    code: Option<&Code>,
    binding: Option<&str>,
    purpose: &str,
) -> Result<Answer, Error> {
    if token.expires_at <= call.now {
        return Ok(Answer::refused(Reason::Expired));
    }
    let is_meant = |terms: &Terms| -> bool {
        let is_bound = terms.binding.ct_eq(&hashed_binding(binding));
        (is_bound & terms.purpose.as_bytes().ct_eq(purpose.as_bytes())).into()
    };
    // Claimed before the code is spent: whoever loses the race for the token keeps the code.
    let claimed = match code {
        Some(_) => store::token::claim(token, call.now, settings::challenge_attempts())?,
        None => None,
    };
    let Some(terms) = claimed else {
        return unclaimed(call, token, is_meant);
    };
    let account = &terms.account;
    let verdict = if is_meant(&terms) {
        attempt_within(call, account, code, Event::Challenge)?
    } else {
        let fields = field("token", "used for another purpose or with another binding");
        call.record(account, Event::Challenge, Outcome::Invalid, fields)?;
        Verdict::refused(Reason::Invalid, None)
    };
    if !verdict.is_ok() {
        store::token::give_back(token)?;
    }
    Ok(Answer { account: is_meant(&terms).then_some(terms.account), verdict })
}

/// Why a token could not be claimed, or was not because the code could not be one. Writes nothing.
fn unclaimed(
    call: &Call,
    token: &Token,
    is_meant: impl Fn(&Terms) -> bool,
) -> Result<Answer, Error> {
    let stored = store::token::load(token)?.filter(is_open);
    Ok(match stored {
        None => Answer::refused(Reason::Spent),
        Some(stored) if !is_meant(&stored.terms) => Answer::refused(Reason::Invalid),
        Some(StoredToken { terms, standing, .. }) => {
            let verdict = match standing.locked(call.now) {
                Some(until) => locked(until, call.now),
                None => Verdict::refused(Reason::Invalid, None),
            };
            Answer { account: Some(terms.account), verdict }
        }
    })
}

/// The account of a good challenge, which stays as it is.
pub fn account(token: Option<&str>) -> Result<Option<Account>, Error> {
    let keyring = keys::keyring()?;
    let now = clock::now()?;
    let Some(token) = read(token, &keyring).filter(|token| now < token.expires_at) else {
        return Ok(None);
    };
    let stored = store::token::load(&token)?.filter(is_open);
    Ok(stored.map(|stored| stored.terms.account))
}

fn is_open(stored: &StoredToken) -> bool {
    stored.is_current && !stored.is_used && stored.attempts < settings::challenge_attempts()
}
