//! What is wrong in the fleet, the most pressing first: the list at the top of the page, and the same for programs.

use maud::{Markup, html};

use super::printer::title;
use super::words::{age_of, clock, unread_words};
use crate::cause::{Cause, Trouble, explain, from_number};
use crate::cloud::db::{BoxRow, DeviceRow, GapRow};

/// Alarms that the page shows; of more their number.
const SHOWN_MAX: usize = 50;
/// A gap in the numbers of a box is told of when it is older than this, in milliseconds.
const GAP_AFTER_MS: i64 = 15 * 60 * 1_000;

/// Something that somebody should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Alarm {
    /// Whether readings are not coming because of it.
    pub is_critical: bool,
    /// The box, or the box of the printer.
    pub box_id: Option<String>,
    /// The printer.
    pub printer_id: Option<i64>,
    /// Who, as people call it.
    pub who: String,
    /// "is silent since …".
    pub what: String,
    /// Why.
    pub trouble: Trouble,
    /// Since when, where that is one time.
    pub since_ms: Option<i64>,
}

/// All alarms of a fleet.
pub(super) fn alarms(boxes: &[BoxRow], devices: &[DeviceRow], gaps: &[GapRow], now_ms: i64) -> Vec<Alarm> {
    let mut alarms: Vec<Alarm> = boxes.iter().flat_map(|row| of_box(row, devices, now_ms)).collect();
    alarms.extend(gaps.iter().filter(|gap| now_ms - gap.since_ms > GAP_AFTER_MS).filter_map(|gap| {
        let row = boxes.iter().find(|row| row.state.id == gap.box_id)?;
        Some(of_gap(row, gap, now_ms))
    }));
    alarms.extend(devices.iter().filter_map(|device| of_printer(device, now_ms)));
    alarms.sort_by_key(|alarm| !alarm.is_critical);
    alarms
}

fn since(at_ms: i64, now_ms: i64) -> String {
    format!("since {} UTC ({})", clock(at_ms, now_ms), age_of(Some(at_ms), now_ms))
}

fn of_box(row: &BoxRow, devices: &[DeviceRow], now_ms: i64) -> Vec<Alarm> {
    if row.is_revoked {
        // As somebody wanted it.
        return Vec::new();
    }
    let alarm = |is_critical, what: String, trouble: Trouble, since_ms| Alarm {
        is_critical,
        box_id: Some(row.state.id.clone()),
        printer_id: None,
        who: row.name.clone(),
        what,
        trouble,
        since_ms,
    };
    let behind = devices.iter().filter(|device| is_behind(device) && device.box_name == row.name).count();
    let behind = match behind {
        0 => String::new(),
        1 => "; 1 printer is not read because of it".to_owned(),
        more => format!("; {more} printers are not read because of it"),
    };
    if let Some(reason) = &row.state.suspended {
        let trouble = Trouble::new(Cause::Suspended, &format!("{reason}: {}", row.state.suspended_detail));
        return vec![alarm(true, format!("is stopped{behind}"), trouble, None)];
    }
    if let Some(silence) = &row.silence {
        let since = since(silence.since_ms, now_ms);
        let what = match silence.trouble.cause {
            Cause::NeverSeen => format!("was taken in {since} and has not been heard of"),
            _ => format!("is silent {since}{behind}"),
        };
        return vec![alarm(true, what, silence.trouble.clone(), Some(silence.since_ms))];
    }
    let troubles = row.status.iter().flat_map(|status| &status.troubles);
    troubles
        .map(|told| Trouble::new(from_number(told.cause), &told.detail))
        .map(|trouble| alarm(trouble.cause == Cause::Storage, "is not quite well".to_owned(), trouble, None))
        .collect()
}

fn of_gap(row: &BoxRow, gap: &GapRow, now_ms: i64) -> Alarm {
    Alarm {
        is_critical: true,
        box_id: Some(row.state.id.clone()),
        printer_id: None,
        who: row.name.clone(),
        what: format!(
            "has delivered up to number {} and left some out after {} {}",
            gap.held_seq,
            gap.after_seq,
            since(gap.since_ms, now_ms)
        ),
        trouble: Trouble::new(Cause::Contract, ""),
        since_ms: Some(gap.since_ms),
    }
}

/// Whether it is not read because its box is silent or stopped: that is told once, with the box.
fn is_behind(device: &DeviceRow) -> bool {
    device.silence.as_ref().is_some_and(|silence| silence.trouble.cause == Cause::BoxSilent)
}

fn of_printer(device: &DeviceRow, now_ms: i64) -> Option<Alarm> {
    let silence = device.silence.as_ref().filter(|_| !is_behind(device))?;
    let what = match silence.since {
        since @ Some(_) => format!("is {}", unread_words(since, now_ms)),
        None => "has never been read".to_owned(),
    };
    let name = device.reading.name.as_deref().or(device.reading.serial.as_deref());
    Some(Alarm {
        is_critical: false,
        box_id: None,
        printer_id: Some(device.id),
        who: name.map_or_else(|| title(device), |name| format!("{} {name}", title(device))),
        what,
        trouble: silence.trouble.clone(),
        since_ms: silence.since.map(|since| since.middle_ms()),
    })
}

/// The list at the top of the page; nothing where nothing is wrong.
pub(super) fn alarm_list(alarms: &[Alarm]) -> Markup {
    html! {
        @if !alarms.is_empty() {
            section aria-label="Alarms" {
                h2 { "Alarms" }
                ul.alarms {
                    @for alarm in alarms.iter().take(SHOWN_MAX) {
                        li.critical[alarm.is_critical] {
                            strong { @if let Some(id) = alarm.printer_id { a href={ "/printers/" (id) } { (alarm.who) } } @else { (alarm.who) } }
                            " " (alarm.what) ": " (alarm.trouble.to_string())
                            p.muted { (explain(alarm.trouble.cause).means) " " (explain(alarm.trouble.cause).remedy) }
                        }
                    }
                    @if alarms.len() > SHOWN_MAX { li { "and " (alarms.len() - SHOWN_MAX) " more: see the printers below" } }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::intake::{BoxSilence, BoxState, Interval, PrinterSilence};

    /// 25 November 2026, 09:12:00 UTC.
    const NOW: i64 = 1_795_597_920_000;

    fn silent_box() -> BoxRow {
        let silence = BoxSilence { since_ms: NOW - 3_600_000, trouble: Trouble::new(Cause::Proxy407, "proxy.example") };
        let state = BoxState { id: "id".to_owned(), ..BoxState::default() };
        BoxRow { name: "box-7".to_owned(), state, silence: Some(silence), ..BoxRow::default() }
    }

    fn unread(cause: Cause) -> DeviceRow {
        let since = Some(Interval { low_ms: NOW - 7_200_000, high_ms: NOW - 7_200_000 });
        DeviceRow {
            id: 3,
            site: "s".to_owned(),
            box_name: "box-7".to_owned(),
            first_seen_ms: 0,
            taken: since,
            is_outside: false,
            reading: crate::proto::v1::Reading { device_key: "serial:X:1".to_owned(), ..Default::default() },
            silence: Some(PrinterSilence { since, trouble: Trouble::new(cause, "") }),
        }
    }

    #[test]
    fn a_silent_box_is_told_with_its_cause_and_its_printers_once() {
        let told = alarms(&[silent_box()], &[unread(Cause::BoxSilent), unread(Cause::BoxSilent)], &[], NOW);
        let [alarm] = told.as_slice() else { panic!("{told:?}") };
        assert_eq!(
            format!("{} {}: {}", alarm.who, alarm.what, alarm.trouble),
            "box-7 is silent since 08:12 UTC (60 min ago); 2 printers are not read because of it: proxy-407: proxy.example"
        );
    }

    #[test]
    fn a_printer_is_told_with_its_own_cause_and_a_gap_after_a_quarter_of_an_hour() {
        let row = BoxRow { silence: None, ..silent_box() };
        let gap = |since_ms| GapRow { box_id: "id".to_owned(), after_seq: 2, held_seq: 5, since_ms };
        let told = alarms(&[row], &[unread(Cause::PingOnly)], &[gap(NOW - 1), gap(NOW - 900_001)], NOW);
        let [gap, printer] = told.as_slice() else { panic!("{told:?}") };
        assert!(gap.is_critical && gap.what.starts_with("has delivered up to number 5 and left some out after 2"));
        assert_eq!(format!("{} {}", printer.who, printer.what), "serial:X:1 is not read since 07:12 UTC (2 h ago)");
        let page = alarm_list(&told).into_string();
        assert!(page.contains("ping-only") && page.contains("Switch SNMP on in the printer"), "{page}");
    }
}
