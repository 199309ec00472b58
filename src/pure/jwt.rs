//! JSON Web Tokens (RFC 7519), signed with HS256 (RFC 7518, 3.2).

use super::moment::Moment;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Map, Value, json};
use sha2::Sha256;

const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;
/// The fewest bytes of a secret: as many as the hash has (RFC 7518, 3.2).
pub const SECRET_LEAST: usize = 32;

/// Signs claims. `iat` is the time of the call; `exp` is so many seconds later, unless the claims
/// have one. `None` when the secret is too short.
pub fn sign(
    mut claims: Map<String, Value>,
    secret: &[u8],
    now: Moment,
    ttl: i64,
) -> Option<String> {
    if secret.len() < SECRET_LEAST {
        return None;
    }
    let seconds = now.micros().div_euclid(1_000_000);
    claims.insert("iat".to_owned(), seconds.into());
    claims.entry("exp").or_insert_with(|| seconds.saturating_add(ttl).into());
    let payload = Value::Object(claims).to_string();
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(HEADER), URL_SAFE_NO_PAD.encode(payload));
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
    mac.update(signed.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
    Some(format!("{signed}.{signature}"))
}

/// What a login by password and second factor proves.
pub struct Login<'a> {
    /// Who logged in.
    pub account: &'a str,
    /// The database role of the API server's requests.
    pub role: &'a str,
    /// What proved the second factor: totp or backup.
    pub method: &'a str,
    /// The new session.
    pub session_id: &'a str,
    /// When.
    pub now: Moment,
}

impl Login<'_> {
    /// The claims of a login, beside those of the application, which cannot stand in for them.
    pub fn claims(&self, mut claims: Map<String, Value>) -> Map<String, Value> {
        let seconds = self.now.micros().div_euclid(1_000_000);
        claims.remove("exp");
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

    fn signed(claims: &str) -> String {
        let claims = serde_json::from_str(claims).unwrap();
        sign(claims, SECRET, Moment::from_secs(1_700_000_000), 3_600).unwrap()
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
            role: "authenticated",
            method: "totp",
            session_id: "s",
            now: Moment::from_secs(1_700_000_000),
        };
        let forged = json!({
            "sub": "bob", "role": "postgres", "aal": "aal9", "amr": [], "session_id": "t", "exp": 9e9,
            "org": 7,
        });
        let Value::Object(forged) = forged else { unreachable!() };
        let expected = json!({
            "sub": "alice", "role": "authenticated", "aal": "aal2", "session_id": "s", "org": 7,
            "amr": [{ "method": "totp", "timestamp": 1_700_000_000 }],
        });
        assert_eq!(Value::Object(login.claims(forged)), expected);
    }

    #[test]
    fn a_short_secret_signs_nothing() {
        assert_eq!(sign(Map::new(), &SECRET[1..], Moment::from_secs(0), 1), None);
    }
}
