//! What is said of an argument that is refused.

use super::report;
use crate::pure::invalid::{Invalid, Meaning, UriFlaw};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::PgSqlErrorCode;

/// The error for an argument.
pub fn refused(invalid: Invalid) -> ErrorReport {
    let code = match invalid {
        Invalid::Foreign { .. } => PgSqlErrorCode::ERRCODE_CHARACTER_NOT_IN_REPERTOIRE,
        _ => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
    };
    let (message, detail, hint) = match invalid {
        Invalid::Missing { argument } => (
            format!("{argument} must not be null or empty"),
            "The function cannot do without it.".to_owned(),
            "Pass a non-empty text.",
        ),
        Invalid::TooLong { argument, limit } => (
            format!("{argument} is too long"),
            format!("It may have {limit} characters at most."),
            "Pass a shorter text.",
        ),
        Invalid::TooLarge { argument, limit } => (
            format!("{argument} is too long"),
            format!("It may have {limit} bytes at most."),
            "Pass less.",
        ),
        Invalid::TooShort { argument, least } => (
            format!("{argument} is too short"),
            format!("It must have {least} characters at least."),
            "Say why, for those who read the audit trail.",
        ),
        Invalid::Foreign { argument } => (
            format!("{argument} is not UTF-8 text"),
            "Characters beyond ASCII need a database whose encoding is UTF8.".to_owned(),
            "Pass ASCII characters only, or use a database with encoding UTF8.",
        ),
        Invalid::Colon => (
            "issuer must not contain a colon".to_owned(),
            "A colon separates issuer and account in an otpauth URI.".to_owned(),
            "Pass another issuer, or set totp.issuer.",
        ),
        Invalid::Algorithm => (
            "unknown algorithm".to_owned(),
            "RFC 6238 defines SHA1, SHA256 and SHA512.".to_owned(),
            "Use SHA1 unless you know the apps in use: many ignore the others.",
        ),
        Invalid::Digits(digits) => (
            format!("digits must be 6, 7 or 8, not {digits}"),
            "RFC 4226 asks for 6 at least, and apps show 8 at most.".to_owned(),
            "Use 6 unless you know the apps in use.",
        ),
        Invalid::Period(period) => (
            format!("period must be 1 to 120 seconds, not {period}"),
            "NIST SP 800-63B lets a code live two minutes at most.".to_owned(),
            "Use 30 unless you know the apps in use.",
        ),
        Invalid::Base32 => (
            "secret is not base32".to_owned(),
            "Base32 uses the letters A to Z and the digits 2 to 7.".to_owned(),
            "Copy it again; case, blanks, dashes and padding do not matter.",
        ),
        Invalid::Base32Groups => (
            "secret is not base32".to_owned(),
            "Its groups differ in length: some of them may be other words.".to_owned(),
            "Pass the secret alone, in groups of equal length or in one piece.",
        ),
        Invalid::SecretLength(bytes) => (
            format!("secret has {bytes} bytes"),
            "A secret has 10 to 128 bytes, 80 to 1024 bits.".to_owned(),
            "Use 20 bytes, 32 base32 characters, unless you know the apps in use.",
        ),
        Invalid::Time => (
            "time is out of range".to_owned(),
            "Steps are counted from 1970 on.".to_owned(),
            "Pass a finite timestamp from 1970 on.",
        ),
        Invalid::DriftSteps(steps) => (
            format!("drift_steps must be 0 to 1000, not {steps}"),
            "RFC 6238 recommends one step of tolerance at most.".to_owned(),
            "Use 1.",
        ),
        Invalid::Ttl { days } => (
            "ttl is out of range".to_owned(),
            format!(
                "This token lives for 1 second at least and {} hours at most; a month counts as 30 days.",
                24 * days
            ),
            "Pass another interval, or NULL for the setting's default.",
        ),
        Invalid::Age => (
            "max_age must not be negative".to_owned(),
            "Nothing was proved in the future.".to_owned(),
            "Pass a positive interval, or NULL for totp.session_ttl.",
        ),
        Invalid::Claims => (
            "claims is not a JSON object".to_owned(),
            "It becomes the payload of a token: {\"name\": value, ...}, at most 127 levels deep."
                .to_owned(),
            "Pass an object; {} when there is nothing to say.",
        ),
        Invalid::Batch => (
            "batch must be 1 to 10000 rows".to_owned(),
            "A login may have to wait for one batch.".to_owned(),
            "Use 1000.",
        ),
        Invalid::Expiry => (
            "claim exp is not a number of seconds".to_owned(),
            "It is the time, in whole seconds since 1970, when the token ends.".to_owned(),
            "Pass a whole number, or leave it out for totp.jwt_ttl.",
        ),
        Invalid::QrCapacity => (
            "data is too long for a QR code".to_owned(),
            "The largest code holds 2331 bytes.".to_owned(),
            "Use a shorter issuer or account name.",
        ),
        Invalid::Uri(flaw) => (
            "uri is not of a TOTP secret".to_owned(),
            match flaw {
                UriFlaw::Hotp => "It is of type hotp: its codes depend on a counter.",
                UriFlaw::Steam => "It is of type steam: its codes are letters.",
                UriFlaw::Type => "It does not begin with otpauth://totp/.",
                UriFlaw::NoSecret => "It has no parameter secret.",
                UriFlaw::Duplicate => "It sets the secret, algorithm, digits or period twice.",
                UriFlaw::Number => "A parameter that must be a number is not.",
                UriFlaw::Escape => "It has a percent sign without two hex digits, or is not UTF-8.",
                UriFlaw::Algorithm => "Its algorithm is not SHA1, SHA256 or SHA512.",
                UriFlaw::Digits => "Its parameter digits is not 6, 7 or 8.",
                UriFlaw::Period => "Its parameter period is not 1 to 120 seconds.",
                UriFlaw::Misnamed(meaning) => match meaning {
                    Meaning::Secret => "A parameter not named secret seems to set the secret.",
                    Meaning::Algorithm => "A parameter not named algorithm seems to set it.",
                    Meaning::Digits => "A parameter not named digits seems to set their number.",
                    Meaning::Period => "A parameter not named period seems to set it.",
                    Meaning::Codes => "A parameter asks for codes of another kind.",
                },
                UriFlaw::Hidden => "A parameter is inside another one or after an unescaped #.",
                UriFlaw::Several => "It contains a line break or a second URI.",
            }
            .to_owned(),
            "Pass an otpauth://totp/ URI, or the secret in base32.",
        ),
    };
    report(code, message, detail, hint)
}
