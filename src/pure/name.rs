//! Short texts such as account, label and issuer, validated once, when they are created.

use super::invalid::Invalid;
use sha2::{Digest, Sha256};
use std::ops::Deref;

/// Defines text types: argument name in SQL, maximum number of characters, further validation.
macro_rules! names {
    ($($(#[$doc:meta])* $name:ident($argument:literal, $limit:expr, $check:expr);)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name(String);

        impl $name {
            /// The maximum number of characters.
            pub const LIMIT: usize = $limit;

            /// Validates a text: it must not be empty, or longer than the limit.
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
    /// The application's key for an account: a user ID, a UUID, an email address.
    Account("account", 255, anything);
    /// The name of one authenticator app among several.
    Label("label", 64, anything);
    /// The number that is printed on a hardware token. It becomes the label of its factor.
    Serial("serial", Label::LIMIT, anything);
    /// The issuer of the codes, as authenticator apps show it. It must not contain a colon.
    Issuer("issuer", 64, no_colon);
    /// The address of a logo, which some authenticator apps show.
    Image("image", 512, https_url);
    /// The account, as authenticator apps show it.
    AccountName("account_name", Account::LIMIT, anything);
    /// The purpose of a challenge, in the application's words: login, transfer.
    Purpose("purpose", 64, anything);
    /// The name of an action that needs approval: transfer, user.delete.
    Action("action", 64, plain);
    /// The reason for an administrator's action, for the audit trail.
    AuditReason("reason", 500, long_enough);
}

impl Label {
    /// The label of an app that nobody labelled.
    pub const DEFAULT: &str = "default";
}

fn anything(_text: &str) -> Result<(), Invalid> {
    Ok(())
}

/// Allows only letters, digits and a few marks: the name is shown before the payload, and must not
/// look like one.
fn plain(action: &str) -> Result<(), Invalid> {
    let is_plain = |c: char| c.is_alphanumeric() || "_-.:/".contains(c);
    if action.chars().all(is_plain) { Ok(()) } else { Err(Invalid::Action) }
}

fn no_colon(issuer: &str) -> Result<(), Invalid> {
    if issuer.contains(':') { Err(Invalid::Colon) } else { Ok(()) }
}

/// Allows only what an app fetches without revealing to others who uses it.
fn https_url(image: &str) -> Result<(), Invalid> {
    let is_url = image.strip_prefix("https://").is_some_and(|rest| {
        !rest.is_empty() && !rest.contains(|c: char| c.is_whitespace() || c.is_control())
    });
    if is_url { Ok(()) } else { Err(Invalid::Image) }
}

/// Requires at least 3 characters, not counting surrounding whitespace.
fn long_enough(reason: &str) -> Result<(), Invalid> {
    match reason.trim().chars().count() {
        0..3 => Err(Invalid::TooFewChars { argument: "reason", min: 3 }),
        _ => Ok(()),
    }
}

/// Returns the SHA-256 of a name in hex, for use where the name is too long or must not appear.
pub fn hashed(name: &str) -> String {
    let hex = |byte: &u8| format!("{byte:02x}");
    format!("sha256:{}", Sha256::digest(name).iter().map(hex).collect::<String>())
}

/// A name of unknown encoding as text that every database can store: bytes that are not text in it
/// are written as `\\xNN`, and so is the backslash of anything that already looks like that.
pub fn escaped(name: &[u8], is_unicode: bool) -> String {
    let mut text = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        for (index, character) in chunk.valid().char_indices() {
            let is_escape = chunk.valid().get(index..).is_some_and(|rest| rest.starts_with("\\x"));
            if is_escape || !(is_unicode || character.is_ascii()) {
                text.extend(character.encode_utf8(&mut [0; 4]).bytes().map(escape));
            } else {
                text.push(character);
            }
        }
        text.extend(chunk.invalid().iter().copied().map(escape));
    }
    text
}

fn escape(byte: u8) -> String {
    format!("\\x{byte:02X}")
}

fn checked(text: String, argument: &'static str, limit: usize) -> Result<String, Invalid> {
    if text.is_empty() {
        return Err(Invalid::Missing { argument });
    }
    // JSON and URIs can contain NUL; SQL texts cannot.
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
    fn a_name_of_any_encoding_becomes_text_and_no_two_become_one() {
        let unicode = |name: &[u8]| escaped(name, true);
        assert_eq!(unicode("DOMAIN\\müller".as_bytes()), "DOMAIN\\müller");
        assert_eq!(unicode(b"m\xFCller"), "m\\xFCller");
        assert_eq!(unicode(b"m\\xFCller"), "m\\x5CxFCller");
        assert_eq!(unicode(b"\xC6\xFC\xCB\xDC"), "\\xC6\\xFC\\xCB\\xDC");
        assert_eq!(escaped("é\\x".as_bytes(), false), "\\xC3\\xA9\\x5Cx");
        assert_eq!(escaped(b"alice", false), "alice");
    }

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
    fn nul_is_rejected() {
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
    fn a_reason_needs_three_characters() {
        for text in ["ab", "  ab  ", "   "] {
            let short = Err(Invalid::TooFewChars { argument: "reason", min: 3 });
            assert_eq!(AuditReason::new(text.into()), short, "{text:?}");
        }
        assert!(AuditReason::new("new phone".into()).is_ok());
    }

    #[test]
    fn an_action_is_one_plain_word() {
        for text in ["transfer", "user.delete", "überweisung", "invoices/pay:eu-1_a"] {
            assert!(Action::new(text.into()).is_ok(), "{text}");
        }
        for text in ["a b", "transfer {\"amount\":1}", "a\n", "a\u{202e}b", "a;b"] {
            assert_eq!(Action::new(text.into()), Err(Invalid::Action), "{text}");
        }
    }

    #[test]
    fn an_image_is_an_https_url() {
        assert!(Image::new("https://example.com/logo.png".into()).is_ok());
        for text in [
            "http://example.com/a.png",
            "https://",
            "https://a b",
            "data:image/png,",
            "https://a\nb",
        ] {
            assert_eq!(Image::new(text.into()), Err(Invalid::Image), "{text}");
        }
    }

    #[test]
    fn only_the_issuer_rejects_a_colon() {
        assert_eq!(Issuer::new("Acme: Inc".into()), Err(Invalid::Colon));
        assert!(AccountName::new("a:b".into()).is_ok());
    }
}
