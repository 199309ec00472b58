//! One-time passwords: HOTP (RFC 4226) with time steps as the counter (RFC 6238).

use super::code::TotpCode;
use super::invalid::Invalid;
use super::secret::Secret;

/// The hash function of the HMAC (RFC 6238, 1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC-SHA-1, the only one that every authenticator app supports.
    Sha1,
    /// HMAC-SHA-256.
    Sha256,
    /// HMAC-SHA-512.
    Sha512,
}

impl Algorithm {
    /// Parses `SHA1`, `SHA256` or `SHA512` in any case.
    pub fn parse(name: &str) -> Result<Self, Invalid> {
        [Self::Sha1, Self::Sha256, Self::Sha512]
            .into_iter()
            .find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
            .ok_or(Invalid::Algorithm)
    }

    /// Returns the name used in tables and URIs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
            Self::Sha512 => "SHA512",
        }
    }

    /// Returns the length of a new secret in bytes: that of the hash (RFC 6238, 5.1).
    pub const fn secret_bytes(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

/// The parameters that an authenticator app needs in addition to the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameters {
    /// The hash function.
    pub algorithm: Algorithm,
    /// The number of digits in a code: 6, 7 or 8 (RFC 4226, 5.3).
    pub digits: u8,
    /// The length of a step in seconds: 1 to 120 (SP 800-63B-4, 3.1.4.1 allows up to two minutes).
    pub period: u32,
}

impl Parameters {
    /// The number of digits that every authenticator app supports.
    pub const DIGITS: i32 = 6;
    /// The period that every authenticator app supports, in seconds.
    pub const PERIOD: i32 = 30;

    /// Validates the three parameters.
    pub fn new(algorithm: &str, digits: i32, period: i32) -> Result<Self, Invalid> {
        let algorithm = Algorithm::parse(algorithm)?;
        let digits = match u8::try_from(digits) {
            Ok(count @ 6..=8) => count,
            _ => return Err(Invalid::Digits(digits)),
        };
        let period = match u32::try_from(period) {
            Ok(seconds @ 1..=120) => seconds,
            _ => return Err(Invalid::Period(period)),
        };
        Ok(Self { algorithm, digits, period })
    }
}

/// A generator of codes: a secret with its parameters.
pub struct Otp(totp_rs::Totp);

impl Otp {
    /// Creates the generator for an authenticator app's codes.
    pub fn new(secret: &Secret, parameters: &Parameters) -> Self {
        let algorithm = match parameters.algorithm {
            Algorithm::Sha1 => totp_rs::Algorithm::SHA1,
            Algorithm::Sha256 => totp_rs::Algorithm::SHA256,
            Algorithm::Sha512 => totp_rs::Algorithm::SHA512,
        };
        let totp = totp_rs::Builder::new()
            .with_algorithm(algorithm)
            .with_digits(parameters.digits)
            .with_step_duration(u64::from(parameters.period))
            .with_skew(0)
            .with_secret(secret.expose().to_vec())
            // Only the secret's length can be noncompliant: imported secrets can have 80 bits.
            .build_noncompliant();
        Self(totp)
    }

    /// Returns the code of a step; `None` before 1970.
    pub fn code(&self, step: i64) -> Option<String> {
        self.time(step).map(|time| self.0.generate(time).to_string())
    }

    /// Returns the latest step with this code. Compares all steps, each in constant time.
    pub fn find(&self, code: &TotpCode, steps: impl Iterator<Item = i64>) -> Option<i64> {
        let mut found = None;
        for step in steps {
            if self.has(code, step) {
                found = found.max(Some(step));
            }
        }
        found
    }

    /// Returns the second of two consecutive steps with these two codes (RFC 6238, 6).
    pub fn find_pair(
        &self,
        first: &TotpCode,
        second: &TotpCode,
        steps: impl Iterator<Item = i64>,
    ) -> Option<i64> {
        let mut found = None;
        for step in steps {
            if self.has(first, step) & self.has(second, step.saturating_add(1)) {
                found = found.max(Some(step.saturating_add(1)));
            }
        }
        found
    }

    /// Returns how far from `now` the nearest step with this code is, at most `reach` steps away.
    pub fn offset(&self, code: &TotpCode, now: i64, reach: i64) -> Option<i64> {
        let offsets = (0..=reach).flat_map(|distance| [-distance, distance]);
        offsets.into_iter().find(|offset| self.has(code, now.saturating_add(*offset)))
    }

    fn has(&self, code: &TotpCode, step: i64) -> bool {
        self.time(step).is_some_and(|time| self.0.check(code.expose(), time).is_some())
    }

    fn time(&self, step: i64) -> Option<u64> {
        u64::try_from(step).ok()?.checked_mul(self.0.step())
    }
}

/// The steps whose codes are accepted: around the server's time, and around the authenticator app's
/// known drift, since its clock may have been corrected in the meantime (RFC 6238, 6).
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// The number of steps accepted on either side; RFC 6238, 5.2 recommends at most 1.
    pub width: i64,
    /// The number of steps that the authenticator app's clock was ahead at the last login.
    pub drift: i64,
}

impl Window {
    /// Returns the accepted steps when the current step is `now`, oldest first.
    pub fn steps(self, now: i64) -> impl Iterator<Item = i64> {
        let reach = self.drift.abs().saturating_add(self.width);
        (-reach..=reach)
            .filter(move |offset| {
                offset.abs() <= self.width || (offset - self.drift).abs() <= self.width
            })
            .map(move |offset| now.saturating_add(offset))
    }

    /// Returns the drift after a login at `offset`: one step closer to it. It does not grow beyond
    /// `limit`, but one that already is, of an imported factor or a hardware token, stays.
    pub fn follow(self, offset: i64, limit: i64) -> i64 {
        let limit = limit.max(self.drift.abs());
        (self.drift + (offset - self.drift).signum()).clamp(-limit, limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(width: i64, drift: i64) -> Vec<i64> {
        Window { width, drift }.steps(100).collect()
    }

    #[test]
    fn rfc_4226_appendix_d() {
        let vectors = include_str!("../../tests/vectors/rfc4226.csv");
        let secret = Secret::from_bytes(b"12345678901234567890".to_vec()).unwrap();
        let otp = Otp::new(&secret, &Parameters::new("SHA1", 6, 30).unwrap());
        let mut seen = 0;
        for line in vectors.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit())) {
            let (counter, code) = line.split_once(',').unwrap();
            assert_eq!(otp.code(counter.parse().unwrap()).as_deref(), Some(code), "{counter}");
            seen += 1;
        }
        assert_eq!(seen, 10);
    }

    #[test]
    fn rfc_6238_appendix_b() {
        let mut seen = 0;
        for (algorithm, length, expected) in [
            ("SHA1", 20, ["94287082", "07081804", "14050471", "89005924", "69279037", "65353130"]),
            (
                "SHA256",
                32,
                ["46119246", "68084774", "67062674", "91819424", "90698825", "77737706"],
            ),
            (
                "SHA512",
                64,
                ["90693936", "25091201", "99943326", "93441116", "38618901", "47863826"],
            ),
        ] {
            let seed: Vec<u8> = b"1234567890".iter().copied().cycle().take(length).collect();
            let parameters = Parameters::new(algorithm, 8, 30).unwrap();
            let otp = Otp::new(&Secret::from_bytes(seed).unwrap(), &parameters);
            let times = [59, 1111111109, 1111111111, 1234567890, 2000000000, 20000000000_i64];
            for (time, code) in times.into_iter().zip(expected) {
                assert_eq!(otp.code(time / 30).as_deref(), Some(code), "{algorithm} at {time}");
                seen += 1;
            }
        }
        assert_eq!(seen, 18);
    }

    #[test]
    fn parameters_have_limits() {
        for digits in [-1, 0, 5, 9, i32::MAX] {
            assert_eq!(Parameters::new("SHA1", digits, 30), Err(Invalid::Digits(digits)));
        }
        for period in [i32::MIN, -30, 0, 121] {
            assert_eq!(Parameters::new("SHA1", 6, period), Err(Invalid::Period(period)));
        }
        for name in ["", "MD5", "SHA", "SHA-1", "SHAKE128", "SHA1 "] {
            assert_eq!(Parameters::new(name, 6, 30), Err(Invalid::Algorithm));
        }
        assert_eq!(Parameters::new("sha256", 8, 120).unwrap().algorithm, Algorithm::Sha256);
    }

    #[test]
    fn steps_out_of_range_have_no_code() {
        let secret = Secret::from_bytes(vec![1; 20]).unwrap();
        let otp = Otp::new(&secret, &Parameters::new("SHA1", 6, 30).unwrap());
        assert_eq!(otp.code(-1), None);
        assert_eq!(otp.code(i64::MAX), None);
        let code = TotpCode::parse(&otp.code(0).unwrap()).unwrap();
        assert_eq!(otp.find(&code, -3..=0), Some(0));
    }

    #[test]
    fn a_pair_is_two_consecutive_codes_in_order() {
        let secret = Secret::from_bytes(vec![1; 20]).unwrap();
        let otp = Otp::new(&secret, &Parameters::new("SHA1", 8, 30).unwrap());
        let code = |step| TotpCode::parse(&otp.code(step).unwrap()).unwrap();
        assert_eq!(otp.find_pair(&code(7), &code(8), 0..=20), Some(8));
        assert_eq!(otp.find_pair(&code(8), &code(7), 0..=20), None);
        assert_eq!(otp.find_pair(&code(7), &code(9), 0..=20), None);
        assert_eq!(otp.find_pair(&code(7), &code(7), 0..=20), None);
        assert_eq!(otp.find_pair(&code(21), &code(22), 0..=20), None);
    }

    #[test]
    fn the_offset_is_that_of_the_nearest_step() {
        let secret = Secret::from_bytes(vec![1; 20]).unwrap();
        let otp = Otp::new(&secret, &Parameters::new("SHA1", 8, 30).unwrap());
        let code = |step| TotpCode::parse(&otp.code(step).unwrap()).unwrap();
        assert_eq!(otp.offset(&code(103), 100, 5), Some(3));
        assert_eq!(otp.offset(&code(95), 100, 5), Some(-5));
        assert_eq!(otp.offset(&code(100), 100, 5), Some(0));
        assert_eq!(otp.offset(&code(106), 100, 5), None);
        assert_eq!(otp.offset(&code(0), 2, 5), Some(-2));
    }

    #[test]
    fn the_window_covers_zero_and_the_known_drift() {
        assert_eq!(steps(1, 0), [99, 100, 101]);
        assert_eq!(steps(0, 0), [100]);
        assert_eq!(steps(1, 1), [99, 100, 101, 102]);
        assert_eq!(steps(1, -5), [94, 95, 96, 99, 100, 101]);
        assert_eq!(steps(0, 3), [100, 103]);
    }

    #[test]
    fn drift_follows_by_one_step_within_its_limit() {
        assert_eq!(Window { width: 1, drift: 1 }.follow(2, 20), 2);
        assert_eq!(Window { width: 1, drift: 5 }.follow(0, 20), 4);
        assert_eq!(Window { width: 1, drift: 0 }.follow(0, 20), 0);
        assert_eq!(Window { width: 1, drift: -20 }.follow(-21, 20), -20);
        // A token that is far off stays in reach, and may come closer.
        assert_eq!(Window { width: 1, drift: -300 }.follow(-300, 20), -300);
        assert_eq!(Window { width: 1, drift: -300 }.follow(-301, 20), -300);
        assert_eq!(Window { width: 1, drift: 300 }.follow(299, 20), 299);
        assert_eq!(Window { width: 3, drift: 0 }.follow(3, 0), 0);
    }
}
