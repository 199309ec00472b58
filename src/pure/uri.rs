//! The `otpauth://` URI that an authenticator app reads from a QR code.

use super::invalid::{Invalid, Meaning, UriFlaw};
use super::mark::Mark;
use super::name::{AccountName, Image, Issuer};
use super::otp::Parameters;
use super::secret::Secret;
use zeroize::Zeroizing;

/// Builds the `otpauth` URI of a TOTP secret. The issuer is in the label and in a parameter, for
/// old and new apps; all parameters are explicit; a space is %20, because apps show a plus literally.
/// Some apps show the logo at the address of `image`.
pub fn build(
    secret: &Secret,
    account_name: &AccountName,
    issuer: &Issuer,
    parameters: &Parameters,
    image: Option<&Image>,
) -> Zeroizing<String> {
    let issuer = percent_encoded(issuer);
    let image = image.map(|image| format!("&image={}", percent_encoded(image)));
    Zeroizing::new(format!(
        "otpauth://totp/{issuer}:{account}?secret={secret}&issuer={issuer}\
         &algorithm={algorithm}&digits={digits}&period={period}{image}",
        account = percent_encoded(account_name),
        secret = secret.to_base32().as_str(),
        algorithm = parameters.algorithm.name(),
        digits = parameters.digits,
        period = parameters.period,
        image = image.unwrap_or_default(),
    ))
}

/// The contents of a URI or of a bare secret.
pub struct Imported {
    /// The secret.
    pub secret: Secret,
    /// Its parameters.
    pub parameters: Parameters,
    /// The issuer, if the URI contains it.
    pub issuer: Option<Issuer>,
    /// The account as the authenticator app shows it, if the URI contains it.
    pub account_name: Option<AccountName>,
}

/// Parses an `otpauth://totp/` URI as common apps write it, or a bare base32 secret.
///
/// What determines the codes is parsed strictly: secret, algorithm, digits and period, each at most
/// once and in any order; only the secret is required. Anything else that seems to affect the codes
/// is an error. What is only displayed is cleaned and truncated, never rejected. Other parameters
/// are ignored, even if repeated. The parameter `issuer` takes precedence over the issuer in the
/// label; a plus in a parameter is a space; `&` may be escaped for HTML.
pub fn parse(text: &str) -> Result<Imported, Invalid> {
    let text = html_unescaped(text);
    let text = text.trim_matches(|c| matches!(Mark::of(c), Some(Mark::Blank | Mark::Invisible)));
    let Some((scheme, rest)) = text.split_once("://") else {
        let parameters = Parameters::new("SHA1", 6, 30)?;
        let secret = Secret::from_base32(text)?;
        return Ok(Imported { secret, parameters, issuer: None, account_name: None });
    };
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (kind, label) = path.split_once('/').unwrap_or((path, ""));
    match (scheme.to_ascii_lowercase().as_str(), kind.to_ascii_lowercase().as_str()) {
        ("otpauth" | "apple-otpauth", "totp") => {}
        ("otpauth", "hotp") => return Err(Invalid::Uri(UriFlaw::Hotp)),
        ("otpauth", "steam") | ("steam", _) => return Err(Invalid::Uri(UriFlaw::Steam)),
        _ => return Err(Invalid::Uri(UriFlaw::Type)),
    }
    let another = |bytes: &[u8]| bytes.eq_ignore_ascii_case(b"otpauth://");
    if rest.contains(['\r', '\n']) || rest.as_bytes().windows(10).any(another) {
        return Err(Invalid::Uri(UriFlaw::Several));
    }
    if hides_a_parameter(label) {
        return Err(Invalid::Uri(UriFlaw::Hidden));
    }
    let query = Query::parse(query)?;
    let secret = Secret::from_base32(query.get("secret").ok_or(Invalid::Uri(UriFlaw::NoSecret))?)?;
    let algorithm = algorithm(query.get("algorithm").unwrap_or("SHA1"))?;
    let parameters =
        Parameters::new(algorithm, query.number("digits", 6)?, query.number("period", 30)?)
            .map_err(|invalid| match invalid {
                Invalid::Digits(_) => Invalid::Uri(UriFlaw::Digits),
                Invalid::Period(_) => Invalid::Uri(UriFlaw::Period),
                other => other,
            })?;

    let issuer = query.get("issuer").unwrap_or("");
    let (prefix, account_name) = parts_of_label(label, issuer);
    let issuer = Some(shown_issuer(issuer)).filter(|issuer| !issuer.is_empty());
    Ok(Imported {
        secret,
        parameters,
        // An empty text is the only error left.
        issuer: Issuer::new(issuer.unwrap_or_else(|| shown_issuer(&prefix))).ok(),
        account_name: AccountName::new(shown(&account_name, AccountName::LIMIT)).ok(),
    })
}

/// The parameters that determine the codes. Each may occur once.
const STRICT: [&str; 4] = ["secret", "algorithm", "digits", "period"];

/// The relevant parameters of a URI. Values are wiped when dropped, since one is the secret.
struct Query(Vec<(String, Zeroizing<String>)>);

impl Query {
    fn parse(text: &str) -> Result<Self, Invalid> {
        let mut query = Self(Vec::new());
        let mut is_after_hash = false;
        for pair in text.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = plain_name(name);
            let (value, is_faithful) = decoded(value, Plus::IsSpace);
            let flaw = if STRICT.contains(&name.as_str()) {
                match query.get(&name) {
                    // Some apps stop reading where a fragment begins.
                    _ if is_after_hash => Some(UriFlaw::Hidden),
                    Some(_) => Some(UriFlaw::Duplicate),
                    None => (!is_faithful).then_some(UriFlaw::Escape),
                }
            } else {
                let hidden = hides_a_parameter(pair).then_some(UriFlaw::Hidden);
                hidden.or_else(|| flaw_of_unknown(&name, &value))
            };
            if let Some(flaw) = flaw {
                return Err(Invalid::Uri(flaw));
            }
            is_after_hash |= pair.contains('#');
            let is_issuer = name == "issuer" && !shown_issuer(&value).is_empty();
            if STRICT.contains(&name.as_str()) || (is_issuer && query.get(&name).is_none()) {
                query.0.push((name, value));
            }
        }
        Ok(query)
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn number(&self, name: &str, default: i32) -> Result<i32, Invalid> {
        match self.get(name).map(str::trim) {
            None => Ok(default),
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().map_err(|_| Invalid::Uri(UriFlaw::Number))
            }
            Some(_) => Err(Invalid::Uri(UriFlaw::Number)),
        }
    }
}

/// Parses the name of an algorithm, such as SHA1, SHA-1, HmacSHA1 or HMAC-SHA-1, in any case.
fn algorithm(text: &str) -> Result<&'static str, Invalid> {
    let separators = ['-', '_', ' '];
    let text = text.trim().to_ascii_uppercase();
    let hash = text.strip_prefix("HMAC").unwrap_or(&text).trim_start_matches(separators);
    match hash.strip_prefix("SHA").map(|size| size.trim_start_matches(separators)) {
        Some("1") => Ok("SHA1"),
        Some("256") => Ok("SHA256"),
        Some("512") => Ok("SHA512"),
        _ => Err(Invalid::Uri(UriFlaw::Algorithm)),
    }
}

/// Returns a flaw if an unknown parameter seems to affect the codes: its name is one that another
/// app uses for this, or a misspelling of one in `STRICT`.
fn flaw_of_unknown(name: &str, value: &str) -> Option<UriFlaw> {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    let plain = plain.strip_prefix("amp").unwrap_or(&plain);
    let value = Zeroizing::new(value.trim().to_ascii_lowercase());
    let value = value.as_str();
    let near = |strict: &str| is_near(plain, strict);
    let meaning = match plain {
        "steam" if !["0", "false"].contains(&value) => return Some(UriFlaw::Steam),
        "key" | "seed" | "base32" | "sharedkey" | "privatekey" => Meaning::Secret,
        "alg" | "digest" | "hmac" | "mac" | "sha" | "otphashmode" => Meaning::Algorithm,
        "length" | "len" | "size" | "codelength" | "otplength" => Meaning::Digits,
        "interval" | "step" | "steps" | "timestep" | "timeperiod" | "duration" | "seconds"
        | "refresh" => Meaning::Period,
        "encoder" | "type" | "otptype" | "tokentype" | "kind" | "encoding" | "format"
        | "otpkeyformat" | "truncation" | "checksum" | "t0" | "epoch" | "starttime" | "offset"
        | "timeoffset" | "salt" | "iterations"
            // These values are the defaults.
            if !["", "0", "false", "totp", "base32", "unix"].contains(&value) =>
        {
            Meaning::Codes
        }
        _ if plain.starts_with("2step") => Meaning::Codes,
        _ if near("secret") || plain.starts_with("secret") => Meaning::Secret,
        _ if near("algorithm") || plain.starts_with("algo") || plain.starts_with("hash") => {
            Meaning::Algorithm
        }
        _ if near("digits") || plain.starts_with("digit") => Meaning::Digits,
        _ if near("period") || plain.starts_with("period") => Meaning::Period,
        _ => return None,
    };
    if meaning == Meaning::Codes && value == "steam" {
        return Some(UriFlaw::Steam);
    }
    Some(UriFlaw::Misnamed(meaning))
}

/// Whether two texts differ by at most one letter added, removed or replaced, or two swapped.
fn is_near(text: &str, other: &str) -> bool {
    let same = |pair: &(u8, u8)| pair.0 == pair.1;
    let start = text.bytes().zip(other.bytes()).take_while(same).count();
    let (Some(a), Some(b)) = (text.as_bytes().get(start..), other.as_bytes().get(start..)) else {
        return false;
    };
    match (a, b) {
        ([], rest) | (rest, []) => rest.len() <= 1,
        ([x, a @ ..], [y, b @ ..]) => {
            let swapped = matches!((a, b), ([v, a @ ..], [w, b @ ..]) if (x, v, a) == (w, y, b));
            let without_x = a.len() == b.len() + 1 && a.split_first() == Some((y, b));
            let without_y = b.len() == a.len() + 1 && b.split_first() == Some((x, a));
            swapped || a == b || without_x || without_y
        }
    }
}

/// Whether a parameter of `STRICT` is inside another parameter or the label, because a separator is
/// over-escaped, the wrong character or doubled.
fn hides_a_parameter(text: &str) -> bool {
    let separators = ['?', '&', ';', '#', ',', ' ', '+'];
    let mut text = Zeroizing::new(text.to_owned());
    for _ in 0..4 {
        let mut pieces = text.split(separators).skip(1).filter_map(|piece| piece.split_once('='));
        if pieces.any(|(name, _)| STRICT.contains(&plain_name(name).as_str())) {
            return true;
        }
        text = decoded(&text, Plus::IsPlus).0;
    }
    false
}

/// Splits a label into issuer and account name. It may contain several colons.
fn parts_of_label(label: &str, issuer: &str) -> (String, String) {
    let plain = |text: &str| decoded(text, Plus::IsPlus).0.to_string();
    let whole = plain(label);
    let account_name = whole.strip_prefix(issuer).map(|rest| rest.trim_start().strip_prefix(':'));
    if let Some(Some(account_name)) = account_name {
        return (issuer.to_owned(), account_name.to_owned());
    }
    // An unescaped colon is the separator; escaped ones may be part of the names.
    if let Some((prefix, account_name)) = label.split_once(':') {
        return (plain(prefix), plain(account_name));
    }
    match whole.split_once(':') {
        Some((prefix, account_name)) => (prefix.to_owned(), account_name.to_owned()),
        None => (String::new(), whole),
    }
}

/// Prepares a name for display: removes control characters and bidi marks, and truncates it.
fn shown(text: &str, limit: usize) -> String {
    let is_shown = |c: &char| {
        let is_bidi_mark = matches!(
            c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        );
        !c.is_control() && !is_bidi_mark
    };
    let blank = |c: char| if c.is_control() && c.is_whitespace() { ' ' } else { c };
    let text: String = text.chars().map(blank).filter(is_shown).collect();
    text.trim().chars().take(limit).collect::<String>().trim_end().to_owned()
}

/// Prepares an issuer for display: also removes the scheme of a URL and all colons, which a label
/// cannot contain.
fn shown_issuer(text: &str) -> String {
    let text = text.trim();
    let text = text.strip_prefix("https://").or(text.strip_prefix("http://")).unwrap_or(text);
    shown(&text.replace(": ", " ").replace(':', " "), Issuer::LIMIT)
}

/// Normalizes the name of a parameter: unescaped, lower-case and trimmed.
fn plain_name(text: &str) -> String {
    let text = decoded(text, Plus::IsSpace).0;
    text.trim_matches(|c| Mark::of(c).is_some()).to_ascii_lowercase()
}

/// How to read a plus.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plus {
    IsPlus,
    IsSpace,
}

/// Decodes percent-encoding: `%41` becomes `A`. Invalid escapes are kept, and invalid UTF-8 becomes
/// U+FFFD; the flag returned is false if there were any.
fn decoded(text: &str, plus: Plus) -> (Zeroizing<String>, bool) {
    let mut is_faithful = true;
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        rest = tail;
        let digit = |byte: u8| char::from(byte).to_digit(16);
        bytes.push(match (byte, tail) {
            (b'+', _) if plus == Plus::IsSpace => b' ',
            (b'%', [high, low, tail @ ..])
                if let (Some(high), Some(low)) = (digit(*high), digit(*low)) =>
            {
                rest = tail;
                u8::try_from(high * 16 + low).unwrap_or(b'%')
            }
            (b'%', _) => {
                is_faithful = false;
                b'%'
            }
            (byte, _) => *byte,
        });
    }
    let text = String::from_utf8_lossy(&bytes);
    is_faithful &= std::str::from_utf8(&bytes).is_ok();
    (Zeroizing::new(text.into_owned()), is_faithful)
}

/// Decodes `&amp;`, even if escaped twice, and numeric character references of HTML.
fn html_unescaped(text: &str) -> Zeroizing<String> {
    let mut plain = Zeroizing::new(String::with_capacity(text.len()));
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        plain.push_str(before);
        rest = after;
        let c = loop {
            let amp = rest.split_at_checked(4).filter(|(amp, _)| amp.eq_ignore_ascii_case("amp;"));
            match amp.map(|(_, tail)| ('&', tail)).or_else(|| numeric_reference(rest)) {
                Some(('&', tail)) => rest = tail,
                Some((c, tail)) => {
                    rest = tail;
                    break c;
                }
                None => break '&',
            }
        };
        plain.push(c);
    }
    plain.push_str(rest);
    plain
}

/// Decodes a leading numeric reference, such as `#38;` or `#x26;`; also returns the rest.
fn numeric_reference(text: &str) -> Option<(char, &str)> {
    let (number, rest) = text.strip_prefix('#')?.split_once(';')?;
    let number = match number.strip_prefix(['x', 'X']) {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => number.parse(),
    };
    Some((char::from_u32(number.ok()?)?, rest))
}

/// Percent-encodes everything except the unreserved characters (RFC 3986, 2.3).
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_special_character_is_escaped() {
        let secret = Secret::from_bytes(b"12345678901234567890".to_vec()).unwrap();
        let uri = build(
            &secret,
            &AccountName::new("jörg+x@example.com".into()).unwrap(),
            &Issuer::new("A & B 100%".into()).unwrap(),
            &Parameters::new("SHA256", 8, 60).unwrap(),
            Some(&Image::new("https://example.com/logo.png?size=64&dark".into()).unwrap()),
        );
        assert_eq!(
            uri.as_str(),
            "otpauth://totp/A%20%26%20B%20100%25:j%C3%B6rg%2Bx%40example.com\
             ?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=A%20%26%20B%20100%25\
             &algorithm=SHA256&digits=8&period=60\
             &image=https%3A%2F%2Fexample.com%2Flogo.png%3Fsize%3D64%26dark"
        );
    }

    fn read(text: &str) -> (String, String, String, Parameters) {
        let imported = parse(text).unwrap_or_else(|flaw| panic!("{text}: {flaw:?}"));
        let text = |name: Option<&str>| name.unwrap_or("-").to_owned();
        (
            imported.secret.to_base32().to_string(),
            text(imported.issuer.as_deref()),
            text(imported.account_name.as_deref()),
            imported.parameters,
        )
    }

    fn flaw(text: &str) -> Invalid {
        parse(text).err().unwrap_or_else(|| panic!("{text} was read"))
    }

    #[test]
    fn every_uri_in_the_vectors_gives_its_result() {
        let vectors = include_str!("../../tests/vectors/uris.csv");
        let rows = vectors.lines().filter(|line| !line.starts_with('#')).skip(1);
        let mut count = 0;
        for row in rows {
            let columns: Vec<&str> = row.split(',').collect();
            let [writer, uri, issuer, account_name, algorithm, digits, period, secret, refusal] =
                columns[..]
            else {
                panic!("{row}");
            };
            count += 1;
            if !refusal.is_empty() {
                let flaw = match flaw(uri) {
                    Invalid::Uri(flaw) => format!("{flaw:?}"),
                    other => format!("{other:?}"),
                };
                assert_eq!(flaw, refusal, "{writer}");
                continue;
            }
            let present = |name: &str| if name.is_empty() { "-" } else { name }.to_owned();
            let parameters =
                Parameters::new(algorithm, digits.parse().unwrap(), period.parse().unwrap())
                    .unwrap();
            let expected = (secret.to_owned(), present(issuer), present(account_name), parameters);
            assert_eq!(read(uri), expected, "{writer}");
            // An export gives the same names.
            let imported = parse(uri).unwrap();
            if let (Some(issuer), Some(account_name)) = (&imported.issuer, &imported.account_name) {
                let exported = build(&imported.secret, account_name, issuer, &parameters, None);
                assert_eq!(read(&exported), expected, "{writer}");
            }
        }
        assert!(count >= 60, "{count}");
    }

    #[test]
    fn a_built_uri_round_trips() {
        for (issuer, account_name) in
            [("A & B 100%", "jörg+x@example.com"), ("Ü🔑", "a:b?c#d/e"), ("x", " y ")]
        {
            let secret = Secret::from_bytes(b"12345678901234567890".to_vec()).unwrap();
            let parameters = Parameters::new("SHA512", 7, 45).unwrap();
            let uri = build(
                &secret,
                &AccountName::new(account_name.into()).unwrap(),
                &Issuer::new(issuer.into()).unwrap(),
                &parameters,
                Some(&Image::new("https://example.com/logo.png".into()).unwrap()),
            );
            let (found, found_issuer, found_name, found_parameters) = read(&uri);
            assert_eq!(found, secret.to_base32().as_str());
            assert_eq!((found_issuer.as_str(), found_name.trim()), (issuer, account_name.trim()));
            assert_eq!(found_parameters, parameters);
        }
    }

    #[test]
    fn names_that_differ_by_one_letter_are_near() {
        for text in ["digits", "digit", "digitss", "idgits", "digtis", "dig1ts", "xdigits", "igits"]
        {
            assert!(is_near(text, "digits"), "{text}");
        }
        for text in ["", "dig", "digest", "digitsxx", "gidits", "issuer", "digst1"] {
            assert!(!is_near(text, "digits"), "{text}");
        }
    }

    #[test]
    fn misspelled_strict_parameters_are_rejected() {
        for strict in STRICT {
            for position in 0..strict.len() {
                let mut less = strict.to_owned();
                less.remove(position);
                let mut more = strict.to_owned();
                more.insert(position, 'x');
                let mut other = strict.to_owned();
                other.replace_range(position..=position, "x");
                for name in [less, more, other] {
                    let uri = format!("otpauth://totp/a?secret=GEZDGNBVGY3TQOJQ&{name}=8");
                    assert!(matches!(flaw(&uri), Invalid::Uri(UriFlaw::Misnamed(_))), "{uri}");
                }
            }
        }
    }

    #[test]
    fn odd_texts_are_rejected() {
        for text in [
            "",
            "%",
            "&",
            "&#",
            "&#;",
            "&#x;",
            "&#xD800;",
            "&#99999999999;",
            "&amp",
            "://",
            "otpauth://",
            "otpauth://totp",
            "otpauth://totp/?",
            "otpauth://totp/?&",
            "otpauth://totp/?=",
            "otpauth://totp/?%",
            "otpauth://totp/%e2%80",
            "&amp;ü",
            "&amü;",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        let nested =
            format!("otpauth://totp/a?secret=GEZDGNBVGY3TQOJQ&{}digits=8", "amp;".repeat(900));
        assert_eq!(parse(&nested).unwrap().parameters.digits, 8);
    }
}
