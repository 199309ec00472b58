//! Texts that name something: account, label, issuer. Checked once, here.

use super::invalid::Invalid;
use sha2::{Digest, Sha256};
use std::ops::Deref;

/// Types of texts: argument in SQL, the most characters, and what else is checked.
macro_rules! names {
    ($($(#[$doc:meta])* $name:ident($argument:literal, $limit:expr, $check:expr);)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name(String);

        impl $name {
            /// The most characters that it can have.
            pub const LIMIT: usize = $limit;

            /// Checks a text: not empty, and not longer than the limit.
            pub fn new(text: String) -> Result<Self, Invalid> {
                let text = checked(text, $argument, Self::LIMIT)?;
                $check(&text).map(|()| Self(text))
            }
        }

        impl Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }
    )*};
}

names! {
    /// The application's key of an account: a user id, a uuid, an e-mail address.
    Account("account", 255, anything);
    /// What a person calls one authenticator app among several.
    Label("label", 64, anything);
    /// Who issues the codes, as an authenticator app shows it. Holds no colon.
    Issuer("issuer", 64, no_colon);
    /// The account as an authenticator app shows it.
    AccountName("account_name", Account::LIMIT, anything);
    /// What a challenge is for, in the application's words: login, transfer.
    Purpose("purpose", 64, anything);
    /// Why an administrator does something, for the audit trail.
    AuditReason("reason", 500, long_enough);
}

impl Label {
    /// The label of an app that nobody labelled.
    pub const DEFAULT: &str = "default";
}

fn anything(_text: &str) -> Result<(), Invalid> {
    Ok(())
}

fn no_colon(issuer: &str) -> Result<(), Invalid> {
    if issuer.contains(':') { Err(Invalid::Colon) } else { Ok(()) }
}

/// At least 3 characters, blanks around them not counted.
fn long_enough(reason: &str) -> Result<(), Invalid> {
    match reason.trim().chars().count() {
        0..3 => Err(Invalid::TooFewChars { argument: "reason", min: 3 }),
        _ => Ok(()),
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
