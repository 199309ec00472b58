//! The table `audit_events`.

use super::plan::Plan;
use crate::clock;
use crate::error::Error;
use crate::pure::audit::Record;
use crate::pure::keyring::Keyring;
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

/// Appends a record, signed.
pub fn append(record: &Record, keyring: &Keyring) -> Result<(), Error> {
    let mac = record.mac(keyring.audit_key());
    APPEND.with(|plan| {
        plan.execute(&[
            clock::timestamp(record.at).into(),
            record.account.into(),
            record.event.word().into(),
            record.outcome.word().into(),
            record.actor.into(),
            record.detail_json().into(),
            mac.as_slice().into(),
        ])
    })?;
    Ok(())
}
