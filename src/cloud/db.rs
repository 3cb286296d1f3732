//! The database: boxes, readings, devices, tasks. SQLite; the statements are kept to what other databases know too.
//! What is decided about records stands in the intake ([`rows`] keeps them for it); what pages show is in [`fleet`].

mod credentials;
mod fleet;
#[cfg(test)]
mod plan_tests;
mod rows;
#[cfg(test)]
mod upgrade_tests;

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Row, Sqlite, Transaction};

pub(super) use credentials::{Credential, add as add_credential};
pub(super) use fleet::{BoxRow, DeviceRow, EventRow, GapRow, TaskRow};

use super::intake::{self, BoxState, Rows, Work};
use super::{CloudError, now_ms};
use crate::proto::v1;

/// Records that are looked at again in one transaction, after an update of the cloud.
const REBUILD_AT_ONCE: i64 = 500;

/// A transaction of the database.
pub(super) type Tx = Transaction<'static, Sqlite>;

/// The database of one data folder.
#[derive(Debug, Clone)]
pub(super) struct Database {
    pool: SqlitePool,
    /// Since when this cloud hears its boxes.
    listening_since_ms: i64,
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
        let database = Self { pool, listening_since_ms: now_ms() };
        database.rebuild().await.map_err(failed)?;
        Ok(database)
    }

    /// Looks again at what an older cloud stored: the dates and meters of its records.
    async fn rebuild(&self) -> Result<(), sqlx::Error> {
        loop {
            let mut work = self.begin().await?;
            let rows = sqlx::query(
                "SELECT r.*, b.site FROM readings r JOIN boxes b ON b.id = r.box_id WHERE r.kind = ''
                 ORDER BY r.box_id, r.epoch, r.seq LIMIT $1",
            )
            .bind(REBUILD_AT_ONCE)
            .fetch_all(&mut *work.0)
            .await?;
            for row in &rows {
                let old = rows::record(row)?;
                let state = BoxState { id: old.key.box_id.clone(), site: row.try_get("site")?, ..BoxState::default() };
                intake::rebuild(&mut work, &state, &old).await?;
            }
            work.commit().await?;
            if rows.is_empty() {
                return Ok(());
            }
        }
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }

    /// Takes a box in. Boxes of one site share its printers.
    pub(super) async fn add_box(
        &self,
        id: &str,
        name: &str,
        site: &str,
        fingerprint: &str,
        ends_ms: i64,
    ) -> Result<(), sqlx::Error> {
        let mut tx = self.transaction().await?;
        sqlx::query(
            "INSERT INTO boxes (id, name, site, fingerprint, created_ms, enrolled_ms) VALUES ($1, $2, $3, $4, $5, $5)",
        )
        .bind(id)
        .bind(name)
        .bind(site)
        .bind(fingerprint)
        .bind(now_ms())
        .execute(&mut *tx)
        .await?;
        credentials::add(&mut tx, id, fingerprint, 1, ends_ms).await?;
        tx.commit().await
    }

    /// Begins a transaction that writes. Dropped without a commit, nothing of it is kept.
    pub(super) async fn transaction(&self) -> Result<Tx, sqlx::Error> {
        self.pool.begin_with("BEGIN IMMEDIATE").await
    }

    /// Takes a box's right to connect away. Whether it had it.
    pub(super) async fn revoke(&self, id: &str) -> Result<bool, sqlx::Error> {
        let done = sqlx::query("UPDATE boxes SET revoked = TRUE WHERE id = $1 AND NOT revoked").bind(id);
        Ok(done.execute(&self.pool).await?.rows_affected() > 0)
    }

    /// What happened with a box, newest first, at most 100: kind and words.
    pub(super) async fn box_events(&self, id: &str) -> Result<Vec<(String, String)>, sqlx::Error> {
        sqlx::query_as("SELECT kind, detail FROM events WHERE box_id = $1 ORDER BY at_ms DESC, rowid DESC LIMIT 100")
            .bind(id)
            .fetch_all(&self.pool)
            .await
    }

    /// Whether a box was released and is to be told so.
    pub(super) async fn is_leaving(&self, id: &str) -> Result<bool, sqlx::Error> {
        let found: Option<i64> =
            sqlx::query_scalar("SELECT 1 FROM boxes WHERE id = $1 AND leaving_since_ms IS NOT NULL")
                .bind(id)
                .fetch_optional(&self.pool)
                .await?;
        Ok(found.is_some())
    }

    /// Gives a box that was turned away its right to connect back. Whether it was turned away.
    pub(super) async fn enable(&self, id: &str) -> Result<bool, sqlx::Error> {
        let done =
            sqlx::query("UPDATE boxes SET revoked = FALSE WHERE id = $1 AND revoked AND left_ms IS NULL").bind(id);
        Ok(done.execute(&self.pool).await?.rows_affected() > 0)
    }

    /// Whether a box may still connect.
    pub(super) async fn is_welcome(&self, id: &str) -> Result<bool, sqlx::Error> {
        let found: Option<i64> = sqlx::query_scalar("SELECT 1 FROM boxes WHERE id = $1 AND NOT revoked")
            .bind(id)
            .fetch_optional(&self.pool)
            .await?;
        Ok(found.is_some())
    }

    /// The configuration of a box, where the box has another revision.
    pub(super) async fn config(&self, id: &str, revision: u64) -> Result<Option<v1::BoxConfig>, sqlx::Error> {
        let row = sqlx::query(
            "SELECT ranges, read_interval_s, config_revision, read_times, look_interval_s FROM boxes WHERE id = $1",
        )
        .bind(id)
        .fetch_one(&self.pool)
        .await?;
        let current = as_u64(row.try_get("config_revision")?);
        let lines = |text: String| text.lines().map(str::to_owned).collect();
        let seconds = |seconds: i64| u32::try_from(seconds).unwrap_or(0);
        Ok((current != revision).then_some(v1::BoxConfig {
            revision: current,
            ranges: lines(row.try_get("ranges")?),
            read_interval_s: seconds(row.try_get("read_interval_s")?),
            read_times_utc: lines(row.try_get("read_times")?),
            look_interval_s: seconds(row.try_get("look_interval_s")?),
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

    /// Sets when a box reads. `read_times` are "HH:MM", one a line.
    pub(super) async fn set_schedule(
        &self,
        id: &str,
        read_interval_s: u32,
        look_interval_s: u32,
        read_times: &str,
    ) -> Result<(), sqlx::Error> {
        sqlx::query(
            "UPDATE boxes SET read_interval_s = $2, look_interval_s = $3, read_times = $4,
             config_revision = config_revision + 1 WHERE id = $1",
        )
        .bind(id)
        .bind(i64::from(read_interval_s))
        .bind(i64::from(look_interval_s))
        .bind(read_times)
        .execute(&self.pool)
        .await
        .map(drop)
    }

    /// Flags boxes that are silent now.
    pub(super) async fn flag_silent(&self, now_ms: i64) -> Result<(), sqlx::Error> {
        for row in self.boxes(now_ms).await? {
            if row.silence.is_some() && row.state.silent_since_ms.is_none() {
                intake::flag_silent(self, &row.state.id, self.listening_since_ms, now_ms).await?;
            }
        }
        Ok(())
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
}
