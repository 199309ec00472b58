//! Tables of other systems. They are read with the rights of the caller: nothing here may run while
//! the rights of `totp_owner` are in force.

use super::plan::{Row, Statement, TEXT, plans};
use crate::error::Error;
use crate::pure::import::Cells;
use pgrx::pg_sys;
use pgrx::spi::Spi;
use zeroize::Zeroizing;

/// The maximum number of characters of a value. Longer ones are cut off, and then are invalid.
const MAX_CHARS: usize = 65_536;

plans! {
    RELATION(TEXT) =
        "SELECT format('%I.%I', n.nspname, c.relname), c.relkind::text
         FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE c.oid = $1::oid";
    COLUMNS(TEXT) =
        "SELECT attname::text, format('%I', attname) FROM pg_attribute
         WHERE attrelid = $1::oid AND attnum > 0 AND NOT attisdropped ORDER BY attnum";
    REFERENCED(TEXT, TEXT) =
        "SELECT k.confrelid::text
         FROM pg_constraint AS k
         JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND k.conkey = ARRAY[a.attnum]
         WHERE k.contype = 'f' AND k.conrelid = $1::oid AND a.attname = $2";
}

/// A table, a view or the like, and its columns.
pub struct Relation {
    oid: String,
    /// The name to use in statements.
    pub name: String,
    /// Each column's name, and how to write it in statements.
    columns: Vec<(String, String)>,
}

impl Relation {
    /// Looks a relation up. Returns `None` if there is none, or if it is no table or view.
    pub fn open(oid: pg_sys::Oid) -> Result<Option<Self>, Error> {
        Self::find(oid.to_u32().to_string())
    }

    fn find(oid: String) -> Result<Option<Self>, Error> {
        let read = |row: &Row| Ok((row.get::<String>(1)?, row.get::<String>(2)?));
        let Some((name, kind)) = RELATION.row(&[oid.as_str().into()], read)? else {
            return Ok(None);
        };
        if !["r", "p", "v", "m", "f"].contains(&kind.as_str()) {
            return Ok(None);
        }
        let columns = COLUMNS.rows(&[oid.as_str().into()], read)?;
        Ok(Some(Self { oid, name, columns }))
    }

    /// Returns how to write a column. Case and underscores of its name do not matter: some systems
    /// let the application choose between `user_id` and `userId`.
    pub fn column(&self, name: &str) -> Option<&str> {
        let plain = |name: &str| name.replace('_', "").to_ascii_lowercase();
        let exact = self.columns.iter().find(|(own, _)| own == name);
        exact
            .or_else(|| self.columns.iter().find(|(own, _)| plain(own) == plain(name)))
            .map(|(_, written)| written.as_str())
    }

    /// Returns the table that a column references by a foreign key of its own.
    pub fn referenced(&self, column: &str) -> Result<Option<Self>, Error> {
        let read = |row: &Row| row.get::<String>(1);
        match REFERENCED.row(&[self.oid.as_str().into(), column.into()], read)? {
            Some(oid) => Self::find(oid),
            None => Ok(None),
        }
    }
}

/// What to read from one table.
pub struct Part {
    /// What comes after FROM.
    pub from: String,
    /// The expression that is the account.
    pub account: String,
    /// The expressions that are the cells.
    pub cells: Vec<String>,
}

/// A row: the position of its part, the account and the cells.
pub struct SourceRow {
    /// The position of its part.
    pub part: usize,
    /// The account.
    pub account: Option<String>,
    /// The cells.
    pub cells: Cells,
}

/// The rows of all parts, ordered by account.
pub struct Cursor {
    name: String,
    width: usize,
}

impl Cursor {
    /// Opens a cursor with the rights of the current user.
    pub fn open(parts: &[Part]) -> Result<Self, Error> {
        let width = parts.iter().map(|part| part.cells.len()).max().unwrap_or_default();
        let query = |(position, part): (usize, &Part)| {
            let cells = part
                .cells
                .iter()
                .map(|cell| format!(", pg_catalog.left(({cell})::pg_catalog.text, {MAX_CHARS})"));
            let nulls = (part.cells.len()..width).map(|_| ", NULL::pg_catalog.text".to_owned());
            format!(
                "SELECT {position} AS part, ({account})::pg_catalog.text COLLATE \"C\" AS account{cells} FROM {from}",
                account = part.account,
                cells = cells.chain(nulls).collect::<String>(),
                from = part.from,
            )
        };
        let queries: Vec<_> = parts.iter().enumerate().map(query).collect();
        let query = format!("{} ORDER BY 2, 1", queries.join(" UNION ALL "));
        let name = Spi::connect(|client| {
            client.try_open_cursor(query.as_str(), &[]).map(pgrx::spi::SpiCursor::detach_into_name)
        })?;
        Ok(Self { name, width })
    }

    /// Reads the next rows, with the rights of the current user. At the end there are none.
    pub fn fetch(&self, limit: i32) -> Result<Vec<SourceRow>, Error> {
        Spi::connect(|client| {
            let mut cursor = client.find_cursor(&self.name)?;
            let mut rows = Vec::new();
            for row in cursor.fetch(limit.into())? {
                let part: i32 = row.get(1)?.ok_or(Error::Corrupt("part"))?;
                let cell = |place| Ok(row.get::<String>(place + 3)?.map(Zeroizing::new));
                let cells = (0..self.width).map(cell).collect::<Result<Cells, Error>>()?;
                let part = usize::try_from(part).unwrap_or_default();
                rows.push(SourceRow { part, account: row.get(2)?, cells });
            }
            // Dropping the cursor closes it.
            if !rows.is_empty() {
                cursor.detach_into_name();
            }
            Ok(rows)
        })
    }
}
