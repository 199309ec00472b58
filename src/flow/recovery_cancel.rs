//! Canceling a recovery, on request or because of a right code.

use super::audit::field;
use super::context::Context;
use crate::error::Error;
use crate::pure::audit::{Event, Outcome};
use crate::pure::event;
use crate::pure::name::Account;
use crate::pure::token::Kind;
use crate::store;
use serde_json::{Map, Value};

/// Cancels a recovery that waits, and revokes all recovery links of the account. Returns whether
/// there were any.
pub fn cancel(account: &Account) -> Result<bool, Error> {
    let context = Context::begin()?;
    // Wait for a link that is being used. There are links for accounts that do not exist, too.
    store::account::lock(account)?;
    let was_waiting = store::account::end_recovery(account, context.now)?;
    let links = store::token::revoke(account, Kind::Recovery, context.now)?;
    if !was_waiting && links == 0 {
        return Ok(false);
    }
    record(&context, account, Map::new())?;
    Ok(true)
}

/// Cancels a recovery that waits because a right code has been entered: the owner of the account has
/// not lost everything. The caller holds the account's row.
pub fn cancel_by_code(context: &Context, account: &Account, method: &str) -> Result<(), Error> {
    if store::account::end_recovery(account, context.now)? {
        store::token::revoke(account, Kind::Recovery, context.now)?;
        record(context, account, field("method", method))?;
    }
    Ok(())
}

fn record(context: &Context, account: &Account, fields: Map<String, Value>) -> Result<(), Error> {
    context.record(account, Event::RecoveryCancel, Outcome::Ok, fields.clone())?;
    context.announce(account, event::Kind::RecoveryCanceled, fields)
}
