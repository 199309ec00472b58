//! The table `audit_events`.

use super::plan::Plan;
use crate::error::Error;
use crate::pure::audit::Entry;
use pgrx::datum::DatumWithOid;
use pgrx::pg_sys::{BuiltinOid, PgOid};

const TEXT: PgOid = PgOid::BuiltIn(BuiltinOid::TEXTOID);
const TIME: PgOid = PgOid::BuiltIn(BuiltinOid::TIMESTAMPTZOID);
const BYTEA: PgOid = PgOid::BuiltIn(BuiltinOid::BYTEAOID);

thread_local! {
    static APPEND: Plan = const { Plan::new(
        "INSERT INTO totp.audit_events (at, account, event, outcome, actor, detail, mac)
         VALUES ($1, $2, $3, $4, $5, $6::jsonb, $7)",
        &[TIME, TEXT, TEXT, TEXT, TEXT, TEXT, BYTEA],
    ) };
}

/// An entry with its signature, ready to be written: by itself, or in one statement with the change
/// that it tells of.
pub struct Signed {
    /// What it tells.
    pub entry: Entry,
    /// Its HMAC.
    pub mac: [u8; 32],
}

impl Signed {
    /// The values of account, event, outcome, actor, detail and signature.
    pub(super) fn arguments(&self) -> [DatumWithOid<'_>; 6] {
        [
            self.entry.account.as_str().into(),
            self.entry.event.word().into(),
            self.entry.outcome.word().into(),
            self.entry.actor.as_str().into(),
            self.entry.detail.as_deref().into(),
            self.mac.as_slice().into(),
        ]
    }
}

/// Appends an entry.
pub fn append(signed: &Signed) -> Result<(), Error> {
    let mut arguments = vec![signed.entry.at.into()];
    arguments.extend(signed.arguments());
    APPEND.with(|plan| plan.execute(&arguments))?;
    Ok(())
}
