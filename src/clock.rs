//! The only reader of time. A call samples it once; `now()` would stand still in a transaction.

use crate::error::Error;
use crate::pure::timestamp::Timestamp;
use crate::settings;
use pgrx::datum::{Interval, TimestampWithTimeZone};
use std::str::FromStr;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Microseconds from 1970 to 2000, where PostgreSQL's timestamps begin.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

/// The time of this call: the system's, or what a superuser set `totp.clock` to.
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

/// The system's time, whatever `totp.clock` says.
pub fn system() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// The time since this process first asked, whatever happens to the system's clock.
pub fn monotonic() -> Duration {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    FIRST.get_or_init(Instant::now).elapsed()
}

/// From SQL; the infinities become the ends of time.
pub fn from_sql(at: &TimestampWithTimeZone) -> Timestamp {
    Timestamp::from_micros(i64::from(*at).saturating_add(POSTGRES_EPOCH))
}

/// To SQL; what PostgreSQL cannot hold becomes infinity.
pub fn to_sql(at: Timestamp) -> TimestampWithTimeZone {
    TimestampWithTimeZone::try_from(at.micros().saturating_sub(POSTGRES_EPOCH))
        .unwrap_or_else(|_| TimestampWithTimeZone::positive_infinity())
}

/// A duration in microseconds, to SQL.
pub fn interval(micros: i64) -> Interval {
    Interval::from_micros(micros)
}
