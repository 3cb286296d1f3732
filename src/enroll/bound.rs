//! The bound key (Ed25519, RFC 8032): made at the first start, it lives until a factory reset, and signs who asks for a certificate.

use std::fmt;

use ring::signature::{Ed25519KeyPair, KeyPair};
use zeroize::Zeroizing;

/// The box's own key. It is never sent.
pub struct BoundKey(Ed25519KeyPair);

impl BoundKey {
    /// A new one (PKCS #8, DER; RFC 8410), as it is kept.
    pub(super) fn make() -> Result<Zeroizing<Vec<u8>>, ring::error::Unspecified> {
        let document = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new())?;
        Ok(Zeroizing::new(document.as_ref().to_vec()))
    }

    /// One that was kept; `None` where this is none.
    pub(super) fn from_pkcs8(der: &[u8]) -> Option<Self> {
        Ed25519KeyPair::from_pkcs8(der).ok().map(Self)
    }

    /// Its public half.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        let mut public = [0; 32];
        // RFC 8032 §5.1.5: it has 32 bytes.
        public.copy_from_slice(self.0.public_key().as_ref());
        public
    }

    /// Signs; 64 bytes.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).as_ref().to_vec()
    }
}

impl fmt::Debug for BoundKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BoundKey(…)")
    }
}
