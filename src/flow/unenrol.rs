//! Removing everything that an account has enrolled.

use super::context::Context;
use crate::error::Error;
use crate::guard::AccountGuard;
use crate::pure::name::Account;
use crate::store;

/// Removes all factors and codes of an account, its pass and its lock, without checking a code. The
/// caller holds the account's row, and announces what happens to a recovery that waits.
pub fn unenrol(context: &Context, account: &Account) -> Result<(), Error> {
    store::pass::delete(account)?;
    store::factor::delete_all(account)?;
    store::backup_code::delete(account)?;
    store::account::clear(account)?;
    store::account::mark_changed(account, context.now)?;
    AccountGuard::of(account).clear_at_commit();
    Ok(())
}
