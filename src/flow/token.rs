//! Making tokens.

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

/// The time between two sweeps of a server process.
const SWEEP_MICROS: u64 = 1_000_000;

thread_local! {
    static SWEPT_AT: Cell<Timestamp> = const { Cell::new(Timestamp::from_micros(i64::MIN)) };
}

/// What a token is made of, beside its account and life.
pub struct TokenSpec<'a> {
    /// Its kind.
    pub kind: Kind,
    /// What it is for, in the application's words.
    pub purpose: &'a str,
    /// What must be given again.
    pub binding: Option<&'a str>,
    /// A JSON object.
    pub claims: &'a str,
}

/// Makes a token that lives for so many microseconds. An account that does not exist gets one too,
/// so that nobody learns of it here.
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

/// Removes some tokens that have ended: each second at most, unless more of them are left. So they go
/// as new ones come, without a background job.
fn sweep(now: Timestamp) -> Result<(), Error> {
    let is_due = now.micros_since(SWEPT_AT.get()).unsigned_abs() >= SWEEP_MICROS;
    // In other transactions rows that somebody else has removed would be errors.
    if is_due && server::is_read_committed() && store::token::sweep(now)? {
        SWEPT_AT.set(now);
    }
    Ok(())
}

/// What is kept of a binding. None at all is one too, and no other.
pub fn hashed_binding(binding: Option<&str>) -> [u8; 32] {
    let mut hash = Sha256::new();
    if let Some(binding) = binding {
        hash.update([1]);
        hash.update(binding);
    }
    hash.finalize().into()
}
