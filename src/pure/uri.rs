//! The `otpauth://` URI that an authenticator app reads from a QR code.

use super::invalid::{Invalid, UriFlaw};
use super::name::{AccountName, Issuer};
use super::otp::Parameters;
use super::secret::Secret;
use zeroize::Zeroizing;

/// Builds the `otpauth` URI of a TOTP secret. The issuer is in the label and in a parameter, for
/// old and new apps; all parameters are explicit; a space is %20, because apps show a plus literally.
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

/// The contents of a URI or of a bare secret.
pub struct Imported {
    /// The secret.
    pub secret: Secret,
    /// Its parameters.
    pub parameters: Parameters,
    /// The issuer, if the URI contains it.
    pub issuer: Option<Issuer>,
    /// The account as the authenticator app shows it, if the URI contains it.
    pub account_name: Option<AccountName>,
}

/// Parses an `otpauth://totp/` URI as common apps write it, or a bare base32 secret.
///
/// Parameters can be in any order; issuer, algorithm, digits and period are optional; a plus in a
/// parameter is a space; unknown parameters are ignored. The parameter `issuer` takes precedence
/// over the issuer in the label.
pub fn parse(text: &str) -> Result<Imported, Invalid> {
    let Some((scheme, rest)) = text.trim().split_once("://") else {
        let parameters = Parameters::new("SHA1", 6, 30)?;
        let secret = Secret::from_base32(text)?;
        return Ok(Imported { secret, parameters, issuer: None, account_name: None });
    };
    let (kind, rest) = rest.split_once('/').unwrap_or((rest, ""));
    match (scheme.to_ascii_lowercase().as_str(), kind.to_ascii_lowercase().as_str()) {
        ("otpauth", "totp") => {}
        ("otpauth", "hotp") => return Err(Invalid::Uri(UriFlaw::Hotp)),
        ("otpauth", "steam") | ("steam", _) => return Err(Invalid::Uri(UriFlaw::Steam)),
        _ => return Err(Invalid::Uri(UriFlaw::Type)),
    }
    let (label, query) = rest.split_once('?').unwrap_or((rest, ""));
    let query = Query::parse(query)?;
    if query.get("encoder").is_some_and(|encoder| encoder.eq_ignore_ascii_case("steam")) {
        return Err(Invalid::Uri(UriFlaw::Steam));
    }
    let secret = Secret::from_base32(query.get("secret").ok_or(Invalid::Uri(UriFlaw::NoSecret))?)?;
    let algorithm = query.get("algorithm").map_or("SHA1".to_owned(), |name| {
        name.to_ascii_uppercase().replace("HMAC", "").replace('-', "")
    });
    let parameters =
        Parameters::new(&algorithm, query.number("digits", 6)?, query.number("period", 30)?)?;

    let label = percent_decoded(label)?;
    let (prefix, account_name) = match label.split_once(':') {
        Some((issuer, account_name)) => (issuer.trim(), account_name.trim_start()),
        None => ("", label.as_str()),
    };
    let issuer = query.get("issuer").filter(|issuer| !issuer.is_empty()).unwrap_or(prefix);
    let present = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    Ok(Imported {
        secret,
        parameters,
        issuer: present(issuer).map(Issuer::new).transpose()?,
        account_name: present(account_name).map(AccountName::new).transpose()?,
    })
}

/// The parameters of a URI. Values are wiped when dropped, since one is the secret.
struct Query(Vec<(String, Zeroizing<String>)>);

impl Query {
    fn parse(text: &str) -> Result<Self, Invalid> {
        let mut parameters: Vec<(String, Zeroizing<String>)> = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = percent_decoded(name)?.to_ascii_lowercase();
            let value = Zeroizing::new(percent_decoded(&value.replace('+', " "))?);
            if parameters.iter().any(|(known, _)| *known == name) {
                return Err(Invalid::Uri(UriFlaw::Duplicate));
            }
            parameters.push((name, value));
        }
        Ok(Self(parameters))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn number(&self, name: &str, default: i32) -> Result<i32, Invalid> {
        match self.get(name) {
            None => Ok(default),
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().map_err(|_| Invalid::Uri(UriFlaw::Number))
            }
            Some(_) => Err(Invalid::Uri(UriFlaw::Number)),
        }
    }
}

/// Decodes percent-encoding: `%41` becomes `A`.
fn percent_decoded(text: &str) -> Result<String, Invalid> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        bytes.push(match byte {
            b'%' => digit(rest.next())
                .zip(digit(rest.next()))
                .and_then(|(high, low)| u8::try_from(high * 16 + low).ok())
                .ok_or(Invalid::Uri(UriFlaw::Escape))?,
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| Invalid::Uri(UriFlaw::Escape))
}

/// Percent-encodes everything except the unreserved characters (RFC 3986, 2.3).
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

    fn read(text: &str) -> (String, String, String, Parameters) {
        let imported = parse(text).unwrap_or_else(|flaw| panic!("{text}: {flaw:?}"));
        let text = |name: Option<&str>| name.unwrap_or("-").to_owned();
        (
            imported.secret.to_base32().to_string(),
            text(imported.issuer.as_deref()),
            text(imported.account_name.as_deref()),
            imported.parameters,
        )
    }

    fn flaw(text: &str) -> Invalid {
        parse(text).err().unwrap_or_else(|| panic!("{text} was read"))
    }

    #[test]
    fn uris_of_common_apps_are_parsed() {
        let usual = Parameters::new("SHA1", 6, 30).unwrap();
        let other = Parameters::new("SHA256", 8, 60).unwrap();
        for (text, issuer, account_name, parameters) in [
            // As Google Authenticator writes it, and with the parameters in another order.
            (
                "otpauth://totp/Acme:alice?secret=GEZDGNBVGY3TQOJQ&issuer=Acme",
                "Acme",
                "alice",
                usual,
            ),
            (
                "otpauth://totp/Acme:alice?issuer=Acme&digits=6&period=30&secret=GEZDGNBVGY3TQOJQ",
                "Acme",
                "alice",
                usual,
            ),
            // An escaped colon followed by a space, and an issuer in the label only.
            (
                "otpauth://totp/Acme%20Inc%3A%20alice%40example.com?secret=GEZDGNBVGY3TQOJQ",
                "Acme Inc",
                "alice@example.com",
                usual,
            ),
            // No issuer, and a lower-case secret with padding and spaces.
            ("otpauth://totp/alice?secret=gezd%20gnbv+gy3t%20qojq%3D%3D", "-", "alice", usual),
            ("OTPAUTH://TOTP/alice?SECRET=GEZDGNBVGY3TQOJQ", "-", "alice", usual),
            // A plus is a space in a parameter, and a plus in the label.
            ("otpauth://totp/A:a+b?secret=GEZDGNBVGY3TQOJQ&issuer=A+%26+B", "A & B", "a+b", usual),
            // Other parameter values in several spellings, and unknown parameters.
            (
                "otpauth://totp/A:a?secret=GEZDGNBVGY3TQOJQ&algorithm=sha256&digits=8&period=60&image=x&lock=false",
                "A",
                "a",
                other,
            ),
            (
                "otpauth://totp/A:a?secret=GEZDGNBVGY3TQOJQ&algorithm=HmacSHA256&digits=8&period=60",
                "A",
                "a",
                other,
            ),
            (
                "otpauth://totp/A:a?secret=GEZDGNBVGY3TQOJQ&algorithm=SHA-256&digits=8&period=60",
                "A",
                "a",
                other,
            ),
            ("otpauth://totp/?secret=GEZDGNBVGY3TQOJQ", "-", "-", usual),
            (" gezd-gnbv gy3t-qojq ", "-", "-", usual),
        ] {
            let expected = (
                "GEZDGNBVGY3TQOJQ".to_owned(),
                issuer.to_owned(),
                account_name.to_owned(),
                parameters,
            );
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn a_built_uri_round_trips() {
        for (issuer, account_name) in
            [("A & B 100%", "jörg+x@example.com"), ("Ü🔑", "a:b?c#d/e"), ("x", " y ")]
        {
            let secret = Secret::from_bytes(b"12345678901234567890".to_vec()).unwrap();
            let parameters = Parameters::new("SHA512", 7, 45).unwrap();
            let uri = build(
                &secret,
                &AccountName::new(account_name.into()).unwrap(),
                &Issuer::new(issuer.into()).unwrap(),
                &parameters,
            );
            let (found, found_issuer, found_name, found_parameters) = read(&uri);
            assert_eq!(found, secret.to_base32().as_str());
            assert_eq!((found_issuer.as_str(), found_name.trim()), (issuer, account_name.trim()));
            assert_eq!(found_parameters, parameters);
        }
    }

    #[test]
    fn other_types_are_rejected_by_name() {
        assert_eq!(
            flaw("otpauth://hotp/a?secret=GEZDGNBVGY3TQOJQ&counter=1"),
            Invalid::Uri(UriFlaw::Hotp)
        );
        assert_eq!(flaw("otpauth://steam/a?secret=GEZDGNBVGY3TQOJQ"), Invalid::Uri(UriFlaw::Steam));
        assert_eq!(flaw("steam://GEZDGNBVGY3TQOJQ"), Invalid::Uri(UriFlaw::Steam));
        assert_eq!(
            flaw("otpauth://totp/a?secret=GEZDGNBVGY3TQOJQ&encoder=steam"),
            Invalid::Uri(UriFlaw::Steam)
        );
        assert_eq!(flaw("otpauth-migration://offline?data=x"), Invalid::Uri(UriFlaw::Type));
        assert_eq!(flaw("https://example.com/totp"), Invalid::Uri(UriFlaw::Type));
    }

    #[test]
    fn invalid_uris_are_rejected() {
        let with = |rest: &str| format!("otpauth://totp/a?{rest}");
        assert_eq!(flaw(&with("issuer=x")), Invalid::Uri(UriFlaw::NoSecret));
        assert_eq!(
            flaw(&with("secret=GEZDGNBVGY3TQOJQ&Secret=GEZDGNBVGY3TQOJQ")),
            Invalid::Uri(UriFlaw::Duplicate)
        );
        assert_eq!(
            flaw(&with("secret=GEZDGNBVGY3TQOJQ&digits=six")),
            Invalid::Uri(UriFlaw::Number)
        );
        assert_eq!(
            flaw(&with("secret=GEZDGNBVGY3TQOJQ&period=99999999999")),
            Invalid::Uri(UriFlaw::Number)
        );
        assert_eq!(flaw(&with("secret=GEZDGNBVGY3TQOJQ&digits=-6")), Invalid::Uri(UriFlaw::Number));
        assert_eq!(flaw(&with("secret=GEZDGNBVGY3TQOJQ&digits=10")), Invalid::Digits(10));
        assert_eq!(flaw(&with("secret=GEZDGNBVGY3TQOJQ&period=86400")), Invalid::Period(86400));
        assert_eq!(flaw(&with("secret=GEZDGNBVGY3TQOJQ&algorithm=MD5")), Invalid::Algorithm);
        assert_eq!(
            flaw(&with("secret=GEZDGNBVGY3TQOJQ&issuer=%zz")),
            Invalid::Uri(UriFlaw::Escape)
        );
        assert_eq!(
            flaw(&with("secret=GEZDGNBVGY3TQOJQ&issuer=%ff")),
            Invalid::Uri(UriFlaw::Escape)
        );
        assert_eq!(flaw(&with("secret=GEZDGNBVGY3TQOJQ&issuer=%4")), Invalid::Uri(UriFlaw::Escape));
        assert_eq!(flaw(&with("secret=01")), Invalid::Base32);
        assert_eq!(flaw(&with("secret=")), Invalid::SecretLength(0));
        assert_eq!(flaw(""), Invalid::SecretLength(0));
    }
}
