//! What one call works with from its begin to its end.

use crate::error::Error;
use crate::pure::audit::{self, Entry, Event, Outcome};
use crate::pure::keyring::Keyring;
use crate::pure::moment::Moment;
use crate::pure::name::Account;
use crate::settings::{self, Audit};
use crate::store::audit_event::Signed;
use crate::{clock, keys, server, store};
use serde_json::{Map, Value};
use std::rc::Rc;

/// A call that writes: its one sample of time, and its keys.
pub struct Call {
    /// The time of the call.
    pub now: Moment,
    /// The keys.
    pub keyring: Rc<Keyring>,
}

impl Call {
    /// Begins a call that writes. Fails before anything is counted.
    pub fn begin() -> Result<Self, Error> {
        server::require_writable()?;
        Self::at(clock::now()?)
    }

    /// Goes on with a call that has read the clock already.
    pub fn at(now: Moment) -> Result<Self, Error> {
        Ok(Self { now, keyring: keys::keyring()? })
    }

    /// Writes to the audit trail what was tried and how it ended, as far as `totp.audit` wants it.
    pub fn record(
        &self,
        account: &Account,
        event: Event,
        outcome: Outcome,
        fields: Map<String, Value>,
    ) -> Result<(), Error> {
        match self.entry(account, event, outcome, fields) {
            Some(entry) => store::audit_event::append(&entry),
            None => Ok(()),
        }
    }

    /// Writes to the audit trail what was done to the keys, which concerns no account.
    pub fn record_keys(&self, event: Event, fields: Map<String, Value>) -> Result<(), Error> {
        match self.signed(String::new(), event, Outcome::Ok, fields) {
            Some(entry) => store::audit_event::append(&entry),
            None => Ok(()),
        }
    }

    /// The entry for the audit trail; `None` when `totp.audit` does not want it.
    pub fn entry(
        &self,
        account: &Account,
        event: Event,
        outcome: Outcome,
        fields: Map<String, Value>,
    ) -> Option<Signed> {
        self.signed(settings::audited_name(account), event, outcome, fields)
    }

    fn signed(
        &self,
        account: String,
        event: Event,
        outcome: Outcome,
        mut fields: Map<String, Value>,
    ) -> Option<Signed> {
        let wanted = match settings::audit() {
            Audit::All => true,
            Audit::Changes => !matches!(event, Event::Verify | Event::Challenge),
            Audit::Off => false,
        };
        if !wanted {
            return None;
        }
        let actor = server::session_user();
        if let Some(role) = server::other_role() {
            fields.insert("role".to_owned(), role.into());
        }
        let detail = audit::detail(fields);
        let entry = Entry { at: self.now, account, event, outcome, actor, detail };
        let mac = entry.mac(self.keyring.audit_key());
        Some(Signed { entry, mac })
    }
}

/// The fields of an audit event's detail, when there is one.
pub fn field(name: &str, value: impl Into<Value>) -> Map<String, Value> {
    Map::from_iter([(name.to_owned(), value.into())])
}
