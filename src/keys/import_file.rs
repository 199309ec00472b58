//! Files with keys and passwords of other systems, for imports.

use super::file;
use crate::error::Error;
use crate::pure::invalid::Invalid;
use crate::settings;
use std::path::{Component, Path};
use zeroize::Zeroizing;

/// Reads a file in the directory that `totp.import_directory` names. The rules for its owner and mode
/// are those of the key file.
pub fn read(name: &str) -> Result<Zeroizing<String>, Error> {
    let directory = settings::import_directory().ok_or(Error::NoImportDirectory)?;
    let mut components = Path::new(name).components();
    match (components.next(), components.next()) {
        (Some(Component::Normal(only)), None) if only == name => {}
        _ => return Err(Invalid::FileName.into()),
    }
    // The error does not contain the path, which callers need not know.
    let (_, text) = file::read(&directory.join(name)).map_err(Error::ImportFile)?;
    Ok(text)
}
