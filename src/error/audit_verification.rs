//! What `audit_verify` found, in words.

use crate::pure::audit_verification::{Cause, Problem};

/// Returns the detail of a finding.
pub fn detail(cause: &Cause) -> String {
    match cause {
        Cause::EntryChanged => "the entry does not match its signature".to_owned(),
        Cause::SignedAgain => {
            "the entries match their signatures but not the seal: someone with the key changed them"
                .to_owned()
        }
        Cause::Unexplained => {
            "the entries do not match the seal; which ones cannot be told without the missing key"
                .to_owned()
        }
        Cause::SealChanged => "the seal does not match its signature or its position".to_owned(),
        Cause::SealReplaced => {
            "the next seal follows a seal with another hash: this one was replaced".to_owned()
        }
        Cause::NotInSeal => "the seal was made without this entry".to_owned(),
        Cause::Duplicate => "the entry is a copy of another one".to_owned(),
        Cause::NotSigned => {
            "the entry does not match its signature; it was added, or changed before it was sealed"
                .to_owned()
        }
        Cause::EntriesGone { first, last } if first == last => "the entry was removed".to_owned(),
        Cause::EntriesGone { first, last } => format!("entries {first} to {last} were removed"),
        Cause::AllGone { entries } => match entries {
            1 => "the only entry of the seal was removed".to_owned(),
            _ => format!("all {entries} entries of the seal were removed"),
        },
        Cause::SealsGone { first, last } if first == last => "the seal was removed".to_owned(),
        Cause::SealsGone { first, last } => format!("seals {first} to {last} were removed"),
        Cause::OtherId { id } => {
            format!("the entry matches its signature with ID {id}: IDs were exchanged")
        }
        Cause::NotSealed { entries } => match entries {
            1 => "1 entry is not sealed yet; its removal would not be noticed".to_owned(),
            _ => {
                format!("{entries} entries are not sealed yet; their removal would not be noticed")
            }
        },
        Cause::Pruned { seals, actor, at: _, reason } => {
            let seals = match seals {
                1 => "the entries of 1 seal".to_owned(),
                _ => format!("the entries of {seals} seals"),
            };
            format!("{seals}, up to this one, were removed by {actor} with audit_prune: {reason}")
        }
        Cause::KeyMissing { key_id, entries: None } => {
            format!("the seal was signed with key {key_id}, which is not in the keyring")
        }
        Cause::KeyMissing { key_id, entries: Some(1) } => {
            format!("the entry was signed with key {key_id}, which is not in the keyring")
        }
        Cause::KeyMissing { key_id, entries: Some(entries) } => {
            format!("{entries} entries were signed with key {key_id}, which is not in the keyring")
        }
        Cause::OtherHash => "the seal has another hash than the digest".to_owned(),
        Cause::NoSuchSeal => "the digest is of a seal that does not exist".to_owned(),
        Cause::More { problem: Problem::Missing, findings } => {
            format!("{findings} more ranges of entries were removed")
        }
        Cause::More { problem, findings } => {
            format!("{findings} more entries are {}", problem.as_str())
        }
    }
}
