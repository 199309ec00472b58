//! Memory that PostgreSQL allocates for a call.

use pgrx::PgMemoryContexts;

/// Runs a part of a long call, and then frees what PostgreSQL has allocated for it: the arguments of
/// statements, for example. Otherwise all of it would be kept until the call has returned its last row.
/// Not for use while an SPI connection is open, which could restore a context that is gone.
pub fn with_own_memory<T>(work: impl FnOnce() -> T) -> T {
    let mut context = PgMemoryContexts::new("totp");
    // SAFETY: the context is deleted only after `work` has ended. What outlives it is on Rust's heap or
    // in contexts of its own: plans, portals, callbacks.
    unsafe { context.switch_to(|_| work()) }
}
