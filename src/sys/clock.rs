//! Two clocks: one that never jumps and one that people read. Only the first is good for differences.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::entropy::random_hex;

/// The clocks of one start of a process.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since the start; never jumps.
    fn monotonic_ms(&self) -> u64;
    /// Milliseconds since 1970-01-01T00:00:00Z, as far as the machine knows.
    fn wall_unix_ms(&self) -> u64;
    /// Random identifier of this start: 16 bytes, hexadecimal.
    fn boot_id(&self) -> &str;
}

/// The machine's clocks.
#[derive(Debug, Clone)]
pub struct SystemClock {
    started: Instant,
    boot_id: Arc<str>,
}

impl SystemClock {
    /// Begins to count.
    #[must_use]
    pub fn start() -> Self {
        Self { started: Instant::now(), boot_id: random_hex(16).into() }
    }
}

impl Clock for SystemClock {
    fn monotonic_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn wall_unix_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn boot_id(&self) -> &str {
        &self.boot_id
    }
}
