//! The database: boxes, readings, devices, tasks. SQLite; the statements are kept to what other databases know too.

use std::path::Path;
use std::time::Duration;

use prost::Message;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Row, Sqlite, Transaction};

use super::{CloudError, now_ms};
use crate::proto::v1;
use crate::proto::v1::record::What;

/// Rows of a meter's history that a page shows.
/// Events of a printer that are shown.
const EVENTS_MAX: i64 = 100;
/// The event after which a printer has another key.
const KEY_CHANGED: &str = "KEY_CHANGED";
const HISTORY_MAX: i64 = 500;

/// The database of one data folder.
#[derive(Debug, Clone)]
pub(super) struct Database {
    pool: SqlitePool,
}

/// How much there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Boxes taken in.
    pub boxes: i64,
    /// Boxes that have polled.
    pub boxes_seen: i64,
    /// Devices that were read.
    pub devices: i64,
    /// Records stored: readings and events.
    pub readings: i64,
    /// Of these, events of printers.
    pub events: i64,
}

/// What became of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stored {
    /// Everything up to here is committed.
    UpTo(u64),
    /// This number was stored before with other content; nothing of the batch is stored.
    Conflict(u64),
}

/// A box as the pages show it.
#[derive(Debug, Clone)]
pub(super) struct BoxRow {
    pub id: String,
    pub name: String,
    pub last_poll_ms: Option<i64>,
    pub status: Option<v1::BoxStatus>,
    pub ranges: String,
    pub task: Option<TaskRow>,
}

#[derive(Debug, Clone)]
pub(super) struct TaskRow {
    pub kind: String,
    pub state: i64,
    pub message: String,
    pub created_ms: i64,
    pub expires_ms: i64,
}

/// A device as the pages show it.
#[derive(Debug, Clone)]
pub(super) struct DeviceRow {
    pub id: i64,
    pub box_name: String,
    pub first_seen_ms: i64,
    pub taken_ms: i64,
    pub reading: v1::Reading,
}

/// An epoch is any u64; the database has i64.
fn as_i64(n: u64) -> i64 {
    i64::from_ne_bytes(n.to_ne_bytes())
}

fn as_u64(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

impl Database {
    pub(super) async fn open(data_dir: &Path) -> Result<Self, CloudError> {
        let path = data_dir.join("cloud.sqlite");
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // An acknowledgement is a promise: it goes out after the disk has it.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(10));
        let failed = |source| CloudError::Database { path: path.clone(), source };
        let pool = SqlitePoolOptions::new().max_connections(4).connect_with(options).await.map_err(failed)?;
        sqlx::migrate!("src/cloud/migrations").run(&pool).await.map_err(|e| failed(e.into()))?;
        Ok(Self { pool })
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }

    pub(super) async fn add_box(&self, id: &str, name: &str, fingerprint: &str) -> Result<(), sqlx::Error> {
        sqlx::query("INSERT INTO boxes (id, name, fingerprint, created_ms) VALUES ($1, $2, $3, $4)")
            .bind(id)
            .bind(name)
            .bind(fingerprint)
            .bind(now_ms())
            .execute(&self.pool)
            .await
            .map(drop)
    }

    pub(super) async fn revoke(&self, id: &str) -> Result<(), sqlx::Error> {
        sqlx::query("UPDATE boxes SET revoked = TRUE WHERE id = $1").bind(id).execute(&self.pool).await.map(drop)
    }

    /// The box that owns a certificate and may connect.
    pub(super) async fn box_of(&self, fingerprint: &str) -> Result<Option<String>, sqlx::Error> {
        sqlx::query_scalar("SELECT id FROM boxes WHERE fingerprint = $1 AND NOT revoked")
            .bind(fingerprint)
            .fetch_optional(&self.pool)
            .await
    }

    /// Whether a box may still connect.
    pub(super) async fn is_welcome(&self, id: &str) -> Result<bool, sqlx::Error> {
        let found: Option<i64> = sqlx::query_scalar("SELECT 1 FROM boxes WHERE id = $1 AND NOT revoked")
            .bind(id)
            .fetch_optional(&self.pool)
            .await?;
        Ok(found.is_some())
    }

    /// Takes a poll down; returns the configuration where the box has another revision.
    pub(super) async fn polled(&self, id: &str, status: &v1::BoxStatus) -> Result<Option<v1::BoxConfig>, sqlx::Error> {
        let row = sqlx::query(
            "UPDATE boxes SET last_poll_ms = $2, status = $3 WHERE id = $1 RETURNING ranges, read_interval_s, config_revision",
        )
        .bind(id)
        .bind(now_ms())
        .bind(status.encode_to_vec())
        .fetch_one(&self.pool)
        .await?;
        let revision = as_u64(row.try_get("config_revision")?);
        let ranges: String = row.try_get("ranges")?;
        let read_interval_s: i64 = row.try_get("read_interval_s")?;
        Ok((revision != status.config_revision).then(|| v1::BoxConfig {
            revision,
            ranges: ranges.lines().map(str::to_owned).collect(),
            read_interval_s: u32::try_from(read_interval_s).unwrap_or(0),
            ..v1::BoxConfig::default()
        }))
    }

    /// Sets where a box looks for printers.
    pub(super) async fn set_ranges(&self, id: &str, ranges: &str) -> Result<(), sqlx::Error> {
        sqlx::query("UPDATE boxes SET ranges = $2, config_revision = config_revision + 1 WHERE id = $1")
            .bind(id)
            .bind(ranges)
            .execute(&self.pool)
            .await
            .map(drop)
    }

    pub(super) async fn add_task(&self, id: &str, box_id: &str, kind: &str, life: Duration) -> Result<(), sqlx::Error> {
        let now = now_ms();
        let life_ms = i64::try_from(life.as_millis()).unwrap_or(i64::MAX);
        sqlx::query(
            "INSERT INTO tasks (id, box_id, kind, created_ms, expires_ms, updated_ms) VALUES ($1, $2, $3, $4, $5, $4)",
        )
        .bind(id)
        .bind(box_id)
        .bind(kind)
        .bind(now)
        .bind(now.saturating_add(life_ms))
        .execute(&self.pool)
        .await
        .map(drop)
    }

    /// What a box is to do: what has neither ended nor expired.
    pub(super) async fn open_tasks(&self, box_id: &str) -> Result<Vec<v1::Task>, sqlx::Error> {
        let rows = sqlx::query(
            "SELECT id, kind, expires_ms FROM tasks WHERE box_id = $1 AND state < 2 AND expires_ms > $2 ORDER BY created_ms LIMIT 16",
        )
        .bind(box_id)
        .bind(now_ms())
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                let kind: String = row.try_get("kind")?;
                // A ping's address stands behind the word.
                let kind = match kind.split_once(' ') {
                    None if kind == "scan_now" => Some(v1::task::Kind::ScanNow(v1::ScanNow {})),
                    Some(("ping", address)) => {
                        Some(v1::task::Kind::Ping(v1::Ping { address: address.to_owned(), count: 0 }))
                    }
                    _ => None,
                };
                Ok(v1::Task { id: row.try_get("id")?, expires_unix_ms: as_u64(row.try_get("expires_ms")?), kind })
            })
            .collect()
    }

    /// Takes a report down. A task that has ended stays ended.
    pub(super) async fn reported(&self, box_id: &str, report: &v1::TaskReport) -> Result<(), sqlx::Error> {
        sqlx::query(
            "UPDATE tasks SET state = $3, message = $4, updated_ms = $5 WHERE id = $1 AND box_id = $2 AND state < 2",
        )
        .bind(&report.task_id)
        .bind(box_id)
        .bind(i64::from(report.state))
        .bind(report.message.chars().take(256).collect::<String>())
        .bind(now_ms())
        .execute(&self.pool)
        .await
        .map(drop)
    }

    pub(super) async fn task(&self, id: &str) -> Result<Option<(i64, String)>, sqlx::Error> {
        sqlx::query_as("SELECT state, message FROM tasks WHERE id = $1").bind(id).fetch_optional(&self.pool).await
    }

    pub(super) async fn event(&self, box_id: &str, kind: &str, detail: &str) -> Result<(), sqlx::Error> {
        sqlx::query("INSERT INTO events (at_ms, box_id, kind, detail) VALUES ($1, $2, $3, $4)")
            .bind(now_ms())
            .bind(box_id)
            .bind(kind)
            .bind(detail)
            .execute(&self.pool)
            .await
            .map(drop)
    }

    /// Stores a batch, whole or not at all.
    pub(super) async fn store(&self, box_id: &str, batch: &v1::ReadingBatch) -> Result<Stored, sqlx::Error> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let epoch = as_i64(batch.epoch);
        for stored in &batch.readings {
            let seq = as_i64(stored.seq);
            let known: Option<Vec<u8>> =
                sqlx::query_scalar("SELECT sha256 FROM readings WHERE box_id = $1 AND epoch = $2 AND seq = $3")
                    .bind(box_id)
                    .bind(epoch)
                    .bind(seq)
                    .fetch_optional(&mut *transaction)
                    .await?;
            match known {
                Some(sha256) if sha256 == stored.content_sha256 => continue,
                Some(_) => return Ok(Stored::Conflict(stored.seq)),
                None => {}
            }
            let device_id = match v1::Record::decode(stored.record.as_slice()).ok().and_then(|record| record.what) {
                Some(What::Reading(reading)) => Some(store_device(&mut transaction, box_id, &reading).await?),
                Some(What::Event(event)) => store_event(&mut transaction, box_id, &event).await?,
                Some(What::Update(_) | What::ClockAnchor(_)) => None,
                None => None,
            };
            sqlx::query("INSERT INTO readings (box_id, epoch, seq, sha256, received_ms, device_id, payload) VALUES ($1, $2, $3, $4, $5, $6, $7)")
                .bind(box_id)
                .bind(epoch)
                .bind(seq)
                .bind(&stored.content_sha256)
                .bind(now_ms())
                .bind(device_id)
                .bind(&stored.record)
                .execute(&mut *transaction)
                .await?;
        }
        let contiguous = advance_watermark(&mut transaction, box_id, epoch).await?;
        transaction.commit().await?;
        Ok(Stored::UpTo(contiguous))
    }

    pub(super) async fn summary(&self) -> Result<Summary, sqlx::Error> {
        let row = sqlx::query(
            "SELECT (SELECT COUNT(*) FROM boxes) AS boxes,
                    (SELECT COUNT(*) FROM boxes WHERE last_poll_ms IS NOT NULL) AS boxes_seen,
                    (SELECT COUNT(*) FROM devices) AS devices,
                    (SELECT COUNT(*) FROM readings) AS readings,
                    (SELECT COUNT(*) FROM device_events) AS events",
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(Summary {
            boxes: row.try_get("boxes")?,
            boxes_seen: row.try_get("boxes_seen")?,
            devices: row.try_get("devices")?,
            readings: row.try_get("readings")?,
            events: row.try_get("events")?,
        })
    }

    pub(super) async fn boxes(&self) -> Result<Vec<BoxRow>, sqlx::Error> {
        let rows =
            sqlx::query("SELECT id, name, last_poll_ms, status, ranges FROM boxes WHERE NOT revoked ORDER BY name")
                .fetch_all(&self.pool)
                .await?;
        let mut boxes = Vec::with_capacity(rows.len());
        for row in rows {
            let id: String = row.try_get("id")?;
            let status: Option<Vec<u8>> = row.try_get("status")?;
            let task = sqlx::query(
                "SELECT kind, state, message, created_ms, expires_ms FROM tasks WHERE box_id = $1 ORDER BY created_ms DESC LIMIT 1",
            )
            .bind(&id)
            .fetch_optional(&self.pool)
            .await?;
            let task = task.map(|task| {
                Ok::<_, sqlx::Error>(TaskRow {
                    kind: task.try_get("kind")?,
                    state: task.try_get("state")?,
                    message: task.try_get("message")?,
                    created_ms: task.try_get("created_ms")?,
                    expires_ms: task.try_get("expires_ms")?,
                })
            });
            boxes.push(BoxRow {
                id,
                name: row.try_get("name")?,
                last_poll_ms: row.try_get("last_poll_ms")?,
                status: status.and_then(|bytes| v1::BoxStatus::decode(bytes.as_slice()).ok()),
                ranges: row.try_get("ranges")?,
                task: task.transpose()?,
            });
        }
        Ok(boxes)
    }

    pub(super) async fn devices(&self) -> Result<Vec<DeviceRow>, sqlx::Error> {
        let rows = sqlx::query(
            "SELECT devices.id, boxes.name, first_seen_ms, taken_ms, latest FROM devices JOIN boxes ON boxes.id = box_id ORDER BY device_key LIMIT 2000",
        )
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(device_row).collect()
    }

    pub(super) async fn device(&self, id: i64) -> Result<Option<DeviceRow>, sqlx::Error> {
        let row = sqlx::query(
            "SELECT devices.id, boxes.name, first_seen_ms, taken_ms, latest FROM devices JOIN boxes ON boxes.id = box_id WHERE devices.id = $1",
        )
        .bind(id)
        .fetch_optional(&self.pool)
        .await?;
        row.as_ref().map(device_row).transpose()
    }

    /// What happened to a printer, newest first.
    pub(super) async fn device_events(&self, device_id: i64) -> Result<Vec<v1::Event>, sqlx::Error> {
        let payloads: Vec<Vec<u8>> = sqlx::query_scalar(
            "SELECT payload FROM device_events e JOIN devices d ON d.box_id = e.box_id AND d.device_key = e.device_key
             WHERE d.id = $1 ORDER BY e.seen_ms DESC, e.rowid DESC LIMIT $2",
        )
        .bind(device_id)
        .bind(EVENTS_MAX)
        .fetch_all(&self.pool)
        .await?;
        let event = |payload: Vec<u8>| v1::Event::decode(payload.as_slice()).map_err(|e| sqlx::Error::Decode(e.into()));
        payloads.into_iter().map(event).collect()
    }

    /// Values of a meter over time, oldest first: (milliseconds since 1970, value).
    pub(super) async fn history(&self, device_id: i64, meter: &str) -> Result<Vec<(i64, i64)>, sqlx::Error> {
        let mut rows: Vec<(i64, i64)> = sqlx::query_as(
            "SELECT taken_ms, value FROM meters WHERE device_id = $1 AND name = $2 ORDER BY taken_ms DESC LIMIT $3",
        )
        .bind(device_id)
        .bind(meter)
        .bind(HISTORY_MAX)
        .fetch_all(&self.pool)
        .await?;
        rows.reverse();
        Ok(rows)
    }
}

fn device_row(row: &sqlx::sqlite::SqliteRow) -> Result<DeviceRow, sqlx::Error> {
    let latest: Vec<u8> = row.try_get("latest")?;
    let reading = v1::Reading::decode(latest.as_slice()).map_err(|e| sqlx::Error::Decode(e.into()))?;
    Ok(DeviceRow {
        id: row.try_get("id")?,
        box_name: row.try_get("name")?,
        first_seen_ms: row.try_get("first_seen_ms")?,
        taken_ms: row.try_get("taken_ms")?,
        reading,
    })
}

/// Takes a reading into its device and the history of its meters; returns the device's id. A reading that is older than the
/// latest one changes only the history.
async fn store_device(
    transaction: &mut Transaction<'_, Sqlite>,
    box_id: &str,
    reading: &v1::Reading,
) -> Result<i64, sqlx::Error> {
    let taken_ms = reading.taken.as_ref().map_or(0, |taken| as_i64(taken.wall_clock_unix_ms)).max(0);
    let device_id: i64 = sqlx::query_scalar(
        "INSERT INTO devices (box_id, device_key, first_seen_ms, taken_ms, latest) VALUES ($1, $2, $3, $3, $4)
         ON CONFLICT (box_id, device_key) DO UPDATE SET
             latest = CASE WHEN excluded.taken_ms >= taken_ms THEN excluded.latest ELSE latest END,
             taken_ms = MAX(taken_ms, excluded.taken_ms)
         RETURNING id",
    )
    .bind(box_id)
    .bind(&reading.device_key)
    .bind(taken_ms)
    .bind(reading.encode_to_vec())
    .fetch_one(&mut **transaction)
    .await?;
    for meter in &reading.meters {
        sqlx::query(
            "INSERT INTO meters (device_id, name, taken_ms, value) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        )
        .bind(device_id)
        .bind(&meter.name)
        .bind(taken_ms)
        .bind(as_i64(meter.value))
        .execute(&mut **transaction)
        .await?;
    }
    Ok(device_id)
}

/// Keeps an event, once, and renames the printer where it is known by a better key now; returns the printer's id, where it
/// has been read.
async fn store_event(
    transaction: &mut Transaction<'_, Sqlite>,
    box_id: &str,
    event: &v1::Event,
) -> Result<Option<i64>, sqlx::Error> {
    if let (KEY_CHANGED, Some(old_key)) = (event.kind.as_str(), &event.old_key) {
        sqlx::query(
            "UPDATE devices SET device_key = $1 WHERE box_id = $2 AND device_key = $3
             AND NOT EXISTS (SELECT 1 FROM devices WHERE box_id = $2 AND device_key = $1)",
        )
        .bind(&event.device_key)
        .bind(box_id)
        .bind(old_key)
        .execute(&mut **transaction)
        .await?;
    }
    let seen_ms = event.seen.as_ref().map_or(0, |seen| as_i64(seen.wall_clock_unix_ms)).max(0);
    sqlx::query(
        "INSERT INTO device_events (box_id, id, device_key, kind, seen_ms, payload) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT DO NOTHING",
    )
    .bind(box_id)
    .bind(&event.id)
    .bind(&event.device_key)
    .bind(&event.kind)
    .bind(seen_ms)
    .bind(event.encode_to_vec())
    .execute(&mut **transaction)
    .await?;
    sqlx::query_scalar("SELECT id FROM devices WHERE box_id = $1 AND device_key = $2")
        .bind(box_id)
        .bind(&event.device_key)
        .fetch_optional(&mut **transaction)
        .await
}

/// The highest number up to which there is no gap. Readings beyond a gap are kept and not acknowledged.
async fn advance_watermark(
    transaction: &mut Transaction<'_, Sqlite>,
    box_id: &str,
    epoch: i64,
) -> Result<u64, sqlx::Error> {
    let before: Option<i64> =
        sqlx::query_scalar("SELECT contiguous_seq FROM watermarks WHERE box_id = $1 AND epoch = $2")
            .bind(box_id)
            .bind(epoch)
            .fetch_optional(&mut **transaction)
            .await?;
    let before = before.unwrap_or(0);
    // The first number after which the next one is missing.
    let reached: Option<i64> = sqlx::query_scalar(
        "SELECT MIN(seq) FROM readings r WHERE box_id = $1 AND epoch = $2 AND seq > $3
           AND NOT EXISTS (SELECT 1 FROM readings n WHERE n.box_id = r.box_id AND n.epoch = r.epoch AND n.seq = r.seq + 1)
           AND EXISTS (SELECT 1 FROM readings f WHERE f.box_id = r.box_id AND f.epoch = r.epoch AND f.seq = $3 + 1)",
    )
    .bind(box_id)
    .bind(epoch)
    .bind(before)
    .fetch_one(&mut **transaction)
    .await?;
    let now = reached.unwrap_or(before);
    sqlx::query(
        "INSERT INTO watermarks (box_id, epoch, contiguous_seq) VALUES ($1, $2, $3)
         ON CONFLICT (box_id, epoch) DO UPDATE SET contiguous_seq = excluded.contiguous_seq",
    )
    .bind(box_id)
    .bind(epoch)
    .bind(now)
    .execute(&mut **transaction)
    .await?;
    Ok(as_u64(now))
}
