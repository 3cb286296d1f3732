//! When something was seen, on a box whose wall clock may be wrong and whose other clock begins anew at each start.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point in time by both clocks of the box.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u64, u64, u64)", into = "(u64, u64, u64)")]
pub struct Moment {
    /// Names the start of the box: monotonic times of different starts have nothing to do with each other.
    pub boot: u64,
    /// Milliseconds since that start.
    pub monotonic_ms: u64,
    /// By the wall clock, milliseconds since 1970-01-01T00:00:00Z.
    pub wall_unix_ms: u64,
}

impl Moment {
    /// The time from `earlier` to here: exact within one start of the box, by the wall clock otherwise, and nothing where
    /// that clock has run backwards.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Option<Duration> {
        let ms = if self.boot == earlier.boot {
            self.monotonic_ms.checked_sub(earlier.monotonic_ms)
        } else {
            self.wall_unix_ms.checked_sub(earlier.wall_unix_ms)
        };
        ms.map(Duration::from_millis)
    }

    /// Whether `earlier` lies at most `span` back. What cannot be told is not recent.
    pub(super) fn is_within(&self, span: Duration, earlier: &Self) -> bool {
        self.since(earlier).is_some_and(|elapsed| elapsed <= span)
    }
}

// As three numbers in a file: a device has several of them.
impl From<(u64, u64, u64)> for Moment {
    fn from((boot, monotonic_ms, wall_unix_ms): (u64, u64, u64)) -> Self {
        Self { boot, monotonic_ms, wall_unix_ms }
    }
}

impl From<Moment> for (u64, u64, u64) {
    fn from(moment: Moment) -> Self {
        (moment.boot, moment.monotonic_ms, moment.wall_unix_ms)
    }
}

/// What a device's sysUpTime says of the time between two looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Uptime {
    /// It went on as long as time did: the same agent has been running all the while.
    Continued,
    /// It began anew in between.
    Restarted,
    /// It is not told, or fits neither.
    Unknown,
}

impl Uptime {
    /// Compares two values of sysUpTime, in hundredths of a second.
    pub(super) fn compare(before: Option<(u64, Moment)>, now: Option<(u64, Moment)>) -> Self {
        let (Some((before, then)), Some((uptime, now))) = (before, now) else { return Self::Unknown };
        let Some(elapsed) = now.since(&then) else {
            return if uptime < before { Self::Restarted } else { Self::Unknown };
        };
        // sysUpTime is TimeTicks and wraps at 2^32 (RFC 2578 §7.1.8).
        let elapsed_cs = u64::try_from(elapsed.as_millis() / 10).unwrap_or(u64::MAX);
        let expected = before.saturating_add(elapsed_cs) % (1 << 32);
        let exact_cs = (elapsed_cs / 1_000).max(EXACT_CS);
        let rough_cs = (elapsed_cs / 50).max(ROUGH_CS);
        // A box that was started again measures by a wall clock that may have been set in between.
        let is_measured = now.boot == then.boot;
        let is_too_little = is_measured && uptime.saturating_add(rough_cs) < expected && expected >= before;
        match uptime.abs_diff(expected) <= exact_cs {
            true if uptime > 0 => Self::Continued,
            _ if is_too_little || uptime < before.min(expected) => Self::Restarted,
            _ => Self::Unknown,
        }
    }
}

/// How far an agent's clock may be off for it to prove that the same agent was running: 5 s, or a thousandth.
const EXACT_CS: u64 = 500;
/// How far it is off when it certainly began anew: 30 s, or a fiftieth, as some agents count in steps.
const ROUGH_CS: u64 = 3_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(boot: u64, minutes: u64, wall_minutes: u64) -> Moment {
        Moment { boot, monotonic_ms: minutes * 60_000, wall_unix_ms: wall_minutes * 60_000 }
    }

    #[test]
    fn elapsed_time_is_told_only_where_it_is_known() {
        assert_eq!(at(1, 10, 0).since(&at(1, 4, 99)), Some(Duration::from_secs(360)), "the wall clock was set back");
        assert_eq!(at(2, 0, 30).since(&at(1, 10, 20)), Some(Duration::from_secs(600)));
        assert_eq!(at(2, 0, 10).since(&at(1, 10, 20)), None);
        assert!(!at(2, 0, 10).is_within(Duration::MAX, &at(1, 10, 20)));
    }

    #[test]
    fn an_uptime_goes_on_or_begins_anew() {
        let hour_cs = 360_000;
        let of = |before, now| Uptime::compare(Some((before, at(1, 0, 0))), Some((now, at(1, 60, 60))));
        assert_eq!(of(5_000, 5_000 + hour_cs), Uptime::Continued);
        assert_eq!(of(5_000, 100), Uptime::Restarted);
        assert_eq!(of(5_000, hour_cs - 60_000), Uptime::Restarted, "more than before, and yet too little");
        assert_eq!(of(5_000, 9 * hour_cs), Uptime::Unknown);
        assert_eq!(of((1 << 32) - hour_cs / 2, hour_cs / 2), Uptime::Continued, "TimeTicks wrap");
        assert_eq!(Uptime::compare(None, Some((1, at(1, 0, 0)))), Uptime::Unknown);
        let after_a_start = Uptime::compare(Some((hour_cs, at(1, 0, 60))), Some((hour_cs + 10, at(2, 0, 120))));
        assert_eq!(after_a_start, Uptime::Unknown, "the wall clock may have jumped");
    }
}
