//! Rows of django-otp: devices with eight columns, tokens with one.

use super::imported::{cells, is_item};
use super::text;
use crate::pure::import::django_otp;

pub fn check(data: &[u8]) -> bool {
    let cells = cells(text(data));
    is_item(if cells.len() == 1 {
        django_otp::parse_token(&cells)
    } else {
        django_otp::parse(&cells)
    })
}
