//! The way back of a disabled box without the Internet: its console shows a challenge, the portal answers it. Both know the box's
//! unlock secret, which the cloud gave it when it was taken in.

use ring::hmac;

use super::letters;

/// Letters of a challenge, and of an answer.
pub const LETTERS: usize = 8;

/// The answer to a challenge (eight letters, without dashes), as "WDJB-MJHT": of HMAC-SHA-256 (RFC 2104) by the secret over
/// "platen-unlock-v1", the challenge's letters and the generation of the box's certificate (4 bytes, big-endian), the first
/// 16 bytes as a number, written in the letters, the least significant first.
#[must_use]
pub fn answer(unlock_secret: &[u8], challenge: &str, generation: u32) -> String {
    let message = [b"platen-unlock-v1" as &[u8], challenge.as_bytes(), &generation.to_be_bytes()].concat();
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, unlock_secret), &message);
    let mut random = [0; 16];
    // HMAC-SHA-256 has 32 bytes.
    random.copy_from_slice(&tag.as_ref()[..16]);
    letters::grouped(&letters::from_random(random, LETTERS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_holds_for_one_box_challenge_and_generation() {
        let right = answer(&[1; 32], "BCDFGHJK", 1);
        assert_eq!(letters::parse(&right, LETTERS).map(|letters| letters::grouped(&letters)), Some(right.clone()));
        assert_eq!(right, answer(&[1; 32], "BCDFGHJK", 1));
        for other in [answer(&[2; 32], "BCDFGHJK", 1), answer(&[1; 32], "BCDFGHJL", 1), answer(&[1; 32], "BCDFGHJK", 2)]
        {
            assert_ne!(other, right);
        }
    }
}
