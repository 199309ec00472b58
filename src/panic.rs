//! A function that panics as a bug would. Only builds with the feature `panic` have it, for
//! tests/e2e/panic; no release does.
#![allow(clippy::panic, clippy::indexing_slicing)]

use pgrx::prelude::*;

/// A schema that no release contains.
#[pg_schema]
mod tests {
    use super::*;
    use crate::guard;

    /// Panics in the given way: `panic`, `index`, or `under a lock`. Returns true for any other.
    #[pg_extern]
    fn fail(how: &str) -> bool {
        match how {
            "panic" => panic!("a bug"),
            "index" => Vec::<bool>::new()[how.len()],
            "under a lock" => guard::panic_under_lock(),
            _ => true,
        }
    }
}
