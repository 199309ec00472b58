//! What is said of a source of keys or secrets that cannot be used.

use super::{FileProblem, KeyringError, report};
use crate::pure::keyring::Malformed;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::PgSqlErrorCode;

/// DETAIL and HINT for a file.
pub fn file_problem(problem: FileProblem) -> (String, &'static str) {
    match problem {
        FileProblem::Io(kind) => (
            format!("The operating system says: {kind}."),
            "Check the setting that names it, and that the server's user can read it.",
        ),
        FileProblem::NotAFile => {
            ("It is a directory, a pipe or a device.".to_owned(), "Name a regular file.")
        }
        FileProblem::Mode(mode) => (
            format!("Its mode is {mode:04o}: others than its owner have access."),
            "Set its mode to 0600.",
        ),
        FileProblem::Owner => {
            ("It belongs to another user.".to_owned(), "Make the server's user its owner.")
        }
        FileProblem::TooLarge => (
            "It has more than 65536 bytes.".to_owned(),
            "Name a file that holds the secret, or the keys one a line, and nothing else.",
        ),
        FileProblem::NotText => (
            "It is not UTF-8 text.".to_owned(),
            "Name a file that holds the secret, or the keys one a line, and nothing else.",
        ),
    }
}

/// The error for a keyring.
pub fn unusable(error: KeyringError) -> ErrorReport {
    const CODE: PgSqlErrorCode = PgSqlErrorCode::ERRCODE_CONFIG_FILE_ERROR;
    match error {
        KeyringError::Missing { file } => report(
            CODE,
            "no encryption keys",
            format!(
                "totp.key_command is empty, there is no file {}, and TOTP_ENCRYPTION_KEY is not set.",
                file.display()
            ),
            "Restore the key file; for a new installation, run SELECT totp.key_generate() as a superuser.",
        ),
        KeyringError::File { file, problem } => {
            let (detail, hint) = file_problem(problem);
            report(CODE, format!("cannot use key file {}", file.display()), detail, hint)
        }
        KeyringError::Command(problem) => report(
            CODE,
            "totp.key_command failed",
            problem,
            "Run it as the server's user: it must print one key a line and exit with 0.",
        ),
        KeyringError::Malformed { source, flaw } => {
            let (detail, hint) = match flaw {
                Malformed::Empty => (
                    "There is no key in it.".to_owned(),
                    "Put one Fernet key a line; SELECT totp.key_generate() makes one.",
                ),
                Malformed::ByteOrderMark => (
                    "It begins with a byte order mark.".to_owned(),
                    "Save it as UTF-8 without a byte order mark.",
                ),
                Malformed::Line(line) => (
                    format!("Line {line} is not a Fernet key."),
                    "A key has 44 characters of url-safe base64; comments begin with #.",
                ),
                Malformed::Duplicate(line) => (
                    format!("The key of line {line} was there before."),
                    "Remove one of the two lines.",
                ),
            };
            report(CODE, format!("{source} is not a keyring"), detail, hint)
        }
    }
}
