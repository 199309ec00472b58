//! One attempt to prove the second factor, by a TOTP or a backup code.

use super::call::{Call, field};
use super::trial::{Refusal, Trial, locked};
use crate::error::Error;
use crate::guard::{self, Subject};
use crate::pure::audit::{Event, Outcome};
use crate::pure::backup_code::{BackupCode, SALT_BYTES};
use crate::pure::code::{Code, TotpCode};
use crate::pure::keyring::{Keyring, Place, Unreadable};
use crate::pure::lock::Standing;
use crate::pure::moment::Moment;
use crate::pure::name::Account;
use crate::pure::otp::{Otp, Parameters, Window};
use crate::pure::secret::Secret;
use crate::pure::verdict::{Method, Reason, Verdict};
use crate::store::backup_code::StoredCode;
use crate::store::factor::{Enrolment, Factor, Spent};
use crate::{clock, server, settings, store};
use serde_json::Map;
use zeroize::Zeroizing;

/// So many backup codes are few: somebody should tell the account's owner.
const FEW_CODES: i32 = 3;

/// Checks a code and spends it. `None` is a text that cannot be a code: refused, but not counted,
/// since it is no guess.
pub fn attempt(account: &Account, code: Option<&Code>, event: Event) -> Result<Verdict, Error> {
    server::require_writable()?;
    let now = clock::now()?;
    let subject = Subject::of(account);
    let memory = subject.standing();
    // An attacker who meets a lock costs neither a read nor a write.
    match memory.locked(now) {
        Some(until) => Ok(locked(until, now)),
        None => check(&Call::at(now)?, account, code, event, &subject, &memory),
    }
}

/// As `attempt`, as a part of what a call does.
pub fn attempt_within(
    call: &Call,
    account: &Account,
    code: Option<&Code>,
    event: Event,
) -> Result<Verdict, Error> {
    let subject = Subject::of(account);
    let memory = subject.standing();
    match memory.locked(call.now) {
        Some(until) => Ok(locked(until, call.now)),
        None => check(call, account, code, event, &subject, &memory),
    }
}

fn check(
    call: &Call,
    account: &Account,
    code: Option<&Code>,
    event: Event,
    subject: &Subject,
    memory: &Standing,
) -> Result<Verdict, Error> {
    let now = call.now;
    if !guard::is_on() {
        store::account::lock(account)?;
    }
    let enrolment = store::factor::load(account)?.filter(|enrolment| !enrolment.factors.is_empty());
    let Some(Enrolment { standing, factors }) = enrolment else {
        return not_enrolled(call, account, code, event);
    };
    if let Some(until) = standing.locked(now) {
        return Ok(locked(until, now));
    }
    let begin = || Trial::begin(call, account, subject, event, standing);
    match code {
        None => Ok(Verdict::refused(Reason::Invalid, None)),
        Some(Code::Totp(_)) if is_suspended(&standing, memory) => {
            Ok(Verdict::refused(Reason::Suspended, None))
        }
        Some(Code::Totp(code)) => by_totp(call, account, code, factors, begin),
        Some(Code::Backup(code)) => by_backup(call, account, code, begin),
    }
}

/// The verdict on a locked account, before its row is taken: it costs neither a write nor a wait.
pub fn refused_by_lock(account: &Account, now: Moment) -> Result<Option<Verdict>, Error> {
    let memory = Subject::of(account).standing();
    let committed = store::account::read(account)?.unwrap_or_default();
    Ok(memory.stricter(&committed).locked(now).map(|until| locked(until, now)))
}

/// An account that cannot be verified takes the path, and about the time, of one that can.
fn not_enrolled(
    call: &Call,
    account: &Account,
    code: Option<&Code>,
    event: Event,
) -> Result<Verdict, Error> {
    match code {
        None => return Ok(Verdict::refused(Reason::NotEnrolled, None)),
        Some(Code::Totp(code)) => {
            if let (Ok(secret), Ok(parameters)) = (
                Secret::from_bytes(call.keyring.open_decoy().value.to_vec()),
                Parameters::new("SHA1", 6, 30),
            ) {
                let window = Window { width: settings::window_steps(), drift: 0 };
                Otp::new(&secret, &parameters).find(code, window.steps(call.now.step(30)));
            }
        }
        Some(Code::Backup(code)) => {
            call.keyring.open_decoy();
            code.hash(&[0; SALT_BYTES]);
        }
    }
    let audit = call.entry(account, event, Outcome::NotEnrolled, Map::new());
    if server::is_read_committed() {
        // The look-up that found nothing took less time than one that finds a factor.
        store::account::read(account)?;
        // Any slot will do; the last digits of the time spread callers over them.
        store::account::fail_decoy(call.now.micros() as i32, audit)?;
    } else if let Some(entry) = audit {
        // Who met on a decoy would get serialization failures for nothing.
        store::audit_event::append(&entry)?;
    }
    Ok(Verdict::refused(Reason::NotEnrolled, None))
}

/// Whether TOTP is suspended, by the table or by failures that were rolled back.
pub fn is_suspended(committed: &Standing, memory: &Standing) -> bool {
    let failures = committed.failures.max(memory.failures);
    committed.suspended || failures >= settings::lock_policy().suspend_after
}

/// A factor whose secret is open.
pub struct Opened {
    /// Its row.
    pub factor: Factor,
    /// Its secret.
    pub secret: Secret,
    /// What computes its codes.
    pub otp: Otp,
}

impl Opened {
    /// Opens a factor's secret.
    pub fn open(keyring: &Keyring, account: &Account, factor: Factor) -> Result<Self, Unreadable> {
        let place = Place::factor(account, &factor.label, factor.created_at);
        let content = keyring.open(&place, &factor.sealed)?;
        let secret = Secret::from_bytes(content.value.to_vec()).map_err(|_| Unreadable::Damaged)?;
        let otp = Otp::new(&secret, &factor.parameters);
        Ok(Self { factor, secret, otp })
    }

    /// The steps that are compared, and the one that the clock shows.
    pub fn window(&self, call: &Call) -> (Window, i64) {
        let window = Window { width: settings::window_steps(), drift: self.factor.drift };
        (window, call.now.step(i64::from(self.factor.parameters.period)))
    }
}

/// What could be opened, and why something could not.
struct Readable<T> {
    good: Vec<T>,
    bad: Option<Unreadable>,
}

impl<T> Readable<T> {
    /// What cannot be opened must not lock out what can, but nothing at all to compare with is an
    /// error.
    fn of(opened: impl Iterator<Item = Result<T, Unreadable>>) -> Result<Self, Error> {
        let mut readable = Self { good: Vec::new(), bad: None };
        for result in opened {
            match result {
                Ok(value) => readable.good.push(value),
                Err(reason) => readable.bad = Some(reason),
            }
        }
        match readable.bad {
            Some(reason) if readable.good.is_empty() => Err(reason.into()),
            bad => Ok(Self { bad, ..readable }),
        }
    }

    /// The code matched nothing. It may be right for what could not be opened: that must not look
    /// like a wrong code. Memory has counted the attempt, which an error does not undo; without
    /// memory the count comes first.
    fn miss(self, trial: Trial) -> Result<Verdict, Error> {
        match self.bad {
            Some(reason) if guard::is_on() => Err(reason.into()),
            _ => trial.miss(Outcome::Invalid),
        }
    }
}

fn by_totp<'a>(
    call: &Call,
    account: &Account,
    code: &TotpCode,
    factors: Vec<Factor>,
    begin: impl FnOnce() -> Result<Trial<'a>, Verdict>,
) -> Result<Verdict, Error> {
    let open = |factor| Opened::open(&call.keyring, account, factor);
    let opened = Readable::of(factors.into_iter().map(open))?;
    let trial = match begin() {
        Ok(trial) => trial,
        Err(verdict) => return Ok(verdict),
    };
    // Every step of every factor is compared, so that time does not tell which one matched.
    let mut matched: Option<(&Opened, i64)> = None;
    for candidate in &opened.good {
        let (window, now) = candidate.window(call);
        if let Some(step) = candidate.otp.find(code, window.steps(now)) {
            let is_fresh = step > candidate.factor.last_step;
            matched = matched.filter(|_| !is_fresh).or(Some((candidate, step)));
        }
    }
    let Some((Opened { factor, secret, .. }, step)) = matched else {
        return opened.miss(trial);
    };
    if let Err(refusal) = trial.spend_in_memory(factor, secret.expose(), step) {
        return trial.refuse(refusal);
    }
    trial.lock_account()?;
    let method = Method::Totp { label: factor.label.to_string() };
    let spent = Spent { step, drift: drift_after(factor, step, call), at: call.now };
    if store::factor::spend(account, factor, spent, trial.success(&method, Map::new()))? {
        trial.hit(method)
    } else {
        trial.refuse(Refusal::Raced)
    }
}

/// The drift of a factor's app after a login with a step.
fn drift_after(factor: &Factor, step: i64, call: &Call) -> i64 {
    let window = Window { width: settings::window_steps(), drift: factor.drift };
    let offset = step - call.now.step(i64::from(factor.parameters.period));
    window.follow(offset, settings::resync_steps())
}

fn by_backup<'a>(
    call: &Call,
    account: &Account,
    code: &BackupCode,
    begin: impl FnOnce() -> Result<Trial<'a>, Verdict>,
) -> Result<Verdict, Error> {
    let open = |stored: StoredCode| -> Result<(StoredCode, Zeroizing<Vec<u8>>), Unreadable> {
        let place = Place::backup_code(account, stored.slot, &stored.salt);
        let hash = call.keyring.open(&place, &stored.sealed)?.value;
        Ok((stored, hash))
    };
    let opened = Readable::of(store::backup_code::load(account)?.into_iter().map(open))?;
    let trial = match begin() {
        Ok(trial) => trial,
        Err(verdict) => return Ok(verdict),
    };
    // The codes of a set share a salt: one derivation serves for all.
    let salt = opened.good.first().map_or(vec![0; SALT_BYTES], |(stored, _)| stored.salt.clone());
    let hash = code.hash(&salt);
    let mut matched = None;
    for (stored, expected) in &opened.good {
        if hash.matches(expected) {
            matched = Some(stored);
        }
    }
    let Some(stored) = matched else {
        return opened.miss(trial);
    };
    if stored.is_used {
        return trial.miss(Outcome::Replayed);
    }
    trial.matched();
    trial.lock_account()?;
    if !store::backup_code::spend(account, stored, call.now)? {
        return trial.refuse(Refusal::Raced);
    }
    let left = store::backup_code::count(account)?;
    if let Some(entry) = trial.success(&Method::Backup, field("backup_codes_left", left)) {
        store::audit_event::append(&entry)?;
    }
    if left <= FEW_CODES {
        let fields = field("backup_codes_left", left);
        call.record(account, Event::BackupLow, Outcome::Ok, fields)?;
    }
    trial.hit(Method::Backup)
}
