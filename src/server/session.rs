//! The session: its roles, settings, connection and database.

use super::process::c_bytes;
use crate::error::Error;
use crate::pure::name::escaped;
use pgrx::pg_sys;
use std::ffi::CStr;

/// The login role of the session, for people to read.
pub fn session_user() -> String {
    escaped(&session_user_bytes(), is_unicode())
}

/// The login role of the session; `None` if its name is not text in the encoding of the database. Two
/// names never become one.
pub fn session_user_as_text() -> Option<String> {
    String::from_utf8(session_user_bytes()).ok().filter(|name| is_text(name))
}

fn session_user_bytes() -> Vec<u8> {
    // SAFETY: a function without arguments that reads this process's state.
    role_name(unsafe { pg_sys::GetSessionUserId() })
}

/// The role that called the outermost function, when SET ROLE made it another than the login role.
/// For people to read.
pub fn effective_role() -> Option<String> {
    // SAFETY: as above.
    let (outer, login) = unsafe { (pg_sys::GetOuterUserId(), pg_sys::GetSessionUserId()) };
    (outer != login).then(|| escaped(&role_name(outer), is_unicode()))
}

/// Names of roles and databases are those of the whole cluster, in the encoding of the database that
/// they were created in.
fn role_name(role: pg_sys::Oid) -> Vec<u8> {
    // SAFETY: with `noerr` the result is null or a C string in the current memory context.
    unsafe { c_bytes(pg_sys::GetUserNameFromId(role, true)) }.unwrap_or_default()
}

/// Refuses callers that are no superuser.
pub fn require_superuser() -> Result<(), Error> {
    // SAFETY: a function without arguments that looks up the current role.
    if unsafe { pg_sys::superuser() } { Ok(()) } else { Err(Error::NotSuperuser) }
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
pub fn connection_id() -> String {
    // SAFETY: variables of this process, written when it started.
    let (process, start) = unsafe { (pg_sys::MyProcPid, pg_sys::MyStartTimestamp) };
    format!("connection:{process}:{start}")
}

/// The name of the database of the session, for people to read.
pub fn database_name() -> String {
    // SAFETY: the result is null or a C string in the current memory context.
    let name = unsafe { c_bytes(pg_sys::get_database_name(pg_sys::MyDatabaseId)) };
    escaped(&name.unwrap_or_default(), is_unicode())
}

/// Refuses databases whose encoding lacks most of Unicode.
pub fn require_unicode() -> Result<(), Error> {
    if is_unicode() { Ok(()) } else { Err(Error::NotUnicode) }
}

/// Whether the database can store this text, which comes from elsewhere than SQL.
pub fn is_text(text: &str) -> bool {
    text.is_ascii() || is_unicode()
}

fn is_unicode() -> bool {
    // SAFETY: a function without arguments that reads this process's state.
    let encoding = unsafe { pg_sys::GetDatabaseEncoding() };
    // SQL_ASCII takes all bytes as they are.
    let known = [pg_sys::pg_enc::PG_UTF8, pg_sys::pg_enc::PG_SQL_ASCII].map(|known| known as i32);
    known.contains(&encoding)
}

/// What tells this installation of the extension from any other in the cluster: the database and
/// the table of accounts.
pub fn installation_id() -> (u32, u32) {
    // SAFETY: catalog look-ups with static C strings; a missing schema gives the invalid oid, in
    // which no table is found.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"totp".as_ptr(), true);
        let accounts = pg_sys::get_relname_relid(c"accounts".as_ptr(), schema);
        (pg_sys::MyDatabaseId.to_u32(), accounts.to_u32())
    }
}
