//! What the cloud made of the box: its certificate with the key that belongs to it, and what came with it, in one file, so that there
//! is all of it or nothing.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::EnrollError;
use super::machine::Validity;
use crate::proto::{signed, v1};
use crate::uplink::{CloudKey, TlsIdentity, TlsSettings, certificate_validity};

/// Longest box id and tenant, in characters.
const NAME_MAX: usize = 64;
/// Length of an unlock secret, in bytes.
const UNLOCK_SECRET_BYTES: usize = 32;
/// Most certificates of a chain.
const CHAIN_MAX: usize = 8;

/// The key of a certificate that is asked for (P-256); in memory only, until the certificate is kept.
pub struct OperationalKey(KeyPair);

/// A certificate of the box.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// The id that the cloud gave the box.
    pub box_id: String,
    /// The number of the certificate, from 1.
    pub generation: u32,
    /// Whose box it is; empty where that was not said.
    pub tenant: String,
    /// The private key (PKCS #8, PEM).
    #[serde(with = "lines")]
    pub key_pem: Zeroizing<String>,
    /// The certificate, then those that lead to its authority (PEM).
    pub chain_pem: String,
    /// By which the portal answers the challenge of a disabled box; empty where the cloud gave none.
    #[serde(with = "in_base64")]
    pub unlock_secret: Zeroizing<Vec<u8>>,
    /// When the certificate holds.
    pub validity: Validity,
}

impl OperationalKey {
    /// Makes one, and the request for its certificate (PKCS #10, RFC 2986).
    pub(super) fn make() -> Result<(rcgen::CertificateSigningRequest, Self), EnrollError> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)
            .map_err(|e| EnrollError::Unusable(format!("no key can be made: {e}")))?;
        Ok((request(&key)?, Self(key)))
    }

    /// PKCS #8, PEM.
    pub(super) fn pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.serialize_pem())
    }
}

/// The request for a certificate of this key.
pub(super) fn request(key: &KeyPair) -> Result<rcgen::CertificateSigningRequest, EnrollError> {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, "platen box");
    parameters.serialize_request(key).map_err(|e| EnrollError::Unusable(e.to_string()))
}

impl Credential {
    /// Takes the cloud's answer to a request that was made with this nonce and key.
    ///
    /// # Errors
    /// When the cloud's key has not signed it for this request, its certificate is of another key or cannot be read, or a name in it
    /// is none; when it is for another box than the previous one.
    pub fn from_enrolled(
        enrolled: &v1::Enrolled,
        nonce: &[u8],
        request_key: OperationalKey,
        cloud_key: &CloudKey,
        previous: Option<&Self>,
    ) -> Result<Self, EnrollError> {
        let no = |what: &str| EnrollError::Unusable(format!("the cloud's answer is not taken: {what}"));
        if !cloud_key.has_signed(&signed::enrolled(nonce, enrolled), &enrolled.signature) {
            return Err(no("it is not signed by the pinned key of our cloud for this request"));
        }
        if !is_tenant(&enrolled.tenant) {
            return Err(no("it does not say whose box this is"));
        }
        if enrolled.generation == 0 || enrolled.certificate_chain.len() > CHAIN_MAX {
            return Err(no("its certificate has no number, or there are too many"));
        }
        if previous.is_some_and(|previous| previous.box_id != enrolled.box_id) {
            return Err(no("it is for another box"));
        }
        let unlock_secret = match (enrolled.unlock_secret.len(), previous) {
            (0, Some(previous)) => previous.unlock_secret.clone(),
            (0 | UNLOCK_SECRET_BYTES, _) => Zeroizing::new(enrolled.unlock_secret.clone()),
            _ => return Err(no("its unlock secret has not 32 bytes")),
        };
        let chain_pem = enrolled.certificate_chain.iter().map(|der| certificate_pem(der)).collect();
        let mut taken = Self::new(&enrolled.box_id, request_key.pem(), chain_pem)?;
        (taken.generation, taken.tenant) = (enrolled.generation, enrolled.tenant.clone());
        (taken.unlock_secret, taken.validity.renew_unix_ms) = (unlock_secret, enrolled.renew_after_unix_ms);
        Ok(taken)
    }

    /// One of generation 1 and of nobody.
    pub(super) fn new(box_id: &str, key_pem: Zeroizing<String>, chain_pem: String) -> Result<Self, EnrollError> {
        if !is_box_id(box_id) {
            return Err(EnrollError::Unusable(format!("\"{}\" is not a box id", box_id.escape_debug())));
        }
        let (from_unix_ms, until_unix_ms) = CertificateDer::from_pem_slice(chain_pem.as_bytes())
            .ok()
            .and_then(|certificate| certificate_validity(&certificate))
            .ok_or_else(|| EnrollError::Unusable("the certificate says not when it holds".to_owned()))?;
        let taken = Self {
            box_id: box_id.to_owned(),
            generation: 1,
            tenant: String::new(),
            key_pem,
            chain_pem,
            unlock_secret: Zeroizing::default(),
            validity: Validity { from_unix_ms, until_unix_ms, renew_unix_ms: 0 },
        };
        // Whether key and certificate belong together. Nobody is believed by it, so any certificate does for a root.
        TlsSettings::new(&taken.tls(taken.chain_pem.as_bytes())).map_err(|e| EnrollError::Unusable(e.to_string()))?;
        Ok(taken)
    }

    /// What the box shows in TLS, to whom these roots vouch for.
    #[must_use]
    pub fn tls(&self, roots_pem: &[u8]) -> TlsIdentity {
        TlsIdentity {
            certificate_chain_pem: self.chain_pem.as_bytes().to_vec(),
            private_key_pem: Zeroizing::new(self.key_pem.as_bytes().to_vec()),
            roots_pem: roots_pem.to_vec(),
        }
    }

    /// Whether the names in it are some: a file may have been written by anybody.
    pub(super) fn is_sound(&self) -> bool {
        is_box_id(&self.box_id) && (self.tenant.is_empty() || is_tenant(&self.tenant)) && self.generation > 0
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({}, generation {}, …)", self.box_id, self.generation)
    }
}

impl fmt::Debug for OperationalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OperationalKey(…)")
    }
}

/// Box ids become parts of MQTT topics, so they hold nothing that means something there.
fn is_box_id(text: &str) -> bool {
    (1..=NAME_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn is_tenant(text: &str) -> bool {
    (1..=NAME_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// RFC 7468.
fn certificate_pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for line in text.as_bytes().chunks(64) {
        pem.extend(line.iter().copied().map(char::from));
        pem.push('\n');
    }
    pem + "-----END CERTIFICATE-----\n"
}

/// A text as its lines: a string with line breaks in it would be unescaped in a buffer that nobody wipes.
mod lines {
    use super::*;

    pub(super) fn serialize<S: serde::Serializer>(text: &Zeroizing<String>, out: S) -> Result<S::Ok, S::Error> {
        out.collect_seq(text.lines())
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Zeroizing<String>, D::Error> {
        let lines = Vec::<Zeroizing<String>>::deserialize(from)?;
        let mut text = Zeroizing::new(String::with_capacity(lines.iter().map(|line| line.len() + 1).sum()));
        for line in lines {
            text.push_str(&line);
            text.push('\n');
        }
        Ok(text)
    }
}

mod in_base64 {
    use super::*;

    pub(super) fn serialize<S: serde::Serializer>(bytes: &Zeroizing<Vec<u8>>, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&Zeroizing::new(STANDARD.encode(&**bytes)))
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Zeroizing<Vec<u8>>, D::Error> {
        let text = Zeroizing::<String>::deserialize(from)?;
        STANDARD.decode(text.as_bytes()).map(Zeroizing::new).map_err(serde::de::Error::custom)
    }
}
