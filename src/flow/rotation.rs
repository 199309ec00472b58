//! Re-encrypts rows of older keys with the first one while logins go on, in steps that are committed one
//! by one: a batch of rows, or a part of the pause after it. The rows themselves say what is done, so a
//! rotation that was interrupted goes on where it stopped, and several sessions may work at once.

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

/// The most rows of a batch: a login may have to wait for one.
const MAX_BATCH: i32 = 10_000;
/// How often progress is reported.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);
/// How long to leave alone the rows that others hold.
const BUSY_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause after a batch, whatever the caller did in the meantime.
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// So much of a pause is one step: while a step lasts, its snapshot keeps the old versions of rows that
/// other sessions write from making room.
const PAUSE_PER_STEP: Duration = Duration::from_millis(10);
/// So many pages are worked on at a time, for each row of a batch. With some 16 rows on a page, a slice
/// of them is eight batches. Old versions make room when their batch is committed and all snapshots that
/// were taken before are gone: so long can the other sessions take, all together.
const CHUNK_PAGES_PER_ROW: i64 = 4;
/// The fewest pages that are worked on at a time.
const MIN_CHUNK_PAGES: i64 = 64;
/// So many rows are re-encrypted before a login that waits for the processor may get it.
const ROWS_PER_UPDATE: i64 = 50;
/// The most rows that are named.
const MAX_NAMED: i64 = 20;
/// More pages than a table can have.
const PAGES_LIMIT: i64 = 1 << 32;

/// What one step came to.
pub struct Step {
    /// What the next step takes; `None` at the end.
    pub state: Option<Value>,
    /// What there is to say.
    pub report: Option<Report>,
}

/// One session's way through the tables. Times are those of [`clock::monotonic`].
#[derive(Serialize, Deserialize)]
struct Rotation {
    key_id: String,
    done: i64,
    total: i64,
    began_at: Duration,
    reported_at: Duration,
    /// When the last batch began, until its pause begins.
    batch_began_at: Option<Duration>,
    pause_until: Duration,
    stall_timer: StallTimer,
    pass: Pass,
}

/// Once through both tables, chunk by chunk, each chunk slice by slice.
#[derive(Serialize, Deserialize)]
struct Pass {
    table: Table,
    pages: i64,
    /// The pages of a chunk.
    chunk: i64,
    /// The first page of this chunk.
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

    /// Whether its numbers are such as this module writes: they come from the caller.
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

    /// Whether both tables are behind it; goes on to the second after the first.
    fn is_over(&mut self) -> Result<bool, Error> {
        if self.first < self.pages {
            return Ok(false);
        }
        if self.table == Table::BackupCodes {
            return Ok(true);
        }
        self.table = Table::BackupCodes;
        self.pages = self.table.pages()?;
        self.go_to(0, 0);
        Ok(false)
    }

    fn go_to(&mut self, first: i64, slice: i32) {
        self.first = first;
        let end = first.saturating_add(self.chunk);
        self.range = ScanRange { after: (first, 0), end, slice, slices: self.range.slices };
    }

    /// Re-encrypts the next rows, up to `limit` of them.
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

    /// Re-encrypts rows. Those that cannot be decrypted stay as they are.
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

    /// Reads what the last step returned. A rotation begins again when the first key has changed.
    fn resume(context: &Context, state: Value) -> Result<Option<Self>, Error> {
        let known: Self = serde_json::from_value(state).map_err(|_| Invalid::RotationState)?;
        if !known.pass.is_valid() {
            return Err(Invalid::RotationState.into());
        }
        Ok(Some(known).filter(|known| known.key_id == context.keyring.primary_id()))
    }

    /// Leaves disk and processor to the logins, for half of the time that the last batch and its commit
    /// took: the busier the server, the longer. Whether that was the whole step.
    fn throttle(&mut self) -> bool {
        // In a block of the caller's, which holds rows, it would only keep others waiting.
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

    /// Takes a step and reports; the end when the report says so.
    fn step(&mut self, context: &Context, limit: i32) -> Result<Option<Report>, Error> {
        rotation::announce()?;
        if self.throttle() {
            return Ok(None);
        }
        // Also when it finds nothing: looking is work, too.
        self.batch_began_at = Some(clock::monotonic());
        if self.pass.is_over()? {
            return self.end_pass(context);
        }
        let done = self.pass.advance(context, limit)?;
        if done > 0 && self.done == 0 {
            context.record_keys(Event::KeyRotate, field("key_id", self.key_id.as_str()))?;
        }
        self.done = self.done.saturating_add(done);
        if clock::monotonic().saturating_sub(self.reported_at) < REPORT_INTERVAL {
            return Ok(None);
        }
        self.reported_at = clock::monotonic();
        Ok(Some(Report::Progress { done: self.done, total: self.total.max(self.done) }))
    }

    /// Rows are left when they could not be decrypted, when others held them, or when a login moved them
    /// to where the pass had been already. Fewer are left than could not be decrypted when some have
    /// changed meanwhile: then only another pass can tell.
    fn end_pass(&mut self, context: &Context) -> Result<Option<Report>, Error> {
        let in_use = rotation::count(&self.key_id)?.saturating_sub(self.pass.unreadable);
        let limit = Duration::from_millis(u64::from(settings::lock_timeout().unsigned_abs()));
        let elapsed = clock::monotonic().saturating_sub(self.began_at);
        let is_stalled = self.stall_timer.is_over(self.pass.done > 0, elapsed, limit);
        if in_use != 0 && !is_stalled {
            if self.pass.done == 0 {
                self.pause_until = clock::monotonic() + BUSY_PAUSE;
            } else {
                // Rows that are left may come from a session whose keyring is newer.
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

/// Some of the rows that cannot be decrypted, and why.
fn unreadable(context: &Context) -> Result<Vec<(String, Unreadable)>, Error> {
    let everywhere = ScanRange { after: (0, 0), end: PAGES_LIMIT - 1, slice: 0, slices: 1 };
    let mut named = Vec::new();
    for table in [Table::Factors, Table::BackupCodes] {
        let room = MAX_NAMED - named.len() as i64;
        let rows = rotation::take(table, everywhere, context.keyring.primary_id(), room)?.rows;
        named.extend(rows.iter().filter_map(|row| {
            let result = context.keyring.decrypt(&row.associated_data(), &row.ciphertext);
            result.err().map(|reason| (row.to_string(), reason))
        }));
    }
    Ok(named)
}

/// Begins a rotation when there is no state, or takes the next step.
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
