//! Signing vendor profiles that boxes take beside their built-in ones. The key is made and kept where no box and no cloud can
//! reach it; what leaves is its public half, which boxes are configured with, and signatures.

use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};

use crate::printer::{ProfileError, Profiles, signed_bytes};

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// The system has no randomness.
    #[error("no key can be made: the system gives no random numbers")]
    Entropy,
    /// The file is no key.
    #[error("it is no Ed25519 key of PKCS #8 as `platen-cloud profile-key` makes it")]
    Key,
    /// A box would refuse it, signed or not.
    #[error(transparent)]
    Profile(#[from] ProfileError),
}

/// Makes a key: its secret half (PKCS #8), and its public half as boxes are configured with it.
///
/// # Errors
/// When the system has no randomness.
pub fn make_key() -> Result<(Vec<u8>, String), SigningError> {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| SigningError::Entropy)?;
    let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).map_err(|_| SigningError::Key)?;
    Ok((document.as_ref().to_vec(), hexadecimal(pair.public_key().as_ref())))
}

/// Signs a profile, if boxes would take it; the signature as it stands in `NAME.toml.sig`.
///
/// # Errors
/// When it is no profile, or the key is none.
pub fn sign(file: &str, text: &str, key: &[u8]) -> Result<String, SigningError> {
    Profiles::built_in().with(file, text)?;
    let pair = Ed25519KeyPair::from_pkcs8(key).map_err(|_| SigningError::Key)?;
    Ok(hexadecimal(pair.sign(&signed_bytes(file, text)).as_ref()))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::printer::ProfileKey;

    #[test]
    fn what_is_signed_here_is_taken_by_a_box() {
        let (secret, public) = make_key().unwrap();
        let text = "vendor = \"Acme\"\n[recognise]\nsys_descr = [\"^ACME \"]\n";
        let signature = sign("acme", text, &secret).unwrap();
        let bytes: Vec<u8> =
            (0..signature.len()).step_by(2).map(|at| u8::from_str_radix(&signature[at..at + 2], 16).unwrap()).collect();
        let key: ProfileKey = public.parse().unwrap();
        assert!(Profiles::built_in().with_signed("acme", text, &bytes, &key).is_ok());
    }

    #[test]
    fn what_no_box_would_take_is_not_signed() {
        let (secret, _) = make_key().unwrap();
        assert!(matches!(sign("bad", "vendor = 1", &secret), Err(SigningError::Profile(_))));
        assert!(matches!(sign("x", "vendor = \"X\"\n[recognise]\n", b"no key"), Err(SigningError::Key)));
    }
}
