//! better-auth and Neon Auth: the table `twoFactor`.

use super::{Cells, Item, Problem, SourceFactor, flag, required};
use crate::pure::json;
use crate::pure::secret::Secret;
use chacha20poly1305::aead::{Aead, KeyInit};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// The columns of `twoFactor`, without the user.
pub const COLUMNS: [&str; 3] = ["secret", "backupCodes", "verified"];

/// What precedes the version of a secret in a ciphertext.
const ENVELOPE: &str = "$ba$";
/// What precedes a TOTP secret that was imported from elsewhere, and is in base32.
const BASE32: &str = "base32:";
/// The length of the nonce that precedes a ciphertext, in bytes.
const NONCE_BYTES: usize = 24;

/// The application's secrets.
pub struct Secrets {
    /// Each with its version.
    versions: Vec<(u64, Zeroizing<String>)>,
    /// The one for ciphertexts that name no version.
    plain: Zeroizing<String>,
}

impl Secrets {
    /// Parses `BETTER_AUTH_SECRET`, or `BETTER_AUTH_SECRETS`: `2:new,1:old`. Entries can be on lines
    /// of their own; one without a version is the secret from before there were versions. Returns
    /// `None` if there is nothing.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let entry = |text: &str| {
            let (version, secret) = text.trim().split_once(':')?;
            Some((version.parse().ok()?, Zeroizing::new(secret.trim().to_owned())))
        };
        let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
        let entries = |line: &str| line.split(',').map(entry).collect::<Option<Vec<_>>>();
        let versions = lines().filter_map(entries).flatten().collect();
        let plain = lines().find(|line| entries(line).is_none());
        // A secret can look like an entry, too.
        let plain = Zeroizing::new(plain.or(lines().next())?.to_owned());
        Some(Self { versions, plain })
    }

    /// Decrypts a value: hex of a nonce and an XChaCha20-Poly1305 ciphertext, whose key is the
    /// SHA-256 of the secret.
    fn decrypt(&self, value: &str) -> Result<Zeroizing<String>, Problem> {
        let (secret, hex) = match value.strip_prefix(ENVELOPE).and_then(|it| it.split_once('$')) {
            Some((version, hex)) => {
                let secret = self.versions.iter().find(|(own, _)| version.parse() == Ok(*own));
                (&secret.ok_or(Problem::Undecryptable)?.1, hex)
            }
            None => (&self.plain, value),
        };
        let bytes = super::hex(hex).ok_or(Problem::Undecryptable)?;
        let (nonce, ciphertext) =
            bytes.split_at_checked(NONCE_BYTES).ok_or(Problem::Undecryptable)?;
        let key = Zeroizing::new(<[u8; 32]>::from(Sha256::digest(secret.as_bytes())));
        let nonce: [u8; NONCE_BYTES] = nonce.try_into().map_err(|_| Problem::Undecryptable)?;
        let value = XChaCha20Poly1305::new((&*key).into())
            .decrypt(&XNonce::from(nonce), ciphertext)
            .map_err(|_| Problem::Undecryptable)?;
        String::from_utf8(value).map(Zeroizing::new).map_err(|_| Problem::Undecryptable)
    }

    /// Reads the TOTP secret of a row of `twoFactor`. The key is the text itself, unless it says that
    /// it is base32. Codes have six digits and use SHA-1.
    pub fn parse_factor(&self, cells: &Cells) -> Result<Item, Problem> {
        if !flag(cells, 2, true) {
            return Err(Problem::Unconfirmed);
        }
        let secret = self.decrypt(required(cells, 0, "secret")?)?;
        let secret = match secret.strip_prefix(BASE32) {
            Some(base32) => Secret::from_base32(base32)?,
            None => Secret::from_bytes(secret.as_bytes().to_vec())?,
        };
        Ok(SourceFactor::of(None, secret)?.into())
    }

    /// Reads the backup codes of the same row: JSON, encrypted unless the application has turned
    /// that off. A code is removed when it is used.
    pub fn parse_codes(&self, cells: &Cells) -> Result<Item, Problem> {
        if !flag(cells, 2, true) {
            return Ok(Item::Other);
        }
        let value = required(cells, 1, "backupCodes")?;
        let decrypted = match value.starts_with('[') {
            true => Zeroizing::new(value.to_owned()),
            false => self.decrypt(value)?,
        };
        let codes: Vec<String> =
            json::parse(&decrypted).ok_or(Problem::Malformed("backupCodes"))?;
        Ok(Item::BackupCodes(codes.into_iter().map(Zeroizing::new).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{cells, factor};
    use super::*;

    const SECRET: &str = "a secret of at least 32 characters";

    fn encrypt(secret: &str, value: &str) -> String {
        let key = Sha256::digest(secret.as_bytes());
        let nonce = [7; NONCE_BYTES];
        let cipher = XChaCha20Poly1305::new_from_slice(&key).unwrap();
        let ciphertext = cipher.encrypt(&XNonce::from(nonce), value.as_bytes()).unwrap();
        nonce.iter().chain(&ciphertext).map(|byte| format!("{byte:02x}")).collect()
    }

    fn codes(secrets: &Secrets, value: &str) -> Result<Vec<String>, Problem> {
        match secrets.parse_codes(&cells(&["", value, "true"]))? {
            Item::BackupCodes(codes) => Ok(codes.iter().map(|code| code.to_string()).collect()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_row_is_decrypted() {
        let secrets = Secrets::parse(&format!("{SECRET}\n")).unwrap();
        let raw = encrypt(SECRET, "abcdefghijklmnopqrstuvwxyzABCDEF");
        let read = factor(secrets.parse_factor(&cells(&[&raw, "", "true"])));
        assert_eq!(read.secret.expose(), b"abcdefghijklmnopqrstuvwxyzABCDEF");
        let base32 = encrypt(SECRET, "base32:gezdgnbvgy3tqojqgezdgnbvgy3tqojq");
        let read = factor(secrets.parse_factor(&cells(&[&base32])));
        assert_eq!(read.secret.expose(), b"12345678901234567890");
        let json = r#"["aB3dE-fGh1J","x"]"#;
        assert_eq!(codes(&secrets, &encrypt(SECRET, json)).unwrap(), ["aB3dE-fGh1J", "x"]);
        assert_eq!(codes(&secrets, json).unwrap(), ["aB3dE-fGh1J", "x"]);
        assert_eq!(codes(&secrets, "[1]").unwrap_err(), Problem::Malformed("backupCodes"));
    }

    #[test]
    fn the_version_chooses_the_secret() {
        for text in ["2:new,1:old", "2:new\n1:old\nplain", " 1:old , 2:new \n plain "] {
            let secrets = Secrets::parse(text).unwrap();
            for (version, secret) in [(1, "old"), (2, "new")] {
                let value = format!("$ba${version}${}", encrypt(secret, "[\"x\"]"));
                assert_eq!(codes(&secrets, &value).unwrap(), ["x"], "{text} {version}");
            }
            let value = format!("$ba$3${}", encrypt("new", "[\"x\"]"));
            assert_eq!(codes(&secrets, &value).unwrap_err(), Problem::Undecryptable);
        }
        let secrets = Secrets::parse("2:new\nplain").unwrap();
        assert_eq!(codes(&secrets, &encrypt("plain", "[]")).unwrap(), [] as [&str; 0]);
        for odd in ["12:34", "a,b:c"] {
            let secrets = Secrets::parse(odd).unwrap();
            assert_eq!(codes(&secrets, &encrypt(odd, "[]")).unwrap(), [] as [&str; 0]);
        }
        assert!(Secrets::parse(" \n").is_none());
    }

    #[test]
    fn another_secret_and_broken_rows_are_reported() {
        let secrets = Secrets::parse("another secret").unwrap();
        let problem = |texts: &[&str]| secrets.parse_factor(&cells(texts)).unwrap_err();
        let value = encrypt(SECRET, "abcdefghijklmnopqrstuvwxyzABCDEF");
        assert_eq!(problem(&[&value]), Problem::Undecryptable);
        for broken in ["00", "xyz", "$ba$", "$ba$1", "$ba$1$", "$ba$x$00", "é", &"0".repeat(47)] {
            assert_eq!(problem(&[broken]), Problem::Undecryptable, "{broken}");
        }
        assert_eq!(problem(&["", "", "true"]), Problem::Missing("secret"));
        assert_eq!(problem(&[&value, "", "false"]), Problem::Unconfirmed);
    }
}
