//! From the printer room's [`Reading`] to the contract's message: field by field, nothing added and nothing guessed.

use crate::printer::{Alert, InputTray, Meter, Reading, Supply};
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
    }
}

fn meter(meter: Meter) -> v1::Meter {
    v1::Meter { name: meter.name, value: meter.value, unit: meter.unit, oid: meter.oid }
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
    }
}
