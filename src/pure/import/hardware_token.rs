//! Hardware tokens, which a vendor delivers with a file of their secrets and nobody owns yet.

use super::Problem;
use crate::pure::invalid::Invalid;
use crate::pure::name::Serial;
use crate::pure::otp::Parameters;
use crate::pure::secret::Secret;
use std::collections::BTreeMap;

/// A hardware token in a vendor's file.
#[derive(Debug)]
pub struct SourceToken {
    /// The secret.
    pub secret: Secret,
    /// The algorithm, digits and period of its codes.
    pub parameters: Parameters,
}

impl SourceToken {
    /// Returns whether a token has the same codes. `secret` is `None` if it could not be decrypted.
    fn equals(&self, parameters: Parameters, secret: Option<&[u8]>) -> bool {
        self.parameters == parameters && secret.is_some_and(|secret| self.secret.equals(secret))
    }
}

/// The tokens of a file by serial number, each of them or why it is not imported. Rows without a valid
/// serial number come last.
#[derive(Debug, Default)]
pub struct Tokens {
    named: BTreeMap<String, Result<SourceToken, Problem>>,
    nameless: Vec<Problem>,
}

/// A serial number, or why there is none, and its token.
pub type NumberedToken = (Result<Serial, Problem>, Result<SourceToken, Problem>);

impl Tokens {
    /// Adds what a row contains.
    pub fn add(&mut self, serial: &str, token: Result<SourceToken, Problem>) {
        let serial = match Serial::new(serial.trim().to_owned()) {
            Ok(serial) => serial.to_string(),
            Err(invalid) => return self.nameless.push(invalid.into()),
        };
        let is_same = match (self.named.get(&serial), &token) {
            (None, _) => return drop(self.named.insert(serial, token)),
            (Some(Ok(known)), Ok(token)) => {
                known.equals(token.parameters, Some(token.secret.expose()))
            }
            (Some(_), _) => false,
        };
        if !is_same {
            self.named.insert(serial, Err(Problem::RepeatedSerial));
        }
    }

    /// Whether there is no row at all.
    pub fn is_empty(&self) -> bool {
        self.named.is_empty() && self.nameless.is_empty()
    }

    /// Returns the tokens in the order of their serial numbers.
    pub fn into_rows(self) -> impl Iterator<Item = NumberedToken> {
        let named = self.named.into_iter().map(|(serial, token)| match Serial::new(serial) {
            Ok(serial) => (Ok(serial), token),
            Err(invalid) => (Err(Problem::from(invalid.clone())), Err(invalid.into())),
        });
        named.chain(self.nameless.into_iter().map(|it| (Err(it.clone()), Err(it))))
    }
}

/// A token that is stored under the same serial number.
pub struct StoredToken<'a> {
    /// The algorithm, digits and period of its codes.
    pub parameters: Parameters,
    /// The decrypted secret, or `None` if it could not be decrypted.
    pub secret: Option<&'a [u8]>,
}

/// Returns whether to store a token. One that is stored already is skipped, so that an import can be
/// repeated.
pub fn is_new(token: &SourceToken, stored: Option<&StoredToken>) -> Result<bool, Problem> {
    match stored {
        None => Ok(true),
        Some(stored) if token.equals(stored.parameters, stored.secret) => Ok(false),
        Some(_) => Err(Problem::OtherToken),
    }
}

/// Reads the parameters of a token whose file does not name the algorithm: the length of the secret
/// tells, as it is the length of the hash (RFC 6238, section 5.1).
pub fn parameters_for(secret: &Secret, digits: i32, period: i32) -> Result<Parameters, Invalid> {
    let algorithm = match secret.expose().len() {
        32 => "SHA256",
        64 => "SHA512",
        _ => "SHA1",
    };
    Parameters::new(algorithm, digits, period)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(byte: u8, digits: i32) -> SourceToken {
        let parameters = Parameters::new("SHA1", digits, 30).unwrap();
        SourceToken { secret: Secret::from_bytes(vec![byte; 20]).unwrap(), parameters }
    }

    #[test]
    fn a_serial_number_has_one_token() {
        let mut tokens = Tokens::default();
        assert!(tokens.is_empty());
        tokens.add("b", Ok(token(1, 6)));
        tokens.add(" a ", Ok(token(2, 6)));
        tokens.add("b", Ok(token(1, 6)));
        tokens.add("c", Ok(token(3, 6)));
        tokens.add("c", Ok(token(3, 8)));
        tokens.add("d", Err(Problem::Hotp));
        tokens.add(" ", Ok(token(4, 6)));
        let rows: Vec<_> = tokens.into_rows().collect();
        let shown: Vec<_> = rows
            .iter()
            .map(|(serial, token)| {
                let serial = serial.as_ref().map_or("", |serial| &**serial);
                (serial, token.as_ref().err())
            })
            .collect();
        let missing = Problem::from(Invalid::Missing { argument: "serial" });
        let expected = [
            ("a", None),
            ("b", None),
            ("c", Some(&Problem::RepeatedSerial)),
            ("d", Some(&Problem::Hotp)),
            ("", Some(&missing)),
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_stored_token_is_skipped_and_another_one_is_reported() {
        let stored = |secret| StoredToken { parameters: token(1, 6).parameters, secret };
        let decide = |token, secret| is_new(&token, Some(&stored(secret)));
        assert_eq!(is_new(&token(1, 6), None), Ok(true));
        assert_eq!(decide(token(1, 6), Some(&[1; 20])), Ok(false));
        assert_eq!(decide(token(1, 6), Some(&[2; 20])), Err(Problem::OtherToken));
        assert_eq!(decide(token(1, 8), Some(&[1; 20])), Err(Problem::OtherToken));
        assert_eq!(decide(token(1, 6), None), Err(Problem::OtherToken));
    }

    #[test]
    fn the_length_of_a_secret_tells_the_algorithm() {
        for (length, algorithm) in [(10, "SHA1"), (20, "SHA1"), (32, "SHA256"), (64, "SHA512")] {
            let secret = Secret::from_bytes(vec![7; length]).unwrap();
            let parameters = parameters_for(&secret, 6, 30).unwrap();
            assert_eq!(parameters.algorithm.name(), algorithm, "{length}");
        }
    }
}
