//! The block of shared memory: a header, the buckets, and one lock per stripe of buckets.
//!
//! A server process that dies while it holds a lock sends the whole server through crash recovery,
//! which recreates this memory. Nothing here allocates or raises an error while a lock is held.

use super::entry::Entry;
use super::startup::Start;
use super::table::{Bucket, Key, Usage};
use crate::pure::metric::COUNTERS;
use crate::pure::timestamp::Timestamp;
use crate::settings;
use pgrx::{PgSharedMemoryInitialization, pg_shmem_init, pg_sys};
use std::ffi::CStr;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};

const NAME: &CStr = c"totp";
/// Number of locks: many more than the processes that need one at any given time.
const STRIPES: usize = 64;

/// Values that exist once per server.
pub struct Header {
    /// When this memory was created.
    pub start: Start,
    /// Failure entries evicted to make room for others.
    pub evictions: AtomicU64,
    /// Attempts whose transaction was rolled back.
    pub rolled_back: AtomicU64,
    /// Verifications by method and result, whatever became of their transactions.
    pub verifications: [AtomicU64; COUNTERS],
    /// Whether there has been a recovery that waits, in any database.
    pub has_recoveries: AtomicBool,
    buckets: usize,
}

/// Addresses in this process, which its children inherit.
struct Block {
    header: AtomicPtr<Header>,
    locks: AtomicPtr<pg_sys::LWLockPadded>,
}

static BLOCK: Block =
    Block { header: AtomicPtr::new(null_mut()), locks: AtomicPtr::new(null_mut()) };

/// Requests the memory. Call only while `shared_preload_libraries` is being loaded.
pub fn init() {
    pg_shmem_init!(BLOCK = ());
}

impl PgSharedMemoryInitialization for Block {
    type Value = ();

    unsafe fn on_shmem_request(&'static self) {
        // SAFETY: the server calls this when requests are allowed; the name is a static C string.
        unsafe {
            pg_sys::RequestAddinShmemSpace(size());
            pg_sys::RequestNamedLWLockTranche(NAME.as_ptr(), STRIPES as i32);
        }
    }

    unsafe fn on_shmem_startup(&'static self, _value: ()) {
        let mut found = false;
        // SAFETY: the server calls this when shared memory is ready. The block has the requested
        // size, is aligned to a cache line, and is unknown to other processes until this returns.
        unsafe {
            let address = pg_sys::ShmemInitStruct(NAME.as_ptr(), size(), &mut found);
            let header: *mut Header = address.cast();
            if !found {
                header.write(Header {
                    start: Start::now(),
                    evictions: AtomicU64::new(0),
                    rolled_back: AtomicU64::new(0),
                    verifications: [const { AtomicU64::new(0) }; COUNTERS],
                    has_recoveries: AtomicBool::new(false),
                    buckets: buckets(),
                });
                let first: *mut Bucket = header.add(1).cast();
                for index in 0..buckets() {
                    first.add(index).write(Bucket::FREE);
                }
            }
            self.locks.store(pg_sys::GetNamedLWLockTranche(NAME.as_ptr()), Ordering::Release);
            self.header.store(header, Ordering::Release);
        }
    }
}

fn buckets() -> usize {
    settings::guard_slots().div_ceil(Bucket::SLOTS)
}

fn size() -> usize {
    size_of::<Header>() + buckets() * size_of::<Bucket>()
}

/// Returns whether there is shared memory.
pub fn is_on() -> bool {
    header().is_some()
}

/// Returns the header, or `None` without shared memory.
pub fn header() -> Option<&'static Header> {
    let header = NonNull::new(BLOCK.header.load(Ordering::Acquire))?;
    // SAFETY: the header was written before its address was stored, lives as long as the server,
    // and changes only through atomics.
    Some(unsafe { header.as_ref() })
}

/// Runs `work` on the entry of an account. Returns `None` if it has none, or without shared memory.
pub fn with_entry<T>(key: Key, work: impl FnOnce(&mut Entry) -> T) -> Option<T> {
    with_bucket(key, |bucket, _| bucket.with_entry(key, work)).flatten()
}

/// Runs `work` on the entry of an account, which is created if it has none. Returns the time at which
/// there may be room if there is none, and `None` without shared memory.
pub fn with_new_entry<T>(
    key: Key,
    now: Timestamp,
    work: impl FnOnce(&mut Entry) -> T,
) -> Option<Result<T, Timestamp>> {
    with_bucket(key, |bucket, header| bucket.with_new_entry(key, now, &header.evictions, work))
}

/// Removes the entry of an account and returns it.
pub fn take(key: Key) -> Option<Entry> {
    with_bucket(key, |bucket, _| bucket.take(key)).flatten()
}

/// Removes the entry of an account that has neither failures nor spent steps.
pub fn remove_unused(key: Key) {
    with_bucket(key, |bucket, _| {
        if bucket.with_entry(key, |entry| entry.is_unused()) == Some(true) {
            bucket.take(key);
        }
    });
}

fn with_bucket<T>(key: Key, work: impl FnOnce(&mut Bucket, &Header) -> T) -> Option<T> {
    let header = header()?;
    let index = usize::try_from(key.0[0]).ok()? % header.buckets;
    Some(locked(index, |bucket| work(bucket, header)))
}

/// Counts the slots, one bucket at a time.
pub fn usage(now: Timestamp) -> Option<Usage> {
    let header = header()?;
    let mut usage = Usage {
        evictions: header.evictions.load(Ordering::Relaxed),
        rolled_back: header.rolled_back.load(Ordering::Relaxed),
        ..Usage::default()
    };
    for index in 0..header.buckets {
        locked(index, |bucket| bucket.count_into(&mut usage, now));
    }
    Some(usage)
}

fn locked<T>(index: usize, work: impl FnOnce(&mut Bucket) -> T) -> T {
    let header = BLOCK.header.load(Ordering::Acquire);
    let locks = BLOCK.locks.load(Ordering::Acquire);
    // SAFETY: `index` is less than the number of buckets, which follow the header in the same
    // block; there are STRIPES locks. While the lock is held, no other process reads or writes the
    // bucket. If `work` panics, the server releases the lock when it aborts the transaction.
    unsafe {
        let bucket: *mut Bucket = header.add(1).cast::<Bucket>().add(index);
        let lock = &raw mut (*locks.add(index % STRIPES)).lock;
        pg_sys::LWLockAcquire(lock, pg_sys::LWLockMode::LW_EXCLUSIVE);
        let result = work(&mut *bucket);
        pg_sys::LWLockRelease(lock);
        result
    }
}
