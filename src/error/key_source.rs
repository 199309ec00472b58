//! Error messages for unusable sources of keys and secrets.

use super::{CommandProblem, FileProblem, KeyRows, KeySource, KeyringError, preflight, report};
use crate::pure::jwt_secret::Flaw;
use crate::pure::keyring::Malformed;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::PgSqlErrorCode;

const CODE: PgSqlErrorCode = PgSqlErrorCode::ERRCODE_CONFIG_FILE_ERROR;
/// The HINT when rows need keys that are missing.
const RESTORE: &str = "Restore the key file that was in use, from a backup or, after pg_upgrade, from the old data \
                       directory. A new key cannot decrypt existing rows.";

/// Returns DETAIL and HINT for a problem with a file.
fn file_problem(problem: FileProblem) -> (String, &'static str) {
    match problem {
        FileProblem::Io(kind) => (
            format!("The operating system reported: {kind}."),
            "Check the setting that names the file, and that the server's operating system user can read it.",
        ),
        FileProblem::NotAFile => {
            ("It is a directory, a pipe or a device.".to_owned(), "Specify a regular file.")
        }
        FileProblem::Mode(mode) => (
            format!("Its mode is {mode:04o}, which gives access to users other than its owner."),
            "Set its mode to 0600, or have root own it with mode 0640 and the server's group.",
        ),
        FileProblem::RootMode(mode) => (
            format!(
                "Its mode is {mode:04o}, which gives its group more than read access, or gives access to other users."
            ),
            "Set its mode to 0640 or 0440 and its group to the server's; in Kubernetes, set defaultMode: 0440.",
        ),
        FileProblem::Owner => (
            "It is owned by another user.".to_owned(),
            "Change its owner to the server's operating system user or to root.",
        ),
        FileProblem::TooLarge => (
            "It is larger than 65536 bytes.".to_owned(),
            "Specify a file that contains only the secret, or only the keys, one per line.",
        ),
        FileProblem::NotText => (
            "It is not UTF-8 text.".to_owned(),
            "Specify a file that contains only the secret, or only the keys, one per line.",
        ),
    }
}

/// Returns the error report for an unusable file of an import.
pub fn unusable_import_file(problem: FileProblem) -> ErrorReport {
    let (detail, hint) = file_problem(problem);
    report(CODE, "could not use the file in totp.import_directory", detail, hint)
}

fn command_problem(problem: CommandProblem) -> &'static str {
    match problem {
        CommandProblem::NotStarted => "It could not be started.",
        CommandProblem::TimedOut => "It did not finish within 10 seconds.",
        CommandProblem::NoOutput => "Its output could not be read.",
        CommandProblem::TooLarge => "It printed more than 65536 bytes.",
        CommandProblem::Failed => "It exited with an error; see the server log.",
        CommandProblem::NotText => "Its output is not UTF-8 text.",
    }
}

/// Returns the error report for an unusable keyring.
pub fn unusable(error: KeyringError) -> ErrorReport {
    match error {
        KeyringError::Missing { is_needed } => report(
            CODE,
            "no encryption keys found",
            "totp.key_command is empty, the file named by totp.key_file does not exist, and \
             TOTP_ENCRYPTION_KEY is not set.",
            if is_needed {
                RESTORE
            } else {
                "If other databases of this server use totp, restore their key file; for a new installation, \
                 run SELECT totp.key_generate() as a superuser."
            },
        ),
        KeyringError::File(problem) => {
            let (detail, hint) = file_problem(problem);
            report(CODE, "could not use the file named by totp.key_file", detail, hint)
        }
        KeyringError::NotWritten(kind) => report(
            CODE,
            "could not write the file named by totp.key_file",
            format!("The operating system reported: {kind}."),
            "Create its directory, and let the server's operating system user write to it.",
        ),
        KeyringError::Command(problem) => report(
            CODE,
            "totp.key_command failed",
            command_problem(problem),
            "Run it as the server's operating system user; it must print one key per line and exit with status 0.",
        ),
        KeyringError::Malformed { source, flaw } => {
            let (detail, hint) = match flaw {
                Malformed::Empty => {
                    ("It contains no key.".to_owned(), "Restore its keys, one Fernet key per line.")
                }
                Malformed::ByteOrderMark => (
                    "It begins with a byte order mark.".to_owned(),
                    "Save it as UTF-8 without a byte order mark.",
                ),
                Malformed::Line(line) => (
                    format!("Line {line} is not a Fernet key."),
                    "A key consists of 44 characters of URL-safe base64; comments begin with #.",
                ),
                Malformed::Duplicate(line) => (
                    format!("The key on line {line} repeats an earlier one."),
                    "Remove one of the two lines.",
                ),
            };
            let source = match source {
                KeySource::Command => "the output of totp.key_command",
                KeySource::File => "the file named by totp.key_file",
                KeySource::Variable => "environment variable TOTP_ENCRYPTION_KEY",
            };
            report(CODE, format!("could not parse encryption keys from {source}"), detail, hint)
        }
    }
}

/// Returns the error report for a new key while rows need old ones.
pub fn needed(rows: &KeyRows) -> ErrorReport {
    report(
        CODE,
        "existing rows need encryption keys that are not in the keyring",
        preflight::list(rows),
        RESTORE,
    )
}

/// Returns the error report for an unusable file with the secret for JSON Web Tokens.
pub fn unusable_secret_file(problem: FileProblem) -> ErrorReport {
    let (detail, hint) = file_problem(problem);
    report(CODE, "could not use the file named by totp.jwt_secret_file", detail, hint)
}

/// Returns the error report for a command that should have printed that secret.
pub fn failed_secret_command(problem: CommandProblem) -> ErrorReport {
    report(
        CODE,
        "totp.jwt_secret_command failed",
        command_problem(problem),
        "Run it as the server's operating system user; it must print the secret and exit with status 0.",
    )
}

/// Returns the error report for a secret that cannot sign, or that the API server would read
/// differently.
pub fn unusable_secret(flaw: Flaw) -> ErrorReport {
    const MESSAGE: &str = "could not use the secret for JSON Web Tokens";
    let (message, detail, hint) = match flaw {
        Flaw::TooShort => (
            "the secret for JSON Web Tokens is too short",
            "HS256 requires at least 32 bytes (RFC 7518, section 3.2).",
            "Use at least 32 random bytes, both here and in your API server.",
        ),
        Flaw::ByteOrderMark => (
            MESSAGE,
            "It begins with a byte order mark.",
            "Save it as UTF-8 without a byte order mark.",
        ),
        Flaw::CarriageReturn => (
            MESSAGE,
            "It ends with a carriage return, which API servers treat as part of the secret.",
            "End the line with only a newline, or with no line ending at all.",
        ),
        Flaw::Base64 => (
            MESSAGE,
            "totp.jwt_secret_base64 is on, but it is not base64.",
            "Turn the setting off if your API server uses the text as it is; otherwise write the base64 on one line.",
        ),
        Flaw::Pem => (
            MESSAGE,
            "It is a PEM key or certificate, which HS256 cannot use.",
            "Use a secret that is shared with your API server; tokens are signed with HS256 only.",
        ),
        Flaw::Jwk => (
            MESSAGE,
            "It is JSON, but neither a JSON Web Key of type \"oct\" nor a key set with exactly one such key.",
            "Use a key of the form {\"kty\": \"oct\", \"k\": \"base64url\"}, or the secret itself.",
        ),
        Flaw::JwkUse => (
            MESSAGE,
            "It is a JSON Web Key for a purpose other than signing with HS256.",
            "If present, its \"alg\" must be HS256 and its \"use\" must be sig.",
        ),
    };
    report(CODE, message, detail, hint)
}
