//! What must hold for each parser, whatever its input is: one file per parser. libFuzzer makes up
//! inputs; the unit tests replay those in `fuzz/corpus`.

pub mod allauth;
pub mod app;
pub mod auth0;
pub mod base32;
pub mod better_auth;
pub mod claims;
pub mod code;
pub mod django_otp;
pub mod django_totp;
pub mod fernet;
pub mod fusionauth;
mod imported;
pub mod jwt_secret;
pub mod key_file;
pub mod keycloak;
pub mod libpam;
pub mod migration;
pub mod oath_csv;
pub mod payload;
pub mod privacyidea;
pub mod pskc;
pub mod rows;
mod silence;
pub mod supabase;
pub mod token;
pub mod uri;

/// Gives an input to a parser, and panics if something that must hold does not. Returns whether the
/// parser accepted it.
pub type Check = fn(&[u8]) -> bool;

/// All parsers, by the name of their target.
pub const ALL: [(&str, Check); 24] = [
    ("allauth", allauth::check),
    ("app", app::check),
    ("auth0", auth0::check),
    ("base32", base32::check),
    ("better_auth", better_auth::check),
    ("claims", claims::check),
    ("code", code::check),
    ("django_otp", django_otp::check),
    ("django_totp", django_totp::check),
    ("fernet", fernet::check),
    ("fusionauth", fusionauth::check),
    ("jwt_secret", jwt_secret::check),
    ("key_file", key_file::check),
    ("keycloak", keycloak::check),
    ("libpam", libpam::check),
    ("migration", migration::check),
    ("oath_csv", oath_csv::check),
    ("payload", payload::check),
    ("privacyidea", privacyidea::check),
    ("pskc", pskc::check),
    ("rows", rows::check),
    ("supabase", supabase::check),
    ("token", token::check),
    ("uri", uri::check),
];

/// A text after changes, which are pairs of a place and a character to put there; NUL ends the text.
/// `None` if it is not UTF-8 any longer.
fn changed(text: &str, changes: &[u8]) -> Option<String> {
    let mut changed = text.as_bytes().to_vec();
    for change in changes.chunks_exact(2) {
        let place = usize::from(change[0]) % (changed.len() + 1);
        match change[1] {
            0 => changed.truncate(place),
            character if place == changed.len() => changed.push(character),
            character => changed[place] = character,
        }
    }
    String::from_utf8(changed).ok()
}

/// An input as text, which is UTF-8 whenever a parser gets it; empty if it is not.
fn text(data: &[u8]) -> &str {
    std::str::from_utf8(data).unwrap_or_default()
}
