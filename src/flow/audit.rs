//! What goes into the audit trail, and what `totp.audit` leaves out.

use super::context::Context;
use crate::error::Error;
use crate::guard::AccountGuard;
use crate::pure::audit::{self, Entry, Event, Outcome};
use crate::pure::name::Account;
use crate::settings::{self, Audit, AuditAccounts};
use crate::store::audit::SignedEntry;
use crate::{server, store};
use serde_json::{Map, Value};
use std::cell::OnceCell;

/// Maximum number of audit events per minute for all accounts that do not exist or have no factor,
/// taken together.
const STRANGER_LIMIT: u32 = 60;
/// Maximum number of audit events per minute for one account, for calls that need no code.
const FREE_LIMIT: u32 = 20;

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

    /// Does the same as `record`, but for events that a caller can repeat without a code: writes a
    /// limited number per minute. The next event reports how many were left out.
    pub fn record_free(
        &self,
        account: &Account,
        event: Event,
        outcome: Outcome,
        fields: Map<String, Value>,
    ) -> Result<(), Error> {
        if is_wanted(event) && AccountGuard::of(account).may_record(FREE_LIMIT, self.now) {
            return self.record(account, event, outcome, fields);
        }
        Ok(())
    }

    /// Returns a signed entry for an attempt on an account without a factor, or `None` if `totp.audit`
    /// excludes it or it is above the limit of all such accounts together; and whether it is above.
    pub fn stranger_entry(&self, account: &Account, event: Event) -> (Option<SignedEntry>, bool) {
        if !is_wanted(event) {
            return (None, false);
        }
        let strangers = AccountGuard::of_strangers();
        let is_left_out = !strangers.may_record(STRANGER_LIMIT, self.now);
        let fields = if is_left_out { Map::new() } else { unreported(&strangers, Map::new()) };
        let name = self.audited_name(account);
        // Signed in any case, so that it takes as long.
        let entry = self.signed(name, event, Outcome::NotEnrolled, fields);
        (entry.filter(|_| !is_left_out), is_left_out)
    }

    /// Writes an event that concerns no account to the audit trail, such as a change of the keys.
    pub fn record_general(&self, event: Event, fields: Map<String, Value>) -> Result<(), Error> {
        match self.general_entry(event, fields) {
            Some(entry) => store::audit::append(&entry),
            None => Ok(()),
        }
    }

    /// Returns a signed entry for an event that concerns no account, or `None` if `totp.audit` excludes
    /// it.
    pub fn general_entry(&self, event: Event, fields: Map<String, Value>) -> Option<SignedEntry> {
        self.signed(String::new(), event, Outcome::Ok, fields)
    }

    /// Returns a signed entry for the audit trail, or `None` if `totp.audit` excludes it.
    pub fn entry(
        &self,
        account: &Account,
        event: Event,
        outcome: Outcome,
        fields: Map<String, Value>,
    ) -> Option<SignedEntry> {
        if !is_wanted(event) {
            return None;
        }
        let fields = unreported(&AccountGuard::of(account), fields);
        self.signed(self.audited_name(account), event, outcome, fields)
    }

    /// Returns an account's name in the form used in the audit trail.
    pub fn audited_name(&self, account: &str) -> String {
        let hash = || self.keyring.hashed_accounts(account).next();
        match settings::audit_accounts() {
            AuditAccounts::Name => account.to_owned(),
            AuditAccounts::Hash => hash().unwrap_or_default(),
        }
    }

    fn signed(
        &self,
        account: String,
        event: Event,
        outcome: Outcome,
        mut fields: Map<String, Value>,
    ) -> Option<SignedEntry> {
        if !is_wanted(event) {
            return None;
        }
        if let Some(role) = server::effective_role() {
            fields.insert("role".to_owned(), role.into());
        }
        let client = settings::client();
        if client.is_some()
            && let Some(address) = server::client_address()
        {
            fields.insert("address".to_owned(), address.into());
        }
        // The transaction first: a seal relies on numbers drawn after their transaction began.
        let xid = server::transaction_id();
        let entry = Entry {
            id: server::next_audit_id(),
            at: self.now,
            account,
            event: event.as_str().into(),
            outcome: outcome.as_str().into(),
            actor: server::session_user(),
            client: client.or_else(server::client_address),
            application: server::application_name(),
            detail: audit::detail(fields),
            origin: origin(),
            xid,
            key_id: self.keyring.primary_id().to_owned(),
        };
        let mac = audit::mac(self.keyring.audit_key(), &entry.message());
        Some(SignedEntry { entry, mac })
    }
}

/// Returns the number that identifies the session's database.
pub fn origin() -> i64 {
    thread_local! {
        static ORIGIN: OnceCell<i64> = const { OnceCell::new() };
    }
    let compute = || {
        let (system, database) = server::database_id();
        audit::origin(system, database)
    };
    ORIGIN.with(|origin| *origin.get_or_init(compute))
}

fn is_wanted(event: Event) -> bool {
    match settings::audit() {
        // The trail must say what was removed from it.
        _ if event == Event::AuditPrune => true,
        Audit::All => true,
        Audit::Changes => !matches!(event, Event::Verify | Event::Challenge),
        Audit::Off => false,
    }
}

/// Adds what no audit event has reported yet.
fn unreported(account_guard: &AccountGuard, mut fields: Map<String, Value>) -> Map<String, Value> {
    let unreported = account_guard.take_unreported();
    for (name, count) in [
        ("rolled_back", unreported.failures),
        ("rolled_back_successes", unreported.successes),
        ("rolled_back_exports", unreported.exports),
        ("prepared", unreported.prepared),
        ("unrecorded", unreported.events),
    ] {
        if count > 0 {
            fields.insert(name.to_owned(), count.into());
        }
    }
    fields
}

/// Returns an audit event's detail with a single field.
pub fn field(name: &str, value: impl Into<Value>) -> Map<String, Value> {
    Map::from_iter([(name.to_owned(), value.into())])
}
