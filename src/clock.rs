//! The only reader of time. A call samples it once; `now()` would stand still in a transaction.

use crate::error::Error;
use crate::pure::moment::Moment;
use crate::settings;
use pgrx::datum::{Interval, TimestampWithTimeZone};
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

/// Microseconds from 1970 to 2000, where PostgreSQL's timestamps begin.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

/// The time of this call: the system's, or what a superuser set `totp.clock` to.
pub fn now() -> Result<Moment, Error> {
    match settings::clock() {
        None => Ok(system()),
        Some(text) => TimestampWithTimeZone::from_str(&text)
            .map(|at| moment(&at))
            .ok()
            .filter(|at| at.is_countable())
            .ok_or(Error::Clock),
    }
}

/// The system's time, whatever `totp.clock` says.
pub fn system() -> Moment {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Moment::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// From SQL; the infinities become the ends of time.
pub fn moment(at: &TimestampWithTimeZone) -> Moment {
    Moment::from_micros(i64::from(*at).saturating_add(POSTGRES_EPOCH))
}

/// To SQL; what PostgreSQL cannot hold becomes infinity.
pub fn timestamp(at: Moment) -> TimestampWithTimeZone {
    TimestampWithTimeZone::try_from(at.micros().saturating_sub(POSTGRES_EPOCH))
        .unwrap_or_else(|_| TimestampWithTimeZone::positive_infinity())
}

/// A duration in microseconds, to SQL.
pub fn interval(micros: i64) -> Interval {
    Interval::from_micros(micros)
}
