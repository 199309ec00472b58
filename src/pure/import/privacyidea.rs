//! privacyIDEA: what `pi-tokenjanitor find export` writes, as CSV, or as JSON after its decryption.

use super::hardware_token::parameters_for;
use super::{Grouping, Item, Problem, SourceFactor, hex};
use crate::pure::json;
use crate::pure::otp::Parameters;
use crate::pure::secret::Secret;
use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

/// The owner of a token that belongs to nobody.
const NOBODY: &str = "n/a";

#[derive(Deserialize)]
struct Token {
    serial: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    otpkey: Option<String>,
    otplen: Option<i32>,
    /// One more than the last step of which a code was accepted; 0 before the first.
    count: Option<i64>,
    #[serde(default)]
    info_list: Info,
    user: Option<User>,
}

/// Some values are numbers in some versions, and texts in others.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Info {
    hashlib: Option<String>,
    time_step: Option<Value>,
    time_shift: Option<Value>,
}

#[derive(Deserialize)]
struct User {
    login: Option<String>,
    realm: Option<String>,
}

/// Reads an export. The account is the user's name and realm, as `alice@realm`. Returns `None` if the
/// text is something else.
pub fn parse(text: &str) -> Option<Grouping> {
    let text = text.trim_start_matches('\u{feff}').trim_start();
    if text.starts_with('[') { parse_json(text) } else { parse_csv(text) }
}

fn parse_json(text: &str) -> Option<Grouping> {
    let mut grouping = Grouping::default();
    for token in json::parse::<Vec<Token>>(text)? {
        let owner = token.user.as_ref().and_then(|User { login, realm }| {
            let login = login.as_deref().filter(|login| !login.is_empty())?;
            Some(format!("{login}@{}", realm.as_deref().unwrap_or_default()))
        });
        add(&mut grouping, owner.as_deref().unwrap_or(NOBODY), factor(token));
    }
    Some(grouping)
}

/// Reads the secret and the parameters of a token in JSON.
fn factor(token: Token) -> Result<SourceFactor, Problem> {
    check_type(token.kind.as_deref().unwrap_or_default())?;
    let key = Zeroizing::new(token.otpkey.ok_or(Problem::Missing("otpkey"))?);
    let secret = secret(&key)?;
    let hash = token.info_list.hashlib.unwrap_or_else(|| "sha1".to_owned());
    let period = number(token.info_list.time_step, "timeStep", 30.0)?;
    let parameters = Parameters::new(&hash, token.otplen.unwrap_or(6), period as i32)?;
    let shift = number(token.info_list.time_shift, "timeShift", 0.0)?;
    let factor = SourceFactor::with_parameters(token.serial.as_deref(), secret, parameters);
    Ok(SourceFactor {
        last_step: token.count.filter(|count| *count > 0).map(|count| count - 1),
        drift: (shift / period).round() as i64,
        ..factor
    })
}

fn number(value: Option<Value>, name: &'static str, default: f64) -> Result<f64, Problem> {
    match value {
        None | Some(Value::Null) => Some(default),
        Some(Value::String(text)) if text.is_empty() => Some(default),
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(value) => value.as_f64(),
    }
    .filter(|number: &f64| number.is_finite())
    .ok_or(Problem::Malformed(name))
}

/// Reads lines of owner, serial number, secret, type, digits and period. Only counter-based tokens have
/// no period.
fn parse_csv(text: &str) -> Option<Grouping> {
    let mut grouping = Grouping::default();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let columns: Vec<&str> = line.split(',').map(str::trim).collect();
        let [owner, serial, secret, kind, others @ ..] = columns.as_slice() else {
            return None;
        };
        add(&mut grouping, owner, factor_of_csv(serial, secret, kind, others));
    }
    Some(grouping)
}

fn factor_of_csv(
    serial: &str,
    key: &str,
    kind: &str,
    others: &[&str],
) -> Result<SourceFactor, Problem> {
    check_type(kind)?;
    // Older versions write None for every period.
    let number = |place: usize, name, default| match others.get(place).copied() {
        None | Some("" | "None") => Ok(default),
        Some(text) => text.parse().map_err(|_| Problem::Malformed(name)),
    };
    let secret = secret(key)?;
    let parameters = parameters_for(&secret, number(0, "otplen", 6)?, number(1, "timeStep", 30)?)?;
    Ok(SourceFactor::with_parameters(Some(serial), secret, parameters))
}

fn check_type(kind: &str) -> Result<(), Problem> {
    match kind.to_ascii_lowercase().as_str() {
        "totp" => Ok(()),
        "hotp" => Err(Problem::Hotp),
        _ => Err(Problem::OtherType),
    }
}

/// Reads a secret in hex or, as the option `--b32` writes it, in base32. Text that could be both is
/// hex: a secret in base32 almost certainly has other letters, too.
fn secret(text: &str) -> Result<Secret, Problem> {
    match hex(text) {
        Some(bytes) => Ok(Secret::from_bytes(bytes)?),
        None => Ok(Secret::from_base32(text)?),
    }
}

fn add(grouping: &mut Grouping, owner: &str, factor: Result<SourceFactor, Problem>) {
    // A type that is not imported is not worth a row for each of its tokens that belong to nobody.
    match factor {
        Ok(_) if owner == NOBODY => grouping.add(Some(owner), Err(Problem::Unassigned)),
        Err(_) if owner == NOBODY => {}
        factor => grouping.add(Some(owner), factor.map(Item::from)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pure::import::SourceAccount;
    use crate::pure::invalid::Invalid;

    const SECRET: &str = "3132333435363738393031323334353637383930";

    fn read(text: &str) -> Vec<(String, SourceAccount)> {
        let groups = parse(text).unwrap().groups();
        groups.into_iter().map(|(name, account)| (name.unwrap().to_string(), account)).collect()
    }

    #[test]
    fn lines_of_csv_are_read() {
        let text = format!(
            "alice@office, TOTP1, {SECRET}, totp, 8, 60\nalice@office, H1, {SECRET}, hotp, 6\n\
             bob@, TOTP2, GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ, TOTP, 6, None\n\
             n/a, TOTP3, {SECRET}, totp, 6, 30\nn/a, H2, {SECRET}, hotp, 6\n"
        );
        let [(alice, of_alice), (bob, of_bob), (nobody, of_nobody)] =
            read(&text).try_into().unwrap();
        assert_eq!([&*alice, &*bob, &*nobody], ["alice@office", "bob@", "n/a"]);
        let factor = of_alice.factors.first().unwrap();
        assert_eq!(factor.secret.expose(), b"12345678901234567890");
        assert_eq!((factor.label.as_str(), factor.parameters.digits), ("TOTP1", 8));
        assert_eq!((factor.parameters.period, factor.last_step), (60, None));
        assert_eq!(of_alice.problems, [Problem::Hotp]);
        let factor = of_bob.factors.first().unwrap();
        assert_eq!(factor.secret.expose(), b"12345678901234567890");
        assert_eq!(factor.parameters.period, 30);
        assert_eq!(
            (of_nobody.factors.len(), &*of_nobody.problems),
            (0, &[Problem::Unassigned][..])
        );
    }

    #[test]
    fn json_is_read() {
        let info = r#"{"hashlib": "sha256", "timeStep": "60", "timeShift": -95.5}"#;
        let token = |user: &str| {
            format!(
                r#"{{"serial": "T1", "type": "totp", "otpkey": "{SECRET}", "otplen": 8, "count": 58,
                     "info_list": {info}{user}}}"#
            )
        };
        let owned = token(r#", "user": {"login": "alice", "realm": "office", "uid": 5}"#);
        let [(alice, account)] = read(&format!("[{owned}]")).try_into().unwrap();
        assert_eq!(alice, "alice@office");
        let factor = account.factors.first().unwrap();
        assert_eq!((factor.last_step, factor.drift), (Some(57), -2));
        assert_eq!((factor.parameters.digits, factor.parameters.period), (8, 60));
        assert_eq!(factor.parameters.algorithm.name(), "SHA256");
        let [(nobody, account)] = read(&format!("[{}]", token(""))).try_into().unwrap();
        assert_eq!((nobody.as_str(), account.problems), ("n/a", vec![Problem::Unassigned]));
        let other = owned.replace("\"60\"", "\"x\"");
        let [(_, account)] = read(&format!("[{other}]")).try_into().unwrap();
        assert_eq!(account.problems, [Problem::Malformed("timeStep")]);
        let usual = r#"[{"type": "totp", "otpkey": "31", "user": {"login": "a", "realm": "b"}}]"#;
        let [(_, account)] = read(usual).try_into().unwrap();
        assert_eq!(account.problems, [Invalid::SecretLength(1).into()]);
    }

    #[test]
    fn other_text_is_no_export() {
        for text in ["{}", "[1]", "one, two, three", "- serial: T1\n  type: totp\n"] {
            assert!(parse(text).is_none(), "{text}");
        }
        assert!(read("").is_empty());
    }
}
