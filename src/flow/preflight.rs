//! Checks a deployment for anything that would weaken the second factor or lose secrets.
//!
//! Each check returns one row, even if it finds nothing wrong.

use crate::error::Error;
use crate::error::preflight::{Check, Finding, KeyRows};
use crate::keys::{self, KeySource};
use crate::store::rotation;
use crate::{guard, server, settings};
use std::path::Path;

/// Runs all checks, which only read.
pub fn checks() -> Result<Vec<Check>, Error> {
    let mut findings = vec![Finding::Preload(guard::is_on()), key_source()];
    findings.extend(keyring(rotation::keys()?));
    findings.extend([
        statement_logging(),
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
        Ok(Some(KeySource::File(file))) => {
            Finding::KeyFile { in_data_directory: is_in_data_directory(&file) }
        }
        Ok(Some(KeySource::Variable)) => Finding::KeyVariable,
        // The check of the keyring reports what is wrong.
        Ok(None) | Err(_) => Finding::NoKeySource,
    }
}

fn is_in_data_directory(file: &Path) -> bool {
    match (file.canonicalize(), server::data_directory().canonicalize()) {
        (Ok(file), Ok(directory)) => file.starts_with(directory),
        _ => false,
    }
}

/// Checks whether there are keys, whether they decrypt all rows, and whether any rows need
/// rotation.
fn keyring(used: KeyRows) -> Vec<Finding> {
    let keyring = match keys::keyring() {
        Ok(keyring) => keyring,
        Err(error) => return vec![Finding::NoKeyring(error), Finding::UnknownKeys(used)],
    };
    let is_known = |(id, _): &(String, i64)| keyring.ids().any(|known| known == id);
    let (known, missing): (KeyRows, KeyRows) = used.into_iter().partition(is_known);
    let older = known.into_iter().filter(|(id, _)| id != keyring.primary_id()).collect();
    vec![
        Finding::Keyring(keyring.ids().map(str::to_owned).collect()),
        Finding::MissingKeys(missing),
        Finding::OlderKeys(older),
    ]
}

/// Checks whether statements are logged with their parameters. A logged code is worthless once
/// accepted; a logged secret is not.
fn statement_logging() -> Finding {
    let is_on = is(c"log_statement", "all")
        || !is(c"log_min_duration_statement", "-1")
        || !is(c"log_min_duration_sample", "-1")
        || !is(c"log_transaction_sample_rate", "0");
    Finding::StatementLogging(is_on && !is(c"log_parameter_max_length", "0"))
}

fn is(name: &'static std::ffi::CStr, value: &str) -> bool {
    server::setting(name).as_deref() == Some(value)
}
