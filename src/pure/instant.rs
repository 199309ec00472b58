//! Times that are written as text.

const SECONDS_PER_DAY: i64 = 86_400;

/// Returns the canonical text of a time: in UTC if it has an offset, with seconds, and without zeros at
/// the end of its fraction. Returns `None` if the text is anything but a date, a time and perhaps an
/// offset, as JSON, PostgreSQL and programming languages write them (RFC 3339, ISO 8601); or if the time
/// is not within the years 1 to 9999, which are all that RFC 3339 can write.
pub fn canonical(text: &str) -> Option<String> {
    let (date, rest) = text.split_at_checked(10)?;
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (clock, offset) = rest.split_at(rest.find(['Z', 'z', '+', '-']).unwrap_or(rest.len()));
    let (clock, fraction) = match clock.split_once('.') {
        // More digits than PostgreSQL keeps would be another time.
        Some((clock, digits)) if (1..=6).contains(&digits.len()) => (clock, digits),
        Some(_) => return None,
        None => (clock, ""),
    };
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = match clock.len() {
        5 if fraction.is_empty() => numbers(clock, ':', [2, 2]).map(|[h, m]| [h, m, 0])?,
        _ => numbers(clock, ':', [2, 2, 2])?,
    };
    let is_time = hour < 24 && minute < 60 && second < 60;
    let is_fraction = fraction.bytes().all(|byte| byte.is_ascii_digit());
    let is_date = year >= 1 && (1..=days_in_month(year, month)?).contains(&day);
    if !is_time || !is_fraction || !is_date {
        return None;
    }
    let (ahead, zone) = match offset {
        "" => (0, ""),
        offset => (offset_seconds(offset)?, "Z"),
    };
    let seconds =
        days_before(year, month, day) * SECONDS_PER_DAY + hour * 3_600 + minute * 60 + second
            - ahead;
    let (days, seconds) =
        (seconds.div_euclid(SECONDS_PER_DAY), seconds.rem_euclid(SECONDS_PER_DAY));
    let (year, month, day) = date_of(days)?;
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    Some(format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{point}{fraction}{zone}"
    ))
}

/// Returns the seconds of an offset: `Z`, or hours, and perhaps minutes and seconds.
fn offset_seconds(offset: &str) -> Option<i64> {
    if matches!(offset, "Z" | "z") {
        return Some(0);
    }
    let sign = if offset.starts_with('-') { -1 } else { 1 };
    let offset = offset.strip_prefix(['+', '-'])?;
    let parts: Vec<&str> = match offset.split_at_checked(2) {
        Some((hours, minutes)) if offset.len() == 4 => vec![hours, minutes],
        _ => offset.split(':').collect(),
    };
    if parts.len() > 3 {
        return None;
    }
    let mut seconds = 0;
    for (part, unit) in parts.iter().zip([3_600, 60, 1]) {
        let [number] = numbers(part, ':', [2])?;
        if number >= 60 {
            return None;
        }
        seconds += number * unit;
    }
    (seconds < SECONDS_PER_DAY).then_some(sign * seconds)
}

/// Reads numbers with these numbers of digits.
fn numbers<const N: usize>(text: &str, separator: char, digits: [usize; N]) -> Option<[i64; N]> {
    let mut parts = text.split(separator);
    let mut read = [0; N];
    for (number, digits) in read.iter_mut().zip(digits) {
        let part = parts.next()?;
        if part.len() != digits || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(read)
}

const fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(year: i64, month: i64) -> Option<i64> {
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => Some(31),
        4 | 6 | 9 | 11 => Some(30),
        2 => Some(if is_leap(year) { 29 } else { 28 }),
        _ => None,
    }
}

/// Returns the days between 0000-03-01 and a date. Years that begin in March end with the leap day.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let year = if month > 2 { year } else { year - 1 };
    let month = (month + 9) % 12;
    year * 365 + year.div_euclid(4) - year.div_euclid(100)
        + year.div_euclid(400)
        + (month * 153 + 2) / 5
        + day
        - 1
}

/// Returns the date that is so many days after 0000-03-01, if its year is 1 to 9999.
fn date_of(days: i64) -> Option<(i64, i64, i64)> {
    let first = |year: i64| days_before(year, 3, 1);
    let estimate = days / 365;
    let year = (estimate - 8..=estimate + 1).rev().find(|year| first(*year) <= days)?;
    let day_of_year = days - first(year);
    let month = (day_of_year * 5 + 2) / 153;
    let day = day_of_year - (month * 153 + 2) / 5 + 1;
    let year = if month < 10 { year } else { year + 1 };
    let month = (month + 2) % 12 + 1;
    (1..=9999).contains(&year).then_some((year, month, day))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(left: &str, right: &str) {
        assert_eq!(canonical(left).as_deref(), Some(right), "{left}");
        assert_eq!(canonical(right).as_deref(), Some(right));
    }

    #[test]
    fn one_time_has_one_text() {
        same("2030-01-01T10:00:00Z", "2030-01-01T10:00:00Z");
        same("2030-01-01T10:00:00.000Z", "2030-01-01T10:00:00Z");
        same("2030-01-01T12:00:00+02:00", "2030-01-01T10:00:00Z");
        same("2030-01-01 12:00:00+02", "2030-01-01T10:00:00Z");
        same("2030-01-01 05:30:00.120-04:30", "2030-01-01T10:00:00.12Z");
        same("2029-12-31t23:00:00.000001-11:00", "2030-01-01T10:00:00.000001Z");
        same("1890-01-01 00:19:32+00:19:32", "1890-01-01T00:00:00Z");
        same("2024-02-29T23:30:00-01:00", "2024-03-01T00:30:00Z");
        same("2023-03-01T00:30:00+01:00", "2023-02-28T23:30:00Z");
        same("2030-01-01T10:00Z", "2030-01-01T10:00:00Z");
        same("2030-01-01T12:00:00+0200", "2030-01-01T10:00:00Z");
        same("2030-01-01 10:00:00.500", "2030-01-01T10:00:00.5");
        same("2030-01-01T10:00", "2030-01-01T10:00:00");
        same("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z");
        same("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z");
    }

    #[test]
    fn other_text_is_no_time() {
        for text in [
            "",
            "2030-01-01",
            "2030-01-01T10",
            "2030-01-01T10Z",
            "2030-01-01T10:00.5Z",
            "2030-01-01T10:00:00:00",
            "2030-01-01T10:00:00.Z",
            "2030-01-01T10:00:00.1234567Z",
            "2030-01-01T10:00:00.+1",
            "2030-01-01T10:00:00.1é",
            "2030-02-29T10:00:00Z",
            "2030-13-01T10:00:00Z",
            "2030-00-01T10:00:00Z",
            "2030-01-00T10:00:00Z",
            "2030-01-01T24:00:00Z",
            "2030-01-01T10:60:00Z",
            "2030-01-01T10:00:60Z",
            "2030-01-01T10:00:00+2",
            "2030-01-01T10:00:00+24:00",
            "2030-01-01T10:00:00+02:00:00:00",
            "2030-01-01T10:00:00+02:60",
            "2030-01-01T10:00:00+0260",
            "2030-01-01T10:00:00+020",
            "2030-01-01T10:00:00+02é",
            "2030-01-01T10:00:00Z ",
            " 2030-01-01T10:00:00Z",
            "2030-01-01X10:00:00Z",
            "+030-01-01T10:00:00Z",
            "0000-01-01T00:00:00Z",
            "0001-01-01T00:00:00+01:00",
            "9999-12-31T23:00:00-01:00",
            "2030-01-0é",
        ] {
            assert_eq!(canonical(text), None, "{text}");
        }
    }

    #[test]
    fn every_day_is_found_again() {
        for days in (306..3_652_000).step_by(17) {
            let (year, month, day) = date_of(days).unwrap();
            assert_eq!(days_before(year, month, day), days);
            assert!(day <= days_in_month(year, month).unwrap());
        }
    }
}
