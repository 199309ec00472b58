//! Seals, each of which closes a part of the audit trail.

use super::audit::{Entry, Message};
use super::id_set::IdSet;
use super::merkle::{self, Hash, Tree};
use super::timestamp::Timestamp;
use sha2::{Digest, Sha256};

/// The hash before the first seal.
pub const NO_HASH: Hash = [0; 32];

/// A seal, without its MAC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// The number of the seal, from 1.
    pub id: i64,
    /// When it was made.
    pub at: Timestamp,
    /// The database that wrote the entries.
    pub origin: i64,
    /// The first transaction whose entries it closes.
    pub from_xid: i64,
    /// The first transaction whose entries it no longer closes.
    pub to_xid: i64,
    /// The number of entries.
    pub entries: i64,
    /// The IDs of the entries.
    pub ids: IdSet,
    /// The time of the earliest entry.
    pub first_at: Timestamp,
    /// The time of the latest entry.
    pub last_at: Timestamp,
    /// The root of the Merkle tree of the entries, in the order of their IDs and times.
    pub root: Hash,
    /// The hash of the seal before.
    pub previous: Hash,
    /// The next transaction when the seal was made.
    pub next_xid: i64,
    /// An ID below those of all entries of that and later transactions.
    pub next_id: i64,
    /// The key that signs it.
    pub key_id: String,
}

/// A seal and its MAC.
pub struct SignedSeal {
    /// The seal.
    pub seal: Seal,
    /// Its MAC.
    pub mac: Vec<u8>,
}

impl Seal {
    /// Returns the bytes that are hashed and signed: see `docs/audit.md`.
    pub fn message(&self) -> Vec<u8> {
        let mut message = Message::new("totp seal v1");
        message.integer(self.id);
        message.integer(self.at.micros());
        message.integer(self.origin);
        message.integer(self.from_xid);
        message.integer(self.to_xid);
        message.integer(self.entries);
        message.text(&self.ids.to_string());
        message.integer(self.first_at.micros());
        message.integer(self.last_at.micros());
        message.bytes(&self.root);
        message.bytes(&self.previous);
        message.integer(self.next_xid);
        message.integer(self.next_id);
        message.text(&self.key_id);
        message.finish()
    }

    /// Returns the hash of the seal.
    pub fn hash(&self) -> Hash {
        Sha256::digest(self.message()).into()
    }

    /// Returns whether an entry with this origin and transaction belongs to the seal.
    pub fn closes(&self, origin: i64, xid: i64) -> bool {
        self.origin == origin && (self.from_xid..self.to_xid).contains(&xid)
    }
}

/// Returns the leaf of an entry in the tree of its seal. It holds the whole entry and its MAC, so that
/// a change shows without the key.
pub fn leaf(message: &[u8], mac: &[u8]) -> Hash {
    let mut leaf = Message(message.to_vec());
    leaf.bytes(mac);
    merkle::leaf(&leaf.finish())
}

/// Collects entries for a seal.
#[derive(Default)]
pub struct Contents {
    /// The tree of the entries.
    pub tree: Tree,
    /// The IDs.
    pub ids: IdSet,
    /// The number of entries.
    pub entries: i64,
    /// The times of the earliest and the latest entry.
    pub times: Option<(Timestamp, Timestamp)>,
}

impl Contents {
    /// Adds an entry. IDs must ascend.
    pub fn push(&mut self, entry: &Entry, mac: &[u8]) {
        self.tree.push(leaf(&entry.message(), mac));
        self.ids.push(entry.id);
        self.entries += 1;
        let (first, last) = self.times.unwrap_or((entry.at, entry.at));
        self.times = Some((first.min(entry.at), last.max(entry.at)));
    }
}
