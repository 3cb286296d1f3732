//! What can be wrong with a simulated printer, and the datagrams that come of it. Some faults are those of real devices, some
//! are what an attacker in the LAN can do; what each stands for is said with it.

use std::net::Ipv4Addr;
use std::str::FromStr;
use std::time::{Duration, Instant};

use super::agent;
use super::device::Device;
use crate::oid;
use crate::snmp::Oid;

/// What can be wrong with a simulated printer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// Never answers: switched off, or SNMP is.
    Silent,
    /// Answers after so long: asleep, or busy with a page.
    Slow(Duration),
    /// Loses so many of a thousand requests: wireless, or a full switch.
    Lossy(u32),
    /// Answers with bytes that are no SNMP: another service on the port.
    Garbage,
    /// GETNEXT comes back to where it was: a defect of the agent that many have.
    Looping,
    /// A table that never ends: an agent that makes up a row for any index.
    Endless,
    /// Answers each request with two hundred datagrams that answer nothing, and then rightly: an attacker, or a loop in
    /// the network.
    Flooding,
    /// Answers are cut off in the middle: an agent whose buffer is smaller than its answer.
    Truncated,
    /// Behind each answer come 50,000 octets more in the same datagram: a buffer sent whole.
    Oversized,
    /// GETBULK is answered with 60,000 octets of rows, and behind the last object of endOfMibView again and again, however few
    /// were asked for: an agent that does not look at max-repetitions.
    Huge,
    /// Answers bear another id than was asked with: a defect, or answers that are too late.
    WrongId,
    /// Before each answer comes one with the right id and false values from another address: somebody who listens in the LAN.
    Spoofed,
    /// Only the other address answers, with the right id and false values: that somebody, while the printer is off.
    Impostor,
    /// Does not know GETBULK, and says genErr to it: some older print servers.
    NoBulk,
    /// GETBULK of more than five repetitions is tooBig for it: agents with a buffer of a few hundred octets.
    TinyBulk,
    /// GETNEXT is right, GETBULK brings its rows out of order: some of Konica Minolta's.
    Unordered,
    /// Speaks only v1: old JetDirect cards.
    V1Only,
    /// Falls silent for a minute when it is pressed: by a second request before the first is answered, by one that comes
    /// sooner than 15 ms after the last, or by more than 25 repetitions. Small agents restart, or stop, when they are.
    Fragile,
    /// Before each v3 answer come unsigned reports of every kind with the right ids: an attacker who wants the box to give up.
    ReportFlood,
    /// Before each v3 answer, discovery's too, come unsigned reports with boots and time at 2^31-1: an attacker who wants to lock
    /// the box out of the printer, since nothing is in time after that (RFC 3414 §2.2.2).
    ClockGames,
    /// Says in its v3 messages, the signed ones too, that it takes 2^31-1 octets: RFC 3412 §6.3 allows it, and agents do.
    BigMsgSize,
}

/// Faults without a number, by the names that they have on the command line.
const BY_NAME: [(&str, Fault); 19] = [
    ("silent", Fault::Silent),
    ("garbage", Fault::Garbage),
    ("looping", Fault::Looping),
    ("endless", Fault::Endless),
    ("flooding", Fault::Flooding),
    ("truncated", Fault::Truncated),
    ("oversized", Fault::Oversized),
    ("huge", Fault::Huge),
    ("wrong-id", Fault::WrongId),
    ("spoofed", Fault::Spoofed),
    ("impostor", Fault::Impostor),
    ("no-bulk", Fault::NoBulk),
    ("tiny-bulk", Fault::TinyBulk),
    ("unordered", Fault::Unordered),
    ("v1-only", Fault::V1Only),
    ("fragile", Fault::Fragile),
    ("report-flood", Fault::ReportFlood),
    ("clock-games", Fault::ClockGames),
    ("big-msg-size", Fault::BigMsgSize),
];

impl Fault {
    /// What may be written for a fault.
    #[must_use]
    pub fn names() -> String {
        let plain = BY_NAME.iter().map(|(name, _)| *name);
        plain.chain(["slow:MILLISECONDS", "lossy:PERMILLE"]).collect::<Vec<_>>().join(", ")
    }
}

/// Not a fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a fault: write one of {names}", names = Fault::names())]
pub struct FaultError(String);

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        if let Some((_, fault)) = BY_NAME.iter().find(|(name, _)| *name == text) {
            return Ok(*fault);
        }
        let number = text.split_once(':').and_then(|(kind, number)| Some((kind, number.parse::<u32>().ok()?)));
        match number {
            Some(("slow", ms)) => Ok(Self::Slow(Duration::from_millis(u64::from(ms)))),
            Some(("lossy", permille)) if permille <= 1_000 => Ok(Self::Lossy(permille)),
            _ => Err(FaultError(text.to_owned())),
        }
    }
}

/// What presses a fragile device, and for how long it then is silent. The gap is a little less than what is promised.
const FRAGILE_GAP: Duration = Duration::from_millis(15);
const FRAGILE_REPETITIONS: i64 = 25;
const FRAGILE_SILENCE: Duration = Duration::from_secs(60);
/// Datagrams that answer nothing, before one that does.
const FLOOD: usize = 200;
/// Octets behind an answer in the same datagram.
const OVERSIZE_BYTES: usize = 50_000;
/// The answer to any GETBULK.
pub(super) const HUGE_ANSWER_BYTES: usize = 60_000;
/// Boots and time at which RFC 3414 §2.2.2 has an engine stop for good.
const LATCHED: (u32, u32) = (i32::MAX as u32, i32::MAX as u32);

/// What a device with a fault answers, each datagram with the address that it comes from; `None` when it is silent.
/// `at_once` and `gap` are how it has just been treated: requests that it has to answer, and the time since the last.
pub(super) fn faulty(
    device: &mut Device,
    request: &[u8],
    asked: Ipv4Addr,
    (at_once, gap): (u32, Option<Duration>),
) -> Option<Vec<(Ipv4Addr, Vec<u8>)>> {
    let fault = device.fault;
    let is_lost = matches!(fault, Some(Fault::Lossy(permille)) if fastrand::u32(0..1_000) < permille);
    if is_lost || fault == Some(Fault::Silent) {
        return None;
    }
    if fault == Some(Fault::Garbage) {
        return garbage_for(request).map(|answer| vec![(asked, answer)]);
    }
    let answer = agent::answer(device, request);
    if fault == Some(Fault::Fragile) {
        let is_pressed = at_once > 1
            || gap.is_some_and(|gap| gap < FRAGILE_GAP)
            || device.last_repetitions.is_some_and(|repetitions| repetitions > FRAGILE_REPETITIONS);
        let now = Instant::now();
        if is_pressed {
            device.silent_until = Some(now + FRAGILE_SILENCE);
        }
        if device.silent_until.is_some_and(|until| until > now) {
            return None;
        }
    }
    let mut answer = answer?;
    let stranger = Ipv4Addr::from_bits(asked.to_bits() ^ 0x40);
    let before = |datagrams: Vec<Vec<u8>>, answer| {
        let datagrams = datagrams.into_iter().chain([answer]);
        datagrams.map(|datagram| (asked, datagram)).collect()
    };
    Some(match fault {
        Some(Fault::Flooding) => before(vec![with_another_id(request, &answer); FLOOD], answer),
        Some(Fault::Truncated) => {
            answer.truncate(answer.len() / 2);
            vec![(asked, answer)]
        }
        Some(Fault::Oversized) => {
            answer.resize(answer.len() + OVERSIZE_BYTES, 0);
            vec![(asked, answer)]
        }
        Some(Fault::WrongId) => vec![(asked, with_another_id(request, &answer))],
        Some(Fault::Spoofed) => vec![(stranger, lie(&answer)), (asked, answer)],
        Some(Fault::Impostor) => vec![(stranger, lie(&answer))],
        Some(Fault::ReportFlood) => {
            before(agent::unsigned_reports(device, request, &every_report(), device.clock()), answer)
        }
        Some(Fault::ClockGames) => {
            let counters = [agent::usm_stats(2), agent::usm_stats(4)];
            before(agent::unsigned_reports(device, request, &counters, LATCHED), answer)
        }
        _ => vec![(asked, answer)],
    })
}

/// The same answer with another value at its end.
fn lie(answer: &[u8]) -> Vec<u8> {
    let mut lie = answer.to_vec();
    if let Some(last) = lie.last_mut() {
        *last ^= 1;
    }
    lie
}

/// usmStats (RFC 3414 §5), what message processing counts (RFC 3412 §5), and what applications count (RFC 3413 §3.2, §4.1.2).
fn every_report() -> Vec<Oid> {
    let usm = (1..=6).map(agent::usm_stats);
    let messages = (1..=3).map(|counter| oid!(1, 3, 6, 1, 6, 3, 11, 2, 1, counter, 0));
    usm.chain(messages).chain([oid!(1, 3, 6, 1, 6, 3, 12, 1, 4, 0), agent::unknown_contexts()]).collect()
}

/// An answer whose request id is another one. (The id has four octets in requests of the engine.)
fn with_another_id(request: &[u8], answer: &[u8]) -> Vec<u8> {
    let mut answer = answer.to_vec();
    let id = request.windows(6).find(|octets| octets.starts_with(&[2, 4])).and_then(|octets| octets.get(2..));
    let place = id.and_then(|id| answer.windows(4).position(|octets| octets == id));
    if let Some(octet) = place.and_then(|place| answer.get_mut(place + 3)) {
        *octet ^= 1;
    }
    answer
}

/// The request itself with its PDU turned to noise: the id still is where it was, so it is taken for an answer.
fn garbage_for(request: &[u8]) -> Option<Vec<u8>> {
    let mut answer = request.to_vec();
    let tail = answer.len().checked_sub(6)?;
    answer.get_mut(tail..)?.fill(0xff);
    answer.iter_mut().filter(|byte| matches!(**byte, 0xa0 | 0xa1 | 0xa5)).take(1).for_each(|byte| *byte = 0xa2);
    Some(answer)
}

#[cfg(test)]
#[path = "faults_tests.rs"]
mod tests;
