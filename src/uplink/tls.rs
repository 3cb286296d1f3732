//! The one TLS configuration: pinned roots, the box's certificate, TLS 1.2 and 1.3 with AEAD and ECDHE only (the TLS library
//! has no others), one crypto provider. And the cloud's pinned signing key, which comes in the same file as the roots.

use std::fmt;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer};
use zeroize::Zeroizing;

use super::UplinkError;
use super::time::TimeKeeper;
use super::verify::{Purpose, Witness};

/// Who the box is in TLS, and whom it believes. PEM, as the files hold it.
#[derive(Clone)]
pub struct TlsIdentity {
    /// The box's certificate, then those that lead to its authority.
    pub certificate_chain_pem: Vec<u8>,
    /// The box's private key (PKCS #8).
    pub private_key_pem: Zeroizing<Vec<u8>>,
    /// The pinned roots: the current one and, ahead of a change, the next. A block "PUBLIC KEY" among them (Ed25519,
    /// RFC 8410 §4) is the key by which the cloud signs the time; without it the box cannot learn the time from the cloud.
    pub roots_pem: Vec<u8>,
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsIdentity(…)")
    }
}

#[cfg(test)]
impl TlsIdentity {
    /// One that believes nobody but itself.
    pub(super) fn made_up() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["box".to_owned()]).unwrap().self_signed(&key).unwrap();
        Self {
            certificate_chain_pem: certificate.pem().into_bytes(),
            private_key_pem: key.serialize_pem().into_bytes().into(),
            roots_pem: certificate.pem().into_bytes(),
        }
    }
}

/// The public half of the key by which the cloud signs what stands above TLS: the time, and tickets for disabled boxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloudKey([u8; 32]);

/// What precedes the key in its SubjectPublicKeyInfo (RFC 8410 §4).
const ED25519_SPKI_HEAD: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

impl CloudKey {
    /// The first Ed25519 key in a file of pinned roots; `None` when there is none.
    #[must_use]
    pub fn in_roots(roots_pem: &[u8]) -> Option<Self> {
        SubjectPublicKeyInfoDer::pem_slice_iter(roots_pem)
            .filter_map(Result::ok)
            .find_map(|spki| spki.as_ref().strip_prefix(&ED25519_SPKI_HEAD)?.try_into().ok().map(Self))
    }

    /// A key as it is (RFC 8032 §5.1.5).
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Whether the cloud has signed this.
    #[must_use]
    pub fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, self.0).verify(message, signature).is_ok()
    }
}

/// TLS configurations made of one identity.
#[derive(Debug, Clone)]
pub struct TlsSettings {
    base: Arc<rustls::ClientConfig>,
    verifier: Arc<WebPkiServerVerifier>,
    cloud_key: Option<CloudKey>,
    time: Option<TimeKeeper>,
}

/// A certificate with those that lead to its authority, and its key.
type Shown = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn bad(what: &str, detail: &dyn fmt::Display) -> UplinkError {
    UplinkError::Identity(format!("{what}: {detail}"))
}

impl TlsSettings {
    /// Makes the configuration. The system's own certificate store is never looked at: a proxy's authority that was put
    /// there must not be believed. Certificates are judged by the system's clock, until [`with_time`](Self::with_time).
    ///
    /// # Errors
    /// When certificate, key or roots cannot be read or do not belong together.
    pub fn new(identity: &TlsIdentity) -> Result<Self, UplinkError> {
        let chain = CertificateDer::pem_slice_iter(&identity.certificate_chain_pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| bad("certificate", &e))?;
        let key = PrivateKeyDer::from_pem_slice(&identity.private_key_pem).map_err(|e| bad("private key", &e))?;
        Self::with(&identity.roots_pem, Some((chain, key)))
    }

    /// As [`new`](Self::new), for a box that has no certificate: it shows none.
    ///
    /// # Errors
    /// When the roots cannot be read.
    pub fn without_certificate(roots_pem: &[u8]) -> Result<Self, UplinkError> {
        Self::with(roots_pem, None)
    }

    fn with(roots_pem: &[u8], shown: Option<Shown>) -> Result<Self, UplinkError> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(roots_pem) {
            let certificate = certificate.map_err(|e| bad("pinned roots", &e))?;
            roots.add(certificate).map_err(|e| bad("pinned roots", &e))?;
        }
        if roots.is_empty() {
            return Err(bad("pinned roots", &"there is no certificate in the file"));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .build()
            .map_err(|e| bad("pinned roots", &e))?;
        let as_verifier: Arc<dyn ServerCertVerifier> = verifier.clone();
        let base = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|e| bad("TLS versions", &e))?
            .dangerous() // the same verifier; each connection wraps it in a witness
            .with_custom_certificate_verifier(as_verifier);
        let mut base = match shown {
            None => base.with_no_client_auth(),
            Some((chain, key)) => {
                base.with_client_auth_cert(chain, key).map_err(|e| bad("certificate and private key", &e))?
            }
        };
        // A resumed session is not verified anew: neither the dates nor, on the other side, whether this box is still welcome.
        base.resumption = rustls::client::Resumption::disabled();
        Ok(Self { base: Arc::new(base), verifier, cloud_key: CloudKey::in_roots(roots_pem), time: None })
    }

    /// Judges certificates by the box's clock, which the cloud can set.
    #[must_use]
    pub fn with_time(mut self, time: TimeKeeper) -> Self {
        let mut base = (*self.base).clone();
        base.time_provider = Arc::new(time.clone());
        self.base = Arc::new(base);
        self.time = Some(time);
        self
    }

    /// The key by which the cloud signs, where it is pinned.
    #[must_use]
    pub fn cloud_key(&self) -> Option<CloudKey> {
        self.cloud_key
    }

    pub(super) fn time(&self) -> Option<&TimeKeeper> {
        self.time.as_ref()
    }

    /// The configuration for one connection, which offers these application protocols (ALPN, RFC 7301), and the witness of
    /// what is shown on it.
    pub(super) fn for_connection(&self, alpn: &[&[u8]], purpose: Purpose) -> (Arc<rustls::ClientConfig>, Arc<Witness>) {
        let is_a_guess = self.time.as_ref().is_some_and(|time| time.clock().is_a_guess());
        let witness = Arc::new(Witness::new(self.verifier.clone(), purpose, is_a_guess));
        let mut config = (*self.base).clone();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        config.dangerous().set_certificate_verifier(witness.clone());
        (Arc::new(config), witness)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing without forward secrecy and authenticated encryption, and nothing older than TLS 1.2.
    #[test]
    fn invariant_7_tls_offers_aead_with_ecdhe_only() {
        let (config, _) = TlsSettings::new(&TlsIdentity::made_up()).unwrap().for_connection(&[b"h2"], Purpose::Calls);
        assert_eq!(config.alpn_protocols, [b"h2".to_vec()]);
        for suite in &config.crypto_provider().cipher_suites {
            let name = format!("{:?}", suite.suite());
            assert!(name.starts_with("TLS13_") || name.starts_with("TLS_ECDHE_"), "{name}");
            assert!(name.contains("GCM") || name.contains("CHACHA20_POLY1305"), "{name}");
        }
    }

    #[test]
    fn the_clouds_key_is_found_among_the_roots_and_nothing_else_is_taken_for_it() {
        use ring::signature::KeyPair as _;
        let pair = ring::signature::Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let spki = [&ED25519_SPKI_HEAD[..], pair.public_key().as_ref()].concat();
        let pem = rcgen_pem("PUBLIC KEY", &spki);
        let root = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec![]).unwrap().self_signed(&root).unwrap().pem();
        let key = CloudKey::in_roots(format!("{certificate}{pem}").as_bytes()).unwrap();
        assert!(key.has_signed(b"noon", pair.sign(b"noon").as_ref()));
        assert!(!key.has_signed(b"midnight", pair.sign(b"noon").as_ref()));
        assert_eq!(CloudKey::in_roots(certificate.as_bytes()), None);
        assert_eq!(CloudKey::in_roots(root.public_key_pem().as_bytes()), None, "P-256");
    }

    fn rcgen_pem(label: &str, der: &[u8]) -> String {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
    }
}
