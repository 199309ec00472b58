//! Payloads of approvals: JSON objects, which are compared in canonical form.

use super::text;
use crate::pure::approval::Subject;
use crate::pure::json;
use crate::pure::name::Action;
use serde_json::{Map, Value};

fn subject(json: &str) -> Option<Subject> {
    let payload: Map<String, Value> = json::parse(json)?;
    Some(Subject::new(Action::new("transfer".to_owned()).unwrap(), payload))
}

pub fn check(data: &[u8]) -> bool {
    let Some(first) = subject(text(data)) else {
        return false;
    };
    // The canonical form is a value's only one.
    let again = subject(&first.payload).unwrap();
    assert_eq!(again.payload, first.payload);
    assert_eq!(again.digest(), first.digest());
    // What is shown is what is approved, and nothing of it is hidden.
    let summary = first.summary();
    assert!(summary.chars().all(|c| !c.is_control()));
    let shown = subject(summary.strip_prefix("transfer ").unwrap()).unwrap();
    assert_eq!(shown.payload, first.payload);
    true
}
