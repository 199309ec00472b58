//! Sets of backup codes.

use super::attempt::{attempt_within, refused_by_lock};
use super::call::Call;
use crate::error::Error;
use crate::pure::audit::Event;
use crate::pure::backup_code::{BackupCode, ENTROPY_BYTES, SALT_BYTES};
use crate::pure::code::Code;
use crate::pure::keyring::{Content, Place};
use crate::pure::name::Account;
use crate::{random, settings, store};

/// Puts a new set in the place of the old, against a code. `None` when the code is refused.
pub fn rotate(account: &Account, code: Option<&Code>) -> Result<Option<Vec<String>>, Error> {
    let call = Call::begin()?;
    if refused_by_lock(account, call.now)?.is_some() {
        return Ok(None);
    }
    store::account::lock(account)?;
    if !attempt_within(&call, account, code, Event::Rotate)?.is_ok() {
        return Ok(None);
    }
    new_set(&call, account).map(Some)
}

/// Puts a new set in the place of the old. The caller holds the account's row.
pub fn new_set(call: &Call, account: &Account) -> Result<Vec<String>, Error> {
    let salt = random::array::<SALT_BYTES>()?;
    let mut shown = Vec::new();
    let mut tokens = Vec::new();
    let mut key_id = String::new();
    for slot in 1..=settings::backup_codes() {
        let code = BackupCode::from_entropy(&*random::array::<ENTROPY_BYTES>()?);
        let place = Place::backup_code(account, slot, salt.as_slice());
        let sealed = call.keyring.seal(&place, &Content::of(code.hash(salt.as_slice()).expose()));
        shown.push(code.grouped());
        tokens.push(sealed.token);
        key_id = sealed.key_id;
    }
    store::backup_code::replace(account, salt.as_slice(), tokens, &key_id)?;
    Ok(shown)
}
