//! Rows of django-allauth: type and data.

use super::imported::{cells, is_item};
use super::text;
use crate::pure::import::allauth;

pub fn check(data: &[u8]) -> bool {
    is_item(allauth::parse(&cells(text(data))))
}
