//! What must hold for everything that an import has read, whatever it has read it from.

use super::silence::assert_silent;
use crate::pure::backup_code::BackupCode;
use crate::pure::code::TotpCode;
use crate::pure::import::hardware_token::{SourceToken, Tokens};
use crate::pure::import::migration::{self, Transferred};
use crate::pure::import::{
    Cells, Decision, Grouping, Item, Problem, SourceAccount, SourceFactor, decide, rows,
};
use crate::pure::name::{Account, AccountName, Issuer, Serial};
use crate::pure::otp::{Otp, Parameters};
use crate::pure::secret::Secret;
use crate::pure::uri;
use std::collections::BTreeSet;
use zeroize::Zeroizing;

/// The factors that an account can have, and the backup codes of a set.
const MAX_FACTORS: usize = 20;
const MAX_CODES: usize = 50;

/// The cells of a row. No text of PostgreSQL contains NUL, so it separates them; an empty one is NULL.
pub fn cells(text: &str) -> Cells {
    let cell = |text: &str| (!text.is_empty()).then(|| Zeroizing::new(text.to_owned()));
    text.split('\0').map(cell).collect()
}

/// Checks what was read from a row. Returns whether it is something to import.
pub fn is_item(item: Result<Item, Problem>) -> bool {
    let mut account = SourceAccount::default();
    account.add(item);
    is_account(&account)
}

/// Checks what was read from a document. Returns whether there is something to import.
pub fn is_grouping(grouping: Grouping) -> bool {
    let groups = grouping.groups();
    let mut accounts = BTreeSet::new();
    let mut found = false;
    for (name, account) in &groups {
        match name {
            Ok(name) => {
                assert_eq!(Account::new(name.to_string()).as_ref(), Ok(name));
                assert!(accounts.insert(name.to_string()), "an account occurs twice");
            }
            Err(problem) => assert_silent(problem),
        }
        found |= is_account(account);
    }
    found
}

/// Checks a document to which a token was written: it has that one and no other.
pub fn assert_read_again(document: Tokens, serial: &str, token: &SourceToken) {
    let again = tokens(document);
    let [(serial_again, token_again)] = again.as_slice() else { panic!("{} tokens", again.len()) };
    assert_eq!(serial_again, serial);
    assert!(token_again.secret.expose() == token.secret.expose(), "another secret");
    assert_eq!(token_again.parameters, token.parameters);
}

/// Checks the hardware tokens of a document, and returns those to import.
pub fn tokens(tokens: Tokens) -> Vec<(String, SourceToken)> {
    let mut found: Vec<(String, SourceToken)> = Vec::new();
    for (serial, token) in tokens.into_rows() {
        match (serial, token) {
            (Ok(serial), Ok(token)) => {
                assert_eq!(Serial::new(serial.to_string()).as_ref(), Ok(&serial));
                let before = found.last().map(|(serial, _)| serial.as_str());
                assert!(before < Some(&*serial), "serial numbers are not in order");
                assert_codes(&token.secret, &token.parameters);
                found.push((serial.to_string(), token));
            }
            (serial, token) => {
                let problems = [serial.err(), token.err()];
                assert!(problems.iter().any(Option::is_some));
                assert_silent(&problems);
            }
        }
    }
    found
}

fn is_account(account: &SourceAccount) -> bool {
    let SourceAccount { factors, backup_codes, problems } = account;
    for (place, problem) in problems.iter().enumerate() {
        assert_silent(problem);
        assert!(!problems[..place].contains(problem), "a problem is reported twice");
    }
    for (place, factor) in factors.iter().enumerate() {
        assert_codes(&factor.secret, &factor.parameters);
        assert_uri(factor);
        let is_same = |other: &SourceFactor| other.secret.equals(factor.secret.expose());
        assert!(!factors[..place].iter().any(is_same), "a secret occurs twice");
    }
    let codes: BTreeSet<&str> = backup_codes.iter().map(BackupCode::expose).collect();
    assert_eq!(codes.len(), backup_codes.len(), "a backup code occurs twice");
    assert!(codes.len() <= MAX_CODES);
    for code in codes {
        let again = BackupCode::parse_imported(code);
        assert_eq!(again.as_ref().map(BackupCode::expose), Some(code));
    }
    assert_labels(factors);
    assert_transfer(factors);
    !factors.is_empty() || !backup_codes.is_empty()
}

/// A factor has a code at any time, which can be entered.
fn assert_codes(secret: &Secret, parameters: &Parameters) {
    let length = secret.expose().len();
    assert!((Secret::MIN_BYTES..=Secret::MAX_BYTES).contains(&length), "{length} bytes");
    let Parameters { algorithm, digits, period } = *parameters;
    let again = Parameters::new(algorithm.name(), digits.into(), period.cast_signed());
    assert_eq!(again, Ok(*parameters));
    let code = Otp::new(secret, parameters).code(57_000_000).unwrap();
    assert_eq!(code.len(), usize::from(digits));
    assert_eq!(TotpCode::parse(&code).unwrap().expose(), code);
}

/// A factor that is exported as a URI is imported as the same factor.
fn assert_uri(factor: &SourceFactor) {
    let SourceFactor { label, secret, parameters, issuer, account_name, last_step, .. } = factor;
    let issuer = issuer.clone().unwrap_or_else(|| Issuer::new("Acme".to_owned()).unwrap());
    let account_name =
        account_name.clone().unwrap_or_else(|| AccountName::new("alice".to_owned()).unwrap());
    // A name that could hide a parameter is refused.
    if [&*issuer, &*account_name].iter().any(|name| name.contains(['=', '%'])) {
        return;
    }
    let uri = uri::build(secret, &account_name, &issuer, parameters, None);
    let label_cell = (!label.is_empty()).then(|| Zeroizing::new(label.clone()));
    let last_step_cell = last_step.map(|step| Zeroizing::new(step.to_string()));
    match rows::parse(&vec![Some(uri), label_cell, last_step_cell]) {
        Ok(Item::Factor(again)) => {
            assert!(again.secret.expose() == secret.expose(), "another secret");
            assert_eq!(again.parameters, *parameters);
            assert_eq!((&again.label, again.last_step), (label, *last_step));
        }
        other => panic!("{other:?}"),
    }
}

/// Any factors can be added to an account that has none, unless they are too many.
fn assert_labels(factors: &[SourceFactor]) {
    match decide(factors, &[], MAX_FACTORS) {
        Decision::Add { factors: added, is_first } => {
            assert!(is_first && added.len() == factors.len());
            let labels: BTreeSet<&str> = added.iter().map(|(_, label)| &**label).collect();
            assert_eq!(labels.len(), factors.len(), "a label is taken twice");
        }
        Decision::Refuse(problem) => {
            assert_eq!(problem, Problem::TooManyFactors);
            assert!(factors.len() > MAX_FACTORS);
        }
    }
}

/// Google Authenticator gets all factors that it knows.
fn assert_transfer(factors: &[SourceFactor]) {
    let known: Vec<&SourceFactor> =
        factors.iter().filter(|factor| migration::knows(&factor.parameters)).collect();
    if known.is_empty() {
        return;
    }
    let transferred = |factor: &&SourceFactor| -> Vec<u8> { factor.secret.expose().to_vec() };
    let secrets: Vec<Vec<u8>> = known.iter().map(transferred).collect();
    let factors: Vec<Transferred> = known
        .iter()
        .map(|factor| Transferred {
            secret: &factor.secret,
            parameters: factor.parameters,
            account_name: factor.account_name.as_deref().unwrap_or("alice"),
            issuer: factor.issuer.as_deref().unwrap_or("Acme"),
        })
        .collect();
    let uris = migration::build(&factors, 1);
    let groups = migration::parse("alice", uris.iter().map(|uri| uri.as_str())).unwrap().groups();
    let [(_, account)] = groups.as_slice() else { panic!("{} accounts", groups.len()) };
    assert!(account.factors.iter().map(|it| it.secret.expose()).eq(&secrets), "other secrets");
    assert!(
        account.factors.iter().map(|it| it.parameters).eq(known.iter().map(|it| it.parameters))
    );
}
