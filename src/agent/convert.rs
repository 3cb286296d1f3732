//! From the printer room's [`Reading`] to the contract's message: field by field, nothing added and nothing guessed.

use crate::printer::history::{Event, EventKind, EventValue, Severity};
use crate::printer::{Alert, Capabilities, Cover, InputTray, Meter, OutputBin, Reading, Supply};
use crate::proto::v1;

/// The message for a reading that was taken at `taken`.
#[must_use]
pub fn to_message(reading: Reading, taken: v1::Taken) -> v1::Reading {
    v1::Reading {
        device_key: reading.device_key(),
        taken: Some(taken),
        address: reading.address.unwrap_or_default(),
        vendor: reading.vendor,
        model: reading.model,
        serial: reading.serial,
        firmware: reading.firmware,
        name: reading.name,
        mac: reading.mac,
        status: Some(v1::Status {
            printer: reading.status.printer,
            device: reading.status.device,
            errors: reading.status.errors,
            uptime_centiseconds: reading.status.uptime_centiseconds,
        }),
        alerts: reading.alerts.into_iter().map(alert).collect(),
        meters: reading.meters.into_iter().map(meter).collect(),
        supplies: reading.supplies.into_iter().map(supply).collect(),
        input_trays: reading.input_trays.into_iter().map(tray).collect(),
        flags: reading.flags,
        sys_object_id: reading.sys_object_id,
        location: reading.location,
        output_bins: reading.output_bins.into_iter().map(bin).collect(),
        covers: reading.covers.into_iter().map(cover).collect(),
        capabilities: Some(capabilities(reading.capabilities)),
        panel: reading.panel,
        profile: reading.profile,
    }
}

fn alert(alert: Alert) -> v1::Alert {
    v1::Alert {
        index: alert.index,
        severity: alert.severity,
        group: alert.group,
        code: alert.code,
        code_number: alert.code_number,
        description: alert.description,
        time_centiseconds: alert.time_centiseconds,
        location: alert.location,
        training: alert.training,
        group_index: alert.group_index,
        since_s: alert.since_s,
        service_required: alert.service_required,
    }
}

fn meter(meter: Meter) -> v1::Meter {
    let key = meter.key;
    v1::Meter {
        name: meter.name,
        value: meter.value,
        unit: meter.unit,
        oid: meter.oid,
        function: key.function.word().to_owned(),
        size: key.size.word().to_owned(),
        colour: key.colour.word().to_owned(),
        sides: key.sides.word().to_owned(),
        weight: key.weight.word().to_owned(),
        scope: key.scope.word().to_owned(),
        raw: meter.raw,
        age_ms: meter.age_ms,
        source: meter.source,
    }
}

fn supply(supply: Supply) -> v1::Supply {
    v1::Supply {
        index: supply.index,
        description: supply.description,
        r#type: supply.r#type,
        class: supply.class,
        colour: supply.colour,
        part_number: supply.part_number,
        serial: supply.serial,
        unit: supply.unit,
        max_capacity: supply.max_capacity,
        level: supply.level,
        percent: supply.percent,
        state: supply.state,
        marker: supply.marker,
        maker_percent: supply.maker_percent,
    }
}

fn tray(tray: InputTray) -> v1::InputTray {
    v1::InputTray {
        index: tray.index,
        name: tray.name,
        media: tray.media,
        max_capacity: tray.max_capacity,
        level: tray.level,
        state: tray.state,
        r#type: tray.r#type,
        unit: tray.unit,
        status: tray.status,
    }
}

fn bin(bin: OutputBin) -> v1::OutputBin {
    v1::OutputBin {
        index: bin.index,
        name: bin.name,
        max_capacity: bin.max_capacity,
        remaining_capacity: bin.remaining_capacity,
        status: bin.status,
    }
}

fn cover(cover: Cover) -> v1::Cover {
    v1::Cover { index: cover.index, description: cover.description, status: cover.status }
}

fn capabilities(it: Capabilities) -> v1::Capabilities {
    v1::Capabilities {
        colour: it.colour,
        duplex: it.duplex,
        large: it.large,
        copy: it.copy,
        scan: it.scan,
        fax: it.fax,
        pages_per_minute: it.pages_per_minute,
    }
}

/// The message for an event that was seen at `seen`.
#[must_use]
pub fn event_to_message(event: Event, seen: v1::Taken, id: &[u8]) -> v1::Event {
    v1::Event {
        id: id.to_vec(),
        kind: kind(event.kind).to_owned(),
        device_key: event.device_key,
        old_key: event.old_key,
        seen: Some(seen),
        severity: severity(event.severity).to_owned(),
        subject: event.subject,
        text: event.text,
        values: event.values.into_iter().map(value).collect(),
        evidence: event.evidence,
        alert: event.alert.map(alert),
        since_unix_ms: event.since_unix_ms,
        service_required: event.service_required,
    }
}

fn value(value: EventValue) -> v1::EventValue {
    v1::EventValue { name: value.name, before: value.before, after: value.after, unit: value.unit }
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    }
}

/// The word of the contract for what happened.
#[must_use]
pub fn kind(kind: EventKind) -> &'static str {
    match kind {
        EventKind::DeviceNew => "DEVICE_NEW",
        EventKind::DeviceMoved => "DEVICE_MOVED",
        EventKind::DeviceReplaced => "DEVICE_REPLACED",
        EventKind::IdentityConflict => "IDENTITY_CONFLICT",
        EventKind::WeakId => "WEAK_ID",
        EventKind::KeyChanged => "KEY_CHANGED",
        EventKind::MeterRegressSmall => "METER_REGRESS_SMALL",
        EventKind::MeterRollover => "METER_ROLLOVER",
        EventKind::MeterReset => "METER_RESET",
        EventKind::MeterJump => "METER_JUMP",
        EventKind::MeterUnitChanged => "METER_UNIT_CHANGED",
        EventKind::MeterSourceChanged => "METER_SOURCE_CHANGED",
        EventKind::MeterSumMismatch => "METER_SUM_MISMATCH",
        EventKind::MeterNoValue => "METER_NO_VALUE",
        EventKind::AlertStarted => "ALERT_STARTED",
        EventKind::AlertEnded => "ALERT_ENDED",
        EventKind::SupplyLow => "SUPPLY_LOW",
        EventKind::SupplyEmpty => "SUPPLY_EMPTY",
        EventKind::SupplyOk => "SUPPLY_OK",
        EventKind::SupplyReplaced => "SUPPLY_REPLACED",
    }
}
