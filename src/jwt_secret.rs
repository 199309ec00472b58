//! The secret that signs JSON Web Tokens: the API server's, in a file of its own.

use crate::error::Error;
use crate::{keys, settings};
use zeroize::Zeroizing;

/// Reads the secret. A line end at the end of the file is not part of it.
pub fn read() -> Result<Zeroizing<Vec<u8>>, Error> {
    let path = settings::jwt_secret_file().ok_or(Error::NoJwtSecret)?;
    let text = keys::read_secret_file(&path)?;
    let secret = text.strip_suffix('\n').unwrap_or(&text);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    Ok(Zeroizing::new(secret.as_bytes().to_vec()))
}
