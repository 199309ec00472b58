//! Creating accounts.

use super::context::Context;
use crate::error::Error;
use crate::guard::AccountGuard;
use crate::pure::name::Account;
use crate::{server, store};

impl Context {
    /// Creates the account's row if there is none, along with the decoys.
    pub fn ensure_account(&self, account: &Account) -> Result<(), Error> {
        ensure_decoys()?;
        if store::account::ensure(account, self.now)? {
            // Shared memory may have failures of a removed account with this name. There is no secret
            // to guess yet.
            let account_guard = AccountGuard::of(account);
            account_guard.created();
            account_guard.clear_at_commit();
        }
        Ok(())
    }
}

/// Creates the decoys if there are none. The extension's script does not: logical replication would find
/// the same rows on both sides. Before there is an account, there is none to distinguish from unknown
/// ones.
///
/// While another transaction is creating them, this leaves it to that one: the first accounts must not
/// wait for each other. If that transaction is rolled back, the next call creates them.
pub fn ensure_decoys() -> Result<(), Error> {
    if let Some(table) = store::decoy::empty_table()?
        && server::try_lock_relation(table)
    {
        store::decoy::create()?;
    }
    Ok(())
}
