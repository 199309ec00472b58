//! Sets of backup codes.

use super::audit::field;
use super::context::{Context, begin_reading};
use super::session;
use super::verify::{check_lock, verify_within};
use super::waiting_recovery::is_over;
use crate::error::Error;
use crate::pure::audit::{Event, Outcome};
use crate::pure::backup_code::{BackupCode, ENTROPY_BYTES, HashedSet, SALT_BYTES};
use crate::pure::code::Code;
use crate::pure::event::Kind;
use crate::pure::keyring::{AssociatedData, Plaintext};
use crate::pure::name::{Account, AuditReason};
use crate::pure::verdict::Verdict;
use crate::{clock, random, settings, store};
use serde_json::Map;

/// Replaces the set of backup codes after checking a code. Returns no set if the code is refused.
pub fn rotate(
    account: &Account,
    code: Option<&Code>,
) -> Result<(Verdict, Option<Vec<String>>), Error> {
    let context = Context::begin()?;
    if let Some(verdict) = check_lock(account, context.now)? {
        return Ok((verdict, None));
    }
    context.lock_account(account)?;
    let verdict = verify_within(&context, account, code, Event::Rotate)?;
    if !verdict.is_ok() {
        return Ok((verdict, None));
    }
    let codes = new_set(&context, account)?;
    context.announce(account, Kind::BackupReplaced, Map::new())?;
    Ok((verdict, Some(codes)))
}

/// Replaces the set of backup codes. The caller holds the account's row.
pub fn new_set(context: &Context, account: &Account) -> Result<Vec<String>, Error> {
    let salt = random::array::<SALT_BYTES>()?;
    let mut codes = Vec::new();
    for _ in 0..settings::backup_codes() {
        codes.push(BackupCode::from_entropy(&*random::array::<ENTROPY_BYTES>()?));
    }
    let associated_data = AssociatedData::backup_codes(account, salt.as_slice());
    let hashes = Plaintext::of(HashedSet::of(&codes, salt.as_slice()).expose());
    let ciphertext = context.keyring.encrypt(&associated_data, &hashes);
    store::backup_code::replace(account, salt.as_slice(), &ciphertext, settings::backup_codes())?;
    Ok(codes.iter().map(BackupCode::grouped).collect())
}

/// Replaces the set of backup codes without a code, for an administrator.
pub fn reissue(account: &Account, reason: &AuditReason) -> Result<Vec<String>, Error> {
    let context = Context::begin()?;
    session::refuse_pass()?;
    context.lock_account(account)?;
    if !store::factor::is_enrolled(account, context.now)? {
        return Err(Error::NotEnrolled);
    }
    let codes = new_set(&context, account)?;
    let fields = field("reason", &**reason);
    context.record(account, Event::Reissue, Outcome::Ok, fields.clone())?;
    context.announce(account, Kind::BackupReplaced, fields)?;
    Ok(codes)
}

/// Returns how many unused backup codes an account has.
pub fn remaining(account: &Account) -> Result<i32, Error> {
    begin_reading()?;
    match is_over(store::account::recovery_at(account)?, clock::now()?) {
        true => Ok(0),
        false => store::backup_code::count(account),
    }
}
