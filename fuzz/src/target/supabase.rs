//! Rows of Supabase Auth: secret, name, type and status.

use super::imported::{cells, is_item};
use super::text;
use crate::pure::import::supabase;

pub fn check(data: &[u8]) -> bool {
    is_item(supabase::parse(&cells(text(data))))
}
