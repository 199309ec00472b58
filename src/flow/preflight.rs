//! Checks a deployment for anything that would weaken the second factor or lose secrets.
//!
//! Each check returns one row, even if it finds nothing wrong.

use super::{context, key};
use crate::error::preflight::{Check, Finding};
use crate::error::{Error, KeyRows, KeySource};
use crate::pure::configuration::{self, distinct, parameter_logging};
use crate::settings::{self, Identity};
use crate::store::{catalog, rotation};
use crate::{guard, keys, server};

/// Runs all checks, which only read.
pub fn checks() -> Result<Vec<Check>, Error> {
    let mut findings = vec![Finding::Preload(guard::is_on()), key_source()];
    let owners = catalog::other_owners()?;
    // This function reads the tables as totp_owner, so it can only do that if they belong to it.
    if !owners.iter().any(|owner| owner.starts_with("table ") || owner.starts_with("sequence ")) {
        findings.extend(keyring(rotation::keys()?));
        findings.push(Finding::AuditSequence { is_behind: catalog::is_audit_sequence_behind()? });
        findings.push(Finding::AuditSeal { is_late: catalog::is_audit_unsealed()? });
    }
    findings.extend([
        statement_logging()?,
        settings()?,
        jwt_logins()?,
        Finding::RoleAttributes(catalog::role_attributes()?),
        Finding::MembersOfOwner(catalog::members_of_owner()?),
        Finding::Admins(catalog::admins_of_roles()?),
        Finding::Members(catalog::members_of_roles()?),
        Finding::Grants(catalog::other_grants()?),
        Finding::Owners(owners),
        collation()?,
        Finding::Clock(settings::clock().is_some()),
        Finding::Fsync(is(c"fsync", "on")),
        Finding::FullPageWrites(is(c"full_page_writes", "on")),
        Finding::Citus(server::require_local_tables()),
        Finding::BurnOnRollback(settings::burn_on_rollback()),
        Finding::ColdStart(settings::cold_start()),
        Finding::ForceSyncCommit(settings::force_sync_commit()),
    ]);
    Ok(findings.into_iter().map(Check::from).collect())
}

/// Checks where the key comes from: a copy of the data should not include it.
fn key_source() -> Finding {
    match keys::source() {
        Ok(Some(KeySource::Command)) => Finding::KeyCommand,
        Ok(Some(KeySource::File)) => {
            Finding::KeyFile { in_data_directory: keys::is_in_data_directory() }
        }
        Ok(Some(KeySource::Variable)) => Finding::KeyVariable,
        // The keyring check reports what is wrong.
        Ok(None) | Err(_) => Finding::NoKeySource,
    }
}

/// Checks whether there are keys, whether they decrypt all rows, and whether any rows need
/// rotation.
fn keyring(used: KeyRows) -> Vec<Finding> {
    let keyring = match context::keyring() {
        Ok(keyring) => keyring,
        Err(error) => return vec![Finding::NoKeyring(error), Finding::UnknownKeys(used)],
    };
    let (known, missing) = key::split(used, &keyring);
    let older = known.into_iter().filter(|(id, _)| id != keyring.primary_id()).collect();
    vec![
        Finding::Keyring(keyring.ids().map(str::to_owned).collect()),
        Finding::MissingKeys(missing),
        Finding::OlderKeys(older),
    ]
}

/// Checks whether statements are logged with their parameters. A logged code is worthless once
/// accepted; a logged secret is not.
fn statement_logging() -> Result<Finding, Error> {
    let settings = catalog::configured(configuration::LOGGING)?;
    Ok(Finding::StatementLogging(distinct(&parameter_logging(&settings))))
}

/// Lists the extension's own settings that are not at their defaults.
fn settings() -> Result<Finding, Error> {
    let settings = catalog::configured(r"^totp\.")?;
    Ok(Finding::Settings(distinct(&settings.iter().collect::<Vec<_>>())))
}

/// Checks that trusted login roles exist: whoever creates one of them is trusted, too.
fn jwt_logins() -> Result<Finding, Error> {
    let listed = match settings::identity() {
        Identity::Jwt => settings::jwt_logins(),
        Identity::Role => Vec::new(),
    };
    Ok(Finding::JwtLogins(catalog::missing_roles(listed)?))
}

/// Checks the extension's own collations first, then that of the database.
fn collation() -> Result<Finding, Error> {
    let others = catalog::other_collations()?;
    if others.is_empty() && catalog::has_new_order()? {
        return Ok(Finding::NewOrder);
    }
    Ok(Finding::Collations(others))
}

fn is(name: &'static std::ffi::CStr, value: &str) -> bool {
    server::setting(name).as_deref() == Some(value)
}
