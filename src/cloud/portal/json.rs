//! The fleet as JSON, for programs.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::alarms::Alarm;
use super::words::NO_BOUND_MS;
use super::{Failure, Portal, look};
use crate::cause::{Trouble, explain, from_number};
use crate::cloud::db::{BoxRow, DeviceRow};
use crate::cloud::intake::Interval;
use crate::cloud::now_ms;
use crate::proto::v1;

/// The one time for an interval, and how far it may be off: its middle. Without a lower bound it is the latest that it may have
/// been, and nothing is known of how far that is off.
fn one_time(taken: Interval) -> (i64, Option<i64>) {
    let has_bound = taken.low_ms >= NO_BOUND_MS;
    if has_bound { (taken.middle_ms(), Some(taken.radius_ms())) } else { (taken.high_ms, None) }
}

/// When something was read: bounds that hold the true time, their middle, and how old that is.
fn taken_json(taken: Option<Interval>, now_ms: i64) -> Value {
    taken.map_or(Value::Null, |taken| {
        let (unix_ms, radius_ms) = one_time(taken);
        json!({
            "unix_ms": unix_ms,
            "radius_ms": radius_ms,
            "not_before_unix_ms": Some(taken.low_ms).filter(|low_ms| *low_ms >= NO_BOUND_MS),
            "not_after_unix_ms": taken.high_ms,
            "age_ms": (now_ms - unix_ms).max(0),
        })
    })
}

/// What is wrong, what it means, and what to do about it.
fn trouble_json(trouble: &Trouble) -> Value {
    let explanation = explain(trouble.cause);
    json!({
        "cause": explanation.word,
        "detail": trouble.detail,
        "means": explanation.means,
        "remedy": explanation.remedy,
    })
}

fn device_json(device: &DeviceRow, now_ms: i64) -> Value {
    let reading = &device.reading;
    let taken = taken_json(device.taken, now_ms);
    json!({
        "id": device.id,
        "site": device.site,
        "box": device.box_name,
        "taken": taken,
        "outside_lease": device.is_outside,
        "not_read": device.silence.as_ref().map(|silence| json!({
            "since": taken_json(silence.since, now_ms),
            "trouble": trouble_json(&silence.trouble),
        })),
        "device_key": reading.device_key,
        "taken_unix_ms": device.taken.map(|taken| one_time(taken).0),
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
        "meters": reading.meters.iter().map(|meter| meter_json(meter, &taken)).collect::<Vec<_>>(),
        "supplies": reading.supplies.iter().map(|supply| supply_json(supply, &taken)).collect::<Vec<_>>(),
        "alerts": reading.alerts.iter().map(|alert| json!({
            "severity": alert.severity, "code": alert.code, "description": alert.description,
        })).collect::<Vec<_>>(),
        "flags": reading.flags,
    })
}

/// A value travels with its time.
fn meter_json(meter: &v1::Meter, taken: &Value) -> Value {
    json!({ "name": meter.name, "value": meter.value, "unit": meter.unit, "oid": meter.oid, "taken": taken })
}

fn supply_json(supply: &v1::Supply, taken: &Value) -> Value {
    json!({
        "taken": taken,
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

fn box_json(row: &BoxRow, listening: bool) -> Value {
    let status = row.status.as_ref();
    let troubles = status.iter().flat_map(|status| &status.troubles);
    let suspended = row.state.suspended.as_ref();
    json!({
        "id": row.state.id,
        "name": row.name,
        "site": row.state.site,
        "last_poll_unix_ms": row.state.last_poll_ms,
        "turned_away": row.is_revoked,
        "serial": row.serial,
        "generation": row.generation,
        "certificate_ends_unix_ms": row.ends_ms,
        "leaving": row.is_leaving,
        "left": row.left.as_ref().map(|(how, at_ms)| json!({ "how": how, "unix_ms": at_ms })),
        "listening": listening,
        "firmware_version": status.map(|status| status.firmware_version.clone()),
        "outbox_pending": status.map(|status| status.outbox_pending),
        "outbox_thinned": status.map(|status| status.outbox_thinned),
        "silent": row.silence.as_ref().map(|silence| json!({
            "since_unix_ms": silence.since_ms,
            "trouble": trouble_json(&silence.trouble),
        })),
        "suspended": suspended.map(|reason| json!({ "reason": reason, "detail": row.state.suspended_detail })),
        "troubles": troubles.map(|told| trouble_json(&Trouble::new(from_number(told.cause), &told.detail))).collect::<Vec<_>>(),
    })
}

fn alarm_json(alarm: &Alarm) -> Value {
    json!({
        "critical": alarm.is_critical,
        "box": alarm.box_id,
        "printer": alarm.printer_id,
        "text": format!("{} {}: {}", alarm.who, alarm.what, alarm.trouble),
        "since_unix_ms": alarm.since_ms,
        "trouble": trouble_json(&alarm.trouble),
    })
}

/// Boxes, printers and what is wrong.
pub(super) async fn fleet(State(portal): State<Portal>) -> Result<Json<Value>, Failure> {
    let now = now_ms();
    let (boxes, devices, alarms) = look(&portal, now).await?;
    let boxes: Vec<Value> =
        boxes.iter().map(|row| box_json(row, portal.shared.broker.is_listening(&row.state.id))).collect();
    Ok(Json(json!({
        "unix_ms": now,
        "alarms": alarms.iter().map(alarm_json).collect::<Vec<_>>(),
        "boxes": boxes,
        "printers": devices.iter().map(|device| device_json(device, now)).collect::<Vec<_>>(),
    })))
}

/// One printer, with its total over time.
pub(super) async fn printer(
    State(portal): State<Portal>,
    Path(id): Path<i64>,
) -> Result<Result<Json<Value>, StatusCode>, Failure> {
    let now = now_ms();
    let Some(device) = portal.shared.database.device(id, now).await? else { return Ok(Err(StatusCode::NOT_FOUND)) };
    let history = portal.shared.database.history(id, "total").await?;
    let history = history.iter().map(|point| {
        let (unix_ms, radius_ms) = one_time(point.taken);
        json!({
            "unix_ms": unix_ms,
            "radius_ms": radius_ms,
            "value": point.value,
            "outside_lease": point.is_outside,
        })
    });
    let mut printer = device_json(&device, now);
    printer["total_history"] = history.collect();
    Ok(Ok(Json(printer)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_nothing_is_known_of_how_early_something_was_no_time_is_made_up() {
        let bounded = Interval { low_ms: NO_BOUND_MS, high_ms: NO_BOUND_MS + 10 };
        assert_eq!(one_time(bounded), (NO_BOUND_MS + 5, Some(5)));
        let unbounded = taken_json(Some(Interval { low_ms: 0, high_ms: NO_BOUND_MS }), NO_BOUND_MS + 7);
        assert_eq!((&unbounded["unix_ms"], &unbounded["age_ms"]), (&json!(NO_BOUND_MS), &json!(7)));
        assert!(unbounded["radius_ms"].is_null() && unbounded["not_before_unix_ms"].is_null());
    }
}
