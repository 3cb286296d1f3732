//! The authoritative side of the user-based security model (RFC 3414, RFC 7860, RFC 3826 and the two drafts for longer AES
//! keys): keys, digests, encryption.

use std::sync::OnceLock;

use aes::cipher::block_padding::NoPadding;
use aes::cipher::{AsyncStreamCipher, BlockDecryptMut, BlockEncryptMut, KeyIvInit};
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
    /// Algorithm and password.
    pub privacy: Option<(PrivacyAlgorithm, String)>,
    /// The only context in which this user sees anything; empty as in nearly every printer.
    pub context_name: String,
}

impl SimUser {
    pub(super) fn is_usable(&self) -> bool {
        let is_long = |password: &String| password.len() >= 8;
        self.auth.as_ref().is_none_or(|(_, password)| is_long(password))
            && self.privacy.as_ref().is_none_or(|(_, password)| is_long(password) && self.auth.is_some())
    }
}

/// The users of all devices of a simulation. What is made of a password alone is made once: it is a megabyte of digest,
/// and a thousand printers may be asked by the same user at the same time.
#[derive(Debug, Default)]
pub(super) struct Users(Vec<(SimUser, OnceLock<Masters>)>);

/// Keys that are not localised yet, for authentication and for privacy.
type Masters = (Option<Vec<u8>>, Option<Vec<u8>>);

impl Users {
    pub(super) fn new(users: Vec<SimUser>) -> Self {
        Self(users.into_iter().map(|user| (user, OnceLock::new())).collect())
    }

    /// The keys of a user at an engine.
    pub(super) fn keys(&self, name: &[u8], engine_id: &[u8]) -> Option<Keys> {
        let (user, masters) = self.0.iter().find(|(user, _)| user.name.as_bytes() == name)?;
        Some(Keys::of(user, masters.get_or_init(|| masters_of(user)), engine_id))
    }
}

fn masters_of(user: &SimUser) -> Masters {
    let Some((hash, password)) = &user.auth else { return (None, None) };
    let auth = master_key(*hash, password.as_bytes());
    let privacy = user
        .privacy
        .as_ref()
        .map(|(_, other)| if other == password { auth.clone() } else { master_key(*hash, other.as_bytes()) });
    (Some(auth), privacy)
}

/// The keys of a user at one engine, and the context that it may see.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    pub auth: Option<(AuthAlgorithm, Vec<u8>)>,
    pub privacy: Option<(PrivacyAlgorithm, Vec<u8>)>,
    pub context_name: Vec<u8>,
}

impl Keys {
    fn of(user: &SimUser, (auth, privacy): &Masters, engine_id: &[u8]) -> Self {
        let hash = user.auth.as_ref().map(|(algorithm, _)| *algorithm);
        let auth = hash.zip(auth.as_ref()).map(|(hash, master)| (hash, localised_key(hash, master, engine_id)));
        let cipher = user.privacy.as_ref().map(|(algorithm, _)| *algorithm);
        let privacy = hash.zip(cipher).zip(privacy.as_ref()).map(|((hash, cipher), master)| {
            (cipher, extended_key(hash, cipher, localised_key(hash, master, engine_id), engine_id))
        });
        Self { auth, privacy, context_name: user.context_name.clone().into_bytes() }
    }
}

/// A localised key of the length that the cipher wants.
fn extended_key(hash: AuthAlgorithm, cipher: PrivacyAlgorithm, mut key: Vec<u8>, engine_id: &[u8]) -> Vec<u8> {
    let (wanted, is_reeder) = match cipher {
        PrivacyAlgorithm::Des | PrivacyAlgorithm::Aes128 => (16, false),
        PrivacyAlgorithm::Aes192 => (24, false),
        PrivacyAlgorithm::Aes256 => (32, false),
        PrivacyAlgorithm::Aes192Reeder => (24, true),
        PrivacyAlgorithm::Aes256Reeder => (32, true),
    };
    while key.len() < wanted {
        let more = if is_reeder {
            // The key as if it were a password (draft-reeder-snmpv3-usm-3desede-00 §2.1).
            localised_key(hash, &master_key(hash, &key), engine_id)
        } else {
            // The digest of the key until now (draft-blumenthal-aes-usm-04 §3.1.2.1).
            plain_digest(hash, &key)
        };
        key.extend(more);
    }
    key.truncate(wanted);
    key
}

/// A password repeated to a megabyte, and its digest (RFC 3414 appendix A.2).
fn master_key(algorithm: AuthAlgorithm, password: &[u8]) -> Vec<u8> {
    const MEGABYTE: usize = 1_048_576;
    let repeated: Vec<u8> = password.iter().copied().cycle().take(MEGABYTE).collect();
    plain_digest(algorithm, &repeated)
}

/// The digest of a key with the engine id in its middle (RFC 3414 §2.6).
fn localised_key(algorithm: AuthAlgorithm, master: &[u8], engine_id: &[u8]) -> Vec<u8> {
    plain_digest(algorithm, &[master, engine_id, master].concat())
}

fn plain_digest(algorithm: AuthAlgorithm, data: &[u8]) -> Vec<u8> {
    match algorithm {
        AuthAlgorithm::Md5 => Md5::digest(data).to_vec(),
        AuthAlgorithm::Sha1 => Sha1::digest(data).to_vec(),
        AuthAlgorithm::Sha224 => Sha224::digest(data).to_vec(),
        AuthAlgorithm::Sha256 => Sha256::digest(data).to_vec(),
        AuthAlgorithm::Sha384 => Sha384::digest(data).to_vec(),
        AuthAlgorithm::Sha512 => Sha512::digest(data).to_vec(),
    }
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

/// Encrypts, and returns what the receiver needs beside the key. `None` when the key does not fit the cipher.
pub(super) fn encrypt(
    (cipher, key): &(PrivacyAlgorithm, Vec<u8>),
    boots: u32,
    time_s: u32,
    mut data: Vec<u8>,
) -> Option<(Vec<u8>, [u8; 8])> {
    if *cipher == PrivacyAlgorithm::Des {
        // Boots and a number that is not repeated (RFC 3414 §8.1.1.1); whole blocks of eight (§8.1.1.2).
        let salt: [u8; 8] = [boots.to_be_bytes(), fastrand::u32(..).to_be_bytes()].concat().first_chunk().copied()?;
        data.resize(data.len().next_multiple_of(8), 0);
        let length = data.len();
        let (key, iv) = des_key(key, &salt)?;
        let cipher = cbc::Encryptor::<des::Des>::new_from_slices(key, &iv).ok()?;
        cipher.encrypt_padded_mut::<NoPadding>(&mut data, length).ok()?;
        return Some((data, salt));
    }
    let salt = fastrand::u64(..).to_be_bytes();
    let iv = aes_iv(boots, time_s, &salt);
    macro_rules! encrypt {
        ($cipher:ty) => {
            cfb_mode::Encryptor::<$cipher>::new_from_slices(key, &iv).ok()?.encrypt(&mut data)
        };
    }
    match key.len() {
        16 => encrypt!(aes::Aes128),
        24 => encrypt!(aes::Aes192),
        _ => encrypt!(aes::Aes256),
    }
    Some((data, salt))
}

/// The plain text; noise when the key is a wrong one. `None` when a length is wrong.
pub(super) fn decrypt(
    (cipher, key): &(PrivacyAlgorithm, Vec<u8>),
    boots: u32,
    time_s: u32,
    salt: &[u8],
    data: &[u8],
) -> Option<Vec<u8>> {
    let mut data = data.to_vec();
    if *cipher == PrivacyAlgorithm::Des {
        let (key, iv) = des_key(key, salt)?;
        let cipher = cbc::Decryptor::<des::Des>::new_from_slices(key, &iv).ok()?;
        cipher.decrypt_padded_mut::<NoPadding>(&mut data).ok()?;
        return Some(data);
    }
    let iv = aes_iv(boots, time_s, salt);
    macro_rules! decrypt {
        ($cipher:ty) => {
            cfb_mode::Decryptor::<$cipher>::new_from_slices(key, &iv).ok()?.decrypt(&mut data)
        };
    }
    match key.len() {
        16 => decrypt!(aes::Aes128),
        24 => decrypt!(aes::Aes192),
        _ => decrypt!(aes::Aes256),
    }
    Some(data)
}

/// Half of the sixteen octets is the key, the other half makes the initialisation vector (RFC 3414 §8.1.1.1).
fn des_key<'a>(key: &'a [u8], salt: &[u8]) -> Option<(&'a [u8], [u8; 8])> {
    let (key, before) = key.split_at_checked(8)?;
    let (mut iv, salt) = (*before.first_chunk::<8>()?, <[u8; 8]>::try_from(salt).ok()?);
    iv.iter_mut().zip(salt).for_each(|(octet, salt)| *octet ^= salt);
    Some((key, iv))
}

/// RFC 3826 §3.1.2.1, which the drafts for longer keys keep.
fn aes_iv(boots: u32, time_s: u32, salt: &[u8]) -> Vec<u8> {
    [&boots.to_be_bytes(), &time_s.to_be_bytes(), salt].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 3414 appendix A.3.
    #[test]
    fn keys_are_those_of_the_standards_examples() {
        let engine_id = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
        let md5 = localised_key(AuthAlgorithm::Md5, &master_key(AuthAlgorithm::Md5, b"maplesyrup"), &engine_id);
        let sha1 = localised_key(AuthAlgorithm::Sha1, &master_key(AuthAlgorithm::Sha1, b"maplesyrup"), &engine_id);
        assert_eq!(md5, 0x526f_5eed_9fcc_e26f_8964_c293_0787_d82b_u128.to_be_bytes());
        assert_eq!(sha1[..16], 0x6695_febc_9288_e362_8223_5fc7_151f_1284_u128.to_be_bytes());
    }

    #[test]
    fn every_cipher_gives_back_what_it_hid_and_refuses_lengths_that_cannot_be() {
        use PrivacyAlgorithm::{Aes128, Aes192, Aes192Reeder, Aes256, Aes256Reeder, Des};
        for cipher in [Des, Aes128, Aes192, Aes256, Aes192Reeder, Aes256Reeder] {
            let key = extended_key(AuthAlgorithm::Md5, cipher, vec![7; 16], &[1; 9]);
            let key = (cipher, key);
            let (hidden, salt) = encrypt(&key, 1, 2, b"thirteen byte".to_vec()).unwrap();
            assert!(!hidden.starts_with(b"thirteen"), "{cipher}");
            assert!(decrypt(&key, 1, 2, &salt, &hidden).unwrap().starts_with(b"thirteen byte"), "{cipher}");
            assert_eq!(decrypt(&key, 1, 2, &salt[1..], &hidden), None, "{cipher}");
        }
        assert_eq!(decrypt(&(Des, vec![7; 16]), 1, 2, &[0; 8], b"not blocks"), None);
    }
}
