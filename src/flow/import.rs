//! Importing a secret from another system.

use super::audit::field;
use super::context::Context;
use super::enrol::FACTORS_LIMIT;
use super::waiting_recovery::cancel_by_change;
use crate::error::Error;
use crate::pure::audit::{Event, Outcome};
use crate::pure::event::Kind;
use crate::pure::keyring::{AssociatedData, Plaintext};
use crate::pure::name::{Account, AuditReason, Label};
use crate::pure::secret::Secret;
use crate::pure::uri::Imported;
use crate::store;
use crate::store::factor::{Factor, FactorRow};

/// Secrets below 128 bits are weak (RFC 4226, section 4, R6).
pub const WEAK_BELOW_BYTES: usize = 16;

/// Creates an active factor from another system's secret. Returns whether the secret is weak.
pub fn import(
    account: &Account,
    label: Label,
    imported: Imported,
    reason: Option<&AuditReason>,
) -> Result<bool, Error> {
    let context = Context::begin()?;
    context.ensure_account(account)?;
    context.lock_account(account)?;
    let factors = store::factor::all(account)?;
    if factors.iter().any(|row| row.is_active() && row.factor.label == label) {
        return Err(Error::FactorExists);
    }
    // The import voids the pending ones.
    if factors.iter().filter(|row| row.is_active()).count() >= FACTORS_LIMIT {
        return Err(Error::TooManyFactors);
    }
    let Imported { secret, parameters, issuer, account_name } = imported;
    // A pending factor with this label is replaced.
    let mut others = factors.iter().filter(|row| row.is_active() || row.factor.label != label);
    if others.any(|row| has_secret(&context, account, row, &secret)) {
        return Err(Error::FactorExists);
    }
    let plaintext = Plaintext {
        issuer: issuer.map(|issuer| issuer.to_string()),
        account_name: account_name.map(|name| name.to_string()),
        ..Plaintext::of(secret.expose())
    };
    let associated_data = AssociatedData::factor(account, &label, context.now);
    let ciphertext = context.keyring.encrypt(&associated_data, &plaintext);
    store::factor::delete(account, &label)?;
    let factor =
        Factor { label, parameters, ciphertext, last_step: -1, drift: 0, created_at: context.now };
    store::factor::insert_active(account, &factor)?;
    cancel_by_change(&context, account)?;
    store::account::mark_changed(account, context.now)?;

    let is_weak = secret.expose().len() < WEAK_BELOW_BYTES;
    let mut fields = field("label", &*factor.label);
    fields.insert("weak".to_owned(), is_weak.into());
    if let Some(reason) = reason {
        fields.insert("reason".to_owned(), (**reason).into());
    }
    context.record(account, Event::Import, Outcome::Ok, fields)?;
    context.announce(account, Kind::Imported, field("label", &*factor.label))?;
    Ok(is_weak)
}

/// Returns whether a factor has this secret. With one secret under two labels, each code could be used
/// twice.
pub fn has_secret(context: &Context, account: &Account, row: &FactorRow, secret: &Secret) -> bool {
    let Factor { label, created_at, ciphertext, .. } = &row.factor;
    let associated_data = AssociatedData::factor(account, label, *created_at);
    let other = context.keyring.decrypt(&associated_data, ciphertext);
    other.is_ok_and(|other| secret.equals(&other.value))
}
