//! The secret that signs JSON Web Tokens, which is shared with the API server.

use super::{command, file};
use crate::error::Error;
use crate::pure::jwt::Secret;
use crate::pure::jwt_secret;
use crate::settings;
use std::cell::RefCell;
use std::rc::Rc;

thread_local! {
    /// The secret that a command printed, until the command or `totp.jwt_secret_base64` changes.
    static CACHE: RefCell<Option<((String, bool), Rc<Secret>)>> = const { RefCell::new(None) };
}

/// Reads the secret. Each server process runs `totp.jwt_secret_command` once.
pub fn secret() -> Result<Rc<Secret>, Error> {
    let is_base64 = settings::jwt_secret_base64();
    let parse =
        |text: &str| jwt_secret::parse(text, is_base64).map(Rc::new).map_err(Error::JwtSecret);
    let Some(command) = settings::jwt_secret_command() else {
        let path = settings::jwt_secret_file().ok_or(Error::NoJwtSecret)?;
        // Any user can cause this error, so it does not contain the path.
        let (_, text) = file::read(&path).map_err(Error::JwtSecretFile)?;
        return parse(&text);
    };
    CACHE.with_borrow_mut(|cache| {
        let source = (command, is_base64);
        if let Some((known, secret)) = cache
            && *known == source
        {
            return Ok(Rc::clone(secret));
        }
        *cache = None;
        let text =
            command::run("totp.jwt_secret_command", &source.0).map_err(Error::JwtSecretCommand)?;
        let secret = parse(&text)?;
        *cache = Some((source, Rc::clone(&secret)));
        Ok(secret)
    })
}
