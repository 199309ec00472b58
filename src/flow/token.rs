//! Making tokens.

use super::call::Call;
use super::sweep::Sweep;
use crate::error::Error;
use crate::pure::name::Account;
use crate::pure::token::{Kind, Token};
use crate::store::token::NewToken;
use crate::{random, store};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

thread_local! {
    static LAST_SWEEP: Sweep = const { Sweep::new() };
}

/// What a token is made of, beside its account and life.
pub struct NewTerms<'a> {
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
    call: &Call,
    account: &Account,
    terms: &NewTerms,
    ttl: i64,
) -> Result<Zeroizing<String>, Error> {
    let id = *random::array::<16>()?;
    let token = Token { kind: terms.kind, id, expires_at: call.now.plus_micros(ttl) };
    store::token::insert(&NewToken {
        token: &token,
        account,
        purpose: terms.purpose,
        binding: &hashed_binding(terms.binding),
        claims: terms.claims,
        created_at: call.now,
    })?;
    LAST_SWEEP.with(|last| last.when_due(call.now, || store::token::sweep(call.now)))?;
    Ok(token.signed(&call.keyring))
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
