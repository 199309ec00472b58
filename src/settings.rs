//! The settings with prefix `totp`. Only superusers, and roles granted SET on one, can change them;
//! anybody can set `totp.client`.

use crate::pure::lock::Policy;
use crate::server;
use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting, PostgresGucEnum};
use std::ffi::{CStr, CString};
use std::path::PathBuf;

/// The events that are written to the audit trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PostgresGucEnum)]
pub enum Audit {
    /// Every attempt and every change.
    #[name = c"all"]
    All,
    /// Changes to factors and codes, but no logins.
    #[name = c"changes"]
    Changes,
    /// Nothing.
    #[name = c"off"]
    Off,
}

/// How the audit trail identifies accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PostgresGucEnum)]
pub enum AuditAccounts {
    /// By name.
    #[name = c"name"]
    Name,
    /// By a keyed hash of the name.
    #[name = c"hash"]
    Hash,
}

/// How JSON Web Tokens name the methods of authentication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PostgresGucEnum)]
pub enum Amr {
    /// As objects with method and time, as Supabase Auth does.
    #[name = c"supabase"]
    Supabase,
    /// As strings (RFC 8176), and with `acr`.
    #[name = c"rfc8176"]
    Rfc8176,
}

/// How the account of a session is determined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PostgresGucEnum)]
pub enum Identity {
    /// By a claim of its JSON Web Token.
    #[name = c"jwt"]
    Jwt,
    /// By its login role.
    #[name = c"role"]
    Role,
}

type Text = GucSetting<Option<CString>>;

/// Seconds per day.
const DAY: i32 = 86_400;

static ISSUER: Text = Text::new(Some(c""));
static TENANT_FUNCTION: Text = Text::new(Some(c""));
static IDENTITY: GucSetting<Identity> = GucSetting::<Identity>::new(Identity::Jwt);
static JWT_LOGINS: Text = Text::new(Some(c"authenticator"));
static JWT_CLAIM: Text = Text::new(Some(c"sub"));
static JWT_ROLE: Text = Text::new(Some(c"authenticated"));
static JWT_SECRET_FILE: Text = Text::new(Some(c""));
static IMPORT_DIRECTORY: Text = Text::new(Some(c""));
static JWT_SECRET_COMMAND: Text = Text::new(Some(c""));
static AMR: GucSetting<Amr> = GucSetting::<Amr>::new(Amr::Supabase);
static AUDIT: GucSetting<Audit> = GucSetting::<Audit>::new(Audit::All);
static AUDIT_ACCOUNTS: GucSetting<AuditAccounts> =
    GucSetting::<AuditAccounts>::new(AuditAccounts::Name);
static CLIENT: Text = Text::new(Some(c""));
static CLOCK: Text = Text::new(Some(c""));
static KEY_FILE: Text = Text::new(Some(c"totp.keys"));
static KEY_COMMAND: Text = Text::new(Some(c""));
static GUARD_SLOTS: GucSetting<i32> = GucSetting::<i32>::new(65_536);

/// Integer settings: static, getter and its type, default, range, unit, name, short and long description.
macro_rules! integers {
    ($($(#[$doc:meta])* $setting:ident $getter:ident: $type:ty = $default:expr, $range:expr, $unit:ident,
        $name:expr, $short:expr, $long:expr;)*) => {
        $(static $setting: GucSetting<i32> = GucSetting::<i32>::new($default);
        $(#[$doc])*
        pub fn $getter() -> $type {
            <$type>::from($setting.get())
        })*

        fn define_integers() {
            $(let (context, range) = (GucContext::Suset, $range);
            let (min, max) = (*range.start(), *range.end());
            GucRegistry::define_int_guc($name, $short, $long, &$setting, min, max, context, $unit);)*
        }
    };
}

/// Boolean settings: static, getter, default, name, short and long description.
macro_rules! switches {
    ($($(#[$doc:meta])* $setting:ident $getter:ident = $default:expr,
        $name:expr, $short:expr, $long:expr;)*) => {
        $(static $setting: GucSetting<bool> = GucSetting::<bool>::new($default);
        $(#[$doc])*
        pub fn $getter() -> bool {
            $setting.get()
        })*

        fn define_switches() {
            $(let (context, flags) = (GucContext::Suset, GucFlags::empty());
            GucRegistry::define_bool_guc($name, $short, $long, &$setting, context, flags);)*
        }
    };
}

const NO_UNIT: GucFlags = GucFlags::empty();
const SECONDS: GucFlags = GucFlags::UNIT_S;
const MILLISECONDS: GucFlags = GucFlags::UNIT_MS;

integers! {
    /// The number of steps accepted before and after the current one.
    WINDOW_STEPS window_steps: i64 = 1, 0..=10, NO_UNIT,
        c"totp.window_steps",
        c"Number of steps before and after the current one whose codes are accepted.",
        c"RFC 6238, section 5.2 recommends at most one. 0 accepts only the current step.";

    /// The maximum number of steps that an authenticator app's clock can be off.
    RESYNC_STEPS resync_steps: i64 = 20, 0..=1000, NO_UNIT,
        c"totp.resync_steps",
        c"Maximum number of steps that an authenticator app's clock can be off.",
        c"Limits both the drift to which logins adjust and the range that totp_resync searches (RFC 6238, section 6).";

    /// The number of consecutive failures at which an account is first locked.
    MAX_FAILURES max_failures: i32 = 5, 1..=100, NO_UNIT,
        c"totp.max_failures",
        c"Number of consecutive failed attempts after which an account is locked.",
        c"Each additional failure doubles the length of the lock.";

    /// The number of failures per minute and client; 0 for no limit.
    MAX_CLIENT_FAILURES max_client_failures: i32 = 0, 0..=1_000_000, NO_UNIT,
        c"totp.max_client_failures",
        c"Number of failed attempts per minute after which a client is refused; 0 means no limit.",
        c"Counts the failures of one client over all accounts, and refuses its further attempts until the minute \
          ends, without locking any account. A client is totp.client, or else the address of the connection. \
          Requires totp in shared_preload_libraries.";

    /// The length of the first lock, in seconds.
    LOCKOUT lockout: i64 = 30, 1..=86_400, SECONDS,
        c"totp.lockout",
        c"Length of the first lock.",
        c"Doubles with each additional failure, up to totp.max_lockout.";

    /// The maximum length of a lock, in seconds.
    MAX_LOCKOUT max_lockout: i64 = 3600, 1..=7 * 86_400, SECONDS,
        c"totp.max_lockout",
        c"Maximum length of a lock.",
        c"Locks do not grow beyond this length.";

    /// The number of consecutive failures that suspends TOTP.
    SUSPEND_AFTER suspend_after: i32 = 100, 1..=100, NO_UNIT,
        c"totp.suspend_after",
        c"Number of consecutive failed attempts after which TOTP is suspended for an account.",
        c"An administrator or a backup code lifts the suspension. NIST SP 800-63B, section 3.2.2 allows at \
          most 100.";

    /// The time within which a pending factor must be confirmed, in seconds.
    PENDING_TTL pending_ttl: i64 = 15 * 60, 1..=30 * 86_400, SECONDS,
        c"totp.pending_ttl",
        c"Time within which a new factor must be confirmed.",
        c"Older pending factors are ignored, and are removed when others are created.";

    /// The number of backup codes in a new set.
    BACKUP_CODES backup_codes: i32 = 10, 1..=50, NO_UNIT,
        c"totp.backup_codes",
        c"Number of backup codes in a new set.",
        c"Applies to sets created from now on.";

    /// The time within which a challenge must be completed, in seconds.
    CHALLENGE_TTL challenge_ttl: i64 = 5 * 60, 1..=DAY, SECONDS,
        c"totp.challenge_ttl",
        c"Time within which a challenge must be completed.",
        c"This is the time allowed between password and code. It is also the time after verification within \
          which a device can be trusted.";

    /// The number of codes that can be tried on one challenge.
    CHALLENGE_ATTEMPTS challenge_attempts: i32 = 5, 1..=100, NO_UNIT,
        c"totp.challenge_attempts",
        c"Number of codes that can be tried on one challenge.",
        c"Each wrong code also counts as a failed attempt for the account.";

    /// The time during which a recovery link is valid, in seconds.
    RECOVERY_TTL recovery_ttl: i64 = 3_600, 1..=7 * DAY, SECONDS,
        c"totp.recovery_ttl",
        c"Time during which a recovery link is valid.",
        c"The link turns off two-factor authentication for its account and works only once.";

    /// The time between a confirmation of a recovery and its effect, in seconds; 0 for none.
    RECOVERY_DELAY recovery_delay: i64 = 0, 0..=30 * DAY, SECONDS,
        c"totp.recovery_delay",
        c"Time between the first use of a recovery link and its effect; 0 means none.",
        c"Meanwhile, recovery_cancel or any accepted code of the account cancels the recovery.";

    /// The time in which an approval must be confirmed and used, in seconds.
    APPROVAL_TTL approval_ttl: i64 = 15 * 60, 1..=7 * DAY, SECONDS,
        c"totp.approval_ttl",
        c"Time in which an approval must be confirmed and used.",
        c"Begins when the approval is requested.";

    /// The time during which a device is trusted, in seconds.
    TRUST_TTL trust_ttl: i64 = 30 * DAY, 1..=366 * DAY, SECONDS,
        c"totp.trust_ttl",
        c"Time during which a trusted device can skip the second factor.",
        c"Any change to the account's factors ends the trust earlier.";

    /// The time during which a session counts as verified, in seconds.
    SESSION_TTL session_ttl: i64 = 12 * 3_600, 1..=366 * DAY, SECONDS,
        c"totp.session_ttl",
        c"Time during which a session counts as verified.",
        c"This is also the upper limit for max_age in totp_verified and require_totp.";

    /// The lifetime of a signed JSON Web Token, in seconds.
    JWT_TTL jwt_ttl: i64 = 3_600, 1..=366 * DAY, SECONDS,
        c"totp.jwt_ttl",
        c"Lifetime of the JSON Web Tokens signed by jwt_sign.",
        c"Determines their \"exp\" claim.";

    /// The time in which an account must enrol, in seconds.
    GRACE grace: i64 = 14 * DAY, 0..=366 * DAY, SECONDS,
        c"totp.grace",
        c"Time in which an account that must have a second factor has to enrol.",
        c"Applies to accounts that totp_require and require_enrolment require from now on.";

    /// The time for which events are kept, in seconds.
    EVENTS_TTL events_ttl: i64 = 30 * DAY, 1..=366 * DAY, SECONDS,
        c"totp.events_ttl",
        c"Time for which events are kept.",
        c"Older events are removed gradually as new ones are written, and by totp_prune, whether they were read or \
          not.";

    /// The maximum time to wait for a row, in milliseconds.
    LOCK_TIMEOUT lock_timeout: i32 = 2000, 1..=3_600_000, MILLISECONDS,
        c"totp.lock_timeout",
        c"Maximum time to wait for a row of an account that another transaction has locked.",
        c"After that, the call fails with SQLSTATE 55P03. Calls that queue behind one another might wait twice \
          as long. A shorter lock_timeout set by the caller takes precedence.";
}

switches! {
    /// Whether a code remains spent after a rollback.
    BURN_ON_ROLLBACK burn_on_rollback = true,
        c"totp.burn_on_rollback",
        c"Whether a code remains spent when the transaction that used it is rolled back.",
        c"If this is off, the code becomes valid again, which suits applications that retry transactions; \
          PREPARE TRANSACTION is then refused once a code has been spent. Requires totp in shared_preload_libraries.";

    /// Whether codes of steps up to the server's start are refused.
    COLD_START cold_start = true,
        c"totp.cold_start",
        c"Whether codes for time steps up to the server's start are refused.",
        c"After a start, a crash or a promotion, nothing else shows whether they were spent. Requires totp in \
          shared_preload_libraries.";

    /// Whether spending a code forces a synchronous commit.
    FORCE_SYNC_COMMIT force_sync_commit = true,
        c"totp.force_sync_commit",
        c"Whether a transaction that spends a code commits synchronously.",
        c"Overrides the caller's synchronous_commit = off, with which a crash could make the code valid again.";

    /// Whether events are written for the application.
    EVENTS events = true,
        c"totp.events",
        c"Whether changes, locks and the like are written to the table that events_read returns.",
        c"Plain successes and failures are no events. Events are kept for totp.events_ttl.";

    /// Whether events are announced with NOTIFY.
    NOTIFY notify = false,
        c"totp.notify",
        c"Whether NOTIFY announces each event on channel \"totp\" when its transaction commits.",
        c"The payload is the ID of the event, which events_read returns. Such commits wait for each other, and \
          PREPARE TRANSACTION is refused. Requires totp.events.";

    /// Whether the secret of JSON Web Tokens is written as base64.
    JWT_SECRET_BASE64 jwt_secret_base64 = false,
        c"totp.jwt_secret_base64",
        c"Whether the secret for signing JSON Web Tokens is base64.",
        c"Same as PostgREST's jwt-secret-is-base64: the text is decoded before use, and can then be a JSON Web Key.";
}

/// Defines the settings and reserves the prefix. Called once, when the library is loaded.
pub fn init() {
    define_integers();
    define_switches();
    text(
        c"totp.issuer",
        c"Name of the service, as shown by authenticator apps.",
        c"Used in new otpauth URIs. If empty, the name of the database is used. Must not contain a colon.",
        &ISSUER,
        GucContext::Suset,
    );
    text(
        c"totp.tenant_function",
        c"Function of the application that returns issuer, logo, digits and period for an account.",
        c"Named with its schema, such as app.tenant(text). Its columns are issuer, image, digits and period; NULL \
          leaves a default as it is. Its values are for arguments that totp_create is not given. It runs with the rights of \
          its owner.",
        &TENANT_FUNCTION,
        GucContext::Suset,
    );
    GucRegistry::define_enum_guc(
        c"totp.identity",
        c"Determines which account a session belongs to.",
        c"\"jwt\": the claim named by totp.jwt_claim in request.jwt.claims, as set by PostgREST. \"role\": the \
          login role; not for connections that several people share.",
        &IDENTITY,
        GucContext::Suset,
        GucFlags::empty(),
    );
    text(
        c"totp.jwt_logins",
        c"Comma-separated list of login roles whose request.jwt.claims is trusted.",
        c"Any role can set request.jwt.claims; list only the roles of servers that verify the token.",
        &JWT_LOGINS,
        GucContext::Suset,
    );
    text(
        c"totp.jwt_claim",
        c"Claim that identifies the account.",
        c"A string or a number at the top level of the claims.",
        &JWT_CLAIM,
        GucContext::Suset,
    );
    text(
        c"totp.jwt_role",
        c"Value of the \"role\" claim in tokens signed by totp_api.challenge_verify.",
        c"This is the database role that the API server uses for a user who is logged in.",
        &JWT_ROLE,
        GucContext::Suset,
    );
    GucRegistry::define_enum_guc(
        c"totp.amr",
        c"Form of the \"amr\" claim in JSON Web Tokens.",
        c"\"supabase\": objects with method and timestamp. \"rfc8176\": strings such as otp and mfa, along with \
          the claim \"acr\". Applies to totp_api.challenge_verify and jwt_sign.",
        &AMR,
        GucContext::Suset,
        GucFlags::empty(),
    );
    GucRegistry::define_enum_guc(
        c"totp.audit",
        c"Determines what is written to the audit trail.",
        c"\"all\": every attempt and change. \"changes\": changes, but not logins. \"off\": nothing.",
        &AUDIT,
        GucContext::Suset,
        GucFlags::empty(),
    );
    GucRegistry::define_enum_guc(
        c"totp.audit_accounts",
        c"Determines how accounts are identified in the audit trail.",
        c"\"name\": by name. \"hash\": by a keyed hash of the name, so that no name remains when an account is \
          erased; audit_names returns it.",
        &AUDIT_ACCOUNTS,
        GucContext::Suset,
        GucFlags::empty(),
    );
    // Set by the application for each request, so by its role.
    text(
        c"totp.client",
        c"Client on whose behalf the application calls, such as the address of a browser.",
        c"Recorded in the audit trail in place of the address of the connection, and limited by \
          totp.max_client_failures. Longer values are cut off at 255 bytes.",
        &CLIENT,
        GucContext::Userset,
    );
    text(
        c"totp.clock",
        c"Fixed time for tests, as a timestamp with time zone.",
        c"Codes are checked as if this were the current time. Leave it empty except in tests.",
        &CLOCK,
        GucContext::Suset,
    );
    text(
        c"totp.key_file",
        c"File that contains the encryption keys, one Fernet key per line; the first key encrypts.",
        c"A relative path is resolved from the data directory. The file must be owned by the server's operating \
          system user and have mode 0600 or less, or by root and have mode 0640 or less. Changes to the file take \
          effect immediately.",
        &KEY_FILE,
        GucContext::Sighup,
    );
    text(
        c"totp.key_command",
        c"Shell command that prints the encryption keys, in the format of the key file.",
        c"Takes precedence over totp.key_file. Each server process runs it once, and again when the setting \
          changes and for key_rotate.",
        &KEY_COMMAND,
        GucContext::Sighup,
    );
    text(
        c"totp.jwt_secret_file",
        c"File that contains the secret for signing JSON Web Tokens, at least 32 bytes.",
        c"This must be the secret that the API server uses: raw, base64 (totp.jwt_secret_base64) or a JSON Web Key. \
          A newline at the end is ignored. The rules for its path, owner and mode are the same as for totp.key_file.",
        &JWT_SECRET_FILE,
        GucContext::Sighup,
    );
    text(
        c"totp.jwt_secret_command",
        c"Shell command that prints the secret for signing JSON Web Tokens.",
        c"Takes precedence over totp.jwt_secret_file. Each server process runs it once, and again when the setting \
          changes.",
        &JWT_SECRET_COMMAND,
        GucContext::Sighup,
    );
    text(
        c"totp.import_directory",
        c"Directory with the files that imports may read: keys and passwords of other systems.",
        c"A relative path is resolved from the data directory. If empty, imports read no files. The rules for the \
          owner and mode of each file are the same as for totp.key_file.",
        &IMPORT_DIRECTORY,
        GucContext::Sighup,
    );
    if server::is_preloading() {
        GucRegistry::define_int_guc(
            c"totp.guard_slots",
            c"Number of entries in shared memory for failures and spent codes.",
            c"Each entry takes 176 bytes and holds the failures of one account and a few of its spent codes. \
              Only recent failures and rolled-back logins need an entry for longer than a transaction.",
            &GUARD_SLOTS,
            1_024,
            16_777_216,
            GucContext::Postmaster,
            GucFlags::empty(),
        );
    }
    server::reserve_setting_prefix(c"totp");
}

fn text(
    name: &'static CStr,
    short: &'static CStr,
    long: &'static CStr,
    setting: &'static Text,
    context: GucContext,
) {
    // Roles that can write server files must not be able to see where the keys are.
    let flags = match context {
        GucContext::Sighup => GucFlags::SUPERUSER_ONLY,
        _ => GucFlags::empty(),
    };
    GucRegistry::define_string_guc(name, short, long, setting, context, flags);
}

fn non_empty(setting: &'static Text) -> Option<String> {
    setting.get()?.into_string().ok().filter(|text| !text.is_empty())
}

/// Returns the issuer for new URIs, if set.
pub fn issuer() -> Option<String> {
    non_empty(&ISSUER)
}

/// Returns the name of the function that returns the defaults of an account, if set.
pub fn tenant_function() -> Option<String> {
    non_empty(&TENANT_FUNCTION)
}

/// Returns the lock policy.
pub fn lock_policy() -> Policy {
    Policy {
        max_failures: max_failures().unsigned_abs(),
        lockout: lockout() * 1_000_000,
        max_lockout: max_lockout() * 1_000_000,
        suspend_after: suspend_after().unsigned_abs(),
    }
}

/// Returns how the account of a session is determined.
pub fn identity() -> Identity {
    IDENTITY.get()
}

/// Returns the login roles whose claims are trusted.
pub fn jwt_logins() -> Vec<String> {
    let listed = non_empty(&JWT_LOGINS).unwrap_or_default();
    listed
        .split(',')
        .map(|login| login.trim().to_owned())
        .filter(|login| !login.is_empty())
        .collect()
}

/// Returns whether the claims of a session with this login role are trusted.
pub fn is_jwt_login(role: &str) -> bool {
    jwt_logins().iter().any(|login| login == role)
}

/// Returns the name of the claim that identifies the account.
pub fn jwt_claim() -> String {
    non_empty(&JWT_CLAIM).unwrap_or_default()
}

/// Returns the value of the claim `role` in login tokens.
pub fn jwt_role() -> String {
    non_empty(&JWT_ROLE).unwrap_or_default()
}

/// Returns the path of the file with the secret for JSON Web Tokens, if set.
pub fn jwt_secret_file() -> Option<PathBuf> {
    non_empty(&JWT_SECRET_FILE).map(|file| server::data_directory().join(file))
}

/// Returns the command that prints the secret for JSON Web Tokens, if set.
pub fn jwt_secret_command() -> Option<String> {
    non_empty(&JWT_SECRET_COMMAND)
}

/// Returns the directory with the files for imports, if set.
pub fn import_directory() -> Option<PathBuf> {
    non_empty(&IMPORT_DIRECTORY).map(|directory| server::data_directory().join(directory))
}

/// Returns the form of the claim `amr`.
pub fn amr() -> Amr {
    AMR.get()
}

/// Returns which events are audited.
pub fn audit() -> Audit {
    AUDIT.get()
}

/// Returns how the audit trail identifies accounts.
pub fn audit_accounts() -> AuditAccounts {
    AUDIT_ACCOUNTS.get()
}

/// Returns the client on whose behalf the application calls, if set.
pub fn client() -> Option<String> {
    let mut client = non_empty(&CLIENT).filter(|client| server::is_text(client))?;
    let end = client.floor_char_boundary(255);
    client.truncate(end);
    Some(client)
}

/// Returns the fixed time for tests, if set.
pub fn clock() -> Option<String> {
    non_empty(&CLOCK)
}

/// Returns the path of the key file, resolved from the data directory.
pub fn key_file() -> PathBuf {
    server::data_directory().join(relative_key_file())
}

/// Returns the path of the key file as configured. Server processes run in the data directory, so it
/// can be used as it is, and it is faster to resolve for the check that every call makes.
pub fn relative_key_file() -> PathBuf {
    non_empty(&KEY_FILE).unwrap_or_default().into()
}

/// Returns the command that prints the keyring, if set.
pub fn key_command() -> Option<String> {
    non_empty(&KEY_COMMAND)
}

/// Returns the number of entries in the guard.
pub fn guard_slots() -> usize {
    GUARD_SLOTS.get().unsigned_abs() as usize
}
