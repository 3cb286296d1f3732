//! The wall clock of a box without a clock chip: a lower bound until somebody who can be believed says what time it is, and
//! never below that bound.
//!
//! What is believed, and why (the matrix of cases is in `tests/uplink_time.rs`):
//! - The floor is the later of: when this firmware was built, and the newest signed time that has held for a day. Time never runs
//!   below it.
//! - One signed time alone raises no floor, because a cloud whose own clock is wrong signs too. It must have been proven (a
//!   certificate of the cloud held at that time, over a connection with full checks), and a day later another must say the same
//!   or more. Until then a signed time that says less sets the clock back, also over restarts.
//! - Before anything is known the clock shows the last time that was written down, or the system's clock where that lies between
//!   it and [`LIFE_MS`] after the build: it may have a clock chip. It is shown, and not believed: readings carry the last time that
//!   was written down as their lower bound, quality FLOOR.
//! - A system clock of which the system says that a time server keeps it is quality NTP. Nobody signs NTP, so it never becomes
//!   the floor, and the first signed time takes its place.
//! - A signed time is taken whenever it is not below the floor, also where it sets the clock back: what it replaces was a guess.
//! - After that the system's clock is not looked at any more. Jumps of it do nothing; the clock runs by the one that never
//!   jumps, corrected by what the cloud says over verified connections.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::Clock;
use crate::proto::v1::ClockQuality;

/// A clock this long after the build of its firmware is wrong: milliseconds of 15 years.
pub const LIFE_MS: u64 = 15 * 365 * 86_400 * 1_000;
/// How much a cheap oscillator may be off, in parts per million: twice what those of small boards are made for.
const DRIFT_PPM: u64 = 200;
/// How far a system clock that a time server keeps may be off, in milliseconds.
const NTP_RADIUS_MS: u64 = 1_000;
/// How far the cloud's unsigned word over a verified connection may be off, besides its way here, in milliseconds.
const WORD_RADIUS_MS: u64 = 1_000;
/// The cloud's unsigned word corrects drift; it does not move the clock further than this, in milliseconds.
const CORRECTION_MAX_MS: u64 = 10 * 60 * 1_000;
/// A signed time becomes the floor when it has held for so long, in milliseconds.
pub const FLOOR_AFTER_MS: u64 = 24 * 3_600 * 1_000;
/// Where systemd-timesyncd says that it has set the clock. The kernel's own word (adjtimex) would need unsafe code here.
const SYNCHRONISED: &str = "/run/systemd/timesync/synchronized";

/// What time it was at one moment of the clock that never jumps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchor {
    /// The moment: [`Clock::monotonic_ms`].
    pub monotonic_ms: u64,
    /// What time it was, milliseconds since 1970-01-01T00:00:00Z.
    pub unix_ms: u64,
    /// How far that may be off, in milliseconds; `u64::MAX` when it is only a lower bound.
    pub radius_ms: u64,
    /// Where it is from.
    pub quality: ClockQuality,
}

/// What outlives a start, milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptTime {
    /// The last time that was known and proven: where the next start begins.
    pub last_unix_ms: u64,
    /// The floor.
    pub floor_unix_ms: u64,
    /// A proven time that becomes the floor when it has held for [`FLOOR_AFTER_MS`].
    pub next_floor_unix_ms: u64,
}

impl KeptTime {
    /// A time that has held long enough.
    #[must_use]
    pub const fn certain(unix_ms: u64) -> Self {
        Self { last_unix_ms: unix_ms, floor_unix_ms: unix_ms, next_floor_unix_ms: unix_ms }
    }

    fn latest_unix_ms(&self) -> u64 {
        self.last_unix_ms.max(self.floor_unix_ms).max(self.next_floor_unix_ms)
    }
}

/// Why a signed time was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TimeRefused {
    /// It was later already.
    #[error("the time {unix_ms} lies before {floor_unix_ms}, which is past for certain (milliseconds since 1970)")]
    BelowFloor {
        /// The time that was offered.
        unix_ms: u64,
        /// The floor.
        floor_unix_ms: u64,
    },
    /// No box of this firmware runs then.
    #[error("the time {unix_ms} (milliseconds since 1970) lies too far after the making of this firmware")]
    TooLate {
        /// The time that was offered.
        unix_ms: u64,
    },
}

/// Says whether a time server keeps the system's clock.
type Synchronised = Box<dyn Fn() -> bool + Send + Sync>;

struct State {
    floor_unix_ms: u64,
    next_floor_unix_ms: Option<u64>,
    /// What the clock stands on; before anything is known, the last time that was written down.
    base: Anchor,
    /// How much later the system's clock is than that, while it is shown without being believed.
    shown_ahead_ms: u64,
    /// A certificate of the cloud held by what the clock stands on.
    is_proven: bool,
}

impl State {
    fn know(&mut self, base: Anchor) {
        self.base = base;
        self.shown_ahead_ms = 0;
    }
}

struct Shared {
    raw: Box<dyn Clock>,
    synchronised: Synchronised,
    latest_unix_ms: u64,
    state: Mutex<State>,
    changes: watch::Sender<Option<Anchor>>,
}

/// The clock. Clones are the same clock.
#[derive(Clone)]
pub struct BoxClock {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for BoxClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BoxClock").field("base", &self.state().base).finish_non_exhaustive()
    }
}

/// When this firmware was built (`SOURCE_DATE_EPOCH` where the build sets it), milliseconds since 1970.
#[must_use]
pub fn built_unix_ms() -> u64 {
    option_env!("PLATEN_BUILD_UNIX_S")
        .and_then(|seconds| seconds.parse::<u64>().ok())
        .unwrap_or(0)
        .saturating_mul(1_000)
}

impl BoxClock {
    /// Starts the clock over the system's. `kept` is what was last written down; times that no box of this
    /// firmware can have seen are left aside.
    #[must_use]
    pub fn start(raw: impl Clock, kept: Option<KeptTime>) -> Self {
        let synchronised = Box::new(|| std::path::Path::new(SYNCHRONISED).exists());
        Self::with(Box::new(raw), built_unix_ms(), kept, synchronised)
    }

    /// As [`start`](Self::start), with everything that the system would say given: for tests and simulations.
    #[must_use]
    pub fn with(raw: Box<dyn Clock>, built_unix_ms: u64, kept: Option<KeptTime>, synchronised: Synchronised) -> Self {
        // 0: built by something that did not say when.
        let latest_unix_ms = if built_unix_ms == 0 { u64::MAX } else { built_unix_ms.saturating_add(LIFE_MS) };
        let kept = kept.filter(|kept| kept.latest_unix_ms() <= latest_unix_ms);
        let floor_unix_ms = built_unix_ms.max(kept.map_or(0, |kept| kept.floor_unix_ms));
        let last_unix_ms = floor_unix_ms.max(kept.map_or(0, |kept| kept.last_unix_ms));
        let system = Some(raw.wall_unix_ms()).filter(|now| (last_unix_ms..=latest_unix_ms).contains(now));
        let base = Anchor {
            monotonic_ms: raw.monotonic_ms(),
            unix_ms: last_unix_ms,
            radius_ms: u64::MAX,
            quality: ClockQuality::Floor,
        };
        let shown_ahead_ms = system.map_or(0, |system| system - last_unix_ms);
        let next_floor_unix_ms = kept.map(|kept| kept.next_floor_unix_ms);
        let state = State { floor_unix_ms, next_floor_unix_ms, base, shown_ahead_ms, is_proven: false };
        let state = Mutex::new(state);
        let shared = Shared { raw, synchronised, latest_unix_ms, state, changes: watch::Sender::new(None) };
        let clock = Self { shared: Arc::new(shared) };
        clock.look_at_system();
        clock
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every holder leaves the state whole between two of its lines.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the time is from.
    #[must_use]
    pub fn quality(&self) -> ClockQuality {
        self.state().base.quality
    }

    /// How far the wall clock may be off now, in milliseconds; `u64::MAX` while it is only a lower bound.
    #[must_use]
    pub fn radius_ms(&self) -> u64 {
        self.now().radius_ms
    }

    /// Now, as an anchor, whatever its quality. Before anything is known it is a true lower bound, also where the clock
    /// [shows](Clock::wall_unix_ms) what the system's says.
    #[must_use]
    pub fn now(&self) -> Anchor {
        let monotonic_ms = self.shared.raw.monotonic_ms();
        at(&self.state(), monotonic_ms)
    }

    /// Now, where it is known.
    #[must_use]
    pub fn known(&self) -> Option<Anchor> {
        Some(self.now()).filter(|anchor| anchor.quality != ClockQuality::Floor)
    }

    /// What time it was at a moment of this start, and how well that is known.
    #[must_use]
    pub fn at(&self, monotonic_ms: u64) -> Anchor {
        at(&self.state(), monotonic_ms)
    }

    /// Whether a certificate that has expired by this clock may be good all the same.
    #[must_use]
    pub fn is_a_guess(&self) -> bool {
        let state = self.state();
        state.base.quality != ClockQuality::Token || !state.is_proven
    }

    /// A certificate of the cloud held by this clock, on a connection with full checks that was used. After a day of it, what the
    /// clock stood on then becomes the floor.
    pub fn prove(&self) {
        let past = self.past();
        let mut state = self.state();
        if state.base.quality != ClockQuality::Token {
            return;
        }
        state.is_proven = true;
        match state.next_floor_unix_ms {
            Some(next) if past >= next.saturating_add(FLOOR_AFTER_MS) => {
                state.floor_unix_ms = state.floor_unix_ms.max(next);
                state.next_floor_unix_ms = Some(past);
            }
            Some(next) if past >= next => {}
            // The first; or the clock was set back, and what it stood on has not held.
            _ => state.next_floor_unix_ms = Some(past),
        }
    }

    /// A time that is past for certain, where the clock is right, milliseconds since 1970.
    fn past(&self) -> u64 {
        let now = self.now();
        now.unix_ms.saturating_sub(now.radius_ms)
    }

    /// What is worth writing down. `None` until a signed time came and was proven.
    #[must_use]
    pub fn to_keep(&self) -> Option<KeptTime> {
        let last_unix_ms = self.past();
        let state = self.state();
        let next_floor_unix_ms = state.next_floor_unix_ms.filter(|_| state.is_proven)?;
        Some(KeptTime { last_unix_ms, floor_unix_ms: state.floor_unix_ms, next_floor_unix_ms })
    }

    /// What the clock stands on, now and whenever it is set or corrected; `None` before it is known.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Option<Anchor>> {
        self.shared.changes.subscribe()
    }

    /// Looks whether a time server has set the system's clock meanwhile. After a signed time this does nothing.
    pub fn look_at_system(&self) {
        let mut state = self.state();
        if state.base.quality == ClockQuality::Token || !(self.shared.synchronised)() {
            return;
        }
        let system = self.shared.raw.wall_unix_ms();
        if !(state.floor_unix_ms..=self.shared.latest_unix_ms).contains(&system) {
            return;
        }
        let was = state.base.quality;
        state.know(Anchor {
            monotonic_ms: self.shared.raw.monotonic_ms(),
            unix_ms: system,
            radius_ms: NTP_RADIUS_MS,
            quality: ClockQuality::Ntp,
        });
        if was != ClockQuality::Ntp {
            self.shared.changes.send_replace(Some(state.base));
        }
    }

    /// Takes a signed time: at `monotonic_ms` it was `unix_ms`, give or take `radius_ms`.
    ///
    /// # Errors
    /// When it lies below the floor, or beyond the life of this firmware. Then nothing is changed.
    pub fn take_signed(&self, unix_ms: u64, radius_ms: u64, monotonic_ms: u64) -> Result<(), TimeRefused> {
        let mut state = self.state();
        let floor_unix_ms = state.floor_unix_ms;
        if unix_ms.saturating_add(radius_ms) < floor_unix_ms {
            return Err(TimeRefused::BelowFloor { unix_ms, floor_unix_ms });
        }
        if unix_ms > self.shared.latest_unix_ms {
            return Err(TimeRefused::TooLate { unix_ms });
        }
        state.know(Anchor { monotonic_ms, unix_ms, radius_ms, quality: ClockQuality::Token });
        state.is_proven = false;
        self.shared.changes.send_replace(Some(state.base));
        Ok(())
    }

    /// Corrects drift by what the cloud said over a verified connection between two moments of the clock that never jumps.
    /// Says whether that agrees with the clock; where it does not, only a signed time can tell.
    pub fn correct(&self, server_unix_ms: u64, sent_monotonic_ms: u64, received_monotonic_ms: u64) -> bool {
        let half_way = received_monotonic_ms.saturating_sub(sent_monotonic_ms) / 2;
        let (middle, radius_ms) = (sent_monotonic_ms.saturating_add(half_way), half_way.saturating_add(WORD_RADIUS_MS));
        let mut state = self.state();
        if state.base.quality != ClockQuality::Token {
            return false;
        }
        let ours = at(&state, middle);
        let apart = ours.unix_ms.abs_diff(server_unix_ms);
        if apart > CORRECTION_MAX_MS || server_unix_ms.saturating_add(radius_ms) < state.floor_unix_ms {
            return false;
        }
        if radius_ms < ours.radius_ms || apart > ours.radius_ms.saturating_add(radius_ms) {
            state.base =
                Anchor { monotonic_ms: middle, unix_ms: server_unix_ms, radius_ms, quality: ClockQuality::Token };
            self.shared.changes.send_replace(Some(state.base));
        }
        true
    }
}

/// The state's idea of a moment. Never below the floor.
fn at(state: &State, monotonic_ms: u64) -> Anchor {
    let base = state.base;
    let unix_ms = if monotonic_ms >= base.monotonic_ms {
        base.unix_ms.saturating_add(monotonic_ms - base.monotonic_ms)
    } else {
        // A moment before the anchor: it may lie below a floor that was learnt later.
        return Anchor {
            monotonic_ms,
            unix_ms: base.unix_ms.saturating_sub(base.monotonic_ms - monotonic_ms),
            radius_ms: grown(base.radius_ms, base.monotonic_ms - monotonic_ms),
            quality: base.quality,
        };
    };
    Anchor {
        monotonic_ms,
        unix_ms: unix_ms.max(state.floor_unix_ms),
        radius_ms: grown(base.radius_ms, monotonic_ms - base.monotonic_ms),
        quality: base.quality,
    }
}

fn grown(radius_ms: u64, elapsed_ms: u64) -> u64 {
    radius_ms.saturating_add(elapsed_ms.saturating_mul(DRIFT_PPM) / 1_000_000)
}

impl Clock for BoxClock {
    fn monotonic_ms(&self) -> u64 {
        self.shared.raw.monotonic_ms()
    }

    fn wall_unix_ms(&self) -> u64 {
        let monotonic_ms = self.shared.raw.monotonic_ms();
        let state = self.state();
        at(&state, monotonic_ms).unix_ms.saturating_add(state.shown_ahead_ms)
    }

    fn boot_id(&self) -> &str {
        self.shared.raw.boot_id()
    }

    fn now(&self) -> Anchor {
        Self::now(self)
    }
}

#[cfg(test)]
#[path = "box_clock_tests.rs"]
mod tests;
