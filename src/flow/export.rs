//! Exporting the secret of a factor.

use super::audit::field;
use super::context::Context;
use crate::error::{Error, notice};
use crate::guard::AccountGuard;
use crate::pure::audit::{Event, Outcome};
use crate::pure::event::Kind;
use crate::pure::keyring::{AssociatedData, Unreadable};
use crate::pure::name::{Account, AccountName, AuditReason, Issuer, Label};
use crate::pure::secret::Secret;
use crate::pure::uri;
use crate::{server, settings, store};
use zeroize::Zeroizing;

/// Returns the URI of an active factor, as its authenticator app received it.
pub fn export(
    account: &Account,
    label: &Label,
    reason: &AuditReason,
) -> Result<Zeroizing<String>, Error> {
    let context = Context::begin()?;
    let factors = store::factor::all(account)?;
    let row = factors
        .into_iter()
        .find(|row| row.is_active() && row.factor.label == *label)
        .ok_or(Error::NoFactor)?;
    let associated_data = AssociatedData::factor(account, label, row.factor.created_at);
    let plaintext = context.keyring.decrypt(&associated_data, &row.factor.ciphertext)?;
    let secret = Secret::from_bytes(plaintext.value.to_vec()).map_err(|_| Unreadable::Damaged)?;
    let issuer = plaintext.issuer.or_else(settings::issuer).unwrap_or_else(server::database_name);
    let account_name = plaintext.account_name.unwrap_or_else(|| account.to_string());
    let uri = uri::build(
        &secret,
        &AccountName::new(account_name)?,
        &Issuer::new(issuer)?,
        &row.factor.parameters,
    );
    // A rollback would undo the audit event, but not what the caller has read.
    notice::exported(&context.audited_name(account), label, &server::session_user(), reason);
    AccountGuard::of(account).exported();
    let mut fields = field("label", &**label);
    fields.insert("reason".to_owned(), (**reason).into());
    context.record(account, Event::Export, Outcome::Ok, fields.clone())?;
    context.announce(account, Kind::Exported, fields)?;
    Ok(uri)
}
