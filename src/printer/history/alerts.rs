//! When alerts begin and end. A row of prtAlertTable is known by what it is: agents number their rows anew as they like.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::event::{Event, EventKind, Severity, shortened};
use super::limits::{ALERTS_MAX, TEXT_MAX_CHARS};
use super::moment::Moment;
use crate::printer::{Alert, Status};

/// An alert that is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KnownAlert {
    pub severity: String,
    pub group: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_index: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<i64>,
    pub code: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub service_required: bool,
    /// By the wall clock of the box.
    pub since_unix_ms: u64,
}

impl KnownAlert {
    fn of(alert: &Alert, since_unix_ms: u64) -> Self {
        Self {
            severity: alert.severity.clone(),
            group: alert.group.clone(),
            group_index: alert.group_index,
            location: alert.location,
            code: alert.code.clone(),
            description: alert.description.as_deref().map(|text| shortened(text, TEXT_MAX_CHARS)),
            service_required: alert.service_required,
            since_unix_ms,
        }
    }

    fn is(&self, other: &Self) -> bool {
        self.is_about_the_same(other) && self.description == other.description
    }

    fn is_about_the_same(&self, other: &Self) -> bool {
        self.group == other.group
            && self.group_index == other.group_index
            && self.location == other.location
            && self.code == other.code
    }

    /// Whether this is `other` with other numbers in its words, as "Toner low: 9 %" becomes "Toner low: 8 %". Only where the
    /// row says which part it is about: else it may be another tray.
    fn is_reworded(&self, other: &Self) -> bool {
        let wordings = [&self.description, &other.description].map(|text| text.as_deref().map(without_numbers));
        let [one, two] = wordings;
        self.is_about_the_same(other) && self.group_index.is_some_and(|index| index > 0) && one == two
    }

    /// The same for the start and the end of an alert, and for no other alert of the device.
    fn subject(&self) -> String {
        let number = |number: Option<i64>| number.map(|n| n.to_string()).unwrap_or_default();
        let words = self.description.as_deref().unwrap_or_default();
        // A reworded alert keeps its subject.
        let words =
            if self.group_index.is_some_and(|index| index > 0) { without_numbers(words) } else { words.to_owned() };
        format!("{}/{}/{}/{}/{words}", self.group, number(self.group_index), number(self.location), self.code)
    }

    fn event(&self, kind: EventKind, device_key: &str, alert: Option<Alert>) -> Event {
        let words = self.description.clone().unwrap_or_else(|| self.code.replace('_', " "));
        let severity = match (self.severity.as_str(), kind) {
            (_, EventKind::AlertEnded) => Severity::Info,
            ("critical", _) => Severity::Critical,
            _ => Severity::Warning,
        };
        let alert = alert.unwrap_or_else(|| Alert {
            severity: self.severity.clone(),
            group: self.group.clone(),
            code: self.code.clone(),
            description: self.description.clone(),
            location: self.location,
            group_index: self.group_index,
            ..Alert::default()
        });
        Event {
            subject: self.subject(),
            alert: Some(alert),
            since_unix_ms: Some(self.since_unix_ms),
            service_required: self.service_required,
            ..Event::new(kind, device_key, severity, words)
        }
    }
}

fn without_numbers(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let c = if c.is_ascii_digit() { '#' } else { c };
        if c != '#' || !out.ends_with('#') {
            out.push(c);
        }
    }
    out
}

/// The name of the bit serviceRequested of hrPrinterDetectedErrorState (RFC 2790 §6), and of the alert that stands for it.
const SERVICE_REQUESTED: &str = "service_requested";

/// What is listed now: the rows, each once, and the serviceRequested bit where no row says the same.
fn listed<'a>(alerts: &'a [Alert], status: &Status, now: &Moment) -> Vec<(KnownAlert, Option<&'a Alert>)> {
    let mut listed: Vec<(KnownAlert, Option<&Alert>)> = Vec::new();
    for alert in alerts {
        let row = KnownAlert::of(alert, since(alert, status.uptime_centiseconds, now));
        if !listed.iter().any(|(known, _)| known.is(&row)) {
            listed.push((row, Some(alert)));
        }
    }
    let is_requested = status.errors.iter().any(|error| error == SERVICE_REQUESTED);
    if is_requested && !listed.iter().any(|(known, _)| known.service_required) {
        let bit = Alert {
            severity: "warning".to_owned(),
            group: "general_printer".to_owned(),
            code: SERVICE_REQUESTED.to_owned(),
            description: Some("Service requested".to_owned()),
            service_required: true,
            ..Alert::default()
        };
        listed.push((KnownAlert::of(&bit, now.wall_unix_ms), None));
    }
    listed
}

/// When an alert arose, by prtAlertTime and sysUpTime; now, where these say nothing. Agents that don't count say 0.
fn since(alert: &Alert, uptime_centiseconds: Option<u64>, now: &Moment) -> u64 {
    let age_cs = match (alert.time_centiseconds, uptime_centiseconds) {
        (Some(time), Some(uptime)) if time > 0 => uptime.checked_sub(time),
        _ => None,
    };
    now.wall_unix_ms.saturating_sub(age_cs.unwrap_or(0).saturating_mul(10))
}

/// Compares what is listed with what is open. Where the table was not read to its end, nothing has ended.
pub(super) fn compare(
    open: &mut Vec<KnownAlert>,
    alerts: &[Alert],
    is_complete: bool,
    status: &Status,
    now: &Moment,
    device_key: &str,
) -> Vec<Event> {
    let mut fresh = listed(alerts, status, now);
    let mut gone: Vec<usize> = Vec::new();
    // First those that are as they were, so that a reworded one takes no other's place.
    let mut matched: BTreeMap<usize, KnownAlert> = BTreeMap::new();
    for same in [KnownAlert::is, KnownAlert::is_reworded] {
        for (n, known) in open.iter().enumerate() {
            if matched.contains_key(&n) {
                continue;
            }
            if let Some(at) = fresh.iter().position(|(row, _)| same(known, row)) {
                let (row, _) = fresh.remove(at);
                matched.insert(n, KnownAlert { since_unix_ms: known.since_unix_ms, ..row });
            }
        }
    }
    let mut events = Vec::new();
    for (n, known) in open.iter_mut().enumerate() {
        match matched.remove(&n) {
            Some(row) => {
                let has_worsened = row.severity == "critical" && known.severity != "critical";
                *known = row;
                if has_worsened {
                    events.push(known.event(EventKind::AlertStarted, device_key, None));
                }
            }
            None if is_complete => {
                events.push(known.event(EventKind::AlertEnded, device_key, None));
                gone.push(n);
            }
            None => {}
        }
    }
    for n in gone.into_iter().rev() {
        open.remove(n);
    }
    for (row, alert) in fresh {
        if open.len() >= ALERTS_MAX {
            break;
        }
        events.push(row.event(EventKind::AlertStarted, device_key, alert.cloned()));
        open.push(row);
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(index: u32, group_index: Option<i64>, code: &str, words: &str) -> Alert {
        Alert {
            index,
            severity: "warning".into(),
            group: "input".into(),
            code: code.into(),
            description: Some(words.into()),
            group_index,
            ..Alert::default()
        }
    }

    const NOW: Moment = Moment { boot: 1, monotonic_ms: 0, wall_unix_ms: 1_000_000 };

    fn told(open: &mut Vec<KnownAlert>, alerts: &[Alert], is_complete: bool) -> Vec<(EventKind, String)> {
        let events = compare(open, alerts, is_complete, &Status::default(), &NOW, "k");
        events.into_iter().map(|event| (event.kind, event.text)).collect()
    }

    #[test]
    fn an_alert_begins_once_and_ends_once_whatever_its_row() {
        let mut open = Vec::new();
        let jam = alert(1, None, "jam", "Paper jam");
        assert_eq!(told(&mut open, &[jam.clone(), jam.clone()], true), [(EventKind::AlertStarted, "Paper jam".into())]);
        assert!(told(&mut open, &[alert(9, None, "jam", "Paper jam")], true).is_empty(), "renumbered");
        assert!(told(&mut open, &[], false).is_empty(), "the table broke off");
        assert_eq!(told(&mut open, &[], true), [(EventKind::AlertEnded, "Paper jam".into())]);
        assert!(told(&mut open, &[], true).is_empty() && open.is_empty());
    }

    #[test]
    fn other_numbers_in_its_words_are_no_other_alert_and_another_tray_is() {
        let mut open = Vec::new();
        told(&mut open, &[alert(1, Some(2), "subunit_almost_empty", "Toner low: 9 %")], true);
        assert!(told(&mut open, &[alert(1, Some(2), "subunit_almost_empty", "Toner low: 10 %")], true).is_empty());
        let subject = open[0].subject();
        let ended = compare(&mut open, &[], true, &Status::default(), &NOW, "k");
        assert_eq!(ended[0].subject, subject, "the end finds its start");

        told(&mut open, &[alert(1, None, "subunit_empty", "Tray 1 empty")], true);
        let second = told(&mut open, &[alert(1, None, "subunit_empty", "Tray 2 empty")], true);
        assert_eq!(second.len(), 2, "{second:?}");
    }

    #[test]
    fn since_when_is_by_the_printers_own_clock_where_it_has_one() {
        let status = Status { uptime_centiseconds: Some(50_000), ..Status::default() };
        let jam = |time| Alert { time_centiseconds: time, ..alert(1, None, "jam", "Paper jam") };
        let since = |time| compare(&mut Vec::new(), &[jam(time)], true, &status, &NOW, "k")[0].since_unix_ms;
        assert_eq!(since(Some(20_000)), Some(1_000_000 - 300_000));
        for unknown in [None, Some(0), Some(60_000)] {
            assert_eq!(since(unknown), Some(1_000_000));
        }
    }

    #[test]
    fn who_needs_a_technician_says_so() {
        let by_row = Alert { service_required: true, ..alert(1, None, "other", "E000") };
        let requested = Status { errors: vec!["service_requested".into()], ..Status::default() };
        for (alerts, status) in [(vec![by_row.clone()], Status::default()), (vec![], requested.clone())] {
            let events = compare(&mut Vec::new(), &alerts, true, &status, &NOW, "k");
            assert!(events.len() == 1 && events[0].service_required, "{events:?}");
        }
        let both = compare(&mut Vec::new(), &[by_row], true, &requested, &NOW, "k");
        assert_eq!(both.len(), 1, "the bit and the row are one thing");
        assert!(
            !compare(&mut Vec::new(), &[alert(1, None, "jam", "Jam")], true, &Status::default(), &NOW, "k")[0]
                .service_required
        );
    }

    #[test]
    fn a_table_without_end_is_bounded() {
        let many: Vec<Alert> = (0..1_000).map(|n| alert(n, None, "other", &format!("{n}"))).collect();
        let mut open = Vec::new();
        assert_eq!(told(&mut open, &many, true).len(), ALERTS_MAX);
        assert!(told(&mut open, &many, true).is_empty(), "those that are followed stay the same");
    }
}
