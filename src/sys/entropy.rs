//! Random numbers from the operating system, for identifiers that must not repeat.

use ring::rand::{SecureRandom, SystemRandom};

fn fill(bytes: &mut [u8]) {
    // Linux' getrandom(2) cannot fail for such lengths once the pool is ready, and waits until it is. If it does, an
    // identifier that repeats would mix two boxes' readings: ending here is the smaller harm.
    if SystemRandom::new().fill(bytes).is_err() {
        std::process::abort();
    }
}

/// A random number.
#[must_use]
pub fn random_u64() -> u64 {
    let mut bytes = [0; 8];
    fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

/// So many random bytes, as hexadecimal text.
#[must_use]
pub fn random_hex(bytes: usize) -> String {
    let mut random = vec![0; bytes];
    fill(&mut random);
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}
