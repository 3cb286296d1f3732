//! How often: when a silent printer is tried again, and how slowly a search goes that nobody waits for.

use std::time::Duration;

use crate::proto::times::minutes_of_day;

/// Rounds that a printer may miss before it is asked less often, and the longest time between two tries then.
const MISSED_ROUNDS: u32 = 3;
const LONGEST_BACKOFF: Duration = Duration::from_secs(3_600);
/// A search that is due because of the time is spread over this part of the time until the next.
const SPREAD: f64 = 0.5;
/// How often a search asks each silent address by each of the credentials.
const ROUNDS: u64 = 2;

/// How long a printer is not asked that has missed so many rounds, one each `interval`; `None`: it is asked in the next.
pub(super) fn rest_of_silent(missed: u32, interval: Duration) -> Option<Duration> {
    let beyond = missed.checked_sub(MISSED_ROUNDS)?;
    let wait = interval.saturating_mul(2u32.saturating_pow(beyond.saturating_add(1)));
    // The round itself comes each interval; a little less, so that it is not missed by a hair.
    Some(wait.min(LONGEST_BACKOFF.max(interval)).mul_f64(0.95))
}

/// Time from one probe to the next in a search of so many addresses, so that it takes half of the time until the next.
pub(super) fn span_of_slow_search(scan_interval: Duration, addresses: u64, credentials: usize) -> Duration {
    let probes = addresses.max(1).saturating_mul(ROUNDS).saturating_mul(credentials.max(1) as u64);
    scan_interval.mul_f64(SPREAD) / u32::try_from(probes).unwrap_or(u32::MAX)
}

/// Time until the next of these times of the day ("06:00", UTC); `None` where there are none. What cannot be read is passed over.
pub(super) fn until_time_of_day(now_unix_ms: u64, times: &[String]) -> Option<Duration> {
    const DAY_MS: u64 = 86_400_000;
    let now_ms = now_unix_ms % DAY_MS;
    let wait = |time: &String| {
        let minutes = minutes_of_day(time)?;
        let ahead_ms = (minutes * 60_000 + DAY_MS - now_ms) % DAY_MS;
        // Just now is over: it is the next day's turn.
        Some(Duration::from_millis(if ahead_ms == 0 { DAY_MS } else { ahead_ms }))
    };
    times.iter().filter_map(wait).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn after_three_missed_rounds_the_time_between_tries_doubles_up_to_an_hour() {
        // In rounds of five minutes: each rest ends just before one of them.
        let rounds = |missed| rest_of_silent(missed, 5 * MINUTE).map(|rest| rest.as_secs_f64() / 300.0);
        for missed in 0..3 {
            assert_eq!(rounds(missed), None, "{missed}");
        }
        for (missed, round) in [(3, 2.0), (4, 4.0), (5, 8.0), (6, 12.0), (7, 12.0), (u32::MAX, 12.0)] {
            let rest = rounds(missed).unwrap();
            assert!((round - 1.0..round).contains(&rest), "{missed}: {rest} rounds");
        }
        // Whoever is read once a day is not asked more often for being silent.
        assert!(rest_of_silent(9, 1_440 * MINUTE).unwrap() > 1_300 * MINUTE);
    }

    #[test]
    fn the_next_time_of_the_day_is_waited_for_also_past_midnight() {
        let times = ["06:00".to_owned(), "23:30".to_owned(), "24:00".to_owned(), "nonsense".to_owned()];
        let at = |hour: u64, minute: u64| 1_790_035_200_000 / 86_400_000 * 86_400_000 + (hour * 60 + minute) * 60_000;
        let wait = |now| until_time_of_day(now, &times).unwrap().as_secs() / 60;
        assert_eq!(wait(at(5, 0)), 60);
        assert_eq!(wait(at(6, 0)), 17 * 60 + 30);
        assert_eq!(wait(at(23, 45)), 6 * 60 + 15);
        assert_eq!(until_time_of_day(at(5, 0), &[]), None);
        assert_eq!(until_time_of_day(at(5, 0), &["6:00".to_owned()]), None);
    }

    #[test]
    fn a_search_that_nobody_waits_for_takes_half_a_day() {
        let day = 1_440 * MINUTE;
        for (addresses, credentials) in [(1, 1), (254, 2), (65_536, 8)] {
            let span = span_of_slow_search(day, addresses, credentials);
            let probes = u32::try_from(addresses * 2 * credentials as u64).unwrap();
            let takes = span * probes;
            assert!((715 * MINUTE..=720 * MINUTE).contains(&takes), "{addresses}: {takes:?}");
        }
        assert_eq!(span_of_slow_search(day, 0, 0), 360 * MINUTE);
        assert!(span_of_slow_search(day, u64::MAX, usize::MAX) < Duration::from_millis(1));
    }
}
