//! Sealing: the files of an identity are worth nothing away from the board. Each is encrypted (ChaCha20-Poly1305, RFC 8439) with a
//! key that is derived (HKDF-SHA-256, RFC 5869) from the contents of a seal file, which the board has and its memory card has not: the
//! private key in the fuses of a Raspberry Pi, through nvmem, or a credential of systemd that a TPM protects. Whoever is root on
//! the running box can read that file, too: this is for cards that are copied or taken away.

use std::path::Path;

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Prk, Salt};
use zeroize::Zeroizing;

use super::EnrollError;
use crate::store::read_bounded;
use crate::sys::{Entropy, SystemEntropy};

/// What a sealed file begins with; a nonce and the rest follow.
const MAGIC: &[u8; 16] = b"platen-sealed-1\n";
/// Least and most bytes of a seal file.
const SEAL_MIN_BYTES: usize = 16;
const SEAL_MAX_BYTES: usize = 4 * 1024;

/// What files are sealed with.
#[derive(Debug, Clone)]
pub(super) struct Seal(Prk);

impl Seal {
    /// Reads a seal file.
    pub(super) fn load(path: &Path) -> Result<Self, EnrollError> {
        let secret = read_bounded(path, SEAL_MAX_BYTES).map(Zeroizing::new).map_err(|source| EnrollError::File {
            path: path.to_owned(),
            act: "read",
            source,
        })?;
        let is_blank = secret.iter().all(|byte| Some(byte) == secret.first());
        if secret.len() < SEAL_MIN_BYTES || is_blank {
            return Err(EnrollError::Unusable(format!(
                "the seal file {} holds no secret: it needs at least {SEAL_MIN_BYTES} bytes that are not all the same. On a Raspberry Pi, \
                 write a private key into the fuses first; or run without a seal file",
                path.display()
            )));
        }
        Ok(Self(Salt::new(HKDF_SHA256, b"platen-seal-v1").extract(&secret)))
    }

    fn key(&self, name: &str) -> Option<LessSafeKey> {
        let info = [name.as_bytes()];
        let okm = self.0.expand(&info, &CHACHA20_POLY1305).ok()?;
        Some(LessSafeKey::new(UnboundKey::from(okm)))
    }

    /// Seals what is kept under this name; `None` where the system gives no randomness.
    pub(super) fn seal(&self, name: &str, plain: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        SystemEntropy.fill(&mut nonce).ok()?;
        // As large as it becomes at once: no copy of the secret is left where it was moved from.
        let mut body = Vec::with_capacity(plain.len() + CHACHA20_POLY1305.tag_len());
        body.extend_from_slice(plain);
        let key = self.key(name)?;
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(MAGIC), &mut body).ok()?;
        Some([MAGIC as &[u8], &nonce, &body].concat())
    }

    /// Opens what was sealed under this name; `None` where this is another seal, or the file is damaged.
    pub(super) fn open(&self, name: &str, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, body) = sealed.strip_prefix(MAGIC)?.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut body = Zeroizing::new(body.to_vec());
        let length = self.key(name)?.open_in_place(nonce, Aad::from(MAGIC), &mut body).ok()?.len();
        body.truncate(length);
        Some(body)
    }
}

/// Whether these are the contents of a sealed file.
pub(super) fn is_sealed(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal_of(contents: &[u8]) -> Result<Seal, EnrollError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seal");
        std::fs::write(&path, contents).unwrap();
        Seal::load(&path)
    }

    #[test]
    fn what_is_sealed_opens_with_its_seal_and_name_only_and_only_whole() {
        let seal = seal_of(b"0123456789abcdef").unwrap();
        let sealed = seal.seal("a", b"a secret").unwrap();
        assert!(is_sealed(&sealed) && !sealed.windows(8).any(|part| part == b"a secret"));
        assert_ne!(sealed, seal.seal("a", b"a secret").unwrap(), "a nonce was used twice");
        assert_eq!(&**seal.open("a", &sealed).unwrap(), b"a secret");
        assert!(seal.open("b", &sealed).is_none());
        assert!(seal_of(b"0123456789abcdeX").unwrap().open("a", &sealed).is_none());
        for at in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[at] ^= 1;
            assert!(seal.open("a", &flipped).is_none() && seal.open("a", &sealed[..at]).is_none(), "{at}");
        }
    }

    #[test]
    fn a_seal_file_without_a_secret_is_refused() {
        for blank in [&[0_u8; 32] as &[u8], &[0xff; 32], b"0123456789abcde", b"", &[7; SEAL_MAX_BYTES + 1]] {
            assert!(seal_of(blank).is_err(), "{}", blank.len());
        }
    }
}
