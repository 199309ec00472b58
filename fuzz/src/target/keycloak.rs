//! Keycloak: exports of realms, and rows of type, secret, data and label.

use super::imported::{cells, is_grouping, is_item};
use super::text;
use crate::pure::import::keycloak;

pub fn check(data: &[u8]) -> bool {
    let text = text(data);
    if text.starts_with(['{', '[']) {
        keycloak::parse_export(text).is_some_and(is_grouping)
    } else {
        is_item(keycloak::parse(&cells(text)))
    }
}
