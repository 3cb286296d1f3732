//! What the cloud signs with its pinned key (Ed25519, RFC 8032), byte for byte: the same on both sides.

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
    }
}
