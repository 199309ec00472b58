//! Users of FusionAuth.

use super::imported::is_grouping;
use super::text;
use crate::pure::import::fusionauth;

pub fn check(data: &[u8]) -> bool {
    fusionauth::parse(text(data)).is_some_and(is_grouping)
}
