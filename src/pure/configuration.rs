//! Settings that are not at their defaults, and which of them write the parameters of statements to
//! the server's log.

use std::fmt;

/// A setting that is not at its default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configured {
    /// The role and database for which it is set; empty for the value in this session.
    pub place: String,
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Where the value in this session comes from; empty otherwise.
    pub source: String,
}

impl fmt::Display for Configured {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { place, name, value, source } = self;
        let origin = if place.is_empty() { source } else { place };
        match value.as_str() {
            "" => write!(f, "{name} = '' ({origin})"),
            value => write!(f, "{name} = {value} ({origin})"),
        }
    }
}

/// Matches the names of the settings that [`parameter_logging`] looks at.
pub const LOGGING: &str = r"^(log_|debug_print_|auto_explain\.|pgaudit\.)";

/// How a setting that logs parameters is limited by another, whose value 0 keeps them out.
const STATEMENTS: Option<&str> = Some("log_parameter_max_length");
const PLANS: Option<&str> = Some("auto_explain.log_parameter_max_length");

/// Leaves out values of this session that are also listed for the role or database that they come
/// from.
pub fn distinct(settings: &[&Configured]) -> Vec<Configured> {
    let is_repeated = |setting: &Configured| {
        let is_same = |other: &&Configured| {
            !other.place.is_empty() && other.name == setting.name && other.value == setting.value
        };
        setting.place.is_empty() && settings.iter().any(is_same)
    };
    settings
        .iter()
        .filter(|setting| !is_repeated(setting))
        .map(|&setting| setting.clone())
        .collect()
}

/// Returns the settings through which parameters can reach the log. A limit that is set for a role
/// or a database holds there; one that is lifted there holds nowhere else, since a session can have
/// settings of both.
pub fn parameter_logging(settings: &[Configured]) -> Vec<&Configured> {
    settings.iter().filter(|setting| is_logging(setting, settings)).collect()
}

fn is_logging(setting: &Configured, all: &[Configured]) -> bool {
    let value = setting.value.trim();
    let (is_on, limit) = match setting.name.as_str() {
        "log_statement" => (["all", "mod"].contains(&value), STATEMENTS),
        "log_min_duration_statement" | "log_min_duration_sample" => {
            (!is_negative(value), STATEMENTS)
        }
        "log_transaction_sample_rate" => (!is_zero(value), STATEMENTS),
        "log_parameter_max_length_on_error" => (!is_zero(value), None),
        "auto_explain.log_min_duration" => (!is_negative(value), PLANS),
        // It shows arguments even if parameters are not logged.
        "auto_explain.log_verbose" => (is_true(value) && plans_are_logged(all), None),
        "pgaudit.log_parameter" => (is_true(value), None),
        "debug_print_parse" | "debug_print_rewritten" | "debug_print_plan" => {
            (is_true(value), None)
        }
        _ => return false,
    };
    is_on && limit.is_none_or(|limit| !is_limited(&setting.place, limit, all))
}

/// Returns whether a limit keeps parameters out in a place.
fn is_limited(place: &str, limit: &str, all: &[Configured]) -> bool {
    let mut limits = all.iter().filter(|setting| setting.name == limit);
    match limits.clone().find(|setting| setting.place == place) {
        Some(own) if !place.is_empty() => is_zero(&own.value),
        _ => {
            limits.clone().any(|setting| setting.place.is_empty())
                && limits.all(|setting| is_zero(&setting.value))
        }
    }
}

fn plans_are_logged(all: &[Configured]) -> bool {
    let is_set = |other: &Configured| {
        other.name == "auto_explain.log_min_duration" && !is_negative(other.value.trim())
    };
    all.iter().any(is_set)
}

/// Returns the number at the start of a value, before its unit.
fn number(value: &str) -> Option<f64> {
    let end =
        value.find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.')).unwrap_or(value.len());
    value.get(..end)?.parse().ok()
}

fn is_zero(value: &str) -> bool {
    number(value.trim()) == Some(0.0)
}

fn is_negative(value: &str) -> bool {
    number(value).is_some_and(|number| number < 0.0)
}

/// Returns whether a switch is on, as PostgreSQL reads it: any prefix of a word that means so.
fn is_true(value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    value == "on"
        || value == "1"
        || (!value.is_empty() && ["true", "yes"].iter().any(|word| word.starts_with(&value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Settings as `place: name = value`, and the places and names of those that log.
    fn logging(settings: &[(&str, &str, &str)]) -> Vec<String> {
        let configured = |&(place, name, value): &(&str, &str, &str)| Configured {
            place: place.to_owned(),
            name: name.to_owned(),
            value: value.to_owned(),
            source: "configuration file".to_owned(),
        };
        let settings: Vec<_> = settings.iter().map(configured).collect();
        parameter_logging(&settings).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn whatever_logs_statements_logs_parameters() {
        for (name, value) in [
            ("log_statement", "all"),
            ("log_statement", "mod"),
            ("log_min_duration_statement", "0"),
            ("log_min_duration_statement", "250ms"),
            ("log_min_duration_sample", "100"),
            ("log_transaction_sample_rate", "0.01"),
            ("log_parameter_max_length_on_error", "-1"),
            ("log_parameter_max_length_on_error", "64B"),
            ("auto_explain.log_min_duration", "0"),
            ("pgaudit.log_parameter", "on"),
            ("pgaudit.log_parameter", "TRUE"),
            ("debug_print_plan", "yes"),
        ] {
            assert_eq!(logging(&[("", name, value)]).len(), 1, "{name} = {value}");
            let there = logging(&[("role bob", name, value)]);
            assert_eq!(there, [format!("{name} = {value} (role bob)")]);
        }
    }

    #[test]
    fn what_is_off_logs_nothing() {
        for (name, value) in [
            ("log_statement", "ddl"),
            ("log_statement", "none"),
            ("log_min_duration_statement", "-1"),
            ("log_transaction_sample_rate", "0"),
            ("log_parameter_max_length_on_error", "0"),
            ("log_parameter_max_length", "-1"),
            ("auto_explain.log_min_duration", "-1"),
            ("auto_explain.log_verbose", "on"),
            ("pgaudit.log_parameter", "off"),
            ("pgaudit.log", "all"),
            ("debug_print_plan", "f"),
            ("log_connections", "on"),
        ] {
            assert!(logging(&[("", name, value)]).is_empty(), "{name} = {value}");
        }
    }

    #[test]
    fn a_limit_of_0_keeps_parameters_out_where_it_holds() {
        let limit = ("", "log_parameter_max_length", "0");
        assert!(logging(&[limit, ("", "log_statement", "all")]).is_empty());
        assert!(logging(&[limit, ("database app", "log_statement", "all")]).is_empty());
        let plans = ("", "auto_explain.log_min_duration", "0");
        assert_eq!(logging(&[limit, plans]).len(), 1);
        assert!(logging(&[plans, ("", "auto_explain.log_parameter_max_length", "0")]).is_empty());
        let of_role = ("role bob", "log_parameter_max_length", "0");
        assert!(logging(&[of_role, ("role bob", "log_statement", "all")]).is_empty());
        assert_eq!(logging(&[of_role, ("", "log_statement", "all")]).len(), 1);
    }

    #[test]
    fn a_limit_that_a_role_lifts_counts_for_all_it_can_be_combined_with() {
        let limit = ("", "log_parameter_max_length", "0");
        let lifted = ("role bob", "log_parameter_max_length", "-1");
        assert!(logging(&[limit, lifted]).is_empty());
        assert_eq!(logging(&[limit, lifted, ("", "log_statement", "all")]).len(), 1);
        assert_eq!(logging(&[limit, lifted, ("database app", "log_statement", "all")]).len(), 1);
    }

    #[test]
    fn verbose_plans_show_arguments_whatever_the_limit_is() {
        let limit = ("", "auto_explain.log_parameter_max_length", "0");
        let verbose = ("", "auto_explain.log_verbose", "on");
        let plans = ("", "auto_explain.log_min_duration", "10s");
        assert_eq!(
            logging(&[limit, plans, verbose]),
            ["auto_explain.log_verbose = on (configuration file)"]
        );
    }
}
