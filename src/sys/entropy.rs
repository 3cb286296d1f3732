//! Randomness for what must not be guessed or must never repeat: names of starts, epochs, keys.

use ring::rand::{SecureRandom, SystemRandom};

/// The system gave no randomness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no randomness: restart the box; if it stays so, its image is broken")]
pub struct EntropyError;

/// Where secure randomness comes from.
pub trait Entropy: Send + Sync {
    /// Fills the buffer with random bytes.
    ///
    /// # Errors
    /// When the system has none; the buffer must not be used then.
    fn fill(&self, buffer: &mut [u8]) -> Result<(), EntropyError>;

    /// So many random bytes: for a nonce, which must not be guessed and never repeats.
    ///
    /// # Errors
    /// As [`fill`](Self::fill).
    fn bytes(&self, count: usize) -> Result<Vec<u8>, EntropyError> {
        let mut bytes = vec![0; count];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// A random number that is not 0.
    ///
    /// # Errors
    /// As [`fill`](Self::fill).
    fn nonzero_u64(&self) -> Result<u64, EntropyError> {
        // Two tries fail together once in 2^128; then the source is broken, not unlucky.
        for _ in 0..2 {
            let mut bytes = [0_u8; 8];
            self.fill(&mut bytes)?;
            let number = u64::from_le_bytes(bytes);
            if number != 0 {
                return Ok(number);
            }
        }
        Err(EntropyError)
    }
}

/// The kernel's generator, through ring.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), EntropyError> {
        SystemRandom::new().fill(buffer).map_err(|_| EntropyError)
    }
}

/// So many random bytes of the system, as hexadecimal text: for names that must not repeat and tokens that must not be
/// guessed, where nothing could go on without them.
#[must_use]
pub fn random_hex(bytes: usize) -> String {
    let mut random = vec![0; bytes];
    fill_or_end(&mut random);
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// So many random bytes of the system, where nothing could go on without them.
#[must_use]
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut random = [0; N];
    fill_or_end(&mut random);
    random
}

fn fill_or_end(buffer: &mut [u8]) {
    if SystemEntropy.fill(buffer).is_err() {
        // Linux' getrandom(2) waits until it can answer and then does not fail. If it did, a name that repeats would mix
        // two boxes' data: ending here is the smaller harm.
        std::process::abort();
    }
}
