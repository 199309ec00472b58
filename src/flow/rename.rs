//! Renaming an account.

use super::audit::field;
use super::context::Context;
use super::verify::is_suspended;
use super::waiting_recovery::cancel_by_change;
use crate::error::Error;
use crate::guard::AccountGuard;
use crate::pure::audit::{Event, Outcome};
use crate::pure::event::Kind;
use crate::pure::keyring::AssociatedData;
use crate::pure::lock::LockState;
use crate::pure::name::{Account, AuditReason};
use crate::store;

/// Renames an account and re-encrypts what is bound to its name. State that only shared memory
/// records under the old name is written to the table under the new one.
pub fn rename(account: &Account, new: &Account, reason: &AuditReason) -> Result<(), Error> {
    let context = Context::begin()?;
    let committed = context.lock_account(account)?;
    // An account without a factor may have to enrol, or have asked another to approve something.
    if committed.is_none()
        && store::requirement::load(account)?.is_none()
        && !store::approval::concerns(account)?
    {
        return Err(Error::NoAccount);
    }
    if *account == *new || store::account::lock(new)?.is_some() {
        return Err(Error::AccountExists);
    }
    store::requirement::rename(account, new)?;
    store::approval::rename(account, new)?;
    let Some(committed) = committed else {
        return finish(&context, account, new, reason);
    };
    let account_guard = AccountGuard::of(account);
    let memory = account_guard.shown_lock_state();
    let factors = store::factor::all(account)?;
    let codes = store::backup_code::load(account)?;
    cancel_by_change(&context, account)?;
    store::account::mark_changed(account, context.now)?;
    store::account::rename(account, new)?;
    AccountGuard::of(new).clear_at_commit();
    account_guard.renamed(account, new);
    if !memory.is_clean() {
        let suspended = is_suspended(&committed, &memory);
        store::account::record_failure(new, &LockState { suspended, ..memory })?;
    }
    let keyring = &context.keyring;
    for row in &factors {
        let from = AssociatedData::factor(account, &row.factor.label, row.factor.created_at);
        let plaintext = keyring.decrypt(&from, &row.factor.ciphertext)?;
        let spent = account_guard.spent_step(&plaintext.value);
        let ciphertext = keyring.encrypt(&from.renamed(new), &plaintext);
        store::factor::reencrypt(new, row, &ciphertext, spent.unwrap_or(row.factor.last_step))?;
    }
    if let Some(set) = codes {
        let from = AssociatedData::backup_codes(account, &set.salt);
        let plaintext = keyring.decrypt(&from, &set.ciphertext)?;
        let ciphertext = keyring.encrypt(&from.renamed(new), &plaintext);
        store::backup_code::reencrypt(new, &ciphertext)?;
    }
    finish(&context, account, new, reason)
}

fn finish(
    context: &Context,
    account: &Account,
    new: &Account,
    reason: &AuditReason,
) -> Result<(), Error> {
    let mut fields = field("new_account", context.audited_name(new));
    fields.insert("reason".to_owned(), (**reason).into());
    context.record(account, Event::Rename, Outcome::Ok, fields)?;
    // Its hash is encrypted for the old name.
    store::pass::delete(new)?;
    store::event::rename(account, new)?;
    context.announce(new, Kind::Renamed, field("reason", &**reason))
}
