//! What is printed on the label of a box: its serial number, and a secret of 80 bits by which whoever holds the box in his hands
//! proves it: typed at the console, or scanned for the portal. Written in the factory, never sent.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use ring::hmac;
use serde::Deserialize;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::store::read_bounded;

/// Largest such file, in bytes.
const FILE_MAX_BYTES: usize = 4 * 1024;
/// Length of the secret, in bytes.
pub const SECRET_BYTES: usize = 10;
/// Crockford's base 32: no I, L, O, U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Longest serial number, in characters.
const SERIAL_MAX: usize = 32;

/// Why a label cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LabelError {
    /// The file cannot be read.
    #[error("the label {path} cannot be read: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's words.
        source: io::Error,
    },
    /// It does not hold what a label does.
    #[error("the label {path} is not valid: {detail}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
}

/// The secret of a label.
#[derive(Clone)]
pub struct LabelSecret(Zeroizing<[u8; SECRET_BYTES]>);

/// A label.
#[derive(Debug, Clone)]
pub struct Label {
    /// The serial number: letters, digits and dashes.
    pub serial: String,
    /// The secret.
    pub secret: LabelSecret,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    serial: String,
    secret: Zeroizing<String>,
}

impl Label {
    /// Reads a label file: TOML with `serial` and `secret`.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn load(path: &Path) -> Result<Self, LabelError> {
        let bytes = read_bounded(path, FILE_MAX_BYTES)
            .map(Zeroizing::new)
            .map_err(|source| LabelError::Read { path: path.to_owned(), source })?;
        let invalid = |detail: &str| LabelError::Invalid { path: path.to_owned(), detail: detail.to_owned() };
        let text = std::str::from_utf8(&bytes).map_err(|_| invalid("it is not UTF-8"))?;
        // The parser's own words may quote the secret.
        let file: File =
            toml::from_str(text).map_err(|_| invalid("it needs serial = \"…\" and secret = \"…\", and no more"))?;
        let is_serial = (1..=SERIAL_MAX).contains(&file.serial.len())
            && file.serial.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !is_serial {
            return Err(invalid("serial is 1 to 32 letters, digits and dashes"));
        }
        let secret = LabelSecret::parse(&file.secret)
            .ok_or_else(|| invalid("secret is 16 letters and digits of Crockford's base 32"))?;
        Ok(Self { serial: file.serial, secret })
    }
}

impl LabelSecret {
    /// Takes a secret as it is printed or typed: 16 characters, dashes and blanks anywhere, small letters too; O counts as 0, I and L
    /// as 1.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bits: u128 = 0;
        let mut count = 0;
        for c in text.bytes().filter(|b| !matches!(b, b'-' | b' ')) {
            let c = match c.to_ascii_uppercase() {
                b'O' => b'0',
                b'I' | b'L' => b'1',
                other => other,
            };
            let value = ALPHABET.iter().position(|a| *a == c)?;
            count += 1;
            if count > 16 {
                return None;
            }
            bits = bits << 5 | value as u128;
        }
        if count != 16 {
            return None;
        }
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        secret.copy_from_slice(&bits.to_be_bytes()[16 - SECRET_BYTES..]);
        Some(Self(secret))
    }

    /// Makes one.
    #[must_use]
    pub fn from_bytes(bytes: [u8; SECRET_BYTES]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// As it is printed: four groups of four.
    #[must_use]
    pub fn text(&self) -> Zeroizing<String> {
        let mut bits = self.0.iter().fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte));
        let mut letters = [0_u8; 16];
        for letter in letters.iter_mut().rev() {
            *letter = ALPHABET[(bits & 31) as usize];
            bits >>= 5;
        }
        let groups: Vec<String> =
            letters.chunks(4).map(|group| group.iter().map(|b| char::from(*b)).collect()).collect();
        Zeroizing::new(groups.join("-"))
    }

    /// Whether the two are the same; takes the same time whatever differs.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&*other.0).into()
    }

    /// Proves the knowledge of the secret for this message (HMAC-SHA-256, RFC 2104).
    #[must_use]
    pub fn prove(&self, message: &[u8]) -> Vec<u8> {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &*self.0), message).as_ref().to_vec()
    }

    /// Whether the proof is one for this message.
    #[must_use]
    pub fn has_proven(&self, message: &[u8], proof: &[u8]) -> bool {
        hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, &*self.0), message, proof).is_ok()
    }
}

impl fmt::Debug for LabelSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LabelSecret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_as_it_is_printed_and_as_people_type_it() {
        let secret = LabelSecret::from_bytes([0xff, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        let text = secret.text();
        assert_eq!(text.len(), 19);
        assert!(LabelSecret::parse(&text).unwrap().matches(&secret));
        let typed = text.to_lowercase().replace('-', " ").replace('0', "o").replace('1', "l");
        assert!(LabelSecret::parse(&typed).unwrap().matches(&secret));
        for wrong in ["", "ABCD", "UUUU-UUUU-UUUU-UUUU", &format!("{}A", *text)] {
            assert!(LabelSecret::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_proof_holds_for_its_message_and_secret_only() {
        let (secret, other) = (LabelSecret::from_bytes([1; 10]), LabelSecret::from_bytes([2; 10]));
        let proof = secret.prove(b"this");
        assert!(secret.has_proven(b"this", &proof));
        assert!(!secret.has_proven(b"that", &proof) && !other.has_proven(b"this", &proof));
    }

    #[test]
    fn a_damaged_label_is_named_and_its_secret_not_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("label.toml");
        for text in [
            "serial = \"A B\"\nsecret = \"0000-0000-0000-0000\"",
            "serial = \"A\"\nsecret = \"S3CRET\"",
            "secret = \"S3CRET",
            "",
        ] {
            std::fs::write(&path, text).unwrap();
            let error = Label::load(&path).unwrap_err().to_string();
            assert!(error.contains("label.toml") && !error.contains("S3CRET"), "{error}");
        }
        std::fs::write(&path, "serial = \"PL26-1\"\nsecret = \"0123-4567-89AB-CDEF\"\n").unwrap();
        assert_eq!(Label::load(&path).unwrap().serial, "PL26-1");
    }
}
