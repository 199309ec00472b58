//! A set of IDs with few gaps, as stored in a multirange.

use std::fmt;

/// IDs as ranges, both ends included, in ascending order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdSet(Vec<(i64, i64)>);

impl IdSet {
    /// Adds an ID that is not less than those before. Returns `false` if it was the last one already.
    pub fn push(&mut self, id: i64) -> bool {
        match self.0.last_mut() {
            Some((_, last)) if *last == id => return false,
            Some((_, last)) if last.checked_add(1) == Some(id) => *last = id,
            _ => self.0.push((id, id)),
        }
        true
    }

    /// Returns whether an ID is in the set.
    pub fn contains(&self, id: i64) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= id);
        after
            .checked_sub(1)
            .and_then(|index| self.0.get(index))
            .is_some_and(|(_, last)| id <= *last)
    }

    /// Returns the smallest ID.
    pub fn first(&self) -> Option<i64> {
        self.0.first().map(|(first, _)| *first)
    }

    /// Returns the largest ID.
    pub fn last(&self) -> Option<i64> {
        self.0.last().map(|(_, last)| *last)
    }

    /// Returns whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the ranges of IDs that are in this set but not in the other.
    pub fn without(&self, other: &Self) -> Vec<(i64, i64)> {
        let mut missing = Vec::new();
        let mut others = other.0.iter().copied().peekable();
        for (first, last) in &self.0 {
            let mut from = Some(*first);
            while others.next_if(|(_, end)| end < first).is_some() {}
            while let Some((start, end)) = others.peek().copied().filter(|(start, _)| start <= last)
            {
                if let Some(begin) = from.filter(|begin| *begin < start) {
                    missing.push((begin, start.saturating_sub(1)));
                }
                from = end.checked_add(1);
                if end > *last {
                    break;
                }
                others.next();
            }
            if let Some(begin) = from.filter(|begin| begin <= last) {
                missing.push((begin, *last));
            }
        }
        missing
    }

    /// Parses the text form of a multirange of integers, as PostgreSQL writes it.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('{')?.strip_suffix('}')?;
        if text.is_empty() {
            return Some(Self::default());
        }
        let range = |range: &str| {
            let (first, end) = range.strip_prefix('[').unwrap_or(range).split_once(',')?;
            Some((first.parse().ok()?, end.parse::<i64>().ok()?.checked_sub(1)?))
        };
        let text = text.strip_suffix(')')?;
        text.split("),").map(range).collect::<Option<Vec<_>>>().map(Self)
    }
}

impl fmt::Display for IdSet {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("{")?;
        for (index, (first, last)) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(formatter, "{comma}[{first},{})", last.saturating_add(1))?;
        }
        formatter.write_str("}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng, rngs::SmallRng};
    use std::collections::BTreeSet;

    fn set(ids: &[i64]) -> IdSet {
        let mut set = IdSet::default();
        ids.iter().for_each(|id| {
            set.push(*id);
        });
        set
    }

    #[test]
    fn neighbours_share_a_range() {
        assert_eq!(set(&[]).to_string(), "{}");
        assert_eq!(set(&[1, 2, 3, 5, 7, 8]).to_string(), "{[1,4),[5,6),[7,9)}");
    }

    #[test]
    fn the_text_of_a_multirange_is_read_again() {
        for ids in [&[][..], &[1], &[1, 2, 3, 5, 7, 8], &[-5, -4, 9]] {
            assert_eq!(IdSet::parse(&set(ids).to_string()), Some(set(ids)));
        }
        for text in ["", "{", "{1,2}", "{[1,2]}", "{[,2)}", "{[1,2),}"] {
            assert_eq!(IdSet::parse(text), None, "{text}");
        }
    }

    #[test]
    fn an_id_that_comes_twice_is_noticed() {
        let mut set = set(&[1, 2]);
        assert!(!set.push(2));
        assert!(set.push(3));
    }

    #[test]
    fn differences_are_those_of_ordinary_sets() {
        let seed = rand::random();
        println!("TOTP_TEST_SEED={seed}");
        let mut random = SmallRng::seed_from_u64(seed);
        for _ in 0..2_000 {
            let density = random.random_range(0.05..0.95);
            let mut draw = || (0..40).filter(|_| random.random_bool(density)).collect::<Vec<i64>>();
            let (some, others) = (draw(), draw());
            let found: Vec<i64> = set(&some)
                .without(&set(&others))
                .into_iter()
                .flat_map(|(first, last)| first..=last)
                .collect();
            let others_set: BTreeSet<_> = others.iter().collect();
            let expected: Vec<_> =
                some.iter().filter(|id| !others_set.contains(id)).copied().collect();
            assert_eq!(found, expected, "{some:?} without {others:?}");
            for id in -1..41 {
                assert_eq!(set(&some).contains(id), some.contains(&id));
            }
        }
    }
}
