//! Importing many accounts at once.
//!
//! Functions that read a table are not SECURITY DEFINER: the table is read with the rights of the
//! caller, and only writing to the extension's own tables uses those of `totp_owner`.

use super::argument;
use crate::error::problem;
use crate::flow::bulk_import::{Options, Outcome, from_document, from_tables};
use crate::flow::lock_timeout::limited;
use crate::flow::{hardware_token, source};
use crate::pure::import::{
    app, auth0, fusionauth, keycloak, libpam, migration, oath_csv, privacyidea,
};
use crate::pure::invalid::Invalid;
use crate::server::{Document, RelationId, Text};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

/// The rows that every import returns.
type Row = (Option<String>, i32, i32, Option<String>);

fn options(
    function: &'static str,
    dry_run: Option<bool>,
    reason: Option<Text>,
) -> Result<Options, Invalid> {
    let reason = reason.map(|text| argument::reason(Some(text))).transpose()?;
    Ok(Options { function, dry_run: dry_run.unwrap_or(false), reason })
}

fn rows(outcomes: Vec<Outcome>) -> impl Iterator<Item = Row> + 'static {
    outcomes.into_iter().map(|outcome| {
        let Outcome { account, factors, backup_codes, problems } = outcome;
        (account, factors, backup_codes, problem::text(&problems))
    })
}

#[pg_extern(volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn import_rows(
    source: Option<RelationId>,
    dry_run: default!(Option<bool>, "false"),
    reason: default!(Option<Text>, "NULL"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(account, Option<String>),
            name!(factors, i32),
            name!(backup_codes, i32),
            name!(problem, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let options = options("import_rows", dry_run, reason)?;
    let parts = source::of_rows(argument::relation(source, "source")?)?;
    Ok(TableIterator::new(rows(from_tables(options, parts)?)))
}

#[pg_extern(volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn import_django_otp(
    totp_table: Option<RelationId>,
    static_token_table: default!(Option<RelationId>, "NULL"),
    dry_run: default!(Option<bool>, "false"),
    reason: default!(Option<Text>, "NULL"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(account, Option<String>),
            name!(factors, i32),
            name!(backup_codes, i32),
            name!(problem, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let options = options("import_django_otp", dry_run, reason)?;
    let totp_table = argument::relation(totp_table, "totp_table")?;
    let parts = source::of_django_otp(totp_table, static_token_table)?;
    Ok(TableIterator::new(rows(from_tables(options, parts)?)))
}

#[pg_extern(volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn import_allauth(
    authenticator_table: Option<RelationId>,
    dry_run: default!(Option<bool>, "false"),
    reason: default!(Option<Text>, "NULL"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(account, Option<String>),
            name!(factors, i32),
            name!(backup_codes, i32),
            name!(problem, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let options = options("import_allauth", dry_run, reason)?;
    let table = argument::relation(authenticator_table, "authenticator_table")?;
    Ok(TableIterator::new(rows(from_tables(options, source::of_allauth(table)?)?)))
}

#[pg_extern(volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn import_django_totp(
    totp_table: Option<RelationId>,
    backup_table: Option<RelationId>,
    key_file: Option<Text>,
    dry_run: default!(Option<bool>, "false"),
    reason: default!(Option<Text>, "NULL"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(account, Option<String>),
            name!(factors, i32),
            name!(backup_codes, i32),
            name!(problem, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let options = options("import_django_totp", dry_run, reason)?;
    let totp_table = argument::relation(totp_table, "totp_table")?;
    let backup_table = argument::relation(backup_table, "backup_table")?;
    let key_file = argument::required(key_file, "key_file")?;
    let parts = source::of_django_totp(totp_table, backup_table, &key_file)?;
    Ok(TableIterator::new(rows(from_tables(options, parts)?)))
}

#[pg_extern(volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn import_keycloak(
    credential_table: Option<RelationId>,
    dry_run: default!(Option<bool>, "false"),
    reason: default!(Option<Text>, "NULL"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(account, Option<String>),
            name!(factors, i32),
            name!(backup_codes, i32),
            name!(problem, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let options = options("import_keycloak", dry_run, reason)?;
    let table = argument::relation(credential_table, "credential_table")?;
    Ok(TableIterator::new(rows(from_tables(options, source::of_keycloak(table)?)?)))
}

#[pg_extern(volatile, parallel_unsafe, security_definer, name = "import_keycloak")]
#[search_path(pg_catalog, pg_temp)]
fn import_keycloak_export(
    document: Option<Document>,
    dry_run: default!(Option<bool>, "false"),
    reason: default!(Option<Text>, "NULL"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(account, Option<String>),
            name!(factors, i32),
            name!(backup_codes, i32),
            name!(problem, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let options = options("import_keycloak", dry_run, reason)?;
    let grouping = keycloak::parse_export(&argument::document(document)?)
        .ok_or(Invalid::Document("the export of a Keycloak realm"))?;
    Ok(TableIterator::new(rows(from_document(options, grouping)?)))
}

#[pg_extern(volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn import_supabase(
    factors_table: Option<RelationId>,
    dry_run: default!(Option<bool>, "false"),
    reason: default!(Option<Text>, "NULL"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(account, Option<String>),
            name!(factors, i32),
            name!(backup_codes, i32),
            name!(problem, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let options = options("import_supabase", dry_run, reason)?;
    let table = argument::relation(factors_table, "factors_table")?;
    Ok(TableIterator::new(rows(from_tables(options, source::of_supabase(table)?)?)))
}

#[pg_extern(volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn import_better_auth(
    two_factor_table: Option<RelationId>,
    secret_file: Option<Text>,
    dry_run: default!(Option<bool>, "false"),
    reason: default!(Option<Text>, "NULL"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(account, Option<String>),
            name!(factors, i32),
            name!(backup_codes, i32),
            name!(problem, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let options = options("import_better_auth", dry_run, reason)?;
    let table = argument::relation(two_factor_table, "two_factor_table")?;
    let secret_file = argument::required(secret_file, "secret_file")?;
    let parts = source::of_better_auth(table, &secret_file)?;
    Ok(TableIterator::new(rows(from_tables(options, parts)?)))
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn import_auth0(
    document: Option<Document>,
    dry_run: default!(Option<bool>, "false"),
    reason: default!(Option<Text>, "NULL"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(account, Option<String>),
            name!(factors, i32),
            name!(backup_codes, i32),
            name!(problem, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let options = options("import_auth0", dry_run, reason)?;
    let grouping = auth0::parse(&argument::document(document)?)
        .ok_or(Invalid::Document("a list of Auth0 users"))?;
    Ok(TableIterator::new(rows(from_document(options, grouping)?)))
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn import_fusionauth(
    document: Option<Document>,
    dry_run: default!(Option<bool>, "false"),
    reason: default!(Option<Text>, "NULL"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(account, Option<String>),
            name!(factors, i32),
            name!(backup_codes, i32),
            name!(problem, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let options = options("import_fusionauth", dry_run, reason)?;
    let grouping = fusionauth::parse(&argument::document(document)?)
        .ok_or(Invalid::Document("a list of FusionAuth users"))?;
    Ok(TableIterator::new(rows(from_document(options, grouping)?)))
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn import_oath_csv(
    document: Option<Document>,
    dry_run: default!(Option<bool>, "false"),
    reason: default!(Option<Text>, "NULL"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(account, Option<String>),
            name!(factors, i32),
            name!(backup_codes, i32),
            name!(problem, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let options = options("import_oath_csv", dry_run, reason)?;
    let tokens = oath_csv::parse(&argument::document(document)?)
        .ok_or(Invalid::Document("an OATH CSV file"))?;
    let outcomes = limited(|| hardware_token::import(&options, tokens))?;
    Ok(TableIterator::new(rows(outcomes)))
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn import_pskc(
    document: Option<Document>,
    key_file: default!(Option<Text>, "NULL"),
    dry_run: default!(Option<bool>, "false"),
    reason: default!(Option<Text>, "NULL"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(account, Option<String>),
            name!(factors, i32),
            name!(backup_codes, i32),
            name!(problem, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let options = options("import_pskc", dry_run, reason)?;
    let document = argument::document(document)?;
    let key_file = argument::optional(key_file, "key_file")?;
    let tokens = hardware_token::of_pskc(&document, key_file.as_deref())?;
    let outcomes = limited(|| hardware_token::import(&options, tokens))?;
    Ok(TableIterator::new(rows(outcomes)))
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn import_privacyidea(
    document: Option<Document>,
    dry_run: default!(Option<bool>, "false"),
    reason: default!(Option<Text>, "NULL"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(account, Option<String>),
            name!(factors, i32),
            name!(backup_codes, i32),
            name!(problem, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let options = options("import_privacyidea", dry_run, reason)?;
    let grouping = privacyidea::parse(&argument::document(document)?)
        .ok_or(Invalid::Document("an export of privacyIDEA as CSV or decrypted JSON"))?;
    Ok(TableIterator::new(rows(from_document(options, grouping)?)))
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn import_libpam(
    account: Option<Text>,
    document: Option<Text>,
    dry_run: default!(Option<bool>, "false"),
    reason: default!(Option<Text>, "NULL"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(account, Option<String>),
            name!(factors, i32),
            name!(backup_codes, i32),
            name!(problem, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let options = options("import_libpam", dry_run, reason)?;
    let account = argument::account(account)?;
    let document = argument::required(document, "document")?;
    let grouping = libpam::parse(&account, &document);
    Ok(TableIterator::new(rows(from_document(options, grouping)?)))
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn import_migration(
    account: Option<Text>,
    uris: Option<Vec<Option<String>>>,
    dry_run: default!(Option<bool>, "false"),
    reason: default!(Option<Text>, "NULL"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(account, Option<String>),
            name!(factors, i32),
            name!(backup_codes, i32),
            name!(problem, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let options = options("import_migration", dry_run, reason)?;
    let account = argument::account(account)?;
    let uris = uris.ok_or(Invalid::Null { argument: "uris" })?;
    let uris = uris.iter().map(|uri| uri.as_deref().unwrap_or_default());
    let grouping = migration::parse(&account, uris).map_err(Invalid::from)?;
    Ok(TableIterator::new(rows(from_document(options, grouping)?)))
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn import_app(
    account: Option<Text>,
    document: Option<Document>,
    dry_run: default!(Option<bool>, "false"),
    reason: default!(Option<Text>, "NULL"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(account, Option<String>),
            name!(factors, i32),
            name!(backup_codes, i32),
            name!(problem, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let options = options("import_app", dry_run, reason)?;
    let account = argument::account(account)?;
    let grouping = app::parse(&account, &argument::document(document)?)
        .ok_or(Invalid::Document("the unencrypted export of a known authenticator app"))?;
    Ok(TableIterator::new(rows(from_document(options, grouping)?)))
}
