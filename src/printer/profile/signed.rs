//! Profiles that come after the program was built: signed data, which can change what is read and where it is looked for,
//! and can name no object outside the compiled-in allow-list.
//!
//! A signature is Ed25519 (RFC 8032) over the file's name, a zero octet and its text, so that a file cannot pass for another.

use ring::signature::{ED25519, UnparsedPublicKey};

use super::{ProfileError, Profiles};

/// Length of an Ed25519 public key, in bytes (RFC 8032 §5.1.5).
const KEY_BYTES: usize = 32;
/// Most octets of a profile: the largest built-in one has a tenth of it.
pub(crate) const PROFILE_MAX_BYTES: usize = 256 * 1024;

/// The public key by which added profiles are signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileKey([u8; KEY_BYTES]);

/// Why an added profile is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProfileSetError {
    /// The key has another length.
    #[error("a key for profiles has {KEY_BYTES} bytes, written as 64 hexadecimal digits")]
    Key,
    /// The signature is not that of this file by this key.
    #[error("profile {file}: the signature is not that of this file by the configured key: it is not used")]
    Signature {
        /// The file's name.
        file: String,
    },
    /// It is too large to be one.
    #[error("profile {file}: it has more than {PROFILE_MAX_BYTES} bytes")]
    TooLarge {
        /// The file's name.
        file: String,
    },
    /// It is signed, and no good.
    #[error(transparent)]
    Profile(#[from] ProfileError),
}

impl std::str::FromStr for ProfileKey {
    type Err = ProfileSetError;

    fn from_str(text: &str) -> Result<Self, ProfileSetError> {
        let digits = text.as_bytes().chunks_exact(2);
        if text.len() != KEY_BYTES * 2 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(ProfileSetError::Key);
        }
        let bytes: Vec<u8> =
            digits.filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect();
        bytes.try_into().map(Self).map_err(|_| ProfileSetError::Key)
    }
}

/// What is signed.
#[must_use]
pub fn signed_bytes(file: &str, text: &str) -> Vec<u8> {
    [file.as_bytes(), &[0], text.as_bytes()].concat()
}

impl Profiles {
    /// These, and one more that carries a signature.
    ///
    /// # Errors
    /// When the signature is not that of this file, or the file is no profile.
    pub fn with_signed(
        &self,
        file: &str,
        text: &str,
        signature: &[u8],
        key: &ProfileKey,
    ) -> Result<Self, ProfileSetError> {
        if text.len() > PROFILE_MAX_BYTES {
            return Err(ProfileSetError::TooLarge { file: file.to_owned() });
        }
        UnparsedPublicKey::new(&ED25519, key.0)
            .verify(&signed_bytes(file, text), signature)
            .map_err(|_| ProfileSetError::Signature { file: file.to_owned() })?;
        Ok(self.with(file, text)?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Appearance;
    use super::*;
    use ring::signature::{Ed25519KeyPair, KeyPair};

    const TEXT: &str = "vendor = \"Acme\"\n[recognise]\nsys_descr = [\"^ACME \"]";

    fn pair(seed: u8) -> (Ed25519KeyPair, ProfileKey) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let key: String = pair.public_key().as_ref().iter().map(|b| format!("{b:02x}")).collect();
        let key = key.parse().unwrap();
        (pair, key)
    }

    #[test]
    fn a_signed_profile_is_used_and_others_are_not() {
        let (ours, key) = pair(1);
        let signature = ours.sign(&signed_bytes("acme", TEXT));
        let profiles = Profiles::built_in();
        let with = profiles.with_signed("acme", TEXT, signature.as_ref(), &key).unwrap();
        let device = Appearance { sys_descr: Some("ACME 1"), ..Appearance::default() };
        assert_eq!(with.find(&device).map(|profile| profile.vendor.as_str()), Some("Acme"));

        let changed = TEXT.replace("Acme", "Evil");
        for (file, text, key) in [("acme", &*changed, &key), ("hp", TEXT, &key), ("acme", TEXT, &pair(2).1)] {
            let error = profiles.with_signed(file, text, signature.as_ref(), key).unwrap_err();
            assert_eq!(error, ProfileSetError::Signature { file: file.to_owned() });
        }
    }

    #[test]
    fn a_signature_opens_no_way_past_the_allow_list() {
        let (ours, key) = pair(1);
        let text = format!("{TEXT}\n[[serial]]\noid = \"1.3.6.1.4.1.1248.1.2.2.44.1.1.2.1.1\"");
        let signature = ours.sign(&signed_bytes("acme", &text));
        let error = Profiles::built_in().with_signed("acme", &text, signature.as_ref(), &key).unwrap_err();
        assert!(matches!(error, ProfileSetError::Profile(ProfileError::NotAllowed { .. })), "{error}");
    }

    #[test]
    fn a_key_is_64_hexadecimal_digits() {
        for bad in ["", "00", &"g".repeat(64), &"0".repeat(63), &"é".repeat(32)] {
            assert_eq!(bad.parse::<ProfileKey>(), Err(ProfileSetError::Key), "{bad}");
        }
    }
}
