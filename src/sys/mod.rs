//! The outside world that rules must not touch by themselves: the clock and entropy.
//!
//! What this room is for: each of them stands behind a small face, so that a test can turn the clock.
//! What it promises: the real makings do nothing clever.
//! Who may call it: everybody.

mod clock;
mod entropy;

pub use clock::{Clock, SystemClock};
pub use entropy::{random_hex, random_u64};
