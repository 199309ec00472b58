//! What is written down of each attempt and change, and the code that shows tampering.

use super::timestamp::Timestamp;
use hmac::{Hmac, Mac};
use serde_json::{Map, Value};
use sha2::Sha256;

/// What was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A secret was made for an app.
    Create,
    /// A first code confirmed an app.
    Confirm,
    /// A code was given at a login or for a step-up.
    Verify,
    /// A code was given with the token of a challenge.
    Challenge,
    /// Two codes were given to follow an app's clock.
    Resync,
    /// Two-factor authentication was switched off.
    Disable,
    /// New backup codes replaced the old, against a code.
    Rotate,
    /// One of several apps was removed, against a code.
    Remove,
    /// Three backup codes or fewer are left.
    BackupLow,
    /// A link to switch two-factor authentication off was made.
    RecoveryCreate,
    /// Such a link was used.
    Recover,
    /// A device was trusted to skip the second factor.
    Trust,
    /// All devices of an account lost that trust.
    TrustRevoke,
    /// An administrator removed all factors.
    Reset,
    /// An administrator lifted a lock.
    Unlock,
    /// An administrator issued new backup codes.
    Reissue,
    /// An administrator brought a secret in.
    Import,
    /// An administrator read a secret.
    Export,
    /// An administrator renamed an account.
    Rename,
    /// An account was erased.
    Forget,
    /// An administrator had rows sealed anew with another key.
    KeyRotate,
}

impl Event {
    /// The word in SQL.
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

/// How it ended, as auditors see it: finer than what callers are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Ok,
    /// A wrong code.
    Invalid,
    /// A right code that was spent before, or is older than one that was.
    Replayed,
    /// A right code of a step at or before the server's start, which may have been spent.
    ColdStart,
    /// No account or no active factor.
    NotEnrolled,
    /// The last app of an account, which can only be disabled.
    LastFactor,
    /// The first code of a pending factor, but of another time.
    ClockOff,
}

impl Outcome {
    /// The word in SQL.
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

/// One entry of the audit trail. It never holds a code, a secret or a key.
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// Whose account: its name, or a hash of it.
    pub account: String,
    /// What was tried.
    pub event: Event,
    /// How it ended.
    pub outcome: Outcome,
    /// The login role.
    pub actor: String,
    /// What else an auditor should know: a JSON object with sorted keys.
    pub detail: Option<String>,
}

impl Entry {
    /// HMAC-SHA256 over all fields, each led by its length so that none can run into the next.
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

/// Writes down what else an auditor should know; `None` when there is nothing.
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
    fn the_mac_depends_on_where_a_field_ends() {
        let key = Hmac::<Sha256>::new_from_slice(b"key").unwrap();
        assert_eq!(entry("a", "bc").mac(&key), entry("a", "bc").mac(&key));
        assert_ne!(entry("a", "bc").mac(&key), entry("ab", "c").mac(&key));
        let other = Hmac::<Sha256>::new_from_slice(b"other").unwrap();
        assert_ne!(entry("a", "bc").mac(&key), entry("a", "bc").mac(&other));
    }
}
