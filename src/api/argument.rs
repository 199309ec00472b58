//! From SQL arguments to checked values.

use crate::error::Error;
use crate::pure::code::{Accepts, Code, TotpCode};
use crate::pure::invalid::Invalid;
use crate::pure::name::{Account, Label};
use crate::pure::secret::Secret;
use crate::server::{self, Text};
use crate::settings;

/// A text that must be there and not be empty.
pub fn required(text: Option<Text>, argument: &'static str) -> Result<String, Invalid> {
    match text {
        Some(Text::Fits(text)) if !text.is_empty() => Ok(text.to_string()),
        Some(Text::Fits(_)) | None => Err(Invalid::Missing { argument }),
        Some(Text::TooLong) => Err(Invalid::TooLong { argument, limit: Text::LIMIT }),
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
        Some(Text::TooLong) => Err(Invalid::TooLong { argument: "secret", limit: Text::LIMIT }),
        Some(Text::Foreign) => Err(Invalid::Base32),
        None => Err(Invalid::Missing { argument: "secret" }),
    }
}

/// Runs a flow that writes, with bounded waits for rows.
pub fn writing<T>(flow: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    server::with_lock_timeout(settings::lock_timeout(), flow)
}
