//! What is known of an account, for its owner.

use super::attempt::is_suspended;
use crate::error::Error;
use crate::guard::Subject;
use crate::pure::moment::Moment;
use crate::pure::name::Account;
use crate::store::account::Status;
use crate::{clock, settings, store};

/// The status of an account, the stricter of memory and table; all empty when there is no such
/// account. Reads only.
pub fn status(account: &Account) -> Result<(Status, Moment), Error> {
    let now = clock::now()?;
    let since = now.plus_secs(-settings::pending_ttl());
    let Some(mut status) = store::account::status(account, since)? else {
        return Ok((Status::default(), now));
    };
    let memory = Subject::of(account).standing();
    let suspended = is_suspended(&status.standing, &memory);
    status.standing = status.standing.stricter(&memory);
    status.standing.suspended = suspended;
    Ok((status, now))
}
