//! Transfers of Google Authenticator: the URIs of QR codes, one per line, or the protocol buffers in
//! one of them.

use super::imported::is_grouping;
use super::text;
use crate::pure::import::migration;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

pub fn check(data: &[u8]) -> bool {
    const SCHEME: &[u8] = b"otpauth-migration:";
    let uris = if data.starts_with(SCHEME) {
        text(data).to_owned()
    } else {
        format!("otpauth-migration://offline?data={}", STANDARD.encode(data))
    };
    let mut lines: Vec<&str> = uris.lines().collect();
    let forwards = migration::parse("alice", lines.iter().copied());
    lines.reverse();
    // The order of the QR codes does not matter.
    let backwards = migration::parse("alice", lines.iter().copied());
    assert_eq!(forwards.as_ref().err(), backwards.as_ref().err());
    forwards.is_ok_and(is_grouping)
}
