//! The intake's rows in SQLite: one transaction of the database for one of the intake.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, Sqlite, Transaction};

use super::{Database, as_i64, as_u64};
use crate::cloud::intake::{
    Boot, BoxState, Fork, Held, Interval, Key, Kind, Lease, Mark, NewEvent, OpenRow, Progress, Row, Rows, SeenContact,
    Silence, Stamp, Work,
};

/// Most records of one epoch that are dated anew at once, and starts that are looked at.
const OPEN_MAX: i64 = 100_000;
const BOOTS_MAX: i64 = 64;

type Result<T> = std::result::Result<T, sqlx::Error>;

/// A transaction of the database.
#[derive(Debug)]
pub(in crate::cloud) struct SqliteWork(pub(super) Transaction<'static, Sqlite>);

/// Updates that wait for their base: asked for each whole reading that is stored.
pub(super) const UNFIT: &str =
    "SELECT * FROM readings WHERE box_id = $1 AND epoch = $2 AND base_seq = $3 AND kind = 'unfit' ORDER BY seq";
/// Records whose dates may become narrower: asked for each batch.
pub(super) const OPEN: &str =
    "SELECT seq, received_ms, boot_id, mono_ms, wall_ms, radius_ms, quality, taken_low_ms, taken_high_ms,
            CASE WHEN kind IN ('reading', 'update') THEN device_id END AS device_id, is_outside
     FROM readings WHERE box_id = $1 AND epoch = $2 AND is_open ORDER BY seq LIMIT $3";

impl Rows for Database {
    type Error = sqlx::Error;
    type Work = SqliteWork;

    async fn begin(&self) -> Result<SqliteWork> {
        // The lock is taken now: a transaction that reads first and writes later could be refused then.
        Ok(SqliteWork(self.pool.begin_with("BEGIN IMMEDIATE").await?))
    }
}

/// Epochs are any u64 and the database has i64; the numbers of records never come near its end.
fn epoch(row: &SqliteRow, column: &str) -> Result<Option<u64>> {
    Ok(row.try_get::<Option<i64>, _>(column)?.map(|n| u64::from_ne_bytes(n.to_ne_bytes())))
}

pub(super) fn box_state(row: &SqliteRow) -> Result<BoxState> {
    let boots: String = row.try_get("boots")?;
    let released = epoch(row, "released_epoch")?.zip(epoch(row, "released_seq")?);
    let told = u32::try_from(row.try_get::<i64, _>("fork_told")?).unwrap_or(u32::MAX);
    let fork = epoch(row, "fork_epoch")?.zip(epoch(row, "fork_seq")?);
    let fork = fork.map(|(epoch, after_seq)| Fork { epoch, after_seq, told });
    let contact =
        SeenContact { counter: as_u64(row.try_get("contact_counter")?), boot_id: row.try_get("contact_boot")? };
    Ok(BoxState {
        id: row.try_get("id")?,
        site: row.try_get("site")?,
        created_ms: row.try_get("created_ms")?,
        last_poll_ms: row.try_get("last_poll_ms")?,
        told_interval_s: u32::try_from(row.try_get::<i64, _>("told_interval_s")?).unwrap_or(0),
        status: row.try_get("status")?,
        boots: serde_json::from_str(&boots).map_err(|e| sqlx::Error::Decode(e.into()))?,
        suspended: row.try_get("suspended")?,
        suspended_detail: row.try_get("suspended_detail")?,
        released,
        fork,
        contact: Some(contact).filter(|contact| contact.counter > 0),
        silent_since_ms: row.try_get("silent_since_ms")?,
    })
}

pub(super) fn interval(row: &SqliteRow) -> Result<Option<Interval>> {
    let (low, high): (Option<i64>, Option<i64>) = (row.try_get("taken_low_ms")?, row.try_get("taken_high_ms")?);
    Ok(low.zip(high).map(|(low_ms, high_ms)| Interval { low_ms, high_ms }))
}

fn stamp(row: &SqliteRow) -> Result<Option<Stamp>> {
    let Some(boot_id) = row.try_get("boot_id")? else { return Ok(None) };
    Ok(Some(Stamp {
        boot_id,
        mono_ms: row.try_get("mono_ms")?,
        wall_ms: row.try_get("wall_ms")?,
        radius_ms: row.try_get("radius_ms")?,
        quality: i32::try_from(row.try_get::<i64, _>("quality")?).unwrap_or(0),
    }))
}

pub(super) fn record(row: &SqliteRow) -> Result<Row> {
    let key = Key {
        box_id: row.try_get("box_id")?,
        epoch: epoch(row, "epoch")?.unwrap_or(0),
        seq: as_u64(row.try_get("seq")?),
    };
    Ok(Row {
        key,
        sha256: row.try_get("sha256")?,
        received_ms: row.try_get("received_ms")?,
        kind: Kind::of(row.try_get("kind")?),
        record: row.try_get("payload")?,
        whole: row.try_get("whole")?,
        base_seq: row.try_get::<Option<i64>, _>("base_seq")?.map(as_u64),
        device_id: row.try_get("device_id")?,
        stamp: stamp(row)?,
        taken: interval(row)?,
        is_open: row.try_get("is_open")?,
        is_outside: row.try_get("is_outside")?,
    })
}

fn mark(row: &SqliteRow, mono: &str, unix: &str) -> Result<Option<Mark>> {
    let (mono_ms, unix_ms): (Option<i64>, Option<i64>) = (row.try_get(mono)?, row.try_get(unix)?);
    Ok(mono_ms.zip(unix_ms).map(|(mono_ms, unix_ms)| Mark { mono_ms, unix_ms }))
}

/// A base is any u64 that a box says.
fn base(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

impl SqliteWork {
    async fn put_record(&mut self, statement: &'static str, row: &Row) -> Result<()> {
        let stamp = row.stamp.as_ref();
        sqlx::query(statement)
            .bind(&row.key.box_id)
            .bind(as_i64(row.key.epoch))
            .bind(as_i64(row.key.seq))
            .bind(&row.sha256)
            .bind(row.received_ms)
            .bind(row.device_id)
            .bind(&row.record)
            .bind(row.kind.word())
            .bind(&row.whole)
            .bind(row.base_seq.map(base))
            .bind(stamp.map(|stamp| stamp.boot_id.as_str()))
            .bind(stamp.map_or(0, |stamp| stamp.mono_ms))
            .bind(stamp.map_or(0, |stamp| stamp.wall_ms))
            .bind(stamp.map_or(0, |stamp| stamp.radius_ms))
            .bind(stamp.map_or(0, |stamp| i64::from(stamp.quality)))
            .bind(row.taken.map(|taken| taken.low_ms))
            .bind(row.taken.map(|taken| taken.high_ms))
            .bind(row.is_open)
            .bind(row.is_outside)
            .execute(&mut *self.0)
            .await
            .map(drop)
    }
}

impl Work for SqliteWork {
    type Error = sqlx::Error;

    async fn commit(self) -> Result<()> {
        self.0.commit().await
    }

    async fn abandon(self) -> Result<()> {
        self.0.rollback().await
    }

    async fn box_state(&mut self, box_id: &str) -> Result<Option<BoxState>> {
        let row = sqlx::query("SELECT * FROM boxes WHERE id = $1 AND NOT revoked")
            .bind(box_id)
            .fetch_optional(&mut *self.0)
            .await?;
        row.as_ref().map(box_state).transpose()
    }

    async fn put_box(&mut self, state: &BoxState) -> Result<()> {
        let boots = serde_json::to_string(&state.boots).map_err(|e| sqlx::Error::Encode(e.into()))?;
        sqlx::query(
            "UPDATE boxes SET last_poll_ms = $2, told_interval_s = $3, status = $4, boots = $5, suspended = $6,
             suspended_detail = $7, released_epoch = $8, released_seq = $9, silent_since_ms = $10,
             fork_epoch = $11, fork_seq = $12, fork_told = $13,
             contact_counter = $14, contact_boot = $15 WHERE id = $1",
        )
        .bind(&state.id)
        .bind(state.last_poll_ms)
        .bind(i64::from(state.told_interval_s))
        .bind(&state.status)
        .bind(boots)
        .bind(&state.suspended)
        .bind(&state.suspended_detail)
        .bind(state.released.map(|(epoch, _)| as_i64(epoch)))
        .bind(state.released.map(|(_, seq)| as_i64(seq)))
        .bind(state.silent_since_ms)
        .bind(state.fork.map(|fork| as_i64(fork.epoch)))
        .bind(state.fork.map(|fork| as_i64(fork.after_seq)))
        .bind(state.fork.map_or(0, |fork| i64::from(fork.told)))
        .bind(state.contact.as_ref().map_or(0, |contact| base(contact.counter)))
        .bind(state.contact.as_ref().map_or("", |contact| contact.boot_id.as_str()))
        .execute(&mut *self.0)
        .await
        .map(drop)
    }

    async fn site_boxes(&mut self, site: &str) -> Result<Vec<BoxState>> {
        let rows = sqlx::query("SELECT * FROM boxes WHERE site = $1 AND NOT revoked")
            .bind(site)
            .fetch_all(&mut *self.0)
            .await?;
        rows.iter().map(box_state).collect()
    }

    async fn note(&mut self, at_ms: i64, box_id: &str, kind: &str, detail: &str) -> Result<()> {
        sqlx::query("INSERT INTO events (at_ms, box_id, kind, detail) VALUES ($1, $2, $3, $4)")
            .bind(at_ms)
            .bind(box_id)
            .bind(kind)
            .bind(detail)
            .execute(&mut *self.0)
            .await
            .map(drop)
    }

    async fn row(&mut self, key: &Key) -> Result<Option<Row>> {
        let row = sqlx::query("SELECT * FROM readings WHERE box_id = $1 AND epoch = $2 AND seq = $3")
            .bind(&key.box_id)
            .bind(as_i64(key.epoch))
            .bind(base(key.seq))
            .fetch_optional(&mut *self.0)
            .await?;
        row.as_ref().map(record).transpose()
    }

    async fn hash(&mut self, key: &Key) -> Result<Option<(Vec<u8>, bool)>> {
        sqlx::query_as("SELECT sha256, kind = 'thinned' FROM readings WHERE box_id = $1 AND epoch = $2 AND seq = $3")
            .bind(&key.box_id)
            .bind(as_i64(key.epoch))
            .bind(as_i64(key.seq))
            .fetch_optional(&mut *self.0)
            .await
    }

    async fn insert(&mut self, row: &Row) -> Result<()> {
        self.put_record(
            "INSERT INTO readings (box_id, epoch, seq, sha256, received_ms, device_id, payload, kind, whole, base_seq,
             boot_id, mono_ms, wall_ms, radius_ms, quality, taken_low_ms, taken_high_ms, is_open, is_outside)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)",
            row,
        )
        .await
    }

    async fn replace(&mut self, row: &Row) -> Result<()> {
        self.put_record(
            "UPDATE readings SET sha256 = $4, received_ms = $5, device_id = $6, payload = $7, kind = $8, whole = $9,
             base_seq = $10, boot_id = $11, mono_ms = $12, wall_ms = $13, radius_ms = $14, quality = $15,
             taken_low_ms = $16, taken_high_ms = $17, is_open = $18, is_outside = $19
             WHERE box_id = $1 AND epoch = $2 AND seq = $3",
            row,
        )
        .await
    }

    async fn unfit(&mut self, of: &Key) -> Result<Vec<Row>> {
        let rows = sqlx::query(UNFIT)
            .bind(&of.box_id)
            .bind(as_i64(of.epoch))
            .bind(base(of.seq))
            .fetch_all(&mut *self.0)
            .await?;
        rows.iter().map(record).collect()
    }

    async fn progress(&mut self, box_id: &str, epoch: u64) -> Result<Option<Progress>> {
        let row = sqlx::query("SELECT * FROM watermarks WHERE box_id = $1 AND epoch = $2")
            .bind(box_id)
            .bind(as_i64(epoch))
            .fetch_optional(&mut *self.0)
            .await?;
        let progress = |row: SqliteRow| {
            Ok(Progress {
                contiguous_seq: as_u64(row.try_get("contiguous_seq")?),
                last_seq: as_u64(row.try_get("last_seq")?),
                chain: row.try_get("chain")?,
                acknowledged_seq: as_u64(row.try_get("acknowledged_seq")?),
                asked: u32::try_from(row.try_get::<i64, _>("asked")?).unwrap_or(u32::MAX),
            })
        };
        row.map(progress).transpose()
    }

    async fn put_progress(&mut self, box_id: &str, epoch: u64, progress: &Progress) -> Result<()> {
        sqlx::query(
            "INSERT INTO watermarks (box_id, epoch, contiguous_seq, last_seq, chain, acknowledged_seq, asked)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (box_id, epoch) DO UPDATE SET contiguous_seq = excluded.contiguous_seq,
                 last_seq = excluded.last_seq, chain = excluded.chain,
                 acknowledged_seq = excluded.acknowledged_seq, asked = excluded.asked",
        )
        .bind(box_id)
        .bind(as_i64(epoch))
        .bind(as_i64(progress.contiguous_seq))
        .bind(as_i64(progress.last_seq))
        .bind(&progress.chain)
        .bind(base(progress.acknowledged_seq))
        .bind(i64::from(progress.asked))
        .execute(&mut *self.0)
        .await
        .map(drop)
    }

    async fn boots(&mut self, box_id: &str, epoch: u64) -> Result<Vec<Boot>> {
        let rows = sqlx::query("SELECT * FROM boots WHERE box_id = $1 AND epoch = $2 ORDER BY first_seq DESC LIMIT $3")
            .bind(box_id)
            .bind(as_i64(epoch))
            .bind(BOOTS_MAX)
            .fetch_all(&mut *self.0)
            .await?;
        let boot = |row: &SqliteRow| {
            Ok(Boot {
                boot_id: row.try_get("boot_id")?,
                first_seq: as_u64(row.try_get("first_seq")?),
                last_mono_ms: row.try_get("last_mono_ms")?,
                low: mark(row, "low_mono_ms", "low_unix_ms")?,
                high: mark(row, "high_mono_ms", "high_unix_ms")?,
                is_known: row.try_get("is_known")?,
            })
        };
        rows.iter().map(boot).collect()
    }

    async fn put_boot(&mut self, box_id: &str, epoch: u64, boot: &Boot) -> Result<()> {
        sqlx::query(
            "INSERT INTO boots (box_id, epoch, boot_id, first_seq, last_mono_ms, low_mono_ms, low_unix_ms, high_mono_ms,
             high_unix_ms, is_known) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
             ON CONFLICT (box_id, epoch, boot_id) DO UPDATE SET first_seq = excluded.first_seq,
                 last_mono_ms = excluded.last_mono_ms, low_mono_ms = excluded.low_mono_ms,
                 low_unix_ms = excluded.low_unix_ms, high_mono_ms = excluded.high_mono_ms,
                 high_unix_ms = excluded.high_unix_ms, is_known = excluded.is_known",
        )
        .bind(box_id)
        .bind(as_i64(epoch))
        .bind(&boot.boot_id)
        .bind(as_i64(boot.first_seq))
        .bind(boot.last_mono_ms)
        .bind(boot.low.map(|mark| mark.mono_ms))
        .bind(boot.low.map(|mark| mark.unix_ms))
        .bind(boot.high.map(|mark| mark.mono_ms))
        .bind(boot.high.map(|mark| mark.unix_ms))
        .bind(boot.is_known)
        .execute(&mut *self.0)
        .await
        .map(drop)
    }

    async fn open_rows(&mut self, box_id: &str, epoch: u64) -> Result<Vec<OpenRow>> {
        let rows = sqlx::query(OPEN).bind(box_id).bind(as_i64(epoch)).bind(OPEN_MAX).fetch_all(&mut *self.0).await?;
        let mut open = Vec::with_capacity(rows.len());
        for row in &rows {
            let (Some(stamp), Some(taken)) = (stamp(row)?, interval(row)?) else { continue };
            open.push(OpenRow {
                seq: as_u64(row.try_get("seq")?),
                stamp,
                received_ms: row.try_get("received_ms")?,
                taken,
                device_id: row.try_get("device_id")?,
                is_outside: row.try_get("is_outside")?,
            });
        }
        Ok(open)
    }

    async fn date(&mut self, key: &Key, taken: Interval, is_open: bool, is_outside: bool) -> Result<()> {
        sqlx::query(
            "UPDATE readings SET taken_low_ms = $4, taken_high_ms = $5, is_open = $6, is_outside = $7
             WHERE box_id = $1 AND epoch = $2 AND seq = $3",
        )
        .bind(&key.box_id)
        .bind(as_i64(key.epoch))
        .bind(as_i64(key.seq))
        .bind(taken.low_ms)
        .bind(taken.high_ms)
        .bind(is_open)
        .bind(is_outside)
        .execute(&mut *self.0)
        .await
        .map(drop)
    }

    async fn device(&mut self, site: &str, device_key: &str) -> Result<Option<i64>> {
        sqlx::query_scalar("SELECT id FROM devices WHERE site = $1 AND device_key = $2")
            .bind(site)
            .bind(device_key)
            .fetch_optional(&mut *self.0)
            .await
    }

    async fn add_device(&mut self, site: &str, device_key: &str, first_seen_ms: i64) -> Result<i64> {
        sqlx::query_scalar("INSERT INTO devices (site, device_key, first_seen_ms) VALUES ($1, $2, $3) RETURNING id")
            .bind(site)
            .bind(device_key)
            .bind(first_seen_ms)
            .fetch_one(&mut *self.0)
            .await
    }

    async fn rename_device(&mut self, device_id: i64, device_key: &str) -> Result<()> {
        sqlx::query("UPDATE devices SET device_key = $2 WHERE id = $1")
            .bind(device_id)
            .bind(device_key)
            .execute(&mut *self.0)
            .await
            .map(drop)
    }

    async fn merge_device(&mut self, from: i64, to: i64) -> Result<()> {
        for statement in [
            "UPDATE readings SET device_id = $2 WHERE device_id = $1",
            "UPDATE meters SET device_id = $2 WHERE device_id = $1",
            "DELETE FROM silences WHERE device_id = $1 AND $2 > 0",
            "DELETE FROM leases WHERE device_id = $1 AND $2 > 0",
            "DELETE FROM devices WHERE id = $1 AND $2 > 0",
        ] {
            sqlx::query(statement).bind(from).bind(to).execute(&mut *self.0).await?;
        }
        Ok(())
    }

    async fn who_told_key_change(&mut self, site: &str, old_key: &str, device_key: &str) -> Result<Vec<String>> {
        sqlx::query_scalar(
            "SELECT DISTINCT box_id FROM device_events
             WHERE site = $1 AND device_key = $2 AND kind = 'KEY_CHANGED' AND old_key = $3",
        )
        .bind(site)
        .bind(device_key)
        .bind(old_key)
        .fetch_all(&mut *self.0)
        .await
    }

    async fn add_meters(&mut self, key: &Key, device_id: i64, meters: &[(String, u64)]) -> Result<()> {
        for (name, value) in meters {
            // A printer may tell a meter twice; the first counts.
            sqlx::query(
                "INSERT INTO meters (device_id, name, box_id, epoch, seq, value) VALUES ($1, $2, $3, $4, $5, $6)
                 ON CONFLICT DO NOTHING",
            )
            .bind(device_id)
            .bind(name)
            .bind(&key.box_id)
            .bind(as_i64(key.epoch))
            .bind(as_i64(key.seq))
            .bind(as_i64(*value))
            .execute(&mut *self.0)
            .await?;
        }
        Ok(())
    }

    async fn last_delivery(&mut self, device_id: i64, box_id: &str) -> Result<Option<i64>> {
        sqlx::query_scalar(
            "SELECT MAX(received_ms) FROM readings WHERE device_id = $1 AND box_id = $2 AND kind IN ('reading', 'update')",
        )
        .bind(device_id)
        .bind(box_id)
        .fetch_one(&mut *self.0)
        .await
    }

    async fn add_event(&mut self, event: &NewEvent) -> Result<()> {
        sqlx::query(
            "INSERT INTO device_events (site, box_id, id, device_key, kind, seen_ms, payload, old_key, epoch, seq)
             VALUES ($1, $2, $3, $4, $5, 0, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
        )
        .bind(&event.site)
        .bind(&event.key.box_id)
        .bind(&event.id)
        .bind(&event.device_key)
        .bind(&event.kind)
        .bind(&event.payload)
        .bind(&event.old_key)
        .bind(as_i64(event.key.epoch))
        .bind(as_i64(event.key.seq))
        .execute(&mut *self.0)
        .await
        .map(drop)
    }

    async fn leases(&mut self, device_id: i64) -> Result<Vec<Lease>> {
        let rows: Vec<(String, i64, Option<i64>)> = sqlx::query_as(
            "SELECT box_id, since_ms, until_ms FROM leases WHERE device_id = $1 ORDER BY since_ms, until_ms IS NULL",
        )
        .bind(device_id)
        .fetch_all(&mut *self.0)
        .await?;
        Ok(rows.into_iter().map(|(box_id, since_ms, until_ms)| Lease { box_id, since_ms, until_ms }).collect())
    }

    async fn lease_to(&mut self, device_id: i64, box_id: &str, since_ms: i64) -> Result<()> {
        sqlx::query("UPDATE leases SET until_ms = $2 WHERE device_id = $1 AND until_ms IS NULL")
            .bind(device_id)
            .bind(since_ms)
            .execute(&mut *self.0)
            .await?;
        sqlx::query("INSERT INTO leases (device_id, box_id, since_ms) VALUES ($1, $2, $3)")
            .bind(device_id)
            .bind(box_id)
            .bind(since_ms)
            .execute(&mut *self.0)
            .await
            .map(drop)
    }

    async fn held(&mut self, site: &str) -> Result<Vec<Held>> {
        let rows: Vec<(i64, String, String)> = sqlx::query_as(
            "SELECT d.id, d.device_key, l.box_id FROM devices d JOIN leases l ON l.device_id = d.id
             WHERE d.site = $1 AND l.until_ms IS NULL ORDER BY d.id",
        )
        .bind(site)
        .fetch_all(&mut *self.0)
        .await?;
        let held = |(device_id, device_key, box_id)| Held { device_id, device_key, box_id };
        Ok(rows.into_iter().map(held).collect())
    }

    async fn silences(&mut self, box_id: &str) -> Result<Vec<Silence>> {
        let rows: Vec<(i64, i64, String, i64, i64)> =
            sqlx::query_as("SELECT device_id, cause, detail, missed, since_ms FROM silences WHERE box_id = $1")
                .bind(box_id)
                .fetch_all(&mut *self.0)
                .await?;
        Ok(rows.into_iter().map(silence).collect())
    }

    async fn put_silences(&mut self, box_id: &str, silences: &[Silence]) -> Result<()> {
        sqlx::query("DELETE FROM silences WHERE box_id = $1").bind(box_id).execute(&mut *self.0).await?;
        for silence in silences {
            sqlx::query(
                "INSERT INTO silences (box_id, device_id, cause, detail, missed, since_ms) VALUES ($1, $2, $3, $4, $5, $6)",
            )
            .bind(box_id)
            .bind(silence.device_id)
            .bind(i64::from(silence.cause))
            .bind(&silence.detail)
            .bind(i64::from(silence.missed))
            .bind(silence.since_ms)
            .execute(&mut *self.0)
            .await?;
        }
        Ok(())
    }
}

pub(super) fn silence((device_id, cause, detail, missed, since_ms): (i64, i64, String, i64, i64)) -> Silence {
    Silence {
        device_id,
        cause: i32::try_from(cause).unwrap_or(0),
        detail,
        missed: u32::try_from(missed).unwrap_or(u32::MAX),
        since_ms,
    }
}
