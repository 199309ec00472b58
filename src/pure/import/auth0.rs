//! Auth0: users as JSON, as its bulk import takes them and its support exports them.

use super::{Grouping, Problem, SourceFactor};
use crate::pure::json;
use crate::pure::secret::Secret;
use serde::Deserialize;
use zeroize::Zeroizing;

#[derive(Deserialize)]
struct User {
    user_id: Option<String>,
    email: Option<String>,
    #[serde(default)]
    mfa_factors: Vec<Factor>,
}

#[derive(Deserialize)]
struct Factor {
    totp: Option<Totp>,
}

#[derive(Deserialize)]
struct Totp {
    secret: Option<String>,
}

/// Reads an array of users, or one user per line. The account is the user's ID, or the email address
/// where there is no ID. Codes have six digits and use SHA-1. Returns `None` if the text is something
/// else.
pub fn parse(text: &str) -> Option<Grouping> {
    let users: Vec<User> = if text.trim_start().starts_with('[') {
        json::parse(text)?
    } else {
        text.lines()
            .filter(|line| !line.trim().is_empty())
            .map(json::parse)
            .collect::<Option<_>>()?
    };
    let mut grouping = Grouping::default();
    for user in users {
        let account = user.user_id.or(user.email);
        for totp in user.mfa_factors.into_iter().filter_map(|factor| factor.totp) {
            let factor = totp
                .secret
                .ok_or(Problem::Missing("secret"))
                .map(Zeroizing::new)
                .and_then(|secret| SourceFactor::of(None, Secret::from_base32(&secret)?));
            grouping.add(account.as_deref(), factor.map(Into::into));
        }
    }
    Some(grouping)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pure::invalid::Invalid;

    const USERS: [&str; 4] = [
        r#"{"email": "a@x", "user_id": "1", "mfa_factors": [{"totp": {"secret": "JBSWY3DPEHPK3PXP"}}, {"phone": {"value": "+1"}}]}"#,
        r#"{"email": "b@x", "mfa_factors": [{"totp": {"secret": "0"}}, {"totp": {}}]}"#,
        r#"{"email": "c@x"}"#,
        r#"{"mfa_factors": [{"totp": {"secret": "JBSWY3DPEHPK3PXP"}}]}"#,
    ];

    #[test]
    fn an_array_or_lines_of_users_are_read() {
        for text in [format!(" [{}]", USERS.join(",")), format!("{}\n\n", USERS.join("\n"))] {
            let groups = parse(&text).unwrap().groups();
            let [(first, alice), (second, bob), (Err(problem), _)] = groups.as_slice() else {
                panic!("{groups:?}");
            };
            assert_eq!(first.as_deref(), Ok("1"));
            assert_eq!(alice.factors.len(), 1);
            assert_eq!(second.as_deref(), Ok("b@x"));
            assert_eq!(bob.problems, [Invalid::Base32.into(), Problem::Missing("secret")]);
            assert_eq!(*problem, Invalid::Missing { argument: "account" }.into());
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["{", "[1]", "users", r#"{"mfa_factors": 1}"#, "[{}", "{}\nx"] {
            assert!(parse(text).is_none(), "{text}");
        }
        assert!(parse("[]").unwrap().groups().is_empty());
    }
}
