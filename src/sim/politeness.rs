//! How politely a simulated printer is treated: who has more than one request to answer, how close two requests come, and
//! how many come in a second to all of them together. Time is an argument.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

/// A request that gets no answer counts as being worked on for so long: a client that has waited that long may ask again.
const WORKED_ON: Duration = Duration::from_millis(200);
/// Arrivals looked back at for the count of one second.
const ARRIVALS_MAX: usize = 65_536;

/// Unanswered requests that are counted at one printer: more than that is no better manners.
const OPEN_MAX: usize = 1_024;

/// Pairs of a printer and somebody who asks it that are told apart; further ones are not counted.
const ASKERS_MAX: usize = 65_536;

/// Requests that came to each printer, by whom they came from.
pub type Asked = BTreeMap<Ipv4Addr, BTreeMap<SocketAddrV4, u64>>;

/// What was seen of one printer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Treatment {
    /// Requests that came.
    pub requests: u64,
    /// Most requests that it had to answer at the same time.
    pub most_at_once: u32,
    /// Least time between the arrivals of two requests; `None` before the second.
    pub least_gap: Option<Duration>,
}

/// What was seen of all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Politeness {
    /// By address.
    pub printers: HashMap<Ipv4Addr, Treatment>,
    /// Most requests within any one second, to all addresses together, those without a printer included.
    pub most_in_a_second: usize,
    /// Requests in all.
    pub requests: u64,
}

#[derive(Debug, Default)]
struct Seen {
    requests: u64,
    most_at_once: u32,
    least_gap: Option<Duration>,
    last: Option<Duration>,
    /// When the requests that are not answered yet came.
    open: VecDeque<Duration>,
}

/// Watches.
#[derive(Debug, Default)]
pub(super) struct Judge {
    printers: HashMap<Ipv4Addr, Seen>,
    arrivals: VecDeque<Duration>,
    most_in_a_second: usize,
    requests: u64,
    asked: Asked,
    askers: usize,
}

impl Judge {
    /// A datagram came for an address. Returns how the printer there, if there is one, was treated by it: requests that
    /// it has to answer now, and the time since the one before.
    pub(super) fn arrived(&mut self, address: Ipv4Addr, is_printer: bool, now: Duration) -> (u32, Option<Duration>) {
        self.requests += 1;
        self.arrivals.push_back(now);
        while self.arrivals.front().is_some_and(|at| *at + Duration::from_secs(1) <= now)
            || self.arrivals.len() > ARRIVALS_MAX
        {
            self.arrivals.pop_front();
        }
        self.most_in_a_second = self.most_in_a_second.max(self.arrivals.len());
        if !is_printer {
            return (0, None);
        }
        let seen = self.printers.entry(address).or_default();
        let gap = seen.last.map(|last| now.saturating_sub(last));
        seen.last = Some(now);
        seen.least_gap = [seen.least_gap, gap].into_iter().flatten().min();
        seen.requests += 1;
        while seen.open.front().is_some_and(|at| *at + WORKED_ON <= now) || seen.open.len() >= OPEN_MAX {
            seen.open.pop_front();
        }
        seen.open.push_back(now);
        let at_once = u32::try_from(seen.open.len()).unwrap_or(u32::MAX);
        seen.most_at_once = seen.most_at_once.max(at_once);
        (at_once, gap)
    }

    /// Counts a request to a printer for whoever sent it.
    pub(super) fn asked_by(&mut self, printer: Ipv4Addr, from: SocketAddrV4) {
        let of_printer = self.asked.entry(printer).or_default();
        if let Some(count) = of_printer.get_mut(&from) {
            *count += 1;
        } else if self.askers < ASKERS_MAX {
            of_printer.insert(from, 1);
            self.askers += 1;
        }
    }

    /// Who has asked whom how often.
    pub(super) fn asked(&self) -> Asked {
        self.asked.clone()
    }

    /// The oldest request there has been answered.
    pub(super) fn answered(&mut self, address: Ipv4Addr) {
        if let Some(seen) = self.printers.get_mut(&address) {
            seen.open.pop_front();
        }
    }

    pub(super) fn verdict(&self) -> Politeness {
        let treatment = |seen: &Seen| Treatment {
            requests: seen.requests,
            most_at_once: seen.most_at_once,
            least_gap: seen.least_gap,
        };
        Politeness {
            printers: self.printers.iter().map(|(address, seen)| (*address, treatment(seen))).collect(),
            most_in_a_second: self.most_in_a_second,
            requests: self.requests,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_before_the_answer_to_the_last_is_seen_and_so_is_what_comes_too_soon() {
        let (start, ms) = (Duration::from_secs(1_000), Duration::from_millis);
        let (polite, pushed) = (Ipv4Addr::new(127, 0, 0, 1), Ipv4Addr::new(127, 0, 0, 2));
        let mut judge = Judge::default();
        for n in 0..3u64 {
            assert_eq!(judge.arrived(polite, true, start + ms(n * 30)).0, 1);
            judge.answered(polite);
        }
        judge.arrived(pushed, true, start + ms(100));
        assert_eq!(judge.arrived(pushed, true, start + ms(105)), (2, Some(ms(5))));
        judge.arrived(Ipv4Addr::new(127, 0, 0, 3), false, start + ms(106));
        let verdict = judge.verdict();
        assert_eq!(verdict.printers[&polite], Treatment { requests: 3, most_at_once: 1, least_gap: Some(ms(30)) });
        assert_eq!(verdict.printers[&pushed], Treatment { requests: 2, most_at_once: 2, least_gap: Some(ms(5)) });
        assert_eq!((verdict.most_in_a_second, verdict.requests, verdict.printers.len()), (6, 6, 2));
    }

    #[test]
    fn who_asks_is_told_apart_by_address_and_port_and_within_a_bound() {
        let (printer, from) = (Ipv4Addr::LOCALHOST, |port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));
        let mut judge = Judge::default();
        for port in [7, 8, 7] {
            judge.asked_by(printer, from(port));
        }
        assert_eq!(judge.asked()[&printer], BTreeMap::from([(from(7), 2), (from(8), 1)]));
        for n in 0..70_000 {
            judge.asked_by(Ipv4Addr::from_bits(n), from(9));
        }
        assert_eq!(judge.askers, ASKERS_MAX);
    }

    #[test]
    fn a_request_that_was_never_answered_is_not_worked_on_for_ever() {
        let (start, printer) = (Duration::from_secs(1_000), Ipv4Addr::new(127, 0, 0, 1));
        let mut judge = Judge::default();
        judge.arrived(printer, true, start);
        assert_eq!(judge.arrived(printer, true, start + Duration::from_millis(250)).0, 1);
        // The count of a second forgets what is older.
        judge.arrived(printer, true, start + Duration::from_secs(5));
        assert_eq!(judge.verdict().most_in_a_second, 2);
    }

    #[test]
    fn what_is_kept_has_a_bound_however_much_comes() {
        let (start, printer) = (Duration::from_secs(1_000), Ipv4Addr::new(127, 0, 0, 1));
        let mut judge = Judge::default();
        for n in 0..100_000 {
            judge.arrived(printer, true, start + Duration::from_micros(n));
        }
        assert_eq!((judge.arrivals.len(), judge.printers[&printer].open.len()), (ARRIVALS_MAX, OPEN_MAX));
        let verdict = judge.verdict();
        assert_eq!((verdict.requests, verdict.most_in_a_second), (100_000, ARRIVALS_MAX));
        assert_eq!(verdict.printers[&printer].most_at_once as usize, OPEN_MAX);
    }
}
