//! What pages and programs are shown: boxes, printers with their newest reading, histories, events.

use prost::Message;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::{Database, rows};
use crate::cause::{Cause, Trouble};
use crate::cloud::intake::{
    BoxSilence, BoxState, Interval, Point, PrinterSilence, READ_INTERVAL_DEFAULT_S, box_silence, effective,
    printer_silence,
};
use crate::proto::v1;

/// Events of a printer that are shown.
const EVENTS_MAX: i64 = 100;
/// Readings of a printer's history that are looked at, and values of it that are shown.
const HISTORY_ROWS_MAX: i64 = 1_500;
const HISTORY_MAX: usize = 500;
/// Printers that are listed.
const DEVICES_MAX: i64 = 20_000;

/// A box as the pages show it.
#[derive(Debug, Clone, Default)]
pub(in crate::cloud) struct BoxRow {
    pub name: String,
    pub state: BoxState,
    /// Turned away: it may not connect.
    pub is_revoked: bool,
    pub silence: Option<BoxSilence>,
    pub status: Option<v1::BoxStatus>,
    pub ranges: String,
    pub read_interval_s: u32,
    pub look_interval_s: u32,
    pub read_times: String,
    pub task: Option<TaskRow>,
    /// Of its label; `None`: it was taken in by files.
    pub serial: Option<String>,
    /// Of its newest certificate.
    pub generation: i64,
    /// When that ends.
    pub ends_ms: Option<i64>,
    pub recoveries_left: i64,
    /// Released, and not gone yet.
    pub is_leaving: bool,
    /// How it has left, "reset" or "released", and when.
    pub left: Option<(String, i64)>,
}

#[derive(Debug, Clone)]
pub(in crate::cloud) struct TaskRow {
    pub kind: String,
    pub state: i64,
    pub message: String,
    pub created_ms: i64,
    pub expires_ms: i64,
}

/// A device as the pages show it.
#[derive(Debug, Clone)]
pub(in crate::cloud) struct DeviceRow {
    pub id: i64,
    pub site: String,
    /// The box that holds it.
    pub box_name: String,
    pub first_seen_ms: i64,
    /// When its newest reading was taken; `None`: it was never read.
    pub taken: Option<Interval>,
    /// Whether another box took that than the one that held it then.
    pub is_outside: bool,
    pub reading: v1::Reading,
    /// Whether it is not read now, and why.
    pub silence: Option<PrinterSilence>,
}

/// What happened to a printer, and when.
#[derive(Debug, Clone)]
pub(in crate::cloud) struct EventRow {
    pub taken: Interval,
    pub event: v1::Event,
}

/// Records of a box that are missing although later ones are there.
#[derive(Debug, Clone)]
pub(in crate::cloud) struct GapRow {
    pub box_id: String,
    /// Up to here all is held.
    pub after_seq: i64,
    /// The highest number that is held.
    pub held_seq: i64,
    /// When the first beyond the gap arrived.
    pub since_ms: i64,
}

/// The newest reading of a device, inside or outside of leases.
const NEWEST: &str = "SELECT box_id, epoch, seq FROM readings
    WHERE device_id = d.id AND is_outside = {outside} AND kind IN ('reading', 'update')
    ORDER BY (taken_low_ms + taken_high_ms) DESC, seq DESC LIMIT 1";

fn devices_query(condition: &str) -> sqlx::AssertSqlSafe<String> {
    let newest = |outside: &str| NEWEST.replace("{outside}", outside);
    sqlx::AssertSqlSafe(format!(
        "SELECT d.id, d.site, d.device_key, d.first_seen_ms, b.name AS box_name, l.box_id AS holder,
                COALESCE(b.read_interval_s, 0) AS read_interval_s,
                s.cause, s.detail, s.missed, s.since_ms,
                i.taken_low_ms AS in_low, i.taken_high_ms AS in_high, COALESCE(i.whole, i.payload) AS in_payload, i.kind AS in_kind,
                o.taken_low_ms AS out_low, o.taken_high_ms AS out_high, COALESCE(o.whole, o.payload) AS out_payload, o.kind AS out_kind
         FROM devices d
         LEFT JOIN leases l ON l.device_id = d.id AND l.until_ms IS NULL
         LEFT JOIN boxes b ON b.id = l.box_id
         LEFT JOIN silences s ON s.device_id = d.id
              AND s.box_id = COALESCE(l.box_id, (SELECT MIN(box_id) FROM silences x WHERE x.device_id = d.id))
         LEFT JOIN readings i ON (i.box_id, i.epoch, i.seq) = ({inside})
         LEFT JOIN readings o ON (o.box_id, o.epoch, o.seq) = ({outside})
         {condition} ORDER BY d.site, d.device_key LIMIT {DEVICES_MAX}",
        inside = newest("FALSE"),
        outside = newest("TRUE"),
    ))
}

impl Database {
    /// All boxes, those that were turned away last.
    pub(in crate::cloud) async fn boxes(&self, now_ms: i64) -> Result<Vec<BoxRow>, sqlx::Error> {
        let rows = sqlx::query(
            "SELECT b.*, (SELECT MAX(c.not_after_ms) FROM credentials c WHERE c.box_id = b.id AND NOT c.revoked) AS ends_ms
             FROM boxes b ORDER BY revoked, name",
        ).fetch_all(&self.pool).await?;
        let mut boxes = Vec::with_capacity(rows.len());
        for row in rows {
            let state = rows::box_state(&row)?;
            let task = sqlx::query(
                "SELECT kind, state, message, created_ms, expires_ms FROM tasks WHERE box_id = $1 ORDER BY created_ms DESC LIMIT 1",
            )
            .bind(&state.id)
            .fetch_optional(&self.pool)
            .await?;
            let seconds = |column| Ok::<_, sqlx::Error>(u32::try_from(row.try_get::<i64, _>(column)?).unwrap_or(0));
            let is_revoked = row.try_get("revoked")?;
            boxes.push(BoxRow {
                name: row.try_get("name")?,
                is_revoked,
                // What is shown is what is known: also of a time when this cloud was down itself.
                silence: box_silence(&state, 0, now_ms).filter(|_| state.suspended.is_none() && !is_revoked),
                status: state.status.as_deref().and_then(|bytes| v1::BoxStatus::decode(bytes).ok()),
                ranges: row.try_get("ranges")?,
                read_interval_s: seconds("read_interval_s")?,
                look_interval_s: seconds("look_interval_s")?,
                read_times: row.try_get("read_times")?,
                task: task.as_ref().map(task_row).transpose()?,
                serial: row.try_get("serial")?,
                generation: row.try_get("generation")?,
                ends_ms: row.try_get("ends_ms")?,
                recoveries_left: row.try_get("recoveries_left")?,
                is_leaving: row.try_get::<Option<i64>, _>("leaving_since_ms")?.is_some(),
                left: row
                    .try_get::<Option<i64>, _>("left_ms")?
                    .map(|at_ms| Ok::<_, sqlx::Error>((row.try_get("left_how")?, at_ms)))
                    .transpose()?,
                state,
            });
        }
        Ok(boxes)
    }

    /// Epochs of which something is missing in the middle.
    pub(in crate::cloud) async fn gaps(&self) -> Result<Vec<GapRow>, sqlx::Error> {
        let rows: Vec<(String, i64, i64, i64)> = sqlx::query_as(
            "SELECT w.box_id, w.contiguous_seq, w.last_seq,
                    (SELECT MIN(r.received_ms) FROM readings r
                     WHERE r.box_id = w.box_id AND r.epoch = w.epoch AND r.seq > w.contiguous_seq) AS since_ms
             FROM watermarks w JOIN boxes b ON b.id = w.box_id
             WHERE w.last_seq > w.contiguous_seq AND NOT b.revoked",
        )
        .fetch_all(&self.pool)
        .await?;
        let gap = |(box_id, after_seq, held_seq, since_ms)| GapRow { box_id, after_seq, held_seq, since_ms };
        Ok(rows.into_iter().map(gap).collect())
    }

    /// Every device that was ever read or told of.
    pub(in crate::cloud) async fn devices(&self, boxes: &[BoxRow], now_ms: i64) -> Result<Vec<DeviceRow>, sqlx::Error> {
        let rows = sqlx::query(devices_query("")).fetch_all(&self.pool).await?;
        rows.iter().map(|row| device_row(row, boxes, now_ms)).collect()
    }

    pub(in crate::cloud) async fn device(&self, id: i64, now_ms: i64) -> Result<Option<DeviceRow>, sqlx::Error> {
        let boxes = self.boxes(now_ms).await?;
        let row = sqlx::query(devices_query("WHERE d.id = $1")).bind(id).fetch_optional(&self.pool).await?;
        row.map(|row| device_row(&row, &boxes, now_ms)).transpose()
    }

    /// What happened to a printer, newest first.
    pub(in crate::cloud) async fn device_events(&self, device_id: i64) -> Result<Vec<EventRow>, sqlx::Error> {
        let rows = sqlx::query(
            "SELECT e.payload, COALESCE(r.taken_low_ms, e.seen_ms) AS low, COALESCE(r.taken_high_ms, e.seen_ms) AS high
             FROM devices d JOIN device_events e ON e.site = d.site
             LEFT JOIN readings r ON r.box_id = e.box_id AND r.epoch = e.epoch AND r.seq = e.seq
             WHERE d.id = $1 AND (e.device_key = d.device_key OR r.device_id = d.id)
             ORDER BY low + high DESC, e.seq DESC LIMIT $2",
        )
        .bind(device_id)
        .bind(EVENTS_MAX)
        .fetch_all(&self.pool)
        .await?;
        let event = |row: &SqliteRow| {
            let payload: Vec<u8> = row.try_get("payload")?;
            let event = v1::Event::decode(payload.as_slice()).map_err(|e| sqlx::Error::Decode(e.into()))?;
            let taken = Interval { low_ms: row.try_get("low")?, high_ms: row.try_get("high")? };
            Ok(EventRow { taken, event })
        };
        rows.iter().map(event).collect()
    }

    /// Values of a meter over time, oldest first. What another box took than the one that held the printer fills gaps.
    pub(in crate::cloud) async fn history(&self, device_id: i64, meter: &str) -> Result<Vec<Point<i64>>, sqlx::Error> {
        let rows: Vec<(i64, i64, bool, i64)> = sqlx::query_as(
            "SELECT r.taken_low_ms, r.taken_high_ms, r.is_outside, m.value
             FROM meters m JOIN readings r ON r.box_id = m.box_id AND r.epoch = m.epoch AND r.seq = m.seq
             WHERE m.device_id = $1 AND m.name = $2 AND r.taken_low_ms IS NOT NULL
             ORDER BY (r.taken_low_ms + r.taken_high_ms) DESC LIMIT $3",
        )
        .bind(device_id)
        .bind(meter)
        .bind(HISTORY_ROWS_MAX)
        .fetch_all(&self.pool)
        .await?;
        let interval_s: Option<i64> = sqlx::query_scalar(
            "SELECT b.read_interval_s FROM leases l JOIN boxes b ON b.id = l.box_id
             WHERE l.device_id = $1 AND l.until_ms IS NULL",
        )
        .bind(device_id)
        .fetch_optional(&self.pool)
        .await?;
        let point =
            |(low_ms, high_ms, is_outside, value)| Point { taken: Interval { low_ms, high_ms }, is_outside, value };
        let mut points = effective(rows.into_iter().map(point).collect(), interval_ms(interval_s.unwrap_or(0)));
        Ok(points.split_off(points.len().saturating_sub(HISTORY_MAX)))
    }
}

/// A box's read interval, in milliseconds.
fn interval_ms(seconds: i64) -> i64 {
    1_000 * if seconds == 0 { i64::from(READ_INTERVAL_DEFAULT_S) } else { seconds }
}

fn task_row(row: &SqliteRow) -> Result<TaskRow, sqlx::Error> {
    Ok(TaskRow {
        kind: row.try_get("kind")?,
        state: row.try_get("state")?,
        message: row.try_get("message")?,
        created_ms: row.try_get("created_ms")?,
        expires_ms: row.try_get("expires_ms")?,
    })
}

/// The newest reading that is inside or outside of leases.
fn newest(row: &SqliteRow, [low, high, payload, kind]: [&str; 4]) -> Result<Option<Point<v1::Reading>>, sqlx::Error> {
    let (low_ms, high_ms): (Option<i64>, Option<i64>) = (row.try_get(low)?, row.try_get(high)?);
    let (Some(low_ms), Some(high_ms)) = (low_ms, high_ms) else { return Ok(None) };
    let bytes: Vec<u8> = row.try_get(payload)?;
    let kind: String = row.try_get(kind)?;
    let failed = |e: prost::DecodeError| sqlx::Error::Decode(e.into());
    let reading = if kind == "update" {
        v1::Reading::decode(bytes.as_slice()).map_err(failed)?
    } else {
        match v1::Record::decode(bytes.as_slice()).map_err(failed)?.what {
            Some(v1::record::What::Reading(reading)) => reading,
            _ => return Ok(None),
        }
    };
    Ok(Some(Point { taken: Interval { low_ms, high_ms }, is_outside: low == "out_low", value: reading }))
}

fn device_row(row: &SqliteRow, boxes: &[BoxRow], now_ms: i64) -> Result<DeviceRow, sqlx::Error> {
    let inside = newest(row, ["in_low", "in_high", "in_payload", "in_kind"])?;
    let outside = newest(row, ["out_low", "out_high", "out_payload", "out_kind"])?;
    let read_interval_s: i64 = row.try_get("read_interval_s")?;
    let counting = effective(inside.into_iter().chain(outside).collect(), interval_ms(read_interval_s));
    let latest = counting.into_iter().next_back();
    let taken = latest.as_ref().map(|latest| latest.taken);
    let is_outside = latest.as_ref().is_some_and(|latest| latest.is_outside);
    let device_key: String = row.try_get("device_key")?;
    let mut reading = latest.map(|latest| latest.value).unwrap_or_default();
    // What it is known by now.
    reading.device_key = device_key;
    let holder: Option<String> = row.try_get("holder")?;
    let holder = boxes.iter().find(|it| Some(&it.state.id) == holder.as_ref());
    let id = row.try_get("id")?;
    let said = match row.try_get::<Option<i64>, _>("cause")? {
        Some(cause) => {
            let (detail, missed, since_ms) = (row.try_get("detail")?, row.try_get("missed")?, row.try_get("since_ms")?);
            Some(rows::silence((id, cause, detail, missed, since_ms)))
        }
        None => None,
    };
    // A box that is stopped or turned away is as good as silent.
    let stopped = holder.and_then(|holder| {
        let trouble = match &holder.state.suspended {
            _ if holder.is_revoked => Trouble::new(Cause::Refused, "it was turned away"),
            suspended => Trouble::new(Cause::Suspended, suspended.as_ref()?),
        };
        Some(BoxSilence { since_ms: holder.state.last_poll_ms.unwrap_or_default(), trouble })
    });
    let box_silence = holder.and_then(|holder| holder.silence.as_ref()).or(stopped.as_ref());
    let read_interval_s = u32::try_from(read_interval_s).unwrap_or(0);
    Ok(DeviceRow {
        id,
        site: row.try_get("site")?,
        box_name: row.try_get::<Option<String>, _>("box_name")?.unwrap_or_default(),
        first_seen_ms: row.try_get("first_seen_ms")?,
        taken,
        is_outside,
        silence: printer_silence(said.as_ref(), box_silence, taken, read_interval_s, now_ms),
        reading,
    })
}
