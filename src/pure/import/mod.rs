//! Second factors that another system has stored, in one shape. There is one file per system; each
//! reads what that system wrote, row by row.

pub mod allauth;
pub mod app;
pub mod auth0;
pub mod better_auth;
pub mod django_otp;
pub mod django_totp;
pub mod fusionauth;
pub mod hardware_token;
pub mod keycloak;
pub mod libpam;
pub mod migration;
pub mod oath_csv;
mod plan;
pub mod privacyidea;
pub mod pskc;
pub mod rows;
pub mod supabase;

pub use plan::{Decision, Existing, decide};

use super::backup_code::BackupCode;
use super::invalid::Invalid;
use super::name::{Account, AccountName, Issuer, Label};
use super::otp::Parameters;
use super::secret::Secret;
use super::uri::{self, Imported};
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// The maximum number of backup codes in a set.
const MAX_BACKUP_CODES: usize = 50;

/// A row as text: a column that is missing or NULL is `None`.
pub type Cells = Vec<Option<Zeroizing<String>>>;

/// What a row of another system contains.
#[derive(Debug)]
pub enum Item {
    /// An authenticator app.
    Factor(Box<SourceFactor>),
    /// Backup codes that have not been used.
    BackupCodes(Vec<Zeroizing<String>>),
    /// Something else, which is not imported: another kind of factor, or a code that was used.
    Other,
}

/// An authenticator app in another system.
#[derive(Debug)]
pub struct SourceFactor {
    /// The name that tells it from other apps of the account.
    pub label: String,
    /// The secret.
    pub secret: Secret,
    /// The algorithm, digits and period of its codes.
    pub parameters: Parameters,
    /// The issuer that the app shows, if known.
    pub issuer: Option<Issuer>,
    /// The account name that the app shows, if known.
    pub account_name: Option<AccountName>,
    /// The newest step of which a code was accepted, if known.
    pub last_step: Option<i64>,
    /// The number of steps that the app's clock is ahead.
    pub drift: i64,
}

impl SourceFactor {
    /// Creates a factor with the usual parameters.
    pub fn of(label: Option<&str>, secret: Secret) -> Result<Self, Problem> {
        let parameters = Parameters::new("SHA1", 6, 30)?;
        Ok(Self::with_parameters(label, secret, parameters))
    }

    /// Creates a factor of which only the label, the secret and the parameters are known.
    pub fn with_parameters(label: Option<&str>, secret: Secret, parameters: Parameters) -> Self {
        let label = label.unwrap_or_default().to_owned();
        let (issuer, account_name, last_step, drift) = (None, None, None, 0);
        Self { label, secret, parameters, issuer, account_name, last_step, drift }
    }

    /// Creates a factor from a URI or a bare base32 secret.
    pub fn from_uri(label: Option<&str>, text: &str) -> Result<Self, Problem> {
        let Imported { secret, parameters, issuer, account_name } = uri::parse(text)?;
        let factor = Self::with_parameters(label, secret, parameters);
        Ok(Self { issuer, account_name, ..factor })
    }
}

impl From<SourceFactor> for Item {
    fn from(factor: SourceFactor) -> Self {
        Self::Factor(Box::new(factor))
    }
}

/// Why a row is not imported. No variant contains any part of the row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// A value is invalid.
    Invalid(Invalid),
    /// A value that is needed is NULL or missing.
    Missing(&'static str),
    /// A value is not what this system writes there.
    Malformed(&'static str),
    /// A value is out of range.
    OutOfRange(&'static str),
    /// Steps are counted from a time other than 1970.
    Epoch,
    /// The codes are counter-based (HOTP).
    Hotp,
    /// The codes are neither time-based nor counter-based.
    OtherType,
    /// The app was never confirmed by a code.
    Unconfirmed,
    /// The value is encrypted by the other system.
    Encrypted,
    /// The value could not be decrypted with the key that was given.
    Undecryptable,
    /// Only hashes of the backup codes are stored, so they cannot be imported.
    HashedBackupCodes,
    /// There are backup codes, but no app that they could stand in for.
    NoFactor,
    /// There are more backup codes than a set can have.
    TooManyBackupCodes,
    /// The account has another active factor.
    OtherFactor,
    /// The account had an active factor here, which was removed.
    Removed,
    /// The account would have too many factors.
    TooManyFactors,
    /// Another transaction has locked the account.
    Busy,
    /// A stored secret of the account could not be decrypted.
    Unreadable,
    /// A hardware token belongs to nobody.
    Unassigned,
    /// The serial number occurs more than once, with different tokens.
    RepeatedSerial,
    /// Another transaction has imported a hardware token with this serial number meanwhile.
    ImportedMeanwhile,
    /// Another hardware token is stored under this serial number.
    OtherToken,
}

impl From<Invalid> for Problem {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
}

/// An account in another system.
#[derive(Debug, Default)]
pub struct SourceAccount {
    /// Its factors.
    pub factors: Vec<SourceFactor>,
    /// Its unused backup codes, each once.
    pub backup_codes: Vec<BackupCode>,
    /// Why other rows of the account were skipped, without repetition.
    pub problems: Vec<Problem>,
}

impl SourceAccount {
    /// Adds what a row contains.
    pub fn add(&mut self, item: Result<Item, Problem>) {
        match item {
            Ok(Item::Factor(factor)) => {
                // With one secret under two labels, each code could be used twice.
                let is_same = |other: &SourceFactor| other.secret.equals(factor.secret.expose());
                if !self.factors.iter().any(is_same) {
                    self.factors.push(*factor);
                }
            }
            Ok(Item::BackupCodes(codes)) => codes.iter().for_each(|code| self.add_code(code)),
            Ok(Item::Other) => {}
            Err(problem) => self.report(problem),
        }
    }

    fn add_code(&mut self, text: &str) {
        match BackupCode::parse_imported(text) {
            None => self.report(Problem::Malformed("a backup code")),
            Some(_) if self.backup_codes.len() >= MAX_BACKUP_CODES => {
                self.report(Problem::TooManyBackupCodes);
            }
            Some(code) => {
                if self.backup_codes.iter().all(|other| other.expose() != code.expose()) {
                    self.backup_codes.push(code);
                }
            }
        }
    }

    /// Reports a problem, once.
    pub fn report(&mut self, problem: Problem) {
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }
}

/// Accounts with what the rows of each contain. An account without a valid name comes last.
#[derive(Debug, Default)]
pub struct Grouping {
    accounts: BTreeMap<String, SourceAccount>,
    nameless: Vec<Problem>,
}

/// An account's name, or why it has none, and what is to be imported for it.
pub type Group = (Result<Account, Problem>, SourceAccount);

impl Grouping {
    /// Adds what a row contains to its account.
    pub fn add(&mut self, account: Option<&str>, item: Result<Item, Problem>) {
        if matches!(item, Ok(Item::Other)) {
            return;
        }
        match Account::new(account.unwrap_or_default().to_owned()) {
            Ok(account) => self.accounts.entry(account.to_string()).or_default().add(item),
            Err(invalid) => self.nameless.push(invalid.into()),
        }
    }

    /// Takes the last account in order out, with the rows that have no account.
    pub fn split_off_last(&mut self) -> Self {
        let nameless = std::mem::take(&mut self.nameless);
        Self { accounts: self.accounts.pop_last().into_iter().collect(), nameless }
    }

    /// Returns the accounts in order, and then one group per row without a valid account.
    pub fn groups(self) -> Vec<Group> {
        let named = self
            .accounts
            .into_iter()
            .map(|(name, account)| (Account::new(name).map_err(Problem::from), account));
        let nameless =
            self.nameless.into_iter().map(|problem| (Err(problem), SourceAccount::default()));
        named.chain(nameless).collect()
    }
}

/// Returns the text of a cell that must not be NULL or empty.
fn required<'a>(
    cells: &'a [Option<Zeroizing<String>>],
    place: usize,
    name: &'static str,
) -> Result<&'a str, Problem> {
    optional(cells, place).ok_or(Problem::Missing(name))
}

/// Returns the text of a cell, or `None` if it is NULL or empty.
fn optional(cells: &[Option<Zeroizing<String>>], place: usize) -> Option<&str> {
    cells.get(place)?.as_ref().map(|text| text.as_str()).filter(|text| !text.is_empty())
}

/// Returns the number in a cell; `default` if it is NULL.
fn number<T: std::str::FromStr>(
    cells: &[Option<Zeroizing<String>>],
    place: usize,
    name: &'static str,
    default: T,
) -> Result<T, Problem> {
    match optional(cells, place) {
        None => Ok(default),
        Some(text) => text.trim().parse().map_err(|_| Problem::Malformed(name)),
    }
}

/// Whether a cell is a true boolean; `default` if it is NULL.
fn flag(cells: &[Option<Zeroizing<String>>], place: usize, default: bool) -> bool {
    match optional(cells, place) {
        None => default,
        Some(text) => matches!(text, "true" | "t" | "1"),
    }
}

/// Decodes hex of either case.
fn hex(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() / 2));
    let digit = |byte: u8| char::from(byte).to_digit(16);
    for pair in text.as_bytes().chunks(2) {
        let [high, low] = pair else {
            return None;
        };
        bytes.push(u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()?);
    }
    Some(bytes.to_vec())
}

/// Prepares a label: what a person cannot see is removed, and it is truncated to the limit. An empty
/// one becomes the default label.
pub fn label(text: &str) -> String {
    let shown: String = text.chars().filter(|c| !c.is_control()).collect();
    let shown: String = shown.trim().chars().take(Label::LIMIT).collect();
    match shown.trim_end() {
        "" => Label::DEFAULT.to_owned(),
        shown => shown.to_owned(),
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Returns cells of texts; an empty one is NULL.
    pub fn cells(texts: &[&str]) -> Cells {
        let cell = |text: &&str| (!text.is_empty()).then(|| Zeroizing::new((*text).to_owned()));
        texts.iter().map(cell).collect()
    }

    /// Returns the factor in an item.
    pub fn factor(item: Result<Item, Problem>) -> SourceFactor {
        match item {
            Ok(Item::Factor(factor)) => *factor,
            other => panic!("no factor: {other:?}"),
        }
    }

    #[test]
    fn rows_are_grouped_by_account() {
        let secret = |byte| Secret::from_bytes(vec![byte; 20]).unwrap();
        let mut grouping = Grouping::default();
        grouping.add(Some("bob"), SourceFactor::of(Some("a"), secret(1)).map(Item::from));
        grouping.add(Some("alice"), Err(Problem::Hotp));
        grouping.add(Some("bob"), SourceFactor::of(Some("b"), secret(2)).map(Item::from));
        grouping.add(Some("bob"), SourceFactor::of(Some("again"), secret(1)).map(Item::from));
        grouping.add(Some("alice"), Err(Problem::Hotp));
        grouping.add(None, Err(Problem::Hotp));
        grouping.add(Some("carol"), Ok(Item::Other));
        let groups = grouping.groups();
        let [(alice, of_alice), (bob, of_bob), (nobody, _)] = groups.as_slice() else {
            panic!("{groups:?}");
        };
        assert_eq!(&**alice.as_ref().unwrap(), "alice");
        assert_eq!(of_alice.problems, [Problem::Hotp]);
        assert_eq!(&**bob.as_ref().unwrap(), "bob");
        assert_eq!(of_bob.factors.len(), 2);
        assert_eq!(*nobody, Err(Invalid::Missing { argument: "account" }.into()));
    }

    #[test]
    fn a_label_is_cleaned_and_never_empty() {
        assert_eq!(label(" my\u{0} phone\n"), "my phone");
        assert_eq!(label("\t"), "default");
        assert_eq!(label(&"é".repeat(100)), "é".repeat(64));
    }
}
