//! JSON Web Tokens (RFC 7519), signed with HS256 (RFC 7518, 3.2).

use super::invalid::Invalid;
use super::timestamp::Timestamp;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Map, Value, json};
use sha2::Sha256;
use zeroize::Zeroizing;

const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;
/// The minimum length of a secret in bytes: that of the hash (RFC 7518, 3.2).
const MIN_SECRET_BYTES: usize = 32;

/// The secret that signs tokens, and with which the API server verifies them.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Creates a secret; returns `None` if it is too short.
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Option<Self> {
        (bytes.len() >= MIN_SECRET_BYTES).then_some(Self(bytes))
    }

    /// Signs claims. `iat` is set to `now`, and `exp`, unless present, to `ttl` seconds later.
    /// Fails if `exp` is not a whole number.
    pub fn sign(
        &self,
        mut claims: Map<String, Value>,
        now: Timestamp,
        ttl: i64,
    ) -> Result<String, Invalid> {
        let seconds = now.micros().div_euclid(1_000_000);
        claims.insert("iat".to_owned(), seconds.into());
        let expiry = claims.entry("exp").or_insert_with(|| seconds.saturating_add(ttl).into());
        if !expiry.is_i64() {
            return Err(Invalid::Expiry);
        }
        let payload = Value::Object(claims).to_string();
        let [header, payload] = [HEADER, &payload].map(|part| URL_SAFE_NO_PAD.encode(part));
        let signed = format!("{header}.{payload}");
        // HMAC accepts a key of any length.
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).map_err(|_| Invalid::Claims)?;
        mac.update(signed.as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
        Ok(format!("{signed}.{signature}"))
    }
}

/// A completed login by password and second factor.
pub struct Login<'a> {
    /// The account that logged in.
    pub account: &'a str,
    /// The claim that identifies the account to the database: `sub` or another one.
    pub account_claim: &'a str,
    /// The database role for the API server's requests.
    pub role: &'a str,
    /// The method of the second factor: `totp` or `backup`.
    pub method: &'a str,
    /// The ID of the new session.
    pub session_id: &'a str,
    /// The time of the login.
    pub now: Timestamp,
}

impl Login<'_> {
    /// Adds the claims of the login to those of the application, which cannot override them.
    pub fn claims(&self, mut claims: Map<String, Value>) -> Map<String, Value> {
        let seconds = self.now.micros().div_euclid(1_000_000);
        claims.remove("exp");
        // With totp.amr = rfc8176, it is set from aal.
        claims.remove("acr");
        claims.insert(self.account_claim.to_owned(), self.account.into());
        claims.insert("sub".to_owned(), self.account.into());
        claims.insert("role".to_owned(), self.role.into());
        claims.insert("aal".to_owned(), "aal2".into());
        let amr = json!([{ "method": self.method, "timestamp": seconds }]);
        claims.insert("amr".to_owned(), amr);
        claims.insert("session_id".to_owned(), self.session_id.into());
        claims
    }
}

/// Returns claims whose `amr` is an array of strings (RFC 8176, section 2) instead of objects with a
/// `method`, and which have `acr` (OpenID Connect Core, section 2): the value of `aal`, or `aal2` if
/// there was a second factor. Claims that are in this form already stay as they are.
pub fn with_rfc8176(mut claims: Map<String, Value>) -> Map<String, Value> {
    let Some(Value::Array(methods)) = claims.get("amr") else {
        return claims;
    };
    let mut names: Vec<&str> = Vec::new();
    for method in methods {
        let Some(name) = method.get("method").unwrap_or(method).as_str() else {
            continue;
        };
        let (name, is_second) = match name {
            "totp" | "backup" | "pass" => ("otp", true),
            "password" => ("pwd", false),
            name => (name, false),
        };
        names.push(name);
        if is_second {
            names.push("mfa");
        }
    }
    let mut distinct: Vec<Value> = Vec::new();
    for name in names {
        if !distinct.iter().any(|earlier| earlier == name) {
            distinct.push(name.into());
        }
    }
    let is_mfa = distinct.iter().any(|name| name == "mfa");
    claims.insert("amr".to_owned(), Value::Array(distinct));
    if !claims.contains_key("acr") {
        let level = claims.get("aal").cloned().or_else(|| is_mfa.then(|| "aal2".into()));
        if let Some(level) = level {
            claims.insert("acr".to_owned(), level);
        }
    }
    claims
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

    fn secret(bytes: &[u8]) -> Option<Secret> {
        Secret::new(Zeroizing::new(bytes.to_vec()))
    }

    fn signed(claims: &str) -> String {
        let claims = serde_json::from_str(claims).unwrap();
        let secret = secret(SECRET).unwrap();
        secret.sign(claims, Timestamp::from_secs(1_700_000_000), 3_600).unwrap()
    }

    #[test]
    fn a_token_matches_pyjwt() {
        // jwt.encode({"exp": 1700003600, "iat": 1700000000, "sub": "alice"}, SECRET, "HS256")
        assert_eq!(
            signed(r#"{"sub": "alice"}"#),
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjE3MDAwMDM2MDAsImlhdCI6MTcwMDAwMDAwMCwic3ViIjoiYWxpY2UifQ.fOxo-PZAV06g5PetDaFjXe9piSBG-Ce4Paa0eANnIws"
        );
    }

    #[test]
    fn claims_can_set_exp_but_not_iat() {
        let payload = |token: String| -> Map<String, Value> {
            let payload = token.split('.').nth(1).unwrap();
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
        };
        let claims = payload(signed(r#"{"iat": 1, "exp": 1700000060}"#));
        assert_eq!(claims["iat"], 1_700_000_000);
        assert_eq!(claims["exp"], 1_700_000_060);
    }

    #[test]
    fn application_claims_cannot_override_login_claims() {
        let login = Login {
            account: "alice",
            account_claim: "email",
            role: "authenticated",
            method: "totp",
            session_id: "s",
            now: Timestamp::from_secs(1_700_000_000),
        };
        let forged = json!({
            "sub": "bob", "role": "postgres", "aal": "aal9", "amr": [], "session_id": "t", "exp": 9e9,
            "acr": "high", "email": "bob@example.com", "org": 7,
        });
        let Value::Object(forged) = forged else { unreachable!() };
        let expected = json!({
            "sub": "alice", "role": "authenticated", "aal": "aal2", "session_id": "s", "org": 7,
            "email": "alice",
            "amr": [{ "method": "totp", "timestamp": 1_700_000_000 }],
        });
        assert_eq!(Value::Object(login.claims(forged)), expected);
    }

    #[test]
    fn amr_becomes_strings_of_rfc_8176() {
        let with = |claims: Value| match claims {
            Value::Object(claims) => Value::Object(with_rfc8176(claims)),
            _ => unreachable!(),
        };
        let methods = json!([
            { "method": "password", "timestamp": 1 },
            { "method": "totp", "timestamp": 2 },
            { "method": "backup", "timestamp": 3 },
        ]);
        assert_eq!(
            with(json!({ "sub": "alice", "aal": "aal2", "amr": methods })),
            json!({ "sub": "alice", "aal": "aal2", "acr": "aal2", "amr": ["pwd", "otp", "mfa"] })
        );
        assert_eq!(
            with(json!({ "amr": [{ "method": "pass" }] })),
            json!({ "acr": "aal2", "amr": ["otp", "mfa"] })
        );
        assert_eq!(with(json!({ "amr": [{ "method": "password" }] })), json!({ "amr": ["pwd"] }));
        for unchanged in [
            json!({ "sub": "alice" }),
            json!({ "amr": "otp" }),
            json!({ "acr": "urn:x", "amr": ["pwd", "otp", "mfa"] }),
        ] {
            assert_eq!(with(unchanged.clone()), unchanged);
        }
    }

    #[test]
    fn an_expiry_that_is_not_a_whole_number_is_rejected() {
        for expiry in ["null", "\"1700000060\"", "1.5", "1e10", "[]"] {
            let claims = serde_json::from_str(&format!(r#"{{"exp": {expiry}}}"#)).unwrap();
            let signed = secret(SECRET).unwrap().sign(claims, Timestamp::from_secs(0), 1);
            assert_eq!(signed, Err(Invalid::Expiry), "{expiry}");
        }
    }

    #[test]
    fn a_short_secret_is_rejected() {
        assert!(secret(&SECRET[1..]).is_none());
    }
}
