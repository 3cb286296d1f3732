//! The folder that holds who the box is: the bound key, the certificate in use, at most one that is tried beside it, the pinned roots.
//!
//! Every file is written whole or not at all. Those that hold a secret are sealed where there is a seal, see [`super::seal`].

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use rcgen::KeyPair;
use zeroize::Zeroizing;

use super::credential::{self, Credential, OperationalKey};
use super::seal::{Seal, is_sealed};
use super::{BoundKey, EnrollError, machine};
use crate::store::{read_bounded, write_atomically};
use crate::uplink::{TlsIdentity, TlsSettings};

/// Largest file of an identity, in bytes.
const FILE_MAX_BYTES: usize = 64 * 1024;
const BOUND_FILE: &str = "bound.key";
const REQUEST_FILE: &str = "request.key";
const CURRENT_FILE: &str = "credential.json";
const NEXT_FILE: &str = "credential.next.json";
const ROOTS_FILE: &str = "roots.crt";

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
    seal: Option<Seal>,
}

impl IdentityFolder {
    /// The identity's folder in the box's data folder, without a seal.
    #[must_use]
    pub fn in_data_dir(data_dir: &Path) -> Self {
        Self { path: data_dir.join("identity"), seal: None }
    }

    /// Seals its secrets with the contents of this file; `None`: they lie open.
    ///
    /// # Errors
    /// When the file cannot be read or holds no secret.
    pub fn sealed_by(mut self, seal_file: Option<&Path>) -> Result<Self, EnrollError> {
        self.seal = seal_file.map(Seal::load).transpose()?;
        Ok(self)
    }

    /// Makes the bound key where there is none.
    ///
    /// # Errors
    /// When it cannot be written, or one is there that cannot be used: that is never replaced.
    pub fn make_bound_key(&self) -> Result<(), EnrollError> {
        if self.bound_key()?.is_some() {
            return Ok(());
        }
        let der = BoundKey::make()
            .map_err(|_| EnrollError::Unusable("no key can be made: the system gives no randomness".to_owned()))?;
        self.make_private()?;
        self.write_secret(BOUND_FILE, &der)
    }

    /// The bound key.
    ///
    /// # Errors
    /// When it cannot be read, or is none.
    pub fn bound_key(&self) -> Result<Option<BoundKey>, EnrollError> {
        let Some(der) = self.read_secret(BOUND_FILE)? else { return Ok(None) };
        BoundKey::from_pkcs8(&der).map(Some).ok_or_else(|| self.damaged(BOUND_FILE))
    }

    /// A new key and the request for its certificate (PKCS #10, DER).
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn new_request() -> Result<(Vec<u8>, OperationalKey), EnrollError> {
        let (request, key) = OperationalKey::make()?;
        Ok((request.der().to_vec(), key))
    }

    /// The certificate in use.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn current(&self) -> Result<Option<Credential>, EnrollError> {
        self.credential(CURRENT_FILE)
    }

    /// The one that is tried beside it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn next(&self) -> Result<Option<Credential>, EnrollError> {
        self.credential(NEXT_FILE)
    }

    /// Keeps one beside the one in use.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep_next(&self, next: &Credential) -> Result<(), EnrollError> {
        self.write_credential(NEXT_FILE, next)
    }

    /// Puts it in the place of the one in use, in one step.
    ///
    /// # Errors
    /// When there is none, or the disk refuses.
    pub fn promote_next(&self) -> Result<Credential, EnrollError> {
        let from = self.path.join(NEXT_FILE);
        let next = self.next()?.ok_or_else(|| EnrollError::NotEnrolled { missing: from.clone() })?;
        let to = self.path.join(CURRENT_FILE);
        std::fs::rename(&from, &to).and_then(|()| self.sync()).map_err(|source| EnrollError::File {
            path: to,
            act: "written",
            source,
        })?;
        Ok(next)
    }

    /// Takes the one beside away; nothing where there is none.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn discard_next(&self) -> Result<(), EnrollError> {
        self.remove_secret(NEXT_FILE)
    }

    /// What the machine of enrolment wants to know at a start.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn found(&self) -> Result<machine::Found, EnrollError> {
        let current = self.current()?;
        Ok(machine::Found {
            bound: self.bound_key()?.is_some(),
            generation: current.as_ref().map_or(0, |current| current.generation),
            current: current.map(|current| current.validity),
            next: self.next()?.map(|next| next.tenant),
        })
    }

    /// The pinned roots and the cloud's key (PEM), where they were installed.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn roots(&self) -> Result<Option<Vec<u8>>, EnrollError> {
        Ok(self.read(ROOTS_FILE)?.map(|roots| roots.to_vec()))
    }

    /// Keeps them.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn keep_roots(&self, roots_pem: &[u8]) -> Result<(), EnrollError> {
        self.make_private()?;
        self.write(ROOTS_FILE, roots_pem)
    }

    /// A request for a certificate (PKCS #10, RFC 2986; PEM), as a technician carries it. Its key is kept until the answer is
    /// [installed](Self::install), and the same for every request until then.
    ///
    /// # Errors
    /// When the folder or the key cannot be written or read.
    pub fn request(&self) -> Result<String, EnrollError> {
        self.make_private()?;
        let request = if let Some(pem) = self.read_secret(REQUEST_FILE)? {
            let key = std::str::from_utf8(&pem).ok().and_then(|pem| KeyPair::from_pem(pem).ok());
            credential::request(&key.ok_or_else(|| self.damaged(REQUEST_FILE))?)?
        } else {
            let (request, key) = OperationalKey::make()?;
            self.write_secret(REQUEST_FILE, key.pem().as_bytes())?;
            request
        };
        request.pem().map_err(|e| EnrollError::Unusable(e.to_string()))
    }

    /// Takes the answer to it. It is checked as a whole before any file is written.
    ///
    /// # Errors
    /// When the certificate does not belong to the box's key, or the roots hold none.
    pub fn install(&self, box_id: &str, certificate_chain_pem: &str, roots_pem: &str) -> Result<(), EnrollError> {
        let key_pem = match (self.read_secret(REQUEST_FILE)?, self.current()?) {
            (Some(pem), _) => Zeroizing::new(String::from_utf8_lossy(&pem).into_owned()),
            // The same answer once more, or a new certificate for the same key.
            (None, Some(current)) => current.key_pem,
            (None, None) => return Err(EnrollError::NotEnrolled { missing: self.path.join(REQUEST_FILE) }),
        };
        let taken = Credential::new(box_id, key_pem, certificate_chain_pem.to_owned())?;
        TlsSettings::new(&taken.tls(roots_pem.as_bytes())).map_err(|e| EnrollError::Unusable(e.to_string()))?;
        self.keep_roots(roots_pem.as_bytes())?;
        self.write_credential(CURRENT_FILE, &taken)?;
        self.remove_secret(REQUEST_FILE)
    }

    /// Reads the identity in use.
    ///
    /// # Errors
    /// [`EnrollError::NotEnrolled`] when the box has none yet.
    pub fn load(&self) -> Result<Identity, EnrollError> {
        let missing = |file: &str| EnrollError::NotEnrolled { missing: self.path.join(file) };
        let current = self.current()?.ok_or_else(|| missing(CURRENT_FILE))?;
        let roots = self.roots()?.ok_or_else(|| missing(ROOTS_FILE))?;
        Ok(Identity { tls: current.tls(&roots), box_id: current.box_id })
    }

    fn credential(&self, file: &str) -> Result<Option<Credential>, EnrollError> {
        let Some(bytes) = self.read_secret(file)? else { return Ok(None) };
        // The parser's own words may quote the key.
        let credential: Credential = serde_json::from_slice(&bytes).map_err(|_| self.damaged(file))?;
        if credential.is_sound() { Ok(Some(credential)) } else { Err(self.damaged(file)) }
    }

    fn write_credential(&self, file: &str, credential: &Credential) -> Result<(), EnrollError> {
        self.make_private()?;
        // As large as it may become at once: no copy of the key is left where it was moved from.
        let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_MAX_BYTES));
        serde_json::to_writer(&mut *bytes, credential).map_err(|e| EnrollError::Unusable(e.to_string()))?;
        if bytes.len() > FILE_MAX_BYTES / 2 {
            return Err(EnrollError::Unusable("the certificate is too long".to_owned()));
        }
        self.write_secret(file, &bytes)
    }

    fn damaged(&self, file: &str) -> EnrollError {
        EnrollError::Unusable(format!(
            "{} is damaged and cannot be used: reset the box, and enrol it anew",
            self.path.join(file).display()
        ))
    }

    fn make_private(&self) -> Result<(), EnrollError> {
        use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
        let failed = |source| EnrollError::File { path: self.path.clone(), act: "written", source };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.path).map_err(failed)?;
        std::fs::set_permissions(&self.path, std::fs::Permissions::from_mode(0o700)).map_err(failed)
    }

    fn sync(&self) -> io::Result<()> {
        std::fs::File::open(&self.path)?.sync_all()
    }

    /// A file as it is; `None` where there is none.
    fn read(&self, file: &str) -> Result<Option<Zeroizing<Vec<u8>>>, EnrollError> {
        let path = self.path.join(file);
        match read_bounded(&path, FILE_MAX_BYTES) {
            Ok(bytes) => Ok(Some(Zeroizing::new(bytes))),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(EnrollError::File { path, act: "read", source }),
        }
    }

    /// A secret, opened. One that lies open although there is a seal is sealed now.
    fn read_secret(&self, file: &str) -> Result<Option<Zeroizing<Vec<u8>>>, EnrollError> {
        let Some(bytes) = self.read(file)? else { return Ok(None) };
        let sealed = |why| EnrollError::Sealed { path: self.path.join(file), why };
        match &self.seal {
            None if is_sealed(&bytes) => Err(sealed("no seal file is given")),
            None => Ok(Some(bytes)),
            Some(seal) if is_sealed(&bytes) => seal
                .open(sealed_as(file), &bytes)
                .map(Some)
                .ok_or_else(|| sealed("the seal file that is given is another board's, or the file is damaged")),
            Some(_) => {
                let open = std::fs::OpenOptions::new().write(true).open(self.path.join(file));
                self.write_secret(file, &bytes)?;
                // Its name is gone; what it held would stay on the disk. Where that fails, it is as with any copy made earlier.
                let wiped = open.and_then(|mut old| {
                    old.write_all(&vec![0; bytes.len()])?;
                    old.sync_all()
                });
                if let Err(error) = wiped {
                    tracing::warn!(file, %error, "a secret is sealed now; what lay open before could not be overwritten");
                }
                Ok(Some(bytes))
            }
        }
    }

    fn write_secret(&self, file: &str, bytes: &[u8]) -> Result<(), EnrollError> {
        let Some(seal) = &self.seal else { return self.write(file, bytes) };
        let sealed = seal.seal(sealed_as(file), bytes).ok_or_else(|| {
            EnrollError::Unusable(format!("{file} cannot be sealed: the system gives no randomness; restart the box"))
        })?;
        self.write(file, &sealed)
    }

    fn write(&self, file: &str, bytes: &[u8]) -> Result<(), EnrollError> {
        let path = self.path.join(file);
        write_atomically(&path, bytes).map_err(|source| EnrollError::File { path, act: "written", source })
    }

    /// Overwrites a file with zeros and removes it; nothing where there is none.
    fn remove_secret(&self, file: &str) -> Result<(), EnrollError> {
        let path = self.path.join(file);
        let removed = || {
            let mut old = std::fs::OpenOptions::new().write(true).open(&path)?;
            let length = usize::try_from(old.metadata()?.len()).unwrap_or(FILE_MAX_BYTES).min(FILE_MAX_BYTES);
            // Removed first: a power cut in between must not leave a file of zeros.
            std::fs::remove_file(&path)?;
            self.sync()?;
            old.write_all(&vec![0; length])?;
            old.sync_all()
        };
        match removed() {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(EnrollError::File { path, act: "removed", source })
            }
            _ => Ok(()),
        }
    }
}

/// The name under which a file is sealed: one for both certificates, because the next takes the place of the current as it is.
fn sealed_as(file: &str) -> &str {
    if file == NEXT_FILE { CURRENT_FILE } else { file }
}
