//! What is known of an account, for its owner.

use crate::error::Error;
use crate::guard::Subject;
use crate::pure::moment::Moment;
use crate::pure::name::Account;
use crate::store::account::Status;
use crate::{clock, settings, store};

/// The status of an account: the stricter of memory and table. Reads only.
pub fn status(account: &Account) -> Result<(Status, Moment), Error> {
    let now = clock::now()?;
    let mut status = store::account::status(account, now.plus_secs(-settings::pending_ttl()))?;
    status.standing = status.standing.stricter(&Subject::of(account).standing());
    Ok((status, now))
}
