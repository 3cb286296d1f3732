//! Levels as sensors give them: noise of three points, sleep, codes in between, shaken cartridges, glitches; and replacements
//! among them. `PLATEN_SERIES=100000` runs so many series; a few thousand otherwise.

use super::event::EventKind;
use super::limits::CONFIRM_AFTER;
use super::moment::Moment;
use super::supplies::compare;
use crate::printer::Supply;

fn moment(minutes: u64) -> Moment {
    Moment { boot: 1, monotonic_ms: minutes * 60_000, wall_unix_ms: minutes * 60_000 }
}

fn supply(percent: Option<u32>, serial: Option<&str>) -> Supply {
    Supply {
        index: "1.1".to_owned(),
        description: Some("Black Toner".to_owned()),
        r#type: "toner".to_owned(),
        class: "consumed".to_owned(),
        percent,
        serial: serial.map(str::to_owned),
        state: match percent {
            None => "some".to_owned(),
            Some(0) => "empty".to_owned(),
            Some(percent) if percent <= 10 => "low".to_owned(),
            Some(_) => "ok".to_owned(),
        },
        ..Supply::default()
    }
}

/// The events of these levels, read five minutes apart: which reading, what.
fn events(levels: &[Option<u32>]) -> Vec<(usize, EventKind)> {
    let readings: Vec<_> = levels.iter().map(|level| (*level, None)).collect();
    events_of(&readings)
}

fn events_of(readings: &[(Option<u32>, Option<&str>)]) -> Vec<(usize, EventKind)> {
    let mut known = Vec::new();
    let mut told = Vec::new();
    for (n, (percent, serial)) in readings.iter().enumerate() {
        let events = compare(&mut known, &[supply(*percent, *serial)], moment(5 * n as u64), "k");
        told.extend(events.into_iter().map(|event| (n, event.kind)));
    }
    told
}

#[test]
fn a_rise_is_told_when_a_second_reading_confirms_it() {
    use EventKind::SupplyReplaced;
    assert_eq!(events(&[Some(41), Some(40), Some(100), Some(99)]), [(3, SupplyReplaced)]);
    assert_eq!(events(&[Some(41), Some(40), Some(100), None, Some(99)]), [(4, SupplyReplaced)]);
    assert!(events(&[Some(0), Some(90), Some(90)]).is_empty(), "a first reading proves nothing");
    assert!(events(&[Some(40), Some(100), Some(40), Some(41)]).is_empty(), "a glitch up");
    assert!(events(&[Some(40), Some(0), Some(40), Some(41)]).is_empty(), "a glitch down");
    assert!(events(&[Some(60), Some(20), Some(20), Some(60), Some(61)]).is_empty(), "asleep, and back");
    assert_eq!(
        events(&[Some(60), Some(40), Some(40), Some(100), Some(100)]),
        [(4, SupplyReplaced)],
        "a large job before"
    );
    assert_eq!(events(&[Some(90), Some(60), Some(60), Some(50), Some(100), Some(99)]), [(5, SupplyReplaced)]);
    assert!(events(&[Some(86), Some(100), Some(100)]).is_empty(), "14 points prove nothing");
}

#[test]
fn two_readings_at_once_confirm_nothing() {
    let mut known = Vec::new();
    let at = |ms| Moment { boot: 1, monotonic_ms: ms, wall_unix_ms: ms };
    let confirm = CONFIRM_AFTER.as_millis() as u64;
    let told = [(0, 40), (500, 40), (1_000, 100), (confirm, 100), (confirm + 999, 100), (confirm + 1_000, 100)]
        .map(|(ms, percent)| compare(&mut known, &[supply(Some(percent), None)], at(ms), "k").len());
    assert_eq!(told, [0, 0, 0, 0, 0, 1]);
}

#[test]
fn a_serial_number_proves_it_at_once_and_the_two_proofs_are_one_replacement() {
    use EventKind::SupplyReplaced;
    let (old, new) = (Some("AAAA1111"), Some("BBBB2222"));
    let full = Some(100);
    assert_eq!(events_of(&[(Some(5), old), (full, new), (full, new)]), [(1, SupplyReplaced)]);
    assert_eq!(
        events_of(&[(Some(30), old), (Some(30), new), (full, new), (full, new)]),
        [(1, SupplyReplaced)],
        "the level late"
    );
    assert_eq!(
        events_of(&[(Some(30), old), (Some(30), old), (full, old), (full, old), (full, new)]),
        [(3, SupplyReplaced)],
        "the number late"
    );
    assert!(
        events_of(&[(Some(30), old), (Some(30), None), (Some(29), Some("N/A")), (Some(29), Some("aaaa 1111"))])
            .is_empty()
    );
    // The next cartridge is another replacement.
    let next = events_of(&[(Some(30), old), (full, new), (Some(80), new), (Some(79), new), (full, Some("CCCC3333"))]);
    assert_eq!(next.len(), 2, "{next:?}");
}

#[test]
fn low_and_empty_are_told_once() {
    use EventKind::{SupplyEmpty, SupplyLow, SupplyOk, SupplyReplaced};
    let falling: Vec<_> = [14, 11, 9, 12, 8, 10, 9, 11, 7, 12, 5, 2, 0, 1, 0, 0, 1, 0].map(Some).to_vec();
    let told: Vec<EventKind> = events(&falling).into_iter().map(|(_, kind)| kind).collect();
    assert_eq!(told, [SupplyLow, SupplyEmpty]);
    assert!(events(&[14, 9, 12, 14, 8, 13].map(Some)).is_empty(), "one reading is noise");
    // A new cartridge is no recovery; a sensor that comes back is.
    assert_eq!(events(&[9, 9, 100, 100, 100].map(Some)), [(1, SupplyLow), (3, SupplyReplaced)]);
    assert_eq!(events(&[40, 9, 9, 40, 40].map(Some)), [(2, SupplyLow), (4, SupplyOk)]);
    assert!(events(&[15, 10, 10, 20, 20, 10, 10, 20, 20].map(Some)).len() == 1, "between two steps of a coarse sensor");
}

/// A series of true levels as a sensor shows it, and where a cartridge was replaced.
struct Series {
    shown: Vec<Option<u32>>,
    replaced: Vec<usize>,
    lowest: f64,
}

fn series(random: &mut fastrand::Rng, with_replacements: bool) -> Series {
    let mut level = 20.0 + 80.0 * random.f64();
    let is_idle = random.u32(0..4) == 0;
    let step = random.f64() * if is_idle { 0.0 } else { 3.0 };
    let quantum = [1.0, 1.0, 5.0, 10.0][random.usize(0..4)];
    let (mut shown, mut replaced, mut lowest) = (Vec::new(), Vec::new(), level);
    let (mut asleep, mut glitched) = (0, 0);
    for n in 0..60 {
        level = (level - random.f64() * step).max(0.0);
        if with_replacements && n > 8 && n < 50 && level < 60.0 && random.u32(0..25) == 0 {
            level = 100.0;
            asleep = 0;
            replaced.push(n);
        }
        lowest = f64::min(lowest, level);
        if asleep == 0 && random.u32(0..30) == 0 {
            asleep = random.u32(1..6);
        }
        let noise = random.f64() * 6.0 - 3.0;
        let noisy = ((level + noise) / quantum).round() * quantum;
        // A glitch is alone: the values around it are true.
        let glitch = n > glitched + 4 && random.u32(0..100) == 0;
        let is_near_replacement = replaced.last().is_some_and(|at| n - at < 3);
        shown.push(match (asleep, random.u32(0..15)) {
            _ if is_near_replacement => Some(noisy.clamp(0.0, 100.0) as u32),
            _ if n <= glitched + 2 && glitched > 0 && n > glitched => Some(noisy.clamp(0.0, 100.0) as u32),
            (1.., code) if code < 8 => None,
            (_, 0) => None,
            _ if glitch => {
                glitched = n;
                Some(if random.bool() { 0 } else { 100 })
            }
            _ => Some(noisy.clamp(0.0, 100.0) as u32),
        });
        asleep = asleep.saturating_sub(1);
    }
    Series { shown, replaced, lowest }
}

fn rounds(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn noise_sleep_and_codes_give_no_false_event_and_no_replacement_is_missed() {
    let mut random = fastrand::Rng::with_seed(7);
    let (mut replacements, mut early) = (0, 0);
    for n in 0..rounds("PLATEN_SERIES", 4_000) {
        let series = series(&mut random, n % 2 == 1);
        let told = events(&series.shown);
        let told_of = |kind| told.iter().filter(|(_, told)| *told == kind).map(|(n, _)| *n).collect::<Vec<_>>();
        let replaced = told_of(EventKind::SupplyReplaced);
        assert_eq!(
            replaced.len(),
            series.replaced.len(),
            "series {n}: {:?} {replaced:?} {:?}",
            series.replaced,
            series.shown
        );
        for (at, told) in series.replaced.iter().zip(&replaced) {
            assert!(told - at <= 1, "series {n}: replaced at {at}, told at {told}");
        }
        replacements += replaced.len();
        // Low is told at most once for each cartridge, and not of one that is nowhere near it.
        let low = told_of(EventKind::SupplyLow);
        assert!(low.len() <= 1 + series.replaced.len(), "series {n}: {low:?} {:?}", series.shown);
        if series.lowest > 10.0 + 3.0 + 5.0 {
            assert!(low.is_empty() && told_of(EventKind::SupplyEmpty).is_empty(), "series {n}: {:?}", series.shown);
        }
        early += usize::from(series.lowest > 18.0);
    }
    assert!(replacements > 100 && early > 100, "{replacements} replacements, {early} that were never low");
}
