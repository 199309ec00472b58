//! Temporary passes: what the help desk tells somebody who has lost everything.

use super::attempt::{Attempt, Refusal};
use super::audit::field;
use super::context::Context;
use super::session;
use crate::error::Error;
use crate::pure::audit::{Event, Outcome};
use crate::pure::backup_code::{BackupCode, ENTROPY_BYTES, HashedSet, SALT_BYTES};
use crate::pure::event::Kind;
use crate::pure::keyring::{AssociatedData, Plaintext};
use crate::pure::name::{Account, AuditReason};
use crate::pure::verdict::{Method, Verdict};
use crate::store::pass::{NewPass, StoredPass};
use crate::{random, store};

/// Issues a pass, in place of an earlier one, that can be used so many times within `ttl`
/// microseconds. The account need not have enrolled yet.
pub fn issue(
    account: &Account,
    reason: &AuditReason,
    ttl: i64,
    uses: i32,
) -> Result<String, Error> {
    let context = Context::begin()?;
    session::refuse_pass()?;
    if session::current().is_some_and(|session| session.account == *account) {
        return Err(Error::OwnPass);
    }
    context.ensure_account(account)?;
    context.lock_account(account)?;
    let salt = random::array::<SALT_BYTES>()?;
    let code = BackupCode::from_entropy(&*random::array::<ENTROPY_BYTES>()?);
    let associated_data = AssociatedData::pass(account, salt.as_slice());
    let hash = HashedSet::of(std::slice::from_ref(&code), salt.as_slice());
    let ciphertext = context.keyring.encrypt(&associated_data, &Plaintext::of(hash.expose()));
    store::pass::replace(&NewPass {
        account,
        salt: salt.as_slice(),
        ciphertext: &ciphertext,
        uses,
        issued_at: context.now,
        expires_at: context.now.plus_micros(ttl),
    })?;
    let mut fields = field("reason", &**reason);
    fields.insert("ttl_seconds".to_owned(), (ttl / 1_000_000).into());
    fields.insert("uses".to_owned(), uses.into());
    context.record(account, Event::PassIssue, Outcome::Ok, fields.clone())?;
    context.announce(account, Kind::PassIssued, fields)?;
    Ok(code.grouped())
}

/// Revokes the pass of an account, and ends the sessions that were verified by it. Returns `false` if
/// there was neither.
pub fn revoke(account: &Account, reason: &AuditReason) -> Result<bool, Error> {
    let context = Context::begin()?;
    // In this order: a call that is using the pass is waited for, and then its session is seen.
    let ended =
        [store::pass::delete(account)?, store::session::end(account, Method::Pass.as_str())?];
    if !ended.contains(&true) {
        return Ok(false);
    }
    let fields = field("reason", &**reason);
    context.record(account, Event::PassRevoke, Outcome::Ok, fields.clone())?;
    context.announce(account, Kind::PassRevoked, fields)?;
    Ok(true)
}

/// Reads the pass of an account, if it can be used and is accepted here. One that is encrypted with
/// a key that is gone, or damaged, is none.
pub fn load(
    context: &Context,
    account: &Account,
    code: &BackupCode,
    event: Event,
) -> Result<Option<(StoredPass, HashedSet)>, Error> {
    // A pass is no way to permanent codes.
    if !code.is_own() || event == Event::Rotate {
        return Ok(None);
    }
    let Some(pass) = store::pass::load(account, context.now)? else {
        return Ok(None);
    };
    let associated_data = AssociatedData::pass(account, &pass.salt);
    let hash = context.keyring.decrypt(&associated_data, &pass.ciphertext).ok();
    let hash = hash.and_then(|hash| HashedSet::from_bytes(hash.value));
    Ok(hash.map(|hash| (pass, hash)))
}

/// Uses a pass if the code is it, in an attempt that has begun.
pub fn verify(
    context: &Context,
    account: &Account,
    code: &BackupCode,
    pass: Option<&(StoredPass, HashedSet)>,
    attempt: Attempt,
) -> Result<Verdict, Error> {
    let Some((pass, _)) = pass.filter(|(pass, hash)| hash.find(code, &pass.salt).is_some()) else {
        return attempt.fail(Outcome::Invalid);
    };
    attempt.matched();
    attempt.lock_account()?;
    let Some(left) = store::pass::spend(account, pass, context.now)? else {
        return attempt.reject(Refusal::Raced);
    };
    attempt.record_success(&Method::Pass, field("uses_left", left))?;
    attempt.succeed(Method::Pass)
}
