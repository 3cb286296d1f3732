//! The rules of meters: what a value means beside the one before it. A value is flagged and never altered.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::event::{Event, EventKind, EventValue, Severity, as_event_number};
use super::limits::{
    JUMP_ALLOWANCE, METERS_MAX, MODULI, PAGES_PER_MINUTE, SLOWEST, SMALL_REGRESS, SPEED_TOLERANCE, SUM_TOLERANCE,
};
use super::moment::{Moment, Uptime};
use crate::printer::{Function, Meter, Scope, Weight};

/// A meter as it was last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KnownMeter {
    pub name: String,
    pub value: u64,
    /// Its highest value since it last began: what has been counted once is not counted again.
    pub high: u64,
    pub unit: String,
    pub oid: String,
    /// When it had the value, where it was not in the last reading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absent_since: Option<Moment>,
}

/// What the rules know besides the meters.
pub(super) struct Circumstances<'a> {
    pub now: Moment,
    /// The reading before, and sysUpTime then and now.
    pub before: Option<Moment>,
    pub uptime: Uptime,
    pub uptime_now_cs: Option<u64>,
    /// What the printer can do; a bold guess where it is not known.
    pub pages_per_minute: Option<u32>,
    /// Values at which this vendor's meters begin again, besides those of all.
    pub moduli: &'a [u64],
}

/// What a value means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Plausible,
    RegressSmall,
    Rollover(u64),
    Reset,
    Jump,
    UnitChanged,
    SourceChanged,
}

impl Verdict {
    fn kind(self) -> Option<EventKind> {
        Some(match self {
            Self::Plausible => return None,
            Self::RegressSmall => EventKind::MeterRegressSmall,
            Self::Rollover(_) => EventKind::MeterRollover,
            Self::Reset => EventKind::MeterReset,
            Self::Jump => EventKind::MeterJump,
            Self::UnitChanged => EventKind::MeterUnitChanged,
            Self::SourceChanged => EventKind::MeterSourceChanged,
        })
    }

    /// The flag without the meter's name.
    fn flag(self) -> Option<String> {
        let word = self.kind()?.flag()?;
        Some(match self {
            Self::Rollover(modulus) => format!("{word}({modulus})"),
            _ => word.to_owned(),
        })
    }
}

impl Circumstances<'_> {
    /// The time since a moment; at least what the device has been running, where the box cannot tell.
    fn elapsed_since(&self, then: &Moment) -> Duration {
        let by_uptime = || match self.uptime {
            Uptime::Restarted => self.uptime_now_cs.map(|cs| Duration::from_millis(cs.saturating_mul(10))),
            Uptime::Continued | Uptime::Unknown => None,
        };
        self.now.since(then).or_else(by_uptime).unwrap_or_default()
    }

    /// The most that a meter can rise in this time; nothing for units that are no pages.
    fn most(&self, meter: &Meter, elapsed: Duration) -> Option<u64> {
        if !matches!(meter.unit.as_str(), "impressions" | "sheets" | "items" | "unknown" | "other" | "meters" | "feet")
        {
            return None;
        }
        let speed = match self.pages_per_minute {
            // A scanner is faster than its printer.
            Some(speed) if meter.key.function != Function::Scan => speed.max(SLOWEST),
            _ => PAGES_PER_MINUTE,
        };
        let speed = if meter.key.weight == Weight::Equivalent { speed.saturating_mul(2) } else { speed };
        let most = f64::from(speed) * elapsed.as_secs_f64() / 60.0 * SPEED_TOLERANCE;
        Some((most as u64).saturating_add(JUMP_ALLOWANCE))
    }

    fn judge(&self, before: &KnownMeter, now: &Meter) -> Verdict {
        let is_known = |unit: &str| !matches!(unit, "unknown" | "other");
        if before.unit != now.unit && is_known(&before.unit) && is_known(&now.unit) {
            return Verdict::UnitChanged;
        }
        if before.oid != now.oid {
            return Verdict::SourceChanged;
        }
        let then = before.absent_since.or(self.before);
        let elapsed = then.map_or(Duration::ZERO, |then| self.elapsed_since(&then));
        let most = self.most(now, elapsed).unwrap_or(u64::MAX);
        if now.value >= before.value {
            return if now.value - before.value > most { Verdict::Jump } else { Verdict::Plausible };
        }
        // It is there to be set to zero.
        if matches!(now.key.scope, Scope::SinceReset | Scope::SincePowerOn) {
            return Verdict::Plausible;
        }
        let rolled = MODULI.iter().chain(self.moduli).copied().find(|&modulus| {
            is_at_end(before.value, modulus)
                && is_at_start(now.value, modulus)
                && now.value + (modulus - before.value) <= most
        });
        if let Some(modulus) = rolled {
            return Verdict::Rollover(modulus);
        }
        if before.value - now.value <= SMALL_REGRESS && self.uptime != Uptime::Continued {
            return Verdict::RegressSmall;
        }
        Verdict::Reset
    }
}

/// In the last fiftieth below the modulus.
fn is_at_end(value: u64, modulus: u64) -> bool {
    value < modulus && modulus - value <= modulus / 50
}

/// In the first fiftieth.
fn is_at_start(value: u64, modulus: u64) -> bool {
    value <= modulus / 50
}

/// Compares the meters of a reading with those before. Returns flags and events; one event for all meters of a kind, as
/// a changed board changes them all.
pub(super) fn compare(
    known: &mut Vec<KnownMeter>,
    meters: &[Meter],
    circumstances: &Circumstances<'_>,
    device_key: &str,
) -> (Vec<String>, Vec<Event>) {
    let (mut flags, mut told) = (Vec::new(), Findings::default());
    for meter in meters {
        let Some(before) = known.iter_mut().find(|known| known.name == meter.name) else {
            if known.len() < METERS_MAX {
                known.push(begin(meter));
            }
            continue;
        };
        let verdict = circumstances.judge(before, meter);
        if let (Some(flag), Some(kind)) = (verdict.flag(), verdict.kind()) {
            flags.push(format!("{flag}:{}", meter.name));
            told.add(kind, verdict, before, Some(meter.value));
        }
        let high = match verdict {
            Verdict::Plausible if meter.value < before.value => meter.value,
            Verdict::Plausible | Verdict::RegressSmall | Verdict::Jump => before.high.max(meter.value),
            _ => meter.value,
        };
        *before = KnownMeter { high, ..begin(meter) };
    }
    for gone in known.iter_mut().filter(|known| !meters.iter().any(|meter| meter.name == known.name)) {
        flags.push(format!("NO_VALUE:{}", gone.name));
        if gone.absent_since.is_none() {
            told.add(EventKind::MeterNoValue, Verdict::Plausible, gone, None);
            gone.absent_since = circumstances.before;
        }
    }
    (flags, told.into_events(device_key))
}

fn begin(meter: &Meter) -> KnownMeter {
    KnownMeter {
        name: meter.name.clone(),
        value: meter.value,
        high: meter.value,
        unit: meter.unit.clone(),
        oid: meter.oid.clone(),
        absent_since: None,
    }
}

/// Whether a look at the total alone asks for a whole reading: it is not what the rules expect.
pub(super) fn is_odd(known: &[KnownMeter], total: &Meter, circumstances: &Circumstances<'_>) -> bool {
    let before = known.iter().find(|known| known.name == total.name && known.oid == total.oid);
    // The unit was not asked for again.
    before.is_some_and(|before| {
        let total = Meter { unit: before.unit.clone(), ..total.clone() };
        circumstances.judge(before, &total) != Verdict::Plausible
    })
}

/// Whether black and colour add up to the total, where all three are told in one unit.
pub(super) fn is_sum_right(meters: &[Meter]) -> bool {
    let find = |name: &str| meters.iter().find(|meter| meter.name == name);
    match (find("mono"), find("colour"), find("total")) {
        (Some(mono), Some(colour), Some(total)) if mono.unit == total.unit && colour.unit == total.unit => {
            mono.value.saturating_add(colour.value).abs_diff(total.value) <= SUM_TOLERANCE
        }
        _ => true,
    }
}

/// The events of one reading, gathered by kind.
#[derive(Default)]
struct Findings(Vec<(EventKind, Vec<EventValue>, Vec<String>)>);

impl Findings {
    fn add(&mut self, kind: EventKind, verdict: Verdict, before: &KnownMeter, after: Option<u64>) {
        let value = EventValue {
            name: before.name.clone(),
            before: Some(as_event_number(before.value)),
            after: after.map(as_event_number),
            unit: before.unit.clone(),
        };
        let evidence = match verdict {
            Verdict::Rollover(modulus) => Some(format!("modulus {modulus}")),
            _ => None,
        };
        match self.0.iter_mut().find(|(known, ..)| *known == kind) {
            Some((_, values, proofs)) => {
                values.push(value);
                proofs.extend(evidence.filter(|evidence| !proofs.contains(evidence)).into_iter().collect::<Vec<_>>());
            }
            None => self.0.push((kind, vec![value], evidence.into_iter().collect())),
        }
    }

    fn into_events(self, device_key: &str) -> Vec<Event> {
        let event = |(kind, values, evidence): (EventKind, Vec<EventValue>, Vec<String>)| {
            let names: Vec<&str> = values.iter().map(|value| value.name.as_str()).collect();
            let names = names.join(", ");
            let (severity, text) = match kind {
                EventKind::MeterRegressSmall => {
                    (Severity::Info, format!("After a restart these meters are a few pages lower: {names}"))
                }
                EventKind::MeterRollover => {
                    (Severity::Info, format!("These meters have passed their last digit and begun at zero: {names}"))
                }
                EventKind::MeterReset => (
                    Severity::Critical,
                    format!("These meters are lower than before, and nothing explains it: {names}"),
                ),
                EventKind::MeterJump => {
                    (Severity::Critical, format!("These meters rose by more than can have been printed: {names}"))
                }
                EventKind::MeterUnitChanged => {
                    (Severity::Warning, format!("These meters count in another unit than before: {names}"))
                }
                EventKind::MeterSourceChanged => {
                    (Severity::Warning, format!("These meters are read from another object than before: {names}"))
                }
                _ => (Severity::Warning, format!("These meters were there before and are not now: {names}")),
            };
            Event { values, evidence, ..Event::new(kind, device_key, severity, text) }
        };
        self.0.into_iter().map(event).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::printer::MeterKey;

    const MINUTE_MS: u64 = 60_000;

    fn at(minutes: u64) -> Moment {
        Moment { boot: 1, monotonic_ms: minutes * MINUTE_MS, wall_unix_ms: minutes * MINUTE_MS }
    }

    fn meter(value: u64) -> Meter {
        Meter { name: "total".into(), value, unit: "impressions".into(), oid: "1.3.6".into(), ..Meter::default() }
    }

    /// The flags of these values, read five minutes apart.
    fn flags(uptime: Uptime, values: &[u64]) -> Vec<String> {
        let mut known = Vec::new();
        let mut last = Vec::new();
        for (n, value) in (0..).zip(values) {
            let circumstances = Circumstances {
                now: at(5 * n),
                before: n.checked_sub(1).map(|n| at(5 * n)),
                uptime,
                uptime_now_cs: Some(500),
                pages_per_minute: Some(40),
                moduli: &[10_000_000],
            };
            last = compare(&mut known, &[meter(*value)], &circumstances, "k").0;
        }
        last
    }

    #[test]
    fn a_meter_that_rises_as_it_can_is_plausible() {
        assert!(flags(Uptime::Continued, &[100]).is_empty());
        assert!(flags(Uptime::Continued, &[100, 100]).is_empty());
        // 40 pages a minute, five minutes, a fifth more, and a hundred.
        assert!(flags(Uptime::Continued, &[100, 100 + 240 + 100]).is_empty());
        assert_eq!(flags(Uptime::Continued, &[100, 100 + 240 + 101]), ["JUMP:total"]);
        assert_eq!(flags(Uptime::Continued, &[100, 900_100]), ["JUMP:total"]);
    }

    #[test]
    fn a_few_pages_lost_with_the_power_are_no_reset() {
        assert_eq!(flags(Uptime::Restarted, &[12_345, 12_337]), ["REGRESS_SMALL:total"]);
        assert!(flags(Uptime::Restarted, &[12_345, 12_337, 12_350]).is_empty());
        assert_eq!(flags(Uptime::Restarted, &[12_345, 12_324]), ["RESET:total"]);
        assert_eq!(flags(Uptime::Continued, &[12_345, 12_337]), ["RESET:total"], "nothing was restarted");
        assert_eq!(flags(Uptime::Restarted, &[80_000, 3]), ["RESET:total"]);
    }

    #[test]
    fn a_known_modulus_is_a_roll_over_where_the_pages_are_possible() {
        assert_eq!(flags(Uptime::Continued, &[999_990, 15]), ["ROLLOVER(1000000):total"]);
        assert_eq!(flags(Uptime::Continued, &[(1 << 24) - 1, 15]), ["ROLLOVER(16777216):total"]);
        assert_eq!(flags(Uptime::Continued, &[(1 << 32) - 1, 15]), ["ROLLOVER(4294967296):total"]);
        assert_eq!(flags(Uptime::Continued, &[9_999_999, 15]), ["ROLLOVER(10000000):total"], "of the vendor");
        assert_eq!(flags(Uptime::Continued, &[985_000, 3]), ["RESET:total"], "15,003 pages in five minutes");
        assert_eq!(flags(Uptime::Continued, &[999_990, 30_000]), ["RESET:total"]);
    }

    #[test]
    fn a_meter_since_power_on_begins_anew_and_is_no_reset() {
        let since = |value| {
            let key = MeterKey { scope: Scope::SincePowerOn, ..MeterKey::TOTAL };
            Meter { name: "total_since_power_on".into(), key, ..meter(value) }
        };
        let circumstances = Circumstances {
            now: at(5),
            before: Some(at(0)),
            uptime: Uptime::Restarted,
            uptime_now_cs: None,
            pages_per_minute: None,
            moduli: &[],
        };
        let mut known = vec![begin(&since(5_000))];
        assert!(compare(&mut known, &[since(3)], &circumstances, "k").0.is_empty());
        assert_eq!(known[0].high, 3);
    }

    #[test]
    fn what_is_counted_anew_begins_anew() {
        let circumstances = Circumstances {
            now: at(5),
            before: Some(at(0)),
            uptime: Uptime::Continued,
            uptime_now_cs: None,
            pages_per_minute: None,
            moduli: &[],
        };
        let mut known = vec![begin(&meter(500))];
        let sheets = Meter { unit: "sheets".into(), ..meter(3) };
        assert_eq!(compare(&mut known, &[sheets], &circumstances, "k").0, ["UNIT_CHANGED:total"]);
        assert_eq!(known[0].high, 3);
        let elsewhere = Meter { oid: "1.3.7".into(), unit: "unknown".into(), ..meter(900_000) };
        let (flags, events) = compare(&mut known, &[elsewhere], &circumstances, "k");
        assert_eq!((flags[0].as_str(), events[0].kind), ("SOURCE_CHANGED:total", EventKind::MeterSourceChanged));
        // A unit that becomes known is news, and no other unit.
        assert!(
            compare(&mut known, &[Meter { oid: "1.3.7".into(), ..meter(900_001) }], &circumstances, "k").0.is_empty()
        );
    }

    #[test]
    fn a_meter_that_is_absent_is_told_once_and_never_zero() {
        let of = |minutes| Circumstances {
            now: at(minutes),
            before: Some(at(minutes - 5)),
            uptime: Uptime::Continued,
            uptime_now_cs: None,
            pages_per_minute: Some(40),
            moduli: &[],
        };
        let mut known = vec![begin(&meter(500))];
        let (flags, events) = compare(&mut known, &[], &of(5), "k");
        assert_eq!((flags[0].as_str(), events[0].kind), ("NO_VALUE:total", EventKind::MeterNoValue));
        assert_eq!(
            events[0].values[0],
            EventValue { name: "total".into(), before: Some(500), after: None, unit: "impressions".into() }
        );
        let (flags, events) = compare(&mut known, &[], &of(10), "k");
        assert_eq!((flags.len(), events.len()), (1, 0));
        // Back after an hour, with an hour's pages.
        assert!(compare(&mut known, &[meter(2_900)], &of(60), "k").0.is_empty());
        assert_eq!(known[0].absent_since, None);
    }

    #[test]
    fn sums_are_checked_and_never_made() {
        let of = |name: &str, value| Meter { name: name.into(), ..meter(value) };
        assert!(is_sum_right(&[of("mono", 60), of("colour", 40), of("total", 103)]));
        assert!(!is_sum_right(&[of("mono", 60), of("colour", 40), of("total", 200)]));
        assert!(is_sum_right(&[of("mono", 60), of("total", 200)]));
    }
}
