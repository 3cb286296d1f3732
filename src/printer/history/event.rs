//! What is told beside the readings: a closed list of kinds, each with what a program needs and a sentence for a person.

use crate::printer::Alert;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    /// A device that was not known before.
    DeviceNew,
    /// A known device under another address, or with another network card. It goes on.
    DeviceMoved,
    /// Another device where a known one was: the old one ends with its last reading, this one begins.
    DeviceReplaced,
    /// One identity in two places at once, or a device that cannot prove to be the one that was there: neither counts.
    IdentityConflict,
    /// No serial number that can be believed: the device is known by less.
    WeakId,
    /// A known device under a better key: what belonged to the old key belongs to the new one.
    KeyChanged,
    /// A meter lower by a few pages after a restart: counted again when it has passed its highest value.
    MeterRegressSmall,
    /// A meter that has begun at zero again after its last digit.
    MeterRollover,
    /// A meter that is lower for no reason that the box knows: another board, a cleared memory.
    MeterReset,
    /// A meter that rose by more than the printer can print in the time.
    MeterJump,
    /// A meter that counts in another unit than before.
    MeterUnitChanged,
    /// A meter that is read from another object than before.
    MeterSourceChanged,
    /// Black and colour do not add up to the total, as they did before. For information.
    MeterSumMismatch,
    /// A meter that was there before and is not now.
    MeterNoValue,
    /// The device complains of something that it did not before.
    AlertStarted,
    /// … and no longer.
    AlertEnded,
    /// A supply runs out, or a waste container is nearly full.
    SupplyLow,
    /// A supply has run out, or a waste container is full.
    SupplyEmpty,
    /// A supply that was low or empty is so no longer, and nothing proves that it was replaced.
    SupplyOk,
    /// A supply was replaced, with evidence.
    SupplyReplaced,
}

impl EventKind {
    /// The flag that a reading carries for it, where it concerns readings.
    #[must_use]
    pub fn flag(self) -> Option<&'static str> {
        Some(match self {
            Self::DeviceMoved => "MOVED",
            Self::DeviceReplaced => "REPLACED",
            Self::IdentityConflict => "IDENTITY_CONFLICT",
            Self::WeakId => "WEAK_ID",
            Self::KeyChanged => "KEY_CHANGED",
            Self::MeterRegressSmall => "REGRESS_SMALL",
            Self::MeterRollover => "ROLLOVER",
            Self::MeterReset => "RESET",
            Self::MeterJump => "JUMP",
            Self::MeterUnitChanged => "UNIT_CHANGED",
            Self::MeterSourceChanged => "SOURCE_CHANGED",
            Self::MeterSumMismatch => "SUM_MISMATCH",
            Self::MeterNoValue => "NO_VALUE",
            _ => return None,
        })
    }
}

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Good to know.
    Info,
    /// Somebody should look at it.
    Warning,
    /// The printer stands, or its meters cannot be billed until somebody has looked at it.
    Critical,
}

/// A number before and after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventValue {
    /// Which: a meter's name, `level`, …
    pub name: String,
    /// As it was; absent where there was none.
    pub before: Option<i64>,
    /// As it is; absent where there is none.
    pub after: Option<i64>,
    /// impressions, percent, …; unknown where the device does not say.
    pub unit: String,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What.
    pub kind: EventKind,
    /// To which device.
    pub device_key: String,
    /// For replaced devices and changed keys: what was there before.
    pub old_key: Option<String>,
    /// How much it matters.
    pub severity: Severity,
    /// To what part of the device: a supply's index, an alert's identity; empty for the device itself. The end of
    /// something has the subject of its start.
    pub subject: String,
    /// One sentence.
    pub text: String,
    /// The numbers, where there are any.
    pub values: Vec<EventValue>,
    /// What proves it: serial, level; modulus.
    pub evidence: Vec<String>,
    /// For alerts: the row.
    pub alert: Option<Alert>,
    /// For alerts: since when, by the wall clock of the box, milliseconds since 1970-01-01T00:00:00Z.
    pub since_unix_ms: Option<u64>,
    /// For alerts: whether it wants a service technician.
    pub service_required: bool,
}

impl Event {
    pub(super) fn new(kind: EventKind, device_key: &str, severity: Severity, text: String) -> Self {
        Self {
            kind,
            device_key: device_key.to_owned(),
            old_key: None,
            severity,
            subject: String::new(),
            text,
            values: Vec::new(),
            evidence: Vec::new(),
            alert: None,
            since_unix_ms: None,
            service_required: false,
        }
    }
}

/// A number of the device as events have it; what is beyond is shown as the largest.
pub(super) fn as_event_number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// At most so many characters of a text of the device.
pub(super) fn shortened(text: &str, max_chars: usize) -> String {
    text.chars().take(max_chars).collect()
}
