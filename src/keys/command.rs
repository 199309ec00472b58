//! Runs a command that prints keys or a secret the way PostgreSQL runs `ssl_passphrase_command`:
//! through the shell, in the data directory, with a pipe as its output.

use super::file;
use crate::error::CommandProblem;
use crate::pure::redaction;
use crate::server;
use std::io::{ErrorKind, PipeReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// The maximum run time.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The time between two checks for output, for a cancel request and for the end of the command.
const PAUSE: Duration = Duration::from_millis(2);
/// The maximum number of bytes of error output that reach the log.
const STDERR_LIMIT: usize = 4096;
/// The maximum number of consecutive reads of error output, which may be endless.
const READS_LIMIT: usize = 64;

/// Runs a command and returns its output. Its error output is copied to the server's standard
/// error, without possible keys, each line preceded by the name of the setting.
pub fn run(setting: &'static str, command: &str) -> Result<Zeroizing<String>, CommandProblem> {
    let not_started = |_| CommandProblem::NotStarted;
    let (output, its_output) = std::io::pipe().map_err(not_started)?;
    let (stderr, child_stderr) = std::io::pipe().map_err(not_started)?;
    server::set_nonblocking(&output);
    server::set_nonblocking(&stderr);
    // The command must not inherit the client's connection or the server's files.
    server::close_files_on_exec();
    let child = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(its_output)
        .stderr(child_stderr)
        // A separate process group, so that everything the shell has started can be killed.
        .process_group(0)
        .spawn()
        .map_err(not_started)?;
    let stderr = Stderr {
        setting,
        pipe: stderr,
        line: Zeroizing::new(Vec::with_capacity(STDERR_LIMIT)),
        room: STDERR_LIMIT,
        is_cut: false,
    };
    let deadline = Instant::now() + TIMEOUT;
    let mut running = Running { group: Group::of(child), output, stderr, deadline };
    let result = running.finish();
    running.stderr.drain();
    running.stderr.pass_on(true);
    result
}

/// A running command.
struct Running {
    group: Group,
    output: PipeReader,
    stderr: Stderr,
    deadline: Instant,
}

impl Running {
    fn finish(&mut self) -> Result<Zeroizing<String>, CommandProblem> {
        let bytes = file::read_limited(&mut *self)
            .map_err(|error| match error.kind() {
                ErrorKind::TimedOut => CommandProblem::TimedOut,
                _ => CommandProblem::NoOutput,
            })?
            .ok_or(CommandProblem::TooLarge)?;
        if !self.wait().ok_or(CommandProblem::TimedOut)?.success() {
            return Err(CommandProblem::Failed);
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| CommandProblem::NotText)?;
        Ok(Zeroizing::new(text.to_owned()))
    }

    fn wait(&mut self) -> Option<ExitStatus> {
        while Instant::now() < self.deadline {
            if let Some(status) = self.group.ended() {
                return Some(status);
            }
            self.stderr.drain();
            server::check_for_interrupts();
            std::thread::sleep(PAUSE);
        }
        None
    }
}

/// The error output of a command.
struct Stderr {
    setting: &'static str,
    pipe: PipeReader,
    /// The start of a line that has not ended yet.
    line: Zeroizing<Vec<u8>>,
    /// The number of bytes that may still be passed on.
    room: usize,
    is_cut: bool,
}

impl Stderr {
    /// Reads the available output and passes on whole lines immediately, because control does not
    /// return here if the call is cancelled or the process exits.
    fn drain(&mut self) {
        let mut buffer = Zeroizing::new([0; STDERR_LIMIT]);
        for _ in 0..READS_LIMIT {
            let Ok(length @ 1..) = self.pipe.read(buffer.as_mut()) else {
                break;
            };
            let taken = length.min(self.room);
            self.is_cut |= taken < length;
            self.room -= taken;
            self.line.extend(buffer.iter().take(taken));
        }
        self.pass_on(false);
    }

    fn pass_on(&mut self, is_last: bool) {
        let ended = self.line.iter().rposition(|byte| *byte == b'\n').map_or(0, |place| place + 1);
        let end = if is_last { self.line.len() } else { ended };
        let lines: Zeroizing<Vec<u8>> = Zeroizing::new(self.line.drain(..end).collect());
        let text = redaction::redacted(&lines, is_last && self.is_cut);
        if !text.is_empty() {
            // If this fails, there is nowhere to report it.
            let _ = writeln!(std::io::stderr(), "{}: {text}", self.setting);
        }
    }
}

/// Reads the output until the deadline, or until the call is cancelled.
impl Read for Running {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            self.stderr.drain();
            if Instant::now() >= self.deadline {
                return Err(ErrorKind::TimedOut.into());
            }
            match self.output.read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    server::check_for_interrupts();
                    std::thread::sleep(PAUSE);
                }
                result => return result,
            }
        }
    }
}

/// A shell and all processes it has started. They are killed when this is dropped before the shell
/// has ended (on a timeout or a cancel), and when this process exits in the middle of a call.
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
        server::kill_group_at_exit(None);
        self.is_over = true;
        Some(status)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        server::kill_group_at_exit(None);
        if !self.is_over {
            server::kill_group(self.leader.id());
        }
    }
}
