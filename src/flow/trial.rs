//! One reserved attempt, from the reservation to its hit or miss.

use super::call::{Call, field};
use super::session;
use crate::error::Error;
use crate::guard::{self, Admission, Subject};
use crate::pure::audit::{Event, Outcome};
use crate::pure::lock::Standing;
use crate::pure::moment::Moment;
use crate::pure::name::Account;
use crate::pure::verdict::{Method, Reason, Verdict};
use crate::store::audit_event::Signed;
use crate::store::factor::Factor;
use crate::{server, settings, store};
use serde_json::{Map, Value};

/// Why a right code cannot be spent.
pub enum Refusal {
    /// For a reason that committed rows show.
    Known(Outcome),
    /// Another transaction has spent it or is about to: so says memory, or the row itself.
    Raced,
}

/// An attempt that may be made: it already counts as a failure in memory.
pub struct Trial<'a> {
    call: &'a Call,
    account: &'a Account,
    subject: &'a Subject<'a>,
    event: Event,
    /// The account's lock in the table, before the attempt.
    before: Standing,
    /// Where the account stands if it fails.
    after: Standing,
    rolled_back: u32,
}

impl<'a> Trial<'a> {
    /// Reserves an attempt, or says why there is none.
    pub fn begin(
        call: &'a Call,
        account: &'a Account,
        subject: &'a Subject<'a>,
        event: Event,
        before: Standing,
    ) -> Result<Self, Verdict> {
        match subject.admit(&before, &settings::lock_policy(), call.now) {
            Admission::Reserved { after, rolled_back } => {
                Ok(Self { call, account, subject, event, before, after, rolled_back })
            }
            Admission::Refused { until } => Err(locked(until, call.now)),
        }
    }

    /// The code was wrong, or was spent: counts the failure.
    pub fn miss(self, outcome: Outcome) -> Result<Verdict, Error> {
        let fields = match self.rolled_back {
            0 => Map::new(),
            count => field("rolled_back", count),
        };
        let audit = self.call.entry(self.account, self.event, outcome, fields);
        store::account::fail(self.account, &self.after, audit)?;
        self.subject.note_written(&self.after, self.rolled_back);
        Ok(self.missed())
    }

    /// The code cannot be spent: counts the failure. After a race the count stays in memory, where
    /// there is one, and the account's row is left to the transaction that spends the code: a write
    /// here would be a serialization failure for it, or a deadlock.
    pub fn refuse(self, refusal: Refusal) -> Result<Verdict, Error> {
        self.subject.mismatched();
        match refusal {
            Refusal::Known(outcome) => self.miss(outcome),
            Refusal::Raced if guard::is_on() => {
                self.call.record(self.account, self.event, Outcome::Replayed, Map::new())?;
                Ok(self.missed())
            }
            Refusal::Raced => self.miss(Outcome::Replayed),
        }
    }

    fn missed(&self) -> Verdict {
        let now = self.call.now;
        let retry_after = self.after.locked(now).map(|until| until.micros_since(now));
        Verdict::refused(Reason::Invalid, retry_after)
    }

    /// Spends a step in memory, or says why it cannot be spent.
    pub fn spend_in_memory(
        &self,
        factor: &Factor,
        secret: &[u8],
        step: i64,
    ) -> Result<(), Refusal> {
        if step <= factor.last_step {
            return Err(Refusal::Known(Outcome::Replayed));
        }
        let period = i64::from(factor.parameters.period);
        if is_cold(factor.created_at, step, period, self.call.now) {
            return Err(Refusal::Known(Outcome::ColdStart));
        }
        // No window reaches the step any more then.
        let reach = settings::resync_steps() + settings::window_steps() + 1;
        let expires = Moment::from_micros(0).plus_secs((step + reach).saturating_mul(period));
        if self.subject.spend(secret, step, expires, self.call.now) {
            self.matched();
            Ok(())
        } else {
            Err(Refusal::Raced)
        }
    }

    /// The code is right. Should writing that fail, it was no wrong guess.
    pub fn matched(&self) {
        self.subject.matched(&self.after);
    }

    /// Takes the account's row, when the success will have something to clear there: a call that
    /// takes it does so before rows of factors and codes.
    pub fn lock_account(&self) -> Result<(), Error> {
        if !self.before.is_clean() {
            store::account::lock(self.account)?;
        }
        Ok(())
    }

    /// The audit entry of a success, to be written with the row that it spends.
    pub fn success(&self, method: &Method, mut fields: Map<String, Value>) -> Option<Signed> {
        fields.insert("method".to_owned(), method.word().into());
        if let Method::Totp { label } = method {
            fields.insert("label".to_owned(), label.as_str().into());
        }
        self.call.entry(self.account, self.event, Outcome::Ok, fields)
    }

    /// The code was right and its row is spent: clears failures, and the session is verified.
    pub fn hit(self, method: Method) -> Result<Verdict, Error> {
        if !self.before.is_clean() {
            store::account::clear(self.account)?;
        }
        session::prove(self.account, &method, self.call.now)?;
        self.subject.accept();
        if settings::force_sync_commit() {
            server::force_sync_commit();
        }
        Ok(Verdict::ok(method))
    }
}

/// The verdict on a locked account.
pub fn locked(until: Moment, now: Moment) -> Verdict {
    Verdict::refused(Reason::Locked, Some(until.micros_since(now)))
}

/// Whether a step is so old that it may have been spent before memory began. A secret that is
/// younger cannot have been.
fn is_cold(created_at: Moment, step: i64, period: i64, now: Moment) -> bool {
    settings::cold_start()
        && guard::started_at().is_some_and(|start| {
            // A clock that a test has set before the start has nothing to do with it.
            let is_test = settings::clock().is_some() && now < start;
            !is_test && created_at <= start && step <= start.step(period)
        })
}
