//! OATH CSV.

use super::imported::{assert_read_again, tokens};
use super::text;
use crate::pure::import::hardware_token::parameters_for;
use crate::pure::import::oath_csv;
use crate::pure::keyring::hex;

pub fn check(data: &[u8]) -> bool {
    let Some(found) = oath_csv::parse(text(data)).map(tokens) else {
        return false;
    };
    for (serial, token) in &found {
        let (digits, period) = (token.parameters.digits, token.parameters.period);
        let parameters = parameters_for(&token.secret, digits.into(), period.cast_signed());
        assert_eq!(parameters, Ok(token.parameters));
        // Written again, unless the serial number has a meaning at the start of a line.
        if serial.starts_with(['#', '\u{feff}']) || serial.trim_matches('"') != serial {
            continue;
        }
        let line = format!("{serial},{},totp,{digits},{period}", hex(token.secret.expose()));
        assert_read_again(oath_csv::parse(&line).unwrap(), serial, token);
    }
    !found.is_empty()
}
