//! An agent's clock as SNMPv3 needs it: boots and seconds since boot (RFC 3414 §2.2), carried on by our own clock
//! between answers, so that a printer polled every five minutes is not told a stale time. Time is an argument.

use super::limits::TIME_WINDOW_SECONDS;
use std::time::Instant;

/// The largest value of snmpEngineBoots and snmpEngineTime (RFC 3414 §2.2.1).
pub(super) const MAX_COUNT: u32 = i32::MAX as u32;

/// What an agent said of its clock, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct EngineClock {
    boots: u32,
    time: u32,
    at: Instant,
    /// Whether an authenticated message said so. Until then it is a guess that anybody could have sent.
    proven: bool,
}

impl EngineClock {
    /// Starts from what an unauthenticated report said: a guess that saves a round trip if it is right.
    pub(super) fn guess(boots: u32, time: u32, now: Instant) -> Self {
        Self { boots: boots.min(MAX_COUNT), time: time.min(MAX_COUNT), at: now, proven: false }
    }

    /// Boots and time to send now.
    pub(super) fn now(&self, now: Instant) -> (u32, u32) {
        let elapsed = now.saturating_duration_since(self.at).as_secs();
        let time = u64::from(self.time) + elapsed;
        match u32::try_from(time) {
            Ok(time) if time <= MAX_COUNT => (self.boots, time),
            // The agent counted one more boot when its seconds ran over (RFC 3414 §2.2.2).
            _ => {
                let over = u32::try_from(time % u64::from(MAX_COUNT)).unwrap_or(0);
                (self.boots.saturating_add(1).min(MAX_COUNT), over)
            }
        }
    }

    /// Whether an authenticated answer with this clock is recent, not a replay (RFC 3414 §3.2 step 7b).
    pub(super) fn accepts(&self, boots: u32, time: u32, now: Instant) -> bool {
        if !self.proven {
            return true;
        }
        let (known_boots, known_time) = self.now(now);
        boots > known_boots || (boots == known_boots && time.saturating_add(TIME_WINDOW_SECONDS) >= known_time)
    }

    /// Takes over what an authenticated message said.
    pub(super) fn commit(&mut self, boots: u32, time: u32, now: Instant) {
        *self = Self { boots: boots.min(MAX_COUNT), time: time.min(MAX_COUNT), at: now, proven: true };
    }

    /// Takes over what an unauthenticated report said, unless we know better.
    pub(super) fn suggest(&mut self, boots: u32, time: u32, now: Instant) {
        if !self.proven {
            *self = Self::guess(boots, time, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    #[test]
    fn after_five_minutes_of_silence_the_agents_time_is_still_known() {
        let start = Instant::now();
        let mut clock = EngineClock::guess(0, 0, start);
        clock.commit(7, 1_000, start);
        assert_eq!(clock.now(start + Duration::from_secs(300)), (7, 1_300));
    }

    #[test]
    fn a_spoofed_clock_is_no_match_for_an_authenticated_one() {
        let now = Instant::now();
        let mut clock = EngineClock::guess(3, 50, now);
        clock.suggest(i32::MAX as u32, 9, now);
        assert_eq!(clock.now(now), (MAX_COUNT, 9), "a guess may be replaced by a guess");
        clock.commit(4, 60, now);
        clock.suggest(MAX_COUNT, 9, now);
        assert_eq!(clock.now(now), (4, 60));
    }

    #[test]
    fn an_old_answer_is_a_replay_and_a_reboot_is_not() {
        let now = Instant::now();
        let mut clock = EngineClock::guess(0, 0, now);
        assert!(clock.accepts(1, 1, now));
        clock.commit(4, 1_000, now);
        assert!(clock.accepts(4, 850, now));
        assert!(!clock.accepts(4, 849, now));
        assert!(!clock.accepts(3, 2_000, now));
        assert!(clock.accepts(5, 0, now));
    }

    proptest! {
        #[test]
        fn no_clock_ever_leaves_its_range(boots in any::<u32>(), time in any::<u32>(), seconds in 0u64..5_000_000_000) {
            let now = Instant::now();
            let mut clock = EngineClock::guess(boots, time, now);
            clock.commit(boots, time, now);
            let (b, t) = clock.now(now + Duration::from_secs(seconds));
            prop_assert!(b <= MAX_COUNT && t <= MAX_COUNT);
        }
    }
}
