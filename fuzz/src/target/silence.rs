//! No error contains a secret.

use std::fmt::Debug;

/// The beginnings of the secrets in the corpus, as one format or another writes them. The number of an
/// invalid parameter is part of its error, so none consists of digits only.
const SECRETS: [&str; 9] = [
    "GEZDGNBV", "gezdgnbv", "KR3WK3TU", "ABCDEFGH", "abcdefgh", "5477656e", "Twenty b", "VHdlbnR5",
    "cw_0x689",
];

/// Panics if an error contains the beginning of a secret.
pub fn assert_silent(error: &impl Debug) {
    let error = format!("{error:?}");
    for secret in SECRETS {
        assert!(!error.contains(secret), "the error contains a secret: {error}");
    }
}
