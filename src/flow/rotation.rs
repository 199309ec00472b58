//! Seals rows of older keys anew with the first one while logins go on, in batches that are committed
//! one by one, with a rest after each. The rows themselves say what is done, so a rotation that was
//! interrupted goes on where it stopped, and several sessions may work at once.

use super::call::{Call, field};
use crate::error::{Error, Unrotated};
use crate::pure::audit::Event;
use crate::pure::invalid::Invalid;
use crate::pure::keyring::Unreadable;
use crate::store::old_row::{self, Batch, OldRow, Reach, SHARES, Table};
use crate::{server, settings};
use std::cell::RefCell;
use std::time::{Duration, Instant};

/// The most rows of a batch: a login may have to wait for one.
pub const BATCH_LIMIT: i32 = 10_000;
/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// How long to leave alone the rows that others hold.
const PAUSE: Duration = Duration::from_millis(50);
/// The longest rest after a batch, whatever the caller did in the meantime.
const LONGEST_REST: Duration = Duration::from_secs(1);
/// The fewest pages that are worked on at a time.
const FEWEST_PAGES: i64 = 64;
/// So many rows are sealed before a login that waits for the processor gets it.
const BURST: i64 = 50;
/// The most rows that are named.
const NAMED: usize = 20;

thread_local! {
    static UNDER_WAY: RefCell<Option<Rotation>> = const { RefCell::new(None) };
}

/// What there is to tell after a step.
pub enum Told {
    /// Nothing new.
    Nothing,
    /// So many rows are done, of so many.
    Progress { done: i64, of: i64 },
    /// It has ended.
    End { done: i64, key_id: String, unrotated: Vec<Unrotated> },
}

/// One session's way through the tables.
struct Rotation {
    key_id: String,
    done: i64,
    of: i64,
    told_at: Instant,
    /// When a row was last resealed.
    moved_at: Instant,
    /// When the last batch began, if it is to be followed by a rest.
    tired_since: Option<Instant>,
    pass: Pass,
}

/// Once through both tables.
struct Pass {
    table: Table,
    pages: i64,
    /// So many pages are worked on, share by share, before the next ones.
    stretch: i64,
    /// The first of them.
    first: i64,
    reach: Reach,
    done: i64,
    unreadable: i64,
    named: Vec<(String, Unreadable)>,
}

impl Pass {
    fn begin(stretch: i64) -> Result<Self, Error> {
        let table = Table::Factors;
        Ok(Self {
            table,
            pages: table.pages()?,
            stretch,
            first: 0,
            reach: Reach { after: (0, 0), end: stretch, share: 0 },
            done: 0,
            unreadable: 0,
            named: Vec::new(),
        })
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

    fn go_to(&mut self, first: i64, share: i32) {
        self.first = first;
        self.reach = Reach { after: (first, 0), end: first + self.stretch, share };
    }

    /// Seals the next rows anew, up to `limit` of them.
    fn advance(&mut self, call: &Call, limit: i32) -> Result<i64, Error> {
        let (mut room, mut done) = (i64::from(limit), 0);
        while room > 0 {
            let Batch { rows, last } =
                old_row::take(self.table, self.reach, call.keyring.primary_id(), room.min(BURST))?;
            room -= rows.len() as i64;
            done += self.reseal(call, &rows)?;
            let Some(last) = last else {
                self.go_on();
                break;
            };
            self.reach.after = last;
            std::thread::yield_now();
        }
        self.done += done;
        Ok(done)
    }

    /// Seals rows anew. What does not open stays as it is.
    fn reseal(&mut self, call: &Call, rows: &[OldRow]) -> Result<i64, Error> {
        let mut fresh = Vec::with_capacity(rows.len());
        for row in rows {
            let place = row.place();
            match call.keyring.open(&place, &row.sealed) {
                Ok(content) => fresh.push((row, call.keyring.seal(&place, &content))),
                Err(reason) => {
                    self.unreadable += 1;
                    if self.named.len() < NAMED {
                        self.named.push((row.to_string(), reason));
                    }
                }
            }
        }
        if !fresh.is_empty() {
            old_row::reseal(self.table, &fresh, call.keyring.primary_id())?;
        }
        Ok(fresh.len() as i64)
    }

    /// To the next share of the same pages, or the next pages.
    fn go_on(&mut self) {
        match self.reach.share + 1 {
            SHARES => self.go_to(self.reach.end, 0),
            next => self.go_to(self.first, next),
        }
    }
}

impl Rotation {
    fn begin(call: &Call, batch: i32) -> Result<Self, Error> {
        let key_id = call.keyring.primary_id().to_owned();
        let of = old_row::count(&key_id)?;
        let now = Instant::now();
        // As many pages as have about a batch in each share: 26 rows or fewer are on a page.
        let pass = Pass::begin(i64::from(batch * 3 / 10).max(FEWEST_PAGES))?;
        Ok(Self { key_id, done: 0, of, told_at: now, moved_at: now, tired_since: None, pass })
    }

    /// Leaves the disk to the logins, for half of the time that the last batch and its commit took:
    /// the busier the server, the longer.
    fn rest(&mut self) {
        if let Some(began) = self.tired_since.take() {
            server::sleep((began.elapsed() / 2).min(LONGEST_REST));
        }
    }

    fn step(&mut self, call: &Call, limit: i32) -> Result<Told, Error> {
        old_row::announce()?;
        self.rest();
        if self.pass.is_over()? {
            return self.end_pass();
        }
        let began = Instant::now();
        let done = self.pass.advance(call, limit)?;
        if done > 0 {
            self.tired_since = Some(began);
            if self.done == 0 {
                call.record_keys(Event::KeyRotate, field("key_id", self.key_id.as_str()))?;
            }
            self.done += done;
            self.moved_at = Instant::now();
        }
        if self.told_at.elapsed() < TELL_EVERY {
            return Ok(Told::Nothing);
        }
        self.told_at = Instant::now();
        Ok(Told::Progress { done: self.done, of: self.of.max(self.done) })
    }

    /// Rows are left when they do not open, when others held them, or when a login moved them from
    /// pages that were still to come to pages that were read before.
    fn end_pass(&mut self) -> Result<Told, Error> {
        let in_use = old_row::count(&self.key_id)? - self.pass.unreadable;
        let patience = Duration::from_millis(u64::from(settings::lock_timeout().unsigned_abs()));
        let is_stuck = self.pass.done == 0 && self.moved_at.elapsed() > patience;
        if in_use > 0 && !is_stuck {
            if self.pass.done == 0 {
                server::sleep(PAUSE);
            }
            self.pass = Pass::begin(self.pass.stretch)?;
            return Ok(Told::Nothing);
        }
        let mut unrotated = Vec::new();
        if self.pass.unreadable > 0 {
            let named = std::mem::take(&mut self.pass.named);
            unrotated.push(Unrotated::Unreadable { rows: self.pass.unreadable, named });
        }
        if in_use > 0 {
            unrotated.push(Unrotated::InUse { rows: in_use });
        }
        Ok(Told::End { done: self.done, key_id: self.key_id.clone(), unrotated })
    }
}

/// Begins a rotation in this session, or does the next batch of the one that is under way. One begins
/// anew when the first key is another than before.
pub fn step(batch: i32, is_first: bool) -> Result<Told, Error> {
    if !(1..=BATCH_LIMIT).contains(&batch) {
        return Err(Invalid::Batch.into());
    }
    let call = Call::begin()?;
    if is_first {
        server::require_no_transaction_block()?;
    }
    UNDER_WAY.with_borrow_mut(|under_way| {
        // Not there after an error: what a rolled-back batch did must not count.
        let known = under_way.take().filter(|_| !is_first);
        let known = known.filter(|known| known.key_id == call.keyring.primary_id());
        let Some(mut rotation) = known else {
            *under_way = Some(Rotation::begin(&call, batch)?);
            return Ok(Told::Nothing);
        };
        let told = rotation.step(&call, batch)?;
        *under_way = Some(rotation).filter(|_| !matches!(told, Told::End { .. }));
        Ok(told)
    })
}
