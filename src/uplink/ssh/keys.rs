//! Keys of SSH: the box's own, and those of the relay that are pinned.

use std::fmt;
use std::sync::Arc;

use russh::keys::{Algorithm, HashAlg, PrivateKey, PublicKey};

use super::super::UplinkError;

/// Most keys that are pinned: the present one and, ahead of a change, the next, of two kinds each.
const PINNED_MAX: usize = 4;

fn bad(what: &str, detail: &dyn fmt::Display) -> UplinkError {
    UplinkError::Identity(format!("{what}: {detail}"))
}

/// The box's private key, Ed25519 or P-256.
#[derive(Clone)]
pub struct SshKey(Arc<PrivateKey>);

impl fmt::Debug for SshKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SshKey({})", self.0.fingerprint(HashAlg::Sha256))
    }
}

impl SshKey {
    /// Reads PKCS #8, as the box's own key is kept, or the form of OpenSSH; not encrypted.
    ///
    /// # Errors
    /// When it is neither, or of another kind.
    pub fn from_pem(pem: &[u8]) -> Result<Self, UplinkError> {
        let text = std::str::from_utf8(pem).map_err(|e| bad("key for SSH", &e))?;
        // The library reads more forms than these two.
        if !["-----BEGIN PRIVATE KEY-----", "-----BEGIN OPENSSH PRIVATE KEY-----"]
            .iter()
            .any(|form| text.contains(form))
        {
            return Err(bad("key for SSH", &"it has neither the form of PKCS #8 nor that of OpenSSH"));
        }
        let key = russh::keys::decode_secret_key(text, None).map_err(|e| bad("key for SSH", &e))?;
        if !is_usable(&key.algorithm()) || key.is_encrypted() {
            return Err(bad("key for SSH", &"it is neither Ed25519 nor P-256, or it is encrypted"));
        }
        Ok(Self(Arc::new(key)))
    }

    /// The public half in the form of OpenSSH, as the relay authorises it: "ssh-ed25519 AAAA…".
    ///
    /// # Errors
    /// When it cannot be written, which no key of these kinds brings about.
    pub fn public_line(&self) -> Result<String, UplinkError> {
        self.0.public_key().to_openssh().map_err(|e| bad("key for SSH", &e))
    }

    pub(super) fn private(&self) -> Arc<PrivateKey> {
        self.0.clone()
    }
}

/// The relay's keys that are believed. Nothing is learnt: a relay with another key is none.
#[derive(Clone)]
pub struct HostKeys(Vec<PublicKey>);

impl fmt::Debug for HostKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| key.fingerprint(HashAlg::Sha256).to_string())).finish()
    }
}

impl HostKeys {
    /// Reads public keys in the form of OpenSSH, one a line ("ssh-ed25519 AAAA… comment"); empty lines and those with # are left
    /// out.
    ///
    /// # Errors
    /// When a line is no Ed25519 or P-256 key, or there is none, or too many.
    pub fn parse(text: &str) -> Result<Self, UplinkError> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let mut keys = Vec::new();
        for line in lines {
            let key = PublicKey::from_openssh(line).map_err(|e| bad("pinned keys of the relay", &e))?;
            if !is_usable(&key.algorithm()) {
                return Err(bad("pinned keys of the relay", &"one is neither Ed25519 nor P-256"));
            }
            keys.push(key);
        }
        if keys.is_empty() || keys.len() > PINNED_MAX {
            return Err(bad("pinned keys of the relay", &format!("there are {}, not 1 to {PINNED_MAX}", keys.len())));
        }
        Ok(Self(keys))
    }

    pub(super) fn hold(&self, key: &PublicKey) -> bool {
        self.0.iter().any(|pinned| pinned.key_data() == key.key_data())
    }

    /// Their kinds, each once: a relay that has keys of several kinds shows one of these.
    pub(super) fn algorithms(&self) -> Vec<Algorithm> {
        let mut kinds = Vec::new();
        for kind in self.0.iter().map(PublicKey::algorithm) {
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        kinds
    }
}

fn is_usable(algorithm: &Algorithm) -> bool {
    use russh::keys::EcdsaCurve;
    matches!(algorithm, Algorithm::Ed25519 | Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB0N8OChVJKhqxoYJHYgGpwoCDsh3w3NvQxaVLcjzhVT";

    #[test]
    fn the_boxs_own_keys_are_read_and_never_shown() {
        for kind in [&rcgen::PKCS_ED25519, &rcgen::PKCS_ECDSA_P256_SHA256] {
            let pem = rcgen::KeyPair::generate_for(kind).unwrap().serialize_pem();
            let key = SshKey::from_pem(pem.as_bytes()).unwrap();
            assert!(format!("{key:?}").starts_with("SshKey(SHA256:"));
            assert!(HostKeys::parse(&key.public_line().unwrap()).unwrap().hold(key.0.public_key()));
        }
        let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap().serialize_pem();
        for bad in [
            p384.as_bytes(),
            b"",
            b"PuTTY-User-Key-File-3: x",
            b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        ] {
            let error = SshKey::from_pem(bad).unwrap_err();
            assert!(error.to_string().contains("key for SSH"), "{error}");
        }
    }

    #[test]
    fn pinned_keys_are_read_line_by_line_and_nonsense_is_refused() {
        let keys = HostKeys::parse(&format!("# the relay's\n\n{ED25519} relay\n  {ED25519}\n")).unwrap();
        assert_eq!((keys.0.len(), keys.algorithms().len()), (2, 1));
        let many = [ED25519; PINNED_MAX + 1].join("\n");
        for bad in ["", "# none\n", "ssh-ed25519 AAAA", "ssh-rsa", "relay.example.com ssh-ed25519", many.as_str()] {
            assert!(HostKeys::parse(bad).is_err(), "{bad}");
        }
    }
}
