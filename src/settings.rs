//! The settings of the prefix `totp`. Only superusers, and roles granted SET on one, change them.

use crate::pure::lock::Policy;
use crate::pure::name;
use crate::server;
use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting, PostgresGucEnum};
use std::ffi::{CStr, CString};
use std::path::PathBuf;

/// What is written to the audit trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PostgresGucEnum)]
pub enum Audit {
    /// Every attempt and every change.
    #[name = c"all"]
    All,
    /// Changes of factors and codes; no logins.
    #[name = c"changes"]
    Changes,
    /// Nothing.
    #[name = c"off"]
    Off,
}

/// How accounts are named in the audit trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PostgresGucEnum)]
pub enum AuditAccounts {
    /// By their names.
    #[name = c"name"]
    Name,
    /// By the SHA-256 of their names.
    #[name = c"hash"]
    Hash,
}

/// What says who a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PostgresGucEnum)]
pub enum Identity {
    /// A claim of its JSON Web Token.
    #[name = c"jwt"]
    Jwt,
    /// Its login role.
    #[name = c"role"]
    Role,
}

type Text = GucSetting<Option<CString>>;

/// Seconds of a day.
const DAY: i32 = 86_400;

static ISSUER: Text = Text::new(Some(c""));
static WINDOW: GucSetting<i32> = GucSetting::<i32>::new(1);
static RESYNC_WINDOW: GucSetting<i32> = GucSetting::<i32>::new(20);
static MAX_FAILURES: GucSetting<i32> = GucSetting::<i32>::new(5);
static LOCKOUT: GucSetting<i32> = GucSetting::<i32>::new(30);
static MAX_LOCKOUT: GucSetting<i32> = GucSetting::<i32>::new(3600);
static SUSPEND_AFTER: GucSetting<i32> = GucSetting::<i32>::new(100);
static PENDING_TTL: GucSetting<i32> = GucSetting::<i32>::new(15 * 60);
static CHALLENGE_TTL: GucSetting<i32> = GucSetting::<i32>::new(5 * 60);
static CHALLENGE_ATTEMPTS: GucSetting<i32> = GucSetting::<i32>::new(5);
static RECOVERY_TTL: GucSetting<i32> = GucSetting::<i32>::new(3_600);
static TRUST_TTL: GucSetting<i32> = GucSetting::<i32>::new(30 * DAY);
static SESSION_TTL: GucSetting<i32> = GucSetting::<i32>::new(12 * 3_600);
static IDENTITY: GucSetting<Identity> = GucSetting::<Identity>::new(Identity::Jwt);
static JWT_LOGINS: Text = Text::new(Some(c"authenticator"));
static JWT_CLAIM: Text = Text::new(Some(c"sub"));
static JWT_ROLE: Text = Text::new(Some(c"authenticated"));
static JWT_TTL: GucSetting<i32> = GucSetting::<i32>::new(3_600);
static JWT_SECRET_FILE: Text = Text::new(Some(c""));
static BACKUP_CODES: GucSetting<i32> = GucSetting::<i32>::new(10);
static BURN_ON_ROLLBACK: GucSetting<bool> = GucSetting::<bool>::new(true);
static COLD_START: GucSetting<bool> = GucSetting::<bool>::new(true);
static FORCE_SYNC_COMMIT: GucSetting<bool> = GucSetting::<bool>::new(true);
static LOCK_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(2000);
static AUDIT: GucSetting<Audit> = GucSetting::<Audit>::new(Audit::All);
static AUDIT_ACCOUNTS: GucSetting<AuditAccounts> =
    GucSetting::<AuditAccounts>::new(AuditAccounts::Name);
static CLOCK: Text = Text::new(Some(c""));
static KEY_FILE: Text = Text::new(Some(c"totp.keys"));
static KEY_COMMAND: Text = Text::new(Some(c""));
static GUARD_SLOTS: GucSetting<i32> = GucSetting::<i32>::new(65_536);

/// Defines the settings and reserves the prefix. Called once, when the library is loaded.
pub fn init() {
    text(
        c"totp.issuer",
        c"Name of the service, as authenticator apps show it.",
        c"Goes into new otpauth URIs. Empty means the name of the database. Must not contain a colon.",
        &ISSUER,
        GucContext::Suset,
    );
    integer(
        c"totp.window",
        c"Steps before and after the current one whose codes are accepted.",
        c"RFC 6238, 5.2 recommends one at most. 0 accepts the current step only. In SQL the name needs \
          quotes: SET totp.\"window\" = 0.",
        &WINDOW,
        (0, 10),
        GucFlags::empty(),
    );
    integer(
        c"totp.resync_window",
        c"Steps that an app's clock may be off.",
        c"Bounds the drift that logins follow, and how far totp_resync searches (RFC 6238, 6).",
        &RESYNC_WINDOW,
        (0, 1000),
        GucFlags::empty(),
    );
    integer(
        c"totp.max_failures",
        c"Failed attempts in a row that lock an account.",
        c"From then on each further failure locks for twice as long.",
        &MAX_FAILURES,
        (1, 100),
        GucFlags::empty(),
    );
    integer(
        c"totp.lockout",
        c"Length of the first lock.",
        c"Doubles with each further failure, up to totp.max_lockout.",
        &LOCKOUT,
        (1, 86_400),
        GucFlags::UNIT_S,
    );
    integer(
        c"totp.max_lockout",
        c"Length of the longest lock.",
        c"Locks do not grow beyond it.",
        &MAX_LOCKOUT,
        (1, 7 * 86_400),
        GucFlags::UNIT_S,
    );
    integer(
        c"totp.suspend_after",
        c"Failed attempts in a row that suspend TOTP for an account.",
        c"Until an administrator or a backup code lifts it. NIST SP 800-63B, 3.2.2 allows 100 at most.",
        &SUSPEND_AFTER,
        (1, 100),
        GucFlags::empty(),
    );
    integer(
        c"totp.pending_ttl",
        c"Time within which a new factor must be confirmed.",
        c"Older pending factors count as absent and are removed as others are created.",
        &PENDING_TTL,
        (1, 30 * 86_400),
        GucFlags::UNIT_S,
    );
    integer(
        c"totp.backup_codes",
        c"Backup codes in a new set.",
        c"Applies to sets made from now on.",
        &BACKUP_CODES,
        (1, 50),
        GucFlags::empty(),
    );
    integer(
        c"totp.challenge_ttl",
        c"How long a challenge can be answered.",
        c"The time between password and code. Also the time within which a verified device can be trusted.",
        &CHALLENGE_TTL,
        (1, DAY),
        GucFlags::UNIT_S,
    );
    integer(
        c"totp.challenge_attempts",
        c"Codes that can be tried on one challenge.",
        c"Each wrong one also counts for the account, as any other does.",
        &CHALLENGE_ATTEMPTS,
        (1, 100),
        GucFlags::empty(),
    );
    integer(
        c"totp.recovery_ttl",
        c"How long a recovery link works.",
        c"It switches two-factor authentication off for its account, once.",
        &RECOVERY_TTL,
        (1, 7 * DAY),
        GucFlags::UNIT_S,
    );
    integer(
        c"totp.trust_ttl",
        c"How long a trusted device may skip the second factor.",
        c"Any change of the account's factors ends it.",
        &TRUST_TTL,
        (1, 366 * DAY),
        GucFlags::UNIT_S,
    );
    integer(
        c"totp.session_ttl",
        c"How long a session that proved its second factor counts as verified.",
        c"The longest max_age of totp_verified and require_totp.",
        &SESSION_TTL,
        (1, 366 * DAY),
        GucFlags::UNIT_S,
    );
    GucRegistry::define_enum_guc(
        c"totp.identity",
        c"What says which account a session belongs to.",
        c"\"jwt\": the claim totp.jwt_claim of request.jwt.claims, as PostgREST sets it. \"role\": the login \
          role; not for connections that several people share.",
        &IDENTITY,
        GucContext::Suset,
        GucFlags::empty(),
    );
    text(
        c"totp.jwt_logins",
        c"Login roles whose request.jwt.claims are believed, separated by commas.",
        c"Any role can set request.jwt.claims; name only those of servers that check the token.",
        &JWT_LOGINS,
        GucContext::Suset,
    );
    text(
        c"totp.jwt_claim",
        c"Claim that names the account.",
        c"A text or a number at the top level of the claims.",
        &JWT_CLAIM,
        GucContext::Suset,
    );
    text(
        c"totp.jwt_role",
        c"Claim role of the tokens that totp_api.challenge_verify signs.",
        c"The database role that the API server takes for a user who is logged in.",
        &JWT_ROLE,
        GucContext::Suset,
    );
    integer(
        c"totp.jwt_ttl",
        c"How long the JSON Web Tokens of jwt_sign are valid.",
        c"Goes into their claim exp.",
        &JWT_TTL,
        (1, 366 * DAY),
        GucFlags::UNIT_S,
    );
    boolean(
        c"totp.burn_on_rollback",
        c"Whether a code stays spent when the transaction that used it is rolled back.",
        c"Off gives it back, for applications that retry transactions; PREPARE TRANSACTION is then \
          refused after a code was spent. Needs totp in shared_preload_libraries.",
        &BURN_ON_ROLLBACK,
    );
    boolean(
        c"totp.cold_start",
        c"Whether codes of steps up to the server's start are refused.",
        c"After a start, a crash or a promotion nothing else shows that they were spent. Needs totp in \
          shared_preload_libraries.",
        &COLD_START,
    );
    boolean(
        c"totp.force_sync_commit",
        c"Whether a transaction that spent a code commits synchronously.",
        c"Overrides synchronous_commit = off of the caller, which a crash could turn into a replay.",
        &FORCE_SYNC_COMMIT,
    );
    integer(
        c"totp.lock_timeout",
        c"Longest wait for a row of an account that another transaction holds.",
        c"Then the call fails with SQLSTATE 55P03. Calls that queue behind one another may wait twice as \
          long. A shorter lock_timeout of the caller wins.",
        &LOCK_TIMEOUT,
        (1, 3_600_000),
        GucFlags::UNIT_MS,
    );
    GucRegistry::define_enum_guc(
        c"totp.audit",
        c"What is written to the audit trail.",
        c"\"all\": every attempt and change. \"changes\": no logins. \"off\": nothing.",
        &AUDIT,
        GucContext::Suset,
        GucFlags::empty(),
    );
    GucRegistry::define_enum_guc(
        c"totp.audit_accounts",
        c"How accounts are named in the audit trail.",
        c"\"name\": by their names. \"hash\": by sha256: and the hex digits of the SHA-256 of the name, \
          so that nothing personal stays when an account is erased.",
        &AUDIT_ACCOUNTS,
        GucContext::Suset,
        GucFlags::empty(),
    );
    text(
        c"totp.clock",
        c"Fixed time for tests, as a timestamp with time zone.",
        c"Codes are checked as if this were the time. Leave it empty outside of tests.",
        &CLOCK,
        GucContext::Suset,
    );
    text(
        c"totp.key_file",
        c"File with the encryption keys, one Fernet key a line, the first for new secrets.",
        c"A relative path starts in the data directory. The file must belong to the server's user with \
          mode 0600. A changed file takes effect at once.",
        &KEY_FILE,
        GucContext::Sighup,
    );
    text(
        c"totp.key_command",
        c"Shell command whose output is the keyring, in the format of the key file.",
        c"Goes before totp.key_file. Each server process runs it once, again when it changes, and \
          for key_rotate.",
        &KEY_COMMAND,
        GucContext::Sighup,
    );
    text(
        c"totp.jwt_secret_file",
        c"File with the secret that signs JSON Web Tokens, 32 bytes at least.",
        c"The same secret as that of the API server. A relative path starts in the data directory. The file \
          must belong to the server's user with mode 0600; a line end at its end does not count.",
        &JWT_SECRET_FILE,
        GucContext::Sighup,
    );
    if server::is_preloading() {
        GucRegistry::define_int_guc(
            c"totp.guard_slots",
            c"Entries in shared memory that keep failures and spent codes.",
            c"Each takes 56 bytes and is about the failures of one account or the last code of one secret. \
              Only recent failures and rolled-back logins need one for longer than a transaction.",
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
    // Who can change server files must not learn from settings where the keys are.
    let flags = match context {
        GucContext::Sighup => GucFlags::SUPERUSER_ONLY,
        _ => GucFlags::empty(),
    };
    GucRegistry::define_string_guc(name, short, long, setting, context, flags);
}

fn integer(
    name: &'static CStr,
    short: &'static CStr,
    long: &'static CStr,
    setting: &'static GucSetting<i32>,
    (min, max): (i32, i32),
    unit: GucFlags,
) {
    GucRegistry::define_int_guc(name, short, long, setting, min, max, GucContext::Suset, unit);
}

fn boolean(
    name: &'static CStr,
    short: &'static CStr,
    long: &'static CStr,
    setting: &'static GucSetting<bool>,
) {
    GucRegistry::define_bool_guc(name, short, long, setting, GucContext::Suset, GucFlags::empty());
}

fn non_empty(setting: &'static Text) -> Option<String> {
    setting.get()?.into_string().ok().filter(|text| !text.is_empty())
}

/// The issuer of new URIs, when one is set.
pub fn issuer() -> Option<String> {
    non_empty(&ISSUER)
}

/// Steps accepted before and after the current one.
pub fn window_steps() -> i64 {
    i64::from(WINDOW.get())
}

/// Steps that an app's clock may be off.
pub fn resync_steps() -> i64 {
    i64::from(RESYNC_WINDOW.get())
}

/// The rules of locking.
pub fn lock_policy() -> Policy {
    Policy {
        max_failures: MAX_FAILURES.get().unsigned_abs(),
        lockout: i64::from(LOCKOUT.get()) * 1_000_000,
        max_lockout: i64::from(MAX_LOCKOUT.get()) * 1_000_000,
        suspend_after: SUSPEND_AFTER.get().unsigned_abs(),
    }
}

/// Seconds within which a pending factor must be confirmed.
pub fn pending_ttl() -> i64 {
    i64::from(PENDING_TTL.get())
}

/// Seconds that a challenge can be answered.
pub fn challenge_ttl() -> i64 {
    i64::from(CHALLENGE_TTL.get())
}

/// Codes that can be tried on one challenge.
pub fn challenge_attempts() -> i32 {
    CHALLENGE_ATTEMPTS.get()
}

/// Seconds that a recovery link works.
pub fn recovery_ttl() -> i64 {
    i64::from(RECOVERY_TTL.get())
}

/// Seconds that a device is trusted.
pub fn trust_ttl() -> i64 {
    i64::from(TRUST_TTL.get())
}

/// Seconds that a session counts as verified.
pub fn session_ttl() -> i64 {
    i64::from(SESSION_TTL.get())
}

/// What says who a session is.
pub fn identity() -> Identity {
    IDENTITY.get()
}

/// Whether the claims of a session with this login role are believed.
pub fn is_jwt_login(role: &str) -> bool {
    non_empty(&JWT_LOGINS).is_some_and(|logins| logins.split(',').any(|login| login.trim() == role))
}

/// The claim that names the account.
pub fn jwt_claim() -> String {
    non_empty(&JWT_CLAIM).unwrap_or_default()
}

/// The claim `role` of the tokens of logins.
pub fn jwt_role() -> String {
    non_empty(&JWT_ROLE).unwrap_or_default()
}

/// Seconds that a signed JSON Web Token is valid.
pub fn jwt_ttl() -> i64 {
    i64::from(JWT_TTL.get())
}

/// The file with the secret of JSON Web Tokens, when one is set.
pub fn jwt_secret_file() -> Option<PathBuf> {
    non_empty(&JWT_SECRET_FILE).map(|file| server::data_directory().join(file))
}

/// Backup codes in a new set.
pub fn backup_codes() -> i32 {
    BACKUP_CODES.get()
}

/// Whether a spent step survives a rollback.
pub fn burn_on_rollback() -> bool {
    BURN_ON_ROLLBACK.get()
}

/// Whether steps up to the server's start are refused.
pub fn cold_start() -> bool {
    COLD_START.get()
}

/// Whether spending a code forces a synchronous commit.
pub fn force_sync_commit() -> bool {
    FORCE_SYNC_COMMIT.get()
}

/// Milliseconds to wait for a row.
pub fn lock_timeout() -> i32 {
    LOCK_TIMEOUT.get()
}

/// What to audit.
pub fn audit() -> Audit {
    AUDIT.get()
}

/// An account's name as the audit trail may hold it.
pub fn audited_name(account: &str) -> String {
    match AUDIT_ACCOUNTS.get() {
        AuditAccounts::Name => account.to_owned(),
        AuditAccounts::Hash => name::hashed(account),
    }
}

/// The fixed time for tests, when one is set.
pub fn clock() -> Option<String> {
    non_empty(&CLOCK)
}

/// The key file, in the data directory unless its path is absolute.
pub fn key_file() -> PathBuf {
    server::data_directory().join(relative_key_file())
}

/// The key file from where a server process works, which is the data directory: the short way, for
/// what each call does.
pub fn relative_key_file() -> PathBuf {
    non_empty(&KEY_FILE).unwrap_or_default().into()
}

/// The command that prints the keyring, when one is set.
pub fn key_command() -> Option<String> {
    non_empty(&KEY_COMMAND)
}

/// Entries of the guard.
pub fn guard_slots() -> usize {
    GUARD_SLOTS.get().unsigned_abs() as usize
}
