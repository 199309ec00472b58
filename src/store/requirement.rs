//! The table `requirements`: which accounts must have a second factor.

use super::plan::{Row, Statement, TEXT, TIME, plans};
use crate::clock;
use crate::error::Error;
use crate::pure::name::Account;
use crate::pure::requirement::Requirement;
use crate::pure::timestamp::Timestamp;
use pgrx::datum::{DatumWithOid, TimestampWithTimeZone};

plans! {
    LOAD(TEXT) =
        "SELECT deadline, reason, exempt_until, exempt_reason FROM totp.requirements
         WHERE account::text = $1";
    ADD(TEXT, TIME, TIME, TEXT) =
        "INSERT INTO totp.requirements (account, required_at, deadline, reason)
         VALUES ($1, $2, $3, $4) ON CONFLICT (account) DO NOTHING";
    RENEW(TEXT, TIME, TIME, TEXT) =
        "INSERT INTO totp.requirements (account, required_at, deadline, reason)
         VALUES ($1, $2, $3, $4)
         ON CONFLICT (account) DO UPDATE SET deadline = excluded.deadline, reason = excluded.reason";
    EXEMPT(TEXT, TIME, TEXT) =
        "UPDATE totp.requirements SET exempt_until = $2, exempt_reason = $3 WHERE account::text = $1";
    DELETE(TEXT) =
        "DELETE FROM totp.requirements WHERE account::text = $1";
    // The new account may be required to already: the earlier deadline counts, and no exemption.
    RENAME(TEXT, TEXT) =
        "WITH old AS (DELETE FROM totp.requirements WHERE account::text = $1 RETURNING *)
         INSERT INTO totp.requirements
             (account, required_at, deadline, reason, exempt_until, exempt_reason)
         SELECT $2, required_at, deadline, reason, exempt_until, exempt_reason FROM old
         ON CONFLICT (account) DO UPDATE
         SET required_at = least(requirements.required_at, excluded.required_at),
             deadline = least(requirements.deadline, excluded.deadline),
             exempt_until = NULL, exempt_reason = NULL";
}

/// Reads the requirement of an account, if there is one.
pub fn load(account: &Account) -> Result<Option<Requirement>, Error> {
    LOAD.row(&[account.into()], |row: &Row| {
        let time = |place| -> Result<Option<Timestamp>, Error> {
            let time = row.optional::<TimestampWithTimeZone>(place)?;
            Ok(time.as_ref().map(clock::from_sql))
        };
        Ok(Requirement {
            deadline: time(1)?.ok_or(Error::Corrupt("deadline"))?,
            reason: row.get(2)?,
            exemption: time(3)?.zip(row.optional(4)?),
        })
    })
}

/// A requirement that begins now, or a new deadline for one.
pub struct NewRequirement<'a> {
    /// The account.
    pub account: &'a Account,
    /// The time of the call.
    pub now: Timestamp,
    /// When the account must have a second factor.
    pub deadline: Timestamp,
    /// Why.
    pub reason: &'a str,
}

/// Requires an account to have a second factor. Returns `false`, and writes nothing, if it was required
/// before.
pub fn add(new: &NewRequirement) -> Result<bool, Error> {
    Ok(ADD.execute(&new.arguments())? > 0)
}

/// Does the same, but also moves the deadline of an account that was required before.
pub fn renew(new: &NewRequirement) -> Result<(), Error> {
    RENEW.run(&new.arguments())
}

impl NewRequirement<'_> {
    fn arguments(&self) -> [DatumWithOid<'_>; 4] {
        [self.account.into(), self.now.into(), self.deadline.into(), self.reason.into()]
    }
}

/// Exempts an account until a time. Returns `false` if it is not required to have a second factor.
pub fn exempt(account: &Account, until: Timestamp, reason: &str) -> Result<bool, Error> {
    Ok(EXEMPT.execute(&[account.into(), until.into(), reason.into()])? > 0)
}

/// Removes the requirement. Returns `false` if there was none.
pub fn delete(account: &Account) -> Result<bool, Error> {
    Ok(DELETE.execute(&[account.into()])? > 0)
}

/// Moves the requirement, if there is one, to an account's new name.
pub fn rename(account: &Account, new: &Account) -> Result<(), Error> {
    RENAME.run(&[account.into(), new.into()])
}
