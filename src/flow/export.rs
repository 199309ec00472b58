//! Exporting the secret of a factor.

use super::audit::field;
use super::context::Context;
use super::session;
use super::tenant::Tenant;
use crate::error::{Error, notice};
use crate::guard::AccountGuard;
use crate::pure::audit::{Event, Outcome};
use crate::pure::event::Kind;
use crate::pure::import::migration::{self, Transferred};
use crate::pure::keyring::{AssociatedData, Unreadable};
use crate::pure::name::{Account, AccountName, AuditReason, Issuer, Label};
use crate::pure::otp::Parameters;
use crate::pure::secret::Secret;
use crate::pure::uri;
use crate::store::factor::{Factor, FactorRow};
use crate::{random, server, store};
use zeroize::Zeroizing;

/// Returns the URI of an active factor, as its authenticator app received it.
pub fn export(
    account: &Account,
    label: &Label,
    reason: &AuditReason,
) -> Result<Zeroizing<String>, Error> {
    let context = Context::begin()?;
    session::refuse_pass()?;
    context.complete_recovery(account)?;
    let factors = store::factor::all(account)?;
    let row = factors
        .into_iter()
        .find(|row| row.is_active() && row.factor.label == *label)
        .ok_or(Error::NoFactor)?;
    let uri = uri_of(&context, account, &Tenant::of(account)?, &row)?;
    disclose(&context, account, label, reason)?;
    Ok(uri)
}

/// A factor that is handed out.
pub struct Exported {
    /// The account.
    pub account: String,
    /// The label.
    pub label: String,
    /// The URI; `None` if the secret could not be decrypted.
    pub uri: Option<Zeroizing<String>>,
    /// The newest spent step, if any.
    pub last_step: Option<i64>,
}

/// Returns the active factors of accounts, each as the URI that its authenticator app received. An
/// account that does not exist has none.
pub fn export_all(accounts: &[Account], reason: &AuditReason) -> Result<Vec<Exported>, Error> {
    let context = Context::begin()?;
    session::refuse_pass()?;
    let mut exported = Vec::new();
    for account in accounts {
        server::check_for_interrupts();
        exported.extend(server::with_own_memory(|| exported_of(&context, account, reason))?);
    }
    Ok(exported)
}

fn exported_of(
    context: &Context,
    account: &Account,
    reason: &AuditReason,
) -> Result<Vec<Exported>, Error> {
    let mut exported = Vec::new();
    if !context.try_complete_recovery(account)? {
        return Ok(exported);
    }
    let tenant = Tenant::of(account)?;
    for row in store::factor::all(account)?.iter().filter(|row| row.is_active()) {
        let uri = uri_of(context, account, &tenant, row).ok();
        if uri.is_some() {
            disclose(context, account, &row.factor.label, reason)?;
        }
        exported.push(Exported {
            account: account.to_string(),
            label: row.factor.label.to_string(),
            uri,
            last_step: Some(row.factor.last_step).filter(|step| *step >= 0),
        });
    }
    Ok(exported)
}

/// What an authenticator app received, or shows.
struct Shown {
    secret: Secret,
    parameters: Parameters,
    issuer: Issuer,
    account_name: AccountName,
}

fn decrypt(
    context: &Context,
    account: &Account,
    tenant: &Tenant,
    row: &FactorRow,
) -> Result<Shown, Error> {
    let Factor { label, created_at, ciphertext, parameters, .. } = &row.factor;
    let associated_data = AssociatedData::factor(account, label, *created_at);
    let plaintext = context.keyring.decrypt(&associated_data, ciphertext)?;
    let secret = Secret::from_bytes(plaintext.value.to_vec()).map_err(|_| Unreadable::Damaged)?;
    let issuer = tenant.issuer(plaintext.issuer.map(Issuer::new).transpose()?)?;
    let account_name = plaintext.account_name.unwrap_or_else(|| account.to_string());
    let account_name = AccountName::new(account_name)?;
    Ok(Shown { secret, parameters: *parameters, issuer, account_name })
}

fn uri_of(
    context: &Context,
    account: &Account,
    tenant: &Tenant,
    row: &FactorRow,
) -> Result<Zeroizing<String>, Error> {
    let Shown { secret, parameters, issuer, account_name } =
        decrypt(context, account, tenant, row)?;
    Ok(uri::build(&secret, &account_name, &issuer, &parameters, tenant.image.as_ref()))
}

/// Returns the active factors of accounts as URIs for the QR codes with which Google Authenticator
/// takes over accounts, several per account if it has many. Factors that the app does not know, or
/// that cannot be decrypted, are left out.
pub fn export_migration(
    accounts: &[Account],
    reason: &AuditReason,
) -> Result<Vec<(String, Zeroizing<String>)>, Error> {
    let context = Context::begin()?;
    session::refuse_pass()?;
    let mut exported = Vec::new();
    for account in accounts {
        server::check_for_interrupts();
        let uris = server::with_own_memory(|| migration_of(&context, account, reason))?;
        exported.extend(uris.into_iter().map(|uri| (account.to_string(), uri)));
    }
    Ok(exported)
}

fn migration_of(
    context: &Context,
    account: &Account,
    reason: &AuditReason,
) -> Result<Vec<Zeroizing<String>>, Error> {
    if !context.try_complete_recovery(account)? {
        return Ok(Vec::new());
    }
    let tenant = Tenant::of(account)?;
    let rows = store::factor::all(account)?;
    let rows = rows.iter().filter(|row| row.is_active());
    let rows = rows.filter_map(|row| Some((row, decrypt(context, account, &tenant, row).ok()?)));
    let mut transferred = Vec::new();
    let rows: Vec<(&FactorRow, Shown)> = rows.collect();
    for (row, shown) in rows.iter().filter(|(_, shown)| migration::knows(&shown.parameters)) {
        disclose(context, account, &row.factor.label, reason)?;
        transferred.push(Transferred {
            secret: &shown.secret,
            parameters: shown.parameters,
            account_name: &shown.account_name,
            issuer: &shown.issuer,
        });
    }
    let batch_id = i32::from_be_bytes(*random::array::<4>()?) & i32::MAX;
    Ok(migration::build(&transferred, batch_id))
}

/// Records that a secret is handed out. A rollback would undo the audit event, but not what the
/// caller has read.
fn disclose(
    context: &Context,
    account: &Account,
    label: &Label,
    reason: &AuditReason,
) -> Result<(), Error> {
    notice::exported(&context.audited_name(account), label, &server::session_user(), reason);
    AccountGuard::of(account).exported();
    let mut fields = field("label", &**label);
    fields.insert("reason".to_owned(), (**reason).into());
    context.record(account, Event::Export, Outcome::Ok, fields.clone())?;
    context.announce(account, Kind::Exported, fields)
}
