//! Finds the keyring: `totp.key_command`, `totp.key_file`, `TOTP_ENCRYPTION_KEY`, the first found
//! wins. Each server process keeps what it read until the source changes.

use crate::error::{Error, FileProblem, KeyringError};
use crate::pure::keyring::Keyring;
use crate::{server, settings};
use std::cell::RefCell;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// The most bytes a source may have.
const LIMIT: u64 = 65_536;
/// How long `totp.key_command` may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a cancelled call may go on waiting for it.
const COMMAND_POLL: Duration = Duration::from_millis(100);
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
            let text = run(&command)?;
            (Source::Command(command), text, "the output of totp.key_command".to_owned())
        }
        Source::File(_) => {
            let path = settings::key_file();
            let (stamp, text) = read_file(&path).map_err(|problem| file_error(&path, problem))?;
            (Source::File(stamp), text, format!("key file {}", path.display()))
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
fn read_limited(source: impl Read) -> std::io::Result<Option<Zeroizing<Vec<u8>>>> {
    // Allocated at once: a buffer that grows would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LIMIT as usize + 1));
    source.take(LIMIT + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= LIMIT).then_some(bytes))
}

/// Runs the command as PostgreSQL runs `ssl_passphrase_command`: by the shell, in the data
/// directory, its standard error going to the server log.
fn run(command: &str) -> Result<Zeroizing<String>, Error> {
    let failed = |problem| Error::from(KeyringError::Command(problem));
    let not_started = |_| failed("It could not be started.");
    // A socket instead of a pipe, because reading from it can have a time limit.
    let (ours, theirs) = UnixStream::pair().map_err(not_started)?;
    let child = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(OwnedFd::from(theirs))
        // A group of its own, so that all that the shell has started can be ended.
        .process_group(0)
        .spawn()
        .map_err(not_started)?;
    let mut group = Group { leader: child, is_over: false };
    let deadline = Instant::now() + COMMAND_TIMEOUT;
    let late = || failed("It did not end within 10 seconds.");
    let bytes = read_limited(Until { stream: ours, deadline })
        .map_err(|error| match error.kind() {
            ErrorKind::TimedOut => late(),
            _ => failed("Its output could not be read."),
        })?
        .ok_or_else(|| failed("It printed more than 65536 bytes."))?;
    if !group.wait(deadline).ok_or_else(late)?.success() {
        return Err(failed("It exited with an error, which the server log shows."));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| failed("Its output is not UTF-8 text."))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// A command and what it has started. Dropped before its end, by a time limit or a cancel, it is
/// killed.
struct Group {
    leader: Child,
    is_over: bool,
}

impl Group {
    fn wait(&mut self, deadline: Instant) -> Option<ExitStatus> {
        while Instant::now() < deadline {
            if let Some(status) = self.leader.try_wait().ok()? {
                self.is_over = true;
                return Some(status);
            }
            server::check_for_interrupts();
            std::thread::sleep(Duration::from_millis(2));
        }
        None
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.is_over {
            server::kill_group(self.leader.id());
            // It cannot refuse that signal.
            let _ = self.leader.wait();
        }
    }
}

/// A stream that is read until a deadline, or until the call is cancelled.
struct Until {
    stream: UnixStream,
    deadline: Instant,
}

impl Read for Until {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(Some(left.min(COMMAND_POLL)))?;
            match self.stream.read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    server::check_for_interrupts();
                }
                result => return result,
            }
        }
    }
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
