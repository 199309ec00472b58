//! What an import does with an account, given what the account already has.

use super::{Problem, SourceFactor, label};
use crate::pure::name::Label;

/// A factor that the account already has.
pub struct Existing<'a> {
    /// Its label.
    pub label: &'a str,
    /// Whether a code has confirmed it. A pending one is replaced.
    pub is_active: bool,
    /// The decrypted secret, or `None` if it could not be decrypted.
    pub secret: Option<&'a [u8]>,
}

/// What to do with the factors of an account.
#[derive(Debug)]
pub enum Decision {
    /// Add factors.
    Add {
        /// Their positions, and their labels; possibly none, if all are there.
        factors: Vec<(usize, Label)>,
        /// Whether the account has no active factor yet. Only then are backup codes added, too: the
        /// account may have used or replaced those of an earlier import.
        is_first: bool,
    },
    /// Change nothing.
    Refuse(Problem),
}

/// Decides which of an account's factors to add. One that is already there is skipped, so that an
/// import can be repeated. An account that enrolled by other means is left as it is.
pub fn decide(factors: &[SourceFactor], existing: &[Existing], limit: usize) -> Decision {
    let active = || existing.iter().filter(|factor| factor.is_active);
    let is_there = |factor: &SourceFactor| {
        active().any(|other| other.secret.is_some_and(|secret| factor.secret.equals(secret)))
    };
    if active().any(|other| other.secret.is_none()) {
        return Decision::Refuse(Problem::Unreadable);
    }
    let is_from_source = |other: &Existing| {
        other.secret.is_some_and(|secret| factors.iter().any(|own| own.secret.equals(secret)))
    };
    if !active().all(is_from_source) {
        return Decision::Refuse(Problem::OtherFactor);
    }
    let mut taken: Vec<String> = active().map(|factor| factor.label.to_owned()).collect();
    let mut added = Vec::new();
    for (position, factor) in factors.iter().enumerate().filter(|(_, factor)| !is_there(factor)) {
        let name = unused(&label(&factor.label), &taken);
        taken.push(name.clone());
        match Label::new(name) {
            Ok(name) => added.push((position, name)),
            Err(invalid) => return Decision::Refuse(invalid.into()),
        }
    }
    if taken.len() > limit {
        return Decision::Refuse(Problem::TooManyFactors);
    }
    Decision::Add { factors: added, is_first: active().next().is_none() }
}

/// Returns the label, with a number if it is taken.
fn unused(label: &str, taken: &[String]) -> String {
    let is_free = |name: &String| !taken.contains(name);
    let numbered = (2..).map(|number: usize| {
        let suffix = format!(" {number}");
        let kept = Label::LIMIT.saturating_sub(suffix.len());
        format!("{}{suffix}", label.chars().take(kept).collect::<String>())
    });
    std::iter::once(label.to_owned()).chain(numbered).find(is_free).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pure::secret::Secret;

    const A: [u8; 20] = [1; 20];
    const B: [u8; 20] = [2; 20];
    const LIMIT: usize = 3;

    fn source(label: &str, secret: [u8; 20]) -> SourceFactor {
        SourceFactor::of(Some(label), Secret::from_bytes(secret.to_vec()).unwrap()).unwrap()
    }

    fn active<'a>(label: &'a str, secret: &'a [u8]) -> Existing<'a> {
        Existing { label, is_active: true, secret: Some(secret) }
    }

    fn added(decision: Decision) -> Vec<(usize, String)> {
        match decision {
            Decision::Add { factors, .. } => {
                factors.into_iter().map(|(place, label)| (place, label.to_string())).collect()
            }
            Decision::Refuse(problem) => panic!("{problem:?}"),
        }
    }

    fn refused(decision: Decision) -> Problem {
        match decision {
            Decision::Refuse(problem) => problem,
            Decision::Add { factors, .. } => panic!("{factors:?}"),
        }
    }

    #[test]
    fn a_new_account_gets_all_factors_with_different_labels() {
        let factors = [source("phone", A), source("phone", B)];
        let expected = [(0, "phone".to_owned()), (1, "phone 2".to_owned())];
        assert_eq!(added(decide(&factors, &[], LIMIT)), expected);
        let long = "x".repeat(64);
        let factors = [source(&long, A), source(&long, B)];
        let [_, (_, second)] = added(decide(&factors, &[], LIMIT)).try_into().unwrap();
        assert_eq!(second, format!("{} 2", "x".repeat(62)));
    }

    #[test]
    fn what_is_there_is_skipped_whatever_its_label() {
        let factors = [source("phone", A), source("tablet", B)];
        let all = [active("one", &A), active("two", &B)];
        assert_eq!(added(decide(&factors, &all, LIMIT)), []);
        let some = [active("tablet", &A)];
        assert_eq!(added(decide(&factors, &some, LIMIT)), [(1, "tablet 2".to_owned())]);
    }

    #[test]
    fn an_account_with_another_active_factor_is_left_alone() {
        let factors = [source("phone", A)];
        let other = [active("phone", &A), active("tablet", &B)];
        assert_eq!(refused(decide(&factors, &other, LIMIT)), Problem::OtherFactor);
        let damaged = [Existing { label: "phone", is_active: true, secret: None }];
        assert_eq!(refused(decide(&factors, &damaged, LIMIT)), Problem::Unreadable);
    }

    #[test]
    fn a_pending_factor_does_not_stand_in_the_way() {
        let pending = [Existing { label: "phone", is_active: false, secret: None }];
        let expected = [(0, "phone".to_owned())];
        assert_eq!(added(decide(&[source("phone", A)], &pending, LIMIT)), expected);
    }

    #[test]
    fn the_number_of_factors_is_limited() {
        let factors: Vec<_> = (0..4).map(|n| source("phone", [n; 20])).collect();
        assert_eq!(refused(decide(&factors, &[], LIMIT)), Problem::TooManyFactors);
        assert_eq!(added(decide(factors.get(..3).unwrap(), &[], LIMIT)).len(), 3);
    }
}
