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
/// The fewest bytes of a secret: as many as the hash has (RFC 7518, 3.2).
const MIN_SECRET_BYTES: usize = 32;

/// What signs the tokens, and what the API server checks them with.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// `None` when it is too short.
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Option<Self> {
        (bytes.len() >= MIN_SECRET_BYTES).then_some(Self(bytes))
    }

    /// Signs claims. `iat` is the time of the call; `exp` is so many seconds later, unless the
    /// claims have one.
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
        // HMAC takes a key of any length.
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).map_err(|_| Invalid::Claims)?;
        mac.update(signed.as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
        Ok(format!("{signed}.{signature}"))
    }
}

/// What a login by password and second factor proves.
pub struct Login<'a> {
    /// Who logged in.
    pub account: &'a str,
    /// The claim that names the account to the database, `sub` or another one.
    pub account_claim: &'a str,
    /// The database role of the API server's requests.
    pub role: &'a str,
    /// What proved the second factor: totp or backup.
    pub method: &'a str,
    /// The new session.
    pub session_id: &'a str,
    /// When.
    pub now: Timestamp,
}

impl Login<'_> {
    /// The claims of a login, beside those of the application, which cannot stand in for them.
    pub fn claims(&self, mut claims: Map<String, Value>) -> Map<String, Value> {
        let seconds = self.now.micros().div_euclid(1_000_000);
        claims.remove("exp");
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
    fn a_token_is_what_pyjwt_makes() {
        // jwt.encode({"exp": 1700003600, "iat": 1700000000, "sub": "alice"}, SECRET, "HS256")
        assert_eq!(
            signed(r#"{"sub": "alice"}"#),
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjE3MDAwMDM2MDAsImlhdCI6MTcwMDAwMDAwMCwic3ViIjoiYWxpY2UifQ.fOxo-PZAV06g5PetDaFjXe9piSBG-Ce4Paa0eANnIws"
        );
    }

    #[test]
    fn claims_can_end_earlier_but_not_begin_elsewhere() {
        let payload = |token: String| -> Map<String, Value> {
            let payload = token.split('.').nth(1).unwrap();
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
        };
        let claims = payload(signed(r#"{"iat": 1, "exp": 1700000060}"#));
        assert_eq!(claims["iat"], 1_700_000_000);
        assert_eq!(claims["exp"], 1_700_000_060);
    }

    #[test]
    fn claims_of_the_application_do_not_stand_in_for_those_of_a_login() {
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
            "email": "bob@example.com", "org": 7,
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
    fn an_expiry_that_readers_may_pass_over_is_refused() {
        for expiry in ["null", "\"1700000060\"", "1.5", "1e10", "[]"] {
            let claims = serde_json::from_str(&format!(r#"{{"exp": {expiry}}}"#)).unwrap();
            let signed = secret(SECRET).unwrap().sign(claims, Timestamp::from_secs(0), 1);
            assert_eq!(signed, Err(Invalid::Expiry), "{expiry}");
        }
    }

    #[test]
    fn a_short_secret_is_none() {
        assert!(secret(&SECRET[1..]).is_none());
    }
}
