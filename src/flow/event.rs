//! Events for the application.

use super::context::{Context, begin_reading};
use super::sweep::Sweep;
use crate::error::Error;
use crate::pure::audit::{Outcome, detail};
use crate::pure::event::{Kind, is_unusual};
use crate::pure::lock::LockState;
use crate::pure::name::Account;
use crate::store::event::Event;
use crate::{server, settings, store};
use serde_json::{Map, Value};

thread_local! {
    static SWEEP: Sweep = const { Sweep::new() };
}

impl Context {
    /// Appends an event, if `totp.events` is on.
    pub fn announce(
        &self,
        account: &Account,
        kind: Kind,
        fields: Map<String, Value>,
    ) -> Result<(), Error> {
        if !settings::events() {
            return Ok(());
        }
        let detail = detail(fields);
        store::event::append(self.now, account, kind, detail.as_deref(), settings::notify())?;
        self.sweep_events()
    }

    /// Appends events of one kind, if `totp.events` is on.
    pub fn announce_all(
        &self,
        kind: Kind,
        events: Vec<(&Account, Map<String, Value>)>,
    ) -> Result<(), Error> {
        if !settings::events() || events.is_empty() {
            return Ok(());
        }
        let (accounts, details): (Vec<String>, Vec<Option<String>>) = events
            .into_iter()
            .map(|(account, fields)| (account.to_string(), detail(fields)))
            .unzip();
        store::event::append_all(self.now, accounts, kind, details, settings::notify())?;
        self.sweep_events()
    }

    fn sweep_events(&self) -> Result<(), Error> {
        let expired = self.now.plus_secs(-settings::events_ttl());
        SWEEP.with(|sweep| sweep.run(self.now, || store::event::sweep(expired)))
    }

    /// Appends the events of a failure, if it is more than a plain one.
    pub fn announce_failure(
        &self,
        account: &Account,
        outcome: Outcome,
        lock: Map<String, Value>,
        after: &LockState,
    ) -> Result<(), Error> {
        if !settings::events() {
            return Ok(());
        }
        let failures = || Map::from_iter([("failures".to_owned(), Value::from(after.failures))]);
        if outcome == Outcome::Replayed {
            self.announce(account, Kind::Replayed, Map::new())?;
        }
        if let Some(seconds) = lock.get("locked_seconds") {
            let mut fields = failures();
            fields.insert("locked_seconds".to_owned(), seconds.clone());
            self.announce(account, Kind::Locked, fields)?;
        }
        if lock.contains_key("suspended") {
            self.announce(account, Kind::Suspended, failures())?;
        }
        if is_unusual(after.failures, settings::lock_policy().max_failures) {
            self.announce(account, Kind::ManyFailures, failures())?;
        }
        Ok(())
    }
}

/// Returns events after a position, in the order of their positions. Where nothing can be
/// written, only those that another call has returned before.
pub fn read(after: i64, max_rows: i32) -> Result<Vec<Event>, Error> {
    begin_reading()?;
    if server::require_writable().is_ok() {
        // Appending goes on; another reader waits. With a lock on the table, readers that follow each
        // other would keep autovacuum from it, and each would scan the dead entries of an index.
        server::lock_relation(c"events_position_seq");
        store::event::number()?;
    }
    store::event::read(after, max_rows)
}
