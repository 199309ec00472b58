//! Rows of better-auth: the application's secrets, the version of the one that encrypts or nothing, a
//! value, and a flag. Nobody without a secret can make a value that decrypts, so it is encrypted first,
//! unless its version is `raw`.

use super::imported::{cells, is_item};
use super::silence::assert_silent;
use super::text;
use crate::pure::import::better_auth::Secrets;
use chacha20poly1305::aead::{Aead, KeyInit};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

const NONCE: [u8; 24] = [7; 24];
/// What encrypts, as far as the corpus has it among the secrets.
const SECRET: &str = "new";

pub fn check(data: &[u8]) -> bool {
    let mut parts = text(data).splitn(4, '\0');
    let (Some(secrets), Some(version), Some(value)) = (parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let Some(secrets) = Secrets::parse(secrets) else {
        assert!(secrets.trim().is_empty(), "a secret is refused");
        return false;
    };
    let value = match version {
        "raw" => value.to_owned(),
        "" => encrypted(value),
        version => format!("$ba${version}${}", encrypted(value)),
    };
    let mut row = cells(parts.next().unwrap_or_default());
    row.truncate(1);
    row.splice(0..0, [Some(Zeroizing::new(value.clone())), Some(Zeroizing::new(value))]);
    let (factor, codes) = (secrets.parse_factor(&row), secrets.parse_codes(&row));
    assert_silent(&factor.as_ref().err());
    assert_silent(&codes.as_ref().err());
    is_item(factor) | is_item(codes)
}

fn encrypted(value: &str) -> String {
    let cipher = XChaCha20Poly1305::new(&Sha256::digest(SECRET));
    let ciphertext = cipher.encrypt(&XNonce::from(NONCE), value.as_bytes()).unwrap();
    NONCE.iter().chain(&ciphertext).map(|byte| format!("{byte:02x}")).collect()
}
