//! Rules of pg_hba.conf: whether logins over the network are encrypted.

/// A rule for connections over TCP/IP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its line.
    pub line: i32,
    /// Its type, such as `host` or `hostssl`.
    pub kind: String,
    /// The databases, separated by commas.
    pub databases: String,
    /// Whether it is for all roles.
    pub is_for_all_roles: bool,
    /// The addresses: a keyword, a host name, or the first one of a network.
    pub address: String,
    /// The mask of a network.
    pub netmask: Option<String>,
    /// The authentication method.
    pub method: String,
}

/// Returns the rules that let a client on another machine log in to a database without encryption.
/// Rules are in the order of the file; those after one that rejects all such clients have no effect.
pub fn unencrypted<'a>(rules: &'a [Rule], database: &str) -> Vec<&'a Rule> {
    let mut found = Vec::new();
    let mut rejected = Families::default();
    for rule in rules.iter().filter(|rule| rule.allows_plain() && rule.is_for(database)) {
        if rule.method == "reject" {
            if rule.is_for_all_roles && rule.names_all_databases() {
                rejected = rejected.and(rule.all_of());
            }
        } else if !rule.is_local() && !rejected.are_all() {
            found.push(rule);
        }
    }
    found
}

/// Whether a server listens on no address that other machines can reach.
pub fn is_local(listen_addresses: &str) -> bool {
    listen_addresses
        .split(',')
        .map(str::trim)
        .all(|address| address.is_empty() || is_loopback(address, None))
}

impl Rule {
    /// `host` rules are for connections with encryption and without.
    fn allows_plain(&self) -> bool {
        ["host", "hostnossl", "hostnogssenc"].contains(&self.kind.as_str())
    }

    fn is_for(&self, database: &str) -> bool {
        self.databases.split(',').any(|name| {
            ["all", "sameuser", "samerole", "samegroup", database].contains(&name)
                || name.starts_with('/')
        })
    }

    fn names_all_databases(&self) -> bool {
        self.databases.split(',').any(|name| name == "all")
    }

    fn is_local(&self) -> bool {
        self.address == "samehost" || is_loopback(&self.address, self.netmask.as_deref())
    }

    /// The families of addresses of which all belong to the rule.
    fn all_of(&self) -> Families {
        let is_all = self.address == "all";
        let has = |address, mask| self.address == address && self.netmask.as_deref() == Some(mask);
        Families { v4: is_all || has("0.0.0.0", "0.0.0.0"), v6: is_all || has("::", "::") }
    }
}

/// Families of addresses.
#[derive(Default)]
struct Families {
    v4: bool,
    v6: bool,
}

impl Families {
    fn and(self, other: Self) -> Self {
        Self { v4: self.v4 || other.v4, v6: self.v6 || other.v6 }
    }

    fn are_all(&self) -> bool {
        self.v4 && self.v6
    }
}

/// Returns whether an address, or each one of a network, belongs to this machine.
fn is_loopback(address: &str, netmask: Option<&str>) -> bool {
    let is_narrow = netmask.is_none_or(|mask| mask.starts_with("255.") || mask.ends_with(":ffff"));
    let is_here = ["localhost", "::1"].contains(&address) || address.starts_with("127.");
    is_here && is_narrow
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of the rules that are found in a file, for the database `app`.
    fn lines(file: &[&str]) -> Vec<i32> {
        let rules: Vec<Rule> = (1..).zip(file).map(|(line, text)| rule(line, text)).collect();
        unencrypted(&rules, "app").iter().map(|rule| rule.line).collect()
    }

    /// A rule as the server shows it: type, databases, roles, address, mask or `-`, method.
    fn rule(line: i32, text: &str) -> Rule {
        let [kind, databases, roles, address, mask, method] =
            text.split_whitespace().collect::<Vec<_>>().try_into().unwrap();
        Rule {
            line,
            kind: kind.to_owned(),
            databases: databases.to_owned(),
            is_for_all_roles: roles == "all",
            address: address.to_owned(),
            netmask: (mask != "-").then(|| mask.to_owned()),
            method: method.to_owned(),
        }
    }

    const V4: &str = "0.0.0.0 0.0.0.0";

    #[test]
    fn a_rule_for_other_machines_without_encryption_is_found() {
        for text in [
            format!("host all all {V4} scram-sha-256"),
            format!("hostnossl all all {V4} md5"),
            format!("hostnogssenc all all {V4} md5"),
            "host app alice 10.0.0.0 255.0.0.0 cert".to_owned(),
            "host other,app all all - scram-sha-256".to_owned(),
            "host sameuser all samenet - trust".to_owned(),
            "host /^a all db.example.org - trust".to_owned(),
            "host all all :: :: trust".to_owned(),
            "host all all 127.0.0.1 0.0.0.0 trust".to_owned(),
        ] {
            assert_eq!(lines(&[&text]), [1], "{text}");
        }
    }

    #[test]
    fn other_rules_are_not() {
        for text in [
            "hostssl all all 0.0.0.0 0.0.0.0 scram-sha-256",
            "hostgssenc all all 0.0.0.0 0.0.0.0 gss",
            "host other all 0.0.0.0 0.0.0.0 scram-sha-256",
            "host replication all 0.0.0.0 0.0.0.0 scram-sha-256",
            "host all all 127.0.0.1 255.255.255.255 trust",
            "host all all 127.0.0.0 255.0.0.0 trust",
            "host all all ::1 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff trust",
            "host all all localhost - trust",
            "host all all samehost - trust",
            "host all all 0.0.0.0 0.0.0.0 reject",
        ] {
            assert!(lines(&[text]).is_empty(), "{text}");
        }
    }

    #[test]
    fn what_comes_after_a_rejection_of_everyone_has_no_effect() {
        let host = "host all all all - scram-sha-256";
        assert!(lines(&["hostnossl all all all - reject", host]).is_empty());
        let (v4, v6) =
            ("hostnossl all all 0.0.0.0 0.0.0.0 reject", "hostnossl all all :: :: reject");
        assert!(lines(&[v4, v6, host]).is_empty());
        assert_eq!(lines(&[v4, host]), [2]);
        assert_eq!(lines(&[host, "hostnossl all all all - reject"]), [1]);
        assert_eq!(lines(&["hostnossl all bob all - reject", host]), [2]);
        assert_eq!(lines(&["hostnossl app all all - reject", host]), [2]);
    }

    #[test]
    fn a_server_that_listens_on_this_machine_only_is_local() {
        assert!(["", "localhost", "127.0.0.1, ::1"].into_iter().all(is_local));
        assert!(!["*", "0.0.0.0", "localhost,10.0.0.1", "::"].into_iter().any(is_local));
    }
}
