//! One reserved attempt, from the reservation to its hit or miss.

use super::call::{Call, detail};
use crate::error::Error;
use crate::guard::{self, Admission};
use crate::pure::audit::{Event, Outcome};
use crate::pure::lock::Standing;
use crate::pure::moment::Moment;
use crate::pure::name::Account;
use crate::pure::verdict::{Method, Reason, Verdict};
use crate::store::factor::Factor;
use crate::{server, settings, store};
use serde_json::{Map, Value};

/// An attempt that may be made: it already counts as a failure in memory.
pub struct Trial<'a> {
    call: &'a Call,
    account: &'a Account,
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
        event: Event,
        before: Standing,
    ) -> Result<Self, Verdict> {
        match guard::admit(account, &before, &settings::lock_policy(), call.now) {
            Admission::Reserved { after, rolled_back } => {
                Ok(Self { call, account, event, before, after, rolled_back })
            }
            Admission::Refused { until } => Err(locked(until, call.now)),
        }
    }

    /// The code was wrong, or was spent: counts the failure.
    pub fn miss(self, outcome: Outcome) -> Result<Verdict, Error> {
        store::account::fail(self.account, &self.after)?;
        guard::note_written(self.account, &self.after, self.rolled_back);
        let detail = match self.rolled_back {
            0 => Map::new(),
            count => detail("rolled_back", count),
        };
        self.call.record(self.account, self.event, outcome, detail)?;
        let retry_after =
            self.after.locked(self.call.now).map(|until| until.micros_since(self.call.now));
        Ok(Verdict::refused(Reason::Invalid, retry_after))
    }

    /// Whether a step may be spent, and spends it in memory: why not, otherwise.
    pub fn spend_in_memory(
        &self,
        factor: &Factor,
        secret: &[u8],
        step: i64,
    ) -> Result<(), Outcome> {
        if step <= factor.last_step {
            return Err(Outcome::Replayed);
        }
        let period = i64::from(factor.parameters.period);
        if is_cold(factor.created_at, step, period, self.call.now) {
            return Err(Outcome::ColdStart);
        }
        // No window reaches the step any more then.
        let reach = settings::resync_window() + settings::window() + 1;
        let expires = Moment::from_micros(0).plus_secs((step + reach).saturating_mul(period));
        if guard::spend(self.account, secret, step, expires, self.call.now) {
            Ok(())
        } else {
            Err(Outcome::Replayed)
        }
    }

    /// Takes the account's row, when the success will have something to clear there: everybody takes
    /// it before rows of factors and codes.
    pub fn lock_account(&self) -> Result<(), Error> {
        if !self.before.is_clean() {
            store::account::lock(self.account)?;
        }
        Ok(())
    }

    /// The code was right and its row is spent: clears failures.
    pub fn hit(self, method: Method, mut detail: Map<String, Value>) -> Result<Verdict, Error> {
        if !self.before.is_clean() {
            store::account::clear(self.account)?;
        }
        guard::forgive(self.account);
        if settings::force_sync_commit() {
            server::force_sync_commit();
        }
        let (word, label) = match &method {
            Method::Totp { label } => ("totp", Some(label.clone())),
            Method::Backup => ("backup", None),
        };
        detail.insert("method".to_owned(), word.into());
        if let Some(label) = label {
            detail.insert("label".to_owned(), label.into());
        }
        self.call.record(self.account, self.event, Outcome::Ok, detail)?;
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
            // Only a clock set for a test runs before the start.
            start <= now && created_at <= start && step <= start.step(period)
        })
}
