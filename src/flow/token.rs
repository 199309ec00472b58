//! Issuing tokens.

use super::context::Context;
use crate::error::Error;
use crate::pure::name::Account;
use crate::pure::timestamp::Timestamp;
use crate::pure::token::{Kind, Token};
use crate::store::token::NewToken;
use crate::{random, server, store};
use sha2::{Digest, Sha256};
use std::cell::Cell;
use zeroize::Zeroizing;

/// Minimum time between two sweeps by one server process, in microseconds.
const SWEEP_MICROS: u64 = 1_000_000;

thread_local! {
    static SWEPT_AT: Cell<Timestamp> = const { Cell::new(Timestamp::from_micros(i64::MIN)) };
}

/// The properties of a token other than its account and lifetime.
pub struct TokenSpec<'a> {
    /// The kind of token.
    pub kind: Kind,
    /// What the token is for, in the application's words.
    pub purpose: &'a str,
    /// A value that must be presented again with the token.
    pub binding: Option<&'a str>,
    /// A JSON object.
    pub claims: &'a str,
}

/// Issues a token that is valid for `ttl` microseconds. An account that does not exist gets one
/// too, so that the result does not reveal whether it exists.
pub fn issue(
    context: &Context,
    account: &Account,
    scope: &TokenSpec,
    ttl: i64,
) -> Result<Zeroizing<String>, Error> {
    let id = *random::array::<16>()?;
    let token = Token { kind: scope.kind, id, expires_at: context.now.plus_micros(ttl) };
    store::token::insert(&NewToken {
        token: &token,
        account,
        purpose: scope.purpose,
        binding: &hashed_binding(scope.binding),
        claims: scope.claims,
        created_at: context.now,
    })?;
    sweep(context.now)?;
    Ok(token.signed(&context.keyring))
}

/// Removes some expired tokens, at most once per second unless more of them are left. The table is
/// cleaned up as new tokens arrive, without a background job.
fn sweep(now: Timestamp) -> Result<(), Error> {
    let is_due = now.micros_since(SWEPT_AT.get()).unsigned_abs() >= SWEEP_MICROS;
    // At other isolation levels, rows that another transaction has removed would cause errors.
    if is_due && server::is_read_committed() && store::token::sweep(now)? {
        SWEPT_AT.set(now);
    }
    Ok(())
}

/// Returns the hash of a binding. The absence of a binding also has a hash, which no text shares.
pub fn hashed_binding(binding: Option<&str>) -> [u8; 32] {
    let mut hash = Sha256::new();
    if let Some(binding) = binding {
        hash.update([1]);
        hash.update(binding);
    }
    hash.finalize().into()
}
