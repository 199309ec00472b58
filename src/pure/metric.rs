//! Counters of verifications, kept in shared memory.

use super::audit::{Event, Outcome};

/// The kind of the code that was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// A code of an authenticator app.
    Totp,
    /// A backup code, or what could be one.
    Backup,
    /// A temporary pass that was right. A wrong one counts as a backup code.
    Pass,
    /// No code was looked at.
    None,
}

impl Method {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Totp, Self::Backup, Self::Pass, Self::None];

    /// Returns the name used in SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Totp => "totp",
            Self::Backup => "backup",
            Self::Pass => "pass",
            Self::None => "none",
        }
    }

    /// Returns the kind of a code that is attempted in an event. Codes of authenticator apps have at
    /// most eight digits; only there, two of them are one attempt.
    pub const fn of(event: Event, code: &str) -> Self {
        if code.len() <= 8 || matches!(event, Event::Resync | Event::Assign) {
            Self::Totp
        } else {
            Self::Backup
        }
    }
}

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Result {
    /// The code was right, and is spent.
    Ok,
    /// The code was wrong.
    Invalid,
    /// The code was right, but already spent.
    Replayed,
    /// The code was right, but from before the server's start.
    ColdStart,
    /// The code was right for another time.
    ClockOff,
    /// The account was locked.
    Locked,
    /// TOTP was suspended.
    Suspended,
    /// The account has no active factor.
    NotEnrolled,
}

impl Result {
    /// All results.
    pub const ALL: [Self; 8] = [
        Self::Ok,
        Self::Invalid,
        Self::Replayed,
        Self::ColdStart,
        Self::ClockOff,
        Self::Locked,
        Self::Suspended,
        Self::NotEnrolled,
    ];

    /// Returns the name used in SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Invalid => "invalid",
            Self::Replayed => "replayed",
            Self::ColdStart => "cold_start",
            Self::ClockOff => "clock_off",
            Self::Locked => "locked",
            Self::Suspended => "suspended",
            Self::NotEnrolled => "not_enrolled",
        }
    }
}

impl From<Outcome> for Result {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Ok | Outcome::LastFactor | Outcome::Required => Self::Ok,
            Outcome::Invalid => Self::Invalid,
            Outcome::Replayed => Self::Replayed,
            Outcome::ColdStart => Self::ColdStart,
            Outcome::NotEnrolled => Self::NotEnrolled,
            Outcome::ClockOff => Self::ClockOff,
        }
    }
}

/// Number of counters: one for each method and result.
pub const COUNTERS: usize = Method::ALL.len() * Result::ALL.len();

/// Returns the place of a counter.
pub const fn place(method: Method, result: Result) -> usize {
    method as usize * Result::ALL.len() + result as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counter_has_a_place() {
        let mut places: Vec<usize> = Method::ALL
            .iter()
            .flat_map(|method| Result::ALL.map(|result| place(*method, result)))
            .collect();
        places.sort_unstable();
        assert_eq!(places, (0..COUNTERS).collect::<Vec<_>>());
    }

    #[test]
    fn codes_are_told_apart_by_their_length() {
        assert_eq!(Method::of(Event::Verify, "123456"), Method::Totp);
        assert_eq!(Method::of(Event::Verify, "12345678"), Method::Totp);
        assert_eq!(Method::of(Event::Verify, "0123456789ABCDEF"), Method::Backup);
        assert_eq!(Method::of(Event::Resync, "1234567812345678"), Method::Totp);
        assert_eq!(Method::of(Event::Assign, "123456123456"), Method::Totp);
    }
}
