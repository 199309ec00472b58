//! The outcome of an attempt. A wrong code is an outcome, not an error: an error would roll back
//! the failure count.

/// Why an attempt was accepted or refused, as callers see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The code was correct and is now spent.
    Ok,
    /// The code was wrong, malformed or already spent; callers cannot tell which.
    Invalid,
    /// Too many failures: no code is checked until the lock ends.
    Locked,
    /// Far too many failures: TOTP codes are not checked until an administrator or a backup code
    /// lifts the suspension.
    Suspended,
    /// There is no such account, or it has no active factor.
    NotEnrolled,
    /// The first code of a pending factor is right for another time: a clock is wrong.
    ClockOff,
    /// The last authenticator app of an account is not removed.
    LastFactor,
    /// The account must have a second factor, and keeps it.
    Required,
    /// The token has expired.
    Expired,
    /// The recovery takes effect later.
    Waiting,
    /// The token was used, was tried too often, or was revoked by a change to the account's
    /// factors.
    Spent,
}

impl Reason {
    /// Returns the name used in SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Invalid => "invalid",
            Self::Locked => "locked",
            Self::Suspended => "suspended",
            Self::NotEnrolled => "not_enrolled",
            Self::ClockOff => "clock_off",
            Self::LastFactor => "last_factor",
            Self::Required => "required",
            Self::Expired => "expired",
            Self::Waiting => "waiting",
            Self::Spent => "spent",
        }
    }
}

/// The method by which the second factor was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Method {
    /// A code from the authenticator app with this label.
    Totp {
        /// The factor's label.
        label: String,
    },
    /// A backup code.
    Backup,
    /// A temporary pass.
    Pass,
}

impl Method {
    /// Returns the name used in SQL.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Totp { .. } => "totp",
            Self::Backup => "backup",
            Self::Pass => "pass",
        }
    }
}

/// The outcome of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The reason.
    pub reason: Reason,
    /// The method, if the attempt was accepted.
    pub method: Option<Method>,
    /// Microseconds until the lock ends, if the account is locked after the attempt.
    pub retry_after: Option<i64>,
    /// The number of unused backup codes, if the attempt was accepted and the caller asked for it.
    pub backup_codes_left: Option<i32>,
}

impl Verdict {
    /// Creates the verdict of an accepted attempt.
    pub fn ok(method: Method) -> Self {
        Self {
            reason: Reason::Ok,
            method: Some(method),
            retry_after: None,
            backup_codes_left: None,
        }
    }

    /// Creates the verdict of a refused attempt.
    pub fn refused(reason: Reason, retry_after: Option<i64>) -> Self {
        Self { reason, method: None, retry_after, backup_codes_left: None }
    }

    /// Returns the seconds until the lock ends, rounded up, so that it has ended by then.
    pub fn retry_after_seconds(&self) -> Option<i32> {
        let seconds = self.retry_after?.saturating_add(999_999).div_euclid(1_000_000);
        Some(i32::try_from(seconds).unwrap_or(i32::MAX))
    }

    /// Returns whether the attempt was accepted.
    pub fn is_ok(&self) -> bool {
        self.reason == Reason::Ok
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_rounded_up() {
        let seconds = |micros| Verdict::refused(Reason::Locked, micros).retry_after_seconds();
        assert_eq!(seconds(None), None);
        assert_eq!(seconds(Some(1)), Some(1));
        assert_eq!(seconds(Some(30_000_000)), Some(30));
        assert_eq!(seconds(Some(30_000_001)), Some(31));
        assert_eq!(seconds(Some(i64::MAX)), Some(i32::MAX));
    }
}
