//! The server process: its startup, open files and child processes.

use pgrx::pg_sys;
use pgrx::prelude::pg_guard;
use std::ffi::{CStr, OsString, c_char};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Returns whether `shared_preload_libraries` is currently loading the library.
pub fn is_preloading() -> bool {
    // SAFETY: a flag of this process, written by its only thread.
    unsafe { pg_sys::process_shared_preload_libraries_in_progress }
}

/// Reserves a prefix for the settings of this library, and warns of unknown settings with it.
pub fn reserve_setting_prefix(prefix: &'static CStr) {
    // SAFETY: the name is a static C string, which the server copies.
    unsafe { pg_sys::MarkGUCPrefixReserved(prefix.as_ptr()) };
}

/// Keeps Rust backtraces, which name build paths, out of error messages.
pub fn hide_backtraces() {
    // SAFETY: a server process has one thread when it loads a library.
    unsafe { std::env::set_var("RUST_LIB_BACKTRACE", "0") };
}

/// Returns the data directory.
pub fn data_directory() -> PathBuf {
    // SAFETY: set before any library is loaded, and never changed.
    let path = unsafe { c_bytes(pg_sys::DataDir) }.unwrap_or_default();
    OsString::from_vec(path).into()
}

/// Aborts the call here if the user or an administrator has cancelled it.
pub fn check_for_interrupts() {
    pgrx::check_for_interrupts!();
}

/// Sleeps, unless the call is cancelled in the meantime.
pub fn sleep(time: Duration) {
    const SLICE: Duration = Duration::from_millis(50);
    let end = Instant::now() + time;
    loop {
        check_for_interrupts();
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(left.min(SLICE));
    }
}

/// Kills the process group that a child leads, and waits until all its processes have ended.
pub fn kill_group(leader: u32) {
    if let Ok(leader @ 2..) = i32::try_from(leader) {
        // Otherwise process 1 would inherit them. In many containers that is PostgreSQL itself, which
        // would treat their exit as a crash.
        set_child_subreaper(true);
        // SAFETY: system calls that access no memory. The leader is a child that has not been waited
        // for, so its ID cannot belong to another process.
        unsafe {
            libc::kill(-leader, libc::SIGKILL);
            while libc::waitpid(-leader, std::ptr::null_mut(), 0) > 0 {}
        }
        set_child_subreaper(false);
    }
}

/// Sets whether this process inherits the children of its children.
fn set_child_subreaper(is_wanted: bool) {
    #[cfg(target_os = "linux")]
    // SAFETY: a system call without pointers, about this process.
    unsafe {
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, libc::c_ulong::from(is_wanted));
    }
    #[cfg(not(target_os = "linux"))]
    let _ = is_wanted;
}

/// Registers a process group to be killed if this process exits in the middle of a call, where no
/// destructor runs; `None` unregisters it. It has no effect if this process itself is killed.
pub fn kill_group_at_exit(leader: Option<u32>) {
    static LEADER: AtomicU32 = AtomicU32::new(0);
    static IS_REGISTERED: AtomicBool = AtomicBool::new(false);
    #[pg_guard]
    unsafe extern "C-unwind" fn at_exit(_status: i32, _argument: pg_sys::Datum) {
        match LEADER.load(Ordering::Relaxed) {
            0 => {}
            leader => kill_group(leader),
        }
    }
    LEADER.store(leader.unwrap_or_default(), Ordering::Relaxed);
    if !IS_REGISTERED.swap(true, Ordering::Relaxed) {
        // SAFETY: the function lives as long as the process, and ignores its argument.
        unsafe { pg_sys::on_proc_exit(Some(at_exit), 0.into()) };
    }
}

/// Prevents child processes from inheriting open files, including the client's connection.
pub fn close_files_on_exec() {
    let listed = std::fs::read_dir("/dev/fd").into_iter().flatten().flatten();
    let listed = listed.filter_map(|file| file.file_name().to_str()?.parse().ok());
    // If none are listed, at least those that a server process usually has.
    for file in listed.chain(3..256).filter(|file: &i32| *file > 2) {
        // SAFETY: a system call without pointers, which fails for a file that is not open.
        unsafe { libc::fcntl(file, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// Makes reads from a pipe return immediately if it is empty.
pub fn set_nonblocking(pipe: &impl AsRawFd) {
    // SAFETY: a system call without pointers, on an open file.
    unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
}

/// Copies a C string; returns `None` if it is null.
///
/// # Safety
/// `chars` must be null or a C string that stays valid during the call.
pub(super) unsafe fn c_bytes(chars: *const c_char) -> Option<Vec<u8>> {
    // SAFETY: guaranteed by the caller.
    (!chars.is_null()).then(|| unsafe { CStr::from_ptr(chars) }.to_bytes().to_vec())
}
