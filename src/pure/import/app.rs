//! Authenticator apps: the exports of one person's app as JSON that is not encrypted.

use super::{Grouping, Item, Problem, SourceFactor};
use crate::pure::json;
use crate::pure::name::{AccountName, Issuer};
use crate::pure::otp::Parameters;
use crate::pure::secret::Secret;
use serde_json::{Map, Value};

type Object = Map<String, Value>;

/// Reads the export of Aegis, 2FAS, Bitwarden, andOTP, Proton Authenticator or Stratum. Returns `None`
/// if the text is something else, or encrypted.
pub fn parse(account: &str, text: &str) -> Option<Grouping> {
    let document: Value = json::parse(text)?;
    let mut grouping = Grouping::default();
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned();
    let (entries, read): (Vec<Value>, fn(&Object) -> Result<Item, Problem>) = match &document {
        Value::Array(entries) => (entries.clone(), andotp),
        Value::Object(object) => {
            if let Some(entries) = list(object.get("db").and_then(|db| db.get("entries"))) {
                (entries, aegis)
            } else if let Some(entries) = list(object.get("services")) {
                (entries, twofas)
            } else if let Some(entries) = list(object.get("items")) {
                (entries, bitwarden)
            } else if let Some(entries) = list(object.get("Authenticators")) {
                (entries, stratum)
            } else {
                (list(object.get("entries"))?, proton)
            }
        }
        _ => return None,
    };
    for entry in entries {
        let entry = entry.as_object().ok_or(Problem::Malformed("an entry"));
        grouping.add(Some(account), entry.and_then(read));
    }
    Some(grouping)
}

/// The values that every app has, by the names that it gives them.
struct Names {
    secret: &'static str,
    algorithm: &'static str,
    digits: &'static str,
    period: &'static str,
}

const USUAL: Names =
    Names { secret: "secret", algorithm: "algorithm", digits: "digits", period: "period" };

fn text<'a>(object: &'a Object, name: &str) -> Option<&'a str> {
    object.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

fn factor(
    values: &Object,
    names: &Names,
    algorithm: &str,
    (issuer, account_name): (Option<&str>, Option<&str>),
) -> Result<Item, Problem> {
    let number = |name: &'static str| {
        let number = values.get(name).and_then(Value::as_i64);
        number.and_then(|number| i32::try_from(number).ok()).ok_or(Problem::Malformed(name))
    };
    let secret = text(values, names.secret).ok_or(Problem::Missing("secret"))?;
    let parameters = Parameters::new(algorithm, number(names.digits)?, number(names.period)?)?;
    let label = [issuer, account_name].into_iter().flatten().collect::<Vec<_>>().join(": ");
    let factor =
        SourceFactor::with_parameters(Some(&label), Secret::from_base32(secret)?, parameters);
    let issuer = issuer.and_then(|issuer| Issuer::new(issuer.replace(':', " ")).ok());
    let account_name = account_name.and_then(|name| AccountName::new(name.to_owned()).ok());
    Ok(SourceFactor { issuer, account_name, ..factor }.into())
}

/// Requires that codes depend on the time.
fn totp(kind: Option<&str>) -> Result<(), Problem> {
    match kind.map(str::to_ascii_lowercase).as_deref() {
        None | Some("totp") => Ok(()),
        Some("hotp") => Err(Problem::Hotp),
        Some(_) => Err(Problem::Malformed("type")),
    }
}

fn aegis(entry: &Object) -> Result<Item, Problem> {
    totp(text(entry, "type"))?;
    let info = entry.get("info").and_then(Value::as_object).ok_or(Problem::Missing("info"))?;
    let algorithm = text(info, "algo").ok_or(Problem::Missing("algo"))?;
    let names = Names { algorithm: "algo", ..USUAL };
    factor(info, &names, algorithm, (text(entry, "issuer"), text(entry, "name")))
}

fn twofas(entry: &Object) -> Result<Item, Problem> {
    let otp = entry.get("otp").and_then(Value::as_object).ok_or(Problem::Missing("otp"))?;
    totp(text(otp, "tokenType"))?;
    let mut values = otp.clone();
    values.insert("secret".to_owned(), entry.get("secret").cloned().unwrap_or_default());
    // What the app leaves out are the usual values.
    for (name, value) in [("digits", 6), ("period", 30)] {
        if values.get(name).is_none_or(Value::is_null) {
            values.insert(name.to_owned(), value.into());
        }
    }
    let issuer = text(otp, "issuer").or(text(entry, "name"));
    factor(
        &values,
        &USUAL,
        text(otp, "algorithm").unwrap_or("SHA1"),
        (issuer, text(otp, "account")),
    )
}

fn andotp(entry: &Object) -> Result<Item, Problem> {
    totp(text(entry, "type"))?;
    let algorithm = text(entry, USUAL.algorithm).ok_or(Problem::Missing("algorithm"))?;
    factor(entry, &USUAL, algorithm, (text(entry, "issuer"), text(entry, "label")))
}

fn stratum(entry: &Object) -> Result<Item, Problem> {
    match entry.get("Type").and_then(Value::as_i64) {
        Some(2) => {}
        Some(1) => return Err(Problem::Hotp),
        _ => return Err(Problem::Malformed("type")),
    }
    let algorithm = match entry.get("Algorithm").and_then(Value::as_i64) {
        Some(0) => "SHA1",
        Some(1) => "SHA256",
        Some(2) => "SHA512",
        _ => return Err(Problem::Malformed("algorithm")),
    };
    let names =
        Names { secret: "Secret", algorithm: "Algorithm", digits: "Digits", period: "Period" };
    factor(entry, &names, algorithm, (text(entry, "Issuer"), text(entry, "Username")))
}

fn bitwarden(entry: &Object) -> Result<Item, Problem> {
    let login = entry.get("login").and_then(Value::as_object);
    let Some(totp) = login.and_then(|login| text(login, "totp")) else {
        return Ok(Item::Other);
    };
    Ok(SourceFactor::from_uri(text(entry, "name"), totp)?.into())
}

fn proton(entry: &Object) -> Result<Item, Problem> {
    let content = entry.get("content").and_then(Value::as_object);
    let content = content.ok_or(Problem::Missing("content"))?;
    let uri = text(content, "uri").ok_or(Problem::Missing("uri"))?;
    Ok(SourceFactor::from_uri(text(content, "name"), uri)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pure::import::SourceAccount;
    use crate::pure::invalid::{Invalid, UriFlaw};

    const EXPORTS: [(&str, &str); 6] = [
        (
            "Aegis",
            r#"{"version": 1, "header": {"slots": null, "params": null}, "db": {"version": 3, "entries": [
                {"type": "totp", "uuid": "1", "name": "alice", "issuer": "Acme", "info":
                 {"secret": "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", "algo": "SHA256", "digits": 8, "period": 60}},
                {"type": "hotp", "uuid": "2", "name": "bob", "issuer": "Acme", "info":
                 {"secret": "GEZDGNBVGY3TQOJQ", "algo": "SHA1", "digits": 6, "counter": 1}}]}}"#,
        ),
        (
            "2FAS",
            r#"{"services": [
                {"name": "Acme", "secret": "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", "otp": {"label": "alice",
                 "account": "alice", "issuer": "Acme", "digits": 8, "period": 60, "algorithm": "SHA256",
                 "tokenType": "TOTP"}},
                {"name": "Acme", "secret": "GEZDGNBVGY3TQOJQ", "otp": {"counter": 1, "tokenType": "HOTP"}}],
                "groups": [], "schemaVersion": 4}"#,
        ),
        (
            "Bitwarden",
            r#"{"encrypted": false, "folders": [], "items": [{"type": 1, "name": "Acme: alice", "login": {"totp":
                "otpauth://totp/Acme:alice?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Acme&algorithm=SHA256&digits=8&period=60"}},
                {"type": 1, "name": "no codes", "login": {"totp": null}}, {"type": 2, "name": "a note"},
                {"type": 1, "name": "b", "login": {"totp": "otpauth://hotp/x?secret=GEZDGNBVGY3TQOJQ&counter=1"}}]}"#,
        ),
        (
            "andOTP",
            r#"[{"secret": "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", "issuer": "Acme", "label": "alice", "digits": 8,
                 "type": "TOTP", "algorithm": "SHA256", "period": 60, "tags": []},
                {"secret": "GEZDGNBVGY3TQOJQ", "label": "b", "digits": 6, "type": "HOTP", "algorithm": "SHA1", "counter": 1}]"#,
        ),
        (
            "Proton",
            r#"{"version": 1, "entries": [{"id": "1", "content": {"uri":
                "otpauth://totp/Acme:alice?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Acme&algorithm=SHA256&digits=8&period=60",
                "entry_type": "Totp", "name": "Acme: alice"}, "note": null},
                {"id": "2", "content": {"uri": "otpauth://hotp/x?secret=GEZDGNBVGY3TQOJQ&counter=1", "name": "b"}}]}"#,
        ),
        (
            "Stratum",
            r#"{"Authenticators": [{"Type": 2, "Issuer": "Acme", "Username": "alice",
                 "Secret": "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", "Algorithm": 1, "Digits": 8, "Period": 60, "Counter": 0},
                {"Type": 1, "Issuer": "b", "Username": "b", "Secret": "GEZDGNBVGY3TQOJQ", "Algorithm": 0, "Digits": 6,
                 "Period": 30, "Counter": 1}], "Categories": []}"#,
        ),
    ];

    fn read(text: &str) -> SourceAccount {
        let [(_, account)] = parse("alice", text).unwrap().groups().try_into().unwrap();
        account
    }

    #[test]
    fn the_export_of_each_app_is_read() {
        for (app, export) in EXPORTS {
            let account = read(export);
            let [factor] = account.factors.as_slice() else {
                panic!("{app}: {account:?}");
            };
            assert_eq!(factor.secret.expose(), b"12345678901234567890", "{app}");
            assert_eq!(factor.parameters, Parameters::new("SHA256", 8, 60).unwrap(), "{app}");
            assert_eq!(factor.label, "Acme: alice", "{app}");
            assert_eq!(factor.issuer.as_deref(), Some("Acme"), "{app}");
            assert_eq!(factor.account_name.as_deref(), Some("alice"), "{app}");
            let [problem] = account.problems.as_slice() else {
                panic!("{app}: {account:?}");
            };
            let hotp = Problem::from(Invalid::Uri(UriFlaw::Hotp));
            assert!([Problem::Hotp, hotp].contains(problem), "{app}: {problem:?}");
        }
    }

    #[test]
    fn what_is_no_export_or_encrypted_is_refused() {
        for text in [
            "",
            "[",
            "1",
            "{}",
            r#"{"db": "ZW5jcnlwdGVk", "header": {}}"#,
            r#"{"servicesEncrypted": "x", "services": null}"#,
            r#"{"encrypted": true, "data": "2.x"}"#,
        ] {
            assert!(parse("alice", text).is_none(), "{text}");
        }
        assert!(parse("alice", "[]").unwrap().groups().is_empty());
    }

    #[test]
    fn a_broken_entry_says_why() {
        let problem = |text: &str| read(text).problems;
        assert_eq!(problem("[1]"), [Problem::Malformed("an entry")]);
        assert_eq!(problem(r#"{"db": {"entries": [{}]}}"#), [Problem::Missing("info")]);
        assert_eq!(problem(r#"{"services": [{}]}"#), [Problem::Missing("otp")]);
        let steam = r#"[{"type": "STEAM"}]"#;
        assert_eq!(problem(steam), [Problem::Malformed("type")]);
        let digits = r#"[{"type": "TOTP", "algorithm": "SHA1", "secret": "GEZDGNBVGY3TQOJQ", "digits": 5, "period": 30}]"#;
        assert_eq!(problem(digits), [Invalid::Digits(5).into()]);
        let period = digits.replace("30}", "\"30\"}");
        assert_eq!(problem(&period), [Problem::Malformed("period")]);
    }
}
