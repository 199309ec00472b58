//! Imports of many accounts at once, from tables or documents of other systems.
//!
//! All sources become groups of one shape: an account, with what was found for it. Tables are read
//! with the rights of the caller; only writing to our own uses those of `totp_owner`. Views run
//! functions, so what these set is undone before that.

use super::audit::field;
use super::context::Context;
use super::enrol::FACTORS_LIMIT;
use super::import::WEAK_BELOW_BYTES;
use super::lock_timeout::limited;
use super::new_account::ensure_decoys;
use super::waiting_recovery::{cancel_by_change, complete_recoveries};
use crate::error::{Error, notice};
use crate::guard::AccountGuard;
use crate::pure::audit::{Event, Outcome as AuditOutcome};
use crate::pure::backup_code::{BackupCode, HashedSet, SALT_BYTES};
use crate::pure::event::Kind;
use crate::pure::import::{
    Cells, Decision, Existing, Group, Grouping, Item, Problem, SourceAccount, SourceFactor, decide,
};
use crate::pure::keyring::{AssociatedData, Keyring, Plaintext, hex};
use crate::pure::name::{Account, AuditReason, Label};
use crate::store::audit::SignedEntry;
use crate::store::backup_code::ImportedSet;
use crate::store::factor::{Factor, FactorRow};
use crate::store::source::{Cursor, Part};
use crate::{clock, random, server, settings, store};
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// How many rows to read, and how many accounts to write, at a time.
pub const BATCH: i32 = 1_000;
/// How often progress is reported.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);
/// The maximum number of steps that a last step can be ahead of the server's clock.
const MAX_AHEAD: i64 = 1_000;
/// The maximum drift in steps.
const MAX_DRIFT: i64 = 1_000;

/// How to import.
pub struct Options {
    /// The name of the function, for the audit trail.
    pub function: &'static str,
    /// Whether only to report what an import would do.
    pub dry_run: bool,
    /// The reason for the audit trail.
    pub reason: Option<AuditReason>,
}

/// What became of an account.
pub struct Outcome {
    /// The account; `None` if the source names none.
    pub account: Option<String>,
    /// The number of factors that were imported.
    pub factors: i32,
    /// The number of backup codes that were imported.
    pub backup_codes: i32,
    /// Why something was not imported.
    pub problems: Vec<Problem>,
}

/// Reads the cells of a row.
pub type Parser = Box<dyn Fn(&Cells) -> Result<Item, Problem>>;

/// Imports the rows of tables, which are read with the rights of the caller.
pub fn from_tables(options: Options, parts: Vec<(Part, Parser)>) -> Result<Vec<Outcome>, Error> {
    let mut import = Import::begin(options)?;
    let (parts, parsers): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    let cursor = server::run_user_code(|| Cursor::open(&parts))?;
    let mut grouping = Grouping::default();
    loop {
        let rows = server::run_user_code(|| cursor.fetch(BATCH))?;
        let is_end = rows.is_empty();
        for row in rows {
            let parser = parsers.get(row.part).ok_or(Error::Corrupt("part"))?;
            grouping.add(row.account.as_deref(), parser(&row.cells));
        }
        // The last account may have more rows.
        let next = if is_end { Grouping::default() } else { grouping.split_off_last() };
        import.write(std::mem::replace(&mut grouping, next).groups())?;
        if is_end {
            return Ok(import.end());
        }
    }
}

/// Imports what was read from a document.
pub fn from_document(options: Options, grouping: Grouping) -> Result<Vec<Outcome>, Error> {
    let mut import = Import::begin(options)?;
    let mut groups = grouping.groups().into_iter();
    loop {
        let batch: Vec<Group> = groups.by_ref().take(BATCH.unsigned_abs() as usize).collect();
        if batch.is_empty() {
            return Ok(import.end());
        }
        import.write(batch)?;
    }
}

/// Reports at intervals how far an import is.
pub struct Progress {
    reported_at: Duration,
}

impl Progress {
    /// Begins an interval.
    pub fn begin() -> Self {
        Self { reported_at: clock::monotonic() }
    }

    /// Reports how many rows of the result there are, if the interval is over.
    pub fn report(&mut self, done: usize) {
        let now = clock::monotonic();
        if now.saturating_sub(self.reported_at) >= REPORT_INTERVAL {
            self.reported_at = now;
            notice::import_progress(done);
        }
    }
}

/// A running import.
struct Import {
    context: Context,
    options: Options,
    outcomes: Vec<Outcome>,
    weak: u64,
    progress: Progress,
}

/// An account of a batch.
struct Candidate {
    account: Account,
    source: SourceAccount,
    outcome: Outcome,
}

/// What to write for a batch, all at once.
#[derive(Default)]
struct Rows<'a> {
    factors: Vec<(&'a Account, Factor)>,
    sets: Vec<(&'a Account, ImportedSet)>,
    entries: Vec<SignedEntry>,
    events: Vec<(&'a Account, Map<String, Value>)>,
}

/// What there is of the accounts of a batch.
#[derive(Default)]
struct Known {
    /// Those that were created.
    new: HashSet<String>,
    /// The factors of the others.
    factors: HashMap<String, Vec<FactorRow>>,
    /// Those of the others that have changed their factors.
    changed: HashSet<String>,
    /// Those whose recovery has taken effect, and whose rows other transactions have locked.
    busy: HashSet<String>,
}

impl Import {
    fn begin(options: Options) -> Result<Self, Error> {
        Ok(Self {
            context: server::with_owner_rights(Context::begin)?,
            options,
            outcomes: Vec::new(),
            weak: 0,
            progress: Progress::begin(),
        })
    }

    /// Imports a batch of accounts, each of which comes only once.
    fn write(&mut self, groups: Vec<Group>) -> Result<(), Error> {
        server::check_for_interrupts();
        let mut candidates = Vec::with_capacity(groups.len());
        let mut nameless = Vec::new();
        for (account, mut source) in groups {
            self.check(&mut source);
            let problems = std::mem::take(&mut source.problems);
            let outcome = Outcome { account: None, factors: 0, backup_codes: 0, problems };
            match account {
                Ok(account) => {
                    let outcome = Outcome { account: Some(account.to_string()), ..outcome };
                    candidates.push(Candidate { account, source, outcome });
                }
                Err(problem) => nameless.push(Outcome { problems: vec![problem], ..outcome }),
            }
        }
        server::with_own_memory(|| {
            server::with_owner_rights(|| limited(|| self.write_candidates(&mut candidates)))
        })?;
        self.outcomes.extend(candidates.into_iter().map(|candidate| candidate.outcome));
        self.outcomes.append(&mut nameless);
        self.progress.report(self.outcomes.len());
        Ok(())
    }

    /// Leaves out factors whose last step cannot be right: with one that is far ahead, no code would
    /// be accepted for years.
    fn check(&self, source: &mut SourceAccount) {
        let now = self.context.now;
        let is_ahead = |factor: &SourceFactor| {
            let newest = now.step(factor.parameters.period.into()) + MAX_AHEAD;
            factor.last_step.is_some_and(|step| !(-1..=newest).contains(&step))
        };
        if source.factors.iter().any(is_ahead) {
            source.factors.retain(|factor| !is_ahead(factor));
            source.report(Problem::OutOfRange("last step"));
        }
    }

    fn write_candidates(&mut self, candidates: &mut [Candidate]) -> Result<(), Error> {
        let named: Vec<&Account> = candidates
            .iter()
            .filter(|candidate| !candidate.source.factors.is_empty())
            .map(|candidate| &candidate.account)
            .collect();
        let Known { new, mut factors, changed, busy } = self.look_up(&named)?;
        let mut rows = Rows::default();
        for Candidate { account, source, outcome } in candidates {
            if source.factors.is_empty() {
                if outcome.problems.is_empty() {
                    outcome.problems.push(Problem::NoFactor);
                }
                continue;
            }
            let is_new = new.contains(&**account);
            let known = factors.remove(&**account).unwrap_or_default();
            let decision = match self.decide(account, source, &known) {
                Decision::Add { .. } if busy.contains(&**account) => {
                    Decision::Refuse(Problem::Busy)
                }
                Decision::Add { is_first: true, .. } if changed.contains(&**account) => {
                    Decision::Refuse(Problem::Removed)
                }
                Decision::Add { factors, .. }
                    if !factors.is_empty() && !is_new && !self.options.dry_run =>
                {
                    self.lock(account, source)?
                }
                decision => decision,
            };
            match decision {
                Decision::Add { factors, is_first } => {
                    if !is_first {
                        source.backup_codes.clear();
                    }
                    let count = |count| i32::try_from(count).unwrap_or(i32::MAX);
                    outcome.factors = count(factors.len());
                    outcome.backup_codes = count(source.backup_codes.len());
                    if !self.options.dry_run {
                        self.prepare(account, source, factors, &mut rows)?;
                    }
                }
                Decision::Refuse(problem) => outcome.problems.push(problem),
            }
        }
        store::factor::insert_imported(
            &rows.factors,
            self.context.keyring.primary_id(),
            self.context.now,
        )?;
        store::backup_code::insert_imported(&rows.sets, self.context.keyring.primary_id())?;
        store::audit::append_all(&rows.entries)?;
        self.context.announce_all(Kind::Imported, rows.events)
    }

    /// Creates accounts that do not exist, and reads what there is of those that do.
    fn look_up(&self, named: &[&Account]) -> Result<Known, Error> {
        let mut known = Known::default();
        if named.is_empty() {
            return Ok(known);
        }
        if !self.options.dry_run {
            ensure_decoys()?;
            known.new = store::account::ensure_all(named, self.context.now)?.into_iter().collect();
        }
        for account in &known.new {
            let account_guard = AccountGuard::of(account);
            account_guard.created();
            if !account_guard.lock_state().is_clean() {
                account_guard.clear_at_commit();
            }
        }
        let names = named.iter().map(|account| &***account);
        let others: Vec<&str> = names.filter(|name| !known.new.contains(*name)).collect();
        if !others.is_empty() {
            let recovered = store::account::recovered_of(&others, self.context.now)?;
            if !self.options.dry_run {
                let busy = complete_recoveries(&recovered, self.context.now)?;
                known.busy.extend(busy);
            }
            for (account, row) in store::factor::all_of(&others)? {
                known.factors.entry(account).or_default().push(row);
            }
            known.changed = store::account::changed(&others)?.into_iter().collect();
            // Those of busy accounts are still there, and in a dry run all.
            for account in recovered {
                known.factors.remove(&account);
                known.changed.insert(account);
            }
        }
        Ok(known)
    }

    fn decide(&self, account: &Account, source: &SourceAccount, known: &[FactorRow]) -> Decision {
        let decrypt = |row: &FactorRow| {
            let Factor { label, created_at, ciphertext, .. } = &row.factor;
            let associated_data = AssociatedData::factor(account, label, *created_at);
            self.context.keyring.decrypt(&associated_data, ciphertext).ok()
        };
        let plaintexts: Vec<_> = known.iter().map(decrypt).collect();
        let existing = known.iter().zip(&plaintexts).map(|(row, plaintext)| Existing {
            label: &row.factor.label,
            is_active: row.is_active(),
            secret: plaintext.as_ref().map(|plaintext| plaintext.value.as_slice()),
        });
        decide(&source.factors, &existing.collect::<Vec<_>>(), FACTORS_LIMIT)
    }

    /// Prepares an account that exists for new factors: locks its row, decides again, and removes
    /// pending factors whose labels are needed. All others are then void.
    fn lock(&self, account: &Account, source: &SourceAccount) -> Result<Decision, Error> {
        if !store::account::try_lock(account)? {
            return Ok(Decision::Refuse(Problem::Busy));
        }
        let decision = self.decide(account, source, &store::factor::all(account)?);
        if let Decision::Add { factors, is_first } = &decision
            && !factors.is_empty()
        {
            for (_, label) in factors {
                store::factor::delete(account, label)?;
            }
            if *is_first {
                store::backup_code::delete(account)?;
            }
            cancel_by_change(&self.context, account)?;
            store::account::mark_changed(account, self.context.now)?;
        }
        Ok(decision)
    }

    /// Encrypts the factors and the backup codes of an account, signs its audit entries, and collects
    /// its events.
    fn prepare<'a>(
        &mut self,
        account: &'a Account,
        source: &SourceAccount,
        factors: Vec<(usize, Label)>,
        rows: &mut Rows<'a>,
    ) -> Result<(), Error> {
        let keyring = &self.context.keyring;
        if !source.backup_codes.is_empty() {
            rows.sets.push((account, hashed(keyring, account, &source.backup_codes)?));
        }
        for (position, label) in factors {
            let Some(factor) = source.factors.get(position) else {
                continue;
            };
            let is_weak = factor.secret.expose().len() < WEAK_BELOW_BYTES;
            self.weak += u64::from(is_weak);
            let mut fields = field("label", &*label);
            fields.insert("weak".to_owned(), is_weak.into());
            fields.insert("function".to_owned(), self.options.function.into());
            if !source.backup_codes.is_empty() {
                fields.insert("backup_codes".to_owned(), source.backup_codes.len().into());
            }
            if let Some(reason) = &self.options.reason {
                fields.insert("reason".to_owned(), (**reason).into());
            }
            rows.entries.extend(self.context.entry(
                account,
                Event::Import,
                AuditOutcome::Ok,
                fields,
            ));
            rows.events.push((account, field("label", &*label)));
            rows.factors.push((account, self.encrypt(account, label, factor)));
        }
        Ok(())
    }

    fn encrypt(&self, account: &Account, label: Label, factor: &SourceFactor) -> Factor {
        let created_at = self.context.now;
        let plaintext = Plaintext {
            issuer: factor.issuer.as_ref().map(|issuer| issuer.to_string()),
            account_name: factor.account_name.as_ref().map(|name| name.to_string()),
            ..Plaintext::of(factor.secret.expose())
        };
        let associated_data = AssociatedData::factor(account, &label, created_at);
        let ciphertext = self.context.keyring.encrypt(&associated_data, &plaintext);
        let parameters = factor.parameters;
        // If the source does not say which codes were accepted, every code until now may have been.
        let newest = created_at.step(parameters.period.into()) + settings::window_steps();
        let last_step = factor.last_step.unwrap_or(newest);
        let drift = factor.drift.clamp(-MAX_DRIFT, MAX_DRIFT);
        Factor { label, parameters, ciphertext, last_step, drift, created_at }
    }

    fn end(self) -> Vec<Outcome> {
        if self.weak > 0 {
            notice::weak_secrets(self.weak);
        }
        self.outcomes
    }
}

/// Hashes and encrypts a set of backup codes that another system issued. They are checked as our own
/// are.
fn hashed(
    keyring: &Keyring,
    account: &Account,
    codes: &[BackupCode],
) -> Result<ImportedSet, Error> {
    let salt = random::array::<SALT_BYTES>()?;
    let associated_data = AssociatedData::backup_codes(account, salt.as_slice());
    let hashes = Plaintext::of(HashedSet::of(codes, salt.as_slice()).expose());
    Ok(ImportedSet {
        salt: hex(salt.as_slice()),
        ciphertext: keyring.encrypt(&associated_data, &hashes),
        count: i32::try_from(codes.len()).unwrap_or(i32::MAX),
    })
}
