//! The only module that reads the operating system's random number generator.

use crate::error::Error;
use rand::TryRng;
use rand::rngs::SysRng;
use zeroize::Zeroizing;

/// Returns an array of random bytes, wiped when dropped.
pub fn array<const N: usize>() -> Result<Zeroizing<[u8; N]>, Error> {
    let mut bytes = Zeroizing::new([0; N]);
    SysRng.try_fill_bytes(bytes.as_mut_slice()).map_err(|_| Error::Random)?;
    Ok(bytes)
}

/// Returns a random UUID (RFC 9562, 5.4).
pub fn uuid() -> Result<uuid::Uuid, Error> {
    Ok(uuid::Builder::from_random_bytes(*array::<16>()?).into_uuid())
}

/// Returns a vector of random bytes, which the caller must wipe.
pub fn vec(length: usize) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0; length];
    SysRng.try_fill_bytes(&mut bytes).map_err(|_| Error::Random)?;
    Ok(bytes)
}
