//! Whether an account must have a second factor, and by when.

use super::timestamp::Timestamp;

/// The requirement of an account, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// When the account must have a second factor.
    pub deadline: Timestamp,
    /// Why.
    pub reason: String,
    /// Until when the account is exempt, and why.
    pub exemption: Option<(Timestamp, String)>,
}

impl Requirement {
    /// Returns whether the account is exempt at a time.
    pub fn is_exempt(&self, now: Timestamp) -> bool {
        self.exemption.as_ref().is_some_and(|(until, _)| now < *until)
    }
}

/// What an account has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing.
    NotRequired,
    /// Enrol by the deadline.
    Pending,
    /// Enrol before anything else.
    Overdue,
    /// Nothing: it has a second factor, which it must keep.
    Enrolled,
    /// Nothing until the exemption ends.
    Exempt,
}

impl State {
    /// Returns the name used in SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotRequired => "not_required",
            Self::Pending => "pending",
            Self::Overdue => "overdue",
            Self::Enrolled => "enrolled",
            Self::Exempt => "exempt",
        }
    }
}

/// What the requirement of an account amounts to at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// What the account has to do.
    pub state: State,
    /// When the account must have a second factor: the later of its deadline and the end of its
    /// exemption, if it is exempt.
    pub deadline: Option<Timestamp>,
    /// The microseconds until then, at least 0; `None` if the account has nothing to do.
    pub remaining: Option<i64>,
    /// Why it must, or why it is exempt.
    pub reason: Option<String>,
}

impl Standing {
    /// Returns whether the account must enrol before anything else.
    pub fn is_overdue(&self) -> bool {
        self.state == State::Overdue
    }

    /// Decides what an account has to do. The view `account_status` decides in the same way.
    pub fn of(requirement: Option<Requirement>, is_enrolled: bool, now: Timestamp) -> Self {
        let Some(requirement) = requirement else {
            let state = State::NotRequired;
            return Self { state, deadline: None, remaining: None, reason: None };
        };
        let is_exempt = requirement.is_exempt(now);
        let Requirement { deadline, reason, exemption } = requirement;
        let exemption = exemption.filter(|_| is_exempt);
        let (state, deadline, reason) = match exemption {
            _ if is_enrolled => (State::Enrolled, deadline, reason),
            Some((until, reason)) => (State::Exempt, deadline.max(until), reason),
            None if now < deadline => (State::Pending, deadline, reason),
            None => (State::Overdue, deadline, reason),
        };
        let remaining = deadline.micros_since(now).max(0);
        let remaining = (state != State::Enrolled).then_some(remaining);
        Self { state, deadline: Some(deadline), remaining, reason: Some(reason) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_secs(seconds)
    }

    fn requirement(exempt_until: Option<i64>) -> Requirement {
        let exemption = exempt_until.map(|until| (at(until), "on leave".to_owned()));
        Requirement { deadline: at(100), reason: "staff".to_owned(), exemption }
    }

    fn standing(exempt_until: Option<i64>, is_enrolled: bool, now: i64) -> (State, i64, i64) {
        let standing = Standing::of(Some(requirement(exempt_until)), is_enrolled, at(now));
        let deadline = standing.deadline.unwrap().micros() / 1_000_000;
        (standing.state, deadline, standing.remaining.map_or(-1, |micros| micros / 1_000_000))
    }

    #[test]
    fn the_deadline_is_the_first_moment_that_is_too_late() {
        assert_eq!(standing(None, false, 99), (State::Pending, 100, 1));
        assert_eq!(standing(None, false, 100), (State::Overdue, 100, 0));
        assert_eq!(standing(None, false, 1_000), (State::Overdue, 100, 0));
        assert_eq!(standing(None, false, 99), (State::Pending, 100, 1));
    }

    #[test]
    fn an_enrolled_account_has_nothing_to_do() {
        for now in [0, 100, 1_000] {
            assert_eq!(standing(None, true, now), (State::Enrolled, 100, -1));
            assert_eq!(standing(Some(5_000), true, now), (State::Enrolled, 100, -1));
        }
    }

    #[test]
    fn an_exemption_puts_off_the_deadline_and_never_advances_it() {
        assert_eq!(standing(Some(150), false, 120), (State::Exempt, 150, 30));
        assert_eq!(standing(Some(150), false, 150), (State::Overdue, 100, 0));
        assert_eq!(standing(Some(50), false, 20), (State::Exempt, 100, 80));
        assert_eq!(standing(Some(50), false, 60), (State::Pending, 100, 40));
    }

    #[test]
    fn the_reason_is_that_of_the_state() {
        let reason = |now| Standing::of(Some(requirement(Some(50))), false, at(now)).reason;
        assert_eq!(reason(20).as_deref(), Some("on leave"));
        assert_eq!(reason(60).as_deref(), Some("staff"));
        assert_eq!(Standing::of(None, true, at(0)).reason, None);
    }
}
