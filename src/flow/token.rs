//! Issuing tokens.

use super::context::Context;
use super::sweep::Sweep;
use crate::error::Error;
use crate::pure::name::Account;
use crate::pure::token::{Kind, Token};
use crate::store::token::NewToken;
use crate::{random, store};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

thread_local! {
    static SWEEP: Sweep = const { Sweep::new() };
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
    SWEEP.with(|sweep| sweep.run(context.now, || store::token::sweep(context.now)))?;
    Ok(token.signed(&context.keyring))
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
