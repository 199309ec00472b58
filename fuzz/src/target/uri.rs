//! `otpauth` URIs, and bare secrets.

use super::silence::assert_silent;
use super::text;
use crate::pure::name::{AccountName, Issuer};
use crate::pure::uri::{self, Imported};

pub fn check(data: &[u8]) -> bool {
    let text = text(data);
    let imported = uri::parse(text);
    assert_order(text, imported.as_ref().ok());
    let imported = match imported {
        Ok(imported) => imported,
        Err(invalid) => {
            assert_silent(&invalid);
            return false;
        }
    };
    let Imported { secret, parameters, issuer, account_name } = &imported;
    assert!((6..=8).contains(&parameters.digits) && (1..=120).contains(&parameters.period));
    let written_issuer = issuer.clone().unwrap_or_else(|| Issuer::new("Acme".into()).unwrap());
    let written_name =
        account_name.clone().unwrap_or_else(|| AccountName::new("alice".into()).unwrap());
    // A name that could hide a parameter is refused.
    if [&*written_issuer, &*written_name].iter().any(|name| name.contains(['=', '%'])) {
        return true;
    }
    let again =
        uri::parse(&uri::build(secret, &written_name, &written_issuer, parameters, None)).unwrap();
    assert_same(&imported, &again);
    assert_eq!(again.issuer, Some(written_issuer));
    assert_eq!(again.account_name, Some(written_name));
    true
}

fn assert_same(one: &Imported, other: &Imported) {
    assert!(one.secret.expose() == other.secret.expose(), "another secret");
    assert_eq!(one.parameters, other.parameters);
}

/// The order of the parameters does not matter, as far as there is no fragment and no space.
fn assert_order(text: &str, imported: Option<&Imported>) {
    let Some((path, query)) = text.split_once('?') else {
        return;
    };
    if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#' && byte != b';') {
        return;
    }
    let mut parameters: Vec<&str> = query.split('&').collect();
    parameters.reverse();
    let reversed = uri::parse(&format!("{path}?{}", parameters.join("&")));
    match (imported, &reversed) {
        (Some(imported), Ok(reversed)) => assert_same(imported, reversed),
        (imported, reversed) => assert_eq!(imported.is_some(), reversed.is_ok()),
    }
}
