//! A point in time.

/// Microseconds since 1970-01-01 00:00 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The maximum difference between two servers' clocks, in seconds. A recorded time further in
    /// the future is not trusted: a clock must have been set back.
    pub const MAX_CLOCK_SKEW_SECS: i64 = 60;

    /// Creates a timestamp from microseconds since 1970.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Creates a timestamp from whole seconds since 1970.
    #[cfg(test)]
    pub const fn from_secs(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    /// Returns the microseconds since 1970.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Returns whether this time has a step: it is finite and not before 1970.
    pub const fn has_step(self) -> bool {
        0 <= self.0 && self.0 < i64::MAX
    }

    /// Returns the step that contains this time: floor(Unix time / period) (RFC 6238, 4.2).
    pub const fn step(self, period: i64) -> i64 {
        self.0.div_euclid(1_000_000).div_euclid(period)
    }

    /// Returns the time `micros` microseconds later, saturating at the end of the range.
    pub const fn plus_micros(self, micros: i64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    /// Returns the time `seconds` seconds later, saturating at the end of the range.
    pub const fn plus_secs(self, seconds: i64) -> Self {
        self.plus_micros(seconds.saturating_mul(1_000_000))
    }

    /// Returns the microseconds since `earlier`, negative if `earlier` is later than this time.
    pub const fn micros_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_lasts_from_its_first_microsecond_to_its_last() {
        assert_eq!(Timestamp::from_secs(30).step(30), 1);
        assert_eq!(Timestamp::from_micros(59_999_999).step(30), 1);
        assert_eq!(Timestamp::from_secs(60).step(30), 2);
        assert_eq!(Timestamp::from_micros(-1).step(30), -1);
    }

    #[test]
    fn arithmetic_saturates() {
        let end = Timestamp::from_micros(i64::MAX);
        assert_eq!(end.plus_secs(i64::MAX), end);
        assert_eq!(end.micros_since(Timestamp::from_micros(i64::MIN)), i64::MAX);
    }
}
