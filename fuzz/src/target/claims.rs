//! Claims: the name of the one that identifies the account, and after NUL the JSON.

use super::text;
use crate::pure::claims::Claims;
use serde_json::{Map, Value};

pub fn check(data: &[u8]) -> bool {
    let Some((claim, json)) = text(data).split_once('\0') else {
        return false;
    };
    let read = Claims::read(json, claim);
    let is_nobody = Claims::name_nobody(json, claim);
    let Some(claims) = read else {
        return is_nobody;
    };
    assert!(!is_nobody);
    let plain: Map<String, Value> = serde_json::from_str(json).unwrap();
    match plain.get(claim) {
        Some(Value::String(account)) => assert_eq!(*account, *claims.account),
        // An account that is a number has all its digits; an exponent may be written otherwise.
        Some(Value::Number(_)) => {
            let unsigned = |text: &str| text.replace('+', "").to_lowercase();
            assert!(unsigned(json).contains(&unsigned(&claims.account)));
        }
        _ => panic!("an account from nowhere"),
    }
    assert!(claims.session.as_ref().is_none_or(|session| (1..=255).contains(&session.len())));
    let mut written = Map::new();
    if let Some(session) = &claims.session {
        written.insert("session_id".to_owned(), session.as_str().into());
    }
    written.insert(claim.to_owned(), (*claims.account).into());
    let again = Claims::read(&Value::Object(written).to_string(), claim);
    assert_eq!(again.as_ref(), Some(&claims));
    true
}
