//! The forms of a secret for JSON Web Tokens that PostgREST reads: raw, base64, or a JSON Web Key (RFC
//! 7517) of type "oct".

use super::jwt::Secret;
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use serde::de::IgnoredAny;
use zeroize::{Zeroize, Zeroizing};

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a text is not a secret that signs tokens. No variant holds any part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// It has fewer bytes than HS256 requires.
    TooShort,
    /// It begins with a byte order mark, which an API server treats as part of it.
    ByteOrderMark,
    /// It ends with a carriage return, which an API server treats as part of it.
    CarriageReturn,
    /// It is not base64, although a setting says that it is.
    Base64,
    /// It is a PEM key or certificate.
    Pem,
    /// It is JSON, but not one symmetric key.
    Jwk,
    /// It is a symmetric key for a purpose other than HS256.
    JwkUse,
}

/// The members of a JSON Web Key that matter here; others are ignored.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    k: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
}

impl Drop for Jwk {
    fn drop(&mut self) {
        self.k.zeroize();
    }
}

#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<Jwk>,
}

/// Reads a secret. A newline at its end is not part of it.
pub fn parse(text: &str, is_base64: bool) -> Result<Secret, Flaw> {
    if text.starts_with('\u{feff}') {
        return Err(Flaw::ByteOrderMark);
    }
    let text = text.strip_suffix('\n').unwrap_or(text);
    let secret = if is_base64 {
        decoded(text.trim()).ok_or(Flaw::Base64)?
    } else {
        Zeroizing::new(text.as_bytes().to_vec())
    };
    let start = secret.trim_ascii_start();
    if start.starts_with(b"-----BEGIN ") {
        return Err(Flaw::Pem);
    }
    let is_json = start.starts_with(b"{") || start.starts_with(b"[");
    let secret = if is_json && serde_json::from_slice::<IgnoredAny>(&secret).is_ok() {
        key_of_jwk(&secret)?
    } else if secret.ends_with(b"\r") && !is_base64 {
        return Err(Flaw::CarriageReturn);
    } else {
        secret
    };
    Secret::new(secret).ok_or(Flaw::TooShort)
}

/// The key in a JSON Web Key, or in a set with exactly one of type "oct".
fn key_of_jwk(json: &[u8]) -> Result<Zeroizing<Vec<u8>>, Flaw> {
    let mut keys = match serde_json::from_slice::<JwkSet>(json) {
        Ok(set) => set.keys,
        Err(_) => vec![serde_json::from_slice::<Jwk>(json).map_err(|_| Flaw::Jwk)?],
    };
    keys.retain(|key| key.kty == "oct");
    let [jwk] = keys.as_slice() else {
        return Err(Flaw::Jwk);
    };
    let is_or_none = |member: &Option<String>, value| member.as_deref().is_none_or(|m| m == value);
    if !is_or_none(&jwk.alg, "HS256") || !is_or_none(&jwk.usage, "sig") {
        return Err(Flaw::JwkUse);
    }
    jwk.k.as_deref().and_then(decoded).ok_or(Flaw::Jwk)
}

/// Decodes base64 in either alphabet, as PostgREST does, which also accepts "." as padding.
fn decoded(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let standard = |byte| match byte {
        b'-' => b'+',
        b'_' => b'/',
        b'.' => b'=',
        other => other,
    };
    let text: Zeroizing<Vec<u8>> = Zeroizing::new(text.bytes().map(standard).collect());
    BASE64.decode(&text).ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pure::timestamp::Timestamp;
    use serde_json::Map;

    const SECRET: &[u8] = b"\xfb\xff\xbf56789abcdef0123456789abcdef?>";

    /// Two secrets are compared by what they sign.
    fn signature(secret: Secret) -> String {
        secret.sign(Map::new(), Timestamp::from_secs(0), 1).unwrap()
    }

    fn assert_is(text: &str, is_base64: bool, secret: &[u8]) {
        let expected = Secret::new(Zeroizing::new(secret.to_vec())).unwrap();
        let found = parse(text, is_base64);
        assert_eq!(found.map(signature).ok(), Some(signature(expected)), "{text}");
    }

    fn flaw(text: &str, is_base64: bool) -> Option<Flaw> {
        parse(text, is_base64).err()
    }

    fn base64() -> String {
        BASE64.encode(SECRET)
    }

    fn url_safe() -> String {
        base64().replace('+', "-").replace('/', "_").replace('=', "")
    }

    fn jwk(members: &str) -> String {
        format!(r#"{{"kty": "oct", "k": "{}"{members}}}"#, url_safe())
    }

    #[test]
    fn a_raw_secret_is_used_as_it_is() {
        let raw = "correct horse battery staple, 32+";
        for text in [raw, &format!("{raw}\n"), &base64(), &format!(" {raw} "), &format!("{{{raw}")]
        {
            assert_is(text, false, text.strip_suffix('\n').unwrap_or(text).as_bytes());
        }
        // PostgREST removes one newline, too.
        assert_is(&format!("{raw}\n\n"), false, format!("{raw}\n").as_bytes());
    }

    #[test]
    fn base64_is_decoded_only_by_the_setting() {
        assert!(base64().contains('+') && base64().contains('/') && base64().ends_with('='));
        let unpadded = base64().trim_end_matches('=').to_owned();
        for text in [base64(), unpadded, url_safe(), base64().replace('=', ".")] {
            assert_is(&text, true, SECRET);
            assert_is(&format!(" {text}\r\n"), true, SECRET);
            assert_is(&text, false, text.as_bytes());
        }
        for text in ["correct horse battery staple, 32+", "AAAA\nAAAA", "A", "====", "{}"] {
            assert_eq!(flaw(text, true), Some(Flaw::Base64), "{text}");
        }
    }

    #[test]
    fn a_json_web_key_is_read() {
        for members in ["", r#", "alg": "HS256", "use": "sig", "kid": "1""#, r#", "key_ops": []"#] {
            assert_is(&jwk(members), false, SECRET);
            assert_is(&format!("\n {}\r\n", jwk(members)), false, SECRET);
            assert_is(&BASE64.encode(jwk(members)), true, SECRET);
        }
        assert_is(&jwk("").replace(&url_safe(), &base64()), false, SECRET);
    }

    #[test]
    fn a_set_with_one_symmetric_key_is_read() {
        let rsa = r#"{"kty": "RSA", "n": "AQAB", "e": "AQAB"}"#;
        assert_is(&format!(r#"{{"keys": [{}]}}"#, jwk("")), false, SECRET);
        assert_is(&format!(r#"{{"keys": [{rsa}, {}]}}"#, jwk("")), false, SECRET);
        for set in ["", rsa, &format!("{0}, {0}", jwk(""))] {
            assert_eq!(flaw(&format!(r#"{{"keys": [{set}]}}"#), false), Some(Flaw::Jwk), "{set}");
        }
    }

    #[test]
    fn other_json_is_refused() {
        for text in [
            "{}",
            "[]",
            r#"{"kty": "oct"}"#,
            r#"{"kty": "oct", "k": 5}"#,
            r#"{"kty": "oct", "k": "not base64!"}"#,
            r#"{"kty": "EC", "crv": "P-256", "x": "AQAB", "y": "AQAB"}"#,
            r#"{"type": "HS256", "key": "0123456789abcdef0123456789abcdef"}"#,
        ] {
            assert_eq!(flaw(text, false), Some(Flaw::Jwk), "{text}");
        }
        for members in [r#", "alg": "HS512""#, r#", "alg": "RS256""#, r#", "use": "enc""#] {
            assert_eq!(flaw(&jwk(members), false), Some(Flaw::JwkUse), "{members}");
        }
    }

    #[test]
    fn what_an_api_server_reads_differently_is_refused() {
        let raw = "0123456789abcdef0123456789abcdef";
        for end in ["\r", "\r\n"] {
            assert_eq!(flaw(&format!("{raw}{end}"), false), Some(Flaw::CarriageReturn));
        }
        assert_eq!(flaw(&format!("\u{feff}{raw}"), false), Some(Flaw::ByteOrderMark));
        for kind in ["PUBLIC KEY", "RSA PRIVATE KEY", "CERTIFICATE"] {
            let pem = format!("-----BEGIN {kind}-----\n{raw}\n-----END {kind}-----\n");
            assert_eq!(flaw(&pem, false), Some(Flaw::Pem));
            assert_eq!(flaw(&format!("\n{pem}"), false), Some(Flaw::Pem));
            assert_eq!(flaw(&BASE64.encode(pem), true), Some(Flaw::Pem));
        }
    }

    #[test]
    fn a_short_secret_is_refused_in_every_form() {
        let short = "0123456789abcdef0123456789abcde";
        let encoded = BASE64.encode(short);
        assert_eq!(flaw(short, false), Some(Flaw::TooShort));
        assert_eq!(flaw(&encoded, true), Some(Flaw::TooShort));
        let jwk = format!(r#"{{"kty": "oct", "k": "{encoded}"}}"#);
        assert_eq!(flaw(&jwk, false), Some(Flaw::TooShort));
        for text in ["", "\n", "\n\n"] {
            assert_eq!(flaw(text, false), Some(Flaw::TooShort));
            assert_eq!(flaw(text, true), Some(Flaw::TooShort));
        }
    }
}
