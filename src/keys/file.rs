//! Files with keys and secrets that are private to the server.

use crate::error::FileProblem;
use crate::server;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use zeroize::Zeroizing;

/// The user ID of root, which mounts secrets in containers.
const ROOT: u32 = 0;
/// The maximum size of a source of keys, in bytes.
const LIMIT: u64 = 65_536;

/// A version of a file. It differs after the file is written or replaced, or another is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl From<&Metadata> for FileStamp {
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

/// Reads a file whose owner and mode PostgreSQL would accept for its `ssl_key_file`.
pub fn read(path: &Path) -> Result<(FileStamp, Zeroizing<String>), FileProblem> {
    let io = |error: std::io::Error| FileProblem::Io(error.kind());
    // Checked before opening, because opening a pipe would block and opening another user's file
    // would give a less specific error; and again afterwards, in case the file was replaced.
    check(&std::fs::metadata(path).map_err(io)?)?;
    let file = File::open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    check(&metadata)?;
    let bytes = read_limited(file).map_err(io)?.ok_or(FileProblem::TooLarge)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| FileProblem::NotText)?;
    Ok((FileStamp::from(&metadata), Zeroizing::new(text.to_owned())))
}

fn check(file: &Metadata) -> Result<(), FileProblem> {
    if !file.is_file() {
        return Err(FileProblem::NotAFile);
    }
    let own_user = own_user().map_err(|error| FileProblem::Io(error.kind()))?;
    let mode = file.mode() & 0o7777;
    match file.uid() {
        owner if owner == own_user && mode & 0o077 != 0 => Err(FileProblem::Mode(mode)),
        ROOT if mode & 0o037 != 0 => Err(FileProblem::RootMode(mode)),
        owner if owner == own_user || owner == ROOT => Ok(()),
        _ => Err(FileProblem::Owner),
    }
}

/// Returns the ID of the server's operating system user, which always owns the data directory.
fn own_user() -> std::io::Result<u32> {
    std::fs::metadata(server::data_directory()).map(|directory| directory.uid())
}

/// Reads a source to its end. Returns `None` if it is larger than any keyring.
pub fn read_limited(source: impl Read) -> std::io::Result<Option<Zeroizing<Vec<u8>>>> {
    // Allocated up front, because a growing buffer would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LIMIT as usize + 1));
    source.take(LIMIT + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= LIMIT).then_some(bytes))
}

/// Writes a key to a new file and makes sure that it survives a crash.
pub fn write_new(path: &Path, key: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "# totp encryption keys: the first encrypts, all decrypt")?;
    writeln!(file, "{key}")?;
    file.sync_all()?;
    // The directory entry must survive too, or secrets encrypted with the key would be lost.
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}
