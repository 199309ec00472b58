//! From SQL arguments to checked values.

use crate::error::Error;
use crate::pure::code::{Accepts, Code, TotpCode};
use crate::pure::invalid::Invalid;
use crate::pure::name::{Account, Label, Purpose};
use crate::pure::secret::Secret;
use crate::pure::token::Kind;
use crate::server::{self, Json, Text};
use crate::settings;
use pgrx::datum::Interval;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

/// A text that must be there and not be empty.
pub fn required(text: Option<Text>, argument: &'static str) -> Result<String, Invalid> {
    match text {
        Some(Text::Fits(text)) if !text.is_empty() => Ok(text.to_string()),
        Some(Text::Fits(_)) | None => Err(Invalid::Missing { argument }),
        Some(Text::TooLong) => Err(Invalid::TooLarge { argument, limit: Text::LIMIT }),
        Some(Text::Foreign) => Err(Invalid::Foreign { argument }),
    }
}

/// A text that may be NULL.
pub fn optional(text: Option<Text>, argument: &'static str) -> Result<Option<String>, Invalid> {
    text.map(|text| required(Some(text), argument)).transpose()
}

/// An account.
pub fn account(text: Option<Text>) -> Result<Account, Invalid> {
    match text {
        Some(Text::TooLong) => Err(Invalid::TooLong { argument: "account", limit: Account::LIMIT }),
        text => Account::new(required(text, "account")?),
    }
}

/// A label; NULL is the default one.
pub fn label(text: Option<Text>) -> Result<Label, Invalid> {
    match text {
        Some(Text::TooLong) => Err(Invalid::TooLong { argument: "label", limit: Label::LIMIT }),
        Some(text) => Label::new(required(Some(text), "label")?),
        None => Label::new("default".to_owned()),
    }
}

/// A challenge's purpose; NULL is a login.
pub fn purpose(text: Option<Text>) -> Result<Purpose, Invalid> {
    match text {
        Some(Text::TooLong) => Err(Invalid::TooLong { argument: "purpose", limit: Purpose::LIMIT }),
        Some(text) => Purpose::new(required(Some(text), "purpose")?),
        None => Purpose::new("login".to_owned()),
    }
}

/// A text that is compared with another. One that cannot be right becomes one that no text of SQL
/// is.
pub fn compared(text: Option<Text>) -> Option<Zeroizing<String>> {
    match text? {
        Text::Fits(text) => Some(text),
        Text::TooLong | Text::Foreign => Some("\0".to_owned().into()),
    }
}

/// A JSON object, as text; NULL is an empty one.
pub fn claims(json: Option<Json>) -> Result<Map<String, Value>, Invalid> {
    match json.map(|json| json.0) {
        Some(Text::Fits(text)) => serde_json::from_str(&text).map_err(|_| Invalid::Claims),
        Some(Text::TooLong) => Err(Invalid::TooLarge { argument: "claims", limit: Text::LIMIT }),
        Some(Text::Foreign) => Err(Invalid::Foreign { argument: "claims" }),
        None => Ok(Map::new()),
    }
}

/// The life of a token in microseconds, a month being 30 days; NULL is the setting's.
pub fn ttl(interval: Option<Interval>, kind: Kind) -> Result<Option<i64>, Invalid> {
    const SECOND: i64 = 1_000_000;
    let days = kind.most_days();
    let fits = |micros: &i64| (SECOND..=days * 86_400 * SECOND).contains(micros);
    let micros = interval.map(|interval| i64::try_from(interval.as_micros()).ok().filter(fits));
    micros.map(|micros| micros.ok_or(Invalid::Ttl { days })).transpose()
}

/// The greatest age of a proof in microseconds; NULL is the setting's.
pub fn max_age(interval: Option<Interval>) -> Result<Option<i64>, Invalid> {
    let Some(micros) = interval.map(|interval| interval.as_micros()) else {
        return Ok(None);
    };
    if micros < 0 { Err(Invalid::Age) } else { Ok(Some(i64::try_from(micros).unwrap_or(i64::MAX))) }
}

/// A code; `None` when the text cannot be one.
pub fn code(text: Option<Text>, accepts: Accepts) -> Option<Code> {
    match text {
        Some(Text::Fits(text)) => Code::parse(&text, accepts),
        _ => None,
    }
}

/// A TOTP code; `None` when the text cannot be one.
pub fn totp_code(text: Option<Text>) -> Option<TotpCode> {
    match text {
        Some(Text::Fits(text)) => TotpCode::parse(&text),
        _ => None,
    }
}

/// A base32 secret.
pub fn secret(text: Option<Text>) -> Result<Secret, Invalid> {
    match text {
        Some(Text::Fits(text)) => Secret::from_base32(&text),
        Some(Text::TooLong) => Err(Invalid::TooLarge { argument: "secret", limit: Text::LIMIT }),
        Some(Text::Foreign) => Err(Invalid::Base32),
        None => Err(Invalid::Missing { argument: "secret" }),
    }
}

/// Runs a flow that writes, with bounded waits for rows.
pub fn writing<T>(flow: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    server::with_lock_timeout(settings::lock_timeout(), flow)
}
