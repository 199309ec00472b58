//! Error messages for unusable sources of keys and secrets.

use super::{CommandProblem, FileProblem, KeyringError, report};
use crate::pure::keyring::Malformed;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::PgSqlErrorCode;

/// Returns DETAIL and HINT for a problem with a file.
pub fn file_problem(problem: FileProblem) -> (String, &'static str) {
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
            "Set its mode to 0600.",
        ),
        FileProblem::Owner => (
            "It is owned by another user.".to_owned(),
            "Change its owner to the server's operating system user.",
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
    const CODE: PgSqlErrorCode = PgSqlErrorCode::ERRCODE_CONFIG_FILE_ERROR;
    match error {
        KeyringError::Missing { file } => report(
            CODE,
            "no encryption keys found",
            format!(
                "totp.key_command is empty, file \"{}\" does not exist, and TOTP_ENCRYPTION_KEY is not set.",
                file.display()
            ),
            "Restore the key file; for a new installation, run SELECT totp.key_generate() as a superuser.",
        ),
        KeyringError::File { file, problem } => {
            let (detail, hint) = file_problem(problem);
            report(CODE, format!("could not use key file \"{}\"", file.display()), detail, hint)
        }
        KeyringError::Command(problem) => report(
            CODE,
            "totp.key_command failed",
            command_problem(problem),
            "Run it as the server's operating system user; it must print one key per line and exit with status 0.",
        ),
        KeyringError::Malformed { source, flaw } => {
            let (detail, hint) = match flaw {
                Malformed::Empty => (
                    "It contains no key.".to_owned(),
                    "Add one Fernet key per line; SELECT totp.key_generate() generates one.",
                ),
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
            report(CODE, format!("could not parse encryption keys from {source}"), detail, hint)
        }
    }
}
