//! Secrets for JSON Web Tokens: `b` if a setting says that they are base64, or another letter, and the
//! contents of the file.

use super::silence::assert_silent;
use super::text;
use crate::pure::jwt::Secret;
use crate::pure::jwt_secret::parse;
use crate::pure::timestamp::Timestamp;
use serde_json::Map;

/// Two secrets are compared by what they sign.
fn signature(secret: &Secret) -> String {
    secret.sign(Map::new(), Timestamp::from_micros(0), 1).unwrap()
}

pub fn check(data: &[u8]) -> bool {
    let Some((kind, file)) = data.split_first() else {
        return false;
    };
    let (file, is_base64) = (text(file), *kind == b'b');
    let secret = match parse(file, is_base64) {
        Ok(secret) => secret,
        Err(flaw) => {
            assert_silent(&flaw);
            return false;
        }
    };
    let signed = signature(&secret);
    assert_eq!(signed.split('.').count(), 3);
    // An editor may add a newline.
    if !file.ends_with('\n') {
        let again = parse(&format!("{file}\n"), is_base64).unwrap();
        assert_eq!(signature(&again), signed);
    }
    true
}
