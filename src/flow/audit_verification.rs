//! Verification of the audit trail.

use super::context::{self, begin_reading};
use super::seal::each_entry;
use crate::error::Error;
use crate::error::notice;
use crate::pure::audit_verification::{Digest, Finding, Verification};
use crate::pure::timestamp::Timestamp;
use crate::store::audit::Position;
use crate::{clock, store};
use std::ops::RangeInclusive;
use std::time::Duration;

/// How often progress is reported.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Compares the entries in a range of times with their signatures and seals, and the seals with each
/// other and with digests. Returns the findings, and the last seal up to which there are none that
/// matter.
pub fn verify(
    times: RangeInclusive<Timestamp>,
    digests: &[Digest],
) -> Result<(Vec<Finding>, Option<i64>), Error> {
    begin_reading()?;
    let keyring = context::keyring()?;
    let mut verification = Verification::new(&keyring, times, store::seal::all()?);
    verification.check_digests(digests);
    let (ids, total) = verification.ids();
    let (mut done, mut reported) = (0_i64, clock::monotonic());
    let read = |after| store::audit::entries(after, *ids.end());
    each_entry(Position::before(*ids.start()), read, |stored| {
        done += 1;
        if done % 1_000 == 0 && clock::monotonic() - reported >= REPORT_INTERVAL {
            reported = clock::monotonic();
            notice::verified(done, total);
        }
        verification.check(stored.entry, stored.mac);
    })?;
    // Last, since entries may have been removed in the meantime.
    for prune in store::audit::prunes()? {
        verification.add_prune(&prune.entry, &prune.mac);
    }
    Ok(verification.finish())
}
