//! Whether a request is what the contract says, and whether it proves what it must.

use rcgen::{CertificateSigningRequestParams, PKCS_ECDSA_P256_SHA256, PublicKeyData as _};
use ring::signature::{ED25519, UnparsedPublicKey};

use super::{EnrolError, Why, invalid, refused};
use crate::enroll::letters;
use crate::proto::signed;
use crate::proto::v1::StartEnrollmentRequest;
use crate::proto::v1::start_enrollment_request::Way;

/// Largest request for a certificate, in bytes: one of a P-256 key has about 250.
const CSR_MAX_BYTES: usize = 2 * 1024;
/// Longest serial number, model, version, in characters.
const SERIAL_MAX: usize = 32;
const TEXT_MAX: usize = 64;
/// Letters of a registration code.
pub(super) const REGISTRATION_LETTERS: usize = 16;
/// An uncompressed point of P-256, in bytes (SEC 1 section 2.3.3).
const P256_POINT_BYTES: usize = 65;

/// Whether a text may be a serial number.
pub(super) fn is_serial(text: &str) -> bool {
    (1..=SERIAL_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// Whether a text may be the name of a box, or of a site: for people, on one line.
pub(super) fn is_name(text: &str) -> bool {
    (1..=TEXT_MAX).contains(&text.chars().count()) && !text.chars().any(char::is_control) && !text.trim().is_empty()
}

/// Looks a request through that begins an enrolment; its way.
pub(super) fn start(request: &StartEnrollmentRequest) -> Result<&Way, EnrolError> {
    let way = request
        .way
        .as_ref()
        .ok_or_else(|| invalid("an enrolment needs a way: show_code, button_held or registration_code"))?;
    if request.bound_key.len() != 32 {
        return Err(invalid("a bound key (Ed25519) has 32 bytes"));
    }
    if !is_serial(&request.serial) {
        return Err(invalid("a serial number is 1 to 32 letters, digits and dashes"));
    }
    let is_text = |text: &str| text.len() <= TEXT_MAX && !text.chars().any(char::is_control);
    if !is_text(&request.model) || !is_text(&request.firmware_version) {
        return Err(invalid("model and version have at most 64 characters, on one line"));
    }
    match way {
        Way::ButtonHeld(held) if held.label_proof.len() != 32 => return Err(invalid("a label's proof has 32 bytes")),
        Way::RegistrationCode(it) if letters::parse(&it.code, REGISTRATION_LETTERS).as_ref() != Some(&it.code) => {
            return Err(invalid("a registration code is 16 letters of BCDFGHJKLMNPQRSTVWXZ, without dashes"));
        }
        _ => {}
    }
    nonce(&request.nonce)?;
    csr(&request.csr)?;
    let message = signed::enrol(&request.nonce, &request.csr, &request.serial, way);
    signature(&request.bound_key, &message, &request.signature)?;
    Ok(way)
}

/// Whether a nonce may be one.
pub(super) fn nonce(nonce: &[u8]) -> Result<(), EnrolError> {
    if nonce.len() == signed::NONCE_BYTES { Ok(()) } else { Err(invalid("a nonce has 32 bytes")) }
}

/// Reads a request for a certificate, which proves that who made it has the key.
pub(super) fn csr(der: &[u8]) -> Result<CertificateSigningRequestParams, EnrolError> {
    let wrong = || invalid("the request for a certificate is no PKCS #10 of a P-256 key, signed by that key");
    if der.len() > CSR_MAX_BYTES {
        return Err(wrong());
    }
    let request = CertificateSigningRequestParams::from_der(&der.to_vec().into()).map_err(|_| wrong())?;
    let key = &request.public_key;
    let is_p256 = key.algorithm() == &PKCS_ECDSA_P256_SHA256 && key.der_bytes().len() == P256_POINT_BYTES;
    if is_p256 { Ok(request) } else { Err(wrong()) }
}

/// Whether the bound key has signed this.
pub(super) fn signature(bound_key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), EnrolError> {
    UnparsedPublicKey::new(&ED25519, bound_key)
        .verify(message, signature)
        .map_err(|_| refused(Why::Forbidden, "the signature is not one by the box's bound key"))
}
