//! Random input for every parser: whatever a row or document contains, a parser returns a result.
//! Each test takes a second, or as long as TOTP_FUZZ_SECONDS says; TEST_SEED repeats a run.

use super::tests::cells;
use super::*;
use std::time::{Duration, Instant};

/// A random generator (xorshift64*). Tests need no better one.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        let seed = match std::env::var("TEST_SEED") {
            Ok(seed) => seed.parse().unwrap(),
            Err(_) => std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64 | 1,
        };
        println!("TEST_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % limit.max(1)
    }

    fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }
}

const TOKENS: [&str; 28] = [
    "{",
    "}",
    "[",
    "]",
    "\"",
    ":",
    ",",
    "null",
    "true",
    "-1",
    "1e400",
    "99999999999999999999",
    "\\u0000",
    "\\ud800",
    "$serde_json::private::Number",
    "$ba$",
    "base32:",
    "otpauth://totp/",
    "%",
    "&secret=",
    "é",
    "\u{0}",
    "====",
    "HmacSHA1",
    "<",
    "</Key>",
    "<!DOCTYPE a [<!ENTITY b 'c'>]>",
    "&b;",
];

/// Changes a text in a few places.
fn mutated(text: &str, dice: &mut Dice) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..=dice.below(6) {
        let place = dice.below(chars.len() + 1);
        match dice.below(6) {
            0 if place < chars.len() => chars[place] = dice.below(0x180) as u8 as char,
            1 if place < chars.len() => _ = chars.remove(place),
            2 => chars.insert(place, char::from_u32(dice.below(0x3000) as u32).unwrap_or('x')),
            3 => {
                let token = TOKENS[dice.below(TOKENS.len())];
                chars.splice(place..place, token.chars());
            }
            4 => chars.truncate(place),
            _ => {
                let end = place + dice.below(chars.len() - place + 1);
                let copy: Vec<char> = chars[place..end].to_vec();
                let to = dice.below(chars.len() + 1);
                if chars.len() < 100_000 {
                    chars.splice(to..to, copy);
                }
            }
        }
    }
    chars.into_iter().collect()
}

/// Calls `parse` with changed texts for as long as the tests may take.
fn hammer<const N: usize>(seeds: &[[&str; N]], mut parse: impl FnMut([String; N])) {
    let seconds = std::env::var("TOTP_FUZZ_SECONDS").map_or(1, |seconds| seconds.parse().unwrap());
    let (mut dice, end) = (Dice::new(), Instant::now() + Duration::from_secs(seconds));
    let mut calls = 0_u64;
    while Instant::now() < end {
        for _ in 0..100 {
            let seed = seeds[dice.below(seeds.len())];
            parse(
                seed.map(
                    |text| if dice.chance(2) { mutated(text, &mut dice) } else { text.into() },
                ),
            );
            calls += 1;
        }
    }
    println!("{calls} calls");
}

fn hammer_rows<const N: usize>(
    seeds: &[[&str; N]],
    parse: impl Fn(&Cells) -> Result<Item, Problem>,
) {
    hammer(seeds, |texts| {
        let _ = parse(&cells(&texts.each_ref().map(String::as_str)));
    });
}

const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

#[test]
fn random_input_for_rows() {
    let uri = "otpauth://totp/A:b?secret=GEZDGNBVGY3TQOJQ&issuer=A&digits=8&period=60";
    hammer_rows(&[[SECRET, "phone", "57"], [uri, "", ""]], rows::parse);
}

#[test]
fn random_input_for_django_otp() {
    let key = "3132333435363738393031323334353637383930";
    let row = [key, "phone", "true", "30", "0", "6", "-2", "28000000"];
    hammer_rows(&[row], django_otp::parse);
}

#[test]
fn random_input_for_allauth() {
    let codes = r#"{"seed": "00112233445566778899aabbccddeeff00112233", "used_mask": 5}"#;
    let migrated = r#"{"migrated_codes": ["abc-123"], "seed": "ff", "used_mask": 0}"#;
    let secret = r#"{"secret": "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"}"#;
    let seeds = [["recovery_codes", codes], ["recovery_codes", migrated], ["totp", secret]];
    hammer_rows(&seeds, allauth::parse);
}

#[test]
fn random_input_for_django_totp() {
    const KEY: &str = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";
    let key = django_totp::Key::parse(KEY).unwrap();
    let token = fernet::Fernet::new(KEY).unwrap().encrypt(SECRET.as_bytes());
    hammer_rows(&[[token.as_str(), "true"]], |cells| {
        let _ = key.parse_code(cells);
        key.parse_factor(cells)
    });
    hammer(&[[KEY]], |[text]| _ = django_totp::Key::parse(&text));
}

const DATA: &str = r#"{"subType":"totp","digits":6,"counter":0,"period":30,"algorithm":"HmacSHA1","secretEncoding":null}"#;

#[test]
fn random_input_for_keycloak() {
    let row = ["otp", r#"{"value":"ABCDEFGHIJKLMNOPQRST"}"#, DATA, "phone"];
    hammer_rows(&[row], keycloak::parse);
}

#[test]
fn random_input_for_an_export_of_keycloak() {
    let export = include_str!("../../../tests/vectors/import/keycloak-realm.json");
    hammer(&[[export]], |[text]| {
        if let Some(grouping) = keycloak::parse_export(&text) {
            grouping.groups();
        }
    });
}

#[test]
fn random_input_for_supabase() {
    let encrypted = r#"{"key_id":"k","alg":"aes-gcm-hkdf","data":"AA=="}"#;
    let seeds = [[SECRET, "x", "totp", "verified"], [encrypted, "x", "totp", "verified"]];
    hammer_rows(&seeds, supabase::parse);
}

#[test]
fn random_input_for_better_auth() {
    let secrets = better_auth::Secrets::parse("2:new,1:old\nplain").unwrap();
    let hex = "07".repeat(60);
    let versioned = format!("$ba$2${hex}");
    let seeds = [[hex.as_str(), r#"["a","b"]"#, "true"], [&versioned, &versioned, "true"]];
    hammer_rows(&seeds, |cells| {
        let _ = secrets.parse_codes(cells);
        secrets.parse_factor(cells)
    });
    hammer(&[["2:new,1:old\nplain"]], |[text]| _ = better_auth::Secrets::parse(&text));
}

#[test]
fn random_input_for_auth0() {
    let user = r#"{"email": "a@x", "user_id": "1", "mfa_factors": [{"totp": {"secret": "JBSWY3DPEHPK3PXP"}}]}"#;
    hammer(&[[user]], |[text]| _ = auth0::parse(&text));
}

#[test]
fn random_input_for_fusionauth() {
    let users = include_str!("../../../tests/vectors/import/fusionauth-users.json");
    hammer(&[[users]], |[text]| _ = fusionauth::parse(&text));
}

#[test]
fn random_input_for_oath_csv() {
    let file = include_str!("../../../tests/vectors/import/oath.csv");
    let users = "# version: 2\na,b,c,B1,5477656e7479206279746573206f662042312e2e,totp,6,30\n";
    hammer(&[[file], [users]], |[text]| {
        if let Some(tokens) = oath_csv::parse(&text) {
            tokens.into_rows().for_each(drop);
        }
    });
}

#[test]
fn random_input_for_pskc() {
    let key = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";
    let plain = include_str!("../../../tests/vectors/import/pskc-plain.xml");
    let encrypted = include_str!("../../../tests/vectors/import/pskc-key.xml");
    let derived = include_str!("../../../tests/vectors/import/pskc-password.xml");
    let derived = derived.replace(">5000<", ">5<");
    hammer(&[[plain, key], [encrypted, key], [&derived, "correct horse"]], |[text, key]| {
        // A changed number of rounds may take seconds.
        if !text.contains("IterationCount") || text.contains(">5<") {
            _ = pskc::parse(&text, Some(&key));
        }
    });
}

#[test]
fn random_input_for_privacyidea() {
    let csv = "alice@office, T1, 5477656e7479206279746573206f662042312e2e, totp, 6, 30\n";
    let json = r#"[{"serial": "T1", "type": "totp", "otpkey": "5477656e7479206279746573206f662042312e2e", "otplen": 6, "count": 5, "info_list": {"hashlib": "sha1", "timeStep": "30", "timeShift": -3.5}, "user": {"login": "alice", "realm": "office"}}]"#;
    hammer(&[[csv], [json]], |[text]| _ = privacyidea::parse(&text));
}

#[test]
fn random_input_for_libpam() {
    let file = "GEZDGNBVGY3TQOJQ\n\" STEP_SIZE 30\n\" DISALLOW_REUSE 1 2\n\" TOTP_AUTH\n12345678\n";
    hammer(&[[file]], |[text]| _ = libpam::parse("alice", &text));
}

#[test]
fn random_input_for_migration() {
    let secret = Secret::from_bytes(vec![7; 20]).unwrap();
    let parameters = Parameters::new("SHA1", 6, 30).unwrap();
    let factor = || migration::Transferred {
        secret: &secret,
        parameters,
        account_name: "alice",
        issuer: "Acme",
    };
    let factors: Vec<_> = std::iter::repeat_with(factor).take(12).collect();
    let uris = migration::build(&factors, 1);
    let uris: Vec<&str> = uris.iter().map(|uri| uri.as_str()).collect();
    let [first, second] = uris.try_into().unwrap();
    hammer(&[[first, second]], |texts| {
        _ = migration::parse("alice", texts.iter().map(String::as_str));
    });
    // Changed bytes in correct base64.
    let mut dice = Dice::new();
    for _ in 0..10_000 {
        let bytes: Vec<u8> = (0..dice.below(60)).map(|_| dice.below(256) as u8).collect();
        let base64 = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes);
        let uri = format!("otpauth-migration://offline?data={base64}");
        _ = migration::parse("alice", std::iter::once(uri.as_str()));
    }
}

#[test]
fn random_input_for_apps() {
    let entry = r#"{"secret": "GEZDGNBVGY3TQOJQ", "issuer": "A", "label": "b", "digits": 6, "type": "TOTP", "algorithm": "SHA1", "period": 30}"#;
    let andotp = format!("[{entry}]");
    let aegis =
        format!(r#"{{"db": {{"entries": [{{"type": "totp", "name": "a", "info": {entry}}}]}}}}"#);
    let twofas = format!(r#"{{"services": [{{"secret": "GEZDGNBVGY3TQOJQ", "otp": {entry}}}]}}"#);
    let seeds = [[andotp.as_str()], [aegis.as_str()], [twofas.as_str()]];
    hammer(&seeds, |[text]| _ = app::parse("alice", &text));
}
