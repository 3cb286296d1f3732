//! The one TLS configuration: pinned roots, the box's certificate, TLS 1.2 and 1.3, one crypto provider.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer};
use zeroize::Zeroizing;

use super::UplinkError;

/// Who the box is in TLS, and whom it believes. PEM, as the files hold it.
#[derive(Clone)]
pub struct TlsIdentity {
    /// The box's certificate, then those that lead to its authority.
    pub certificate_chain_pem: Vec<u8>,
    /// The box's private key (PKCS #8).
    pub private_key_pem: Zeroizing<Vec<u8>>,
    /// The pinned roots: the current one and, ahead of a change, the next.
    pub roots_pem: Vec<u8>,
}

/// What precedes the 32 octets of an Ed25519 key in a SubjectPublicKeyInfo (RFC 8410 §4).
const ED25519_SPKI_HEAD: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

impl TlsIdentity {
    /// The cloud's Ed25519 signing key, which stands as a PEM block "PUBLIC KEY" beside the pinned roots; `None` where there is
    /// none.
    #[must_use]
    pub fn signing_key(&self) -> Option<Vec<u8>> {
        let keys = SubjectPublicKeyInfoDer::pem_slice_iter(&self.roots_pem).flatten();
        keys.filter_map(|key| key.as_ref().strip_prefix(&ED25519_SPKI_HEAD).map(<[u8]>::to_vec))
            .find(|key| key.len() == 32)
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsIdentity(…)")
    }
}

/// TLS configurations made of one identity, one for each application protocol.
#[derive(Debug, Clone)]
pub struct TlsSettings {
    base: Arc<rustls::ClientConfig>,
}

impl TlsSettings {
    /// Makes the configuration. The system's own certificate store is never looked at: a proxy's authority that was put
    /// there must not be believed.
    ///
    /// # Errors
    /// When certificate, key or roots cannot be read or do not belong together.
    pub fn new(identity: &TlsIdentity) -> Result<Self, UplinkError> {
        let bad = |what: &str, detail: &dyn fmt::Display| UplinkError::Identity(format!("{what}: {detail}"));
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&identity.roots_pem) {
            let certificate = certificate.map_err(|e| bad("pinned roots", &e))?;
            roots.add(certificate).map_err(|e| bad("pinned roots", &e))?;
        }
        if roots.is_empty() {
            return Err(bad("pinned roots", &"there is no certificate in the file"));
        }
        let chain = CertificateDer::pem_slice_iter(&identity.certificate_chain_pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| bad("certificate", &e))?;
        let key = PrivateKeyDer::from_pem_slice(&identity.private_key_pem).map_err(|e| bad("private key", &e))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let base = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|e| bad("TLS versions", &e))?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(|e| bad("certificate and private key", &e))?;
        Ok(Self { base: Arc::new(base) })
    }

    /// The configuration for one application protocol (ALPN, RFC 7301), for example `h2`.
    #[must_use]
    pub fn for_protocol(&self, alpn: &[u8]) -> Arc<rustls::ClientConfig> {
        let mut config = (*self.base).clone();
        config.alpn_protocols = vec![alpn.to_vec()];
        Arc::new(config)
    }
}
