//! Two clocks and a name: one that never jumps, one that tells the date as well as it can, and the name of this start.
//! Together they date a reading on a box without a battery-backed clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::{Anchor, Entropy, EntropyError};
use crate::proto::v1::ClockQuality;

/// Where times come from.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since the program started, by the clock that never jumps and never runs backwards.
    fn monotonic_ms(&self) -> u64;
    /// Milliseconds since 1970-01-01T00:00:00Z by the wall clock. May be wrong, may jump; 0 when before 1970.
    fn wall_unix_ms(&self) -> u64;
    /// Random name of this start (16 bytes, hexadecimal): [`monotonic_ms`](Self::monotonic_ms) values of different
    /// starts must not be compared.
    fn boot_id(&self) -> &str;
    /// Both clocks at one moment, and how far the wall clock can be believed. A clock that knows nothing of that is a lower
    /// bound.
    fn now(&self) -> Anchor {
        let (monotonic_ms, unix_ms) = (self.monotonic_ms(), self.wall_unix_ms());
        Anchor { monotonic_ms, unix_ms, radius_ms: u64::MAX, quality: ClockQuality::Floor }
    }
}

/// The operating system's clocks. Clones are the same clock.
#[derive(Debug, Clone)]
pub struct SystemClock {
    start: Instant,
    boot_id: Arc<str>,
}

impl SystemClock {
    /// Starts the clock at zero and gives this start its name.
    ///
    /// # Errors
    /// When the system has no randomness for the name.
    pub fn start(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        let mut id = [0_u8; 16];
        entropy.fill(&mut id)?;
        let boot_id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { start: Instant::now(), boot_id: boot_id.into() })
    }
}

impl Clock for SystemClock {
    fn monotonic_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn wall_unix_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn boot_id(&self) -> &str {
        &self.boot_id
    }
}

/// Milliseconds since the system was started: one clock for all processes that never jumps (proc_uptime(5)). `None` where the
/// system does not say.
#[must_use]
pub fn uptime_ms() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/uptime").ok()?;
    let (seconds, hundredths) = text.split_once(' ')?.0.split_once('.')?;
    let whole = seconds.parse::<u64>().ok()?.checked_mul(1_000)?;
    whole.checked_add(hundredths.parse::<u64>().ok()?.checked_mul(10)?)
}

/// The kernel's name of this start of the system (random(4)): as long as it is the same, [`uptime_ms`] values can be compared,
/// whichever process took them. `None` where the system does not say.
#[must_use]
pub fn system_boot_id() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned()).filter(|id| !id.is_empty())
}

/// A clock that only moves when it is told to: for tests and replays.
#[derive(Debug)]
pub struct FixedClock {
    monotonic_ms: AtomicU64,
    wall_unix_ms: AtomicU64,
    boot_id: String,
}

impl FixedClock {
    /// A clock that stands at these times.
    #[must_use]
    pub fn new(monotonic_ms: u64, wall_unix_ms: u64, boot_id: &str) -> Self {
        Self {
            monotonic_ms: AtomicU64::new(monotonic_ms),
            wall_unix_ms: AtomicU64::new(wall_unix_ms),
            boot_id: boot_id.to_owned(),
        }
    }

    /// Lets time pass on both clocks.
    pub fn advance_ms(&self, ms: u64) {
        self.monotonic_ms.fetch_add(ms, Ordering::Relaxed);
        self.wall_unix_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// Sets the wall clock, as a time server or a technician would: the other clock goes on undisturbed.
    pub fn set_wall_unix_ms(&self, ms: u64) {
        self.wall_unix_ms.store(ms, Ordering::Relaxed);
    }
}

impl Clock for FixedClock {
    fn monotonic_ms(&self) -> u64 {
        self.monotonic_ms.load(Ordering::Relaxed)
    }

    fn wall_unix_ms(&self) -> u64 {
        self.wall_unix_ms.load(Ordering::Relaxed)
    }

    fn boot_id(&self) -> &str {
        &self.boot_id
    }
}

#[cfg(test)]
mod tests {
    use super::super::SystemEntropy;
    use super::*;

    #[test]
    fn each_start_has_its_own_name_and_its_clock_does_not_run_backwards() {
        let first = SystemClock::start(&SystemEntropy).unwrap();
        let second = SystemClock::start(&SystemEntropy).unwrap();
        assert_eq!(first.boot_id().len(), 32);
        assert_ne!(first.boot_id(), second.boot_id());
        let earlier = first.monotonic_ms();
        assert!(first.monotonic_ms() >= earlier);
        assert!(first.wall_unix_ms() > 0);
    }

    #[test]
    fn the_systems_uptime_is_told_and_runs_on() {
        let before = uptime_ms().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(30));
        let passed = uptime_ms().unwrap() - before;
        assert!(before > 0 && (10..60_000).contains(&passed), "{passed} ms");
        assert!(system_boot_id().is_some() && system_boot_id() == system_boot_id());
    }

    #[test]
    fn a_wall_clock_that_is_set_leaves_the_other_clock_alone() {
        let clock = FixedClock::new(5, 1_000, "b");
        clock.set_wall_unix_ms(9_000_000);
        clock.advance_ms(10);
        assert_eq!((clock.monotonic_ms(), clock.wall_unix_ms(), clock.boot_id()), (15, 9_000_010, "b"));
    }
}
