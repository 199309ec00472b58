//! Error messages for invalid arguments.

use super::report;
use crate::pure::invalid::{Invalid, Meaning, UriFlaw};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::PgSqlErrorCode;

/// Returns the error report for an invalid argument.
pub fn refused(invalid: Invalid) -> ErrorReport {
    let code = match invalid {
        Invalid::NotUtf8 { .. } => PgSqlErrorCode::ERRCODE_CHARACTER_NOT_IN_REPERTOIRE,
        _ => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
    };
    let (message, detail, hint) = texts(&invalid);
    report(code, message, detail, hint)
}

/// Returns the message alone.
pub fn message(invalid: &Invalid) -> String {
    texts(invalid).0
}

/// Returns the DETAIL alone.
pub fn detail(invalid: &Invalid) -> String {
    texts(invalid).1
}

fn texts(invalid: &Invalid) -> (String, String, &'static str) {
    match *invalid {
        Invalid::Missing { argument } => (
            format!("{argument} must not be null or empty"),
            "This argument is required.".to_owned(),
            "Pass a non-empty string.",
        ),
        Invalid::TooManyChars { argument, limit } => (
            format!("{argument} is too long"),
            format!("It can have at most {limit} characters."),
            "Pass a shorter string.",
        ),
        Invalid::TooManyBytes { argument, limit } => (
            format!("{argument} is too long"),
            format!("It can have at most {limit} bytes."),
            "Pass a smaller value.",
        ),
        Invalid::TooFewChars { argument, min } => (
            format!("{argument} is too short"),
            format!("It must have at least {min} characters."),
            "State the reason; it is recorded in the audit trail.",
        ),
        Invalid::NotUtf8 { argument } => (
            format!("{argument} is not UTF-8 text"),
            "Non-ASCII characters require a database whose encoding is UTF8.".to_owned(),
            "Pass only ASCII characters, or use a database whose encoding is UTF8.",
        ),
        Invalid::Colon => (
            "issuer must not contain a colon".to_owned(),
            "A colon separates the issuer from the account in an otpauth URI.".to_owned(),
            "Pass an issuer without a colon, or change totp.issuer.",
        ),
        Invalid::Image => (
            "image must be an https URL".to_owned(),
            "Authenticator apps fetch the logo from this address.".to_owned(),
            "Use an address such as https://example.com/logo.png, or NULL for no logo.",
        ),
        Invalid::Algorithm => (
            "unrecognized algorithm".to_owned(),
            "RFC 6238 defines SHA1, SHA256 and SHA512.".to_owned(),
            "Use SHA1 unless you know which authenticator apps are in use: many ignore the others.",
        ),
        Invalid::Digits(digits) => (
            format!("digits must be 6, 7 or 8, not {digits}"),
            "RFC 4226 requires at least 6 digits, and authenticator apps show at most 8.".to_owned(),
            "Use 6 unless you know which authenticator apps are in use.",
        ),
        Invalid::Period(period) => (
            format!("period must be 1 to 120 seconds, not {period}"),
            "NIST SP 800-63B limits the lifetime of a code to two minutes.".to_owned(),
            "Use 30 unless you know which authenticator apps are in use.",
        ),
        Invalid::Base32 => (
            "secret is not valid base32".to_owned(),
            "Base32 uses the letters A to Z and the digits 2 to 7.".to_owned(),
            "Copy it again; case, spaces, dashes and padding do not matter.",
        ),
        Invalid::Base32Groups => (
            "secret is not valid base32".to_owned(),
            "Its groups differ in length, so it might contain text other than the secret.".to_owned(),
            "Pass only the secret, either in groups of equal length or as one string.",
        ),
        Invalid::SecretLength(bytes) => (
            format!("secret must be 10 to 128 bytes long, not {bytes}"),
            "This range corresponds to 80 to 1024 bits.".to_owned(),
            "Use 20 bytes (32 base32 characters) unless you know which authenticator apps are in use.",
        ),
        Invalid::Time => (
            "time is out of range".to_owned(),
            "Time steps are counted from 1970.".to_owned(),
            "Pass a finite timestamp in 1970 or later.",
        ),
        Invalid::DriftSteps(steps) => (
            format!("drift_steps must be 0 to 1000, not {steps}"),
            "RFC 6238 recommends a tolerance of at most one step.".to_owned(),
            "Use 1.",
        ),
        Invalid::Ttl { days } => (
            "ttl is out of range".to_owned(),
            format!(
                "The lifetime must be between 1 second and {} hours; a month counts as 30 days.",
                24 * days
            ),
            "Pass another interval, or NULL to use the configured default.",
        ),
        Invalid::Age => (
            "max_age must not be negative".to_owned(),
            "No session can have been verified in the future.".to_owned(),
            "Pass a positive interval, or NULL to use totp.session_ttl.",
        ),
        Invalid::Grace { days } => (
            "grace is out of range".to_owned(),
            format!(
                "The time to enrol must be between 0 and {days} days; a month counts as 30 days."
            ),
            "Pass another interval, or NULL to use totp.grace.",
        ),
        Invalid::Uses(uses) => (
            format!("uses must be 1 to 20, not {uses}"),
            "A pass is for a short time; use backup_reissue for codes that stay.".to_owned(),
            "Use 1.",
        ),
        Invalid::Action => (
            "action must be a plain word".to_owned(),
            "It is shown to whoever approves it, and consists of letters, digits and the characters _-.:/".to_owned()
                + " only.",
            "Pass a name such as transfer, and everything else in the payload.",
        ),
        Invalid::Payload => (
            "payload must be a JSON object".to_owned(),
            "It has a member for each thing that is approved, nested at most 127 levels deep.".to_owned(),
            "Pass an object such as {\"amount\": 10}.",
        ),
        Invalid::Approver => (
            "approver must be another account".to_owned(),
            "Nobody approves their own request in place of somebody else.".to_owned(),
            "Pass another account, or NULL to approve the request yourself.",
        ),
        Invalid::Claims => (
            "claims must be a JSON object".to_owned(),
            "It becomes the payload of a token: {\"name\": value, ...}, nested at most 127 levels deep."
                .to_owned(),
            "Pass an object, or {} for no claims.",
        ),
        Invalid::Batch => (
            "batch must be 1 to 10000 rows".to_owned(),
            "A login might have to wait for a batch to finish.".to_owned(),
            "Use 1000.",
        ),
        Invalid::Null { argument } => (
            format!("{argument} must not be null"),
            "This argument is required.".to_owned(),
            "Pass a value.",
        ),
        Invalid::MaxRows(rows) => (
            format!("max_rows must be at least 1, not {rows}"),
            "It limits the number of events that one call returns.".to_owned(),
            "Use 100, and call again with the position of the last event.",
        ),
        Invalid::Digests => (
            "invalid digests".to_owned(),
            "A digest has the fields block_id, a number, and hash, 64 hex digits that follow 0x.".to_owned(),
            "Pass a value that audit_digest returned, or an array of them.",
        ),
        Invalid::RotationState => (
            "invalid rotation state".to_owned(),
            "It is not a value that the previous step returned.".to_owned(),
            "Use CALL totp.key_rotate() instead.",
        ),
        Invalid::Expiry => (
            "claim exp must be a whole number of seconds".to_owned(),
            "It is the time at which the token expires, in seconds since 1970.".to_owned(),
            "Pass a whole number, or omit the claim to use totp.jwt_ttl.",
        ),
        Invalid::QrCapacity => (
            "data is too long for a QR code".to_owned(),
            "The largest QR code holds 2331 bytes.".to_owned(),
            "Use a shorter issuer or account name.",
        ),
        Invalid::Document(kind) => (
            format!("document is not {kind}"),
            "It could not be parsed; nothing was imported.".to_owned(),
            "Pass the whole file as it was exported.",
        ),
        Invalid::Migration(detail) => (
            "uris are not those of a transfer".to_owned(),
            detail.to_owned(),
            "Pass what all QR codes of one transfer contain: otpauth-migration://offline?data=...",
        ),
        Invalid::ImportKey(kind) => (
            format!("the file does not contain {kind}"),
            "It is needed to decrypt what the other system has stored.".to_owned(),
            "Copy the key from the configuration of the other system into a file that contains nothing else.",
        ),
        Invalid::EncryptedDocument => (
            "document is encrypted".to_owned(),
            "It can be read only with its key or password.".to_owned(),
            "Put the key or password into a file in totp.import_directory, and pass its name as key_file.",
        ),
        Invalid::Cipher => (
            "document is encrypted in an unsupported way".to_owned(),
            "Values must be encrypted with AES-CBC and have a message authentication code; a password must be used \
             with PBKDF2."
                .to_owned(),
            "Ask the vendor for a file of this kind.",
        ),
        Invalid::WrongKey => (
            "the file does not contain the key or password of the document".to_owned(),
            "A message authentication code does not match; nothing was imported.".to_owned(),
            "Check the key or password. If it is right, the document was damaged or changed.",
        ),
        Invalid::FileName => (
            "file name must not contain a directory".to_owned(),
            "Files for an import are in the directory that totp.import_directory names.".to_owned(),
            "Pass only the name of the file.",
        ),
        Invalid::Uri(flaw) => (
            "uri is not a TOTP URI".to_owned(),
            match flaw {
                UriFlaw::Hotp => "Its type is hotp, whose codes depend on a counter.",
                UriFlaw::Steam => "Its type is steam, whose codes consist of letters.",
                UriFlaw::Type => "It does not begin with otpauth://totp/.",
                UriFlaw::NoSecret => "It has no secret parameter.",
                UriFlaw::Duplicate => "The secret, algorithm, digits or period parameter occurs twice.",
                UriFlaw::Number => "The value of a numeric parameter is not a number.",
                UriFlaw::Escape => "It contains an invalid percent-encoded sequence, or does not decode to UTF-8.",
                UriFlaw::Algorithm => "Its algorithm is not SHA1, SHA256 or SHA512.",
                UriFlaw::Digits => "Its number of digits is not 6, 7 or 8.",
                UriFlaw::Period => "Its period is not 1 to 120 seconds.",
                UriFlaw::Misnamed(meaning) => match meaning {
                    Meaning::Secret => "An unknown parameter seems to set the secret.",
                    Meaning::Algorithm => "An unknown parameter seems to set the algorithm.",
                    Meaning::Digits => "An unknown parameter seems to set the number of digits.",
                    Meaning::Period => "An unknown parameter seems to set the period.",
                    Meaning::Codes => "An unknown parameter seems to change how codes are computed.",
                },
                UriFlaw::Hidden => "A parameter is inside another one or follows an unescaped #.",
                UriFlaw::Several => "It contains a line break or a second URI.",
            }
            .to_owned(),
            match flaw {
                UriFlaw::Hotp
                | UriFlaw::Steam
                | UriFlaw::Algorithm
                | UriFlaw::Digits
                | UriFlaw::Period
                | UriFlaw::Misnamed(Meaning::Codes) => {
                    "Enrol the account again with totp_create."
                }
                UriFlaw::Duplicate | UriFlaw::Misnamed(_) | UriFlaw::Hidden => {
                    "Use the parameters secret, algorithm, digits and period, each at most once."
                }
                UriFlaw::Type
                | UriFlaw::NoSecret
                | UriFlaw::Number
                | UriFlaw::Escape
                | UriFlaw::Several => "Pass an otpauth://totp/ URI, or the secret in base32.",
            },
        ),
    }
}
