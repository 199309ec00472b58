//! Texts that name something: account, label, issuer. Checked once, here.

use super::invalid::Invalid;
use sha2::{Digest, Sha256};
use std::ops::Deref;

/// The application's key of an account: a user id, a uuid, an e-mail address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account(String);

/// What a person calls one authenticator app among several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label(String);

/// Who issues the codes, as an authenticator app shows it. Holds no colon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer(String);

/// The account as an authenticator app shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountName(String);

/// What a challenge is for, in the application's words: login, transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purpose(String);

/// Why an administrator does something, for the audit trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditReason(String);

impl Account {
    /// The most characters of an account: room for every e-mail address.
    pub const LIMIT: usize = 255;

    /// Checks a text of 1 to 255 characters.
    pub fn new(text: String) -> Result<Self, Invalid> {
        checked(text, "account", Self::LIMIT).map(Self)
    }
}

impl Label {
    /// The most characters of a label.
    pub const LIMIT: usize = 64;

    /// Checks a text of 1 to 64 characters.
    pub fn new(text: String) -> Result<Self, Invalid> {
        checked(text, "label", Self::LIMIT).map(Self)
    }
}

impl Issuer {
    /// The most characters of an issuer.
    pub const LIMIT: usize = 64;

    /// Checks a text of 1 to 64 characters without a colon.
    pub fn new(text: String) -> Result<Self, Invalid> {
        let text = checked(text, "issuer", Self::LIMIT)?;
        if text.contains(':') {
            return Err(Invalid::Colon);
        }
        Ok(Self(text))
    }
}

impl AccountName {
    /// The most characters of an account name.
    pub const LIMIT: usize = Account::LIMIT;

    /// Checks a text of 1 to 255 characters.
    pub fn new(text: String) -> Result<Self, Invalid> {
        checked(text, "account_name", Self::LIMIT).map(Self)
    }
}

impl Purpose {
    /// The most characters of a purpose.
    pub const LIMIT: usize = 64;

    /// Checks a text of 1 to 64 characters.
    pub fn new(text: String) -> Result<Self, Invalid> {
        checked(text, "purpose", Self::LIMIT).map(Self)
    }
}

impl AuditReason {
    /// The fewest characters that can mean something.
    pub const MIN: usize = 3;
    /// The most characters of a justification.
    pub const LIMIT: usize = 500;

    /// Checks a text of 3 to 500 characters, blanks around it not counted.
    pub fn new(text: String) -> Result<Self, Invalid> {
        let text = checked(text, "reason", Self::LIMIT)?;
        if text.trim().chars().count() < Self::MIN {
            return Err(Invalid::TooFewChars { argument: "reason", min: Self::MIN });
        }
        Ok(Self(text))
    }
}

/// What stands for a name where the name itself must not, or is too long: its SHA-256 in hex.
pub fn hashed(name: &str) -> String {
    let hex = |byte: &u8| format!("{byte:02x}");
    format!("sha256:{}", Sha256::digest(name).iter().map(hex).collect::<String>())
}

fn checked(text: String, argument: &'static str, limit: usize) -> Result<String, Invalid> {
    if text.is_empty() {
        return Err(Invalid::Missing { argument });
    }
    // JSON and URIs can write it, texts of SQL cannot hold it.
    if text.contains('\0') {
        return Err(Invalid::NotUtf8 { argument });
    }
    if text.chars().count() > limit {
        return Err(Invalid::TooManyChars { argument, limit });
    }
    Ok(text)
}

macro_rules! reads_as_str {
    ($($name:ty),*) => {$(
        impl Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }
    )*};
}

reads_as_str!(Account, Label, Issuer, AccountName, Purpose, AuditReason);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_count_characters_not_bytes() {
        assert!(Account::new("🔑".repeat(255)).is_ok());
        assert_eq!(
            Account::new("a".repeat(256)),
            Err(Invalid::TooManyChars { argument: "account", limit: 255 })
        );
        assert_eq!(Label::new(String::new()), Err(Invalid::Missing { argument: "label" }));
    }

    #[test]
    fn no_name_has_a_nul_in_it() {
        assert_eq!(Account::new("a\0b".into()), Err(Invalid::NotUtf8 { argument: "account" }));
        assert_eq!(Issuer::new("\0".into()), Err(Invalid::NotUtf8 { argument: "issuer" }));
    }

    #[test]
    fn a_hashed_name_is_its_sha_256() {
        // printf alice | sha256sum
        assert_eq!(
            hashed("alice"),
            "sha256:2bd806c97f0e00af1a1fc3328fa763a9269723c8db8fac4f93af71db186d6e90"
        );
    }

    #[test]
    fn a_justification_says_something() {
        for text in ["ab", "  ab  ", "   "] {
            let short = Err(Invalid::TooFewChars { argument: "reason", min: 3 });
            assert_eq!(AuditReason::new(text.into()), short, "{text:?}");
        }
        assert!(AuditReason::new("new phone".into()).is_ok());
    }

    #[test]
    fn only_the_issuer_refuses_a_colon() {
        assert_eq!(Issuer::new("Acme: Inc".into()), Err(Invalid::Colon));
        assert!(AccountName::new("a:b".into()).is_ok());
    }
}
