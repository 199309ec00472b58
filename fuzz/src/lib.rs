//! Fuzzing with coverage: `make fuzz`. It needs no PostgreSQL, as nothing in `src/pure` does.

// What no parser needs is unused here.
#[allow(dead_code, unused_imports)]
#[path = "../../src/pure/mod.rs"]
mod pure;

pub mod target;
