//! Seals rows of older keys anew with the first one while logins go on, in steps that are committed
//! one by one: a batch of rows, or a moment of the rest after it. The rows themselves say what is done,
//! so a rotation that was interrupted goes on where it stopped, and several sessions may work at once.

use super::call::{Call, field};
use crate::error::{Error, Unrotated};
use crate::pure::audit::Event;
use crate::pure::invalid::Invalid;
use crate::pure::keyring::Unreadable;
use crate::pure::patience::Patience;
use crate::store::old_row::{self, Batch, OldRow, Reach, SHARES, Table};
use crate::{keys, server, settings};
use std::cell::Cell;
use std::time::{Duration, Instant};

/// The most rows of a batch: a login may have to wait for one.
pub const BATCH_LIMIT: i32 = 10_000;
/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// How long to leave alone the rows that others hold.
const PAUSE: Duration = Duration::from_millis(50);
/// The longest rest after a batch, whatever the caller did in the meantime.
const LONGEST_REST: Duration = Duration::from_secs(1);
/// So much of a rest is one step: while a step lasts, its snapshot keeps the old versions of rows that
/// other sessions write from making room.
const NAP: Duration = Duration::from_millis(10);
/// So many pages are worked on at a time, for each row of a batch. With some 16 rows on a page, a share
/// of them is eight batches. Old versions make room when their batch is committed and all snapshots that
/// were taken before are gone: so long can the other sessions take, all together.
const BATCH_PAGES: i64 = 4;
/// The fewest pages that are worked on at a time.
const FEWEST_PAGES: i64 = 64;
/// So many rows are sealed before a login that waits for the processor may get it.
const BURST: i64 = 50;
/// The most rows that are named.
const NAMED: usize = 20;

thread_local! {
    static UNDER_WAY: Cell<Option<Rotation>> = const { Cell::new(None) };
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
    began: Instant,
    told_at: Instant,
    /// When the last batch began, until its rest begins.
    tired_since: Option<Instant>,
    /// When the rest ends.
    rests_until: Instant,
    patience: Patience,
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
    /// The pages are gone over as often as there are shares.
    fn begin(stretch: i64, shares: i32) -> Result<Self, Error> {
        let table = Table::Factors;
        Ok(Self {
            table,
            pages: table.pages()?,
            stretch,
            first: 0,
            reach: Reach { after: (0, 0), end: stretch, share: 0, shares },
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
        self.reach = Reach {
            after: (first, 0),
            end: first + self.stretch,
            share,
            shares: self.reach.shares,
        };
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
        let next = self.reach.share + 1;
        if next < self.reach.shares {
            self.go_to(self.first, next);
        } else {
            self.go_to(self.reach.end, 0);
        }
    }
}

impl Rotation {
    fn begin(call: &Call, batch: i32) -> Result<Self, Error> {
        let key_id = call.keyring.primary_id().to_owned();
        let of = old_row::count(&key_id)?;
        let now = Instant::now();
        let stretch = (i64::from(batch) * BATCH_PAGES).max(FEWEST_PAGES);
        Ok(Self {
            key_id,
            done: 0,
            of,
            began: now,
            told_at: now,
            tired_since: None,
            rests_until: now,
            patience: Patience::default(),
            pass: Pass::begin(stretch, SHARES)?,
        })
    }

    /// Leaves disk and processor to the logins, for half of the time that the last batch and its commit
    /// took: the busier the server, the longer. Whether that was the whole step.
    fn rests(&mut self) -> bool {
        // In a block of the caller's, which holds rows, it would only keep others waiting.
        if server::is_transaction_block() {
            return false;
        }
        let now = Instant::now();
        if let Some(began) = self.tired_since.take() {
            let rest = ((now - began) / 2).min(LONGEST_REST);
            self.rests_until = self.rests_until.max(now + rest);
        }
        let left = self.rests_until.saturating_duration_since(now);
        server::sleep(left.min(NAP));
        !left.is_zero()
    }

    fn step(&mut self, call: &Call, limit: i32) -> Result<Told, Error> {
        old_row::announce()?;
        if self.rests() {
            return Ok(Told::Nothing);
        }
        // Also when it finds nothing: looking is work, too.
        self.tired_since = Some(Instant::now());
        if self.pass.is_over()? {
            return self.end_pass();
        }
        let done = self.pass.advance(call, limit)?;
        if done > 0 {
            if self.done == 0 {
                call.record_keys(Event::KeyRotate, field("key_id", self.key_id.as_str()))?;
            }
            self.done += done;
        }
        if self.told_at.elapsed() < TELL_EVERY {
            return Ok(Told::Nothing);
        }
        self.told_at = Instant::now();
        Ok(Told::Progress { done: self.done, of: self.of.max(self.done) })
    }

    /// Rows are left when they do not open, when others held them, or when a login moved them to where
    /// the pass had been already. Fewer are left than did not open when some have changed meanwhile:
    /// then only another pass can tell.
    fn end_pass(&mut self) -> Result<Told, Error> {
        let in_use = old_row::count(&self.key_id)? - self.pass.unreadable;
        let limit = Duration::from_millis(u64::from(settings::lock_timeout().unsigned_abs()));
        let is_stuck = self.patience.is_over(self.pass.done > 0, self.began.elapsed(), limit);
        if in_use != 0 && !is_stuck {
            if self.pass.done == 0 {
                self.rests_until = Instant::now() + PAUSE;
            } else {
                // Rows that are left may come from a session whose keyring is newer.
                keys::forget_command();
            }
            // So few rows add a few pages at worst.
            let shares = if in_use < self.pass.stretch { 1 } else { SHARES };
            self.pass = Pass::begin(self.pass.stretch, shares)?;
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

/// Begins a rotation in this session, or takes the next step of the one that is under way. One begins
/// anew when the first key is another than before, or when a step was rolled back.
pub fn step(batch: i32, is_first: bool) -> Result<Told, Error> {
    if !(1..=BATCH_LIMIT).contains(&batch) {
        return Err(Invalid::Batch.into());
    }
    if is_first {
        keys::forget_command();
    }
    let call = Call::begin()?;
    if is_first && server::is_transaction_block() {
        return Err(Error::TransactionBlock);
    }
    // Not there after an error, nor after a rollback: what was undone must not count.
    let known = UNDER_WAY.take().filter(|_| !is_first);
    server::on_rollback(|| UNDER_WAY.set(None));
    let known = known.filter(|known| known.key_id == call.keyring.primary_id());
    let Some(mut rotation) = known else {
        UNDER_WAY.set(Some(Rotation::begin(&call, batch)?));
        return Ok(Told::Nothing);
    };
    let told = rotation.step(&call, batch)?;
    UNDER_WAY.set(Some(rotation).filter(|_| !matches!(told, Told::End { .. })));
    Ok(told)
}
