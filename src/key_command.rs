//! Runs `totp.key_command`, as PostgreSQL runs `ssl_passphrase_command`: by the shell, in the data
//! directory.

use crate::error::{Error, KeyringError};
use crate::pure::complaint;
use crate::{keys, server};
use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// How long it may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a cancelled call may go on waiting for it.
const POLL: Duration = Duration::from_millis(100);
/// The most bytes of its standard error that are looked at.
const COMPLAINTS_LIMIT: usize = 4096;
/// The most reads of its standard error in a row: it may write without end.
const READS_LIMIT: usize = 64;

/// What a command prints. Its standard error goes to the server's log, without what may be a key.
pub fn run(command: &str) -> Result<Zeroizing<String>, Error> {
    let not_started = |_| failed("It could not be started.");
    // Sockets instead of pipes, because reading from them can have a time limit.
    let (output, its_output) = UnixStream::pair().map_err(not_started)?;
    let (complaints, its_complaints) = UnixStream::pair().map_err(not_started)?;
    complaints.set_nonblocking(true).map_err(not_started)?;
    // Neither the client's connection nor a file of the server's is the command's business.
    server::close_files_on_exec();
    let child = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(OwnedFd::from(its_output))
        .stderr(OwnedFd::from(its_complaints))
        // A group of its own, so that all that the shell has started can be ended.
        .process_group(0)
        .spawn()
        .map_err(not_started)?;
    let mut running = Running {
        group: Group::of(child),
        output,
        complaints,
        complained: Zeroizing::new(Vec::with_capacity(COMPLAINTS_LIMIT)),
        deadline: Instant::now() + TIMEOUT,
    };
    let result = running.finish();
    running.hear();
    if !running.complained.is_empty() {
        server::log(format!("totp.key_command: {}", complaint::redacted(&running.complained)));
    }
    result
}

fn failed(problem: &'static str) -> Error {
    KeyringError::Command(problem).into()
}

/// A command on its way.
struct Running {
    group: Group,
    output: UnixStream,
    complaints: UnixStream,
    complained: Zeroizing<Vec<u8>>,
    deadline: Instant,
}

impl Running {
    fn finish(&mut self) -> Result<Zeroizing<String>, Error> {
        let late = || failed("It did not end within 10 seconds.");
        let bytes = keys::read_limited(&mut *self)
            .map_err(|error| match error.kind() {
                ErrorKind::TimedOut => late(),
                _ => failed("Its output could not be read."),
            })?
            .ok_or_else(|| failed("It printed more than 65536 bytes."))?;
        if !self.wait().ok_or_else(late)?.success() {
            return Err(failed("It exited with an error, which the server log shows."));
        }
        let text =
            std::str::from_utf8(&bytes).map_err(|_| failed("Its output is not UTF-8 text."))?;
        Ok(Zeroizing::new(text.to_owned()))
    }

    fn wait(&mut self) -> Option<ExitStatus> {
        while Instant::now() < self.deadline {
            if let Some(status) = self.group.ended() {
                return Some(status);
            }
            self.hear();
            server::check_for_interrupts();
            std::thread::sleep(Duration::from_millis(2));
        }
        None
    }

    /// Takes what it has complained of so far, and keeps the begin of it.
    fn hear(&mut self) {
        let mut buffer = Zeroizing::new([0; COMPLAINTS_LIMIT]);
        for _ in 0..READS_LIMIT {
            let Ok(length @ 1..) = self.complaints.read(buffer.as_mut()) else {
                return;
            };
            let room = COMPLAINTS_LIMIT.saturating_sub(self.complained.len());
            self.complained.extend(buffer.iter().take(length.min(room)));
        }
    }
}

/// Its output, until the deadline, or until the call is cancelled.
impl Read for Running {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            self.hear();
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            self.output.set_read_timeout(Some(left.min(POLL)))?;
            match self.output.read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    server::check_for_interrupts();
                }
                result => return result,
            }
        }
    }
}

/// A shell and what it has started. It is killed when it is dropped before its end, by a time limit or
/// a cancel, and when this process ends in the middle.
struct Group {
    leader: Child,
    is_over: bool,
}

impl Group {
    fn of(leader: Child) -> Self {
        server::kill_group_at_exit(Some(leader.id()));
        Self { leader, is_over: false }
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.leader.try_wait().ok()??;
        self.is_over = true;
        Some(status)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        server::kill_group_at_exit(None);
        if !self.is_over {
            server::kill_group(self.leader.id());
            // It cannot refuse that signal.
            let _ = self.leader.wait();
        }
    }
}
