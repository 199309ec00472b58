//! django-otp: the tables of its plugins `otp_totp` and `otp_static`.

use super::{Cells, Item, Problem, SourceFactor, flag, hex, number, optional, required};
use crate::pure::otp::Parameters;
use crate::pure::secret::Secret;
use zeroize::Zeroizing;

/// The columns of `otp_totp_totpdevice`, without the user.
pub const COLUMNS: [&str; 8] =
    ["key", "name", "confirmed", "step", "t0", "digits", "drift", "last_t"];
/// The column of `otp_static_statictoken`. A token is deleted when it is used.
pub const TOKEN_COLUMNS: [&str; 1] = ["token"];

/// Reads a row of `otp_totp_totpdevice`. The key is hex; codes use SHA-1.
pub fn parse(cells: &Cells) -> Result<Item, Problem> {
    if !flag(cells, 2, true) {
        return Err(Problem::Unconfirmed);
    }
    if number(cells, 4, "t0", 0_i64)? != 0 {
        return Err(Problem::Epoch);
    }
    let secret =
        Secret::from_bytes(hex(required(cells, 0, "key")?).ok_or(Problem::Malformed("key"))?)?;
    let digits = number(cells, 5, "digits", 6)?;
    let parameters = Parameters::new("SHA1", digits, number(cells, 3, "step", 30)?)?;
    let factor = SourceFactor::with_parameters(optional(cells, 1), secret, parameters);
    let last_step: i64 = number(cells, 7, "last_t", -1)?;
    Ok(SourceFactor {
        drift: number(cells, 6, "drift", 0)?,
        // -1 means that none is recorded: django-two-factor-auth does not record the one that
        // confirmed the app.
        last_step: (last_step >= 0).then_some(last_step),
        ..factor
    }
    .into())
}

/// Reads a row of `otp_static_statictoken`.
pub fn parse_token(cells: &Cells) -> Result<Item, Problem> {
    let token = required(cells, 0, "token")?;
    Ok(Item::BackupCodes(vec![Zeroizing::new(token.to_owned())]))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{cells, factor};
    use super::*;
    use crate::pure::invalid::Invalid;

    const KEY: &str = "3132333435363738393031323334353637383930";

    #[test]
    fn a_device_is_read_as_the_app_was_set_up() {
        let row = cells(&[KEY, "phone", "true", "60", "0", "8", "-2", "28000000"]);
        let device = factor(parse(&row));
        assert_eq!(device.secret.expose(), b"12345678901234567890");
        assert_eq!(device.parameters, Parameters::new("SHA1", 8, 60).unwrap());
        assert_eq!((device.drift, device.last_step), (-2, Some(28_000_000)));
        assert_eq!(device.label, "phone");
        let upper = factor(parse(&cells(&["ABCDEFabcdefABCDEFab", "", "t"])));
        assert_eq!(upper.secret.expose().first(), Some(&0xab));
        assert_eq!((upper.parameters.period, upper.last_step), (30, None));
    }

    #[test]
    fn a_device_that_cannot_be_taken_over_says_why() {
        let problem = |texts: &[&str]| parse(&cells(texts)).unwrap_err();
        assert_eq!(problem(&["", "x", "true"]), Problem::Missing("key"));
        for key in ["abc", "xyz0", "31 32"] {
            assert_eq!(problem(&[key, "x", "true"]), Problem::Malformed("key"), "{key}");
        }
        assert_eq!(problem(&["00", "x", "true"]), Invalid::SecretLength(1).into());
        assert_eq!(problem(&[KEY, "x", "false"]), Problem::Unconfirmed);
        assert_eq!(problem(&[KEY, "x", "true", "30", "7"]), Problem::Epoch);
        assert_eq!(problem(&[KEY, "x", "true", "30", "0", "9"]), Invalid::Digits(9).into());
        assert_eq!(problem(&[KEY, "x", "true", "600"]), Invalid::Period(600).into());
        assert_eq!(problem(&[KEY, "x", "true", "x"]), Problem::Malformed("step"));
    }
}
