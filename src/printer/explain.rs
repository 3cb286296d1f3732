//! Where the values of a reading came from, for whoever wonders: `platen read --explain`.

use serde::Serialize;

use super::reading::Reading;

/// Where each value came from, and what was asked and not answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// A line for each value: what it is, the value, and the rule or the object that gave it.
    pub lines: Vec<Line>,
    /// Objects that were asked for and that the device does not have.
    pub unanswered: Vec<String>,
    /// What it took, in words, where there was a network.
    pub traffic: Option<String>,
}

/// Where one value came from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Line {
    /// serial, total, …
    pub what: String,
    /// As it stands in the reading.
    pub value: String,
    /// A profile and its line, or a standard and its object.
    pub source: String,
}

impl Explanation {
    pub(super) fn say(&mut self, what: &str, value: &str, source: &str) {
        self.lines.push(Line { what: what.to_owned(), value: value.to_owned(), source: source.to_owned() });
    }

    /// What a reading says of itself.
    pub(super) fn of_reading(&mut self, reading: &Reading) {
        for meter in &reading.meters {
            let value = match &meter.raw {
                Some(raw) => format!("{} (of {raw})", meter.value),
                None => meter.value.to_string(),
            };
            self.say(&meter.name, &value, &format!("{}  {}", meter.source, meter.oid));
        }
        let tables = [
            ("supplies", reading.supplies.len(), "RFC 3805 prtMarkerSuppliesTable"),
            ("trays", reading.input_trays.len(), "RFC 3805 prtInputTable"),
            ("output bins", reading.output_bins.len(), "RFC 3805 prtOutputTable"),
            ("covers", reading.covers.len(), "RFC 3805 prtCoverTable"),
            ("alerts", reading.alerts.len(), "RFC 3805 prtAlertTable"),
        ];
        for (what, rows, source) in tables {
            self.say(what, &format!("{rows} rows"), source);
        }
        for (what, value, source) in [
            ("status", &reading.status.printer, "RFC 2790 hrPrinterStatus"),
            ("MAC", &reading.mac, "RFC 2863 ifPhysAddress"),
            ("location", &reading.location, "RFC 3418 sysLocation"),
        ] {
            if let Some(value) = value {
                self.say(what, value, source);
            }
        }
    }
}
