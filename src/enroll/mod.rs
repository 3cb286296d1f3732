//! Enrolment: who this box is.
//!
//! What this room is for: the box's own key (made here, never leaving its folder), the request for a certificate, and
//! the identity that comes of it.
//! What it promises: the private key is written with mode 0600 in a folder of mode 0700 and wiped from memory after use;
//! a half-written identity is never used.
//! Who may call it: agent, the command line.
//!
//! How the request gets to the cloud and the certificate back is, for now, a matter of two files.

mod label;
pub mod machine;
mod refusals;

use std::io;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, DnType, KeyPair};
use zeroize::Zeroizing;

use crate::store::{read_bounded, write_atomically};
use crate::uplink::{TlsIdentity, TlsSettings};

pub use label::{Label, LabelError, LabelSecret, SECRET_BYTES};
pub use refusals::{Disabled, REFUSALS_MAX, Refusals, TicketError, Verdict};

/// Largest file of an identity, in bytes.
const FILE_MAX_BYTES: usize = 64 * 1024;
const KEY_FILE: &str = "box.key";
const CERTIFICATE_FILE: &str = "box.crt";
const ROOTS_FILE: &str = "roots.crt";
const ID_FILE: &str = "box.id";

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    /// The box has no certificate yet.
    #[error(
        "this box is not enrolled: there is no {missing}; make a request with `platen enroll request`, have it signed, and install the answer with `platen enroll install`"
    )]
    NotEnrolled {
        /// The file that is missing.
        missing: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("{path} cannot be {act}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// "read" or "written".
        act: &'static str,
        /// The operating system's words.
        source: io::Error,
    },
    /// Key, certificate or roots cannot be used, alone or together.
    #[error("{0}")]
    Unusable(String),
}

/// The box's identity.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The id that the cloud gave the box.
    pub box_id: String,
    /// What it shows in TLS.
    pub tls: TlsIdentity,
}

/// The folder that holds the identity.
#[derive(Debug, Clone)]
pub struct IdentityFolder {
    path: PathBuf,
}

impl IdentityFolder {
    /// The identity's folder in the box's data folder.
    #[must_use]
    pub fn in_data_dir(data_dir: &Path) -> Self {
        Self { path: data_dir.join("identity") }
    }

    /// Makes the key where there is none yet, and a request for a certificate (PKCS #10, RFC 2986; PEM).
    ///
    /// # Errors
    /// When the folder or the key cannot be written or read.
    pub fn request(&self) -> Result<String, EnrollError> {
        self.make_private()?;
        let key = match self.read(KEY_FILE) {
            Ok(pem) => parse_key(&pem)?,
            Err(EnrollError::NotEnrolled { .. }) => self.make_key()?,
            Err(other) => return Err(other),
        };
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, "platen box");
        let request = parameters.serialize_request(&key).map_err(|e| EnrollError::Unusable(e.to_string()))?;
        request.pem().map_err(|e| EnrollError::Unusable(e.to_string()))
    }

    /// Takes the cloud's answer. The identity is checked as a whole before any file is written.
    ///
    /// # Errors
    /// When the certificate does not belong to the box's key, or the roots hold none.
    pub fn install(&self, box_id: &str, certificate_chain_pem: &str, roots_pem: &str) -> Result<(), EnrollError> {
        if !is_box_id(box_id) {
            return Err(EnrollError::Unusable(format!("\"{}\" is not a box id", box_id.escape_debug())));
        }
        let identity = TlsIdentity {
            certificate_chain_pem: certificate_chain_pem.as_bytes().to_vec(),
            private_key_pem: self.read(KEY_FILE)?,
            roots_pem: roots_pem.as_bytes().to_vec(),
        };
        TlsSettings::new(&identity).map_err(|e| EnrollError::Unusable(e.to_string()))?;
        self.write(ROOTS_FILE, roots_pem.as_bytes())?;
        self.write(CERTIFICATE_FILE, certificate_chain_pem.as_bytes())?;
        // Last: its presence says that the others are there.
        self.write(ID_FILE, box_id.as_bytes())
    }

    /// Reads the identity.
    ///
    /// # Errors
    /// [`EnrollError::NotEnrolled`] when the box has none yet.
    pub fn load(&self) -> Result<Identity, EnrollError> {
        let id = self.read(ID_FILE)?;
        let box_id =
            std::str::from_utf8(&id).ok().map(str::trim).filter(|id| is_box_id(id)).ok_or_else(|| {
                EnrollError::Unusable(format!("{} holds no box id", self.path.join(ID_FILE).display()))
            })?;
        Ok(Identity {
            box_id: box_id.to_owned(),
            tls: TlsIdentity {
                certificate_chain_pem: self.read(CERTIFICATE_FILE)?.to_vec(),
                private_key_pem: self.read(KEY_FILE)?,
                roots_pem: self.read(ROOTS_FILE)?.to_vec(),
            },
        })
    }

    fn make_private(&self) -> Result<(), EnrollError> {
        use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
        let failed = |source| EnrollError::File { path: self.path.clone(), act: "written", source };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.path).map_err(failed)?;
        std::fs::set_permissions(&self.path, std::fs::Permissions::from_mode(0o700)).map_err(failed)
    }

    fn make_key(&self) -> Result<KeyPair, EnrollError> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)
            .map_err(|e| EnrollError::Unusable(format!("no key can be made: {e}")))?;
        let pem = Zeroizing::new(key.serialize_pem());
        self.write(KEY_FILE, pem.as_bytes())?;
        Ok(key)
    }

    fn read(&self, file: &str) -> Result<Zeroizing<Vec<u8>>, EnrollError> {
        let path = self.path.join(file);
        match read_bounded(&path, FILE_MAX_BYTES) {
            Ok(bytes) => Ok(Zeroizing::new(bytes)),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Err(EnrollError::NotEnrolled { missing: path }),
            Err(source) => Err(EnrollError::File { path, act: "read", source }),
        }
    }

    fn write(&self, file: &str, bytes: &[u8]) -> Result<(), EnrollError> {
        let path = self.path.join(file);
        write_atomically(&path, bytes).map_err(|source| EnrollError::File { path, act: "written", source })
    }
}

fn parse_key(pem: &[u8]) -> Result<KeyPair, EnrollError> {
    let text = std::str::from_utf8(pem).map_err(|_| EnrollError::Unusable(format!("{KEY_FILE} is not PEM")))?;
    KeyPair::from_pem(text).map_err(|e| EnrollError::Unusable(format!("{KEY_FILE} holds no usable key: {e}")))
}

/// Box ids become parts of MQTT topics, so they hold nothing that means something there.
fn is_box_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign(request_pem_key_owner: &IdentityFolder) -> (String, String) {
        let root_key = KeyPair::generate().unwrap();
        let root = CertificateParams::new(vec!["root".to_owned()]).unwrap();
        let root_certificate = root.self_signed(&root_key).unwrap();
        let issuer = rcgen::Issuer::new(root, root_key);
        let key = parse_key(&request_pem_key_owner.read(KEY_FILE).unwrap()).unwrap();
        let certificate = CertificateParams::new(vec!["box".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        (certificate.pem(), root_certificate.pem())
    }

    #[test]
    fn the_key_is_private_and_stays_the_same_for_every_request() {
        use std::os::unix::fs::PermissionsExt;
        let data = tempfile::tempdir().unwrap();
        let folder = IdentityFolder::in_data_dir(data.path());
        assert!(folder.request().unwrap().contains("BEGIN CERTIFICATE REQUEST"));
        let key = folder.read(KEY_FILE).unwrap();
        folder.request().unwrap();
        assert_eq!(*folder.read(KEY_FILE).unwrap(), *key);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder.path), 0o700);
        assert_eq!(mode(&folder.path.join(KEY_FILE)), 0o600);
    }

    #[test]
    fn an_installed_answer_is_an_identity() {
        let data = tempfile::tempdir().unwrap();
        let folder = IdentityFolder::in_data_dir(data.path());
        assert!(matches!(folder.load(), Err(EnrollError::NotEnrolled { .. })));
        folder.request().unwrap();
        let (certificate, root) = sign(&folder);
        folder.install("box-1", &certificate, &root).unwrap();
        assert_eq!(folder.load().unwrap().box_id, "box-1");
    }

    #[test]
    fn somebody_elses_certificate_is_not_installed() {
        let data = tempfile::tempdir().unwrap();
        let mine = IdentityFolder::in_data_dir(&data.path().join("mine"));
        let other = IdentityFolder::in_data_dir(&data.path().join("other"));
        mine.request().unwrap();
        other.request().unwrap();
        let (certificate, root) = sign(&other);
        assert!(matches!(mine.install("box-1", &certificate, &root), Err(EnrollError::Unusable(_))));
        assert!(matches!(mine.load(), Err(EnrollError::NotEnrolled { .. })));
        assert!(matches!(mine.install("a/b", &certificate, &root), Err(EnrollError::Unusable(_))));
    }
}
