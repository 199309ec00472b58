//! Audit entries, and the MAC that reveals tampering with them.

use super::timestamp::Timestamp;
use hmac::{Hmac, Mac};
use serde_json::{Map, Value};
use sha2::Sha256;

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
    /// A recovery link was used.
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
    /// An administrator exported a secret.
    Export,
    /// An administrator renamed an account.
    Rename,
    /// An account was erased.
    Forget,
    /// An administrator re-encrypted rows with another key.
    KeyRotate,
}

impl Event {
    /// Returns the name used in SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Confirm => "confirm",
            Self::Verify => "verify",
            Self::Challenge => "challenge",
            Self::Resync => "resync",
            Self::Disable => "disable",
            Self::Rotate => "rotate",
            Self::Remove => "remove",
            Self::BackupLow => "backup_low",
            Self::RecoveryCreate => "recovery_create",
            Self::Recover => "recover",
            Self::Trust => "trust",
            Self::TrustRevoke => "trust_revoke",
            Self::Reset => "reset",
            Self::Unlock => "unlock",
            Self::Reissue => "reissue",
            Self::Import => "import",
            Self::Export => "export",
            Self::Rename => "rename",
            Self::Forget => "forget",
            Self::KeyRotate => "key_rotate",
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
            Self::ClockOff => "clock_off",
        }
    }
}

/// An entry of the audit trail. It never contains a code, a secret or a key.
pub struct Entry {
    /// The time of the event.
    pub at: Timestamp,
    /// The account's name, or a hash of it.
    pub account: String,
    /// The event.
    pub event: Event,
    /// The outcome.
    pub outcome: Outcome,
    /// The session's login role.
    pub actor: String,
    /// Further details: a JSON object with sorted keys.
    pub detail: Option<String>,
}

impl Entry {
    /// Returns the HMAC-SHA256 of all fields, each preceded by its length to mark its boundaries.
    pub fn mac(&self, key: &Hmac<Sha256>) -> [u8; 32] {
        let at = self.at.micros().to_be_bytes();
        let mut mac = key.clone();
        for field in [
            at.as_slice(),
            self.account.as_bytes(),
            self.event.as_str().as_bytes(),
            self.outcome.as_str().as_bytes(),
            self.actor.as_bytes(),
            self.detail.as_deref().unwrap_or_default().as_bytes(),
        ] {
            mac.update(&(field.len() as u64).to_be_bytes());
            mac.update(field);
        }
        mac.finalize().into_bytes().into()
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

    fn entry(account: &str, actor: &str) -> Entry {
        Entry {
            at: Timestamp::from_secs(1),
            account: account.to_owned(),
            event: Event::Verify,
            outcome: Outcome::Ok,
            actor: actor.to_owned(),
            detail: None,
        }
    }

    #[test]
    fn the_mac_depends_on_field_boundaries() {
        let key = Hmac::<Sha256>::new_from_slice(b"key").unwrap();
        assert_eq!(entry("a", "bc").mac(&key), entry("a", "bc").mac(&key));
        assert_ne!(entry("a", "bc").mac(&key), entry("ab", "c").mac(&key));
        let other = Hmac::<Sha256>::new_from_slice(b"other").unwrap();
        assert_ne!(entry("a", "bc").mac(&key), entry("a", "bc").mac(&other));
    }
}
