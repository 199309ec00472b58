//! PSKC containers, and after NUL the contents of the file with the key or password.

use super::imported::{assert_read_again, tokens};
use super::silence::assert_silent;
use super::text;
use crate::pure::import::hardware_token::SourceToken;
use crate::pure::import::pskc;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use roxmltree::Document;

/// More rounds of PBKDF2 take longer, and nothing else.
const MAX_ROUNDS: u32 = 100;

pub fn check(data: &[u8]) -> bool {
    let text = text(data);
    let (document, key) = match text.split_once('\0') {
        Some((document, key)) => (document, Some(key)),
        None => (text, None),
    };
    if is_slow(document) {
        return false;
    }
    let found = match pskc::parse(document, key) {
        Ok(found) => tokens(found),
        Err(invalid) => {
            assert_silent(&invalid);
            return false;
        }
    };
    let is_plain = |serial: &str| serial.bytes().all(|byte| byte.is_ascii_alphanumeric());
    for (serial, token) in found.iter().filter(|(serial, _)| is_plain(serial)) {
        assert_read_again(pskc::parse(&written(serial, token), None).unwrap(), serial, token);
    }
    !found.is_empty()
}

fn is_slow(document: &str) -> bool {
    let Ok(document) = Document::parse(document) else {
        return false;
    };
    let rounds = |node: roxmltree::Node| {
        let is_count = node.tag_name().name().eq_ignore_ascii_case("IterationCount");
        node.text().filter(|_| is_count)?.trim().parse::<u32>().ok()
    };
    document.descendants().filter_map(rounds).any(|rounds| rounds > MAX_ROUNDS)
}

fn written(serial: &str, token: &SourceToken) -> String {
    let parameters = token.parameters;
    format!(
        r#"<KeyContainer><KeyPackage><Key Id="{serial}" Algorithm="urn:ietf:params:xml:ns:keyprov:pskc:totp">
        <AlgorithmParameters><Suite>HMAC-{algorithm}</Suite>
        <ResponseFormat Length="{digits}" Encoding="DECIMAL"/></AlgorithmParameters>
        <Data><Secret><PlainValue>{secret}</PlainValue></Secret>
        <TimeInterval><PlainValue>{period}</PlainValue></TimeInterval></Data>
        </Key></KeyPackage></KeyContainer>"#,
        algorithm = parameters.algorithm.name(),
        digits = parameters.digits,
        period = parameters.period,
        secret = STANDARD.encode(token.secret.expose()),
    )
}
