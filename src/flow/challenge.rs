//! Challenges: the step between the password and the second factor.

use super::attempt::{client_limit, locked};
use super::audit::field;
use super::context::{self, Context, begin_reading};
use super::jwt::in_form;
use super::session;
use super::token::{TokenSpec, hashed_binding, issue};
use super::verify::{is_suspended, verify_within, with_backup_codes_left};
use super::waiting_recovery::is_over;
use crate::error::Error;
use crate::guard::{self, AccountGuard};
use crate::pure::audit::{Event, Outcome};
use crate::pure::code::Code;
use crate::pure::json;
use crate::pure::jwt::Login;
use crate::pure::keyring::Keyring;
use crate::pure::metric;
use crate::pure::name::{Account, Purpose};
use crate::pure::timestamp::Timestamp;
use crate::pure::token::{Kind, Token};
use crate::pure::verdict::{Reason, Verdict};
use crate::store::session::Session;
use crate::store::token::{Scope, StoredToken};
use crate::{clock, keys, random, settings, store};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// The default purpose of a challenge.
pub const LOGIN: &str = "login";

/// Creates a challenge for an account whose password was right. It is valid for `ttl` microseconds,
/// by default for `totp.challenge_ttl`.
pub fn create(
    account: &Account,
    purpose: &Purpose,
    binding: Option<&str>,
    claims: &str,
    ttl: Option<i64>,
) -> Result<Zeroizing<String>, Error> {
    let context = Context::begin()?;
    context.complete_recovery(account)?;
    let ttl = ttl.unwrap_or_else(|| settings::challenge_ttl().saturating_mul(1_000_000));
    issue(&context, account, &TokenSpec { kind: Kind::Challenge, purpose, binding, claims }, ttl)
}

/// The result of an attempt to complete a challenge. Without a valid token it has no account.
pub struct ChallengeResult {
    /// The account of the challenge.
    pub account: Option<Account>,
    /// Whether the challenge is completed.
    pub verdict: Verdict,
}

impl ChallengeResult {
    /// Removes what an anonymous caller must not learn from a refusal: whose challenge it is, and
    /// whether there is such an account.
    fn for_anonymous(mut self) -> Self {
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

/// Checks a code for the account of a challenge. A right code uses up the challenge; so do
/// `totp.challenge_attempts` wrong ones.
pub fn verify(
    token: Option<&str>,
    code: Option<&Code>,
    binding: Option<&str>,
    purpose: &str,
) -> Result<ChallengeResult, Error> {
    let context = Context::begin()?;
    // A forged token is refused without reading a table.
    match read(token, &context.keyring) {
        Some(token) => check(&context, &token, code, binding, purpose),
        None => Ok(ChallengeResult::refused(Reason::Invalid)),
    }
}

/// Does the same as `verify`, for a login; a right code begins a session and returns a JSON Web
/// Token for it.
pub fn log_in(
    token: Option<&str>,
    code: Option<&Code>,
    binding: Option<&str>,
) -> Result<(ChallengeResult, Option<String>), Error> {
    let context = Context::begin()?;
    let Some(token) = read(token, &context.keyring) else {
        return Ok((ChallengeResult::refused(Reason::Invalid), None));
    };
    // Read first: without the secret, the code would be spent in vain.
    let secret = keys::jwt::secret()?;
    let result = check(&context, &token, code, binding, LOGIN)?;
    let (Some(account), Some(method)) = (&result.account, &result.verdict.method) else {
        return Ok((result.for_anonymous(), None));
    };
    let session_id = random::uuid()?.to_string();
    let session = Session { account: account.clone(), id: Some(session_id.clone()) };
    session::begin(&session, method, context.now)?;
    let claims = json::parse(&store::token::claims(&token)?).ok_or(Error::Corrupt("claims"))?;
    let login = Login {
        account,
        account_claim: &settings::jwt_claim(),
        role: &settings::jwt_role(),
        method: method.as_str(),
        session_id: &session_id,
        now: context.now,
    };
    let claims = in_form(login.claims(claims));
    let access_token = secret.sign(claims, context.now, settings::jwt_ttl())?;
    Ok((result, Some(access_token)))
}

fn read(token: Option<&str>, keyring: &Keyring) -> Option<Token> {
    Token::read(token?, Kind::Challenge, keyring)
}

fn check(
    context: &Context,
    token: &Token,
    code: Option<&Code>,
    binding: Option<&str>,
    purpose: &str,
) -> Result<ChallengeResult, Error> {
    if token.expires_at <= context.now {
        return Ok(ChallengeResult::refused(Reason::Expired));
    }
    let in_scope = |scope: &Scope| -> bool {
        let is_bound = scope.binding.ct_eq(&hashed_binding(binding));
        (is_bound & scope.purpose.as_bytes().ct_eq(purpose.as_bytes())).into()
    };
    if let Some(code) = code
        && let Some(refused) = refused_unseen(context, token, code, in_scope)?
    {
        return Ok(refused);
    }
    // Claimed before the code is spent: a caller that loses the race for the token keeps the code.
    let claimed = match code {
        Some(_) => store::token::claim(token, context.now, settings::challenge_attempts())?,
        None => None,
    };
    let Some(scope) = claimed else {
        return unclaimed(context, token, in_scope);
    };
    let account = &scope.account;
    let verdict = if in_scope(&scope) {
        let verdict = verify_within(context, account, code, Event::Challenge)?;
        with_backup_codes_left(account, verdict)?
    } else {
        let fields = field("token", "used for another purpose or with another binding");
        context.record(account, Event::Challenge, Outcome::Invalid, fields)?;
        Verdict::refused(Reason::Invalid, None)
    };
    if !verdict.is_ok() {
        let is_counted = !matches!(verdict.reason, Reason::Locked | Reason::Suspended);
        store::token::unclaim(token, is_counted)?;
    }
    Ok(ChallengeResult { account: in_scope(&scope).then_some(scope.account), verdict })
}

/// Returns the verdict that refuses a code without looking at it, if there is one. It leaves the token
/// as it is, and writes nothing. A lock in the table only need not be known here: no token is claimed
/// then.
fn refused_unseen(
    context: &Context,
    token: &Token,
    code: &Code,
    in_scope: impl Fn(&Scope) -> bool,
) -> Result<Option<ChallengeResult>, Error> {
    let until = client_limit(context.now);
    if until.is_none() && !guard::is_on() {
        return Ok(None);
    }
    let stored = store::token::load(token)?.filter(|stored| is_open(stored, context.now));
    let Some(StoredToken { scope, lock_state, .. }) = stored.filter(|it| in_scope(&it.scope))
    else {
        return Ok(None);
    };
    let memory = AccountGuard::of(&scope.account).lock_state();
    let verdict = match memory.locked(context.now).or(until) {
        Some(until) => locked(until, context.now),
        None if matches!(code, Code::Totp(_)) && is_suspended(&lock_state, &memory) => {
            guard::count(metric::Method::Totp, metric::Result::Suspended);
            Verdict::refused(Reason::Suspended, None)
        }
        None => return Ok(None),
    };
    Ok(Some(ChallengeResult { account: Some(scope.account), verdict }))
}

/// Returns the verdict on a token that could not be claimed, or was not claimed because the text
/// cannot be a code. Writes nothing.
fn unclaimed(
    context: &Context,
    token: &Token,
    in_scope: impl Fn(&Scope) -> bool,
) -> Result<ChallengeResult, Error> {
    let stored = store::token::load(token)?.filter(|stored| is_open(stored, context.now));
    Ok(match stored {
        None => ChallengeResult::refused(Reason::Spent),
        Some(stored) if !in_scope(&stored.scope) => ChallengeResult::refused(Reason::Invalid),
        Some(StoredToken { scope, lock_state, .. }) => {
            let verdict = match lock_state.locked(context.now) {
                Some(until) => locked(until, context.now),
                None => Verdict::refused(Reason::Invalid, None),
            };
            ChallengeResult { account: Some(scope.account), verdict }
        }
    })
}

/// Returns the account of a valid challenge, without using it up.
pub fn account(token: Option<&str>) -> Result<Option<Account>, Error> {
    begin_reading()?;
    let keyring = context::keyring()?;
    let now = clock::now()?;
    let Some(token) = read(token, &keyring).filter(|token| now < token.expires_at) else {
        return Ok(None);
    };
    let stored = store::token::load(&token)?.filter(|stored| is_open(stored, now));
    Ok(stored.map(|stored| stored.scope.account))
}

fn is_open(stored: &StoredToken, now: Timestamp) -> bool {
    stored.is_current
        && !is_over(stored.recovery_at, now)
        && !stored.is_used
        && stored.attempts < settings::challenge_attempts()
}
