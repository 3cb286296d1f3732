//! The world under the program: clock, entropy, file system, network interfaces.
//!
//! What this room is for: being the only place that touches them, so that every other room can be tested with a
//! clock that stands still, with chosen randomness, and with a disk that is full, fails or loses power.
//! What it promises: each trait says exactly what a caller may rely upon after a crash; the real making does no more
//! than call the operating system.
//! Who may call it: everybody; it knows nobody.

mod box_clock;
mod clock;
mod entropy;
#[cfg(any(test, feature = "sim"))]
mod fault_fs;
mod fs;
mod interfaces;

pub use box_clock::{Anchor, BoxClock, FLOOR_AFTER_MS, KeptTime, LIFE_MS, TimeRefused, built_unix_ms};
pub use clock::{Clock, FixedClock, SystemClock, system_boot_id, uptime_ms};
pub use entropy::{Entropy, EntropyError, SystemEntropy, random_bytes, random_hex};
#[cfg(any(test, feature = "sim"))]
pub use fault_fs::{Fault, FaultFs};
pub use fs::{Fs, FsFile, FsLock, SystemFs};
pub use interfaces::{interface_index, interface_name, interface_names};
