//! Checkpoints of the audit trail: a Merkle tree over all seals, signed as a note, in the form of
//! C2SP's `tlog-checkpoint` and `signed-note`.

use super::keyring::hex;
use super::merkle::{self, Hash};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer, SigningKey};
use sha2::{Digest, Sha256};

/// The type of an Ed25519 signature in a note.
const ED25519: u8 = 1;

/// Returns the name of a trail, which never changes: part of the hash of its first seal.
pub fn name(first: &Hash) -> String {
    let mut hash = hex(first);
    hash.truncate(16);
    format!("totp-audit-{hash}")
}

/// Returns the leaf of a seal in the tree of all seals.
pub fn leaf(seal: &Hash) -> Hash {
    merkle::leaf(seal)
}

/// Returns the checkpoint of the trail with these seals; `None` if there are none.
pub fn checkpoint(seals: &[Hash], seed: &[u8; 32]) -> Option<String> {
    let name = name(seals.first()?);
    let leaves: Vec<Hash> = seals.iter().map(leaf).collect();
    let root = STANDARD.encode(merkle::root(&leaves));
    let text = format!("{name}\n{}\n{root}\n", seals.len());
    let key = SigningKey::from_bytes(seed);
    let mut signature = key_hash(&name, &key).to_vec();
    signature.extend(key.sign(text.as_bytes()).to_bytes());
    Some(format!("{text}\n\u{2014} {name} {}\n", STANDARD.encode(signature)))
}

/// Returns the key that verifies the checkpoints of a trail, in the form of `signed-note`.
pub fn verifier_key(first: &Hash, seed: &[u8; 32]) -> String {
    let (name, key) = (name(first), SigningKey::from_bytes(seed));
    let mut public = vec![ED25519];
    public.extend(key.verifying_key().as_bytes());
    format!("{name}+{}+{}", hex(&key_hash(&name, &key)), STANDARD.encode(public))
}

fn key_hash(name: &str, key: &SigningKey) -> [u8; 4] {
    let hash = Sha256::new()
        .chain_update(name)
        .chain_update(b"\n")
        .chain_update([ED25519])
        .chain_update(key.verifying_key().as_bytes())
        .finalize();
    hash.first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_has_the_form_of_a_signed_note() {
        let text = checkpoint(&[[7; 32], [8; 32]], &[1; 32]).unwrap();
        let lines: Vec<&str> = text.split('\n').collect();
        let [name, size, root, "", signature, ""] = lines[..] else { panic!("{text}") };
        assert_eq!((name, size), ("totp-audit-0707070707070707", "2"));
        assert_eq!(STANDARD.decode(root).unwrap(), merkle::root(&[leaf(&[7; 32]), leaf(&[8; 32])]));
        let signature = signature.strip_prefix("\u{2014} totp-audit-0707070707070707 ").unwrap();
        let signature = STANDARD.decode(signature).unwrap();
        let key = verifier_key(&[7; 32], &[1; 32]);
        let [_, hash, public] = key.split('+').collect::<Vec<_>>()[..] else { panic!("{key}") };
        assert_eq!(hex(&signature[..4]), hash);
        assert_eq!(STANDARD.decode(public).unwrap().len(), 33);
        assert_eq!(signature.len(), 4 + 64);
    }

    #[test]
    fn without_a_seal_there_is_no_checkpoint() {
        assert_eq!(checkpoint(&[], &[1; 32]), None);
    }
}
