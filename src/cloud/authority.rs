//! The certificate authority: one root, made at the first start; certificates for this cloud and for its boxes. And the key by
//! which this cloud signs what stands above TLS: the time, and tickets for disabled boxes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SigningKey,
};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;

use super::{CloudError, Trial};
use crate::store::{read_bounded, write_atomically};
use crate::sys::random_hex;

/// Largest file of the authority, in bytes.
const FILE_MAX_BYTES: usize = 64 * 1024;
/// Life of a box's certificate.
const BOX_LIFE: Duration = Duration::from_secs(90 * 86_400);
/// Life of this cloud's own certificate; a new one is made at each start.
const SERVER_LIFE: Duration = Duration::from_secs(365 * 86_400);
/// Life of the root.
const ROOT_LIFE: Duration = Duration::from_secs(20 * 365 * 86_400);
/// Certificates begin a little in the past: boxes' clocks are not ours.
const LEEWAY: Duration = Duration::from_secs(3_600);

/// The authority of one data folder.
#[derive(Debug)]
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// The root, and the public half of the signing key: what a box pins.
    pinned_pem: String,
    root_pem: String,
    signing_key: KeyPair,
    leeway: Duration,
    box_life: Duration,
}

/// A certificate that was made for a box.
#[derive(Debug, Clone)]
pub(super) struct Issued {
    /// The certificate (DER).
    pub der: Vec<u8>,
    /// The certificate (PEM).
    pub pem: String,
    /// SHA-256 of the certificate (DER), hexadecimal.
    pub fingerprint: String,
    /// When it begins to hold and when it ends, milliseconds since 1970.
    pub begins_ms: i64,
    pub ends_ms: i64,
}

/// A box that was taken in.
#[derive(Debug, Clone)]
pub struct IssuedBox {
    /// Its id.
    pub box_id: String,
    /// Its certificate (PEM).
    pub certificate_pem: String,
    /// What the box is to pin: this cloud's root, and the public half of its signing key (PEM).
    pub root_pem: String,
    /// SHA-256 of the certificate (DER), hexadecimal.
    pub(super) fingerprint: String,
    /// When the certificate ends, milliseconds since 1970.
    pub(super) ends_ms: i64,
}

fn failed(what: &str, error: impl std::fmt::Display) -> CloudError {
    CloudError::Authority(format!("{what}: {error}"))
}

/// SHA-256, hexadecimal.
pub(super) fn fingerprint(der: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, der);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn set_life(parameters: &mut CertificateParams, leeway: Duration, life: Duration) {
    let now = SystemTime::now();
    parameters.not_before = (now - leeway).into();
    parameters.not_after = (now + life).into();
}

impl Authority {
    /// Opens the authority of a data folder; makes one where there is none.
    pub(super) fn open(data_dir: &Path) -> Result<Self, CloudError> {
        Self::open_for(data_dir, Trial::default())
    }

    /// As [`open`](Self::open), perhaps for a trial.
    pub(super) fn open_for(data_dir: &Path, trial: Trial) -> Result<Self, CloudError> {
        let leeway = if trial.certificates_from_now { Duration::ZERO } else { LEEWAY };
        let folder = data_dir.join("authority");
        let (key_file, certificate_file) = (folder.join("root.key"), folder.join("root.crt"));
        let file_error = |path: &PathBuf| {
            let path = path.clone();
            move |source| CloudError::File { path, source }
        };
        make_private(&folder).map_err(file_error(&folder))?;
        if !key_file.exists() {
            let (key_pem, certificate_pem) = make_root(leeway)?;
            write_atomically(&certificate_file, certificate_pem.as_bytes()).map_err(file_error(&certificate_file))?;
            // Last: its presence says that the certificate is there.
            write_atomically(&key_file, key_pem.as_bytes()).map_err(file_error(&key_file))?;
        }
        let text = |path: &PathBuf| {
            let bytes = read_bounded(path, FILE_MAX_BYTES).map_err(file_error(path))?;
            String::from_utf8(bytes).map_err(|e| failed("its files", e))
        };
        let root_pem = text(&certificate_file)?;
        let key = KeyPair::from_pem(&text(&key_file)?).map_err(|e| failed("root key", e))?;
        let issuer = Issuer::from_ca_cert_pem(&root_pem, key).map_err(|e| failed("root certificate", e))?;
        let signing_file = folder.join("signing.key");
        if !signing_file.exists() {
            let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).map_err(|e| failed("signing key", e))?;
            write_atomically(&signing_file, key.serialize_pem().as_bytes()).map_err(file_error(&signing_file))?;
        }
        let signing_key = KeyPair::from_pem(&text(&signing_file)?).map_err(|e| failed("signing key", e))?;
        let pinned_pem = format!("{}\n{}", root_pem.trim_end(), signing_key.public_key_pem());
        let box_life = trial.box_life.unwrap_or(BOX_LIFE);
        Ok(Self { issuer, pinned_pem, root_pem, signing_key, leeway, box_life })
    }

    /// What a box pins: the root, and the public half of the signing key (PEM).
    pub(super) fn pinned_pem(&self) -> &str {
        &self.pinned_pem
    }

    /// Signs with the key that every box pins (Ed25519, RFC 8032).
    pub(super) fn sign_message(&self, message: &[u8]) -> Result<Vec<u8>, CloudError> {
        self.signing_key.sign(message).map_err(|e| failed("signing", e))
    }

    /// Takes a box in that brings its request in a file: the id is ours.
    pub(super) fn sign(&self, request_pem: &str) -> Result<IssuedBox, CloudError> {
        let request = CertificateSigningRequestParams::from_pem(request_pem)
            .map_err(|e| failed("the box's request cannot be read", e))?;
        let box_id = new_box_id();
        let issued = self.issue(request, &box_id)?;
        Ok(IssuedBox {
            box_id,
            fingerprint: issued.fingerprint,
            certificate_pem: issued.pem,
            root_pem: self.pinned_pem.clone(),
            ends_ms: issued.ends_ms,
        })
    }

    /// Makes a certificate of a box. What the request says about itself is not taken over.
    pub(super) fn issue(
        &self,
        mut request: CertificateSigningRequestParams,
        box_id: &str,
    ) -> Result<Issued, CloudError> {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, box_id);
        parameters.is_ca = IsCa::ExplicitNoCa;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        set_life(&mut parameters, self.leeway, self.box_life);
        let ms = |time: time::OffsetDateTime| i64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
        let (begins_ms, ends_ms) = (ms(parameters.not_before), ms(parameters.not_after));
        request.params = parameters;
        let certificate = request.signed_by(&self.issuer).map_err(|e| failed("signing", e))?;
        let (der, pem) = (certificate.der().to_vec(), certificate.pem());
        Ok(Issued { fingerprint: fingerprint(&der), der, pem, begins_ms, ends_ms })
    }

    /// TLS for the device port: our certificate, and of clients certificates of our boxes or none.
    pub(super) fn server_config(&self, names: &[String]) -> Result<Arc<rustls::ServerConfig>, CloudError> {
        let key = KeyPair::generate().map_err(|e| failed("server key", e))?;
        let mut parameters = CertificateParams::new(names.to_vec()).map_err(|e| failed("server names", e))?;
        parameters.distinguished_name.push(DnType::CommonName, "platen cloud");
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        set_life(&mut parameters, self.leeway, SERVER_LIFE);
        let certificate = parameters.signed_by(&key, &self.issuer).map_err(|e| failed("server certificate", e))?;
        let root = CertificateDer::from_pem_slice(self.root_pem.as_bytes()).map_err(|e| failed("root", e))?;
        let mut roots = RootCertStore::empty();
        roots.add(root).map_err(|e| failed("root", e))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            // A box that is nobody's has no certificate yet: which calls it may make is decided call by call.
            .allow_unauthenticated()
            .build()
            .map_err(|e| failed("client verifier", e))?;
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).map_err(|e| failed("key", e))?;
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|e| failed("TLS versions", e))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![certificate.der().clone()], key)
            .map_err(|e| failed("server certificate", e))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// A name that no box had before.
pub(super) fn new_box_id() -> String {
    format!("box-{}", random_hex(8))
}

fn make_root(leeway: Duration) -> Result<(String, String), CloudError> {
    let key = KeyPair::generate().map_err(|e| failed("root key", e))?;
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, format!("platen cloud root {}", random_hex(4)));
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_life(&mut parameters, leeway, ROOT_LIFE);
    let certificate = parameters.self_signed(&key).map_err(|e| failed("root certificate", e))?;
    Ok((key.serialize_pem(), certificate.pem()))
}

fn make_private(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}
