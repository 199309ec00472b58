//! Finds the keyring in `totp.key_command`, `totp.key_file` or `TOTP_ENCRYPTION_KEY`; the first one
//! found takes precedence. Each server process caches it until the source changes, or until
//! `key_rotate` runs the command again.

mod command;
mod file;
pub mod import_file;
pub mod jwt;

use crate::error::notice::generated;
use crate::error::{Error, FileProblem, KeySource, KeyringError};
use crate::pure::keyring::Keyring;
use crate::{server, settings};
use file::FileStamp;
use std::cell::RefCell;
use std::io::ErrorKind;
use std::rc::Rc;
use zeroize::Zeroizing;

const VARIABLE: &str = "TOTP_ENCRYPTION_KEY";

/// The source of a keyring, in enough detail to detect changes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Command(String),
    File(FileStamp),
    Variable,
}

thread_local! {
    static CACHE: RefCell<Option<(Source, Rc<Keyring>)>> = const { RefCell::new(None) };
}

/// Returns the current keyring.
pub fn keyring() -> Result<Rc<Keyring>, Error> {
    let source = find_source()?.ok_or(KeyringError::Missing { is_needed: true })?;
    CACHE.with_borrow_mut(|cache| {
        if let Some((known, keyring)) = cache
            && *known == source
        {
            return Ok(Rc::clone(keyring));
        }
        *cache = None;
        let (source, keyring) = read(source)?;
        let keyring = Rc::new(keyring);
        *cache = Some((source, Rc::clone(&keyring)));
        Ok(keyring)
    })
}

/// Discards the output of `totp.key_command`, so that the next call runs it again.
pub fn forget_command() {
    CACHE.with_borrow_mut(|cache| {
        *cache = cache.take().filter(|(source, _)| !matches!(source, Source::Command(_)));
    });
}

/// Returns the source of the current keyring; `None` if no source has one.
pub fn source() -> Result<Option<KeySource>, Error> {
    Ok(find_source()?.map(|source| match source {
        Source::Command(_) => KeySource::Command,
        Source::File(_) => KeySource::File,
        Source::Variable => KeySource::Variable,
    }))
}

/// Generates a key. If no source has keys, writes it to the key file; otherwise returns it, to be
/// added by hand. Also returns the ID of the key.
pub fn generate() -> Result<(String, String), Error> {
    let key = Keyring::new_key();
    let id = Keyring::id_of(&key);
    if find_source()?.is_some() {
        return Ok((key.to_string(), id));
    }
    let path = settings::key_file();
    file::write_new(&path, &key).map_err(|error| KeyringError::NotWritten(error.kind()))?;
    Ok((generated(&id, &path, is_in_data_directory()), id))
}

/// Returns whether the key file, with links resolved, is in the data directory.
pub fn is_in_data_directory() -> bool {
    match (settings::key_file().canonicalize(), server::data_directory().canonicalize()) {
        (Ok(file), Ok(directory)) => file.starts_with(directory),
        _ => false,
    }
}

fn find_source() -> Result<Option<Source>, Error> {
    if let Some(command) = settings::key_command() {
        return Ok(Some(Source::Command(command)));
    }
    match std::fs::metadata(settings::relative_key_file()) {
        Ok(file) => Ok(Some(Source::File(FileStamp::from(&file)))),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Ok(std::env::var_os(VARIABLE).map(|_| Source::Variable))
        }
        Err(error) => Err(KeyringError::File(FileProblem::Io(error.kind())).into()),
    }
}

fn read(source: Source) -> Result<(Source, Keyring), Error> {
    let (source, text, name) = match source {
        Source::Command(command) => {
            let text = command::run("totp.key_command", &command).map_err(KeyringError::Command)?;
            (Source::Command(command), text, KeySource::Command)
        }
        Source::File(_) => {
            let (stamp, text) = file::read(&settings::key_file()).map_err(KeyringError::File)?;
            (Source::File(stamp), text, KeySource::File)
        }
        Source::Variable => {
            let text = Zeroizing::new(std::env::var(VARIABLE).unwrap_or_default());
            (Source::Variable, text, KeySource::Variable)
        }
    };
    let keyring =
        Keyring::parse(&text).map_err(|flaw| KeyringError::Malformed { source: name, flaw })?;
    Ok((source, keyring))
}
