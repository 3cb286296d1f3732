//! Certificate authorities for tests: certificates of any names and dates, and what a box pins.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use platen::uplink::TlsIdentity;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;

/// Days since 1970.
pub type Days = u64;

pub fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// An authority.
pub struct Ca {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key.
pub struct Issued {
    pub certificate_pem: String,
    pub key_pem: String,
}

impl Ca {
    pub fn new(name: &str) -> Self {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { issuer: CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap() }
    }

    pub fn root_pem(&self) -> String {
        self.issuer.pem()
    }

    /// The authority whole, certificate and key: for a proxy that issues certificates.
    pub fn pem(&self) -> String {
        format!("{}{}", self.issuer.pem(), self.issuer.key().serialize_pem())
    }

    /// A certificate that is good from one day to another; for ever where there are none.
    pub fn issue(&self, name: &str, days: Option<(Days, Days)>) -> Issued {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(vec![name.to_owned()]).unwrap();
        parameters.distinguished_name.push(DnType::CommonName, name);
        if let Some((from, until)) = days {
            let at = |days: Days| UNIX_EPOCH + Duration::from_secs(days * 86_400);
            parameters.not_before = at(from).into();
            parameters.not_after = at(until).into();
        }
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        Issued { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() }
    }

    /// What a box holds that is of this authority and believes `pinned_pem`.
    pub fn identity(&self, pinned_pem: &str) -> TlsIdentity {
        let issued = self.issue("box", None);
        TlsIdentity {
            certificate_chain_pem: issued.certificate_pem.into_bytes(),
            private_key_pem: issued.key_pem.into_bytes().into(),
            roots_pem: pinned_pem.as_bytes().to_vec(),
        }
    }

    /// TLS of a server that shows a certificate and wants one of this authority.
    pub fn server(&self, shown: &Issued, alpn: &[&[u8]]) -> rustls::ServerConfig {
        self.server_with_key(&shown.certificate_pem, &shown.key_pem, alpn)
    }

    /// TLS of a server that shows a certificate and wants none.
    pub fn server_for_all(shown: &Issued, alpn: &[&[u8]]) -> rustls::ServerConfig {
        let mut config = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                chain(&shown.certificate_pem),
                PrivateKeyDer::from_pem_slice(shown.key_pem.as_bytes()).unwrap(),
            )
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        config
    }

    /// As [`server`](Self::server); key and certificate need not belong together.
    pub fn server_with_key(&self, certificate_pem: &str, key_pem: &str, alpn: &[&[u8]]) -> rustls::ServerConfig {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.root_pem().as_bytes()).unwrap()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build().unwrap();
        let chain = chain(certificate_pem);
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).unwrap();
        let key = provider().key_provider.load_private_key(key).unwrap();
        let mut config = rustls::ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(CertifiedKey::new(chain, key))));
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        config
    }
}

fn chain(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).map(Result::unwrap).collect()
}
