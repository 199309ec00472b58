//! Re-encrypts rows that were encrypted with older keys, using the first key, while logins
//! continue.
//!
//! Each step commits separately: a batch of rows, or part of the pause after it. The rows
//! themselves show what is done, so an interrupted rotation continues where it stopped, and several
//! sessions can work at once.

use super::audit::field;
use super::context::Context;
use crate::error::Error;
use crate::error::notice::{Rotation as Report, Unrotated};
use crate::pure::audit::Event;
use crate::pure::invalid::Invalid;
use crate::pure::keyring::Unreadable;
use crate::pure::stall_timer::StallTimer;
use crate::store::rotation::{self, Batch, OutdatedRow, SLICES, ScanRange, Table};
use crate::{clock, keys, server, settings};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

/// Maximum number of rows per batch: a login may have to wait for one.
const MAX_BATCH: i32 = 10_000;
/// How often progress is reported.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);
/// How long to wait for rows that other transactions hold.
const BUSY_PAUSE: Duration = Duration::from_millis(50);
/// Maximum pause after a batch, whatever the caller did in the meantime.
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// Maximum pause per step. While a step lasts, its snapshot keeps PostgreSQL from reusing the space
/// of old row versions that other sessions write.
const PAUSE_PER_STEP: Duration = Duration::from_millis(10);
/// Pages to work on at a time, per row of a batch. With about 16 rows per page, one slice of a
/// chunk is eight batches. The space of old row versions is reusable once their batch is committed
/// and all earlier snapshots are gone: eight batches give other sessions time to finish.
const CHUNK_PAGES_PER_ROW: i64 = 4;
/// Minimum number of pages to work on at a time.
const MIN_CHUNK_PAGES: i64 = 64;
/// Rows to re-encrypt before yielding the processor to a login that may be waiting for it.
const ROWS_PER_UPDATE: i64 = 50;
/// Maximum number of rows that a report names.
const MAX_NAMED: i64 = 20;
/// More pages than a table can have.
const PAGES_LIMIT: i64 = 1 << 32;

/// The result of one step.
pub struct Step {
    /// The state for the next step; `None` at the end.
    pub state: Option<Value>,
    /// What to report, if anything.
    pub report: Option<Report>,
}

/// One session's progress through the tables. Times come from [`clock::monotonic`].
#[derive(Serialize, Deserialize)]
struct Rotation {
    key_id: String,
    done: i64,
    total: i64,
    began_at: Duration,
    reported_at: Duration,
    /// When the last batch began; `None` once its pause has begun.
    batch_began_at: Option<Duration>,
    pause_until: Duration,
    stall_timer: StallTimer,
    pass: Pass,
}

/// One pass through all tables, chunk by chunk, each chunk slice by slice.
#[derive(Serialize, Deserialize)]
struct Pass {
    table: Table,
    pages: i64,
    /// Number of pages per chunk.
    chunk: i64,
    /// The first page of the current chunk.
    first: i64,
    range: ScanRange,
    done: i64,
    unreadable: i64,
}

impl Pass {
    fn begin(chunk: i64, slices: i32) -> Result<Self, Error> {
        let table = Table::Factors;
        Ok(Self {
            table,
            pages: table.pages()?,
            chunk,
            first: 0,
            range: ScanRange { after: (0, 0), end: chunk, slice: 0, slices },
            done: 0,
            unreadable: 0,
        })
    }

    /// Returns whether this module could have written the numbers, which come from the caller.
    fn is_valid(&self) -> bool {
        let ScanRange { after, end, slice, slices } = self.range;
        let pages = 0..PAGES_LIMIT;
        [self.pages, self.chunk, self.first, end, after.0, after.1]
            .iter()
            .all(|n| pages.contains(n))
            && self.chunk > 0
            && (slices == 1 || slices == SLICES)
            && (0..slices).contains(&slice)
    }

    /// Returns whether the pass is over. At the end of a table, goes on to the next.
    fn is_over(&mut self) -> Result<bool, Error> {
        if self.first < self.pages {
            return Ok(false);
        }
        let Some(next) = self.table.next() else {
            return Ok(true);
        };
        self.table = next;
        self.pages = next.pages()?;
        self.go_to(0, 0);
        Ok(false)
    }

    fn go_to(&mut self, first: i64, slice: i32) {
        self.first = first;
        let end = first.saturating_add(self.chunk);
        self.range = ScanRange { after: (first, 0), end, slice, slices: self.range.slices };
    }

    /// Re-encrypts the next rows, up to `limit` of them, and returns their number.
    fn advance(&mut self, context: &Context, limit: i32) -> Result<i64, Error> {
        let (mut room, mut done) = (i64::from(limit), 0);
        while room > 0 {
            let key_id = context.keyring.primary_id();
            let Batch { rows, last } =
                rotation::take(self.table, self.range, key_id, room.min(ROWS_PER_UPDATE))?;
            room -= rows.len() as i64;
            done += self.reencrypt(context, &rows)?;
            let Some(last) = last else {
                self.next_slice();
                break;
            };
            self.range.after = last;
            std::thread::yield_now();
        }
        self.done = self.done.saturating_add(done);
        Ok(done)
    }

    /// Re-encrypts rows and returns their number. Those that cannot be decrypted stay unchanged.
    fn reencrypt(&mut self, context: &Context, rows: &[OutdatedRow]) -> Result<i64, Error> {
        let mut fresh = Vec::with_capacity(rows.len());
        for row in rows {
            let associated_data = row.associated_data();
            match context.keyring.decrypt(&associated_data, &row.ciphertext) {
                Ok(plaintext) => {
                    fresh.push((row, context.keyring.encrypt(&associated_data, &plaintext)));
                }
                Err(_) => self.unreadable = self.unreadable.saturating_add(1),
            }
        }
        if !fresh.is_empty() {
            rotation::reencrypt(self.table, &fresh, context.keyring.primary_id())?;
        }
        Ok(fresh.len() as i64)
    }

    fn next_slice(&mut self) {
        let next = self.range.slice + 1;
        if next < self.range.slices {
            self.go_to(self.first, next);
        } else {
            self.go_to(self.range.end, 0);
        }
    }
}

impl Rotation {
    fn begin(context: &Context, batch: i32) -> Result<Self, Error> {
        let key_id = context.keyring.primary_id().to_owned();
        let now = clock::monotonic();
        let chunk = (i64::from(batch) * CHUNK_PAGES_PER_ROW).max(MIN_CHUNK_PAGES);
        Ok(Self {
            total: rotation::count(&key_id)?,
            key_id,
            done: 0,
            began_at: now,
            reported_at: now,
            batch_began_at: None,
            pause_until: now,
            stall_timer: StallTimer::default(),
            pass: Pass::begin(chunk, SLICES)?,
        })
    }

    /// Reads the state that the last step returned. Returns `None` if the first key has changed
    /// since: the rotation then starts over.
    fn resume(context: &Context, state: Value) -> Result<Option<Self>, Error> {
        let known: Self = serde_json::from_value(state).map_err(|_| Invalid::RotationState)?;
        if !known.pass.is_valid() {
            return Err(Invalid::RotationState.into());
        }
        Ok(Some(known).filter(|known| known.key_id == context.keyring.primary_id()))
    }

    /// Pauses for half the time that the last batch and its commit took, to leave the disk and the
    /// processor to logins: the busier the server, the longer. Returns whether the pause was the
    /// whole step.
    fn throttle(&mut self) -> bool {
        // In the caller's transaction block, which holds rows, a pause would only keep others
        // waiting.
        if server::is_transaction_block() {
            return false;
        }
        let now = clock::monotonic();
        if let Some(began_at) = self.batch_began_at.take() {
            self.pause_until = self.pause_until.max(now + now.saturating_sub(began_at) / 2);
        }
        self.pause_until = self.pause_until.min(now + MAX_PAUSE);
        let left = self.pause_until.saturating_sub(now);
        server::sleep(left.min(PAUSE_PER_STEP));
        !left.is_zero()
    }

    /// Takes a step and returns what to report. `Report::End` ends the rotation.
    fn step(&mut self, context: &Context, limit: i32) -> Result<Option<Report>, Error> {
        rotation::announce()?;
        if self.throttle() {
            return Ok(None);
        }
        // Even if it finds nothing: searching is work, too.
        self.batch_began_at = Some(clock::monotonic());
        if self.pass.is_over()? {
            return self.end_pass(context);
        }
        let done = self.pass.advance(context, limit)?;
        if done > 0 && self.done == 0 {
            context.record_general(Event::KeyRotate, field("key_id", self.key_id.as_str()))?;
        }
        self.done = self.done.saturating_add(done);
        if clock::monotonic().saturating_sub(self.reported_at) < REPORT_INTERVAL {
            return Ok(None);
        }
        self.reported_at = clock::monotonic();
        Ok(Some(Report::Progress { done: self.done, total: self.total.max(self.done) }))
    }

    /// Ends a pass, and with it the rotation unless another pass is needed. Rows are left if they
    /// could not be decrypted, if others held them, or if a login moved them to pages already
    /// passed. If fewer are left than could not be decrypted, some have changed in the meantime,
    /// and only another pass can tell how many.
    fn end_pass(&mut self, context: &Context) -> Result<Option<Report>, Error> {
        let in_use = rotation::count(&self.key_id)?.saturating_sub(self.pass.unreadable);
        let limit = Duration::from_millis(u64::from(settings::lock_timeout().unsigned_abs()));
        let elapsed = clock::monotonic().saturating_sub(self.began_at);
        let is_stalled = self.stall_timer.is_over(self.pass.done > 0, elapsed, limit);
        if in_use != 0 && !is_stalled {
            if self.pass.done == 0 {
                self.pause_until = clock::monotonic() + BUSY_PAUSE;
            } else {
                // Rows that are left may come from a session with a newer keyring.
                keys::forget_command();
            }
            // So few rows add a few pages at worst.
            let slices = if in_use < self.pass.chunk { 1 } else { SLICES };
            self.pass = Pass::begin(self.pass.chunk, slices)?;
            return Ok(None);
        }
        let mut unrotated = Vec::new();
        if self.pass.unreadable > 0 {
            let named = unreadable(context)?;
            unrotated.push(Unrotated::Unreadable { rows: self.pass.unreadable, named });
        }
        if in_use > 0 {
            unrotated.push(Unrotated::InUse { rows: in_use });
        }
        Ok(Some(Report::End { done: self.done, key_id: self.key_id.clone(), unrotated }))
    }
}

/// Returns some of the rows that cannot be decrypted, and why.
fn unreadable(context: &Context) -> Result<Vec<(String, Unreadable)>, Error> {
    let everywhere = ScanRange { after: (0, 0), end: PAGES_LIMIT - 1, slice: 0, slices: 1 };
    let mut named = Vec::new();
    for table in Table::ALL {
        let room = MAX_NAMED - named.len() as i64;
        let rows = rotation::take(table, everywhere, context.keyring.primary_id(), room)?.rows;
        named.extend(rows.iter().filter_map(|row| {
            let result = context.keyring.decrypt(&row.associated_data(), &row.ciphertext);
            result.err().map(|reason| (row.to_string(), reason))
        }));
    }
    Ok(named)
}

/// Begins a rotation if there is no state, or else takes the next step.
pub fn step(batch: Option<i32>, state: Option<Value>) -> Result<Step, Error> {
    let batch = batch.filter(|rows| (1..=MAX_BATCH).contains(rows)).ok_or(Invalid::Batch)?;
    if state.is_none() {
        keys::forget_command();
    }
    let context = Context::begin()?;
    let known = match state {
        Some(state) => Rotation::resume(&context, state)?,
        None if server::is_transaction_block() => return Err(Error::TransactionBlock),
        None => None,
    };
    let (rotation, report) = match known {
        Some(mut rotation) => {
            let report = rotation.step(&context, batch)?;
            (rotation, report)
        }
        None => (Rotation::begin(&context, batch)?, None),
    };
    let is_over = matches!(report, Some(Report::End { .. }));
    let state = serde_json::to_value(rotation).map_err(|_| Error::Corrupt("rotation state"))?;
    Ok(Step { state: Some(state).filter(|_| !is_over), report })
}
