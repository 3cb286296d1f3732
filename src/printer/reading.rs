//! What a printer said, in one structure; its JSON form is stable (`platen read --json`). The words are listed in README.md.

use serde::{Deserialize, Serialize};

use super::meter_key::MeterKey;

/// One reading of one device. What the device did not say is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// Whether it is a printer. If not, there is little else.
    pub is_printer: bool,
    /// Vendor, as people write it.
    pub vendor: Option<String>,
    /// Model, without the vendor's name.
    pub model: Option<String>,
    /// Serial number of the device (not of its network card).
    pub serial: Option<String>,
    /// Version of its firmware.
    pub firmware: Option<String>,
    /// The name that its administrator gave it.
    pub name: Option<String>,
    /// MAC address, "00:17:c8:01:02:03".
    pub mac: Option<String>,
    /// The address that answered; absent for a recording.
    pub address: Option<String>,
    /// sysObjectID.
    pub sys_object_id: Option<String>,
    /// How it is.
    pub status: Status,
    /// What it complains of (prtAlertTable).
    pub alerts: Vec<Alert>,
    /// Its counters, each as it is.
    pub meters: Vec<Meter>,
    /// What it uses up, and what it fills.
    pub supplies: Vec<Supply>,
    /// Where its paper is.
    pub input_trays: Vec<InputTray>,
    /// What was odd about this reading.
    pub flags: Vec<String>,
    /// Where it stands, in the words of its administrator (sysLocation).
    pub location: Option<String>,
    /// Where printed paper goes.
    pub output_bins: Vec<OutputBin>,
    /// Its doors.
    pub covers: Vec<Cover>,
    /// What it can do, where objects say so.
    pub capabilities: Capabilities,
    /// What stands on its panel; only where that is configured, as it may be a person's name.
    pub panel: Vec<String>,
    /// The profile that it was read by.
    pub profile: Option<String>,
    /// SNMP engine id in hexadecimal, where it was read by SNMPv3.
    pub engine_id: Option<String>,
    /// Whether prtAlertTable was read to its end: only then has an alert that is not in it gone.
    #[serde(skip)]
    pub alerts_complete: bool,
}

/// How the device is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// hrPrinterStatus in words.
    pub printer: Option<String>,
    /// hrDeviceStatus in words.
    pub device: Option<String>,
    /// hrPrinterDetectedErrorState in words.
    pub errors: Vec<String>,
    /// sysUpTime, in hundredths of a second.
    pub uptime_centiseconds: Option<u64>,
}

/// A row of prtAlertTable (RFC 3805 §6).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Alert {
    pub index: u32,
    pub severity: String,
    pub training: Option<String>,
    pub group: String,
    pub code: String,
    pub code_number: Option<i64>,
    pub description: Option<String>,
    pub location: Option<i64>,
    /// sysUpTime when it arose, in hundredths of a second.
    pub time_centiseconds: Option<u64>,
    /// prtAlertGroupIndex: which of the group.
    pub group_index: Option<i64>,
    /// How long it has been there when it was read, in seconds.
    pub since_s: Option<u64>,
    /// Whether somebody has to come for it.
    pub service_required: bool,
}

/// A counter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meter {
    /// Of the closed list in README.md.
    pub name: String,
    /// As the device gave it.
    pub value: u64,
    /// impressions, sheets, …; unknown where the device does not say.
    pub unit: String,
    /// The object.
    pub oid: String,
    /// What it counts; the name is made of it.
    #[serde(flatten)]
    pub key: MeterKey,
    /// What the object has, where `value` is not just that: scaled, cut out of a text, added up.
    pub raw: Option<String>,
    /// How old the value was when the reading was complete, in milliseconds.
    pub age_ms: Option<u64>,
    /// RFC 3805, or the profile and its line.
    pub source: String,
}

/// A row of prtMarkerSuppliesTable.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Supply {
    /// hrDeviceIndex.prtMarkerSuppliesIndex: "1.4".
    pub index: String,
    /// As the device words it.
    pub description: Option<String>,
    /// prtMarkerSuppliesType in words.
    pub r#type: String,
    /// consumed, filled, other.
    pub class: String,
    /// black, cyan, magenta, yellow, …
    pub colour: Option<String>,
    /// Part number, where the description has one.
    pub part_number: Option<String>,
    /// Serial number, where the description has one.
    pub serial: Option<String>,
    /// prtMarkerSuppliesSupplyUnit in words.
    pub unit: String,
    /// As the device gave it: −1 unlimited, −2 unknown.
    pub max_capacity: Option<i64>,
    /// As the device gave it: −1 unlimited, −2 unknown, −3 some left.
    pub level: Option<i64>,
    /// What is left (consumed) or the room that is left (filled); only of two real numbers.
    pub percent: Option<u32>,
    /// ok, low, empty, some, unknown, unlimited.
    pub state: String,
    /// prtMarkerSuppliesMarkerIndex.
    pub marker: Option<i64>,
    /// What is left by an object of the maker's, where the standard ones are codes; for people, not for invoices.
    pub maker_percent: Option<u32>,
}

/// A row of prtInputTable.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputTray {
    /// hrDeviceIndex.prtInputIndex: "1.2".
    pub index: String,
    /// prtInputName, else prtInputDescription.
    pub name: Option<String>,
    /// prtInputMediaName.
    pub media: Option<String>,
    /// As the device gave it: −1 unlimited, −2 unknown.
    pub max_capacity: Option<i64>,
    /// As the device gave it: −1 unlimited, −2 unknown, −3 some left.
    pub level: Option<i64>,
    /// ok, low, empty, some, unknown, unlimited.
    pub state: String,
    /// prtInputType in words.
    pub r#type: Option<String>,
    /// prtInputCapacityUnit in words.
    pub unit: String,
    /// prtInputStatus in words: what it can do, and what is the matter.
    pub status: Vec<String>,
}

/// A row of prtOutputTable.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputBin {
    /// hrDeviceIndex.prtOutputIndex: "1.1".
    pub index: String,
    /// prtOutputName, else prtOutputDescription.
    pub name: Option<String>,
    /// As the device gave it: −1 unlimited, −2 unknown.
    pub max_capacity: Option<i64>,
    /// The room that is left, as the device gave it: −1 unlimited, −2 unknown, −3 some.
    pub remaining_capacity: Option<i64>,
    /// prtOutputStatus in words: what it can do, and what is the matter.
    pub status: Vec<String>,
}

/// A row of prtCoverTable.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cover {
    /// hrDeviceIndex.prtCoverIndex: "1.1".
    pub index: String,
    /// prtCoverDescription.
    pub description: Option<String>,
    /// open, closed, interlock_open, interlock_closed, other, unknown.
    pub status: String,
}

/// What a device can do. Absent where nothing says so: a device that does not tell is not one that cannot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Prints in colour: it has supplies or colorants other than black.
    pub colour: Option<bool>,
    /// Prints on both sides by itself (prtMediaPathType).
    pub duplex: Option<bool>,
    /// Takes A3 or ledger (prtMediaPathMaxMediaXFeedDir).
    pub large: Option<bool>,
    /// Copies: it has a meter for copies.
    pub copy: Option<bool>,
    /// Scans: it has a meter for scans.
    pub scan: Option<bool>,
    /// Faxes: it has a meter for faxes.
    pub fax: Option<bool>,
    /// Pages a minute (prtMediaPathMaxSpeed).
    pub pages_per_minute: Option<u32>,
}

impl Reading {
    /// The same without the times that its values took to come: for comparing what was said.
    #[must_use]
    pub fn without_ages(mut self) -> Self {
        for meter in &mut self.meters {
            meter.age_ms = None;
        }
        self
    }

    /// What the device is known by, in the order of certainty: vendor and serial number; SNMPv3 engine id; MAC and
    /// sysObjectID; the address alone, which is provisional. What a box remembers of a device can name it better.
    #[must_use]
    pub fn device_key(&self) -> String {
        super::history::key_of(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_the_most_certain_thing_known() {
        let mut reading = Reading { address: Some("10.0.0.7".to_owned()), ..Reading::default() };
        assert_eq!(reading.device_key(), "provisional:10.0.0.7");
        reading.mac = Some("00:17:c8:01:02:03".to_owned());
        assert_eq!(reading.device_key(), "mac:00:17:c8:01:02:03:?");
        reading.serial = Some("ABC123".to_owned());
        reading.vendor = Some("Kyocera".to_owned());
        assert_eq!(reading.device_key(), "serial:Kyocera:ABC123");
    }
}
