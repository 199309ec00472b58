//! What goes into the audit trail, and what `totp.audit` leaves out.

use super::context::Context;
use crate::error::Error;
use crate::pure::audit::{self, Entry, Event, Outcome};
use crate::pure::name::Account;
use crate::settings::{self, Audit};
use crate::store::audit::SignedEntry;
use crate::{server, store};
use serde_json::{Map, Value};

impl Context {
    /// Writes an event and its outcome to the audit trail, unless `totp.audit` excludes it.
    pub fn record(
        &self,
        account: &Account,
        event: Event,
        outcome: Outcome,
        fields: Map<String, Value>,
    ) -> Result<(), Error> {
        match self.entry(account, event, outcome, fields) {
            Some(entry) => store::audit::append(&entry),
            None => Ok(()),
        }
    }

    /// Writes a change of the keys to the audit trail. It concerns no account.
    pub fn record_keys(&self, event: Event, fields: Map<String, Value>) -> Result<(), Error> {
        match self.signed(String::new(), event, Outcome::Ok, fields) {
            Some(entry) => store::audit::append(&entry),
            None => Ok(()),
        }
    }

    /// Returns a signed entry for the audit trail, or `None` if `totp.audit` excludes it.
    pub fn entry(
        &self,
        account: &Account,
        event: Event,
        outcome: Outcome,
        fields: Map<String, Value>,
    ) -> Option<SignedEntry> {
        self.signed(settings::audited_name(account), event, outcome, fields)
    }

    fn signed(
        &self,
        account: String,
        event: Event,
        outcome: Outcome,
        mut fields: Map<String, Value>,
    ) -> Option<SignedEntry> {
        let wanted = match settings::audit() {
            Audit::All => true,
            Audit::Changes => !matches!(event, Event::Verify | Event::Challenge),
            Audit::Off => false,
        };
        if !wanted {
            return None;
        }
        let actor = server::session_user();
        if let Some(role) = server::effective_role() {
            fields.insert("role".to_owned(), role.into());
        }
        let detail = audit::detail(fields);
        let entry = Entry { at: self.now, account, event, outcome, actor, detail };
        let mac = entry.mac(self.keyring.audit_key());
        Some(SignedEntry { entry, mac })
    }
}

/// Returns an audit event's detail with a single field.
pub fn field(name: &str, value: impl Into<Value>) -> Map<String, Value> {
    Map::from_iter([(name.to_owned(), value.into())])
}
