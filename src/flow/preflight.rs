//! Checks a deployment for anything that would weaken the second factor or lose secrets.
//!
//! Each check returns one row, even if it finds nothing wrong.

use super::tenant::Tenant;
use super::{context, key};
use crate::error::preflight::{Check, Finding, Status};
use crate::error::{Error, KeyRows, KeySource};
use crate::pure::configuration::{self, distinct, parameter_logging};
use crate::pure::hba;
use crate::settings::{self, Identity};
use crate::store::{catalog, rotation};
use crate::{clock, guard, keys, server};

/// How long after they expire rows are counted, since some are removed only as others are written.
const EXPIRED_SECS: i64 = 86_400;
/// Number of expired rows from which on they are reported.
const MANY_EXPIRED: i64 = 10_000;
/// How far ahead the clock of a standby can seem to be because of rounding and small corrections.
const AHEAD_SECS: f64 = 2.0;
/// How old a standby's last reply can be: it replies every ten seconds unless configured otherwise.
const SILENT_SECS: f64 = 60.0;

/// Returns whether no check fails.
pub fn is_ok() -> Result<bool, Error> {
    Ok(checks()?.iter().all(|check| check.status != Status::Fail))
}

/// Runs all checks, which only read.
pub fn checks() -> Result<Vec<Check>, Error> {
    let mut findings = vec![Finding::Preload(guard::is_on()), key_source()];
    let owners = catalog::other_owners()?;
    // This function reads the tables as totp_owner, so it can only do that if they belong to it.
    if !owners.iter().any(|owner| owner.starts_with("table ") || owner.starts_with("sequence ")) {
        findings.extend(keyring(rotation::keys()?)?);
        findings.push(Finding::AuditSequence { is_behind: catalog::is_audit_sequence_behind()? });
        findings.push(Finding::AuditSeal {
            is_late: catalog::is_audit_unsealed()?,
            last: catalog::last_seal()?,
        });
        findings.push(expired_rows()?);
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
        Finding::TenantFunction(Tenant::is_function_suitable()?),
        Finding::Clock(settings::clock().is_some()),
        Finding::Fsync(is(c"fsync", "on")),
        Finding::FullPageWrites(is(c"full_page_writes", "on")),
        Finding::Citus(server::require_local_tables()),
        network_logins()?,
        standby_clocks()?,
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

/// Checks whether there are keys, whether they decrypt all rows, whether any rows need rotation, and
/// whether nothing needs some of the keys any longer.
fn keyring(used: KeyRows) -> Result<Vec<Finding>, Error> {
    let keyring = match context::keyring() {
        Ok(keyring) => keyring,
        Err(error) => return Ok(vec![Finding::NoKeyring(error), Finding::UnknownKeys(used)]),
    };
    let (known, missing) = key::split(used, &keyring);
    let older: KeyRows = known.into_iter().filter(|(id, _)| id != keyring.primary_id()).collect();
    let is_spare =
        |id: &&str| *id != keyring.primary_id() && !older.iter().any(|(used, _)| used == id);
    let spare = keyring.ids().filter(is_spare).map(str::to_owned).collect();
    Ok(vec![
        Finding::Keyring(keyring.ids().map(str::to_owned).collect()),
        Finding::MissingKeys(missing),
        Finding::OlderKeys(older),
        Finding::UnusedKeys(catalog::keys_without_signature(spare)?),
    ])
}

/// Counts rows that expired a while ago and that nobody has removed.
fn expired_rows() -> Result<Finding, Error> {
    let ago = |seconds: i64| clock::system().plus_secs(-seconds - EXPIRED_SECS);
    let since = catalog::Expiry {
        pending: ago(settings::pending_ttl()),
        tokens: ago(0),
        sessions: ago(settings::session_ttl()),
        events: ago(settings::events_ttl()),
    };
    let count = catalog::expired_rows(&since, MANY_EXPIRED + 1)?;
    Ok(Finding::ExpiredRows { count, are_many: count > MANY_EXPIRED })
}

/// Checks whether clients on other machines can only log in with encryption.
fn network_logins() -> Result<Finding, Error> {
    if server::setting(c"listen_addresses").is_some_and(|addresses| hba::is_local(&addresses)) {
        return Ok(Finding::LocalLogins);
    }
    let rules = server::with_session_rights(catalog::hba_rules)?;
    Ok(match rules {
        None => Finding::UnknownLogins,
        Some(rules) => {
            let found = hba::unencrypted(&rules, &server::database_name());
            Finding::NetworkLogins(
                found.into_iter().map(|rule| (rule.line, rule.kind.clone())).collect(),
            )
        }
    })
}

/// Compares this server's clock with those of its standbys: after a promotion, codes are checked by
/// the other clock.
fn standby_clocks() -> Result<Finding, Error> {
    let standbys = server::with_session_rights(catalog::standbys)?;
    if standbys.iter().any(|standby| standby.is_hidden) {
        return Ok(Finding::UnknownStandbys);
    }
    let is_off = |ahead: f64| !(-SILENT_SECS..=AHEAD_SECS).contains(&ahead);
    let off = standbys.into_iter().filter_map(|standby| {
        standby.seconds_ahead.filter(|ahead| is_off(*ahead)).map(|ahead| (standby.name, ahead))
    });
    Ok(Finding::StandbyClocks(off.collect()))
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
