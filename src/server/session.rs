//! The session: its roles, settings, connection and database.

use super::process::c_bytes;
use crate::error::Error;
use crate::pure::name::escaped;
use pgrx::pg_sys;
use std::ffi::CStr;

/// Returns the login role of the session, for people to read.
pub fn session_user() -> String {
    escaped(&session_user_bytes(), is_unicode())
}

/// Returns the login role of the session, or `None` if its name is not text in the encoding of the
/// database: no two roles must become one account.
pub fn session_user_as_text() -> Option<String> {
    String::from_utf8(session_user_bytes()).ok().filter(|name| is_text(name))
}

fn session_user_bytes() -> Vec<u8> {
    // SAFETY: a function without arguments that reads this process's state.
    role_name(unsafe { pg_sys::GetSessionUserId() })
}

/// Returns the role that called the outermost function, if SET ROLE changed it from the login role;
/// for people to read.
pub fn effective_role() -> Option<String> {
    // SAFETY: as above.
    let (outer, login) = unsafe { (pg_sys::GetOuterUserId(), pg_sys::GetSessionUserId()) };
    (outer != login).then(|| escaped(&role_name(outer), is_unicode()))
}

/// Names of roles and databases are shared by the whole cluster; their bytes are in the encoding of
/// the database in which they were created.
fn role_name(role: pg_sys::Oid) -> Vec<u8> {
    // SAFETY: with `noerr` the result is null or a C string in the current memory context.
    unsafe { c_bytes(pg_sys::GetUserNameFromId(role, true)) }.unwrap_or_default()
}

/// Fails if the caller is not a superuser.
pub fn require_superuser() -> Result<(), Error> {
    // SAFETY: a function without arguments that looks up the current role.
    if unsafe { pg_sys::superuser() } { Ok(()) } else { Err(Error::NotSuperuser) }
}

/// Returns a setting of any prefix. Returns `None` if it is not set, or if it is not UTF-8:
/// replacing invalid characters could make different values equal.
pub fn setting(name: &'static CStr) -> Option<String> {
    // SAFETY: the name is a static C string; with `missing_ok` the result is null or a C string that
    // lives until the setting changes.
    let value = unsafe { pg_sys::GetConfigOption(name.as_ptr(), true, false) };
    // SAFETY: as above.
    let value = (!value.is_null()).then(|| unsafe { CStr::from_ptr(value) })?;
    value.to_str().ok().map(str::to_owned)
}

/// Returns an ID that is unique among all connections that the server has ever had.
pub fn connection_id() -> String {
    // SAFETY: variables of this process, written when it started.
    let (process, start) = unsafe { (pg_sys::MyProcPid, pg_sys::MyStartTimestamp) };
    format!("connection:{process}:{start}")
}

/// Returns the name of the session's database, for people to read.
pub fn database_name() -> String {
    // SAFETY: the result is null or a C string in the current memory context.
    let name = unsafe { c_bytes(pg_sys::get_database_name(pg_sys::MyDatabaseId)) };
    escaped(&name.unwrap_or_default(), is_unicode())
}

/// Fails if the database encoding lacks most of Unicode.
pub fn require_unicode() -> Result<(), Error> {
    if is_unicode() { Ok(()) } else { Err(Error::NotUnicode) }
}

/// Returns whether the database can store a text that does not come from SQL.
pub fn is_text(text: &str) -> bool {
    text.is_ascii() || is_unicode()
}

fn is_unicode() -> bool {
    // SAFETY: a function without arguments that reads this process's state.
    let encoding = unsafe { pg_sys::GetDatabaseEncoding() };
    // SQL_ASCII accepts any bytes.
    let known = [pg_sys::pg_enc::PG_UTF8, pg_sys::pg_enc::PG_SQL_ASCII].map(|known| known as i32);
    known.contains(&encoding)
}

/// Returns the OIDs of the database and of the table of accounts, which together identify this
/// installation of the extension within the cluster.
pub fn installation_id() -> (u32, u32) {
    // SAFETY: catalog lookups with static C strings; a missing schema yields the invalid OID, in which
    // no table is found.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"totp".as_ptr(), true);
        let accounts = pg_sys::get_relname_relid(c"accounts".as_ptr(), schema);
        (pg_sys::MyDatabaseId.to_u32(), accounts.to_u32())
    }
}
