//! The server process: its start, its files, and the processes that it starts.

use pgrx::pg_sys;
use pgrx::prelude::pg_guard;
use std::ffi::{CStr, OsString, c_char};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Whether the library is being loaded by `shared_preload_libraries`.
pub fn is_preloading() -> bool {
    // SAFETY: a flag of this process, written by its only thread.
    unsafe { pg_sys::process_shared_preload_libraries_in_progress }
}

/// Lets nobody else define settings of this prefix, and complains of unknown ones.
pub fn reserve_setting_prefix(prefix: &'static CStr) {
    // SAFETY: the name is a static C string, which the server copies.
    #[cfg(not(feature = "pg14"))]
    unsafe {
        pg_sys::MarkGUCPrefixReserved(prefix.as_ptr());
    }
    // SAFETY: as above.
    #[cfg(feature = "pg14")]
    unsafe {
        pg_sys::EmitWarningsOnPlaceholders(prefix.as_ptr());
    }
}

/// Keeps Rust backtraces, which name build paths, out of error messages.
pub fn hide_backtraces() {
    // SAFETY: a server process has one thread when it loads a library.
    unsafe { std::env::set_var("RUST_LIB_BACKTRACE", "0") };
}

/// The data directory.
pub fn data_directory() -> PathBuf {
    // SAFETY: set before any library is loaded, and never changed.
    let path = unsafe { c_bytes(pg_sys::DataDir) }.unwrap_or_default();
    OsString::from_vec(path).into()
}

/// Ends the call here when its user or an administrator has cancelled it.
pub fn check_for_interrupts() {
    pgrx::check_for_interrupts!();
}

/// Waits, unless the call is cancelled meanwhile.
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

/// Kills a process that this one has started, with all others of its group, and waits for their end.
pub fn kill_group(leader: u32) {
    if let Ok(leader @ 2..) = i32::try_from(leader) {
        // Process 1 would be told of their end otherwise. In many a container that is PostgreSQL, which
        // takes it for a crash.
        set_child_subreaper(true);
        // SAFETY: system calls without memory. The group's leader is a child that was not waited for,
        // so nobody else has its number.
        unsafe {
            libc::kill(-leader, libc::SIGKILL);
            while libc::waitpid(-leader, std::ptr::null_mut(), 0) > 0 {}
        }
        set_child_subreaper(false);
    }
}

/// Whether this process inherits the children of its children.
fn set_child_subreaper(is_wanted: bool) {
    #[cfg(target_os = "linux")]
    // SAFETY: a system call without pointers, about this process.
    unsafe {
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, libc::c_ulong::from(is_wanted));
    }
    #[cfg(not(target_os = "linux"))]
    let _ = is_wanted;
}

/// Has a group killed when this process ends in the middle of a call, where no destructor runs; not
/// when it is killed itself.
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
        // SAFETY: the function lives as long as the process, and uses no argument.
        unsafe { pg_sys::on_proc_exit(Some(at_exit), 0.into()) };
    }
}

/// Keeps what is open, the client's connection among it, from programs that are started.
pub fn close_files_on_exec() {
    let listed = std::fs::read_dir("/dev/fd").into_iter().flatten().flatten();
    let listed = listed.filter_map(|file| file.file_name().to_str()?.parse().ok());
    // Where nothing is listed, at least those that a server process has usually.
    for file in listed.chain(3..256).filter(|file: &i32| *file > 2) {
        // SAFETY: a system call without pointers; a file that is not open is an error of it.
        unsafe { libc::fcntl(file, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// Makes reads from a pipe return at once when there is nothing.
pub fn set_nonblocking(pipe: &impl AsRawFd) {
    // SAFETY: a system call without pointers, on a file that is open.
    unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
}

/// # Safety
/// `chars` is null or a C string that lives during the call.
pub(super) unsafe fn c_bytes(chars: *const c_char) -> Option<Vec<u8>> {
    // SAFETY: the caller vouches for it.
    (!chars.is_null()).then(|| unsafe { CStr::from_ptr(chars) }.to_bytes().to_vec())
}
