//! Values for monitoring that are not in tables.

use super::context;
use crate::guard;
use crate::pure::metric::{Method, Result, place};

/// A value: its name, its first label with its value, its second one, and the number.
pub type Metric = (&'static str, Option<String>, Option<&'static str>, f64);

/// Returns the counters of verifications and the usage of shared memory, if there is any, and the keys
/// of the keyring, if it can be read.
pub fn values() -> Vec<Metric> {
    let mut values = vec![("preloaded", None, None, f64::from(guard::is_on()))];
    if let Some(counters) = guard::counters() {
        for method in Method::ALL {
            for result in Result::ALL {
                let count = counters.get(place(method, result)).copied().unwrap_or_default();
                let method = Some(method.as_str().to_owned());
                values.push(("verifications", method, Some(result.as_str()), count as f64));
            }
        }
    }
    let usage = guard::usage().unwrap_or_default();
    for (name, value) in [
        ("slots", usage.slots),
        ("used", usage.used),
        ("evictions", usage.evictions),
        ("rolled_back", usage.rolled_back),
    ] {
        values.push((name, None, None, value as f64));
    }
    let keyring = context::keyring();
    values.push(("keyring", None, None, f64::from(keyring.is_ok())));
    if let Ok(keyring) = keyring {
        for id in keyring.ids() {
            let is_primary = if id == keyring.primary_id() { 1.0 } else { 0.0 };
            values.push(("key", Some(id.to_owned()), None, is_primary));
        }
    }
    values
}
