//! The `otpauth://` URI that an authenticator app reads from a QR code.

use super::name::{AccountName, Issuer};
use super::otp::Parameters;
use super::secret::Secret;
use zeroize::Zeroizing;

/// Builds the Key URI of a TOTP secret. The issuer stands in the label and in a parameter, for old
/// and new apps; all parameters are spelled out; a blank is %20, since apps show a plus as it is.
pub fn build(
    secret: &Secret,
    account_name: &AccountName,
    issuer: &Issuer,
    parameters: &Parameters,
) -> Zeroizing<String> {
    let issuer = percent_encoded(issuer);
    Zeroizing::new(format!(
        "otpauth://totp/{issuer}:{account}?secret={secret}&issuer={issuer}\
         &algorithm={algorithm}&digits={digits}&period={period}",
        account = percent_encoded(account_name),
        secret = secret.to_base32().as_str(),
        algorithm = parameters.algorithm.name(),
        digits = parameters.digits,
        period = parameters.period,
    ))
}

/// Escapes everything but the unreserved characters of RFC 3986, 2.3.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_special_character_is_escaped() {
        let secret = Secret::from_bytes(b"12345678901234567890".to_vec()).unwrap();
        let uri = build(
            &secret,
            &AccountName::new("jörg+x@example.com".into()).unwrap(),
            &Issuer::new("A & B 100%".into()).unwrap(),
            &Parameters::new("SHA256", 8, 60).unwrap(),
        );
        assert_eq!(
            uri.as_str(),
            "otpauth://totp/A%20%26%20B%20100%25:j%C3%B6rg%2Bx%40example.com\
             ?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=A%20%26%20B%20100%25\
             &algorithm=SHA256&digits=8&period=60"
        );
    }
}
