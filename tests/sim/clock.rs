//! The two clocks of a simulated box, as the contract has them: one that never jumps and drifts, and a wall clock that is a lower
//! bound until the cloud has said what time it is. (The world's true time is nobody's to see but the cloud's.)

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use platen::proto::v1::{self, ClockQuality, record::What};
use platen::sys::Clock;
use prost::Message;

use crate::history::true_ms;

/// A clock of the box may be off by so much of what it counts: what the cloud allows for.
const DRIFT_DIVISOR: u64 = 10_000;

/// What was learnt of the true time.
#[derive(Debug, Clone, Copy)]
struct Learnt {
    mono_ms: u64,
    unix_ms: u64,
    radius_ms: u64,
}

#[derive(Debug)]
struct State {
    started_true_ms: u64,
    /// Of a million.
    drift: i64,
    /// A time that is not later than the start.
    floor_ms: u64,
    learnt: Option<Learnt>,
    /// Whether the outbox has not been told yet.
    is_news: bool,
}

/// The clocks of one start; clones are the same.
#[derive(Debug, Clone)]
pub struct BoxClock {
    boot_id: Arc<str>,
    state: Arc<Mutex<State>>,
}

impl BoxClock {
    /// Starts them. `floor_ms` is the last time that the box wrote down.
    pub fn start(boot_id: &str, drift: i64, floor_ms: u64) -> Self {
        let state = State { started_true_ms: true_ms(), drift, floor_ms, learnt: None, is_news: false };
        Self { boot_id: boot_id.into(), state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn now_mono_ms(&self) -> u64 {
        self.state().mono_ms()
    }

    /// The cloud has said what time it was, some time after `sent_ms`.
    pub fn learn(&self, sent_ms: u64, unix_ms: u64) {
        let mut state = self.state();
        let mono_ms = state.mono_ms();
        let trip_ms = mono_ms - sent_ms;
        let radius_ms = trip_ms / 2 + trip_ms / DRIFT_DIVISOR + 2;
        let is_better = state.learnt.is_none_or(|old| radius_ms <= old.radius_at(mono_ms));
        if is_better {
            state.is_news |= state.learnt.is_none();
            state.learnt = Some(Learnt { mono_ms, unix_ms: unix_ms + trip_ms / 2, radius_ms });
        }
    }

    /// Not later than now, as far as the box knows: to be written down for the next start.
    pub fn floor_ms(&self) -> u64 {
        let state = self.state();
        let mono_ms = state.mono_ms();
        match state.learnt {
            Some(learnt) => learnt.wall_at(mono_ms).saturating_sub(learnt.radius_at(mono_ms)),
            None => state.floor_at(mono_ms),
        }
    }

    /// This moment, as a reading carries it.
    pub fn taken(&self) -> v1::Taken {
        let state = self.state();
        let mono_ms = state.mono_ms();
        let (wall_ms, quality, radius_ms) = match state.learnt {
            Some(learnt) => (learnt.wall_at(mono_ms), ClockQuality::Token, learnt.radius_at(mono_ms)),
            None => (state.floor_at(mono_ms), ClockQuality::Floor, 0),
        };
        v1::Taken {
            boot_id: self.boot_id.to_string(),
            monotonic_ms: mono_ms,
            wall_clock_unix_ms: wall_ms,
            quality: quality.into(),
            radius_ms,
        }
    }

    /// A clock anchor for the outbox, where one is due: a serialised record, and the true time of it.
    pub fn anchor(&self) -> Option<Vec<u8>> {
        let taken = self.taken();
        if !self.state().is_news {
            return None;
        }
        let anchor = v1::ClockAnchor {
            boot_id: taken.boot_id,
            monotonic_ms: taken.monotonic_ms,
            unix_ms: taken.wall_clock_unix_ms,
            radius_ms: taken.radius_ms,
            quality: taken.quality,
        };
        Some(v1::Record { what: Some(What::ClockAnchor(anchor)) }.encode_to_vec())
    }

    /// The anchor was accepted.
    pub fn anchored(&self) {
        self.state().is_news = false;
    }
}

impl State {
    fn mono_ms(&self) -> u64 {
        let since = i64::try_from(true_ms() - self.started_true_ms).unwrap_or(i64::MAX / 2_000_000);
        u64::try_from(since + since * self.drift / 1_000_000).unwrap_or(0)
    }

    /// A clock that may be fast must not run past the true time while it is only a lower bound.
    fn floor_at(&self, mono_ms: u64) -> u64 {
        self.floor_ms + mono_ms - mono_ms / DRIFT_DIVISOR - 1.min(mono_ms)
    }
}

impl Learnt {
    fn wall_at(self, mono_ms: u64) -> u64 {
        self.unix_ms + (mono_ms - self.mono_ms)
    }

    fn radius_at(self, mono_ms: u64) -> u64 {
        self.radius_ms + (mono_ms - self.mono_ms) / DRIFT_DIVISOR + 1
    }
}

impl Clock for BoxClock {
    fn monotonic_ms(&self) -> u64 {
        self.now_mono_ms()
    }

    fn wall_unix_ms(&self) -> u64 {
        self.taken().wall_clock_unix_ms
    }

    fn boot_id(&self) -> &str {
        &self.boot_id
    }
}
