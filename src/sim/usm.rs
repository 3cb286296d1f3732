//! The authoritative side of the user-based security model (RFC 3414, RFC 7860, RFC 3826): keys, digests, encryption.

use aes::cipher::{AsyncStreamCipher, KeyIvInit};
use hmac::{Hmac, Mac};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

use crate::snmp::{AuthAlgorithm, PrivacyAlgorithm};

/// A user that simulated printers know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimUser {
    /// User name.
    pub name: String,
    /// Algorithm and password; without it noAuthNoPriv.
    pub auth: Option<(AuthAlgorithm, String)>,
    /// Algorithm and password; AES-128 is what the simulation knows.
    pub privacy: Option<(PrivacyAlgorithm, String)>,
}

impl SimUser {
    pub(super) fn is_usable(&self) -> bool {
        let is_long = |password: &String| password.len() >= 8;
        self.auth.as_ref().is_none_or(|(_, password)| is_long(password))
            && self.privacy.as_ref().is_none_or(|(algorithm, password)| {
                is_long(password) && self.auth.is_some() && *algorithm == PrivacyAlgorithm::Aes128
            })
    }
}

/// The keys of a user at one engine.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    pub auth: Option<(AuthAlgorithm, Vec<u8>)>,
    pub privacy: Option<Vec<u8>>,
}

impl Keys {
    /// Localises a user's passwords (RFC 3414 §2.6).
    pub(super) fn of(user: &SimUser, engine_id: &[u8]) -> Self {
        let localise = |algorithm, password: &str| localised_key(algorithm, password.as_bytes(), engine_id);
        let auth = user.auth.as_ref().map(|(algorithm, password)| (*algorithm, localise(*algorithm, password)));
        let privacy = user.auth.as_ref().zip(user.privacy.as_ref()).map(|((algorithm, _), (_, password))| {
            let mut key = localise(*algorithm, password);
            key.truncate(16);
            key
        });
        Self { auth, privacy }
    }
}

fn localised_key(algorithm: AuthAlgorithm, password: &[u8], engine_id: &[u8]) -> Vec<u8> {
    match algorithm {
        AuthAlgorithm::Md5 => localised::<Md5>(password, engine_id),
        AuthAlgorithm::Sha1 => localised::<Sha1>(password, engine_id),
        AuthAlgorithm::Sha224 => localised::<Sha224>(password, engine_id),
        AuthAlgorithm::Sha256 => localised::<Sha256>(password, engine_id),
        AuthAlgorithm::Sha384 => localised::<Sha384>(password, engine_id),
        AuthAlgorithm::Sha512 => localised::<Sha512>(password, engine_id),
    }
}

/// A digest of the password repeated to a megabyte, and of that with the engine id in the middle (RFC 3414 appendix A.2).
fn localised<D: Digest>(password: &[u8], engine_id: &[u8]) -> Vec<u8> {
    const MEGABYTE: usize = 1_048_576;
    let repeated: Vec<u8> = password.iter().copied().cycle().take(MEGABYTE).collect();
    let key = D::digest(&repeated);
    let mut digest = D::new();
    digest.update(&key);
    digest.update(engine_id);
    digest.update(&key);
    digest.finalize().to_vec()
}

/// Bytes of a digest in a message.
pub(super) fn digest_bytes(algorithm: AuthAlgorithm) -> usize {
    match algorithm {
        AuthAlgorithm::Md5 | AuthAlgorithm::Sha1 => 12,
        AuthAlgorithm::Sha224 => 16,
        AuthAlgorithm::Sha256 => 24,
        AuthAlgorithm::Sha384 => 32,
        AuthAlgorithm::Sha512 => 48,
    }
}

/// The digest of a whole message in which its place is zero.
pub(super) fn digest(algorithm: AuthAlgorithm, key: &[u8], message: &[u8]) -> Vec<u8> {
    macro_rules! hmac {
        ($hash:ty) => {{
            // HMAC takes keys of any length.
            let Ok(mut mac) = Hmac::<$hash>::new_from_slice(key) else { return Vec::new() };
            mac.update(message);
            mac.finalize().into_bytes().to_vec()
        }};
    }
    let mut full = match algorithm {
        AuthAlgorithm::Md5 => hmac!(Md5),
        AuthAlgorithm::Sha1 => hmac!(Sha1),
        AuthAlgorithm::Sha224 => hmac!(Sha224),
        AuthAlgorithm::Sha256 => hmac!(Sha256),
        AuthAlgorithm::Sha384 => hmac!(Sha384),
        AuthAlgorithm::Sha512 => hmac!(Sha512),
    };
    full.truncate(digest_bytes(algorithm));
    full
}

/// Encrypts or decrypts in place (AES-128 in CFB mode, RFC 3826 §3.1). `false` when key or salt have no right length.
pub(super) fn aes128(key: &[u8], boots: u32, time_s: u32, salt: &[u8], data: &mut [u8], encrypt: bool) -> bool {
    let iv = [&boots.to_be_bytes(), &time_s.to_be_bytes(), salt].concat();
    if encrypt {
        cfb_mode::Encryptor::<aes::Aes128>::new_from_slices(key, &iv).map(|cipher| cipher.encrypt(data)).is_ok()
    } else {
        cfb_mode::Decryptor::<aes::Aes128>::new_from_slices(key, &iv).map(|cipher| cipher.decrypt(data)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 3414 appendix A.3.
    #[test]
    fn keys_are_those_of_the_standards_examples() {
        let engine_id = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
        let md5 = localised_key(AuthAlgorithm::Md5, b"maplesyrup", &engine_id);
        let sha1 = localised_key(AuthAlgorithm::Sha1, b"maplesyrup", &engine_id);
        assert_eq!(md5, 0x526f_5eed_9fcc_e26f_8964_c293_0787_d82b_u128.to_be_bytes());
        assert_eq!(sha1[..16], 0x6695_febc_9288_e362_8223_5fc7_151f_1284_u128.to_be_bytes());
    }
}
