//! Google Authenticator: what its QR codes for the transfer of accounts contain.

use super::{Grouping, Item, Problem, SourceFactor};
use crate::pure::invalid::Invalid;
use crate::pure::name::{AccountName, Issuer};
use crate::pure::otp::{Algorithm, Parameters};
use crate::pure::secret::Secret;
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use prost::Message;
use std::collections::BTreeSet;
use zeroize::Zeroizing;

/// How the URI begins.
const PREFIX: &str = "otpauth-migration://offline?data=";
/// The maximum number of factors in a QR code: more make it hard to scan.
const BATCH: usize = 10;
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// A batch of accounts. The numbers of fields are those of the app.
#[derive(Clone, PartialEq, Message)]
struct Payload {
    #[prost(message, repeated, tag = "1")]
    otp_parameters: Vec<OtpParameters>,
    #[prost(int32, tag = "2")]
    version: i32,
    #[prost(int32, tag = "3")]
    batch_size: i32,
    #[prost(int32, tag = "4")]
    batch_index: i32,
    #[prost(int32, tag = "5")]
    batch_id: i32,
}

#[derive(Clone, PartialEq, Message)]
struct OtpParameters {
    #[prost(bytes = "vec", tag = "1")]
    secret: Vec<u8>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    issuer: String,
    /// 0 or 1: SHA-1; 2: SHA-256; 3: SHA-512; 4: MD5.
    #[prost(int32, tag = "4")]
    algorithm: i32,
    /// 0 or 1: six; 2: eight.
    #[prost(int32, tag = "5")]
    digits: i32,
    /// 0: not specified; 1: HOTP; 2: TOTP.
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(int64, tag = "7")]
    counter: i64,
}

/// Why a text is not such a URI.
#[derive(Debug, PartialEq, Eq)]
pub enum Flaw {
    /// It is something else, or damaged.
    Malformed,
    /// A batch is missing.
    Incomplete,
    /// The batches are of different transfers.
    Mixed,
}

impl From<Flaw> for Invalid {
    fn from(flaw: Flaw) -> Self {
        Self::Migration(match flaw {
            Flaw::Malformed => "A URI is something else, or is damaged.",
            Flaw::Incomplete => "The URI of one of the QR codes is missing.",
            Flaw::Mixed => "The URIs are of different transfers.",
        })
    }
}

/// Reads the URIs of all QR codes of a transfer, in any order.
pub fn parse<'a>(account: &str, uris: impl Iterator<Item = &'a str>) -> Result<Grouping, Flaw> {
    let payloads = uris.map(payload).collect::<Result<Vec<_>, _>>()?;
    let first = payloads.first().ok_or(Flaw::Malformed)?;
    let (size, id) = (first.batch_size.max(1), first.batch_id);
    if payloads.iter().any(|other| (other.batch_size.max(1), other.batch_id) != (size, id)) {
        return Err(Flaw::Mixed);
    }
    let indexes: BTreeSet<i32> = payloads.iter().map(|payload| payload.batch_index).collect();
    if !indexes.iter().all(|index| (0..size).contains(index)) {
        return Err(Flaw::Malformed);
    }
    if i32::try_from(indexes.len()) != Ok(size) {
        return Err(Flaw::Incomplete);
    }
    let mut grouping = Grouping::default();
    for parameters in payloads.into_iter().flat_map(|payload| payload.otp_parameters) {
        grouping.add(Some(account), factor(parameters).map(Item::from));
    }
    Ok(grouping)
}

fn payload(uri: &str) -> Result<Payload, Flaw> {
    let data = uri.trim().strip_prefix(PREFIX).ok_or(Flaw::Malformed)?;
    let bytes = BASE64.decode(unescaped(data)?.as_bytes()).map_err(|_| Flaw::Malformed)?;
    Payload::decode(Zeroizing::new(bytes).as_slice()).map_err(|_| Flaw::Malformed)
}

/// Undoes the percent-encoding of base64.
fn unescaped(text: &str) -> Result<Zeroizing<String>, Flaw> {
    let mut plain = Zeroizing::new(String::with_capacity(text.len()));
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        plain.push_str(before);
        let (code, tail) = after.split_at_checked(2).ok_or(Flaw::Malformed)?;
        plain.push(match code.to_ascii_uppercase().as_str() {
            "2B" => '+',
            "2F" => '/',
            "3D" => '=',
            _ => return Err(Flaw::Malformed),
        });
        rest = tail;
    }
    plain.push_str(rest);
    Ok(plain)
}

fn factor(parameters: OtpParameters) -> Result<SourceFactor, Problem> {
    let OtpParameters { secret, name, issuer, algorithm, digits, kind, .. } = parameters;
    let secret = Zeroizing::new(secret);
    if kind != 2 {
        return Err(Problem::Hotp);
    }
    let algorithm = match algorithm {
        0 | 1 => "SHA1",
        2 => "SHA256",
        3 => "SHA512",
        _ => return Err(Problem::Malformed("algorithm")),
    };
    let digits = match digits {
        0 | 1 => 6,
        2 => 8,
        _ => return Err(Problem::Malformed("number of digits")),
    };
    let secret = Secret::from_bytes(secret.to_vec())?;
    let factor =
        SourceFactor::with_parameters(Some(&name), secret, Parameters::new(algorithm, digits, 30)?);
    let shown = name.split_once(':').map_or(name.as_str(), |(_, account_name)| account_name.trim());
    Ok(SourceFactor {
        issuer: Issuer::new(issuer.replace(':', " ")).ok(),
        account_name: AccountName::new(shown.to_owned()).ok(),
        ..factor
    })
}

/// A factor for the app to take over.
pub struct Transferred<'a> {
    /// The secret.
    pub secret: &'a Secret,
    /// Its parameters.
    pub parameters: Parameters,
    /// The account name that the app shows.
    pub account_name: &'a str,
    /// The issuer that the app shows.
    pub issuer: &'a str,
}

/// Returns whether the app knows codes with these parameters: it has only periods of 30 seconds, and
/// six or eight digits.
pub fn knows(parameters: &Parameters) -> bool {
    parameters.period == 30 && parameters.digits != 7
}

/// Returns URIs, each for one QR code, which together contain the factors that the app knows.
pub fn build(factors: &[Transferred], batch_id: i32) -> Vec<Zeroizing<String>> {
    let known: Vec<&Transferred> = factors.iter().filter(|it| knows(&it.parameters)).collect();
    let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let batches = known.chunks(BATCH);
    let batch_size = count(batches.len());
    let uri = |(index, batch): (usize, &[&Transferred])| {
        let payload = Payload {
            otp_parameters: batch.iter().map(|factor| parameters_of(factor)).collect(),
            version: 1,
            batch_size,
            batch_index: count(index),
            batch_id,
        };
        let base64 = Zeroizing::new(BASE64.encode(Zeroizing::new(payload.encode_to_vec())));
        let escaped = base64.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        Zeroizing::new(format!("{PREFIX}{escaped}"))
    };
    batches.enumerate().map(uri).collect()
}

fn parameters_of(factor: &Transferred) -> OtpParameters {
    OtpParameters {
        secret: factor.secret.expose().to_vec(),
        name: format!("{}:{}", factor.issuer, factor.account_name),
        issuer: factor.issuer.to_owned(),
        algorithm: match factor.parameters.algorithm {
            Algorithm::Sha1 => 1,
            Algorithm::Sha256 => 2,
            Algorithm::Sha512 => 3,
        },
        digits: if factor.parameters.digits == 8 { 2 } else { 1 },
        kind: 2,
        counter: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(byte: u8) -> Secret {
        Secret::from_bytes(vec![byte; 20]).unwrap()
    }

    fn uris(count: u8) -> Vec<Zeroizing<String>> {
        let secrets: Vec<Secret> = (0..count).map(secret).collect();
        let parameters = Parameters::new("SHA256", 8, 30).unwrap();
        let factor =
            |secret| Transferred { secret, parameters, account_name: "alice", issuer: "Acme" };
        build(&secrets.iter().map(factor).collect::<Vec<_>>(), 77)
    }

    fn read(uris: &[Zeroizing<String>]) -> Result<Vec<super::super::Group>, Flaw> {
        parse("alice", uris.iter().map(|uri| uri.as_str())).map(Grouping::groups)
    }

    #[test]
    fn what_is_built_is_read_again_in_any_order() {
        let mut uris = uris(25);
        assert_eq!(uris.len(), 3);
        uris.reverse();
        let groups = read(&uris).unwrap();
        let (_, account) = groups.first().unwrap();
        assert_eq!(account.factors.len(), 25);
        let factor = account.factors.first().unwrap();
        assert_eq!(factor.parameters, Parameters::new("SHA256", 8, 30).unwrap());
        assert_eq!(factor.issuer.as_deref(), Some("Acme"));
        assert_eq!(factor.account_name.as_deref(), Some("alice"));
        assert_eq!(factor.label, "Acme:alice");
    }

    #[test]
    fn batches_must_be_complete_and_of_one_transfer() {
        let all = uris(25);
        assert_eq!(read(all.get(1..).unwrap()).unwrap_err(), Flaw::Incomplete);
        let doubled: Vec<_> = all.iter().chain(all.first()).cloned().collect();
        assert!(read(&doubled).is_ok());
        let mixed: Vec<_> = all.iter().cloned().chain(uris(5)).collect();
        assert_eq!(read(&mixed).unwrap_err(), Flaw::Mixed);
        assert_eq!(read(&[]).unwrap_err(), Flaw::Malformed);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "otpauth://totp/x?secret=GEZDGNBVGY3TQOJQ",
            "otpauth-migration://offline?data=%",
            "otpauth-migration://offline?data=%00",
            "otpauth-migration://offline?data=!",
            "otpauth-migration://offline?data=CgU",
            "otpauth-migration://offline?data=%2F%2F%2F%2F",
        ] {
            let uris = [Zeroizing::new(text.to_owned())];
            assert_eq!(read(&uris).unwrap_err(), Flaw::Malformed, "{text}");
        }
    }

    #[test]
    fn other_kinds_of_factor_are_reported() {
        let good = OtpParameters { secret: vec![1; 20], kind: 2, ..OtpParameters::default() };
        assert!(factor(good.clone()).is_ok());
        let problem = |parameters| factor(parameters).unwrap_err();
        assert_eq!(problem(OtpParameters { kind: 1, ..good.clone() }), Problem::Hotp);
        let md5 = OtpParameters { algorithm: 4, ..good.clone() };
        assert_eq!(problem(md5), Problem::Malformed("algorithm"));
        let digits = OtpParameters { digits: 9, ..good.clone() };
        assert_eq!(problem(digits), Problem::Malformed("number of digits"));
        let short = OtpParameters { secret: vec![1; 5], ..good };
        assert!(matches!(problem(short), Problem::Invalid(_)));
    }

    #[test]
    fn a_factor_that_the_app_does_not_know_is_left_out() {
        let secret = secret(1);
        for (digits, period, uris) in [(6, 30, 1), (8, 30, 1), (7, 30, 0), (6, 60, 0)] {
            let parameters = Parameters::new("SHA1", digits, period).unwrap();
            let factor =
                Transferred { secret: &secret, parameters, account_name: "a", issuer: "b" };
            assert_eq!(build(&[factor], 1).len(), uris, "{digits} {period}");
        }
    }
}
