//! All errors. Only this module and its submodules define SQLSTATEs and message texts. No text
//! contains a secret, a code, a token, a key or a rejected string.

mod argument;
pub mod audit_verification;
mod key_source;
pub mod notice;
pub mod preflight;
pub mod problem;

use crate::pure::invalid::Invalid;
use crate::pure::jwt_secret::Flaw;
use crate::pure::keyring::{Malformed, Unreadable};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::PgSqlErrorCode;

/// A failed call. A wrong code is not an error but a verdict.
#[derive(Debug)]
pub enum Error {
    /// An argument is invalid.
    Invalid(Invalid),
    /// The account has no pending enrolment with this label.
    NoPending,
    /// The account has no factor with this label.
    NoFactor,
    /// No account with this name has enrolled.
    NoAccount,
    /// The account has no active factor.
    NotEnrolled,
    /// There is no hardware token with this serial number.
    NoHardwareToken,
    /// The hardware token is the factor of an account.
    HardwareTokenAssigned,
    /// The account has an active factor with this label, or a factor with this secret.
    FactorExists,
    /// An account with the new name already exists.
    AccountExists,
    /// The account has the maximum number of factors.
    TooManyFactors,
    /// The account has the maximum number of pending approvals.
    TooManyApprovals,
    /// The account must enrol before anything else.
    Overdue,
    /// A caller issues a pass to themselves.
    OwnPass,
    /// The session was verified by a temporary pass only.
    PassSession,
    /// The transaction or the server is read-only.
    ReadOnly,
    /// The call runs in a parallel query, which cannot write.
    Parallel,
    /// The call runs in an index expression or the like, while a command maintains it.
    Maintenance,
    /// A row of the account was locked for longer than `totp.lock_timeout`.
    Busy,
    /// Another reader of events has not ended its transaction within `totp.lock_timeout`.
    EventsBusy,
    /// The account has not passed two-factor verification recently.
    NotVerified,
    /// The account of the session could not be determined.
    NoSession,
    /// The session has not passed two-factor verification, which its account requires.
    SessionNotVerified,
    /// As above, and it never can be: nothing tells the session from others.
    SessionUnidentified,
    /// `totp.tenant_function` does not name a function with the right argument and result.
    NoTenantFunction,
    /// The function that `totp.tenant_function` names returned more than one row.
    TenantRows,
    /// The function that `totp.tenant_function` names returned an invalid value.
    TenantValue(Invalid),
    /// No secret for JSON Web Tokens is configured.
    NoJwtSecret,
    /// The file with the secret for JSON Web Tokens cannot be used.
    JwtSecretFile(FileProblem),
    /// `totp.jwt_secret_command` failed.
    JwtSecretCommand(CommandProblem),
    /// The secret for JSON Web Tokens cannot be used.
    JwtSecret(Flaw),
    /// The relation given for this argument does not exist, or is no table or view.
    NoRelation {
        /// The argument's name in SQL.
        argument: &'static str,
    },
    /// The table given for this argument lacks a column.
    NoColumn {
        /// The argument's name in SQL.
        argument: &'static str,
        /// The name of the column.
        column: &'static str,
    },
    /// A table of backup codes does not tell whose they are.
    NoDevices,
    /// `totp.import_directory` is not set.
    NoImportDirectory,
    /// A file for an import cannot be used.
    ImportFile(FileProblem),
    /// The caller is not a superuser.
    NotSuperuser,
    /// A procedure that commits was called in a transaction block.
    TransactionBlock,
    /// The extension in this database has another version than the library.
    OtherVersion {
        /// The version of the extension.
        installed: String,
        /// The version of the library.
        library: &'static str,
    },
    /// This is a node of Citus other than the coordinator.
    CitusNode,
    /// Citus manages a table of the extension.
    CitusTable,
    /// A transaction cannot be prepared if rolling it back would make a spent code valid again.
    Prepared,
    /// A transaction that renamed an account cannot be prepared.
    PreparedRename,
    /// A seal was asked for in a transaction whose snapshot may be older than the last seal.
    SnapshotTooOld,
    /// The audit trail has no seal.
    NoSeal,
    /// The audit trail has no entry with this ID.
    NoEntry,
    /// No seal closes the entry.
    NotSealed,
    /// The keyring cannot be used.
    Keyring(KeyringError),
    /// Rows need keys that are not in the keyring, so a new key would not help.
    KeysNeeded(KeyRows),
    /// A stored secret could not be decrypted.
    Unreadable(Unreadable),
    /// The backup codes of an account cannot be decrypted: damaged, or from another account.
    UnreadableBackupCodes,
    /// The database's encoding cannot hold the result.
    NotUnicode,
    /// `totp.clock` is not a valid time.
    Clock,
    /// The operating system provided no random bytes.
    Random,
    /// SPI rejected a call. Errors raised by PostgreSQL itself are not handled here.
    Spi(pgrx::spi::Error),
    /// A row violates its constraints.
    Corrupt(&'static str),
}

/// Key IDs, each with the number of rows encrypted with that key.
pub type KeyRows = Vec<(String, i64)>;

/// A source of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeySource {
    /// `totp.key_command`.
    Command,
    /// The file that `totp.key_file` names.
    File,
    /// The server's environment.
    Variable,
}

/// Why the keyring cannot be used. No variant contains a path, since any caller can cause the error.
#[derive(Debug)]
pub enum KeyringError {
    /// No source has keys.
    Missing {
        /// Whether rows of this database may need them; if not, a new key can be generated.
        is_needed: bool,
    },
    /// The key file cannot be read.
    File(FileProblem),
    /// The key file cannot be written.
    NotWritten(std::io::ErrorKind),
    /// `totp.key_command` failed.
    Command(CommandProblem),
    /// The contents of a source are not a keyring.
    Malformed {
        /// The source.
        source: KeySource,
        /// The reason.
        flaw: Malformed,
    },
}

/// Why a command that prints keys or a secret failed.
#[derive(Debug)]
pub enum CommandProblem {
    /// It could not be started.
    NotStarted,
    /// It did not finish in time.
    TimedOut,
    /// Its output could not be read.
    NoOutput,
    /// It printed more bytes than any keyring needs.
    TooLarge,
    /// It exited with an error.
    Failed,
    /// Its output is not UTF-8.
    NotText,
}

/// Why a file with keys or a secret cannot be used.
#[derive(Debug)]
pub enum FileProblem {
    /// The operating system reported an error.
    Io(std::io::ErrorKind),
    /// It is a directory, a pipe or a device.
    NotAFile,
    /// It is owned by the server's user, and this mode gives access to others.
    Mode(u32),
    /// It is owned by root, and this mode allows more than reading by its group.
    RootMode(u32),
    /// It is owned by another user.
    Owner,
    /// It has more bytes than any keyring needs.
    TooLarge,
    /// It is not UTF-8.
    NotText,
}

macro_rules! from {
    ($($source:ty => $variant:ident),*) => {$(
        impl From<$source> for Error {
            fn from(source: $source) -> Self {
                Self::$variant(source)
            }
        }
    )*};
}

from!(Invalid => Invalid, KeyringError => Keyring, Unreadable => Unreadable, pgrx::spi::Error => Spi);

impl From<Invalid> for ErrorReport {
    fn from(invalid: Invalid) -> Self {
        argument::refused(invalid)
    }
}

impl From<Error> for ErrorReport {
    fn from(error: Error) -> Self {
        match error {
            Error::Invalid(invalid) => invalid.into(),
            Error::NoPending => report(
                PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
                "no pending enrolment with this label",
                "No enrolment was started, it is already confirmed, it has expired, or the account's \
                 factors have changed since.",
                "Call totp_create first, then totp_confirm within totp.pending_ttl.",
            ),
            Error::NoFactor => report(
                PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
                "no factor with this label",
                "The account has no such factor, or there is no such account.",
                "Check the label; totp.factor_status and totp_api.totp_factors list them.",
            ),
            Error::NoAccount => report(
                PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
                "no such account",
                "Nobody has enrolled under this name.",
                "The view totp.account_status lists all accounts.",
            ),
            Error::NotEnrolled => report(
                PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
                "the account has no active factor",
                "Backup codes are issued only to accounts with an active factor.",
                "Enrol the account first, with totp_create and totp_confirm.",
            ),
            Error::NoHardwareToken => report(
                PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
                "no hardware token with this serial number",
                "It has not been imported, or it was removed.",
                "Check the number on the token; totp.hardware_token_status lists those that were imported.",
            ),
            Error::HardwareTokenAssigned => report(
                PgSqlErrorCode::ERRCODE_OBJECT_IN_USE,
                "the hardware token is already assigned",
                "It is an authenticator of this or another account.",
                "Remove it there first, with totp_remove, totp_disable or totp_reset.",
            ),
            Error::FactorExists => report(
                PgSqlErrorCode::ERRCODE_DUPLICATE_OBJECT,
                "a factor with this label or secret already exists",
                "An active factor is not replaced, and a secret can have only one label.",
                "Remove the existing factor first, or use another secret with another label.",
            ),
            Error::AccountExists => report(
                PgSqlErrorCode::ERRCODE_DUPLICATE_OBJECT,
                "an account with the new name already exists",
                "Two accounts cannot be merged.",
                "Use another name.",
            ),
            Error::TooManyFactors => report(
                PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
                "too many factors for this account",
                "An account can have at most 20 factors, including pending ones.",
                "Remove a factor first, or reuse the label of an existing one to replace it.",
            ),
            Error::TooManyApprovals => report(
                PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
                "too many pending approvals for this account",
                "An account can wait for at most 100 approvals at a time.",
                "Cancel some with approval_cancel, or wait until they have expired.",
            ),
            Error::Overdue => report(
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
                "the account must enrol first",
                "It must have a second factor, and its deadline has passed.",
                "Call totp_create and totp_confirm.",
            ),
            Error::OwnPass => report(
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
                "cannot issue a pass for one's own account",
                "It would replace the second factor of whoever has taken over this session.",
                "Ask another administrator.",
            ),
            Error::PassSession => report(
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
                "a code of an authenticator app or a backup code is required",
                "This session was verified by a temporary pass, which does not permit this.",
                "Enrol an authenticator app, and verify its code in this session.",
            ),
            Error::ReadOnly => report(
                PgSqlErrorCode::ERRCODE_READ_ONLY_SQL_TRANSACTION,
                "cannot verify or change anything in a read-only transaction",
                "A valid code has to be marked as spent, a wrong one counted, and a change recorded.",
                "Use a read-write transaction on the primary server; with PostgREST, use POST.",
            ),
            Error::Parallel => report(
                PgSqlErrorCode::ERRCODE_INVALID_TRANSACTION_STATE,
                "cannot verify or change anything during a parallel operation",
                "A parallel query can neither mark a code as spent nor count a wrong one.",
                "Mark the calling function as PARALLEL UNSAFE.",
            ),
            Error::Maintenance => report(
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
                "cannot call this function within a security-restricted operation",
                "An index expression or a materialized view is not evaluated on behalf of the user of the \
                 session.",
                "Do not use functions of this extension in index expressions and materialized views.",
            ),
            Error::Busy => report(
                PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
                "the account is in use by another transaction",
                "A lock on the account's row, or on a table of the extension, was not available within \
                 totp.lock_timeout, or waiting for it would have been a deadlock.",
                "Try again, and keep transactions that verify codes short.",
            ),
            Error::EventsBusy => report(
                PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
                "another transaction is reading events",
                "Readers of events wait for each other, at most for totp.lock_timeout.",
                "Try again, and commit soon after reading events.",
            ),
            Error::NotVerified => report(
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
                "the account has not passed two-factor verification recently",
                "A device can be trusted only within totp.challenge_ttl after a code was accepted.",
                "Verify a code of the account first, with totp_attempt, totp_verify or backup_verify.",
            ),
            Error::NoSession => report(
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
                "could not determine the account of this session",
                "Nobody is logged in, or totp.identity, totp.jwt_logins and totp.jwt_claim do not identify an account.",
                "Send a JSON Web Token that contains the claim named by totp.jwt_claim.",
            ),
            Error::SessionNotVerified => report(
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
                "two-factor authentication is required",
                "The account has an authenticator app, and this session has not been verified.",
                "Call totp_verify with a code first.",
            ),
            Error::SessionUnidentified => report(
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
                "two-factor authentication is required",
                "The account has an authenticator app, and this session cannot be verified: its token has \
                 neither a session_id nor a jti claim, so nothing distinguishes it from another session.",
                "Have the issuer of the token add session_id or jti, with a new value for each login.",
            ),
            Error::NoJwtSecret => report(
                PgSqlErrorCode::ERRCODE_CONFIG_FILE_ERROR,
                "no secret for JSON Web Tokens is configured",
                "totp.jwt_secret_command and totp.jwt_secret_file are empty.",
                "Set one of them to a command that prints, or a file that contains, the secret with which \
                 your API server verifies tokens.",
            ),
            Error::JwtSecretFile(problem) => key_source::unusable_secret_file(problem),
            Error::JwtSecretCommand(problem) => key_source::failed_secret_command(problem),
            Error::JwtSecret(flaw) => key_source::unusable_secret(flaw),
            Error::NoTenantFunction => report(
                PgSqlErrorCode::ERRCODE_UNDEFINED_FUNCTION,
                "totp.tenant_function does not name a suitable function",
                "The function must have one argument, of type text, and return the columns issuer, image, digits and \
                 period.",
                "Set it to the name of a function with its schema, such as app.tenant(text).",
            ),
            Error::TenantRows => report(
                PgSqlErrorCode::ERRCODE_CARDINALITY_VIOLATION,
                "the function named by totp.tenant_function returned more than one row",
                "An account belongs to one tenant.",
                "Correct the function.",
            ),
            Error::TenantValue(invalid) => report(
                PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
                argument::message(&invalid),
                "The function named by totp.tenant_function returned this value.",
                "Correct the function.",
            ),
            Error::NoRelation { argument } => report(
                PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
                format!("{argument} is not a table or view"),
                "Rows can be imported from tables, foreign tables, views and materialized views.",
                "Pass the name of a table, such as 'public.users'.",
            ),
            Error::NoColumn { argument, column } => report(
                PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN,
                format!("{argument} has no column \"{column}\""),
                "Its columns must be those of the system that it comes from.",
                "Pass the right table, or a view of it with the missing column.",
            ),
            Error::NoDevices => report(
                PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN,
                "could not determine the users of static_token_table",
                "It has neither a column account or user_id, nor a foreign key on device_id.",
                "Pass a view of the tokens with a column account.",
            ),
            Error::NoImportDirectory => report(
                PgSqlErrorCode::ERRCODE_CONFIG_FILE_ERROR,
                "totp.import_directory is not set",
                "It names the directory with the files that imports may read.",
                "Set it in postgresql.conf and reload the configuration.",
            ),
            Error::ImportFile(problem) => key_source::unusable_import_file(problem),
            Error::NotSuperuser => report(
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
                "permission denied for function key_generate",
                "Only superusers can generate encryption keys.",
                "Ask a superuser to run SELECT totp.key_generate().",
            ),
            Error::TransactionBlock => report(
                PgSqlErrorCode::ERRCODE_ACTIVE_SQL_TRANSACTION,
                "key_rotate cannot run inside a transaction block",
                "It commits after each batch, so that logins need not wait for the whole rotation.",
                "CALL it on its own, outside a transaction block; with a client driver, turn on autocommit.",
            ),
            Error::Prepared => report(
                PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                "cannot prepare a transaction that has spent a code",
                "With totp.burn_on_rollback off, rolling back a transaction makes its codes valid again, \
                 which is not possible for a prepared transaction.",
                "Set totp.burn_on_rollback to on, or commit without PREPARE TRANSACTION.",
            ),
            Error::PreparedRename => report(
                PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                "cannot prepare a transaction that has renamed an account",
                "Shared memory could not follow the account to its new name when the transaction is \
                 committed.",
                "Commit without PREPARE TRANSACTION.",
            ),
            Error::OtherVersion { installed, library } => report(
                PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                "the version of extension totp is not that of its library",
                format!("The extension in this database is {installed}, the library is {library}."),
                "Run ALTER EXTENSION totp UPDATE. If the extension is newer than the library, restart \
                 the server.",
            ),
            Error::CitusNode => report(
                PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                "cannot use totp on this Citus node",
                "Only the coordinator has the accounts; the tables on other nodes are empty.",
                "Connect to the coordinator, and do not use the function in a query or trigger \
                 that Citus runs on other nodes.",
            ),
            Error::CitusTable => report(
                PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                "cannot use totp while Citus manages its tables",
                "A table of schema totp is listed in pg_dist_partition: it is distributed, or it \
                 was added to the metadata of Citus.",
                "Restore the tables to a database in which Citus does not manage them.",
            ),
            Error::SnapshotTooOld => report(
                PgSqlErrorCode::ERRCODE_ACTIVE_SQL_TRANSACTION,
                "audit_seal requires transaction isolation level READ COMMITTED",
                "At any other level, the transaction might not see the last seal.",
                "Call it on its own, or in a transaction with this isolation level.",
            ),
            Error::NoSeal => report(
                PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                "the audit trail has no seal",
                "Nobody has called audit_seal yet, or there was nothing to seal.",
                "Call audit_seal at regular intervals.",
            ),
            Error::NoEntry => report(
                PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
                "no such entry in the audit trail",
                "There never was an entry with this ID, or it was removed.",
                "The view totp.audit_log lists all entries.",
            ),
            Error::NotSealed => report(
                PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                "the entry is not sealed yet",
                "A proof refers to the seal that contains the entry.",
                "Call audit_seal once all transactions that began before the entry was written have ended.",
            ),
            Error::Keyring(error) => key_source::unusable(error),
            Error::KeysNeeded(rows) => key_source::needed(&rows),
            Error::Unreadable(Unreadable::UnknownKey(key_id)) => report(
                PgSqlErrorCode::ERRCODE_CONFIG_FILE_ERROR,
                format!("encryption key {key_id} is not in the keyring"),
                "A stored secret was encrypted with this key.",
                "Add the key back to the keyring, below the first key; if totp.key_command already \
                 prints it, reconnect.",
            ),
            Error::Unreadable(Unreadable::Damaged) => report(
                PgSqlErrorCode::ERRCODE_DATA_CORRUPTED,
                "could not decrypt stored secret",
                "It is damaged, or it was copied from another row.",
                "Restore the row from a backup, or have the account enrol again.",
            ),
            Error::UnreadableBackupCodes => report(
                PgSqlErrorCode::ERRCODE_DATA_CORRUPTED,
                "could not decrypt stored secret",
                "The row with all backup codes of the account is damaged, or it was copied from \
                 another row.",
                "Issue new codes with backup_rotate or backup_reissue, or restore the row from a \
                 backup.",
            ),
            Error::NotUnicode => report(
                PgSqlErrorCode::ERRCODE_UNTRANSLATABLE_CHARACTER,
                "the database encoding does not support block characters",
                "A QR code in text form is drawn with characters that require encoding UTF8.",
                "Use qr_svg, or a database whose encoding is UTF8.",
            ),
            Error::Clock => report(
                PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
                "invalid value for parameter \"totp.clock\"",
                "It must be a finite timestamp with time zone in 1970 or later.",
                "Reset the parameter; it is intended only for tests.",
            ),
            Error::Random => report(
                PgSqlErrorCode::ERRCODE_SYSTEM_ERROR,
                "could not obtain random bytes from the operating system",
                "Secrets and codes are generated from them.",
                "Check the operating system's log.",
            ),
            Error::Spi(error) => report(
                PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
                "unexpected result of an internal query",
                format!("The Server Programming Interface reported: {error}."),
                "Check with \\dx that the installed version of totp matches its library.",
            ),
            Error::Corrupt(what) => report(
                PgSqlErrorCode::ERRCODE_DATA_CORRUPTED,
                format!("unexpected {what} in schema totp"),
                "The extension's constraints should have prevented this.",
                "Check with \\dx that the installed version of totp matches its library.",
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
