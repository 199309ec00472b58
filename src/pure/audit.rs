//! Audit entries, and the MAC that reveals tampering with them.

use super::timestamp::Timestamp;
use hmac::{Hmac, Mac};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::borrow::Cow;

/// An audited attempt or change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A secret was generated for an authenticator app.
    Create,
    /// A first code confirmed an authenticator app.
    Confirm,
    /// A code was submitted at login or for step-up authentication.
    Verify,
    /// A code was submitted with a challenge token.
    Challenge,
    /// Two codes were submitted to assign a hardware token to an account.
    Assign,
    /// Two codes were submitted to resynchronize with an authenticator app's clock.
    Resync,
    /// Two-factor authentication was turned off.
    Disable,
    /// A new set of backup codes replaced the old one, authorized by a code.
    Rotate,
    /// One of several authenticator apps was removed, authorized by a code.
    Remove,
    /// Three or fewer backup codes are left.
    BackupLow,
    /// A recovery link, which turns off two-factor authentication, was created.
    RecoveryCreate,
    /// A recovery link was used, and takes effect after a delay.
    RecoveryStart,
    /// A recovery was canceled, and its links were revoked.
    RecoveryCancel,
    /// A recovery link took effect.
    Recover,
    /// A device was trusted to skip the second factor.
    Trust,
    /// All trusted devices of an account were revoked.
    TrustRevoke,
    /// An administrator removed all factors of an account.
    Reset,
    /// An administrator lifted a lock.
    Unlock,
    /// An administrator issued new backup codes.
    Reissue,
    /// An administrator imported a secret.
    Import,
    /// An administrator removed a hardware token.
    TokenRemove,
    /// An administrator exported a secret.
    Export,
    /// An administrator renamed an account.
    Rename,
    /// An account was erased.
    Forget,
    /// Approval of an action was requested.
    ApprovalRequest,
    /// A code was submitted to confirm an approval.
    Approve,
    /// An approval was confirmed.
    ApprovalConfirm,
    /// An approval was cancelled.
    ApprovalCancel,
    /// An approval was used.
    ApprovalUse,
    /// An administrator issued a temporary pass.
    PassIssue,
    /// An administrator revoked a temporary pass.
    PassRevoke,
    /// An administrator required an account to have a second factor.
    Require,
    /// An administrator exempted an account from the requirement.
    Exempt,
    /// An administrator lifted the requirement.
    Release,
    /// An administrator re-encrypted rows with another key.
    KeyRotate,
    /// A superuser generated a key.
    KeyGenerate,
    /// An administrator removed old entries of the audit trail.
    AuditPrune,
}

impl Event {
    /// Returns the name used in SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Confirm => "confirm",
            Self::Verify => "verify",
            Self::Challenge => "challenge",
            Self::Assign => "assign",
            Self::Resync => "resync",
            Self::Disable => "disable",
            Self::Rotate => "rotate",
            Self::Remove => "remove",
            Self::BackupLow => "backup_low",
            Self::RecoveryCreate => "recovery_create",
            Self::RecoveryStart => "recovery_start",
            Self::RecoveryCancel => "recovery_cancel",
            Self::Recover => "recover",
            Self::Trust => "trust",
            Self::TrustRevoke => "trust_revoke",
            Self::Reset => "reset",
            Self::Unlock => "unlock",
            Self::Reissue => "reissue",
            Self::Import => "import",
            Self::TokenRemove => "token_remove",
            Self::Export => "export",
            Self::Rename => "rename",
            Self::Forget => "forget",
            Self::ApprovalRequest => "approval_request",
            Self::Approve => "approve",
            Self::ApprovalConfirm => "approval_confirm",
            Self::ApprovalCancel => "approval_cancel",
            Self::ApprovalUse => "approval_use",
            Self::PassIssue => "pass_issue",
            Self::PassRevoke => "pass_revoke",
            Self::Require => "require",
            Self::Exempt => "exempt",
            Self::Release => "release",
            Self::KeyRotate => "key_rotate",
            Self::KeyGenerate => "key_generate",
            Self::AuditPrune => "audit_prune",
        }
    }
}

/// The outcome of an event, in more detail than callers see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Success.
    Ok,
    /// A wrong code.
    Invalid,
    /// A correct code that was already spent, or is older than a spent one.
    Replayed,
    /// A correct code for a step no later than the server's start; it may already have been spent.
    ColdStart,
    /// No such account, or no active factor.
    NotEnrolled,
    /// The account's last factor, which cannot be removed; that requires `totp_disable`.
    LastFactor,
    /// The account must have a second factor, and keeps it.
    Required,
    /// The first code of a pending factor, but for another time.
    ClockOff,
}

impl Outcome {
    /// Returns the name used in SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Invalid => "invalid",
            Self::Replayed => "replayed",
            Self::ColdStart => "cold_start",
            Self::NotEnrolled => "not_enrolled",
            Self::LastFactor => "last_factor",
            Self::Required => "required",
            Self::ClockOff => "clock_off",
        }
    }
}

/// An entry of the audit trail. It never contains a code, a secret or a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The number of the entry.
    pub id: i64,
    /// The time of the event.
    pub at: Timestamp,
    /// The account's name, or a hash of it.
    pub account: String,
    /// The event.
    pub event: Cow<'static, str>,
    /// The outcome.
    pub outcome: Cow<'static, str>,
    /// The session's login role.
    pub actor: String,
    /// The address of the client.
    pub client: Option<String>,
    /// The client's `application_name`.
    pub application: Option<String>,
    /// Further details: a JSON object with sorted keys.
    pub detail: Option<String>,
    /// The database in which the entry was written: see [`origin`].
    pub origin: i64,
    /// The transaction that wrote it.
    pub xid: i64,
    /// The ID of the key that signs it.
    pub key_id: String,
}

impl Entry {
    /// Returns whether version 0.1.0 wrote the entry, which did not record the key.
    pub fn is_of_0_1(&self) -> bool {
        self.key_id.is_empty()
    }

    /// Returns the bytes that are signed: see `docs/audit.md`.
    pub fn message(&self) -> Vec<u8> {
        if self.is_of_0_1() {
            return self.message_of_0_1();
        }
        let mut message = Message::new("totp event v1");
        message.integer(self.id);
        message.integer(self.at.micros());
        message.text(&self.account);
        message.text(&self.event);
        message.text(&self.outcome);
        message.text(&self.actor);
        message.optional(self.client.as_deref());
        message.optional(self.application.as_deref());
        message.optional(self.detail.as_deref());
        message.integer(self.origin);
        message.integer(self.xid);
        message.text(&self.key_id);
        message.finish()
    }

    /// Returns whether the columns that 0.1.0 did not have are as the upgrade has filled them: the
    /// signatures of 0.1.0 do not cover them.
    pub fn is_as_upgraded(&self) -> bool {
        (self.origin, self.xid) == (0, 0) && self.client.is_none() && self.application.is_none()
    }

    /// Neither the ID nor the columns that 0.1.0 did not have.
    fn message_of_0_1(&self) -> Vec<u8> {
        let mut message = Message(Vec::with_capacity(256));
        message.integer(self.at.micros());
        message.text(&self.account);
        message.text(&self.event);
        message.text(&self.outcome);
        message.text(&self.actor);
        message.text(self.detail.as_deref().unwrap_or_default());
        message.finish()
    }
}

/// Encodes fields so that no two lists of fields have the same bytes: each field follows its length
/// in eight bytes, which are all ones for NULL.
pub struct Message(pub(super) Vec<u8>);

impl Message {
    /// Begins a message of a kind.
    pub fn new(kind: &str) -> Self {
        let mut message = Self(Vec::with_capacity(384));
        message.text(kind);
        message
    }

    /// Adds a text.
    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// Adds bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend((bytes.len() as u64).to_be_bytes());
        self.0.extend(bytes);
    }

    /// Adds a text that may be NULL.
    pub fn optional(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.text(text),
            None => self.0.extend(u64::MAX.to_be_bytes()),
        }
    }

    /// Adds an integer as eight bytes, the most significant first.
    pub fn integer(&mut self, integer: i64) {
        self.bytes(&integer.to_be_bytes());
    }

    /// Returns the bytes.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Returns the HMAC-SHA256 of a message.
pub fn mac(key: &Hmac<Sha256>, message: &[u8]) -> [u8; 32] {
    let mut mac = key.clone();
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// Returns whether a MAC is that of a message.
pub fn is_signed(key: &Hmac<Sha256>, message: &[u8], signature: &[u8]) -> bool {
    let mut mac = key.clone();
    mac.update(message);
    mac.verify_slice(signature).is_ok()
}

/// Returns the number that identifies a database: the first eight bytes of the SHA-256 of its
/// cluster's system identifier and its OID. IDs of transactions in different databases cannot be
/// compared: a dump may have been restored in another cluster.
pub fn origin(system: u64, database: u32) -> i64 {
    let mut hash = Sha256::new();
    hash.update(system.to_be_bytes());
    hash.update(database.to_be_bytes());
    let hash: [u8; 32] = hash.finalize().into();
    hash.first_chunk().map_or(0, |first| i64::from_be_bytes(*first))
}

/// Returns JSON in the form that is signed: sorted keys, no whitespace. What is not JSON stays as it
/// is, and fits no signature.
pub fn canonical(json: String) -> String {
    match super::json::parse::<Value>(&json) {
        Some(value) => value.to_string(),
        None => json,
    }
}

/// Formats further details as a JSON object; returns `None` if there are none.
pub fn detail(fields: Map<String, Value>) -> Option<String> {
    (!fields.is_empty()).then(|| Value::Object(fields).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hmac::KeyInit;

    fn entry() -> Entry {
        Entry {
            id: 7,
            at: Timestamp::from_secs(1),
            account: "alice".to_owned(),
            event: "verify".into(),
            outcome: "ok".into(),
            actor: "app".to_owned(),
            client: Some("10.0.0.1".to_owned()),
            application: None,
            detail: Some("{}".to_owned()),
            origin: 5,
            xid: 730,
            key_id: "0123456789abcdef".to_owned(),
        }
    }

    #[test]
    fn every_field_is_part_of_the_message() {
        let text = || "x".to_owned();
        let changed = [
            Entry { id: 8, ..entry() },
            Entry { at: Timestamp::from_micros(1_000_001), ..entry() },
            Entry { account: text(), ..entry() },
            Entry { event: "x".into(), ..entry() },
            Entry { outcome: "x".into(), ..entry() },
            Entry { actor: text(), ..entry() },
            Entry { client: None, ..entry() },
            Entry { client: Some(text()), ..entry() },
            Entry { application: Some(text()), ..entry() },
            Entry { detail: None, ..entry() },
            Entry { origin: 6, ..entry() },
            Entry { xid: 731, ..entry() },
            Entry { key_id: text(), ..entry() },
        ];
        for (index, changed) in changed.iter().enumerate() {
            assert_ne!(changed.message(), entry().message(), "{index}");
        }
    }

    #[test]
    fn fields_cannot_be_shifted_and_null_is_not_empty() {
        let message = |account: &str, actor: &str, client: Option<&str>| {
            let (account, actor) = (account.to_owned(), actor.to_owned());
            Entry { account, actor, client: client.map(str::to_owned), ..entry() }.message()
        };
        assert_ne!(message("a", "bc", None), message("ab", "c", None));
        assert_ne!(message("a", "b", None), message("a", "b", Some("")));
    }

    #[test]
    fn an_entry_of_0_1_has_the_bytes_that_it_had_there() {
        let old = |detail: Option<&str>| {
            let detail = detail.map(str::to_owned);
            Entry { id: 9, origin: 0, xid: 0, key_id: String::new(), detail, ..entry() }.message()
        };
        let mut expected = Vec::new();
        for field in [&1_000_000_i64.to_be_bytes()[..], b"alice", b"verify", b"ok", b"app", b"{}"] {
            expected.extend((field.len() as u64).to_be_bytes());
            expected.extend(field);
        }
        assert_eq!(old(Some("{}")), expected);
        assert_eq!(old(None), old(Some("")));
    }

    #[test]
    fn a_mac_belongs_to_its_message_and_key() {
        let key = |text: &str| Hmac::<Sha256>::new_from_slice(text.as_bytes()).unwrap();
        let signature = mac(&key("key"), b"message");
        assert!(is_signed(&key("key"), b"message", &signature));
        assert!(!is_signed(&key("key"), b"massage", &signature));
        assert!(!is_signed(&key("other"), b"message", &signature));
        assert!(!is_signed(&key("key"), b"message", &signature[1..]));
    }

    #[test]
    fn databases_have_different_origins() {
        assert_ne!(origin(1, 5), origin(1, 6));
        assert_ne!(origin(1, 5), origin(2, 5));
        // printf '\0\0\0\0\0\0\0\1\0\0\0\5' | sha256sum
        assert_eq!(format!("{:016x}", origin(1, 5)), "ee60ab654b61b3a8");
    }

    #[test]
    fn jsonb_is_put_in_order() {
        let stored = r#"{"b": [1, {"z": null, "a": "\u0001\"é"}], "aa": 1.50}"#;
        let sorted = r#"{"aa":1.50,"b":[1,{"a":"\u0001\"é","z":null}]}"#;
        assert_eq!(canonical(stored.to_owned()), sorted);
        assert_eq!(canonical("{".to_owned()), "{");
    }
}
