//! Which columns of which tables an import reads.

use super::bulk_import::Parser;
use crate::error::Error;
use crate::keys::import_file;
use crate::pure::import::{
    Cells, Item, Problem, allauth, better_auth, django_otp, django_totp, keycloak, rows, supabase,
};
use crate::pure::invalid::Invalid;
use crate::server::RelationId;
use crate::store::source::{Part, Relation};
use std::rc::Rc;

/// A table that was given as an argument.
struct Table {
    argument: &'static str,
    relation: Relation,
}

impl Table {
    fn open(argument: &'static str, relation: RelationId) -> Result<Self, Error> {
        let relation = Relation::open(relation.0)?.ok_or(Error::NoRelation { argument })?;
        Ok(Self { argument, relation })
    }

    /// Returns how to write one of its columns in a statement where the table is `t`.
    fn column(&self, column: &'static str) -> Result<String, Error> {
        let missing = Error::NoColumn { argument: self.argument, column };
        self.relation.column(column).map(|written| format!("t.{written}")).ok_or(missing)
    }

    /// Returns the column `account` if there is one, so that a view can choose which account a row
    /// belongs to; otherwise the column that the source has for its user.
    fn account(&self, user: &'static str) -> Result<String, Error> {
        match self.relation.column("account") {
            Some(written) => Ok(format!("t.{written}")),
            None => self.column(user),
        }
    }

    fn part(&self, account: String, columns: &[&'static str]) -> Result<Part, Error> {
        let cells = columns.iter().map(|column| self.column(column));
        let cells = cells.collect::<Result<Vec<_>, Error>>()?;
        Ok(Part { from: format!("{} AS t", self.relation.name), account, cells })
    }
}

fn parser(parse: impl Fn(&Cells) -> Result<Item, Problem> + 'static) -> Parser {
    Box::new(parse)
}

/// What to read from a table with the columns account, secret, and possibly label and last_step.
pub fn of_rows(source: RelationId) -> Result<Vec<(Part, Parser)>, Error> {
    let table = Table::open("source", source)?;
    let cells = rows::COLUMNS.iter().map(|column| match table.column(column) {
        Err(_) if *column != "secret" => Ok("NULL".to_owned()),
        Err(_) => table.column("uri").or_else(|_| table.column("secret")),
        written => written,
    });
    let cells = cells.collect::<Result<Vec<_>, Error>>()?;
    let part = Part { cells, ..table.part(table.column("account")?, &[])? };
    Ok(vec![(part, parser(rows::parse))])
}

/// What to read from the tables of django-otp.
pub fn of_django_otp(
    devices: RelationId,
    tokens: Option<RelationId>,
) -> Result<Vec<(Part, Parser)>, Error> {
    let table = Table::open("totp_table", devices)?;
    let devices = table.part(table.account("user_id")?, &django_otp::COLUMNS)?;
    let mut parts = vec![(devices, parser(django_otp::parse))];
    if let Some(tokens) = tokens {
        let table = Table::open("static_token_table", tokens)?;
        let account = table.account("user_id");
        let mut part = table.part(String::new(), &django_otp::TOKEN_COLUMNS)?;
        match account {
            Ok(account) => part.account = account,
            // The tokens name their device, and only the device names the user.
            Err(_) => {
                let device = table.column("device_id")?;
                let devices = table.relation.referenced("device_id")?;
                let devices = devices.ok_or(Error::NoDevices)?;
                part.from = format!("{} JOIN {} AS d ON d.id = {device}", part.from, devices.name);
                part.account = "d.user_id".to_owned();
            }
        }
        parts.push((part, parser(django_otp::parse_token)));
    }
    Ok(parts)
}

/// What to read from the table of django-allauth.
pub fn of_allauth(authenticators: RelationId) -> Result<Vec<(Part, Parser)>, Error> {
    let table = Table::open("authenticator_table", authenticators)?;
    let part = table.part(table.account("user_id")?, &allauth::COLUMNS)?;
    Ok(vec![(part, parser(allauth::parse))])
}

/// What to read from the tables of django-totp.
pub fn of_django_totp(
    factors: RelationId,
    codes: RelationId,
    key_file: &str,
) -> Result<Vec<(Part, Parser)>, Error> {
    let key = django_totp::Key::parse(&import_file::read(key_file)?);
    let key = Rc::new(key.ok_or(Invalid::ImportKey("a Fernet key"))?);
    let of_factors = Table::open("totp_table", factors)?;
    let of_codes = Table::open("backup_table", codes)?;
    let (id, totp_id) = (of_factors.column("id")?, of_codes.column("totp_id")?);
    let user = of_factors.account("user_id")?;
    let mut factors = of_factors.part(user.clone(), &django_totp::COLUMNS)?;
    let totp_id = totp_id.replacen("t.", "c.", 1);
    let codes = &of_codes.relation.name;
    factors.cells.push(format!("EXISTS (SELECT FROM {codes} AS c WHERE {totp_id} = {id})"));
    let cells = django_totp::CODE_COLUMNS.iter().map(|column| of_codes.column(column));
    let cells = cells.map(|cell| Ok(cell?.replacen("t.", "c.", 1)));
    let cells = cells.collect::<Result<Vec<_>, Error>>()?;
    let from = format!("{} JOIN {codes} AS c ON {totp_id} = {id}", factors.from);
    let codes = Part { from, account: user, cells };
    let of_codes = Rc::clone(&key);
    Ok(vec![
        (factors, parser(move |cells| key.parse_factor(cells))),
        (codes, parser(move |cells| of_codes.parse_code(cells))),
    ])
}

/// What to read from the table of Keycloak.
pub fn of_keycloak(credentials: RelationId) -> Result<Vec<(Part, Parser)>, Error> {
    let table = Table::open("credential_table", credentials)?;
    let part = table.part(table.account("user_id")?, &keycloak::COLUMNS)?;
    Ok(vec![(part, parser(keycloak::parse))])
}

/// What to read from the table of Supabase Auth.
pub fn of_supabase(factors: RelationId) -> Result<Vec<(Part, Parser)>, Error> {
    let table = Table::open("factors_table", factors)?;
    let part = table.part(table.account("user_id")?, &supabase::COLUMNS)?;
    Ok(vec![(part, parser(supabase::parse))])
}

/// What to read from the table of better-auth.
pub fn of_better_auth(
    two_factors: RelationId,
    secret_file: &str,
) -> Result<Vec<(Part, Parser)>, Error> {
    let table = Table::open("two_factor_table", two_factors)?;
    let secrets = better_auth::Secrets::parse(&import_file::read(secret_file)?);
    let secrets = Rc::new(secrets.ok_or(Invalid::ImportKey("a secret"))?);
    let part = || -> Result<Part, Error> {
        // Tables from before there was this column contain confirmed apps only.
        let verified = table.column("verified").unwrap_or_else(|_| "NULL".to_owned());
        let mut part = table.part(table.account("userId")?, &better_auth::COLUMNS[..2])?;
        part.cells.push(verified);
        Ok(part)
    };
    let of_codes = Rc::clone(&secrets);
    Ok(vec![
        (part()?, parser(move |cells| secrets.parse_factor(cells))),
        (part()?, parser(move |cells| of_codes.parse_codes(cells))),
    ])
}
