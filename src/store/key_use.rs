//! Which keys the rows of the tables need.

use super::plan::Plan;
use crate::error::Error;

thread_local! {
    static COUNT: Plan = const { Plan::new(
        "SELECT key_id, sum(rows)::bigint
         FROM (SELECT key_id::text, count(*) FROM totp.factors GROUP BY key_id
               UNION ALL
               SELECT key_id::text, count(*) FROM totp.backup_codes GROUP BY key_id)
              AS used (key_id, rows)
         GROUP BY key_id ORDER BY key_id",
        &[],
    ) };
}

/// A key and the number of rows that it sealed.
pub struct KeyUse {
    /// Its id.
    pub key_id: String,
    /// Rows of all tables.
    pub rows: i64,
}

/// Every key that sealed a row.
pub fn count() -> Result<Vec<KeyUse>, Error> {
    COUNT.with(|plan| plan.rows(&[], |row| Ok(KeyUse { key_id: row.get(1)?, rows: row.get(2)? })))
}
