//! Finds the keyring: `totp.key_command`, `totp.key_file`, `TOTP_ENCRYPTION_KEY`, the first found
//! wins. Each server process keeps what it read until the source changes, or until `key_rotate` asks the
//! command anew.

use crate::error::{Error, FileProblem, KeyringError};
use crate::pure::keyring::Keyring;
use crate::{key_command, server, settings};
use std::cell::RefCell;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use zeroize::Zeroizing;

/// The most bytes a source may have.
const LIMIT: u64 = 65_536;
const VARIABLE: &str = "TOTP_ENCRYPTION_KEY";

/// Where a keyring came from, in enough detail to see that it changed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Command(String),
    File(Stamp),
    Variable,
}

/// What changes when a file is written or replaced, or another one is set.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl From<&Metadata> for Stamp {
    fn from(file: &Metadata) -> Self {
        Self {
            device: file.dev(),
            inode: file.ino(),
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }
}

thread_local! {
    static CACHE: RefCell<Option<(Source, Rc<Keyring>)>> = const { RefCell::new(None) };
}

/// The keyring in force.
pub fn keyring() -> Result<Rc<Keyring>, Error> {
    let source = find()?.ok_or_else(|| KeyringError::Missing { file: settings::key_file() })?;
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

/// Forgets what `totp.key_command` has printed, so that the next call runs it anew.
pub fn forget_command() {
    CACHE.with_borrow_mut(|cache| {
        *cache = cache.take().filter(|(source, _)| !matches!(source, Source::Command(_)));
    });
}

/// Where keys come from.
pub enum Origin {
    /// `totp.key_command`.
    Command,
    /// This file.
    File(PathBuf),
    /// The server's environment.
    Variable,
}

/// Where the keyring in force comes from; `None` when no source has one.
pub fn origin() -> Result<Option<Origin>, Error> {
    Ok(find()?.map(|source| match source {
        Source::Command(_) => Origin::Command,
        Source::File(_) => Origin::File(settings::key_file()),
        Source::Variable => Origin::Variable,
    }))
}

/// Makes a key. When no source has one it becomes the key file, else it is returned to be added by
/// hand.
pub fn generate() -> Result<String, Error> {
    let key = Keyring::new_key();
    if find()?.is_some() {
        return Ok(key.to_string());
    }
    let path = settings::key_file();
    write_new(&path, &key).map_err(|error| file_error(&path, FileProblem::Io(error.kind())))?;
    Ok(format!("wrote key {} to {}", Keyring::id_of(&key), path.display()))
}

fn find() -> Result<Option<Source>, Error> {
    if let Some(command) = settings::key_command() {
        return Ok(Some(Source::Command(command)));
    }
    match std::fs::metadata(settings::key_file_from_here()) {
        Ok(file) => Ok(Some(Source::File(Stamp::from(&file)))),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Ok(std::env::var_os(VARIABLE).map(|_| Source::Variable))
        }
        Err(error) => Err(file_error(&settings::key_file(), FileProblem::Io(error.kind()))),
    }
}

fn read(source: Source) -> Result<(Source, Keyring), Error> {
    let (source, text, name) = match source {
        Source::Command(command) => {
            let text = key_command::run(&command)?;
            (Source::Command(command), text, "the output of totp.key_command".to_owned())
        }
        Source::File(_) => {
            let path = settings::key_file();
            let (stamp, text) = read_file(&path).map_err(|problem| file_error(&path, problem))?;
            (Source::File(stamp), text, format!("key file \"{}\"", path.display()))
        }
        Source::Variable => {
            let text = Zeroizing::new(std::env::var(VARIABLE).unwrap_or_default());
            (Source::Variable, text, format!("environment variable {VARIABLE}"))
        }
    };
    let keyring =
        Keyring::parse(&text).map_err(|flaw| KeyringError::Malformed { source: name, flaw })?;
    Ok((source, keyring))
}

/// The text of a file that only the server's user can read.
pub fn read_secret_file(path: &Path) -> Result<Zeroizing<String>, FileProblem> {
    read_file(path).map(|(_, text)| text)
}

fn read_file(path: &Path) -> Result<(Stamp, Zeroizing<String>), FileProblem> {
    let io = |error: std::io::Error| FileProblem::Io(error.kind());
    // Looked at before it is opened, since opening a pipe would wait for its other end, and that of
    // another user says less; and afterwards, since it may have been replaced.
    check(&std::fs::metadata(path).map_err(io)?)?;
    let file = File::open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    check(&metadata)?;
    let bytes = read_limited(file).map_err(io)?.ok_or(FileProblem::TooLarge)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| FileProblem::NotText)?;
    Ok((Stamp::from(&metadata), Zeroizing::new(text.to_owned())))
}

fn check(file: &Metadata) -> Result<(), FileProblem> {
    if !file.is_file() {
        return Err(FileProblem::NotAFile);
    }
    if file.mode() & 0o077 != 0 {
        return Err(FileProblem::Mode(file.mode() & 0o7777));
    }
    let own_user = own_user().map_err(|error| FileProblem::Io(error.kind()))?;
    if file.uid() == own_user { Ok(()) } else { Err(FileProblem::Owner) }
}

/// The user this server runs as: PostgreSQL starts only in a data directory of its own.
fn own_user() -> std::io::Result<u32> {
    std::fs::metadata(server::data_directory()).map(|directory| directory.uid())
}

/// Everything a source holds, or `None` when that is more than a keyring can be.
pub fn read_limited(source: impl Read) -> std::io::Result<Option<Zeroizing<Vec<u8>>>> {
    // Allocated at once: a buffer that grows would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LIMIT as usize + 1));
    source.take(LIMIT + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= LIMIT).then_some(bytes))
}

fn write_new(path: &Path, key: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "# totp encryption keys: the first seals, all open")?;
    writeln!(file, "{key}")?;
    file.sync_all()?;
    // The name must survive a crash too, or secrets sealed with the key would be lost.
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

fn file_error(path: &Path, problem: FileProblem) -> Error {
    KeyringError::File { file: path.to_owned(), problem }.into()
}
