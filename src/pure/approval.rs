//! What is approved: an action and its payload.

use super::canonical::canonical;
use super::mark::Mark;
use super::name::Action;
use super::timestamp::Timestamp;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// An action with its payload, in canonical form.
pub struct Subject {
    /// The action.
    pub action: Action,
    /// The payload in canonical form.
    pub payload: String,
}

impl Subject {
    /// Creates the subject of an approval.
    pub fn new(action: Action, payload: Map<String, Value>) -> Self {
        Self { action, payload: canonical(&Value::Object(payload)) }
    }

    /// Returns the SHA-256 of the action and the payload.
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update((self.action.len() as u64).to_be_bytes());
        hash.update(self.action.as_bytes());
        hash.update(&self.payload);
        hash.finalize().into()
    }

    /// Returns what a person is shown. Characters that are not visible are escaped as in JSON, so
    /// that nothing hides or turns around a part of the text.
    pub fn summary(&self) -> String {
        let mut summary = format!("{} ", &*self.action);
        for c in self.payload.chars() {
            let is_hidden = c != ' ' && matches!(Mark::of(c), Some(Mark::Blank | Mark::Invisible));
            if is_hidden || c.is_control() {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a string does not fail.
                    let _ = write!(summary, "\\u{unit:04x}");
                }
            } else {
                summary.push(c);
            }
        }
        summary
    }
}

/// What became of an approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Requested, and not yet confirmed.
    Pending,
    /// Confirmed by a code, and not yet used.
    Confirmed,
    /// Used for the action.
    Used,
    /// Cancelled, or void: the factors of the account that confirmed it have changed.
    Cancelled,
    /// Not used in time.
    Expired,
}

impl State {
    /// Returns the name used in SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Confirmed => "confirmed",
            Self::Used => "used",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }
}

/// When something happened to an approval, if it did.
#[derive(Debug, Clone, Copy, Default)]
pub struct Times {
    /// When it was confirmed.
    pub confirmed_at: Option<Timestamp>,
    /// When it was used.
    pub used_at: Option<Timestamp>,
    /// When it was cancelled.
    pub cancelled_at: Option<Timestamp>,
    /// Whether the factors of the account that confirmed it have changed since.
    pub is_void: bool,
}

impl Times {
    /// Returns what became of an approval that expires at a time.
    pub fn state(&self, expires_at: Timestamp, now: Timestamp) -> State {
        match self {
            Self { used_at: Some(_), .. } => State::Used,
            Self { cancelled_at: Some(_), .. } | Self { is_void: true, .. } => State::Cancelled,
            _ if expires_at <= now => State::Expired,
            Self { confirmed_at: Some(_), .. } => State::Confirmed,
            _ => State::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(action: &str, payload: &str) -> Subject {
        let payload = serde_json::from_str(payload).unwrap();
        Subject::new(Action::new(action.to_owned()).unwrap(), payload)
    }

    #[test]
    fn equal_values_have_one_digest_and_others_another() {
        let digest = |action, payload| subject(action, payload).digest();
        let first = digest("transfer", r#"{"amount": 10.00, "to": "bob"}"#);
        assert_eq!(digest("transfer", r#"{"to": "bob", "amount": 1e1}"#), first);
        for (action, payload) in [
            ("transfer", r#"{"amount": 10.01, "to": "bob"}"#),
            ("transfer", r#"{"amount": "10", "to": "bob"}"#),
            ("transfer", r#"{"amount": 10, "to": "bob", "note": null}"#),
            ("refund", r#"{"amount": 10, "to": "bob"}"#),
        ] {
            assert_ne!(digest(action, payload), first, "{action} {payload}");
        }
    }

    #[test]
    fn a_summary_hides_nothing() {
        let summary = |payload| subject("transfer", payload).summary();
        assert_eq!(
            summary(r#"{"to": "Zoë 🔑", "amount": 5}"#),
            r#"transfer {"amount":5,"to":"Zoë 🔑"}"#
        );
        assert_eq!(
            summary("{\"to\": \"bob\u{202e}\u{2028}\u{e0041}\\u0007\u{7f}\"}"),
            r#"transfer {"to":"bob\u202e\u2028\udb40\udc41\u0007\u007f"}"#
        );
    }

    #[test]
    fn the_state_follows_what_happened_last() {
        let at = |seconds| Some(Timestamp::from_secs(seconds));
        let state = |confirmed_at, used_at, cancelled_at, now| {
            let times = Times { confirmed_at, used_at, cancelled_at, is_void: false };
            times.state(Timestamp::from_secs(100), Timestamp::from_secs(now))
        };
        assert_eq!(state(None, None, None, 99), State::Pending);
        assert_eq!(state(None, None, None, 100), State::Expired);
        assert_eq!(state(at(1), None, None, 99), State::Confirmed);
        assert_eq!(state(at(1), None, None, 100), State::Expired);
        assert_eq!(state(at(1), at(2), None, 200), State::Used);
        assert_eq!(state(at(1), None, at(2), 200), State::Cancelled);
        let void = Times { confirmed_at: at(1), is_void: true, ..Times::default() };
        let state_of =
            |times: Times| times.state(Timestamp::from_secs(100), Timestamp::from_secs(99));
        assert_eq!(state_of(void), State::Cancelled);
        assert_eq!(state_of(Times { used_at: at(2), ..void }), State::Used);
    }
}
