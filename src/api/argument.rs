//! Conversion of SQL arguments to checked values.

use crate::clock;
use crate::pure::approval::Subject;
use crate::pure::audit_verification::Digest;
use crate::pure::code::{Accepts, Code, TotpCode};
use crate::pure::invalid::Invalid;
use crate::pure::json;
use crate::pure::name::{Account, Action, AuditReason, Label, Purpose, Serial};
use crate::pure::otp::Parameters;
use crate::pure::secret::Secret;
use crate::pure::timestamp::Timestamp;
use crate::pure::token::Kind;
use crate::server::{Document, Json, LargeJson, RelationId, Text};
use pgrx::Uuid;
use pgrx::datum::{Interval, TimestampWithTimeZone};
use serde_json::{Map, Value};
use std::ops::RangeInclusive;
use zeroize::Zeroizing;

/// Reads a text that must be neither NULL nor empty.
pub fn required(text: Option<Text>, argument: &'static str) -> Result<String, Invalid> {
    match text {
        Some(Text::Fits(text)) if !text.is_empty() => Ok(text.to_string()),
        Some(Text::Fits(_)) | None => Err(Invalid::Missing { argument }),
        Some(Text::TooManyBytes) => Err(Invalid::TooManyBytes { argument, limit: Text::LIMIT }),
        Some(Text::NotUtf8) => Err(Invalid::NotUtf8 { argument }),
    }
}

/// Reads a text that may be NULL but not empty.
pub fn optional(text: Option<Text>, argument: &'static str) -> Result<Option<String>, Invalid> {
    text.map(|text| required(Some(text), argument)).transpose()
}

/// Reads a table.
pub fn relation(id: Option<RelationId>, argument: &'static str) -> Result<RelationId, Invalid> {
    id.ok_or(Invalid::Null { argument })
}

/// Reads a document.
pub fn document(text: Option<Document>) -> Result<Zeroizing<String>, Invalid> {
    let argument = "document";
    match text.map(|Document(text)| text) {
        Some(Text::Fits(text)) if !text.is_empty() => Ok(text),
        Some(Text::Fits(_)) | None => Err(Invalid::Missing { argument }),
        Some(Text::TooManyBytes) => Err(Invalid::TooManyBytes { argument, limit: Document::LIMIT }),
        Some(Text::NotUtf8) => Err(Invalid::NotUtf8 { argument }),
    }
}

/// Reads an account name.
pub fn account(text: Option<Text>) -> Result<Account, Invalid> {
    match text {
        Some(Text::TooManyBytes) => {
            Err(Invalid::TooManyChars { argument: "account", limit: Account::LIMIT })
        }
        text => Account::new(required(text, "account")?),
    }
}

/// Reads the name of another account that must approve something; NULL means none.
pub fn approver(text: Option<Text>) -> Result<Option<Account>, Invalid> {
    optional(text, "approver")?.map(Account::new).transpose()
}

/// Reads the names of several accounts.
pub fn accounts(names: Option<Vec<Option<String>>>) -> Result<Vec<Account>, Invalid> {
    let names = names.ok_or(Invalid::Null { argument: "accounts" })?;
    names.into_iter().map(|name| Account::new(name.unwrap_or_default())).collect()
}

/// Reads a label; NULL means the default label.
pub fn label(text: Option<Text>) -> Result<Label, Invalid> {
    match text {
        Some(Text::TooManyBytes) => {
            Err(Invalid::TooManyChars { argument: "label", limit: Label::LIMIT })
        }
        Some(text) => Label::new(required(Some(text), "label")?),
        None => Label::new(Label::DEFAULT.to_owned()),
    }
}

/// Reads the serial number of a hardware token.
pub fn serial(text: Option<Text>) -> Result<Serial, Invalid> {
    match text {
        Some(Text::TooManyBytes) => {
            Err(Invalid::TooManyChars { argument: "serial", limit: Serial::LIMIT })
        }
        text => Serial::new(required(text, "serial")?.trim().to_owned()),
    }
}

/// Reads a challenge's purpose; NULL means a login.
pub fn purpose(text: Option<Text>) -> Result<Purpose, Invalid> {
    match text {
        Some(Text::TooManyBytes) => {
            Err(Invalid::TooManyChars { argument: "purpose", limit: Purpose::LIMIT })
        }
        Some(text) => Purpose::new(required(Some(text), "purpose")?),
        None => Purpose::new("login".to_owned()),
    }
}

/// A text to compare with a stored value.
pub struct Compared(Option<Zeroizing<String>>);

impl Compared {
    /// Returns the text, or `None` for NULL.
    pub fn as_str(&self) -> Option<&str> {
        self.0.as_deref().map(String::as_str)
    }
}

/// Reads a text to compare with a stored value. Text that cannot match any becomes a string that
/// SQL cannot hold.
pub fn compared(text: Option<Text>) -> Compared {
    Compared(text.map(|text| match text {
        Text::Fits(text) => text,
        Text::TooManyBytes | Text::NotUtf8 => "\0".to_owned().into(),
    }))
}

/// Reads an administrator's reason.
pub fn reason(text: Option<Text>) -> Result<AuditReason, Invalid> {
    AuditReason::new(required(text, "reason")?)
}

/// Reads the ID of an approval.
pub fn id(id: Option<Uuid>) -> Result<[u8; 16], Invalid> {
    id.map(|id| *id.as_bytes()).ok_or(Invalid::Null { argument: "id" })
}

/// Reads an action and its payload.
pub fn subject(action: Option<Text>, payload: Option<Json>) -> Result<Subject, Invalid> {
    let action = match action {
        Some(Text::TooManyBytes) => {
            return Err(Invalid::TooManyChars { argument: "action", limit: Action::LIMIT });
        }
        action => Action::new(required(action, "action")?)?,
    };
    let argument = "payload";
    match payload.map(|json| json.0) {
        Some(Text::Fits(text)) => {
            let payload = json::parse(&text).ok_or(Invalid::Payload)?;
            Ok(Subject::new(action, payload))
        }
        Some(Text::TooManyBytes) => Err(Invalid::TooManyBytes { argument, limit: Text::LIMIT }),
        Some(Text::NotUtf8) => Err(Invalid::NotUtf8 { argument }),
        None => Err(Invalid::Payload),
    }
}

/// Reads the state that `key_rotate_step` returned; NULL begins a rotation.
pub fn rotation_state(json: Option<Json>) -> Result<Option<Value>, Invalid> {
    match json.map(|json| json.0) {
        Some(Text::Fits(text)) => json::parse(&text).ok_or(Invalid::RotationState),
        Some(Text::TooManyBytes | Text::NotUtf8) => Err(Invalid::RotationState),
        None => Ok(None),
    }
}

/// Reads digests of seals; NULL means none.
pub fn digests(json: Option<LargeJson>) -> Result<Vec<Digest>, Invalid> {
    let value: Option<Value> = match json {
        None => return Ok(Vec::new()),
        Some(LargeJson(Text::Fits(text))) => json::parse(&text),
        Some(LargeJson(Text::TooManyBytes | Text::NotUtf8)) => None,
    };
    value.as_ref().and_then(Digest::parse_all).ok_or(Invalid::Digests)
}

/// Reads a range of times; NULL leaves an end open.
pub fn times(
    since: Option<TimestampWithTimeZone>,
    until: Option<TimestampWithTimeZone>,
) -> RangeInclusive<Timestamp> {
    let open = [i64::MIN, i64::MAX].map(Timestamp::from_micros);
    let [first, last] = [since, until].map(|time| time.as_ref().map(clock::from_sql));
    first.unwrap_or(open[0])..=last.unwrap_or(open[1])
}

/// Reads how many rows to return; NULL means 100. More than 10,000 would take much memory.
pub fn max_rows(rows: Option<i32>) -> Result<i32, Invalid> {
    match rows.unwrap_or(100) {
        rows @ 1.. => Ok(rows.min(10_000)),
        rows => Err(Invalid::MaxRows(rows)),
    }
}

/// Reads a time that must be given.
pub fn required_time(
    at: Option<TimestampWithTimeZone>,
    argument: &'static str,
) -> Result<Timestamp, Invalid> {
    at.as_ref().map(clock::from_sql).ok_or(Invalid::Null { argument })
}

/// Reads a time that has a step.
pub fn time(at: Option<TimestampWithTimeZone>) -> Result<Timestamp, Invalid> {
    at.as_ref().map(clock::from_sql).filter(|at| at.has_step()).ok_or(Invalid::Time)
}

/// Reads by how many steps a clock may be off; NULL means 1.
pub fn drift_steps(steps: Option<i32>) -> Result<i64, Invalid> {
    match steps.unwrap_or(1) {
        steps @ 0..=1000 => Ok(steps.into()),
        steps => Err(Invalid::DriftSteps(steps)),
    }
}

/// Reads the algorithm, digits and period; NULL means the default of each.
pub fn parameters(
    name: Option<Text>,
    digits: Option<i32>,
    period: Option<i32>,
) -> Result<Parameters, Invalid> {
    Parameters::new(
        &algorithm(name),
        digits.unwrap_or(Parameters::DIGITS),
        period.unwrap_or(Parameters::PERIOD),
    )
}

/// Reads the name of an algorithm; NULL means SHA1.
pub fn algorithm(name: Option<Text>) -> String {
    match name {
        Some(Text::Fits(name)) => name.to_string(),
        Some(Text::TooManyBytes | Text::NotUtf8) => String::new(),
        None => "SHA1".to_owned(),
    }
}

/// Reads a JSON object; NULL means an empty one.
pub fn claims(json: Option<Json>) -> Result<Map<String, Value>, Invalid> {
    match json.map(|json| json.0) {
        Some(Text::Fits(text)) => json::parse(&text).ok_or(Invalid::Claims),
        Some(Text::TooManyBytes) => {
            Err(Invalid::TooManyBytes { argument: "claims", limit: Text::LIMIT })
        }
        Some(Text::NotUtf8) => Err(Invalid::NotUtf8 { argument: "claims" }),
        None => Ok(Map::new()),
    }
}

/// Returns the lifetime of a token in microseconds, with 30 days per month; NULL leaves it to the
/// setting.
pub fn ttl(interval: Option<Interval>, kind: Kind) -> Result<Option<i64>, Invalid> {
    ttl_within(interval, kind.max_days())
}

/// Returns the lifetime of a pass in microseconds; NULL means an hour.
pub fn pass_ttl(interval: Option<Interval>) -> Result<i64, Invalid> {
    Ok(ttl_within(interval, 1)?.unwrap_or(3_600_000_000))
}

/// Reads how often a pass can be used; NULL means once.
pub fn uses(uses: Option<i32>) -> Result<i32, Invalid> {
    match uses.unwrap_or(1) {
        uses @ 1..=20 => Ok(uses),
        uses => Err(Invalid::Uses(uses)),
    }
}

/// Returns the lifetime of an approval in the same way.
pub fn approval_ttl(interval: Option<Interval>) -> Result<Option<i64>, Invalid> {
    ttl_within(interval, 7)
}

fn ttl_within(interval: Option<Interval>, days: i64) -> Result<Option<i64>, Invalid> {
    const SECOND: i64 = 1_000_000;
    let fits = |micros: &i64| (SECOND..=days * 86_400 * SECOND).contains(micros);
    let micros = interval.map(|interval| i64::try_from(interval.as_micros()).ok().filter(fits));
    micros.map(|micros| micros.ok_or(Invalid::Ttl { days })).transpose()
}

/// Returns the time to enrol in microseconds, with 30 days per month; NULL leaves it to the setting.
pub fn grace(interval: Option<Interval>) -> Result<Option<i64>, Invalid> {
    const DAYS: i64 = 366;
    let fits = |micros: &i64| (0..=DAYS * 86_400_000_000).contains(micros);
    let micros = interval.map(|interval| i64::try_from(interval.as_micros()).ok().filter(fits));
    micros.map(|micros| micros.ok_or(Invalid::Grace { days: DAYS })).transpose()
}

/// Returns the maximum age of a verification in microseconds; NULL leaves it to the setting.
pub fn max_age(interval: Option<Interval>) -> Result<Option<i64>, Invalid> {
    let Some(micros) = interval.map(|interval| interval.as_micros()) else {
        return Ok(None);
    };
    if micros < 0 { Err(Invalid::Age) } else { Ok(Some(i64::try_from(micros).unwrap_or(i64::MAX))) }
}

/// Reads a code. Returns `None` if the text cannot be one.
pub fn code(text: Option<Text>, accepts: Accepts) -> Option<Code> {
    match text {
        Some(Text::Fits(text)) => Code::parse(&text, accepts),
        _ => None,
    }
}

/// Reads a TOTP code. Returns `None` if the text cannot be one.
pub fn totp_code(text: Option<Text>) -> Option<TotpCode> {
    match text {
        Some(Text::Fits(text)) => TotpCode::parse(&text),
        _ => None,
    }
}

/// Reads a base32 secret.
pub fn secret(text: Option<Text>) -> Result<Secret, Invalid> {
    match text {
        Some(Text::Fits(text)) => Secret::from_base32(&text),
        Some(Text::TooManyBytes) => {
            Err(Invalid::TooManyBytes { argument: "secret", limit: Text::LIMIT })
        }
        Some(Text::NotUtf8) => Err(Invalid::Base32),
        None => Err(Invalid::Missing { argument: "secret" }),
    }
}
