//! Everything that can go wrong, and the only place that knows SQLSTATE, message, DETAIL and HINT.
//! No text here holds a secret, a code, a token, a key or the input that was refused.

mod argument;
mod key_source;
pub mod notice;

use crate::pure::invalid::Invalid;
use crate::pure::keyring::{Malformed, Unreadable};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::PgSqlErrorCode;
use std::path::PathBuf;

/// A failed call. Wrong codes are not here: they are verdicts.
#[derive(Debug)]
pub enum Error {
    /// An argument is refused.
    Invalid(Invalid),
    /// The account has no pending enrolment with this label.
    NoPending,
    /// The account has no factor with this label.
    NoFactor,
    /// There is no such account, or nobody enrolled for it.
    NoAccount,
    /// The account has no active factor.
    NotEnrolled,
    /// The account has an active factor with this label, or a factor with this secret.
    FactorExists,
    /// There is an account with the new name.
    AccountExists,
    /// The account has as many factors as it may have.
    TooManyFactors,
    /// The transaction or the server is read-only.
    ReadOnly,
    /// The call runs in a parallel query, which writes nothing.
    Parallel,
    /// A row of the account was locked for longer than `totp.lock_timeout`.
    Busy,
    /// The account has proved no second factor lately.
    NotVerified,
    /// Nothing says whose session this is.
    NoSession,
    /// The session has not proved the second factor of its account.
    SessionNotVerified,
    /// There is no secret for JSON Web Tokens.
    NoJwtSecret,
    /// The file with the secret for JSON Web Tokens cannot be read.
    JwtSecretFile(FileProblem),
    /// The secret for JSON Web Tokens is too short.
    WeakJwtSecret,
    /// The caller is no superuser.
    NotSuperuser,
    /// What commits by itself was called in a transaction block.
    TransactionBlock,
    /// A transaction that can give back a spent step may not be prepared.
    Prepared,
    /// The keyring cannot be read.
    Keyring(KeyringError),
    /// A stored ciphertext cannot be opened.
    Unreadable(Unreadable),
    /// The database's encoding cannot hold the result.
    NotUnicode,
    /// `totp.clock` is no time.
    Clock,
    /// The operating system gave no random bytes.
    Random,
    /// SPI refused a call; PostgreSQL's own errors do not come this way.
    Spi(pgrx::spi::Error),
    /// A row holds what its constraints exclude.
    Corrupt(&'static str),
}

/// Why there is no keyring.
#[derive(Debug)]
pub enum KeyringError {
    /// No source has one.
    Missing {
        /// The key file that was looked for.
        file: PathBuf,
    },
    /// The file cannot be read.
    File {
        /// The file.
        file: PathBuf,
        /// Why.
        problem: FileProblem,
    },
    /// `totp.key_command` did not deliver.
    Command(&'static str),
    /// What a source holds is no keyring.
    Malformed {
        /// The source, in words.
        source: String,
        /// Why.
        flaw: Malformed,
    },
}

/// What can be wrong with a key file.
#[derive(Debug)]
pub enum FileProblem {
    /// The operating system refuses.
    Io(std::io::ErrorKind),
    /// It is a directory, a pipe or a device.
    NotAFile,
    /// Others than its owner can read or write it.
    Mode(u32),
    /// It belongs to another user.
    Owner,
    /// It has more bytes than any keyring needs.
    TooLarge,
    /// It is not UTF-8.
    NotText,
}

impl From<Invalid> for Error {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
}

impl From<Invalid> for ErrorReport {
    fn from(invalid: Invalid) -> Self {
        argument::refused(invalid)
    }
}

impl From<KeyringError> for Error {
    fn from(error: KeyringError) -> Self {
        Self::Keyring(error)
    }
}

impl From<Unreadable> for Error {
    fn from(unreadable: Unreadable) -> Self {
        Self::Unreadable(unreadable)
    }
}

impl From<pgrx::spi::Error> for Error {
    fn from(error: pgrx::spi::Error) -> Self {
        Self::Spi(error)
    }
}

impl From<Error> for ErrorReport {
    fn from(error: Error) -> Self {
        match error {
            Error::Invalid(invalid) => invalid.into(),
            Error::NoPending => report(
                PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
                "no pending enrolment with this label",
                "Nothing was created for it, it is confirmed already, or it has expired.",
                "Call totp_create first, and totp_confirm within totp.pending_ttl.",
            ),
            Error::NoFactor => report(
                PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
                "no factor with this label",
                "The account has none, or it does not exist.",
                "See the view totp.factor_status for the labels of an account.",
            ),
            Error::NoAccount => report(
                PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
                "no such account",
                "Nobody has enrolled for it.",
                "See the view totp.account_status for accounts.",
            ),
            Error::NotEnrolled => report(
                PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
                "the account has no active factor",
                "Backup codes stand in for a factor.",
                "Let the account enrol first.",
            ),
            Error::FactorExists => report(
                PgSqlErrorCode::ERRCODE_DUPLICATE_OBJECT,
                "a factor with this label or secret exists",
                "An import does not replace what works, and a secret has one label.",
                "Remove it first, or use another label for another secret.",
            ),
            Error::AccountExists => report(
                PgSqlErrorCode::ERRCODE_DUPLICATE_OBJECT,
                "an account with the new name exists",
                "Two accounts cannot become one.",
                "Forget one of them first, or use another name.",
            ),
            Error::TooManyFactors => report(
                PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
                "too many factors for this account",
                "An account can have 20 factors, pending ones included.",
                "Remove a factor first, or use the label of one to replace it.",
            ),
            Error::ReadOnly => report(
                PgSqlErrorCode::ERRCODE_READ_ONLY_SQL_TRANSACTION,
                "cannot verify or change anything in a read-only transaction",
                "A code that is checked must be spent, a wrong one counted, and a change recorded.",
                "Call it in a read-write transaction on the primary server; with PostgREST, use POST.",
            ),
            Error::Parallel => report(
                PgSqlErrorCode::ERRCODE_INVALID_TRANSACTION_STATE,
                "cannot verify or change anything during a parallel operation",
                "A parallel query can neither spend a code nor count a wrong one.",
                "Mark the function that makes this call as PARALLEL UNSAFE.",
            ),
            Error::Busy => report(
                PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
                "the account is in use by another transaction",
                "That transaction holds the account's row for longer than totp.lock_timeout.",
                "Try again; keep transactions that verify a code short.",
            ),
            Error::NotVerified => report(
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
                "the account has not proved its second factor",
                "A device is trusted only within totp.challenge_ttl after an accepted code.",
                "Verify a code first.",
            ),
            Error::NoSession => report(
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
                "no account in this session",
                "Nobody is logged in, or totp.identity, totp.jwt_logins and totp.jwt_claim do not tell who.",
                "Send a JSON Web Token with the claim that totp.jwt_claim names.",
            ),
            Error::SessionNotVerified => report(
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
                "two-factor authentication is required",
                "The account has an authenticator app, and this session has not proved it.",
                "Call totp_verify with a code first.",
            ),
            Error::NoJwtSecret => report(
                PgSqlErrorCode::ERRCODE_CONFIG_FILE_ERROR,
                "no secret for JSON Web Tokens",
                "totp.jwt_secret_file is empty.",
                "Set it to a file of mode 0600 that holds the secret your API server checks tokens with.",
            ),
            Error::JwtSecretFile(problem) => {
                let (detail, hint) = key_source::file_problem(problem);
                report(
                    PgSqlErrorCode::ERRCODE_CONFIG_FILE_ERROR,
                    "cannot use the file with the secret for JSON Web Tokens",
                    detail,
                    hint,
                )
            }
            Error::WeakJwtSecret => report(
                PgSqlErrorCode::ERRCODE_CONFIG_FILE_ERROR,
                "the secret for JSON Web Tokens is too short",
                "HS256 needs 32 bytes at least (RFC 7518, 3.2).",
                "Put 32 random bytes or more into the file, and into your API server.",
            ),
            Error::NotSuperuser => report(
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
                "permission denied for function key_generate",
                "Only a superuser may make encryption keys.",
                "Ask a superuser to run SELECT totp.key_generate().",
            ),
            Error::TransactionBlock => report(
                PgSqlErrorCode::ERRCODE_ACTIVE_SQL_TRANSACTION,
                "key_rotate cannot run inside a transaction block",
                "It commits each batch, so that logins do not wait for all of them.",
                "CALL it outside of BEGIN and COMMIT, by itself; let a driver commit automatically.",
            ),
            Error::Prepared => report(
                PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                "cannot prepare a transaction that has spent a code",
                "With totp.burn_on_rollback off, a rolled-back transaction gives its codes back, \
                 which a prepared one cannot do.",
                "Set totp.burn_on_rollback to on, or commit without PREPARE TRANSACTION.",
            ),
            Error::Keyring(error) => key_source::unusable(error),
            Error::Unreadable(Unreadable::UnknownKey(key_id)) => report(
                PgSqlErrorCode::ERRCODE_CONFIG_FILE_ERROR,
                format!("encryption key {key_id} is not in the keyring"),
                "A stored secret was sealed with this key.",
                "Put the key back into the keyring, below the first line; if totp.key_command has it, \
                 connect anew.",
            ),
            Error::Unreadable(Unreadable::Damaged) => report(
                PgSqlErrorCode::ERRCODE_DATA_CORRUPTED,
                "stored ciphertext does not open under its own key",
                "It was damaged, or it was copied from another row.",
                "Restore the row from a backup, or let the account enrol again.",
            ),
            Error::NotUnicode => report(
                PgSqlErrorCode::ERRCODE_UNTRANSLATABLE_CHARACTER,
                "the database's encoding has no block characters",
                "A QR code in text is drawn with characters that need encoding UTF8.",
                "Use qr_svg, or a database with encoding UTF8.",
            ),
            Error::Clock => report(
                PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
                "invalid value for parameter \"totp.clock\"",
                "It is not a finite timestamp with time zone from 1970 on.",
                "Reset it: it is meant for tests only.",
            ),
            Error::Random => report(
                PgSqlErrorCode::ERRCODE_SYSTEM_ERROR,
                "the operating system gave no random bytes",
                "Secrets and codes are drawn from its generator.",
                "See the operating system's log.",
            ),
            Error::Spi(error) => report(
                PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
                "unexpected result of an internal query",
                format!("The server programming interface says: {error}."),
                "Check with \\dx that the installed version of totp fits its library.",
            ),
            Error::Corrupt(what) => report(
                PgSqlErrorCode::ERRCODE_DATA_CORRUPTED,
                format!("unexpected {what} in a table of totp"),
                "The table's constraints exclude it.",
                "Check with \\dx that the installed version of totp fits its library.",
            ),
        }
    }
}

fn report(
    code: PgSqlErrorCode,
    message: impl Into<std::borrow::Cow<'static, str>>,
    detail: impl Into<String>,
    hint: &str,
) -> ErrorReport {
    ErrorReport::new(code, message, "totp").set_detail(detail).set_hint(hint)
}
