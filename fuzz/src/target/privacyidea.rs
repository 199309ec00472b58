//! Exports of privacyIDEA, as CSV and as JSON.

use super::imported::is_grouping;
use super::text;
use crate::pure::import::privacyidea;

pub fn check(data: &[u8]) -> bool {
    privacyidea::parse(text(data)).is_some_and(is_grouping)
}
