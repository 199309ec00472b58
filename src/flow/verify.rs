//! Verification of a single code, either a TOTP or a backup code.

use super::attempt::{Attempt, Refusal, client_limit, count_client_failure, locked};
use super::audit::field;
use super::context::{Context, begin_writing};
use super::pass;
use super::waiting_recovery::is_over;
use crate::error::Error;
use crate::guard::{self, AccountGuard};
use crate::pure::audit::{Event, Outcome};
use crate::pure::backup_code::{BackupCode, HashedSet, SALT_BYTES};
use crate::pure::code::{Code, TotpCode};
use crate::pure::event::Kind;
use crate::pure::keyring::{AssociatedData, Keyring, Unreadable};
use crate::pure::lock::LockState;
use crate::pure::metric;
use crate::pure::name::Account;
use crate::pure::otp::{Otp, Parameters, Window};
use crate::pure::secret::Secret;
use crate::pure::timestamp::Timestamp;
use crate::pure::verdict::{Method, Reason, Verdict};
use crate::store::backup_code::StoredSet;
use crate::store::factor::{Enrolment, Factor, SpentStep};
use crate::{clock, server, settings, store};
use serde_json::Map;

/// With this many backup codes or fewer, an audit event reports that they are running low.
const LOW_BACKUP_CODES: i32 = 3;

/// Checks a code and spends it. `None` is text that cannot be a code: it is refused but not
/// counted, since it is not a guess.
pub fn verify(account: &Account, code: Option<&Code>) -> Result<Verdict, Error> {
    begin_writing()?;
    let now = clock::now()?;
    let account_guard = AccountGuard::of(account);
    let memory = account_guard.lock_state();
    match locked_in_memory(account, &memory, now)? {
        Some(until) => Ok(locked(until, now)),
        None => check(&Context::at(now)?, account, code, Event::Verify, &account_guard, &memory),
    }
}

/// Does the same as `verify`, and adds the number of backup codes left to a verdict that is OK.
pub fn attempt(account: &Account, code: Option<&Code>) -> Result<Verdict, Error> {
    with_backup_codes_left(account, verify(account, code)?)
}

/// Adds the number of backup codes left to a verdict that is OK, unless it has it.
pub fn with_backup_codes_left(account: &Account, mut verdict: Verdict) -> Result<Verdict, Error> {
    if verdict.is_ok() && verdict.backup_codes_left.is_none() {
        verdict.backup_codes_left = Some(store::backup_code::count(account)?);
    }
    Ok(verdict)
}

/// Does the same as `verify`, as part of another call.
pub fn verify_within(
    context: &Context,
    account: &Account,
    code: Option<&Code>,
    event: Event,
) -> Result<Verdict, Error> {
    let account_guard = AccountGuard::of(account);
    let memory = account_guard.lock_state();
    match locked_in_memory(account, &memory, context.now)? {
        Some(until) => Ok(locked(until, context.now)),
        None => check(context, account, code, event, &account_guard, &memory),
    }
}

/// Returns until when shared memory locks an account: an attack on a locked account costs neither a
/// write nor a read, except on servers with recoveries that wait. A lock ends with the factors that it
/// protects.
fn locked_in_memory(
    account: &Account,
    memory: &LockState,
    now: Timestamp,
) -> Result<Option<Timestamp>, Error> {
    let until = memory.locked(now);
    let has_ended = until.is_some()
        && guard::may_have_recovered()
        && is_over(store::account::recovery_at(account)?, now);
    Ok(until.filter(|_| !has_ended))
}

fn check(
    context: &Context,
    account: &Account,
    code: Option<&Code>,
    event: Event,
    account_guard: &AccountGuard,
    memory: &LockState,
) -> Result<Verdict, Error> {
    let now = context.now;
    if !guard::is_on() {
        store::account::lock(account)?;
    } else if !server::is_read_committed() {
        // Shared memory does not know an account by a name that only an old snapshot shows.
        store::account::hold(account)?;
    }
    let mut enrolment = store::factor::load(account)?;
    let recovery_at = enrolment.as_ref().and_then(|it| it.recovery_at);
    if is_over(recovery_at, now) {
        context.complete_recovery(account)?;
        enrolment = None;
    } else if recovery_at.is_some() {
        guard::expect_recovery();
    }
    let enrolment = enrolment.filter(|it| !it.factors.is_empty());
    let Some(Enrolment { lock_state, factors, .. }) = enrolment else {
        if let Some(Code::Backup(code)) = code
            && let Some(pass) = pass::load(context, account, code, event)?
        {
            let lock_state = store::account::read(account)?.unwrap_or_default();
            if let Some(until) = lock_state.locked(now) {
                return Ok(locked(until, now));
            }
            let attempt =
                Attempt::begin(context, account, account_guard, event, code.expose(), lock_state);
            return match attempt {
                Ok(attempt) => pass::verify(context, account, code, Some(&pass), attempt),
                Err(verdict) => Ok(verdict),
            };
        }
        return not_enrolled(context, account, code, event);
    };
    if let Some(until) = lock_state.locked(now) {
        return Ok(locked(until, now));
    }
    let begin = |code: &str| {
        Attempt::begin(context, account, account_guard, event, code, lock_state)
            .map(|attempt| attempt.with_recovery(recovery_at))
    };
    match code {
        None => Ok(Verdict::refused(Reason::Invalid, None)),
        Some(Code::Totp(_)) if is_suspended(&lock_state, memory) => {
            guard::count(metric::Method::Totp, metric::Result::Suspended);
            Ok(Verdict::refused(Reason::Suspended, None))
        }
        Some(Code::Ambiguous(_, code)) if is_suspended(&lock_state, memory) => {
            verify_backup_code(context, account, (code, event), Reason::Suspended, begin)
        }
        Some(Code::Totp(code)) => verify_totp(context, account, (code, None), factors, begin),
        Some(Code::Ambiguous(code, backup)) => {
            verify_totp(context, account, (code, Some(backup)), factors, begin)
        }
        Some(Code::Backup(code)) => {
            verify_backup_code(context, account, (code, event), Reason::Invalid, begin)
        }
    }
}

/// Returns the verdict on a locked account before its row is locked: it costs neither a write nor a
/// wait.
pub fn check_lock(account: &Account, now: Timestamp) -> Result<Option<Verdict>, Error> {
    let memory = AccountGuard::of(account).lock_state();
    let committed = store::account::read(account)?.unwrap_or_default();
    Ok(match memory.stricter(&committed).locked(now) {
        Some(until) if !is_over(store::account::recovery_at(account)?, now) => {
            Some(locked(until, now))
        }
        _ => None,
    })
}

/// Refuses an account that is not enrolled, by the same path and in about the same time as one that
/// is.
fn not_enrolled(
    context: &Context,
    account: &Account,
    code: Option<&Code>,
    event: Event,
) -> Result<Verdict, Error> {
    match code {
        None => return Ok(Verdict::refused(Reason::NotEnrolled, None)),
        // Only accounts with codes of another system count such a text as a guess.
        Some(Code::Backup(code)) if !code.is_own() => {
            return Ok(Verdict::refused(Reason::NotEnrolled, None));
        }
        Some(Code::Totp(code) | Code::Ambiguous(code, _)) => {
            if let (Ok(secret), Ok(parameters)) = (
                Secret::from_bytes(context.keyring.decrypt_decoy().value.to_vec()),
                Parameters::new("SHA1", 6, 30),
            ) {
                let window = Window { width: settings::window_steps(), drift: 0 };
                Otp::new(&secret, &parameters).find(code, window.steps(context.now.step(30)));
            }
        }
        Some(Code::Backup(code)) => {
            context.keyring.decrypt_decoy();
            HashedSet::empty().find(code, &[0; SALT_BYTES]);
        }
    }
    if code.is_some() {
        if let Some(until) = client_limit(context.now) {
            return Ok(locked(until, context.now));
        }
        count_client_failure(context.now);
    }
    if let Some(Code::Ambiguous(_, code)) = code {
        store::backup_code::load(account)?;
        context.keyring.decrypt_decoy();
        HashedSet::empty().find(code, &[0; SALT_BYTES]);
    }
    let method = code.map_or(metric::Method::None, |code| match code {
        Code::Totp(_) | Code::Ambiguous(..) => metric::Method::Totp,
        Code::Backup(_) => metric::Method::Backup,
    });
    guard::count(method, metric::Result::NotEnrolled);
    let (audit, is_left_out) = context.stranger_entry(account, event);
    // At other isolation levels, callers that share a decoy would get needless serialization failures.
    if server::is_read_committed() {
        // The lookup that found nothing took less time than one that finds a factor.
        store::account::read(account)?;
        // Any slot will do; the last digits of the time spread callers over them.
        let slot = context.now.micros() as i32;
        store::decoy::record_failure(slot)?;
        if is_left_out {
            // Takes as long as the audit entry that is left out.
            store::decoy::record_failure(slot.wrapping_add(128))?;
        }
    }
    if let Some(entry) = audit {
        store::audit::append(&entry)?;
    }
    Ok(Verdict::refused(Reason::NotEnrolled, None))
}

/// Returns whether TOTP is suspended, according to the table or because of failures that were
/// rolled back.
pub fn is_suspended(committed: &LockState, memory: &LockState) -> bool {
    let failures = committed.failures.max(memory.failures);
    committed.suspended || failures >= settings::lock_policy().suspend_after
}

/// A factor whose secret is decrypted.
pub struct DecryptedFactor {
    /// The row.
    pub factor: Factor,
    /// The secret.
    pub secret: Secret,
    /// The generator of its codes.
    pub otp: Otp,
}

impl DecryptedFactor {
    /// Decrypts a factor's secret.
    pub fn decrypt(
        keyring: &Keyring,
        account: &Account,
        factor: Factor,
    ) -> Result<Self, Unreadable> {
        let associated_data = AssociatedData::factor(account, &factor.label, factor.created_at);
        let plaintext = keyring.decrypt(&associated_data, &factor.ciphertext)?;
        let secret =
            Secret::from_bytes(plaintext.value.to_vec()).map_err(|_| Unreadable::Damaged)?;
        let otp = Otp::new(&secret, &factor.parameters);
        Ok(Self { factor, secret, otp })
    }

    /// Returns the window of steps to compare, and the current step by the server's clock.
    pub fn window(&self, context: &Context) -> (Window, i64) {
        let window = Window { width: settings::window_steps(), drift: self.factor.drift };
        (window, context.now.step(i64::from(self.factor.parameters.period)))
    }
}

/// The factors that could be decrypted, and why another could not.
struct Decrypted {
    factors: Vec<DecryptedFactor>,
    failure: Option<Unreadable>,
}

impl Decrypted {
    /// Decrypts factors. One that cannot be decrypted must not lock out the others, but if none can,
    /// that is an error.
    fn of(keyring: &Keyring, account: &Account, factors: Vec<Factor>) -> Result<Self, Error> {
        let mut decrypted = Self { factors: Vec::new(), failure: None };
        for factor in factors {
            match DecryptedFactor::decrypt(keyring, account, factor) {
                Ok(factor) => decrypted.factors.push(factor),
                Err(reason) => decrypted.failure = Some(reason),
            }
        }
        match decrypted.failure {
            Some(reason) if decrypted.factors.is_empty() => Err(reason.into()),
            _ => Ok(decrypted),
        }
    }

    /// Handles a code that matched nothing. It may be right for a factor that could not be decrypted,
    /// which must not look like a wrong code. Shared memory has counted the attempt, and an error does
    /// not undo that. Without shared memory, the failure is counted instead of raising the error.
    fn no_match(self, attempt: Attempt) -> Result<Verdict, Error> {
        match self.failure {
            Some(reason) if guard::is_on() => {
                attempt.count_for_client();
                Err(reason.into())
            }
            _ => attempt.fail(Outcome::Invalid),
        }
    }
}

fn verify_totp<'a>(
    context: &Context,
    account: &Account,
    (code, backup): (&TotpCode, Option<&BackupCode>),
    factors: Vec<Factor>,
    begin: impl FnOnce(&str) -> Result<Attempt<'a>, Verdict>,
) -> Result<Verdict, Error> {
    let decrypted = Decrypted::of(&context.keyring, account, factors)?;
    let attempt = match begin(code.expose()) {
        Ok(attempt) => attempt,
        Err(verdict) => return Ok(verdict),
    };
    // Every step of every factor is compared, so that timing does not reveal which one matched.
    let mut matched: Option<(&DecryptedFactor, i64)> = None;
    for candidate in &decrypted.factors {
        let (window, now) = candidate.window(context);
        if let Some(step) = candidate.otp.find(code, window.steps(now)) {
            let is_fresh = step > candidate.factor.last_step;
            // A step that is already spent counts only if no factor has one that is not.
            matched = matched.filter(|_| !is_fresh).or(Some((candidate, step)));
        }
    }
    let Some((DecryptedFactor { factor, secret, .. }, step)) = matched else {
        return match backup {
            Some(backup) => verify_imported_code(context, account, backup, decrypted, attempt),
            None => decrypted.no_match(attempt),
        };
    };
    let ahead = settings::window_steps() + factor.drift.max(0);
    if let Err(refusal) = attempt.spend_in_memory(factor, secret.expose(), step, ahead) {
        return attempt.reject(refusal);
    }
    attempt.lock_account()?;
    let method = Method::Totp { label: factor.label.to_string() };
    let spent = SpentStep { step, drift: drift_after(factor, step, context), at: context.now };
    if !store::factor::spend(account, factor, spent)? {
        return attempt.reject(Refusal::Raced);
    }
    attempt.record_success(&method, Map::new())?;
    attempt.succeed(method)
}

/// Verifies a text that matches no factor, but can be a backup code that another system issued.
fn verify_imported_code(
    context: &Context,
    account: &Account,
    code: &BackupCode,
    decrypted: Decrypted,
    attempt: Attempt,
) -> Result<Verdict, Error> {
    match BackupCodes::load(context, account) {
        Ok(codes) => match codes.find(code) {
            Some((set, position)) => {
                spend_backup_code(context, account, set, position, attempt.with_backup_code())
            }
            None => decrypted.no_match(attempt),
        },
        // Without shared memory, an error would undo the failure: see `no_match`.
        Err(Error::UnreadableBackupCodes | Error::Unreadable(_)) if !guard::is_on() => {
            attempt.fail(Outcome::Invalid)
        }
        Err(error) => {
            attempt.count_for_client();
            Err(error)
        }
    }
}

/// Returns the drift of a factor's authenticator app after a login with a step.
fn drift_after(factor: &Factor, step: i64, context: &Context) -> i64 {
    let window = Window { width: settings::window_steps(), drift: factor.drift };
    let offset = step - context.now.step(i64::from(factor.parameters.period));
    window.follow(offset, settings::resync_steps())
}

/// Verifies a backup code. `otherwise` is why a text is refused that can only be a code of another
/// system, if the account has none: it is not counted.
fn verify_backup_code<'a>(
    context: &Context,
    account: &Account,
    (code, event): (&BackupCode, Event),
    otherwise: Reason,
    begin: impl FnOnce(&str) -> Result<Attempt<'a>, Verdict>,
) -> Result<Verdict, Error> {
    let codes = BackupCodes::load(context, account)?;
    if !code.is_own() && !codes.are_imported() {
        if otherwise == Reason::Suspended {
            guard::count(metric::Method::Totp, metric::Result::Suspended);
        }
        return Ok(Verdict::refused(otherwise, None));
    }
    let attempt = match begin(code.expose()) {
        Ok(attempt) => attempt.with_backup_code(),
        Err(verdict) => return Ok(verdict),
    };
    match codes.find(code) {
        Some((set, position)) => spend_backup_code(context, account, set, position, attempt),
        None => {
            let pass = pass::load(context, account, code, event)?;
            pass::verify(context, account, code, pass.as_ref(), attempt)
        }
    }
}

/// Spends a backup code, given its position in the set.
fn spend_backup_code(
    context: &Context,
    account: &Account,
    set: &StoredSet,
    position: usize,
    attempt: Attempt,
) -> Result<Verdict, Error> {
    if set.used_at.get(position).is_some_and(Option::is_some) {
        return attempt.fail(Outcome::Replayed);
    }
    attempt.matched();
    attempt.lock_account()?;
    let Some(left) = store::backup_code::spend(account, set, position, context.now)? else {
        return attempt.reject(Refusal::Raced);
    };
    attempt.record_success(&Method::Backup, field("backup_codes_left", left))?;
    if left <= LOW_BACKUP_CODES {
        let fields = field("backup_codes_left", left);
        context.record(account, Event::BackupLow, Outcome::Ok, fields.clone())?;
        context.announce(account, Kind::BackupLow, fields)?;
    }
    let mut verdict = attempt.succeed(Method::Backup)?;
    verdict.backup_codes_left = Some(left);
    Ok(verdict)
}

/// The backup codes of an account, with their hashes.
struct BackupCodes {
    stored: Option<StoredSet>,
    hashes: HashedSet,
}

impl BackupCodes {
    fn load(context: &Context, account: &Account) -> Result<Self, Error> {
        let stored = store::backup_code::load(account)?;
        let decrypt = |set: &StoredSet| decrypt_set(&context.keyring, account, set);
        let hashes = stored.as_ref().map(decrypt).transpose()?.unwrap_or_else(HashedSet::empty);
        Ok(Self { stored, hashes })
    }

    /// Returns whether another system issued the codes.
    fn are_imported(&self) -> bool {
        self.stored.as_ref().is_some_and(|set| set.is_imported)
    }

    /// Returns the set and the position of a code in it, if it is one of the set. Takes as long if
    /// there is no set.
    fn find(&self, code: &BackupCode) -> Option<(&StoredSet, usize)> {
        let salt = self.stored.as_ref().map_or([0; SALT_BYTES].as_slice(), |set| &set.salt);
        let position = self.hashes.find(code, salt);
        self.stored.as_ref().zip(position)
    }
}

/// Decrypts the hashes of an account's backup codes.
fn decrypt_set(keyring: &Keyring, account: &Account, set: &StoredSet) -> Result<HashedSet, Error> {
    let associated_data = AssociatedData::backup_codes(account, &set.salt);
    let unreadable = |reason| match reason {
        Unreadable::Damaged => Error::UnreadableBackupCodes,
        Unreadable::UnknownKey(_) => Error::Unreadable(reason),
    };
    let hashes = keyring.decrypt(&associated_data, &set.ciphertext).map_err(unreadable)?.value;
    HashedSet::from_bytes(hashes).ok_or(Error::UnreadableBackupCodes)
}
