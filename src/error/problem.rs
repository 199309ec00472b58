//! Why an import leaves something out, as text for its result. No text contains a part of a row.

use super::argument;
use crate::pure::import::Problem;
use crate::pure::invalid::Invalid;

/// Returns the text for the column `problem`; `None` if there are none.
pub fn text(problems: &[Problem]) -> Option<String> {
    let texts: Vec<String> = problems.iter().map(one).collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

fn one(problem: &Problem) -> String {
    let text = match problem {
        Problem::Invalid(invalid @ Invalid::Uri(_)) => {
            return format!(
                "{}: {}",
                argument::message(invalid),
                as_clause(&argument::detail(invalid))
            );
        }
        Problem::Invalid(invalid) => return argument::message(invalid),
        Problem::Missing(name) => return format!("{name} is missing"),
        Problem::Malformed(name) => return format!("{name} is not valid"),
        Problem::OutOfRange(name) => return format!("{name} is out of range"),
        Problem::Epoch => "t0 is not 0: steps must be counted from 1970",
        Problem::Hotp => "the codes are counter-based (HOTP)",
        Problem::OtherType => "the codes are not time-based (TOTP)",
        Problem::Unconfirmed => "the app was never confirmed by a code",
        Problem::Encrypted => "the secret is encrypted by the other system; decrypt it there first",
        Problem::Undecryptable => "the value could not be decrypted with this key",
        Problem::HashedBackupCodes => {
            "only hashes of the backup codes are stored; issue new ones with backup_reissue"
        }
        Problem::NoFactor => "there are backup codes, but no app",
        Problem::TooManyBackupCodes => "there are more than 50 backup codes",
        Problem::OtherFactor => "the account already has another active factor",
        Problem::Removed => {
            "the account had a second factor here, which was removed; call totp_forget to import it again"
        }
        Problem::TooManyFactors => "the account would have more than 20 factors",
        Problem::Busy => "the account is in use by another transaction; import it again",
        Problem::Unreadable => "a stored secret of the account could not be decrypted",
        Problem::Unassigned => "the token belongs to nobody; import it with import_oath_csv",
        Problem::RepeatedSerial => "the serial number occurs more than once, with different tokens",
        Problem::ImportedMeanwhile => {
            "another transaction has just imported a token with this serial number; import it again"
        }
        Problem::OtherToken => {
            "another token with this serial number is stored, or its secret could not be decrypted"
        }
    };
    text.to_owned()
}

/// Turns a sentence into a clause.
fn as_clause(sentence: &str) -> String {
    let mut chars = sentence.strip_suffix('.').unwrap_or(sentence).chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}
