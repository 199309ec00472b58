//! A single attempt, from its reservation to its success or failure.

use super::context::Context;
use super::session;
use super::waiting_recovery::cancel_by_code;
use crate::error::Error;
use crate::guard::{self, AccountGuard, Admission, ClientGuard, Spend};
use crate::pure::audit::{Event, Outcome};
use crate::pure::lock::LockState;
use crate::pure::metric;
use crate::pure::name::Account;
use crate::pure::timestamp::Timestamp;
use crate::pure::verdict::{Method, Reason, Verdict};
use crate::store::factor::Factor;
use crate::{server, settings, store};
use serde_json::{Map, Value};

/// Why a right code cannot be spent.
pub enum Refusal {
    /// For a reason that is known: its step is already spent, or older than shared memory.
    Known(Outcome),
    /// Another transaction has spent it or is about to, according to shared memory or the row
    /// itself.
    Raced,
    /// Shared memory has no room to record it.
    Full {
        /// When to try again.
        until: Timestamp,
    },
}

/// A reserved attempt, which already counts as a failure in shared memory.
pub struct Attempt<'a> {
    context: &'a Context,
    account: &'a Account,
    account_guard: &'a AccountGuard,
    event: Event,
    /// The kind of the code.
    kind: metric::Method,
    /// The account's lock state in the table before the attempt.
    before: LockState,
    /// Whether a success may have to cancel a recovery.
    has_recovery: bool,
    /// The account's lock state if the attempt fails.
    after: LockState,
}

impl<'a> Attempt<'a> {
    /// Reserves an attempt, or returns the verdict that refuses it.
    pub fn begin(
        context: &'a Context,
        account: &'a Account,
        account_guard: &'a AccountGuard,
        event: Event,
        code: &str,
        before: LockState,
    ) -> Result<Self, Verdict> {
        if let Some(until) = client_limit(context.now) {
            return Err(locked(until, context.now));
        }
        match account_guard.reserve(code, &before, &settings::lock_policy(), context.now) {
            Admission::Reserved { after } => {
                let kind = metric::Method::of(event, code);
                let has_recovery = false;
                Ok(Self {
                    context,
                    account,
                    account_guard,
                    event,
                    kind,
                    before,
                    has_recovery,
                    after,
                })
            }
            Admission::Locked { until } | Admission::Full { until } => {
                Err(locked(until, context.now))
            }
        }
    }

    /// Counts the attempt as one with a backup code: those of other systems can have any length.
    pub fn with_backup_code(self) -> Self {
        Self { kind: metric::Method::Backup, ..self }
    }

    /// Has a success cancel the recovery that waits, if there is one.
    pub fn with_recovery(self, recovery_at: Option<Timestamp>) -> Self {
        Self { has_recovery: recovery_at.is_some(), ..self }
    }

    /// Counts a failure: the code was wrong or already spent.
    pub fn fail(self, outcome: Outcome) -> Result<Verdict, Error> {
        guard::count(self.kind, outcome.into());
        count_client_failure(self.context.now);
        let after = self.account_guard.fail(self.after, &settings::lock_policy(), self.context.now);
        let fields = self.lock_fields(&after);
        store::account::record_failure(self.account, &after)?;
        self.context.record(self.account, self.event, outcome, fields.clone())?;
        self.context.announce_failure(self.account, outcome, fields, &after)?;
        self.account_guard.record_written(&after);
        Ok(self.failed(&after))
    }

    /// Counts a failure because the code cannot be spent. After a race, the count stays in shared
    /// memory if there is any, and the account's row is left to the transaction that spends the
    /// code: a write here would cause it a serialization failure or a deadlock.
    pub fn reject(self, refusal: Refusal) -> Result<Verdict, Error> {
        self.account_guard.mismatched(&settings::lock_policy(), self.context.now);
        match refusal {
            Refusal::Known(outcome) => self.fail(outcome),
            Refusal::Raced if guard::is_on() => {
                let after =
                    self.account_guard.fail(self.after, &settings::lock_policy(), self.context.now);
                let fields = self.lock_fields(&after);
                let outcome = Outcome::Replayed;
                guard::count(self.kind, outcome.into());
                count_client_failure(self.context.now);
                self.context.record(self.account, self.event, outcome, fields.clone())?;
                self.context.announce_failure(self.account, outcome, fields, &after)?;
                Ok(self.failed(&after))
            }
            Refusal::Raced => self.fail(Outcome::Replayed),
            Refusal::Full { until } => {
                self.account_guard.withdraw(&self.after);
                Ok(locked(until, self.context.now))
            }
        }
    }

    /// Counts the guess of an attempt that ends with an error: against the account, shared memory has
    /// counted it.
    pub fn count_for_client(&self) {
        count_client_failure(self.context.now);
    }

    /// Returns what a failure does to the account, for its audit entry.
    fn lock_fields(&self, after: &LockState) -> Map<String, Value> {
        let mut fields = Map::new();
        if let Some(until) = after.locked(self.context.now) {
            let micros = until.micros_since(self.context.now);
            fields.insert(
                "locked_seconds".to_owned(),
                (micros.saturating_add(999_999) / 1_000_000).into(),
            );
        }
        if after.suspended && !self.before.suspended {
            fields.insert("suspended".to_owned(), true.into());
        }
        fields
    }

    fn failed(&self, after: &LockState) -> Verdict {
        let now = self.context.now;
        let retry_after = after.locked(now).map(|until| until.micros_since(now));
        Verdict::refused(Reason::Invalid, retry_after)
    }

    /// Spends a step in shared memory, or returns why it cannot be spent. Codes are accepted up to
    /// `ahead` steps before their time.
    pub fn spend_in_memory(
        &self,
        factor: &Factor,
        secret: &[u8],
        step: i64,
        ahead: i64,
    ) -> Result<(), Refusal> {
        if step <= factor.last_step {
            return Err(Refusal::Known(Outcome::Replayed));
        }
        let period = i64::from(factor.parameters.period);
        if is_cold(factor.created_at, step - ahead, period, self.context.now) {
            return Err(Refusal::Known(Outcome::ColdStart));
        }
        // By then, no window reaches the step.
        let drift = settings::resync_steps().max(factor.drift.abs());
        let reach = drift + settings::window_steps() + 1;
        let expires = Timestamp::from_micros(0).plus_secs((step + reach).saturating_mul(period));
        let is_pending = matches!(self.event, Event::Confirm | Event::Assign);
        let now = self.context.now;
        match self.account_guard.spend(secret, step, expires, is_pending, now) {
            Spend::Done { .. } => {
                self.matched();
                Ok(())
            }
            Spend::Spent => Err(Refusal::Raced),
            Spend::Full { until } => Err(Refusal::Full { until }),
        }
    }

    /// Records that the code is right: an error while spending it is not a wrong guess.
    pub fn matched(&self) {
        self.account_guard.matched(&self.after);
    }

    /// Locks the account's row if a success will have something to clear there. Calls that lock it
    /// do so before they lock rows of factors and codes.
    pub fn lock_account(&self) -> Result<(), Error> {
        if !self.before.is_clean() || self.has_recovery {
            store::account::lock(self.account)?;
        }
        Ok(())
    }

    /// Returns whether another transaction has begun a recovery since the account was read: the code
    /// was spent after that. Locks the account's row in that case, but does not wait for it, since the
    /// row of the code is locked already.
    fn has_recovery_begun(&self) -> Result<bool, Error> {
        if !guard::may_have_recovered() || store::account::recovery_at(self.account)?.is_none() {
            return Ok(false);
        }
        if store::account::try_lock(self.account)? { Ok(true) } else { Err(Error::Busy) }
    }

    /// Writes the audit entry of a success, after the code's row is spent.
    pub fn record_success(
        &self,
        method: &Method,
        mut fields: Map<String, Value>,
    ) -> Result<(), Error> {
        fields.insert("method".to_owned(), method.as_str().into());
        if let Method::Totp { label } = method {
            fields.insert("label".to_owned(), label.as_str().into());
        }
        self.context.record(self.account, self.event, Outcome::Ok, fields)
    }

    /// Ends a recorded success: clears failures and marks the session verified.
    pub fn succeed(self, method: Method) -> Result<Verdict, Error> {
        let kind = match method {
            Method::Pass => metric::Method::Pass,
            _ => self.kind,
        };
        guard::count(kind, metric::Result::Ok);
        if !self.before.is_clean() {
            store::account::clear(self.account)?;
        }
        if self.has_recovery || self.has_recovery_begun()? {
            cancel_by_code(self.context, self.account, method.as_str())?;
        }
        // The code for one action is no code for the session.
        if self.event != Event::Approve {
            session::mark_verified(self.account, &method, self.context.now)?;
        }
        self.account_guard.accept();
        if settings::force_sync_commit() {
            server::force_sync_commit();
        }
        Ok(Verdict::ok(method))
    }
}

/// Returns until when the client of this session must wait, because it has caused too many failures,
/// of whatever accounts.
pub fn client_limit(now: Timestamp) -> Option<Timestamp> {
    let limit = settings::max_client_failures().unsigned_abs();
    if limit == 0 {
        return None;
    }
    ClientGuard::of(&client()?).exceeded_until(limit, now)
}

/// Counts a failure of the client of this session.
pub fn count_client_failure(now: Timestamp) {
    if settings::max_client_failures() > 0
        && let Some(client) = client()
    {
        ClientGuard::of(&client).count(now);
    }
}

/// Returns the client of this session; `None` if the application did not set it and the connection
/// has no address.
fn client() -> Option<String> {
    settings::client().or_else(server::client_address)
}

/// Returns the verdict on a locked account.
pub fn locked(until: Timestamp, now: Timestamp) -> Verdict {
    guard::count(metric::Method::None, metric::Result::Locked);
    Verdict::refused(Reason::Locked, Some(until.micros_since(now)))
}

/// Returns whether a step is so old that it may have been spent before shared memory began to
/// record. A step of a secret created since then cannot have been.
fn is_cold(created_at: Timestamp, step: i64, period: i64, now: Timestamp) -> bool {
    settings::cold_start()
        && guard::started_at().is_some_and(|start| {
            // A test may set its clock to before the server's start; such steps are not cold.
            let is_test = settings::clock().is_some() && now < start;
            !is_test && created_at <= start && step <= start.step(period)
        })
}
