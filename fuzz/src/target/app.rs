//! Exports of authenticator apps.

use super::imported::is_grouping;
use super::text;
use crate::pure::import::app;

pub fn check(data: &[u8]) -> bool {
    app::parse("alice", text(data)).is_some_and(is_grouping)
}
