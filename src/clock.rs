//! The only module that reads the clock, once per call. `now()` would not advance in a transaction.

use crate::error::Error;
use crate::pure::timestamp::Timestamp;
use crate::settings;
use pgrx::datum::{Interval, TimestampWithTimeZone};
use std::str::FromStr;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Microseconds from 1970 to 2000, the epoch of PostgreSQL's timestamps.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

/// Returns the time of this call: the system time, or the value of `totp.clock`, if set.
pub fn now() -> Result<Timestamp, Error> {
    match settings::clock() {
        None => Ok(system()),
        Some(text) => TimestampWithTimeZone::from_str(&text)
            .map(|at| from_sql(&at))
            .ok()
            .filter(|at| at.has_step())
            .ok_or(Error::Clock),
    }
}

/// Returns the system time, ignoring `totp.clock`.
pub fn system() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// Returns the time since its first call in this process, unaffected by changes of the system clock.
pub fn monotonic() -> Duration {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    FIRST.get_or_init(Instant::now).elapsed()
}

/// Converts from SQL; the infinities become the limits of the range.
pub fn from_sql(at: &TimestampWithTimeZone) -> Timestamp {
    Timestamp::from_micros(i64::from(*at).saturating_add(POSTGRES_EPOCH))
}

/// Converts to SQL; a time that PostgreSQL cannot represent becomes infinity.
pub fn to_sql(at: Timestamp) -> TimestampWithTimeZone {
    TimestampWithTimeZone::try_from(at.micros().saturating_sub(POSTGRES_EPOCH))
        .unwrap_or_else(|_| TimestampWithTimeZone::positive_infinity())
}

/// Converts microseconds to an SQL interval.
pub fn interval(micros: i64) -> Interval {
    Interval::from_micros(micros)
}
