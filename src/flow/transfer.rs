//! Secrets that come from other systems or go to them, and accounts that change their name.

use super::attempt::is_suspended;
use super::call::{Call, field};
use super::enrol::FACTORS_LIMIT;
use crate::error::Error;
use crate::guard::Subject;
use crate::pure::audit::{Event, Outcome};
use crate::pure::keyring::{Content, Place, Unreadable};
use crate::pure::lock::Standing;
use crate::pure::name::{Account, AccountName, Issuer, Justification, Label};
use crate::pure::secret::Secret;
use crate::pure::uri::{self, Imported};
use crate::store::factor::Factor;
use crate::{server, settings, store};
use zeroize::Zeroizing;

/// Secrets below 128 bits are weak (RFC 4226, 4, R6).
const WEAK_BELOW_BYTES: usize = 16;

/// Makes an active factor from a secret of another system. Says whether the secret is weak.
pub fn import(
    account: &Account,
    label: Label,
    imported: Imported,
    why: Option<&Justification>,
) -> Result<bool, Error> {
    let call = Call::begin()?;
    if store::account::ensure(account, call.now)? {
        Subject::of(account).pardon();
    }
    store::account::lock(account)?;
    let factors = store::factor::all(account)?;
    if factors.iter().any(|stated| stated.is_active() && stated.factor.label == label) {
        return Err(Error::FactorExists);
    }
    let expired = call.now.plus_secs(-settings::pending_ttl());
    if store::factor::count_others(account, &label, expired)? >= FACTORS_LIMIT {
        return Err(Error::TooManyFactors);
    }
    let Imported { secret, parameters, issuer, account_name } = imported;
    for stated in &factors {
        // A pending one of this label makes room.
        let stays = stated.is_active() || stated.factor.label != label;
        let place = Place::factor(account, &stated.factor.label, stated.factor.created_at);
        // Each code of one secret under two labels would count twice.
        if stays
            && let Ok(other) = call.keyring.open(&place, &stated.factor.sealed)
            && secret.equals(&other.value)
        {
            return Err(Error::FactorExists);
        }
    }
    let content = Content {
        issuer: issuer.map(|issuer| issuer.to_string()),
        account_name: account_name.map(|name| name.to_string()),
        ..Content::of(secret.expose())
    };
    let place = Place::factor(account, &label, call.now);
    let sealed = call.keyring.seal(&place, &content);
    store::factor::delete(account, &label)?;
    let factor =
        Factor { label, parameters, sealed, last_step: -1, drift: 0, created_at: call.now };
    store::factor::put_active(account, &factor)?;
    store::account::changed(account, call.now)?;

    let is_weak = secret.expose().len() < WEAK_BELOW_BYTES;
    let mut fields = field("label", &*factor.label);
    fields.insert("weak".to_owned(), is_weak.into());
    if let Some(why) = why {
        fields.insert("reason".to_owned(), (**why).into());
    }
    call.record(account, Event::Import, Outcome::Ok, fields)?;
    Ok(is_weak)
}

/// Gives out the URI of an active factor, as its app got it.
pub fn export(
    account: &Account,
    label: &Label,
    why: &Justification,
) -> Result<Zeroizing<String>, Error> {
    let call = Call::begin()?;
    let factors = store::factor::all(account)?;
    let stated = factors
        .into_iter()
        .find(|stated| stated.is_active() && stated.factor.label == *label)
        .ok_or(Error::NoFactor)?;
    let place = Place::factor(account, label, stated.factor.created_at);
    let content = call.keyring.open(&place, &stated.factor.sealed)?;
    let secret = Secret::from_bytes(content.value.to_vec()).map_err(|_| Unreadable::Damaged)?;
    let issuer = content.issuer.or_else(settings::issuer).unwrap_or_else(server::database_name);
    let account_name = content.account_name.unwrap_or_else(|| account.to_string());
    let uri = uri::build(
        &secret,
        &AccountName::new(account_name)?,
        &Issuer::new(issuer)?,
        &stated.factor.parameters,
    );
    let mut fields = field("label", &**label);
    fields.insert("reason".to_owned(), (**why).into());
    call.record(account, Event::Export, Outcome::Ok, fields)?;
    Ok(uri)
}

/// Renames an account and seals anew what is bound to its name. What only memory knows of it, by
/// the old name, is written down under the new one.
pub fn rename(account: &Account, new: &Account, why: &Justification) -> Result<(), Error> {
    let call = Call::begin()?;
    let committed = store::account::lock(account)?.ok_or(Error::NoAccount)?;
    if store::account::lock(new)?.is_some() {
        return Err(Error::AccountExists);
    }
    let subject = Subject::of(account);
    let memory = subject.standing();
    let factors = store::factor::all(account)?;
    let codes = store::backup_code::load(account)?;
    store::account::changed(account, call.now)?;
    store::account::rename(account, new)?;
    Subject::of(new).pardon();
    if !memory.is_clean() {
        let suspended = is_suspended(&committed, &memory);
        store::account::fail(new, &Standing { suspended, ..memory }, None)?;
    }
    let keyring = &call.keyring;
    for stated in &factors {
        let from = Place::factor(account, &stated.factor.label, stated.factor.created_at);
        let content = keyring.open(&from, &stated.factor.sealed)?;
        let spent = subject.spent_step(&content.value);
        let sealed = keyring.seal(&from.renamed(new), &content);
        store::factor::reseal(new, stated, &sealed, spent.unwrap_or(stated.factor.last_step))?;
    }
    for code in &codes {
        let from = Place::backup_code(account, code.slot, &code.salt);
        let content = keyring.open(&from, &code.sealed)?;
        let sealed = keyring.seal(&from.renamed(new), &content);
        store::backup_code::reseal(new, code.slot, &sealed)?;
    }
    let mut fields = field("new_account", settings::audited_name(new));
    fields.insert("reason".to_owned(), (**why).into());
    call.record(account, Event::Rename, Outcome::Ok, fields)
}
