//! OATH CSV: hardware tokens, one per line, in the form that privacyIDEA reads.

use super::hardware_token::{SourceToken, Tokens, parameters_for};
use super::{Problem, hex};
use crate::pure::secret::Secret;
use zeroize::Zeroizing;

/// Reads lines of serial number, secret in hex, type, digits and period. Only the first two are
/// required: the type is then HOTP, as in privacyIDEA. A header line may come first; lines that begin
/// with `#` are comments. After the comment `# version: 2`, each line begins with three columns that
/// name a user, which are ignored. Returns `None` if no line has two columns.
pub fn parse(text: &str) -> Option<Tokens> {
    let text = text.trim_start_matches('\u{feff}');
    let user_columns = if is_version_2(text) { 3 } else { 0 };
    let mut tokens = Tokens::default();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let mut is_first = true;
    for line in lines {
        let columns: Vec<&str> =
            line.split(',').skip(user_columns).map(|it| it.trim().trim_matches('"')).collect();
        let [serial, secret, others @ ..] = columns.as_slice() else {
            continue;
        };
        let is_header = std::mem::take(&mut is_first) && is_header(secret);
        if !is_header {
            tokens.add(serial, token(secret, others));
        }
    }
    Some(tokens).filter(|tokens| !tokens.is_empty())
}

fn is_version_2(text: &str) -> bool {
    let version =
        text.strip_prefix('#').and_then(|rest| rest.trim_start().strip_prefix("version:"));
    let first_line = version.and_then(|rest| rest.lines().next());
    first_line.is_some_and(|version| version.trim() == "2")
}

/// A header has a name where other lines have a secret.
fn is_header(secret: &str) -> bool {
    hex(secret).is_none_or(|bytes| Zeroizing::new(bytes).is_empty())
        && secret.chars().all(|c| c.is_ascii_alphabetic() || matches!(c, ' ' | '_' | '-'))
}

fn token(secret: &str, others: &[&str]) -> Result<SourceToken, Problem> {
    let column = |place: usize| others.get(place).copied().filter(|text| !text.is_empty());
    match column(0) {
        Some(kind) if kind.eq_ignore_ascii_case("totp") => {}
        Some(kind) if !kind.eq_ignore_ascii_case("hotp") => return Err(Problem::OtherType),
        _ => return Err(Problem::Hotp),
    }
    let number = |place, name, default| match column(place) {
        Some(text) => text.parse().map_err(|_| Problem::Malformed(name)),
        None => Ok(default),
    };
    let secret = Secret::from_bytes(hex(secret).ok_or(Problem::Malformed("secret"))?)?;
    let parameters = parameters_for(&secret, number(1, "digits", 6)?, number(2, "period", 30)?)?;
    Ok(SourceToken { secret, parameters })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pure::import::hardware_token::NumberedToken;
    use crate::pure::invalid::Invalid;

    const SECRET: &str = "3132333435363738393031323334353637383930";

    /// What is read: serial numbers, and digits, period and algorithm or the problem.
    fn read(text: &str) -> Vec<(String, Result<(u8, u32, &'static str), Problem>)> {
        let row = |(serial, token): NumberedToken| {
            let serial = serial.map_or_else(|_| String::new(), |it| it.to_string());
            let parameters = token.map(|it| it.parameters);
            (serial, parameters.map(|it| (it.digits, it.period, it.algorithm.name())))
        };
        parse(text).unwrap().into_rows().map(row).collect()
    }

    fn one(text: &str) -> Result<(u8, u32, &'static str), Problem> {
        let [(_, token)] = read(text).try_into().unwrap();
        token
    }

    #[test]
    fn lines_are_tokens() {
        let text = format!(
            "serial,seed,type,digits,time step\r\n# a comment\r\n\r\nA1, {SECRET}, totp, 8, 60\r\n\
             \"A2\",\"{SECRET}\",\"TOTP\"\r\nA3,{SECRET}\r\nonly one column\r\n"
        );
        let expected = [
            ("A1".to_owned(), Ok((8, 60, "SHA1"))),
            ("A2".to_owned(), Ok((6, 30, "SHA1"))),
            ("A3".to_owned(), Err(Problem::Hotp)),
        ];
        assert_eq!(read(&text), expected);
        let first = parse(&text).unwrap().into_rows().next().unwrap().1.unwrap();
        assert_eq!(first.secret.expose(), b"12345678901234567890");
        let users = format!("# version: 2\nalice,resolver,realm,A1,{SECRET},totp");
        assert_eq!(read(&users), [("A1".to_owned(), Ok((6, 30, "SHA1")))]);
        assert_eq!(one(&format!("A1,{},totp", "ab".repeat(32))), Ok((6, 30, "SHA256")));
    }

    #[test]
    fn a_broken_line_is_reported() {
        assert_eq!(one(&format!("A1,{SECRET},totp,six")), Err(Problem::Malformed("digits")));
        assert_eq!(one(&format!("A1,{SECRET},totp,6,x")), Err(Problem::Malformed("period")));
        assert_eq!(one(&format!("A1,{SECRET},totp,5")), Err(Invalid::Digits(5).into()));
        assert_eq!(one(&format!("A1,{SECRET},ocra")), Err(Problem::OtherType));
        assert_eq!(one("A1,3132,totp"), Err(Invalid::SecretLength(2).into()));
        assert_eq!(one("A1,123456789,totp"), Err(Problem::Malformed("secret")));
        assert_eq!(
            read(&format!("serial,seed\nA1,another header,totp\n,{SECRET},totp"))[0].1,
            Err(Problem::Malformed("secret"))
        );
        for text in ["", "no columns", "# a comment, with a comma", "serial,seed\n"] {
            assert!(parse(text).is_none(), "{text}");
        }
    }
}
