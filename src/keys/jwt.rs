//! Reads the secret that signs JSON Web Tokens: the API server's, from `totp.jwt_secret_command`, else
//! from `totp.jwt_secret_file`.

use super::{command, file};
use crate::error::Error;
use crate::pure::jwt::Secret;
use crate::pure::jwt_secret;
use crate::settings;
use std::cell::RefCell;
use std::rc::Rc;

thread_local! {
    /// What a command printed, and whether that was base64, until either setting changes.
    static CACHE: RefCell<Option<((String, bool), Rc<Secret>)>> = const { RefCell::new(None) };
}

/// Reads the secret; runs the command once per server process.
pub fn secret() -> Result<Rc<Secret>, Error> {
    let is_base64 = settings::jwt_secret_base64();
    let parse =
        |text: &str| jwt_secret::parse(text, is_base64).map(Rc::new).map_err(Error::JwtSecret);
    let Some(command) = settings::jwt_secret_command() else {
        let path = settings::jwt_secret_file().ok_or(Error::NoJwtSecret)?;
        // Anybody may cause the error: the path is not for them.
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
