//! SQL values: arguments whose size is checked before they are read, and composite results.

use pgrx::callconv::{Arg, ArgAbi};
use pgrx::datum::{FromDatum, IntoDatum};
use pgrx::heap_tuple::PgHeapTuple;
use pgrx::{AllocatedByRust, PgTupleDesc, impl_sql_translatable, pg_sys};
use std::ffi::CStr;
use zeroize::Zeroizing;

/// A text argument whose size was looked at before it was fetched or decompressed.
pub enum Text {
    /// At most [`Text::LIMIT`] bytes.
    Fits(Zeroizing<String>),
    /// More than that; it was not read.
    TooManyBytes,
    /// Not UTF-8, in a database of another encoding.
    NotUtf8,
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
            return Some(Self::TooManyBytes);
        }
        // SAFETY: as above; a text is stored as its bytes are.
        let bytes = unsafe { Vec::<u8>::from_polymorphic_datum(datum, is_null, type_oid) };
        Some(match String::from_utf8(bytes?) {
            Ok(text) => Self::Fits(Zeroizing::new(text)),
            Err(_) => Self::NotUtf8,
        })
    }
}

// SAFETY: `Text` is declared as SQL type text and reads such a datum only.
unsafe impl<'fcx> ArgAbi<'fcx> for Text {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: the caller vouches that the argument is a text. A null one is not asked for:
        // nullable arguments are unboxed as `Option<Text>`.
        unsafe { arg.unbox_arg_using_from_datum() }.unwrap_or(Self::TooManyBytes)
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
            return Some(Self(Text::TooManyBytes));
        }
        // SAFETY: as above; the output function detoasts it and gives a C string.
        let text =
            unsafe { pgrx::direct_function_call::<&CStr>(pg_sys::jsonb_out, &[Some(datum)])? };
        Some(Self(match text.to_str() {
            // A large number has far more digits than bytes it is stored in.
            Ok(text) if text.len() > Text::LIMIT => Text::TooManyBytes,
            Ok(text) => Text::Fits(Zeroizing::new(text.to_owned())),
            Err(_) => Text::NotUtf8,
        }))
    }
}

// SAFETY: `Json` is declared as SQL type jsonb and reads such a datum only.
unsafe impl<'fcx> ArgAbi<'fcx> for Json {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: the caller vouches that the argument is a jsonb, and a null one is not asked for.
        unsafe { arg.unbox_arg_using_from_datum() }.unwrap_or(Self(Text::TooManyBytes))
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
