//! Signing JSON Web Tokens.

use crate::error::Error;
use crate::pure::jwt::with_rfc8176;
use crate::settings::Amr;
use crate::{clock, keys, settings};
use serde_json::{Map, Value};

/// Signs claims with the API server's secret. They expire after `totp.jwt_ttl`, unless they set
/// their own expiry.
pub fn sign(claims: Map<String, Value>) -> Result<String, Error> {
    Ok(keys::jwt::secret()?.sign(in_form(claims), clock::now()?, settings::jwt_ttl())?)
}

/// Returns claims in the form that `totp.amr` asks for.
pub fn in_form(claims: Map<String, Value>) -> Map<String, Value> {
    match settings::amr() {
        Amr::Supabase => claims,
        Amr::Rfc8176 => with_rfc8176(claims),
    }
}
