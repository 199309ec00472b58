//! Small safe functions over what the server offers and pgrx does not. The only file beside the
//! guard that holds unsafe code.

use crate::error::Error;
use pgrx::callconv::{Arg, ArgAbi};
use pgrx::datum::{FromDatum, IntoDatum};
use pgrx::heap_tuple::PgHeapTuple;
use pgrx::prelude::{PgSqlErrorCode, pg_guard};
use pgrx::{
    AllocatedByRust, PgSubXactCallbackEvent, PgTryBuilder, PgTupleDesc, PgXactCallbackEvent,
    impl_sql_translatable, pg_sys,
};
use std::ffi::{CStr, c_char};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// A text argument whose size was looked at before it was fetched or decompressed.
pub enum Text {
    /// At most [`Text::LIMIT`] bytes.
    Fits(Zeroizing<String>),
    /// More than that; it was not read.
    TooLong,
    /// Not UTF-8, in a database of another encoding.
    Foreign,
}

impl Text {
    /// The most bytes an argument can have: more than any code, name, secret or QR code needs.
    pub const LIMIT: usize = 4096;
}

impl_sql_translatable!(Text, "text");

impl FromDatum for Text {
    unsafe fn from_polymorphic_datum(
        datum: pg_sys::Datum,
        is_null: bool,
        type_oid: pg_sys::Oid,
    ) -> Option<Self> {
        if is_null {
            return None;
        }
        // SAFETY: the caller vouches that `datum` is a non-null text; this reads its header only.
        let size = unsafe { pg_sys::toast_raw_datum_size(datum) };
        if size > Self::LIMIT + pg_sys::VARHDRSZ {
            return Some(Self::TooLong);
        }
        // SAFETY: as above; a text is stored as its bytes are.
        let bytes = unsafe { Vec::<u8>::from_polymorphic_datum(datum, is_null, type_oid) };
        Some(match String::from_utf8(bytes?) {
            Ok(text) => Self::Fits(Zeroizing::new(text)),
            Err(_) => Self::Foreign,
        })
    }
}

// SAFETY: `Text` is declared as SQL type text and reads such a datum only.
unsafe impl<'fcx> ArgAbi<'fcx> for Text {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: the caller vouches that the argument is a text. A null one is not asked for:
        // nullable arguments are unboxed as `Option<Text>`.
        unsafe { arg.unbox_arg_using_from_datum() }.unwrap_or(Self::TooLong)
    }
}

/// A `jsonb` argument, as text. Its size was looked at before it was fetched.
pub struct Json(pub Text);

impl_sql_translatable!(Json, "jsonb");

impl FromDatum for Json {
    unsafe fn from_polymorphic_datum(
        datum: pg_sys::Datum,
        is_null: bool,
        _type_oid: pg_sys::Oid,
    ) -> Option<Self> {
        if is_null {
            return None;
        }
        // SAFETY: the caller vouches that `datum` is a non-null jsonb; this reads its header only.
        let size = unsafe { pg_sys::toast_raw_datum_size(datum) };
        if size > Text::LIMIT + pg_sys::VARHDRSZ {
            return Some(Self(Text::TooLong));
        }
        // SAFETY: as above; the output function detoasts it and gives a C string.
        let text =
            unsafe { pgrx::direct_function_call::<&CStr>(pg_sys::jsonb_out, &[Some(datum)])? };
        Some(Self(match text.to_str() {
            // A large number has far more digits than bytes it is stored in.
            Ok(text) if text.len() > Text::LIMIT => Text::TooLong,
            Ok(text) => Text::Fits(Zeroizing::new(text.to_owned())),
            Err(_) => Text::Foreign,
        }))
    }
}

// SAFETY: `Json` is declared as SQL type jsonb and reads such a datum only.
unsafe impl<'fcx> ArgAbi<'fcx> for Json {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: the caller vouches that the argument is a jsonb, and a null one is not asked for.
        unsafe { arg.unbox_arg_using_from_datum() }.unwrap_or(Self(Text::TooLong))
    }
}

/// A value of a column, with its type.
pub struct Column {
    datum: Option<pg_sys::Datum>,
    type_oid: pg_sys::Oid,
}

impl<T: IntoDatum> From<Option<T>> for Column {
    fn from(value: Option<T>) -> Self {
        Self { datum: value.and_then(T::into_datum), type_oid: T::type_oid() }
    }
}

/// A row of a composite type of schema totp, from the values of its columns in their order. `None`
/// when there is no such type, or it has other columns.
pub fn composite<const N: usize>(
    name: &'static CStr,
    columns: [Column; N],
) -> Option<PgHeapTuple<'static, AllocatedByRust>> {
    // SAFETY: catalog look-ups with static C strings; what is missing gives the invalid oid.
    let type_oid = unsafe {
        let schema = pg_sys::get_namespace_oid(c"totp".as_ptr(), true);
        pg_sys::GetSysCacheOid(
            pg_sys::SysCacheIdentifier::TYPENAMENSP as i32,
            pg_sys::Anum_pg_type_oid as i16,
            name.as_ptr().into(),
            schema.into(),
            0.into(),
            0.into(),
        )
    };
    let description = PgTupleDesc::for_composite_type_by_oid(type_oid)?;
    let types = columns.iter().map(|column| column.type_oid);
    if !description.iter().map(|column| column.atttypid).eq(types) {
        return None;
    }
    let datums = columns.map(|column| column.datum);
    // SAFETY: each datum was made for its column's type, as was just checked.
    unsafe { PgHeapTuple::from_datums(description, datums) }.ok()
}

/// Refuses databases whose encoding lacks most of Unicode.
pub fn require_unicode() -> Result<(), Error> {
    // SAFETY: a function without arguments that reads this process's state.
    let encoding = unsafe { pg_sys::GetDatabaseEncoding() };
    // SQL_ASCII takes all bytes as they are.
    let known = [pg_sys::pg_enc::PG_UTF8, pg_sys::pg_enc::PG_SQL_ASCII].map(|known| known as i32);
    if known.contains(&encoding) { Ok(()) } else { Err(Error::NotUnicode) }
}

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

/// Refuses read-only transactions, standbys, and parallel queries: a caller's function may have the
/// wrong mark.
pub fn require_writable() -> Result<(), Error> {
    // SAFETY: a flag of this process, and a function without arguments that reads shared state.
    if unsafe { pg_sys::XactReadOnly || pg_sys::RecoveryInProgress() } {
        return Err(Error::ReadOnly);
    }
    // SAFETY: a function without arguments that reads this process's state.
    if unsafe { pg_sys::IsInParallelMode() } { Err(Error::Parallel) } else { Ok(()) }
}

/// Whether each statement of the transaction sees what was committed before it.
pub fn is_read_committed() -> bool {
    // SAFETY: a variable of this process, set when a transaction begins.
    unsafe { pg_sys::XactIsoLevel <= pg_sys::XACT_READ_COMMITTED as i32 }
}

/// Refuses callers that are no superuser.
pub fn require_superuser() -> Result<(), Error> {
    // SAFETY: a function without arguments that looks up the current role.
    if unsafe { pg_sys::superuser() } { Ok(()) } else { Err(Error::NotSuperuser) }
}

/// Whether the caller has begun a transaction block.
pub fn is_transaction_block() -> bool {
    // SAFETY: a function without arguments that reads this process's state.
    unsafe { pg_sys::IsTransactionBlock() }
}

/// Calls a function when the running transaction, or a part of it, is rolled back.
pub fn on_rollback(call: fn()) {
    pgrx::register_xact_callback(PgXactCallbackEvent::Abort, call);
    pgrx::register_subxact_callback(PgSubXactCallbackEvent::AbortSub, move |_, _| call());
}

/// Makes the commit of the running transaction wait for the disk, whatever the caller set.
pub fn force_sync_commit() {
    // SAFETY: sets a flag of the running transaction.
    unsafe { pg_sys::ForceSyncCommit() };
}

/// Kills a process that this one has started, with all others of its group, and waits for their end.
pub fn kill_group(leader: u32) {
    const SIGKILL: i32 = 9;
    unsafe extern "C" {
        fn kill(process: i32, signal: i32) -> i32;
        fn waitpid(process: i32, status: *mut i32, options: i32) -> i32;
    }
    if let Ok(leader @ 2..) = i32::try_from(leader) {
        // Process 1 would be told of their end otherwise. In many a container that is PostgreSQL, which
        // takes it for a crash.
        adopt_orphans(true);
        // SAFETY: system calls without memory. The group's leader is a child that was not waited for,
        // so nobody else has its number.
        unsafe {
            kill(-leader, SIGKILL);
            while waitpid(-leader, std::ptr::null_mut(), 0) > 0 {}
        }
        adopt_orphans(false);
    }
}

/// Whether this process inherits the children of its children.
fn adopt_orphans(is_wanted: bool) {
    #[cfg(target_os = "linux")]
    {
        const PR_SET_CHILD_SUBREAPER: i32 = 36;
        unsafe extern "C" {
            fn prctl(option: i32, ...) -> i32;
        }
        // SAFETY: a system call without pointers, about this process.
        unsafe { prctl(PR_SET_CHILD_SUBREAPER, u64::from(is_wanted), 0_u64, 0_u64, 0_u64) };
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

unsafe extern "C" {
    fn fcntl(file: i32, command: i32, ...) -> i32;
}

/// Keeps what is open, the client's connection among it, from programs that are started.
pub fn close_files_on_exec() {
    const F_SETFD: i32 = 2;
    const FD_CLOEXEC: i32 = 1;
    let listed = std::fs::read_dir("/dev/fd").into_iter().flatten().flatten();
    let listed = listed.filter_map(|file| file.file_name().to_str()?.parse().ok());
    // Where nothing is listed, at least those that a server process has usually.
    for file in listed.chain(3..256).filter(|file: &i32| *file > 2) {
        // SAFETY: a system call without pointers; a file that is not open is an error of it.
        unsafe { fcntl(file, F_SETFD, FD_CLOEXEC) };
    }
}

/// Makes reads from a pipe return at once when there is nothing.
pub fn never_wait_for(pipe: &impl AsRawFd) {
    const F_SETFL: i32 = 4;
    const O_NONBLOCK: i32 = if cfg!(target_os = "linux") { 0o4000 } else { 4 };
    // SAFETY: a system call without pointers, on a file that is open.
    unsafe { fcntl(pipe.as_raw_fd(), F_SETFL, O_NONBLOCK) };
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

/// Runs `call`, in which no wait for a row lasts longer than `milliseconds`.
pub fn with_lock_timeout<T>(
    milliseconds: i32,
    call: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    struct Restore(i32);
    impl Drop for Restore {
        fn drop(&mut self) {
            // SAFETY: a variable of this process, read when a wait begins.
            unsafe { pg_sys::LockTimeout = self.0 };
        }
    }
    // SAFETY: as above. 0 means that the caller waits for ever.
    let callers = unsafe { pg_sys::LockTimeout };
    let _restore = Restore(callers);
    if callers == 0 || callers > milliseconds {
        // SAFETY: as above.
        unsafe { pg_sys::LockTimeout = milliseconds };
    }
    PgTryBuilder::new(std::panic::AssertUnwindSafe(call))
        .catch_when(PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE, |_| Err(Error::Busy))
        .catch_when(PgSqlErrorCode::ERRCODE_T_R_DEADLOCK_DETECTED, |_| Err(Error::Busy))
        .execute()
}

/// The login role of the session.
pub fn session_user() -> String {
    // SAFETY: a function without arguments that reads this process's state.
    role_name(unsafe { pg_sys::GetSessionUserId() })
}

/// The role that called the outermost function, when SET ROLE made it another than the login role.
pub fn other_role() -> Option<String> {
    // SAFETY: as above.
    let (outer, login) = unsafe { (pg_sys::GetOuterUserId(), pg_sys::GetSessionUserId()) };
    (outer != login).then(|| role_name(outer))
}

fn role_name(role: pg_sys::Oid) -> String {
    // SAFETY: with `noerr` the result is null or a C string in the current memory context.
    unsafe { text(pg_sys::GetUserNameFromId(role, true)) }.unwrap_or_default()
}

/// A setting of any prefix; `None` when nobody has set it, or it is not UTF-8: values that differ must
/// not become one.
pub fn setting(name: &'static CStr) -> Option<String> {
    // SAFETY: the name is a static C string; with `missing_ok` the result is null or a C string that
    // lives until the setting changes.
    let value = unsafe { pg_sys::GetConfigOption(name.as_ptr(), true, false) };
    // SAFETY: as above.
    let value = (!value.is_null()).then(|| unsafe { CStr::from_ptr(value) })?;
    value.to_str().ok().map(str::to_owned)
}

/// What tells this connection from all others that the server ever had.
pub fn connection() -> String {
    // SAFETY: variables of this process, written when it started.
    let (process, start) = unsafe { (pg_sys::MyProcPid, pg_sys::MyStartTimestamp) };
    format!("connection:{process}:{start}")
}

/// The name of the database of the session.
pub fn database_name() -> String {
    // SAFETY: the result is null or a C string in the current memory context.
    unsafe { text(pg_sys::get_database_name(pg_sys::MyDatabaseId)) }.unwrap_or_default()
}

/// The data directory.
pub fn data_directory() -> PathBuf {
    // SAFETY: set before any library is loaded, and never changed.
    unsafe { text(pg_sys::DataDir) }.map(PathBuf::from).unwrap_or_default()
}

/// What tells this installation of the extension from any other in the cluster: the database and
/// the table of accounts.
pub fn installation() -> (u32, u32) {
    // SAFETY: catalog look-ups with static C strings; a missing schema gives the invalid oid, in
    // which no table is found.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"totp".as_ptr(), true);
        let accounts = pg_sys::get_relname_relid(c"accounts".as_ptr(), schema);
        (pg_sys::MyDatabaseId.to_u32(), accounts.to_u32())
    }
}

/// # Safety
/// `chars` is null or a C string that lives during the call.
unsafe fn text(chars: *const c_char) -> Option<String> {
    // SAFETY: the caller vouches for it.
    (!chars.is_null()).then(|| unsafe { CStr::from_ptr(chars) }.to_string_lossy().into_owned())
}
