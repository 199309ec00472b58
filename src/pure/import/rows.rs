//! Rows of any origin: account, a URI or a base32 secret, label, last step.

use super::{Cells, Item, Problem, SourceFactor, number, optional, required};

/// The columns, without the account: the secret or URI, the label, the last accepted step.
pub const COLUMNS: [&str; 3] = ["secret", "label", "last_step"];

/// Reads a row.
pub fn parse(cells: &Cells) -> Result<Item, Problem> {
    let factor = SourceFactor::from_uri(optional(cells, 1), required(cells, 0, "secret")?)?;
    let last_step = match optional(cells, 2) {
        Some(_) => Some(number(cells, 2, "last_step", -1)?),
        None => None,
    };
    Ok(SourceFactor { last_step, ..factor }.into())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{cells, factor};
    use super::*;
    use crate::pure::invalid::{Invalid, UriFlaw};

    const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

    #[test]
    fn a_secret_or_a_uri_is_read() {
        let bare = factor(parse(&cells(&[SECRET, "phone", "57"])));
        assert_eq!(bare.secret.expose(), b"12345678901234567890");
        assert_eq!((bare.label.as_str(), bare.last_step), ("phone", Some(57)));
        let uri = format!("otpauth://totp/Acme:alice?secret={SECRET}&digits=8&issuer=Acme");
        let uri = factor(parse(&cells(&[&uri, "", ""])));
        assert_eq!((uri.parameters.digits, uri.last_step), (8, None));
        assert_eq!(uri.issuer.as_deref(), Some("Acme"));
        assert_eq!(uri.account_name.as_deref(), Some("alice"));
    }

    #[test]
    fn a_broken_row_says_why() {
        let problem = |texts: &[&str]| parse(&cells(texts)).unwrap_err();
        assert_eq!(problem(&["", "", ""]), Problem::Missing("secret"));
        assert_eq!(problem(&["0", "", ""]), Invalid::Base32.into());
        assert_eq!(problem(&[SECRET, "", "soon"]), Problem::Malformed("last_step"));
        let hotp = format!("otpauth://hotp/alice?secret={SECRET}&counter=1");
        assert_eq!(problem(&[&hotp, "", ""]), Invalid::Uri(UriFlaw::Hotp).into());
    }
}
