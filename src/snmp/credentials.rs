//! What a device is asked with: communities (v1, v2c) and users (v3, RFC 3414). Secrets are wiped when dropped and never
//! shown.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use zeroize::Zeroizing;

/// Shortest password of a user, in bytes (RFC 3414 §11.2).
const PASSWORD_MIN_BYTES: usize = 8;
/// Longest user name, in bytes (RFC 3414 §2.4).
const NAME_MAX_BYTES: usize = 32;

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<Zeroizing<Vec<u8>>>);

impl Secret {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(Arc::new(Zeroizing::new(text.as_bytes().to_vec())))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// How a device is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// SNMPv1 (RFC 1157).
    V1 {
        /// Read community.
        community: Secret,
    },
    /// SNMPv2c (RFC 1901).
    V2c {
        /// Read community.
        community: Secret,
    },
    /// SNMPv3 with the user-based security model.
    V3(UsmUser),
}

/// A user of SNMPv3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsmUser {
    pub(super) name: String,
    pub(super) auth: Option<(AuthAlgorithm, Secret)>,
    pub(super) privacy: Option<(PrivacyAlgorithm, Secret)>,
}

/// Why a user cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// No name, or one that is too long.
    #[error("an SNMPv3 user name has 1 to {NAME_MAX_BYTES} bytes")]
    Name,
    /// Too short.
    #[error("the {0} password is shorter than the {PASSWORD_MIN_BYTES} characters that SNMPv3 requires")]
    ShortPassword(&'static str),
    /// Privacy alone does not exist.
    #[error("privacy needs authentication: give an authentication algorithm and password too")]
    PrivacyWithoutAuth,
    /// Not an algorithm that is known here.
    #[error(
        "\"{0}\" is not known: authentication is MD5, SHA-1, SHA-224, SHA-256, SHA-384 or SHA-512; privacy is DES, AES-128, AES-192 or AES-256"
    )]
    UnknownAlgorithm(String),
}

impl UsmUser {
    /// A user; without `auth` noAuthNoPriv, without `privacy` authNoPriv, else authPriv.
    ///
    /// # Errors
    /// When the name or a password has no allowed length, or there is privacy without authentication.
    pub fn new(
        name: &str,
        auth: Option<(AuthAlgorithm, &str)>,
        privacy: Option<(PrivacyAlgorithm, &str)>,
    ) -> Result<Self, CredentialsError> {
        if !(1..=NAME_MAX_BYTES).contains(&name.len()) {
            return Err(CredentialsError::Name);
        }
        let long_enough = |password: &str, which| {
            if password.len() < PASSWORD_MIN_BYTES { Err(CredentialsError::ShortPassword(which)) } else { Ok(()) }
        };
        if let Some((_, password)) = auth {
            long_enough(password, "authentication")?;
        }
        if let Some((_, password)) = privacy {
            long_enough(password, "privacy")?;
            if auth.is_none() {
                return Err(CredentialsError::PrivacyWithoutAuth);
            }
        }
        Ok(Self {
            name: name.to_owned(),
            auth: auth.map(|(algorithm, password)| (algorithm, password.into())),
            privacy: privacy.map(|(algorithm, password)| (algorithm, password.into())),
        })
    }
}

/// Authentication protocols of USM: RFC 3414 (MD5, SHA-1) and RFC 7860 (SHA-2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum AuthAlgorithm {
    Md5,
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

/// Privacy protocols of USM: DES (RFC 3414), AES-128 (RFC 3826), and the longer AES keys that vendors added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum PrivacyAlgorithm {
    Des,
    Aes128,
    Aes192,
    Aes256,
}

/// Upper case without dashes and underscores: "sha-256" and "SHA256" are the same.
fn normal(text: &str) -> String {
    text.chars().filter(|c| !matches!(c, '-' | '_')).map(|c| c.to_ascii_uppercase()).collect()
}

impl FromStr for AuthAlgorithm {
    type Err = CredentialsError;

    fn from_str(text: &str) -> Result<Self, CredentialsError> {
        Ok(match normal(text).as_str() {
            "MD5" => Self::Md5,
            "SHA" | "SHA1" => Self::Sha1,
            "SHA224" => Self::Sha224,
            "SHA256" => Self::Sha256,
            "SHA384" => Self::Sha384,
            "SHA512" => Self::Sha512,
            _ => return Err(CredentialsError::UnknownAlgorithm(text.to_owned())),
        })
    }
}

impl FromStr for PrivacyAlgorithm {
    type Err = CredentialsError;

    fn from_str(text: &str) -> Result<Self, CredentialsError> {
        Ok(match normal(text).as_str() {
            "DES" => Self::Des,
            "AES" | "AES128" => Self::Aes128,
            "AES192" => Self::Aes192,
            "AES256" => Self::Aes256,
            _ => return Err(CredentialsError::UnknownAlgorithm(text.to_owned())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_that_cannot_work_is_refused_before_anything_is_sent() {
        let sha = AuthAlgorithm::Sha256;
        assert_eq!(UsmUser::new("", None, None).unwrap_err(), CredentialsError::Name);
        assert_eq!(
            UsmUser::new("u", Some((sha, "short")), None).unwrap_err(),
            CredentialsError::ShortPassword("authentication")
        );
        assert_eq!(
            UsmUser::new("u", None, Some((PrivacyAlgorithm::Aes128, "long enough"))).unwrap_err(),
            CredentialsError::PrivacyWithoutAuth
        );
    }

    #[test]
    fn secrets_are_not_shown() {
        let user = UsmUser::new("u", Some((AuthAlgorithm::Sha1, "open sesame")), None).unwrap();
        let shown = format!("{:?} {:?}", Credentials::V3(user), Credentials::V1 { community: "hidden".into() });
        assert!(!shown.contains("sesame") && !shown.contains("hidden"), "{shown}");
    }

    #[test]
    fn algorithms_are_known_by_their_usual_spellings() {
        assert_eq!("sha-256".parse(), Ok(AuthAlgorithm::Sha256));
        assert_eq!("SHA".parse(), Ok(AuthAlgorithm::Sha1));
        assert_eq!("aes128".parse(), Ok(PrivacyAlgorithm::Aes128));
        assert!("rot13".parse::<AuthAlgorithm>().is_err());
    }
}
