//! What the cloud signs with its pinned key, and a box with its bound key (Ed25519, RFC 8032), byte for byte: the same on both
//! sides. What has no fixed length is signed as its SHA-256, so that no two messages have the same bytes.

use super::v1::Enrolled;
use super::v1::start_enrollment_request::Way;

/// SHA-256.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    let mut hash = [0; 32];
    // SHA-256 has 32 bytes.
    hash.copy_from_slice(digest.as_ref());
    hash
}

/// What is signed of a `StartEnrollmentRequest`.
#[must_use]
pub fn enrol(nonce: &[u8], csr: &[u8], serial: &str, way: &Way) -> Vec<u8> {
    let (number, content): (u8, &[u8]) = match way {
        Way::ShowCode(_) => (10, b""),
        Way::ButtonHeld(held) => (11, &held.label_proof),
        Way::RegistrationCode(registration) => (12, registration.code.as_bytes()),
    };
    let (csr, serial, content) = (sha256(csr), sha256(serial.as_bytes()), sha256(content));
    [b"platen-enrol-v1" as &[u8], nonce, &csr, &serial, &[number], &content].concat()
}

/// What the label's secret proves in `ButtonHeld.label_proof`.
#[must_use]
pub fn label(nonce: &[u8], csr: &[u8], bound_key: &[u8]) -> Vec<u8> {
    [b"platen-label-v1" as &[u8], nonce, &sha256(csr), bound_key].concat()
}

/// What is signed of a `PollEnrollmentRequest`.
#[must_use]
pub fn enrol_poll(enrollment: &[u8], count: u64) -> Vec<u8> {
    [b"platen-enrol-poll-v1" as &[u8], enrollment, &count.to_be_bytes()].concat()
}

/// What is signed of a `ConfirmPresenceRequest`.
#[must_use]
pub fn presence(enrollment: &[u8]) -> Vec<u8> {
    [b"platen-presence-v1" as &[u8], enrollment].concat()
}

/// What is signed of a `RenewCertificateRequest`.
#[must_use]
pub fn renew(nonce: &[u8], csr: &[u8]) -> Vec<u8> {
    [b"platen-renew-v1" as &[u8], nonce, &sha256(csr)].concat()
}

/// What is signed of a `RecoverRequest`.
#[must_use]
pub fn recover(nonce: &[u8], generation: u32, box_id: &str, csr: &[u8]) -> Vec<u8> {
    let (box_id, csr) = (sha256(box_id.as_bytes()), sha256(csr));
    [b"platen-recover-v1" as &[u8], nonce, &generation.to_be_bytes(), &box_id, &csr].concat()
}

/// What the cloud signs of an `Enrolled`; the nonce is that of the request that it answers.
#[must_use]
pub fn enrolled(nonce: &[u8], enrolled: &Enrolled) -> Vec<u8> {
    let certificate = sha256(enrolled.certificate_chain.first().map_or(&[], Vec::as_slice));
    let (box_id, tenant) = (sha256(enrolled.box_id.as_bytes()), sha256(enrolled.tenant.as_bytes()));
    let generation = enrolled.generation.to_be_bytes();
    let secret = sha256(&enrolled.unlock_secret);
    [b"platen-enrolled-v1" as &[u8], nonce, &certificate, &generation, &box_id, &tenant, &secret].concat()
}

/// What is signed of a `Decommission`.
#[must_use]
pub fn decommission(generation: u32, box_id: &str) -> Vec<u8> {
    [b"platen-decommission-v1" as &[u8], &generation.to_be_bytes(), box_id.as_bytes()].concat()
}

/// What is signed of a `TimeReply`.
#[must_use]
pub fn time(nonce: &[u8], unix_ms: u64, radius_ms: u64) -> Vec<u8> {
    [b"platen-time-v1", nonce, &unix_ms.to_be_bytes(), &radius_ms.to_be_bytes()].concat()
}

/// What is signed as the ticket of a `RecoverReply`.
#[must_use]
pub fn retry(nonce: &[u8], generation: u32, box_id: &str) -> Vec<u8> {
    [b"platen-retry-v1", nonce, &generation.to_be_bytes(), box_id.as_bytes()].concat()
}

/// Length of a nonce, in bytes: fixed, so that no two messages have the same bytes to sign.
pub const NONCE_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_of_the_contract() {
        assert_eq!(time(b"NN", 1, 258), b"platen-time-v1NN\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\x01\x02");
        assert_eq!(retry(b"NN", 7, "box-1"), b"platen-retry-v1NN\0\0\0\x07box-1");
        assert_eq!(decommission(7, "box-1"), b"platen-decommission-v1\0\0\0\x07box-1");
        assert_eq!(enrol_poll(b"E", 258), b"platen-enrol-poll-v1E\0\0\0\0\0\0\x01\x02");
    }

    #[test]
    fn every_part_of_an_enrolment_is_in_what_is_signed() {
        use super::super::v1::{ButtonHeld, RegistrationCode, ShowCode};
        let code = |code: &str| Way::RegistrationCode(RegistrationCode { code: code.to_owned() });
        let held = |proof: &[u8]| Way::ButtonHeld(ButtonHeld { label_proof: proof.to_vec() });
        let mut all = vec![
            enrol(b"N", b"c", "S", &Way::ShowCode(ShowCode {})),
            enrol(b"M", b"c", "S", &Way::ShowCode(ShowCode {})),
            enrol(b"N", b"d", "S", &Way::ShowCode(ShowCode {})),
            enrol(b"N", b"c", "T", &Way::ShowCode(ShowCode {})),
            enrol(b"N", b"c", "S", &code("")),
            enrol(b"N", b"c", "S", &code("A")),
            enrol(b"N", b"c", "S", &held(b"")),
            enrol(b"N", b"c", "S", &held(b"A")),
        ];
        let one = Enrolled { box_id: "b".to_owned(), generation: 1, tenant: "t".to_owned(), ..Enrolled::default() };
        all.push(enrolled(b"N", &one));
        all.push(enrolled(b"M", &one));
        all.push(enrolled(b"N", &Enrolled { generation: 2, ..one.clone() }));
        all.push(enrolled(b"N", &Enrolled { tenant: "u".to_owned(), ..one.clone() }));
        all.push(enrolled(b"N", &Enrolled { unlock_secret: vec![1], ..one.clone() }));
        all.push(enrolled(b"N", &Enrolled { certificate_chain: vec![vec![1]], ..one }));
        for (at, bytes) in all.iter().enumerate() {
            assert!(!all[..at].contains(bytes), "{at}");
        }
    }
}
