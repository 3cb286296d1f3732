//! Who the box says it is towards a device: communities of v1 and v2c, users of v3 (RFC 3414 USM).
//! Secrets are wiped when the last copy is dropped and never show in `Debug`.

use super::limits::{MAX_NAME_BYTES, MAX_PASSWORD_BYTES, MIN_PASSWORD_BYTES};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;
use zeroize::Zeroizing;

/// A community or a password. Clones share one copy, which is wiped with the last of them.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<Zeroizing<Vec<u8>>>);

impl Secret {
    /// Keeps these bytes secret.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Arc::new(Zeroizing::new(bytes.into())))
    }

    /// The bytes, to be used and not to be kept.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text.as_bytes())
    }
}

impl Hash for Secret {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.as_slice().hash(state);
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What lets the box in, and in which version of SNMP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// SNMPv1 (RFC 1157): no GETBULK, no 64-bit counters, one missing object spoils an answer.
    V1 {
        /// The read community.
        community: Secret,
    },
    /// SNMPv2c (RFC 1901).
    V2c {
        /// The read community.
        community: Secret,
    },
    /// SNMPv3 with USM (RFC 3414).
    V3(UsmUser),
}

/// Why something cannot be a credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// A user needs a name.
    #[error("the SNMPv3 user name must have 1 to {MAX_NAME_BYTES} octets, this one has {0}")]
    UserName(usize),
    /// A context name is too long.
    #[error("the SNMPv3 context name must have at most {MAX_NAME_BYTES} octets, this one has {0}")]
    ContextName(usize),
    /// RFC 3414 §11.2 asks for at least eight octets, and agents enforce it.
    #[error(
        "the SNMPv3 {which} password must have {MIN_PASSWORD_BYTES} to {MAX_PASSWORD_BYTES} octets, this one has {octets}"
    )]
    Password {
        /// "authentication" or "privacy".
        which: &'static str,
        /// How many it has.
        octets: usize,
    },
    /// There is no such security level (RFC 3411 §3.4.3).
    #[error("SNMPv3 has no privacy without authentication: give an authentication algorithm and password too")]
    PrivacyWithoutAuthentication,
    /// The text names no algorithm that we know.
    #[error("\"{given}\" is no {kind} algorithm: write one of {known}")]
    Algorithm {
        /// "authentication" or "privacy".
        kind: &'static str,
        /// What was written, with control characters escaped.
        given: String,
        /// What may be written.
        known: &'static str,
    },
}

/// A user of SNMPv3. Its security level follows from what is given.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UsmUser(Arc<UserParts>);

#[derive(Debug, PartialEq, Eq, Hash)]
struct UserParts {
    name: String,
    authentication: Option<(AuthAlgorithm, Secret)>,
    privacy: Option<(PrivacyAlgorithm, Secret)>,
    context_name: String,
}

impl UsmUser {
    /// Makes a user.
    ///
    /// # Errors
    /// When a name or a password has a length that cannot work, or privacy is asked for without authentication.
    pub fn new(
        name: impl Into<String>,
        authentication: Option<(AuthAlgorithm, Secret)>,
        privacy: Option<(PrivacyAlgorithm, Secret)>,
        context_name: impl Into<String>,
    ) -> Result<Self, CredentialsError> {
        let (name, context_name) = (name.into(), context_name.into());
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            return Err(CredentialsError::UserName(name.len()));
        }
        if context_name.len() > MAX_NAME_BYTES {
            return Err(CredentialsError::ContextName(context_name.len()));
        }
        if privacy.is_some() && authentication.is_none() {
            return Err(CredentialsError::PrivacyWithoutAuthentication);
        }
        let passwords = [
            ("authentication", authentication.as_ref().map(|(_, password)| password)),
            ("privacy", privacy.as_ref().map(|(_, password)| password)),
        ];
        for (which, password) in passwords {
            let Some(octets) = password.map(|p| p.expose().len()) else { continue };
            if !(MIN_PASSWORD_BYTES..=MAX_PASSWORD_BYTES).contains(&octets) {
                return Err(CredentialsError::Password { which, octets });
            }
        }
        Ok(Self(Arc::new(UserParts { name, authentication, privacy, context_name })))
    }

    /// The user name (msgUserName).
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The context name; empty for nearly every device.
    #[must_use]
    pub fn context_name(&self) -> &str {
        &self.0.context_name
    }

    /// The security level that follows from what is given.
    #[must_use]
    pub fn level(&self) -> SecurityLevel {
        match (&self.0.authentication, &self.0.privacy) {
            (Some(_), Some(_)) => SecurityLevel::AuthPriv,
            (Some(_), None) => SecurityLevel::AuthNoPriv,
            (None, _) => SecurityLevel::NoAuthNoPriv,
        }
    }

    pub(super) fn authentication(&self) -> Option<&(AuthAlgorithm, Secret)> {
        self.0.authentication.as_ref()
    }

    pub(super) fn privacy(&self) -> Option<&(PrivacyAlgorithm, Secret)> {
        self.0.privacy.as_ref()
    }

    /// The same user one security level lower: to find out which password is wrong.
    pub(super) fn without_privacy(&self) -> Self {
        Self(Arc::new(UserParts {
            name: self.0.name.clone(),
            authentication: self.0.authentication.clone(),
            privacy: None,
            context_name: self.0.context_name.clone(),
        }))
    }
}

/// How a message is protected (RFC 3411 §3.4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecurityLevel {
    /// Neither signed nor encrypted: the user name is all.
    NoAuthNoPriv,
    /// Signed.
    AuthNoPriv,
    /// Signed and encrypted.
    AuthPriv,
}

impl fmt::Display for SecurityLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoAuthNoPriv => "noAuthNoPriv",
            Self::AuthNoPriv => "authNoPriv",
            Self::AuthPriv => "authPriv",
        })
    }
}

/// How messages are signed: RFC 3414 (MD5, SHA-1) and RFC 7860 (SHA-2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuthAlgorithm {
    /// HMAC-MD5-96: broken elsewhere, and all that some printers offer.
    Md5,
    /// HMAC-SHA-96.
    Sha1,
    /// HMAC-128-SHA-224.
    Sha224,
    /// HMAC-192-SHA-256.
    Sha256,
    /// HMAC-256-SHA-384.
    Sha384,
    /// HMAC-384-SHA-512.
    Sha512,
}

/// How messages are encrypted: RFC 3414 (DES), RFC 3826 (AES-128), and the drafts for longer AES keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PrivacyAlgorithm {
    /// CBC-DES: breakable in a day, and all that some printers offer.
    Des,
    /// CFB128-AES-128.
    Aes128,
    /// AES-192; a short key is extended as net-snmp does (draft-blumenthal-aes-usm-04).
    Aes192,
    /// AES-256; a short key is extended as net-snmp does (draft-blumenthal-aes-usm-04).
    Aes256,
    /// AES-192; a short key is extended as Cisco and some printers do (draft-reeder-snmpv3-usm-3desede-00).
    Aes192Reeder,
    /// AES-256; a short key is extended as Cisco and some printers do (draft-reeder-snmpv3-usm-3desede-00).
    Aes256Reeder,
}

/// Letters and digits in lower case, so that "SHA-256", "sha256" and "SHA_256" are one.
fn plain(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

impl FromStr for AuthAlgorithm {
    type Err = CredentialsError;

    fn from_str(text: &str) -> Result<Self, CredentialsError> {
        Ok(match plain(text).as_str() {
            "md5" => Self::Md5,
            "sha" | "sha1" => Self::Sha1,
            "sha224" => Self::Sha224,
            "sha256" => Self::Sha256,
            "sha384" => Self::Sha384,
            "sha512" => Self::Sha512,
            _ => {
                return Err(CredentialsError::Algorithm {
                    kind: "authentication",
                    given: text.escape_debug().to_string(),
                    known: "MD5, SHA-1, SHA-224, SHA-256, SHA-384, SHA-512",
                });
            }
        })
    }
}

impl fmt::Display for AuthAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Md5 => "MD5",
            Self::Sha1 => "SHA-1",
            Self::Sha224 => "SHA-224",
            Self::Sha256 => "SHA-256",
            Self::Sha384 => "SHA-384",
            Self::Sha512 => "SHA-512",
        })
    }
}

impl FromStr for PrivacyAlgorithm {
    type Err = CredentialsError;

    fn from_str(text: &str) -> Result<Self, CredentialsError> {
        Ok(match plain(text).as_str() {
            "des" => Self::Des,
            "aes" | "aes128" => Self::Aes128,
            "aes192" => Self::Aes192,
            "aes256" => Self::Aes256,
            "aes192c" | "aes192reeder" | "aes192cisco" => Self::Aes192Reeder,
            "aes256c" | "aes256reeder" | "aes256cisco" => Self::Aes256Reeder,
            _ => {
                return Err(CredentialsError::Algorithm {
                    kind: "privacy",
                    given: text.escape_debug().to_string(),
                    known: "DES, AES-128, AES-192, AES-256, AES-192-C, AES-256-C",
                });
            }
        })
    }
}

impl fmt::Display for PrivacyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Des => "DES",
            Self::Aes128 => "AES-128",
            Self::Aes192 => "AES-192",
            Self::Aes256 => "AES-256",
            Self::Aes192Reeder => "AES-192-C",
            Self::Aes256Reeder => "AES-256-C",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn algorithms_are_read_however_people_write_them_and_print_one_way() {
        for (text, algorithm) in [
            ("SHA-256", AuthAlgorithm::Sha256),
            ("sha256", AuthAlgorithm::Sha256),
            ("SHA", AuthAlgorithm::Sha1),
            ("md5", AuthAlgorithm::Md5),
        ] {
            assert_eq!(text.parse::<AuthAlgorithm>().unwrap(), algorithm);
            assert_eq!(algorithm.to_string().parse::<AuthAlgorithm>().unwrap(), algorithm);
        }
        for (text, algorithm) in [
            ("AES-128", PrivacyAlgorithm::Aes128),
            ("aes", PrivacyAlgorithm::Aes128),
            ("AES256C", PrivacyAlgorithm::Aes256Reeder),
            ("aes_256", PrivacyAlgorithm::Aes256),
            ("DES", PrivacyAlgorithm::Des),
        ] {
            assert_eq!(text.parse::<PrivacyAlgorithm>().unwrap(), algorithm);
            assert_eq!(algorithm.to_string().parse::<PrivacyAlgorithm>().unwrap(), algorithm);
        }
        let error = "rot\u{7}13".parse::<PrivacyAlgorithm>().unwrap_err().to_string();
        assert!(error.contains("rot\\u{7}13") && error.contains("AES-128"), "{error}");
    }

    #[test]
    fn a_password_too_short_is_refused_before_it_can_hurt() {
        for short in ["", "1234567"] {
            let error = UsmUser::new("u", Some((AuthAlgorithm::Sha1, short.into())), None, "").unwrap_err();
            assert_eq!(error, CredentialsError::Password { which: "authentication", octets: short.len() });
        }
        let auth = Some((AuthAlgorithm::Sha1, Secret::from("12345678")));
        let error = UsmUser::new("u", auth, Some((PrivacyAlgorithm::Des, "x".into())), "").unwrap_err();
        assert_eq!(error, CredentialsError::Password { which: "privacy", octets: 1 });
        let error = UsmUser::new("u", None, Some((PrivacyAlgorithm::Des, "12345678".into())), "").unwrap_err();
        assert_eq!(error, CredentialsError::PrivacyWithoutAuthentication);
        assert_eq!(UsmUser::new("", None, None, "").unwrap_err(), CredentialsError::UserName(0));
    }

    #[test]
    fn secrets_do_not_show() {
        let user = UsmUser::new(
            "reader",
            Some((AuthAlgorithm::Sha256, "tellnobody1".into())),
            Some((PrivacyAlgorithm::Aes128, "tellnobody2".into())),
            "",
        )
        .unwrap();
        let all = [Credentials::V3(user), Credentials::V2c { community: "tellnobody3".into() }];
        let shown = format!("{all:?}");
        assert!(shown.contains("reader") && !shown.contains("tellnobody"), "{shown}");
        // Neither as text nor as the list of its bytes.
        assert!(!shown.contains("116, 101"), "{shown}");
    }
}
