//! Signing JSON Web Tokens.

use crate::error::Error;
use crate::{clock, keys, settings};
use serde_json::{Map, Value};

/// Signs claims with the API server's secret. They expire after `totp.jwt_ttl`, unless they set
/// their own expiry.
pub fn sign(claims: Map<String, Value>) -> Result<String, Error> {
    Ok(keys::jwt::secret()?.sign(claims, clock::now()?, settings::jwt_ttl())?)
}
