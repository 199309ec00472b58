//! Verification of the audit trail: compares the entries with their signatures and seals.

use super::audit::{Entry, Event, is_signed};
use super::keyring::{Keyring, hex};
use super::merkle::Hash;
use super::seal::{Contents, NO_HASH, Seal, SignedSeal};
use super::timestamp::Timestamp;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::RangeInclusive;

/// Maximum number of findings that are reported one by one.
const FINDINGS_LIMIT: usize = 10_000;
/// Maximum number of entries that are compared with each other's IDs.
const SUSPECTS_LIMIT: usize = 200;

/// The kind of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Problem {
    /// An entry or a seal was changed.
    Altered,
    /// An entry was added.
    Forged,
    /// An entry or a seal was removed.
    Missing,
    /// An entry has the ID of another one.
    Reordered,
    /// Entries belong to no seal yet.
    Unsealed,
    /// Entries were removed by `audit_prune`.
    Pruned,
    /// A signature cannot be checked.
    KeyMissing,
    /// A digest does not fit the seals.
    DigestMismatch,
}

impl Problem {
    /// Returns the name used in SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Altered => "altered",
            Self::Forged => "forged",
            Self::Missing => "missing",
            Self::Reordered => "reordered",
            Self::Unsealed => "unsealed",
            Self::Pruned => "pruned",
            Self::KeyMissing => "key_missing",
            Self::DigestMismatch => "digest_mismatch",
        }
    }

    /// Returns whether a seal with such a finding still counts as verified.
    const fn is_harmless(self) -> bool {
        matches!(self, Self::Unsealed | Self::Pruned)
    }

    /// Returns whether later seals count as verified. They contain the hash of all seals before, so
    /// what could not be checked there has at least not changed since.
    const fn is_harmless_to_later(self) -> bool {
        self.is_harmless() || matches!(self, Self::KeyMissing)
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// An entry does not fit its signature.
    EntryChanged,
    /// The entries fit their signatures, but not the seal.
    SignedAgain,
    /// The entries do not fit the seal, and the signatures of some cannot be checked.
    Unexplained,
    /// A seal does not fit its signature.
    SealChanged,
    /// A seal is not the one that the next seal follows.
    SealReplaced,
    /// An entry is not among those that the seal closed.
    NotInSeal,
    /// An entry occurs twice.
    Duplicate,
    /// An entry that no seal closes does not fit its signature.
    NotSigned,
    /// These entries are gone.
    EntriesGone {
        /// The first ID.
        first: i64,
        /// The last ID.
        last: i64,
    },
    /// All entries of a seal are gone.
    AllGone {
        /// Their number.
        entries: i64,
    },
    /// These seals are gone.
    SealsGone {
        /// The first one.
        first: i64,
        /// The last one.
        last: i64,
    },
    /// An entry fits its signature only with the ID of another one.
    OtherId {
        /// That ID.
        id: i64,
    },
    /// Entries that no seal closes.
    NotSealed {
        /// Their number.
        entries: i64,
    },
    /// Entries were removed by `audit_prune`.
    Pruned {
        /// The number of seals whose entries are gone.
        seals: i64,
        /// Who removed them.
        actor: String,
        /// When.
        at: Timestamp,
        /// Why.
        reason: String,
    },
    /// The keyring lacks a key.
    KeyMissing {
        /// The key.
        key_id: String,
        /// The number of entries that it signed; `None` for a seal.
        entries: Option<i64>,
    },
    /// A seal has another hash than the digest says.
    OtherHash,
    /// A digest's seal does not exist.
    NoSuchSeal,
    /// There are more findings of this kind.
    More {
        /// The kind.
        problem: Problem,
        /// The number of findings that are not reported one by one.
        findings: i64,
    },
}

impl Cause {
    /// Returns the kind of the finding.
    pub const fn problem(&self) -> Problem {
        match self {
            Self::EntryChanged
            | Self::SignedAgain
            | Self::Unexplained
            | Self::SealChanged
            | Self::SealReplaced => Problem::Altered,
            Self::NotInSeal | Self::Duplicate | Self::NotSigned => Problem::Forged,
            Self::EntriesGone { .. } | Self::AllGone { .. } | Self::SealsGone { .. } => {
                Problem::Missing
            }
            Self::OtherId { .. } => Problem::Reordered,
            Self::NotSealed { .. } => Problem::Unsealed,
            Self::Pruned { .. } => Problem::Pruned,
            Self::KeyMissing { .. } => Problem::KeyMissing,
            Self::OtherHash | Self::NoSuchSeal => Problem::DigestMismatch,
            Self::More { problem, .. } => *problem,
        }
    }
}

/// A finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The seal concerned.
    pub seal: Option<i64>,
    /// The entry concerned, or the first of several.
    pub id: Option<i64>,
    /// What was found.
    pub cause: Cause,
}

/// The hash of a seal, from a digest that was kept elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// The number of the seal.
    pub seal: i64,
    /// Its hash.
    pub hash: Hash,
}

impl Digest {
    /// Reads one digest or an array of them, as `audit_digest` returned them.
    pub fn parse_all(digests: &Value) -> Option<Vec<Self>> {
        match digests {
            Value::Array(digests) => digests.iter().map(Self::parse).collect(),
            digest => Self::parse(digest).map(|digest| vec![digest]),
        }
    }

    fn parse(digest: &Value) -> Option<Self> {
        let seal = digest.get("block_id")?.as_i64()?;
        let hash = digest.get("hash")?.as_str()?.strip_prefix("0x")?;
        Some(Self { seal, hash: unhex(hash)? })
    }
}

fn unhex(text: &str) -> Option<Hash> {
    let mut hash = [0; 32];
    // `from_str_radix` would accept a plus sign.
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (index, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(hash)
}

/// A seal, and what was found of its entries.
struct Checked {
    seal: Seal,
    hash: Hash,
    is_in_scope: bool,
    contents: Contents,
}

/// An entry that does not fit its signature.
struct Suspect {
    entry: Entry,
    mac: Vec<u8>,
    /// The position of its finding.
    finding: usize,
}

/// A removal of entries that the trail itself records.
struct Prune {
    seal: i64,
    actor: String,
    at: Timestamp,
    reason: String,
}

/// A verification.
pub struct Verification<'a> {
    keyring: &'a Keyring,
    times: RangeInclusive<Timestamp>,
    seals: Vec<Checked>,
    /// The positions of seals by origin, in ascending order.
    by_origin: HashMap<i64, Vec<usize>>,
    findings: Vec<Finding>,
    omitted: BTreeMap<Problem, i64>,
    suspects: Vec<Suspect>,
    /// Entries by seal and key, and the first of them, whose key is missing.
    without_key: BTreeMap<(Option<i64>, String), (i64, i64)>,
    /// Number of entries that no seal closes, and the first of them.
    unsealed: Option<(i64, i64)>,
    prune: Option<Prune>,
    latest: Option<(i64, Vec<u8>)>,
}

impl<'a> Verification<'a> {
    /// Checks the seals, which are in the order of their numbers, and begins with the entries in a
    /// range of times.
    pub fn new(
        keyring: &'a Keyring,
        times: RangeInclusive<Timestamp>,
        seals: Vec<SignedSeal>,
    ) -> Self {
        let mut verification = Self {
            keyring,
            times,
            seals: Vec::with_capacity(seals.len()),
            by_origin: HashMap::new(),
            findings: Vec::new(),
            omitted: BTreeMap::new(),
            suspects: Vec::new(),
            without_key: BTreeMap::new(),
            unsealed: None,
            prune: None,
            latest: None,
        };
        for seal in seals {
            verification.add_seal(seal);
        }
        verification
    }

    fn add_seal(&mut self, SignedSeal { seal, mac }: SignedSeal) {
        let (before, previous) =
            self.seals.last().map_or((0, NO_HASH), |last| (last.seal.id, last.hash));
        if before + 1 < seal.id {
            let (first, last) = (before + 1, seal.id - 1);
            self.find(Some(first), None, Cause::SealsGone { first, last });
        } else if seal.previous != previous {
            let cause = if before == 0 { Cause::SealChanged } else { Cause::SealReplaced };
            self.find(Some(before.max(1)), None, cause);
        }
        match self.keyring.audit_key_of(&seal.key_id) {
            None => {
                let cause = Cause::KeyMissing { key_id: seal.key_id.clone(), entries: None };
                self.find(Some(seal.id), None, cause);
            }
            Some(key) if !is_signed(key, &seal.message(), &mac) => {
                self.find(Some(seal.id), None, Cause::SealChanged);
            }
            Some(_) => {}
        }
        self.by_origin.entry(seal.origin).or_default().push(self.seals.len());
        let is_in_scope = seal.first_at <= *self.times.end() && *self.times.start() <= seal.last_at;
        self.seals.push(Checked {
            hash: seal.hash(),
            seal,
            is_in_scope,
            contents: Contents::default(),
        });
    }

    /// Compares digests that were kept elsewhere with the seals.
    pub fn check_digests(&mut self, digests: &[Digest]) {
        for digest in digests {
            match self.seals.iter().find(|checked| checked.seal.id == digest.seal) {
                None => self.find(Some(digest.seal), None, Cause::NoSuchSeal),
                Some(checked) if checked.hash != digest.hash => {
                    self.find(Some(digest.seal), None, Cause::OtherHash);
                }
                Some(_) => {}
            }
        }
    }

    /// Returns the range of the IDs of the entries to check, and their number as far as seals tell.
    pub fn ids(&self) -> (RangeInclusive<i64>, i64) {
        let in_scope = || self.seals.iter().filter(|checked| checked.is_in_scope);
        let entries = in_scope().map(|checked| checked.seal.entries).sum();
        let is_everything = *self.times.start() == Timestamp::from_micros(i64::MIN)
            && *self.times.end() == Timestamp::from_micros(i64::MAX);
        if is_everything {
            return (i64::MIN..=i64::MAX, entries);
        }
        let first = in_scope().filter_map(|checked| checked.seal.ids.first()).min();
        // Entries after the last seal belong to the range if that is open.
        let is_open = self.seals.last().is_none_or(|last| last.seal.last_at <= *self.times.end());
        let last = in_scope().filter_map(|checked| checked.seal.ids.last()).max();
        let last = if is_open { Some(i64::MAX) } else { last };
        let sealed = self.seals.iter().filter_map(|checked| checked.seal.ids.last()).max();
        let first = first.or(if is_open { sealed } else { None });
        (first.unwrap_or(i64::MIN)..=last.unwrap_or(i64::MIN), entries)
    }

    /// Checks an entry. Entries come in the order of their IDs and times.
    pub fn check(&mut self, entry: Entry, mac: Vec<u8>) {
        let place = self.seal_of(&entry);
        let is_in_scope = match place.and_then(|place| self.seals.get(place)) {
            Some(checked) => checked.is_in_scope,
            None => self.times.contains(&entry.at),
        };
        if !is_in_scope {
            return;
        }
        let signature = self.is_entry_signed(&entry, &mac);
        let is_again =
            self.latest.as_ref().is_some_and(|(id, latest)| *id == entry.id && *latest == mac);
        let checked = place.and_then(|place| self.seals.get_mut(place));
        let seal = checked.as_ref().map(|checked| checked.seal.id);
        let is_closed = checked.as_ref().is_none_or(|checked| checked.seal.ids.contains(entry.id));
        if let Some(checked) = checked {
            checked.contents.push(&entry, &mac);
        } else {
            let (entries, _) = self.unsealed.get_or_insert((0, entry.id));
            *entries += 1;
        }
        if signature.is_none() {
            let key = (seal, entry.key_id.clone());
            self.without_key.entry(key).or_insert((0, entry.id)).0 += 1;
        }
        let cause = match (seal, signature) {
            _ if is_again => Some(Cause::Duplicate),
            (Some(_), _) if !is_closed => Some(Cause::NotInSeal),
            (Some(_), Some(false)) => Some(Cause::EntryChanged),
            (None, Some(false)) => Some(Cause::NotSigned),
            _ => None,
        };
        self.latest = Some((entry.id, mac.clone()));
        if let Some(cause) = cause {
            let finding = self.findings.len();
            self.find(seal, Some(entry.id), cause);
            if signature == Some(false) && self.suspects.len() < SUSPECTS_LIMIT {
                self.suspects.push(Suspect { entry, mac, finding });
            }
        }
    }

    /// Returns whether an entry fits its signature; `None` if its key is missing.
    fn is_entry_signed(&self, entry: &Entry, mac: &[u8]) -> Option<bool> {
        let message = entry.message();
        if entry.is_of_0_1() {
            let mut keys = self.keyring.audit_keys();
            return Some(entry.is_as_upgraded() && keys.any(|key| is_signed(key, &message, mac)));
        }
        self.keyring.audit_key_of(&entry.key_id).map(|key| is_signed(key, &message, mac))
    }

    fn seal_of(&self, entry: &Entry) -> Option<usize> {
        let places = self.by_origin.get(&entry.origin)?;
        let seal = |place: &usize| self.seals.get(*place).map(|checked| &checked.seal);
        let after = places
            .partition_point(|place| seal(place).is_some_and(|seal| seal.from_xid <= entry.xid));
        let place = *places.get(after.checked_sub(1)?)?;
        seal(&place).filter(|seal| seal.closes(entry.origin, entry.xid)).map(|_| place)
    }

    /// Takes account of an entry that says what was removed, if it is signed and names a seal with
    /// its hash.
    pub fn add_prune(&mut self, entry: &Entry, mac: &[u8]) {
        let key = self.keyring.audit_key_of(&entry.key_id);
        if entry.event != Event::AuditPrune.as_str()
            || !key.is_some_and(|key| is_signed(key, &entry.message(), mac))
        {
            return;
        }
        let detail = entry.detail.as_deref().and_then(super::json::parse::<Value>);
        let field = |name: &str| detail.as_ref().and_then(|detail| detail.get(name));
        let Some(seal) = field("seal").and_then(Value::as_i64) else {
            return;
        };
        let hash = field("hash").and_then(Value::as_str).unwrap_or_default();
        let is_ours =
            self.seals.iter().any(|checked| checked.seal.id == seal && hex(&checked.hash) == hash);
        if is_ours && self.prune.as_ref().is_none_or(|known| known.seal < seal) {
            let reason = field("reason").and_then(Value::as_str).unwrap_or_default().to_owned();
            self.prune = Some(Prune { seal, actor: entry.actor.clone(), at: entry.at, reason });
        }
    }

    /// Ends the verification. Returns the findings, by seal and ID, and the last seal that counts as
    /// verified.
    pub fn finish(mut self) -> (Vec<Finding>, Option<i64>) {
        self.find_reordered();
        self.compare_with_seals();
        for ((seal, key_id), (entries, id)) in std::mem::take(&mut self.without_key) {
            self.find(seal, Some(id), Cause::KeyMissing { key_id, entries: Some(entries) });
        }
        if let Some((entries, id)) = self.unsealed {
            self.find(None, Some(id), Cause::NotSealed { entries });
        }
        for (problem, findings) in std::mem::take(&mut self.omitted) {
            self.findings.push(Finding {
                seal: None,
                id: None,
                cause: Cause::More { problem, findings },
            });
        }
        let seals_with = |is_bad: fn(Problem) -> bool| {
            let found = self.findings.iter().filter(move |it| is_bad(it.cause.problem()));
            found.filter_map(|finding| finding.seal).collect::<HashSet<i64>>()
        };
        let bad = seals_with(|problem| !problem.is_harmless());
        let first_bad = seals_with(|problem| !problem.is_harmless_to_later()).into_iter().min();
        let is_verified = |checked: &&Checked| {
            checked.is_in_scope
                && !bad.contains(&checked.seal.id)
                && first_bad.is_none_or(|first| checked.seal.id < first)
        };
        let last = self.seals.iter().rfind(is_verified).map(|checked| checked.seal.id);
        let order = |finding: &Finding| (finding.seal.unwrap_or(i64::MAX), finding.id);
        self.findings.sort_by_key(order);
        (self.findings, last)
    }

    /// Finds entries that fit their signature with the ID of another suspicious one.
    fn find_reordered(&mut self) {
        let ids: Vec<i64> = self.suspects.iter().map(|suspect| suspect.entry.id).collect();
        for Suspect { entry, mac, finding } in &self.suspects {
            let Some(key) = self.keyring.audit_key_of(&entry.key_id) else { continue };
            let fits =
                |id: &&i64| is_signed(key, &Entry { id: **id, ..entry.clone() }.message(), mac);
            if let (Some(id), Some(finding)) =
                (ids.iter().find(fits), self.findings.get_mut(*finding))
            {
                finding.cause = Cause::OtherId { id: *id };
            }
        }
    }

    fn compare_with_seals(&mut self) {
        let moved: HashSet<i64> = self
            .findings
            .iter()
            .filter_map(|finding| match finding.cause {
                Cause::OtherId { id } => Some(id),
                _ => None,
            })
            .collect();
        let pruned_to = self.prune.as_ref().map_or(0, |prune| prune.seal);
        let explained: HashSet<i64> = self
            .findings
            .iter()
            .filter(|finding| finding.id.is_some())
            .filter_map(|finding| finding.seal)
            .collect();
        let mut pruned = 0;
        let mut found = Vec::new();
        for Checked { seal, contents, is_in_scope, .. } in &self.seals {
            if !is_in_scope
                || (contents.tree.root() == seal.root && contents.entries == seal.entries)
            {
                continue;
            }
            let gone = seal.ids.without(&contents.ids);
            if seal.id <= pruned_to && !gone.is_empty() {
                pruned += 1;
                continue;
            }
            if contents.ids.is_empty() {
                found.push((seal.id, seal.ids.first(), Cause::AllGone { entries: seal.entries }));
                continue;
            }
            let is_explained = !gone.is_empty() || explained.contains(&seal.id);
            for (first, last) in gone {
                if first != last || !moved.contains(&first) {
                    found.push((seal.id, Some(first), Cause::EntriesGone { first, last }));
                }
            }
            if !is_explained {
                let lacks_key = self.without_key.keys().any(|(place, _)| *place == Some(seal.id));
                let cause = if lacks_key { Cause::Unexplained } else { Cause::SignedAgain };
                found.push((seal.id, None, cause));
            }
        }
        for (seal, id, cause) in found {
            self.find(Some(seal), id, cause);
        }
        if let Some(Prune { seal, actor, at, reason }) = self.prune.take().filter(|_| pruned > 0) {
            self.find(Some(seal), None, Cause::Pruned { seals: pruned, actor, at, reason });
        }
    }

    fn find(&mut self, seal: Option<i64>, id: Option<i64>, cause: Cause) {
        if self.findings.len() < FINDINGS_LIMIT {
            self.findings.push(Finding { seal, id, cause });
        } else {
            *self.omitted.entry(cause.problem()).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::audit::mac;
    use super::*;
    use rand::{RngExt, SeedableRng, rngs::SmallRng};

    const KEY: &str = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";
    const SECOND: i64 = 1_000_000;

    /// Seals of five entries each, and their entries with their MACs.
    struct Trail {
        keyring: Keyring,
        seals: Vec<Seal>,
        entries: Vec<(Entry, Vec<u8>)>,
    }

    impl Trail {
        fn new(seals: i64) -> Self {
            let keyring = Keyring::parse(KEY).unwrap();
            let mut trail = Self { keyring, seals: Vec::new(), entries: Vec::new() };
            for number in 1..=seals {
                trail.seal(number);
            }
            trail
        }

        fn seal(&mut self, number: i64) {
            let mut contents = Contents::default();
            for id in 5 * number..5 * number + 5 {
                let entry = entry(id, 100 * number + id % 2);
                let mac = mac(self.keyring.audit_key(), &entry.message()).to_vec();
                contents.push(&entry, &mac);
                self.entries.push((entry, mac));
            }
            let (first_at, last_at) = contents.times.unwrap();
            self.seals.push(Seal {
                id: number,
                at: last_at,
                origin: 1,
                from_xid: 100 * (number - 1) + 50,
                to_xid: 100 * number + 50,
                entries: contents.entries,
                ids: contents.ids,
                first_at,
                last_at,
                root: contents.tree.root(),
                previous: self.seals.last().map_or(NO_HASH, Seal::hash),
                next_xid: 100 * number + 60,
                next_id: 5 * number + 5,
                key_id: Keyring::id_of(KEY),
            });
        }

        fn verify(&self, digests: &[Digest]) -> (Vec<Finding>, Option<i64>) {
            let always = Timestamp::from_micros(i64::MIN)..=Timestamp::from_micros(i64::MAX);
            let signed = |seal: &Seal| SignedSeal {
                seal: seal.clone(),
                mac: mac(self.keyring.audit_key(), &seal.message()).to_vec(),
            };
            let seals = self.seals.iter().map(signed).collect();
            let mut verification = Verification::new(&self.keyring, always, seals);
            verification.check_digests(digests);
            let mut entries = self.entries.clone();
            entries.sort_by_key(|(entry, _)| (entry.id, entry.at));
            for (entry, mac) in entries {
                verification.check(entry, mac);
            }
            verification.finish()
        }
    }

    fn entry(id: i64, xid: i64) -> Entry {
        Entry {
            id,
            at: Timestamp::from_micros(id * SECOND),
            account: format!("user-{id}"),
            event: "verify".into(),
            outcome: "ok".into(),
            actor: "app".to_owned(),
            client: None,
            application: None,
            detail: None,
            origin: 1,
            xid,
            key_id: Keyring::id_of(KEY),
        }
    }

    #[test]
    fn an_entry_of_0_1_is_signed_only_as_the_upgrade_has_left_it() {
        let trail = Trail::new(0);
        let always = Timestamp::from_micros(i64::MIN)..=Timestamp::from_micros(i64::MAX);
        let verification = Verification::new(&trail.keyring, always, Vec::new());
        let old = Entry { origin: 0, key_id: String::new(), ..entry(1, 0) };
        let mac = mac(trail.keyring.audit_key(), &old.message());
        let is_signed = |entry: Entry| verification.is_entry_signed(&entry, &mac);
        assert_eq!(is_signed(old.clone()), Some(true));
        assert_eq!(is_signed(Entry { origin: 1, ..old.clone() }), Some(false));
        assert_eq!(is_signed(Entry { xid: 1, ..old.clone() }), Some(false));
        assert_eq!(is_signed(Entry { client: Some(String::new()), ..old.clone() }), Some(false));
        assert_eq!(is_signed(Entry { application: Some("psql".to_owned()), ..old }), Some(false));
    }

    #[test]
    fn an_untouched_trail_verifies_to_its_last_seal() {
        assert_eq!(Trail::new(3).verify(&[]), (Vec::new(), Some(3)));
        assert_eq!(Trail::new(0).verify(&[]), (Vec::new(), None));
    }

    #[test]
    fn whatever_is_changed_is_found_in_its_seal() {
        let seed = rand::random();
        println!("TOTP_TEST_SEED={seed}");
        let mut random = SmallRng::seed_from_u64(seed);
        for _ in 0..500 {
            let mut trail = Trail::new(4);
            let place = random.random_range(0..trail.entries.len());
            let seal = i64::try_from(place / 5).unwrap() + 1;
            let (entry, mac) = &mut trail.entries[place];
            match random.random_range(0..9) {
                0 => entry.id += random.random_range(1..40),
                1 => entry.at = entry.at.plus_micros(1),
                2 => entry.account.push('x'),
                3 => entry.outcome = "invalid".into(),
                4 => entry.detail = Some("{}".to_owned()),
                5 => entry.xid += random.random_range(1..400),
                6 => mac[7] ^= 1,
                7 => entry.origin = 2,
                _ => {
                    trail.entries.remove(place);
                }
            }
            let (findings, last) = trail.verify(&[]);
            assert!(findings.iter().any(|finding| finding.seal == Some(seal)), "{findings:?}");
            assert!(last.unwrap_or(0) < seal, "{last:?}");
        }
    }

    #[test]
    fn a_digest_shows_a_trail_that_was_signed_again() {
        let digest = |trail: &Trail| Digest { seal: 3, hash: trail.seals[2].hash() };
        let honest = digest(&Trail::new(3));
        let mut forged = Trail::new(3);
        forged.seals[2].at = Timestamp::from_micros(0);
        assert_eq!(forged.verify(&[]), (Vec::new(), Some(3)));
        let (findings, last) = forged.verify(&[honest]);
        let found = Finding { seal: Some(3), id: None, cause: Cause::OtherHash };
        assert_eq!((findings, last), (vec![found], Some(2)));
    }

    #[test]
    fn findings_beyond_the_limit_are_counted() {
        let mut trail = Trail::new(1);
        for id in 100_000..100_010 + i64::try_from(FINDINGS_LIMIT).unwrap() {
            trail.entries.push((entry(id, 100), vec![0; 32]));
        }
        let (findings, _) = trail.verify(&[]);
        assert_eq!(findings.len(), FINDINGS_LIMIT + 1);
        let more = Cause::More { problem: Problem::Forged, findings: 10 };
        assert!(findings.iter().any(|finding| finding.cause == more));
    }

    #[test]
    fn digests_are_read_as_they_were_returned() {
        let hash = "00ff".repeat(16);
        let json = format!(r#"{{"block_id": 7, "hash": "0x{hash}", "database_name": "app"}}"#);
        let value = super::super::json::parse::<Value>(&json).unwrap();
        let digest = Digest { seal: 7, hash: unhex(&hash).unwrap() };
        assert_eq!(Digest::parse_all(&value), Some(vec![digest.clone()]));
        assert_eq!(Digest::parse_all(&Value::Array(vec![value])), Some(vec![digest]));
        assert_eq!(Digest::parse_all(&Value::Null), None);
        for hash in [&hash[1..], &hash.replace("0", "é"), &format!("+f{}", &hash[2..])] {
            let value = serde_json::json!({ "block_id": 7, "hash": format!("0x{hash}") });
            assert_eq!(Digest::parse_all(&value), None, "{hash}");
        }
    }
}
