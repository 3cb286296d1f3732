//! The fleet as JSON, for programs.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{Failure, Portal};
use crate::cloud::db::DeviceRow;
use crate::cloud::now_ms;
use crate::proto::v1;

fn device_json(device: &DeviceRow) -> Value {
    let reading = &device.reading;
    json!({
        "id": device.id,
        "box": device.box_name,
        "device_key": reading.device_key,
        "taken_unix_ms": device.taken.map(|taken| taken.middle_ms()),
        "first_seen_unix_ms": device.first_seen_ms,
        "address": reading.address,
        "vendor": reading.vendor,
        "model": reading.model,
        "serial": reading.serial,
        "firmware": reading.firmware,
        "name": reading.name,
        "mac": reading.mac,
        "status": reading.status.as_ref().and_then(|status| status.printer.clone()),
        "errors": reading.status.as_ref().map(|status| status.errors.clone()).unwrap_or_default(),
        "meters": reading.meters.iter().map(meter_json).collect::<Vec<_>>(),
        "supplies": reading.supplies.iter().map(supply_json).collect::<Vec<_>>(),
        "alerts": reading.alerts.iter().map(|alert| json!({
            "severity": alert.severity, "code": alert.code, "description": alert.description,
        })).collect::<Vec<_>>(),
        "flags": reading.flags,
    })
}

fn meter_json(meter: &v1::Meter) -> Value {
    json!({ "name": meter.name, "value": meter.value, "unit": meter.unit, "oid": meter.oid })
}

fn supply_json(supply: &v1::Supply) -> Value {
    json!({
        "index": supply.index,
        "description": supply.description,
        "type": supply.r#type,
        "class": supply.class,
        "colour": supply.colour,
        "percent": supply.percent,
        "state": supply.state,
        "level": supply.level,
        "max_capacity": supply.max_capacity,
        "unit": supply.unit,
        "part_number": supply.part_number,
        "serial": supply.serial,
    })
}

/// Boxes and printers.
pub(super) async fn fleet(State(portal): State<Portal>) -> Result<Json<Value>, Failure> {
    let now = now_ms();
    let boxes = portal.shared.database.boxes(now).await?;
    let devices = portal.shared.database.devices(&boxes, now).await?;
    let boxes: Vec<Value> = boxes
        .iter()
        .map(|row| {
            json!({
                "id": row.state.id,
                "name": row.name,
                "last_poll_unix_ms": row.state.last_poll_ms,
                "listening": portal.shared.broker.is_listening(&row.state.id),
                "firmware_version": row.status.as_ref().map(|status| status.firmware_version.clone()),
                "outbox_pending": row.status.as_ref().map(|status| status.outbox_pending),
            })
        })
        .collect();
    Ok(Json(json!({ "boxes": boxes, "printers": devices.iter().map(device_json).collect::<Vec<_>>() })))
}

/// One printer.
pub(super) async fn printer(
    State(portal): State<Portal>,
    Path(id): Path<i64>,
) -> Result<Result<Json<Value>, StatusCode>, Failure> {
    let device = portal.shared.database.device(id, now_ms()).await?;
    Ok(device.as_ref().map(device_json).map(Json).ok_or(StatusCode::NOT_FOUND))
}
