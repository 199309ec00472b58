//! Files of google-authenticator-libpam.

use super::imported::is_grouping;
use super::text;
use crate::pure::import::{SourceAccount, libpam};

pub fn check(data: &[u8]) -> bool {
    let text = text(data);
    let groups = libpam::parse("alice", text).groups();
    let [(_, account)] = groups.as_slice() else { panic!("{} accounts", groups.len()) };
    if let Some(written) = written(account) {
        let groups = libpam::parse("alice", &written).groups();
        let [(_, again)] = groups.as_slice() else { panic!("{} accounts", groups.len()) };
        let [before, after] = [account, again].map(|it| it.factors.first().unwrap());
        assert!(before.secret.expose() == after.secret.expose(), "another secret");
        assert_eq!(before.parameters, after.parameters);
        assert_eq!((before.last_step, before.drift), (after.last_step, after.drift));
        let codes = |account: &SourceAccount| -> Vec<String> {
            account.backup_codes.iter().map(|code| code.expose().to_owned()).collect()
        };
        assert_eq!(codes(account), codes(again));
    }
    is_grouping(libpam::parse("alice", text))
}

/// Writes the file as the program does.
fn written(account: &SourceAccount) -> Option<String> {
    let factor = account.factors.first()?;
    let mut lines = vec![
        factor.secret.to_base32().to_string(),
        format!("\" STEP_SIZE {}", factor.parameters.period),
        format!("\" TIME_SKEW {}", factor.drift),
        "\" TOTP_AUTH".to_owned(),
    ];
    lines.extend(factor.last_step.map(|step| format!("\" DISALLOW_REUSE {step}")));
    lines.extend(account.backup_codes.iter().map(|code| code.expose().to_owned()));
    Some(lines.join("\n"))
}
