//! Rows of any origin: secret or URI, label and last step.

use super::imported::{cells, is_item};
use super::text;
use crate::pure::import::rows;

pub fn check(data: &[u8]) -> bool {
    is_item(rows::parse(&cells(text(data))))
}
