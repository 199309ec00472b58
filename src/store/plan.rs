//! Statements that are prepared at their first use and kept.
//!
//! They compare columns of domains as the type below, `account::text = $1`. No operator takes a
//! domain: to choose one, the parser would look up casts for each operator of that name, which is a
//! fifth of the first login on a connection.
//!
//! A statement that removes what a subquery has locked says `= ANY (ARRAY(SELECT ...))`. With IN, a plan
//! that was made for a few rows would run the subquery again for each row of a table that has grown.

use crate::clock;
use crate::error::Error;
use crate::pure::name::{Account, Label};
use crate::pure::timestamp::Timestamp;
use pgrx::datum::{DatumWithOid, FromDatum, IntoDatum};
use pgrx::pg_sys::{BuiltinOid, PgOid};
use pgrx::spi::{OwnedPreparedStatement, Spi, SpiHeapTupleData};
use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::rc::Rc;
use std::thread::LocalKey;

/// Declares statements with the types of their parameters: `NAME(TEXT, TIME) = "SELECT ...";`.
macro_rules! plans {
    ($($(#[$attribute:meta])* $name:ident($($parameter:ident),*) = $statement:expr;)*) => {
        thread_local! {
            $($(#[$attribute])* static $name: $crate::store::plan::Plan =
                const { $crate::store::plan::Plan::new($statement, &[$($parameter),*]) };)*
        }
    };
}
pub(super) use plans;

// Types of parameters.
pub const BIGINT: PgOid = PgOid::BuiltIn(BuiltinOid::INT8OID);
pub const BOOL: PgOid = PgOid::BuiltIn(BuiltinOid::BOOLOID);
pub const BYTEA: PgOid = PgOid::BuiltIn(BuiltinOid::BYTEAOID);
pub const BIGINTS: PgOid = PgOid::BuiltIn(BuiltinOid::INT8ARRAYOID);
pub const INT: PgOid = PgOid::BuiltIn(BuiltinOid::INT4OID);
pub const INTS: PgOid = PgOid::BuiltIn(BuiltinOid::INT4ARRAYOID);
pub const TEXT: PgOid = PgOid::BuiltIn(BuiltinOid::TEXTOID);
pub const TEXTS: PgOid = PgOid::BuiltIn(BuiltinOid::TEXTARRAYOID);
pub const TIME: PgOid = PgOid::BuiltIn(BuiltinOid::TIMESTAMPTZOID);
pub const UUID: PgOid = PgOid::BuiltIn(BuiltinOid::UUIDOID);

/// After how many uses a statement is planned again. The server keeps a plan until a table is analyzed,
/// and one that was made for a few rows reads the whole table, also when a single transaction has
/// added thousands.
const REPLANNED_AFTER: [u32; 6] = [1 << 8, 1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 20];

/// A statement and its plan. The server replans it when a table or the search_path changes, and
/// DISCARD ALL does not remove it.
pub struct Plan {
    statement: &'static str,
    arguments: &'static [PgOid],
    // A call that runs the statement shares it: a nested call may replace it meanwhile. Not dropped when
    // the process ends, since the server's memory is gone by then.
    kept: Cell<Option<ManuallyDrop<Rc<OwnedPreparedStatement>>>>,
    uses: Cell<u32>,
}

impl Plan {
    /// Creates a statement with the types of its parameters.
    pub const fn new(statement: &'static str, arguments: &'static [PgOid]) -> Self {
        Self { statement, arguments, kept: Cell::new(None), uses: Cell::new(0) }
    }

    fn prepared(&self, client: &pgrx::spi::SpiClient) -> Result<Rc<OwnedPreparedStatement>, Error> {
        let uses = self.uses.get().saturating_add(1);
        self.uses.set(uses);
        if let Some(kept) = self.kept.take() {
            if !REPLANNED_AFTER.contains(&uses) {
                let shared = Rc::clone(&kept);
                self.kept.set(Some(kept));
                return Ok(shared);
            }
            // Frees the plan, unless a call further up is running it: then that call frees it.
            drop(ManuallyDrop::into_inner(kept));
        }
        require_same_version(client)?;
        // Prepared as a writing statement, so that each run sees what was committed before it.
        let prepared = Rc::new(client.prepare_mut(self.statement, self.arguments)?.keep());
        self.kept.set(Some(ManuallyDrop::new(Rc::clone(&prepared))));
        Ok(prepared)
    }
}

/// Fails if the extension's tables and functions are those of another version than this library:
/// after new files were installed, before ALTER EXTENSION UPDATE.
fn require_same_version(client: &pgrx::spi::SpiClient) -> Result<(), Error> {
    thread_local! {
        static IS_SAME: Cell<bool> = const { Cell::new(false) };
    }
    const LIBRARY: &str = env!("CARGO_PKG_VERSION");
    const INSTALLED: &str = "SELECT extversion FROM pg_extension WHERE extname = 'totp'";
    if IS_SAME.get() {
        return Ok(());
    }
    let rows = client.select(INSTALLED, Some(1), &[])?;
    let installed: String = rows.first().get_one()?.unwrap_or_default();
    if installed != LIBRARY {
        return Err(Error::OtherVersion { installed, library: LIBRARY });
    }
    IS_SAME.set(true);
    Ok(())
}

/// A statement of this process.
pub trait Statement {
    /// Runs the statement and reads its rows.
    fn rows<T>(
        &'static self,
        arguments: &[DatumWithOid],
        read: impl FnMut(&Row) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error>;

    /// Runs the statement and returns how many rows it wrote.
    fn execute(&'static self, arguments: &[DatumWithOid]) -> Result<usize, Error>;

    /// Runs the statement and reads its row, if there is one.
    fn row<T>(
        &'static self,
        arguments: &[DatumWithOid],
        read: impl FnMut(&Row) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        Ok(self.rows(arguments, read)?.pop())
    }

    /// Runs the statement and reads the column of its only row.
    fn value<T: FromDatum + IntoDatum>(
        &'static self,
        arguments: &[DatumWithOid],
    ) -> Result<T, Error> {
        self.row(arguments, |row| row.get(1))?.ok_or(Error::Corrupt("result"))
    }

    /// Runs the statement.
    fn run(&'static self, arguments: &[DatumWithOid]) -> Result<(), Error> {
        self.execute(arguments).map(|_| ())
    }
}

impl Statement for LocalKey<Plan> {
    fn rows<T>(
        &'static self,
        arguments: &[DatumWithOid],
        mut read: impl FnMut(&Row) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        Spi::connect(|client| {
            let prepared = self.with(|plan| plan.prepared(client))?;
            let table = client.select(&*prepared, None, arguments)?;
            table.map(|row| read(&Row(row))).collect()
        })
    }

    fn execute(&'static self, arguments: &[DatumWithOid]) -> Result<usize, Error> {
        Spi::connect_mut(|client| {
            let prepared = self.with(|plan| plan.prepared(client))?;
            Ok(client.update(&*prepared, None, arguments)?.len())
        })
    }
}

impl<'a> From<&'a Account> for DatumWithOid<'a> {
    fn from(account: &'a Account) -> Self {
        (&**account).into()
    }
}

impl<'a> From<&'a Label> for DatumWithOid<'a> {
    fn from(label: &'a Label) -> Self {
        (&**label).into()
    }
}

impl From<Timestamp> for DatumWithOid<'_> {
    fn from(at: Timestamp) -> Self {
        clock::to_sql(at).into()
    }
}

/// A row of a result.
pub struct Row<'conn>(SpiHeapTupleData<'conn>);

impl Row<'_> {
    /// Reads a column that is never null, by its position from 1.
    pub fn get<T: FromDatum + IntoDatum>(&self, place: usize) -> Result<T, Error> {
        self.optional(place)?.ok_or(Error::Corrupt("null"))
    }

    /// Reads a column that may be null, by its position from 1.
    pub fn optional<T: FromDatum + IntoDatum>(&self, place: usize) -> Result<Option<T>, Error> {
        Ok(self.0.get(place)?)
    }
}
