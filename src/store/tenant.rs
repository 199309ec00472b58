//! The application's function that returns an account's defaults (`totp.tenant_function`).

use super::plan::{Statement, TEXT, plans};
use crate::error::Error;
use crate::pure::name::Account;
use pgrx::pg_sys;
use pgrx::spi::{Spi, SpiHeapTupleData};

plans! {
    // Neither a cast to regprocedure, which needs rights on the schema and raises errors of its own,
    // nor a search path: the setting must name the schema.
    FUNCTION(TEXT) =
        r#"SELECT format('%I.%I', n.nspname, p.proname), p.proowner
           FROM regexp_match($1,
                    '^\s*(([a-zA-Z_]\w*|"[^"]+")\.([a-zA-Z_]\w*|"[^"]+"))\s*(\(\s*text\s*\)\s*)?$', 'i') AS match
           JOIN pg_namespace AS n ON n.nspname = (parse_ident(match[1]))[1]
           JOIN pg_proc AS p ON p.pronamespace = n.oid AND p.proname = (parse_ident(match[1]))[2]
           WHERE p.prokind = 'f' AND p.proargtypes = '25'
             AND '{issuer,image,digits,period}'::text[] <@ ARRAY(
                 SELECT name FROM unnest(p.proargnames, p.proargmodes::text[]) AS a(name, mode)
                 WHERE mode IN ('o', 't')
                 UNION ALL
                 SELECT a.attname::text
                 FROM pg_attribute AS a JOIN pg_type AS t ON t.typrelid = a.attrelid
                 WHERE t.oid = p.prorettype AND a.attnum > 0 AND NOT a.attisdropped)"#;
}

/// A function with one argument of type text.
pub struct Function {
    /// Its name, as it is written in statements.
    name: String,
    /// The role whose rights it runs with.
    pub owner: pg_sys::Oid,
}

/// What a tenant's function returns for an account.
pub struct Defaults {
    /// The issuer.
    pub issuer: Option<String>,
    /// The address of the logo.
    pub image: Option<String>,
    /// The number of digits.
    pub digits: Option<i32>,
    /// The period, in seconds.
    pub period: Option<i32>,
}

/// Looks up the function that `totp.tenant_function` names, as `schema.name` or
/// `schema.name(text)`. Returns `None` if it lacks a result column.
pub fn function(setting: &str) -> Result<Option<Function>, Error> {
    FUNCTION.row(&[setting.into()], |row| Ok(Function { name: row.get(1)?, owner: row.get(2)? }))
}

/// Calls the function, and returns its rows, at most two.
pub fn defaults(function: &Function, account: &Account) -> Result<Vec<Defaults>, Error> {
    let statement = format!(
        "SELECT issuer::text, image::text, digits::integer, period::integer FROM {}($1) LIMIT 2",
        function.name
    );
    Spi::connect_mut(|client| {
        let table = client.update(statement.as_str(), None, &[account.into()])?;
        let read = |row: SpiHeapTupleData| {
            Ok(Defaults {
                issuer: row.get(1)?,
                image: row.get(2)?,
                digits: row.get(3)?,
                period: row.get(4)?,
            })
        };
        table.map(read).collect()
    })
}
