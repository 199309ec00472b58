//! SQL values: arguments with a size check before they are read, and composite results.

use pgrx::callconv::{Arg, ArgAbi};
use pgrx::datum::{FromDatum, IntoDatum};
use pgrx::heap_tuple::PgHeapTuple;
use pgrx::{AllocatedByRust, PgTupleDesc, impl_sql_translatable, pg_sys};
use std::ffi::CStr;
use zeroize::Zeroizing;

/// A text argument. Its size is checked before it is fetched or decompressed.
pub enum Text {
    /// At most [`Text::LIMIT`] bytes.
    Fits(Zeroizing<String>),
    /// Larger than that, and not read.
    TooManyBytes,
    /// Not valid UTF-8, in a database with another encoding.
    NotUtf8,
}

impl Text {
    /// The maximum size in bytes: more than any code, name, secret or QR code needs.
    pub const LIMIT: usize = 4096;

    /// Reads a text of at most `limit` bytes.
    ///
    /// # Safety
    /// `datum` must be a text that is not null.
    unsafe fn read(datum: pg_sys::Datum, type_oid: pg_sys::Oid, limit: usize) -> Option<Self> {
        // SAFETY: guaranteed by the caller; only the header is read.
        if unsafe { pg_sys::toast_raw_datum_size(datum) } > limit + pg_sys::VARHDRSZ {
            return Some(Self::TooManyBytes);
        }
        // SAFETY: as above; text is stored in the same way as bytea.
        let bytes = unsafe { Vec::<u8>::from_polymorphic_datum(datum, false, type_oid) };
        Some(match String::from_utf8(bytes?) {
            Ok(text) => Self::Fits(Zeroizing::new(text)),
            Err(_) => Self::NotUtf8,
        })
    }

    /// Reads a jsonb of at most `limit` bytes, as text.
    ///
    /// # Safety
    /// `datum` must be a jsonb that is not null.
    unsafe fn read_json(datum: pg_sys::Datum, limit: usize) -> Option<Self> {
        // SAFETY: guaranteed by the caller; only the header is read.
        if unsafe { pg_sys::toast_raw_datum_size(datum) } > limit + pg_sys::VARHDRSZ {
            return Some(Self::TooManyBytes);
        }
        // SAFETY: as above; the output function detoasts it and returns a C string.
        let text =
            unsafe { pgrx::direct_function_call::<&CStr>(pg_sys::jsonb_out, &[Some(datum)])? };
        Some(match text.to_str() {
            // A large number can take far more bytes as text than in storage.
            Ok(text) if text.len() > limit => Self::TooManyBytes,
            Ok(text) => Self::Fits(Zeroizing::new(text.to_owned())),
            Err(_) => Self::NotUtf8,
        })
    }
}

impl_sql_translatable!(Text, "text");

impl FromDatum for Text {
    unsafe fn from_polymorphic_datum(
        datum: pg_sys::Datum,
        is_null: bool,
        type_oid: pg_sys::Oid,
    ) -> Option<Self> {
        // SAFETY: the caller guarantees that `datum` is a text.
        if is_null { None } else { unsafe { Self::read(datum, type_oid, Self::LIMIT) } }
    }
}

// SAFETY: `Text` is declared as SQL type text and reads only text datums.
unsafe impl<'fcx> ArgAbi<'fcx> for Text {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: the caller guarantees that the argument is a text. It is not null: nullable
        // arguments are unboxed as `Option<Text>`.
        unsafe { arg.unbox_arg_using_from_datum() }.unwrap_or(Self::TooManyBytes)
    }
}

/// A `jsonb` argument, as text. Its size is checked before it is fetched.
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
        // SAFETY: the caller guarantees that `datum` is a jsonb.
        unsafe { Text::read_json(datum, Text::LIMIT) }.map(Self)
    }
}

// SAFETY: `Json` is declared as SQL type jsonb and reads only jsonb datums.
unsafe impl<'fcx> ArgAbi<'fcx> for Json {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: the caller guarantees that the argument is a jsonb. It is not null, as above.
        unsafe { arg.unbox_arg_using_from_datum() }.unwrap_or(Self(Text::TooManyBytes))
    }
}

/// A `jsonb` argument that may be large, as text. Its size is checked before it is fetched.
pub struct LargeJson(pub Text);

impl LargeJson {
    /// The maximum size in bytes.
    const LIMIT: usize = 16 << 20;
}

impl_sql_translatable!(LargeJson, "jsonb");

impl FromDatum for LargeJson {
    unsafe fn from_polymorphic_datum(
        datum: pg_sys::Datum,
        is_null: bool,
        _type_oid: pg_sys::Oid,
    ) -> Option<Self> {
        if is_null {
            return None;
        }
        // SAFETY: the caller guarantees that `datum` is a jsonb.
        unsafe { Text::read_json(datum, Self::LIMIT) }.map(Self)
    }
}

// SAFETY: `LargeJson` is declared as SQL type jsonb and reads only jsonb datums.
unsafe impl<'fcx> ArgAbi<'fcx> for LargeJson {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: the caller guarantees that the argument is a jsonb. It is not null, as above.
        unsafe { arg.unbox_arg_using_from_datum() }.unwrap_or(Self(Text::TooManyBytes))
    }
}

/// A document: a text argument that may be large. Its size is checked before it is fetched.
pub struct Document(pub Text);

impl Document {
    /// The maximum size in bytes: the export of a realm with 100,000 users.
    pub const LIMIT: usize = 64 * 1024 * 1024;
}

impl_sql_translatable!(Document, "text");

impl FromDatum for Document {
    unsafe fn from_polymorphic_datum(
        datum: pg_sys::Datum,
        is_null: bool,
        type_oid: pg_sys::Oid,
    ) -> Option<Self> {
        if is_null {
            return None;
        }
        // SAFETY: the caller guarantees that `datum` is a text.
        unsafe { Text::read(datum, type_oid, Self::LIMIT) }.map(Self)
    }
}

// SAFETY: `Document` is declared as SQL type text and reads only text datums.
unsafe impl<'fcx> ArgAbi<'fcx> for Document {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: the caller guarantees that the argument is a text. It is not null, as above.
        unsafe { arg.unbox_arg_using_from_datum() }.unwrap_or(Self(Text::TooManyBytes))
    }
}

/// A `regclass` argument: the OID of a table, which may have been dropped.
pub struct RelationId(pub pg_sys::Oid);

impl_sql_translatable!(RelationId, "regclass");

impl FromDatum for RelationId {
    unsafe fn from_polymorphic_datum(
        datum: pg_sys::Datum,
        is_null: bool,
        type_oid: pg_sys::Oid,
    ) -> Option<Self> {
        // SAFETY: the caller guarantees that `datum` is a regclass, which is stored as an OID.
        unsafe { pg_sys::Oid::from_polymorphic_datum(datum, is_null, type_oid) }.map(Self)
    }
}

// SAFETY: `RelationId` is declared as SQL type regclass and reads only its OID.
unsafe impl<'fcx> ArgAbi<'fcx> for RelationId {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: the caller guarantees that the argument is a regclass. It is not null, as above.
        unsafe { arg.unbox_arg_using_from_datum() }.unwrap_or(Self(pg_sys::InvalidOid))
    }
}

/// The value of a column, with its type.
pub struct Column {
    datum: Option<pg_sys::Datum>,
    type_oid: pg_sys::Oid,
}

impl<T: IntoDatum> From<Option<T>> for Column {
    fn from(value: Option<T>) -> Self {
        Self { datum: value.and_then(T::into_datum), type_oid: T::type_oid() }
    }
}

/// Builds a row of a composite type in schema totp from the values of its columns, in order.
/// Returns `None` if the type does not exist or has other columns.
pub fn composite<const N: usize>(
    name: &'static CStr,
    columns: [Column; N],
) -> Option<PgHeapTuple<'static, AllocatedByRust>> {
    // SAFETY: catalog lookups with static C strings; a missing object yields the invalid OID.
    // Whether the ID of the cache is an i32 already depends on the version of PostgreSQL.
    #[allow(clippy::unnecessary_cast)]
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
    // SAFETY: each datum was created for its column's type, as just checked.
    unsafe { PgHeapTuple::from_datums(description, datums) }.ok()
}
