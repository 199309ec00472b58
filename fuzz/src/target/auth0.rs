//! Users of Auth0.

use super::imported::is_grouping;
use super::text;
use crate::pure::import::auth0;

pub fn check(data: &[u8]) -> bool {
    auth0::parse(text(data)).is_some_and(is_grouping)
}
