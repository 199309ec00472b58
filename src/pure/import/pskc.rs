//! PSKC, the Portable Symmetric Key Container (RFC 6030): hardware tokens as XML.
//!
//! Elements and attributes are found by their local names in any case: privacyIDEA writes them in
//! lower case, and older vendors' files have other namespaces.

use super::hardware_token::{SourceToken, Tokens};
use super::{Problem, hex};
use crate::pure::invalid::Invalid;
use crate::pure::otp::Parameters;
use crate::pure::secret::Secret;
use aes::cipher::block_padding::NoPadding;
use aes::cipher::{BlockDecryptMut, KeyIvInit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use roxmltree::{Document, Node, ParsingOptions};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use zeroize::Zeroizing;

const BLOCK_BYTES: usize = 16;
/// The maximum number of PBKDF2 rounds: some seconds.
const MAX_ROUNDS: u32 = 10_000_000;
/// The maximum number of elements, attributes and texts: those of more than a million tokens, in at
/// most a gigabyte of memory.
const MAX_NODES: u32 = 16_000_000;
const ALGORITHM: &str = "urn:ietf:params:xml:ns:keyprov:pskc:";

/// Reads the tokens of a container. `key` is the contents of the file with its key, in hex or base64,
/// or with its password. A document type declaration is refused, and with it all entities.
pub fn parse(text: &str, key: Option<&str>) -> Result<Tokens, Invalid> {
    const NOT_PSKC: Invalid = Invalid::Document("a PSKC key container");
    let options = ParsingOptions { allow_dtd: false, nodes_limit: MAX_NODES, ..Default::default() };
    let document = Document::parse_with_options(text, options).map_err(|_| NOT_PSKC)?;
    let container = document.root_element();
    if !is(container, "KeyContainer") {
        return Err(NOT_PSKC);
    }
    let mut decryption = None;
    let mut tokens = Tokens::default();
    for package in children(container, "KeyPackage") {
        for pskc_key in children(package, "Key") {
            let serial = child(package, &["DeviceInfo", "SerialNo"]).and_then(content);
            let serial = serial.or_else(|| attribute(pskc_key, "Id")).unwrap_or_default();
            let encrypted = child(pskc_key, &["Data", "Secret", "EncryptedValue"]);
            let secret = match encrypted {
                None => plain_secret(pskc_key),
                Some(value) => {
                    if decryption.is_none() {
                        decryption = Some(Decryption::new(container, key)?);
                    }
                    let mac = child(pskc_key, &["Data", "Secret", "ValueMAC"]);
                    let mac = mac.and_then(content).and_then(base64);
                    decryption.as_ref().ok_or(Invalid::Cipher)?.secret(value, mac.as_deref())?
                }
            };
            tokens.add(serial, token(pskc_key, secret));
        }
    }
    if tokens.is_empty() { Err(NOT_PSKC) } else { Ok(tokens) }
}

fn token(key: Node, secret: Result<Zeroizing<Vec<u8>>, Problem>) -> Result<SourceToken, Problem> {
    let algorithm = attribute(key, "Algorithm").unwrap_or_default().to_ascii_lowercase();
    match algorithm.strip_prefix(ALGORITHM) {
        Some("totp") => {}
        Some("hotp") => return Err(Problem::Hotp),
        _ => return Err(Problem::OtherType),
    }
    let format = child(key, &["AlgorithmParameters", "ResponseFormat"]);
    let of_format = |name| format.and_then(|format| attribute(format, name));
    if of_format("Encoding").is_some_and(|encoding| !encoding.eq_ignore_ascii_case("DECIMAL")) {
        return Err(Problem::Malformed("Encoding"));
    }
    if of_format("CheckDigits").is_some_and(|value| !matches!(value, "false" | "0")) {
        return Err(Problem::Malformed("CheckDigits"));
    }
    let number = |text: Option<&str>, name, default| match text {
        Some(text) => text.parse().map_err(|_| Problem::Malformed(name)),
        None => Ok(default),
    };
    let digits = number(of_format("Length"), "Length", 6)?;
    let interval = child(key, &["Data", "TimeInterval"]);
    let period = match interval.map(|interval| child(interval, &["PlainValue"])) {
        Some(Some(value)) => number(content(value), "TimeInterval", 30)?,
        Some(None) => return Err(Problem::Malformed("TimeInterval")),
        None => 30,
    };
    let parameters = Parameters::new(&hash(key), digits, period)?;
    Ok(SourceToken { secret: Secret::from_bytes(secret?.to_vec())?, parameters })
}

/// Returns the hash function that the algorithm's suite names: HMAC-SHA256, HmacSHA256 and the like;
/// SHA-1 if it names none.
fn hash(key: Node) -> String {
    let suite = child(key, &["AlgorithmParameters", "Suite"]);
    let name = suite.and_then(|suite| content(suite).or_else(|| attribute(suite, "hashalgo")));
    let name = name.unwrap_or("SHA1").to_ascii_uppercase().replace(['-', '_'], "");
    name.strip_prefix("HMAC").unwrap_or(&name).to_owned()
}

fn plain_secret(key: Node) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let value = child(key, &["Data", "Secret", "PlainValue"]).and_then(content);
    base64(value.ok_or(Problem::Missing("secret"))?).ok_or(Problem::Malformed("secret"))
}

/// How the values of a container are decrypted.
struct Decryption {
    key: Zeroizing<Vec<u8>>,
    mac_algorithm: MacAlgorithm,
    mac_key: Zeroizing<Vec<u8>>,
}

impl Decryption {
    fn new(container: Node, key: Option<&str>) -> Result<Self, Invalid> {
        let key = key.ok_or(Invalid::EncryptedDocument)?;
        let derivation = child(container, &["EncryptionKey", "DerivedKey", "KeyDerivationMethod"]);
        let key = match derivation {
            Some(method) => derived_key(method, key)?,
            None => key_of_file(key).ok_or(Invalid::ImportKey("a key in hex or base64"))?,
        };
        let method = child(container, &["MACMethod"]).ok_or(Invalid::Cipher)?;
        let mac_algorithm = MacAlgorithm::of(attribute(method, "Algorithm"))?;
        // Without a key of its own, the MAC has that of the encryption (RFC 6030, section 6.1.1).
        let mac_key = match child(method, &["MACKey"]) {
            Some(value) => decrypt(value, &key)?.ok_or(Invalid::WrongKey)?,
            None => key.clone(),
        };
        Ok(Self { key, mac_algorithm, mac_key })
    }

    /// Decrypts a secret. A MAC that does not match is an error: the key is wrong, or someone has
    /// changed the document.
    fn secret(
        &self,
        value: Node,
        mac: Option<&Vec<u8>>,
    ) -> Result<Result<Zeroizing<Vec<u8>>, Problem>, Invalid> {
        let Some(mac) = mac else {
            return Ok(Err(Problem::Missing("ValueMAC")));
        };
        let Some(ciphertext) = ciphertext(value) else {
            return Ok(Err(Problem::Malformed("CipherValue")));
        };
        if !self.mac_algorithm.verifies(&self.mac_key, &ciphertext, mac) {
            return Err(Invalid::WrongKey);
        }
        Ok(decrypt(value, &self.key)?.ok_or(Problem::Undecryptable))
    }
}

/// The HMAC of a container's values, and that of PBKDF2.
#[derive(Clone, Copy)]
enum MacAlgorithm {
    Sha1,
    Sha256,
    Sha512,
}

impl MacAlgorithm {
    /// Reads the URI of an algorithm.
    fn of(uri: Option<&str>) -> Result<Self, Invalid> {
        match uri.and_then(|uri| uri.rsplit('#').next()) {
            Some("hmac-sha1") => Ok(Self::Sha1),
            Some("hmac-sha256") => Ok(Self::Sha256),
            Some("hmac-sha512") => Ok(Self::Sha512),
            _ => Err(Invalid::Cipher),
        }
    }

    fn verifies(self, key: &[u8], message: &[u8], mac: &[u8]) -> bool {
        fn verifies<M: Mac + KeyInit>(key: &[u8], message: &[u8], mac: &[u8]) -> bool {
            <M as KeyInit>::new_from_slice(key)
                .is_ok_and(|hmac| hmac.chain_update(message).verify_slice(mac).is_ok())
        }
        match self {
            Self::Sha1 => verifies::<Hmac<Sha1>>(key, message, mac),
            Self::Sha256 => verifies::<Hmac<Sha256>>(key, message, mac),
            Self::Sha512 => verifies::<Hmac<Sha512>>(key, message, mac),
        }
    }
}

/// Reads a key of 16, 24 or 32 bytes in hex or base64.
fn key_of_file(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let text = text.trim();
    let key = hex(text).map(Zeroizing::new).or_else(|| base64(text))?;
    Some(key).filter(|key| matches!(key.len(), 16 | 24 | 32))
}

/// Derives a key from a password, which is the first line of the file (RFC 8018, section 5.2).
fn derived_key(method: Node, file: &str) -> Result<Zeroizing<Vec<u8>>, Invalid> {
    let password = file.lines().next().unwrap_or_default();
    let parameters = child(method, &["PBKDF2-params"]).ok_or(Invalid::Cipher)?;
    let number = |name: &str| {
        let text = child(parameters, &[name]).and_then(content);
        text.and_then(|text| text.parse::<u32>().ok()).ok_or(Invalid::Cipher)
    };
    let (rounds, length) = (number("IterationCount")?, number("KeyLength")?);
    let salt = child(parameters, &["Salt", "Specified"]).and_then(content).and_then(base64);
    let salt = salt.ok_or(Invalid::Cipher)?;
    if !(1..=MAX_ROUNDS).contains(&rounds) || !matches!(length, 16 | 24 | 32) {
        return Err(Invalid::Cipher);
    }
    let prf = child(parameters, &["PRF"]);
    let prf = match prf.and_then(|prf| attribute(prf, "Algorithm").or_else(|| content(prf))) {
        None => MacAlgorithm::Sha1,
        uri => MacAlgorithm::of(uri)?,
    };
    let mut key = Zeroizing::new(vec![0; length as usize]);
    let derive = match prf {
        MacAlgorithm::Sha1 => pbkdf2::pbkdf2_hmac::<Sha1>,
        MacAlgorithm::Sha256 => pbkdf2::pbkdf2_hmac::<Sha256>,
        MacAlgorithm::Sha512 => pbkdf2::pbkdf2_hmac::<Sha512>,
    };
    derive(password.as_bytes(), &salt, rounds, &mut key);
    Ok(key)
}

/// Decrypts what an element contains (XML Encryption, section 5.2). Returns `None` if the key does not
/// fit.
fn decrypt(value: Node, key: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, Invalid> {
    let method = child(value, &["EncryptionMethod"]).ok_or(Invalid::Cipher)?;
    let uri = attribute(method, "Algorithm").unwrap_or_default();
    let mut bytes = ciphertext(value).ok_or(Invalid::Cipher)?;
    let key_bytes = match uri.rsplit('#').next() {
        Some("aes128-cbc") => 16,
        Some("aes192-cbc") => 24,
        Some("aes256-cbc") => 32,
        _ => return Err(Invalid::Cipher),
    };
    let Some((iv, blocks)) = bytes.split_at_mut_checked(BLOCK_BYTES) else {
        return Ok(None);
    };
    if key.len() != key_bytes {
        return Ok(None);
    }
    fn blocks_of<C: KeyIvInit + BlockDecryptMut>(key: &[u8], iv: &[u8], blocks: &mut [u8]) -> bool {
        C::new_from_slices(key, iv)
            .is_ok_and(|cipher| cipher.decrypt_padded_mut::<NoPadding>(blocks).is_ok())
    }
    let is_whole = match key_bytes {
        16 => blocks_of::<cbc::Decryptor<aes::Aes128>>(key, iv, blocks),
        24 => blocks_of::<cbc::Decryptor<aes::Aes192>>(key, iv, blocks),
        _ => blocks_of::<cbc::Decryptor<aes::Aes256>>(key, iv, blocks),
    };
    // The last byte is the length of the padding, whose other bytes are arbitrary.
    let padding = blocks.last().map(|last| usize::from(*last));
    let padding = padding.filter(|length| is_whole && (1..=BLOCK_BYTES).contains(length));
    let plaintext = padding.and_then(|length| blocks.get(..blocks.len().checked_sub(length)?));
    Ok(plaintext.map(|plaintext| Zeroizing::new(plaintext.to_vec())))
}

fn ciphertext(value: Node) -> Option<Zeroizing<Vec<u8>>> {
    child(value, &["CipherData", "CipherValue"]).and_then(content).and_then(base64)
}

fn base64(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let text: Zeroizing<Vec<u8>> =
        Zeroizing::new(text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect());
    STANDARD.decode(&*text).ok().map(Zeroizing::new)
}

fn is(node: Node, name: &str) -> bool {
    node.is_element() && node.tag_name().name().eq_ignore_ascii_case(name)
}

fn children<'a, 'input>(
    node: Node<'a, 'input>,
    name: &'static str,
) -> impl Iterator<Item = Node<'a, 'input>> {
    node.children().filter(move |child| is(*child, name))
}

/// Returns the first element at a path of names.
fn child<'a, 'input>(node: Node<'a, 'input>, path: &[&str]) -> Option<Node<'a, 'input>> {
    path.iter().try_fold(node, |node, name| node.children().find(|child| is(*child, name)))
}

fn attribute<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    let found = node.attributes().find(|attribute| attribute.name().eq_ignore_ascii_case(name));
    found.map(|attribute| attribute.value())
}

/// Returns the text of an element, or `None` if it is empty.
fn content<'a>(node: Node<'a, '_>) -> Option<&'a str> {
    node.text().map(str::trim).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = include_str!("../../../tests/vectors/import/pskc-plain.xml");
    const KEY: &str = include_str!("../../../tests/vectors/import/pskc-key.xml");
    const KEY_256: &str = include_str!("../../../tests/vectors/import/pskc-key-256.xml");
    const PASSWORD: &str = include_str!("../../../tests/vectors/import/pskc-password.xml");
    const PASSWORD_256: &str = include_str!("../../../tests/vectors/import/pskc-password-256.xml");
    const HEX: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f0\n";

    /// The tokens of a document: serial number, and secret, digits, period and algorithm or the
    /// problem.
    fn read(
        text: &str,
        key: Option<&str>,
    ) -> Result<Vec<(String, Result<(String, u8, u32, &'static str), Problem>)>, Invalid> {
        let shown = |token: SourceToken| {
            let Parameters { algorithm, digits, period } = token.parameters;
            let secret = String::from_utf8_lossy(token.secret.expose()).into_owned();
            (secret, digits, period, algorithm.name())
        };
        let rows = parse(text, key)?.into_rows();
        Ok(rows.map(|(serial, token)| (serial.unwrap().to_string(), token.map(shown))).collect())
    }

    fn one(text: &str) -> Result<(String, u8, u32, &'static str), Problem> {
        read(text, None).unwrap().remove(0).1
    }

    #[test]
    fn documents_of_python_pskc_are_read() {
        let expected = Ok(vec![
            ("A1000001".to_owned(), Ok(("Twenty bytes of A1..".to_owned(), 6, 30, "SHA1"))),
            (
                "A1000002".to_owned(),
                Ok(("Thirty-two bytes of a token A2..".to_owned(), 8, 60, "SHA256")),
            ),
            ("A1000003".to_owned(), Err(Problem::Hotp)),
        ]);
        let password = Some("correct horse\n");
        assert_eq!(read(PLAIN, None), expected);
        assert_eq!(read(PLAIN, Some("unused")), expected);
        assert_eq!(read(KEY, Some(HEX)), expected);
        assert_eq!(read(KEY, Some("Dx4tPEtaaXiHlqW0w9Lh8A==")), expected);
        assert_eq!(read(KEY_256, Some(&HEX.trim().repeat(2))), expected);
        assert_eq!(read(PASSWORD, password), expected);
        assert_eq!(read(PASSWORD_256, password), expected);
    }

    #[test]
    fn the_encrypted_values_of_rfc_6030_are_decrypted() {
        // Sections 6.1 and 6.2; there, the keys are counter-based.
        let document = |encryption_key: &str, mac_key: &str, value: &str, mac: &str| {
            let encrypted = |value: &str| {
                format!(
                    "<EncryptionMethod Algorithm='http://www.w3.org/2001/04/xmlenc#aes128-cbc'/>\
                     <CipherData><CipherValue>\n {value}\n</CipherValue></CipherData>"
                )
            };
            format!(
                "<KeyContainer><EncryptionKey>{encryption_key}</EncryptionKey>\
                 <MACMethod Algorithm='http://www.w3.org/2000/09/xmldsig#hmac-sha1'>\
                 <MACKey>{}</MACKey></MACMethod><KeyPackage><Key Id='1' \
                 Algorithm='urn:ietf:params:xml:ns:keyprov:pskc:totp'><Data><Secret>\
                 <EncryptedValue>{}</EncryptedValue><ValueMAC>{mac}</ValueMAC></Secret></Data>\
                 </Key></KeyPackage></KeyContainer>",
                encrypted(mac_key),
                encrypted(value),
            )
        };
        let expected =
            vec![("1".to_owned(), Ok(("12345678901234567890".to_owned(), 6, 30, "SHA1")))];
        let by_key = document(
            "<KeyName>Pre-shared-key</KeyName>",
            "ESIzRFVmd4iZABEiM0RVZgKn6WjLaTC1sbeBMSvIhRejN9vJa2BOlSaMrR7I5wSX",
            "AAECAwQFBgcICQoLDA0OD+cIHItlB3Wra1DUpxVvOx2lef1VmNPCMl8jwZqIUqGv",
            "Su+NvtQfmvfJzF6bmQiJqoLRExc=",
        );
        assert_eq!(read(&by_key, Some("12345678901234567890123456789012")), Ok(expected.clone()));
        let by_password = document(
            "<DerivedKey><KeyDerivationMethod Algorithm='\
             http://www.rsasecurity.com/rsalabs/pkcs/schemas/pkcs-5v2-0#pbkdf2'><PBKDF2-params>\
             <Salt><Specified>Ej7/PEpyEpw=</Specified></Salt>\
             <IterationCount>1000</IterationCount><KeyLength>16</KeyLength><PRF/>\
             </PBKDF2-params></KeyDerivationMethod></DerivedKey>",
            "2GTTnLwM3I4e5IO5FkufoOEiOhNj91fhKRQBtBJYluUDsPOLTfUvoU2dStyOwYZx",
            "oTvo+S22nsmS2Z/RtcoF8Hfh+jzMe0RkiafpoDpnoZTjPYZu6V+A4aEn032yCr4f",
            "LP6xMvjtypbfT9PdkJhBZ+D6O4w=",
        );
        assert_eq!(read(&by_password, Some("qwerty")), Ok(expected));
    }

    #[test]
    fn a_wrong_key_or_a_changed_document_is_refused() {
        let wrong = Err(Invalid::WrongKey);
        assert_eq!(read(KEY, None), Err(Invalid::EncryptedDocument));
        assert_eq!(read(KEY, Some(&HEX.replace('0', "1"))), wrong);
        assert_eq!(read(KEY, Some(&HEX.trim().repeat(2))), wrong);
        assert_eq!(read(KEY, Some("x")), Err(Invalid::ImportKey("a key in hex or base64")));
        assert_eq!(read(PASSWORD, Some("Correct horse")), wrong);
        assert_eq!(read(PASSWORD, Some("")), wrong);
        // Of the second token, whose ciphertext begins with this.
        assert_eq!(read(&KEY.replace("sVifAgzeQLIG", "sVifAgzeQLIH"), Some(HEX)), wrong);
        assert_eq!(read(&KEY.replace("9P4uKXKbpfXr", "9P4uKXKbpfXs"), Some(HEX)), wrong);
    }

    #[test]
    fn encryption_that_is_not_supported_is_refused() {
        let refused = Err(Invalid::Cipher);
        for (text, from, to) in [
            (KEY, "aes128-cbc", "tripledes-cbc"),
            (KEY, "hmac-sha1", "hmac-md5"),
            (KEY, "MACMethod", "Other"),
            (PASSWORD, "<KeyLength>16", "<KeyLength>17"),
            (PASSWORD, "<IterationCount>5000", "<IterationCount>10000001"),
            (PASSWORD, "<IterationCount>5000", "<IterationCount>0"),
            (PASSWORD, "IterationCount>", "Other>"),
            (PASSWORD, "Salt>", "Other>"),
            (PASSWORD_256, "#hmac-sha256", "#hmac-sha3"),
        ] {
            assert!(text.contains(from), "{from}");
            assert_eq!(read(&text.replace(from, to), Some(HEX)), refused, "{from} -> {to}");
        }
        let without_mac = KEY.replace("ValueMAC", "Other");
        let rows = read(&without_mac, Some(HEX)).unwrap();
        assert_eq!(rows[0].1, Err(Problem::Missing("ValueMAC")));
    }

    #[test]
    fn names_in_lower_case_and_without_namespaces_are_found() {
        let key = "VHdlbnR5IGJ5dGVzIG9mIEExLi4=";
        let text = format!(
            "<keycontainer><keypackage><deviceinfo><serialno> 7 </serialno></deviceinfo>\
             <key algorithm='urn:ietf:params:xml:ns:keyprov:pskc:TOTP'><algorithmparameters>\
             <responseformat encoding='decimal' length='7'/><suite hashalgo='sha512'/>\
             </algorithmparameters><data><secret><plainvalue>{key}</plainvalue></secret></data>\
             </key></keypackage></keycontainer>"
        );
        let expected = ("7".to_owned(), Ok(("Twenty bytes of A1..".to_owned(), 7, 30, "SHA512")));
        assert_eq!(read(&text, None), Ok(vec![expected]));
    }

    #[test]
    fn a_broken_token_is_reported() {
        let problem = |from: &str, to: &str| {
            assert!(PLAIN.contains(from), "{from}");
            one(&PLAIN.replacen(from, to, 1)).unwrap_err()
        };
        assert_eq!(problem("pskc:totp\"", "pskc:pin\""), Problem::OtherType);
        assert_eq!(problem("DECIMAL", "HEXADECIMAL"), Problem::Malformed("Encoding"));
        let check = problem("Length=\"6\"", "Length=\"6\" CheckDigits=\"true\"");
        assert_eq!(check, Problem::Malformed("CheckDigits"));
        assert_eq!(problem("Length=\"6\"", "Length=\"six\""), Problem::Malformed("Length"));
        assert_eq!(problem("Length=\"6\"", "Length=\"9\""), Invalid::Digits(9).into());
        assert_eq!(problem(">30<", ">x<"), Problem::Malformed("TimeInterval"));
        assert_eq!(problem(">30<", ">300<"), Invalid::Period(300).into());
        assert_eq!(problem("VHdlbnR5", "???"), Problem::Malformed("secret"));
        let weak = problem("VHdlbnR5IGJ5dGVzIG9mIEExLi4=", "VHdl");
        assert_eq!(weak, Invalid::SecretLength(3).into());
        let suite = PLAIN.replace("HMAC-SHA256", "HMAC-MD5");
        assert_eq!(read(&suite, None).unwrap()[1].1, Err(Invalid::Algorithm.into()));
    }

    #[test]
    fn other_text_is_no_container() {
        let bomb = "<!DOCTYPE x [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;'>]>\
                    <KeyContainer><KeyPackage><Key Id='&b;'/></KeyPackage></KeyContainer>";
        let file = "<!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/passwd'>]>\
                    <KeyContainer><KeyPackage><Key Id='&a;'/></KeyPackage></KeyContainer>";
        let deep = "<a>".repeat(1_000_000);
        let closed = format!("{deep}{}", "</a>".repeat(1_000_000));
        let half = PLAIN.split_at(PLAIN.len() / 2).0;
        for text in ["", "{}", "<a/>", "<KeyContainer/>", bomb, file, &deep, &closed, half] {
            let start = text.get(..text.len().min(80));
            let refused = Err(Invalid::Document("a PSKC key container"));
            assert_eq!(read(text, None), refused, "{start:?}");
        }
    }
}
