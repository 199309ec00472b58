//! The secret that signs JSON Web Tokens, which is shared with the API server.

use super::file;
use crate::error::Error;
use crate::pure::jwt::Secret;
use crate::settings;

/// Reads the secret. A newline at the end of the file is not part of it.
pub fn secret() -> Result<Secret, Error> {
    let path = settings::jwt_secret_file().ok_or(Error::NoJwtSecret)?;
    // Any user can cause this error, so it does not contain the path.
    let (_, text) = file::read(&path).map_err(Error::JwtSecretFile)?;
    let secret = text.strip_suffix('\n').unwrap_or(&text);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    Secret::new(secret.as_bytes()).ok_or(Error::WeakJwtSecret)
}
