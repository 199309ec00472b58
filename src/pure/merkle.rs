//! Merkle trees as in RFC 9162, section 2.1.

use sha2::{Digest, Sha256};

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// Returns the hash of a leaf. Its first byte keeps it apart from the hash of a node.
pub fn leaf(data: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(data).finalize().into()
}

fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// A tree to which leaves are added one by one. It keeps only one hash for each level.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// The roots of complete subtrees, from the largest to the smallest, with their numbers of leaves.
    subtrees: Vec<(u64, Hash)>,
}

impl Tree {
    /// Adds a leaf.
    pub fn push(&mut self, leaf: Hash) {
        let (mut size, mut hash) = (1, leaf);
        while let Some((_, left)) = self.subtrees.pop_if(|(other, _)| *other == size) {
            hash = node(&left, &hash);
            size *= 2;
        }
        self.subtrees.push((size, hash));
    }

    /// Returns the root.
    pub fn root(&self) -> Hash {
        let hashes = self.subtrees.iter().rev().map(|(_, hash)| *hash);
        hashes
            .reduce(|right, left| node(&left, &right))
            .unwrap_or_else(|| Sha256::digest([]).into())
    }
}

/// Returns the inclusion proof of a leaf: the hashes from which, together with the leaf, the root is
/// computed, beginning beside the leaf (RFC 9162, section 2.1.3.1).
pub fn inclusion_proof(leaves: &[Hash], index: usize) -> Vec<Hash> {
    let mut proof = Vec::new();
    let (mut leaves, mut index) = (leaves, index);
    while leaves.len() > 1 {
        // The largest power of two that is smaller than the number of leaves.
        let half = leaves.len().div_ceil(2).next_power_of_two();
        let (left, right) = leaves.split_at(half.min(leaves.len()));
        if index < half {
            proof.push(root(right));
            leaves = left;
        } else {
            proof.push(root(left));
            leaves = right;
            index -= half;
        }
    }
    proof.reverse();
    proof
}

/// Returns the root of the tree of these leaves.
pub fn root(leaves: &[Hash]) -> Hash {
    let mut tree = Tree::default();
    leaves.iter().for_each(|leaf| tree.push(*leaf));
    tree.root()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(count: u8) -> Vec<Hash> {
        (0..count).map(|index| leaf(&[index])).collect()
    }

    /// The definition of RFC 9162, section 2.1.1, word by word.
    fn by_definition(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Sha256::digest([]).into(),
            [leaf] => *leaf,
            _ => {
                let mut k = 1;
                while 2 * k < leaves.len() {
                    k *= 2;
                }
                node(&by_definition(&leaves[..k]), &by_definition(&leaves[k..]))
            }
        }
    }

    /// The algorithm of RFC 9162, section 2.1.3.2, step by step.
    fn is_included(index: usize, size: usize, leaf: Hash, proof: &[Hash], root: Hash) -> bool {
        let (mut fn_, mut sn, mut r) = (index, size - 1, leaf);
        for p in proof {
            if sn == 0 {
                return false;
            }
            if fn_ & 1 == 1 || fn_ == sn {
                r = node(p, &r);
                while fn_ & 1 == 0 && fn_ != 0 {
                    fn_ >>= 1;
                    sn >>= 1;
                }
            } else {
                r = node(&r, p);
            }
            fn_ >>= 1;
            sn >>= 1;
        }
        sn == 0 && r == root
    }

    #[test]
    fn roots_are_those_of_the_definition() {
        for count in 0..70 {
            assert_eq!(root(&leaves(count)), by_definition(&leaves(count)), "{count}");
        }
    }

    #[test]
    fn the_hashes_are_those_of_the_rfc() {
        let hex = super::super::keyring::hex;
        // printf '' | sha256sum, and printf '\0' | sha256sum
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(hex(&root(&[])), empty);
        let leaf_of_nothing = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d";
        assert_eq!(hex(&leaf(&[])), leaf_of_nothing);
    }

    #[test]
    fn a_proof_shows_only_its_leaf() {
        for count in 1..40 {
            let leaves = leaves(count);
            let root = root(&leaves);
            for index in 0..leaves.len() {
                let proof = inclusion_proof(&leaves, index);
                let shows = |leaf| is_included(index, leaves.len(), leaf, &proof, root);
                assert!(shows(leaves[index]), "{index} of {count}");
                assert!(!shows(leaf(b"other")), "{index} of {count}");
            }
        }
    }
}
