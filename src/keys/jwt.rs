//! The secret that signs JSON Web Tokens: the API server's, in a file of its own.

use super::file;
use crate::error::Error;
use crate::pure::jwt::Secret;
use crate::settings;

/// Reads the secret. A line end at the end of the file is not part of it.
pub fn secret() -> Result<Secret, Error> {
    let path = settings::jwt_secret_file().ok_or(Error::NoJwtSecret)?;
    // Anybody may cause the error: the path is not for them.
    let (_, text) = file::read(&path).map_err(Error::JwtSecretFile)?;
    let secret = text.strip_suffix('\n').unwrap_or(&text);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    Secret::new(secret.as_bytes()).ok_or(Error::WeakJwtSecret)
}
