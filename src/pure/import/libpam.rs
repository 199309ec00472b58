//! google-authenticator-libpam: the file `.google_authenticator` of one user.

use super::{Grouping, Item, Problem, SourceFactor};
use crate::pure::otp::Parameters;
use crate::pure::secret::Secret;
use zeroize::Zeroizing;

/// Reads a file: the secret, options in quotes, and emergency codes. Codes have six digits and use
/// SHA-1.
pub fn parse(account: &str, text: &str) -> Grouping {
    let mut grouping = Grouping::default();
    grouping.add(Some(account), factor(text).map(Item::from));
    let codes = text.lines().skip(1).map(str::trim).filter(|line| is_code(line));
    let codes: Vec<_> = codes.map(|code| Zeroizing::new(code.to_owned())).collect();
    if !codes.is_empty() {
        grouping.add(Some(account), Ok(Item::BackupCodes(codes)));
    }
    grouping
}

fn factor(text: &str) -> Result<SourceFactor, Problem> {
    let option = |name: &str| {
        let mut values =
            text.lines().filter_map(|line| line.strip_prefix("\" ")?.strip_prefix(name));
        values.find(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
    };
    if option("HOTP_COUNTER").is_some() || option("TOTP_AUTH").is_none() {
        return Err(Problem::Hotp);
    }
    let number = |name: &'static str, default: i32| match option(name) {
        Some(text) => text.trim().parse().map_err(|_| Problem::Malformed(name)),
        None => Ok(default),
    };
    let secret = Secret::from_base32(text.lines().next().unwrap_or_default())?;
    let parameters = Parameters::new("SHA1", 6, number("STEP_SIZE", 30)?)?;
    // The steps of accepted codes; older ones are dropped from the list.
    let spent = option("DISALLOW_REUSE").unwrap_or_default().split_whitespace();
    let spent = spent.map(|step| step.parse().map_err(|_| Problem::Malformed("DISALLOW_REUSE")));
    let spent: Vec<i64> = spent.collect::<Result<_, _>>()?;
    let factor = SourceFactor::with_parameters(None, secret, parameters);
    let drift = number("TIME_SKEW", 0)?.into();
    Ok(SourceFactor { last_step: spent.into_iter().max(), drift, ..factor })
}

fn is_code(line: &str) -> bool {
    line.len() == 8 && !line.starts_with('0') && line.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pure::import::SourceAccount;
    use crate::pure::invalid::Invalid;

    const FILE: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY\n\" RATE_LIMIT 3 30 1700000000\n\" WINDOW_SIZE 17\n\
        \" DISALLOW_REUSE 56666665 56666667 56666666\n\" TIME_SKEW -2\n\" TOTP_AUTH\n\
        12345678\n87654321\n";

    fn read(text: &str) -> SourceAccount {
        let [(name, account)] = parse("alice", text).groups().try_into().unwrap();
        assert_eq!(name.as_deref(), Ok("alice"));
        account
    }

    #[test]
    fn a_file_is_read() {
        let account = read(FILE);
        let [factor] = account.factors.as_slice() else {
            panic!("{account:?}");
        };
        assert_eq!(factor.secret.expose(), b"1234567890123456");
        assert_eq!((factor.last_step, factor.drift), (Some(56_666_667), -2));
        assert_eq!(factor.parameters.period, 30);
        let codes: Vec<_> = account.backup_codes.iter().map(|code| code.expose()).collect();
        assert_eq!(codes, ["12345678", "87654321"]);
        let minute = read(&FILE.replace("\" WINDOW_SIZE 17", "\" STEP_SIZE 60"));
        assert_eq!(minute.factors.first().unwrap().parameters.period, 60);
        let crlf = read(&FILE.replace('\n', "\r\n"));
        assert_eq!((crlf.factors.len(), crlf.backup_codes.len()), (1, 2));
    }

    #[test]
    fn a_file_that_cannot_be_used_says_why() {
        let problem = |text: &str| read(text).problems;
        assert_eq!(problem(&FILE.replace("TOTP_AUTH", "HOTP_COUNTER 7")), [Problem::Hotp]);
        assert_eq!(problem(&FILE.replace("TOTP_AUTH", "OTHER")), [Problem::Hotp]);
        assert_eq!(problem(&FILE.replacen('G', "0", 1)), [Invalid::Base32.into()]);
        let skew = FILE.replace("SKEW -2", "SKEW much");
        assert_eq!(problem(&skew), [Problem::Malformed("TIME_SKEW")]);
        let reuse = FILE.replace("56666665 ", "x ");
        assert_eq!(problem(&reuse), [Problem::Malformed("DISALLOW_REUSE")]);
        assert_eq!(problem(""), [Problem::Hotp]);
    }
}
