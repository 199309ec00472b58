//! Sealing the audit trail, proofs of what it holds, and removing what is old.

use super::audit::{field, origin};
use super::context::{self, Context, begin_reading};
use crate::error::Error;
use crate::pure::audit::{self, Event};
use crate::pure::checkpoint;
use crate::pure::keyring::hex;
use crate::pure::merkle::{self, Hash};
use crate::pure::name::{AuditReason, hashed};
use crate::pure::seal::{Contents, NO_HASH, Seal, SignedSeal, leaf};
use crate::pure::timestamp::Timestamp;
use crate::store::audit::{Position, StoredEntry};
use crate::{clock, server, store};
use pgrx::JsonB;
use serde_json::{Value, json};

/// Seals the entries of all transactions that have ended since the last seal. Returns the number of
/// the last seal; `None` if there was never anything to seal.
pub fn seal() -> Result<Option<i64>, Error> {
    let context = Context::begin()?;
    if !server::is_read_committed() {
        return Err(Error::SnapshotTooOld);
    }
    store::seal::lock()?;
    let mut last = store::seal::last()?.map(|last| last.seal);
    let here = origin();
    if last.as_ref().is_none_or(|last| last.origin != here) {
        // The trail may come from another database, by a restore.
        for (origin, from_xid, to_xid) in store::seal::foreign(here)? {
            let range = Range { origin, from_xid, to_xid, floor: 0, next_xid: to_xid, next_id: 0 };
            last = seal_range(&context, &range, last)?;
        }
    }
    // In this order: later transactions draw higher IDs, and a transaction that this call does not see
    // has not ended before the oldest that is running.
    let last_id = store::seal::last_id()?;
    let next_xid = server::next_transaction_id();
    let to_xid = store::seal::oldest_running()?;
    let from_xid = store::seal::sealed_to(here)?;
    if from_xid < to_xid {
        let floor = store::seal::floor(here, from_xid, last_id)?;
        let next_id = last_id.max(0);
        let range = Range { origin: here, from_xid, to_xid, floor, next_xid, next_id };
        last = seal_range(&context, &range, last)?;
    }
    Ok(last.map(|last| last.id))
}

/// The transactions whose entries a seal closes.
struct Range {
    origin: i64,
    from_xid: i64,
    to_xid: i64,
    /// An ID below those of all these entries.
    floor: i64,
    next_xid: i64,
    next_id: i64,
}

/// Appends a seal unless it would be empty. Returns the last one.
fn seal_range(context: &Context, range: &Range, last: Option<Seal>) -> Result<Option<Seal>, Error> {
    let mut contents = Contents::default();
    let (origin, xids) = (range.origin, (range.from_xid, range.to_xid));
    let start = Position { id: range.floor, at: Timestamp::from_micros(i64::MAX) };
    each_entry(
        start,
        |after| store::audit::entries_of(after, origin, xids),
        |entry| {
            contents.push(&entry.entry, &entry.mac);
        },
    )?;
    let Some((first_at, last_at)) = contents.times else {
        return Ok(last);
    };
    let seal = Seal {
        id: last.as_ref().map_or(1, |last| last.id + 1),
        at: context.now,
        origin,
        from_xid: range.from_xid,
        to_xid: range.to_xid,
        entries: contents.entries,
        ids: contents.ids,
        first_at,
        last_at,
        root: contents.tree.root(),
        previous: last.as_ref().map_or(NO_HASH, Seal::hash),
        next_xid: range.next_xid,
        next_id: range.next_id,
        key_id: context.keyring.primary_id().to_owned(),
    };
    let mac = audit::mac(context.keyring.audit_key(), &seal.message()).to_vec();
    let signed = SignedSeal { seal, mac };
    store::seal::append(&signed)?;
    Ok(Some(signed.seal))
}

/// Reads entries in batches, so that they need not fit into memory together.
pub fn each_entry(
    start: Position,
    read: impl Fn(Position) -> Result<Vec<StoredEntry>, Error>,
    mut take: impl FnMut(StoredEntry),
) -> Result<(), Error> {
    let mut after = start;
    loop {
        server::check_for_interrupts();
        let entries = read(after)?;
        let Some(last) = entries.last() else {
            return Ok(());
        };
        after = Position { id: last.entry.id, at: last.entry.at };
        entries.into_iter().for_each(&mut take);
    }
}

/// Returns the digest of the last seal, to be kept elsewhere.
pub fn digest() -> Result<JsonB, Error> {
    begin_reading()?;
    let last = store::seal::last()?.ok_or(Error::NoSeal)?.seal;
    let hash = format!("0x{}", hex(&last.hash()));
    store::seal::digest(&last, &hash, &server::database_name(), clock::now()?)
}

/// Returns a signed checkpoint of all seals.
pub fn checkpoint() -> Result<String, Error> {
    begin_reading()?;
    let keyring = context::keyring()?;
    checkpoint::checkpoint(&hashes()?, keyring.checkpoint_seed()).ok_or(Error::NoSeal)
}

/// Returns the public key that verifies checkpoints.
pub fn verifier_key() -> Result<String, Error> {
    begin_reading()?;
    let keyring = context::keyring()?;
    let first = *hashes()?.first().ok_or(Error::NoSeal)?;
    Ok(checkpoint::verifier_key(&first, keyring.checkpoint_seed()))
}

fn hashes() -> Result<Vec<Hash>, Error> {
    Ok(store::seal::all()?.iter().map(|signed| signed.seal.hash()).collect())
}

/// Returns the proof that a seal holds an entry, and the checkpoint of all seals holds that seal.
pub fn proof(id: Option<i64>) -> Result<Value, Error> {
    begin_reading()?;
    let id = id.ok_or(Error::NoEntry)?;
    let StoredEntry { entry, mac } = store::audit::entry(id)?.ok_or(Error::NoEntry)?;
    let seal = store::seal::of_entry(entry.origin, entry.xid)?.ok_or(Error::NotSealed)?.seal;
    let mut leaves = Vec::new();
    let mut index = None;
    let start = Position::before(seal.ids.first().unwrap_or(i64::MIN));
    let (origin, xids) = (seal.origin, (seal.from_xid, seal.to_xid));
    each_entry(
        start,
        |after| store::audit::entries_of(after, origin, xids),
        |other| {
            if other.entry.id == id && index.is_none() {
                index = Some(leaves.len());
            }
            leaves.push(leaf(&other.entry.message(), &other.mac));
        },
    )?;
    let index = index.ok_or(Error::NoEntry)?;
    let seals: Vec<Hash> = hashes()?.iter().map(checkpoint::leaf).collect();
    let seal_index = usize::try_from(seal.id - 1).map_err(|_| Error::NoSeal)?;
    let path = |leaves: &[Hash], index| -> Vec<String> {
        merkle::inclusion_proof(leaves, index).iter().map(|hash| hex(hash)).collect()
    };
    Ok(json!({
        "id": id,
        "message": hex(&entry.message()),
        "mac": hex(&mac),
        "leaf_index": index,
        "tree_size": leaves.len(),
        "path": path(&leaves, index),
        "seal": seal.id,
        "seal_message": hex(&seal.message()),
        "seal_index": seal_index,
        "checkpoint_size": seals.len(),
        "seal_path": path(&seals, seal_index),
    }))
}

/// Removes the entries of all seals that are older than a time. The seals stay, and an entry tells of
/// it. Returns the number of entries.
pub fn prune(before: Timestamp, reason: &AuditReason) -> Result<i64, Error> {
    let context = Context::begin()?;
    store::seal::lock()?;
    let Some(SignedSeal { seal, .. }) = store::seal::last_before(before)? else {
        return Ok(0);
    };
    let removed = store::audit::prune(seal.id)?;
    if removed > 0 {
        let mut fields = field("seal", seal.id);
        fields.insert("hash".to_owned(), hex(&seal.hash()).into());
        fields.insert("entries".to_owned(), removed.into());
        fields.insert("reason".to_owned(), (**reason).into());
        context.record_general(Event::AuditPrune, fields)?;
    }
    Ok(i64::try_from(removed).unwrap_or(i64::MAX))
}

/// Returns the names that an account may have in the audit trail: its own, its hash under each key,
/// and its hash as version 0.1.0 wrote it.
pub fn names(account: &str) -> Result<Vec<String>, Error> {
    let keyring = context::keyring()?;
    let own = std::iter::once(account.to_owned());
    Ok(own.chain(keyring.hashed_accounts(account)).chain([hashed(account)]).collect())
}
