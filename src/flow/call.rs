//! What one call works with from its begin to its end.

use crate::error::Error;
use crate::pure::audit::{Event, Outcome, Record};
use crate::pure::keyring::Keyring;
use crate::pure::moment::Moment;
use crate::pure::name::Account;
use crate::settings::{self, Audit};
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
        Ok(Self { now: clock::now()?, keyring: keys::keyring()? })
    }

    /// Writes to the audit trail what was tried and how it ended, as far as `totp.audit` wants it.
    pub fn record(
        &self,
        account: &Account,
        event: Event,
        outcome: Outcome,
        mut detail: Map<String, Value>,
    ) -> Result<(), Error> {
        let wanted = match settings::audit() {
            Audit::All => true,
            Audit::Changes => event != Event::Verify,
            Audit::Off => false,
        };
        if !wanted {
            return Ok(());
        }
        let actor = server::session_user();
        let role = server::calling_role();
        if role != actor {
            detail.insert("role".to_owned(), role.into());
        }
        let record = Record { at: self.now, account, event, outcome, actor: &actor, detail };
        store::audit_event::append(&record, &self.keyring)
    }
}

/// The detail of an audit event with one entry.
pub fn detail(name: &str, value: impl Into<Value>) -> Map<String, Value> {
    Map::from_iter([(name.to_owned(), value.into())])
}
