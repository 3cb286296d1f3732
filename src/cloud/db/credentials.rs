//! Certificates of boxes: which holds, and which was used.

use sqlx::Row as _;

use super::{Database, Tx};

/// Certificates of a box that may wait for their first use: the oldest of more is dropped.
const UNUSED_MAX: i64 = 5;

/// A certificate that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cloud) struct Credential {
    pub box_id: String,
    pub generation: u32,
    pub fingerprint: String,
    /// Whether it was used before.
    pub is_used: bool,
}

/// Writes a new certificate down.
pub(in crate::cloud) async fn add(
    tx: &mut Tx,
    box_id: &str,
    fingerprint: &str,
    generation: u32,
    ends_ms: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO credentials (fingerprint, box_id, generation, not_after_ms) VALUES ($1, $2, $3, $4)")
        .bind(fingerprint)
        .bind(box_id)
        .bind(i64::from(generation))
        .bind(ends_ms)
        .execute(&mut **tx)
        .await?;
    sqlx::query(
        "UPDATE credentials SET revoked = TRUE WHERE box_id = $1 AND first_used_ms IS NULL AND generation <= $2",
    )
    .bind(box_id)
    .bind(i64::from(generation) - UNUSED_MAX)
    .execute(&mut **tx)
    .await
    .map(drop)
}

impl Database {
    /// The certificate with this fingerprint, where it holds and its box was not turned away.
    pub(in crate::cloud) async fn credential(&self, fingerprint: &str) -> Result<Option<Credential>, sqlx::Error> {
        let row = sqlx::query(
            "SELECT c.box_id, c.generation, c.first_used_ms FROM credentials c JOIN boxes b ON b.id = c.box_id
             WHERE c.fingerprint = $1 AND NOT c.revoked AND NOT b.revoked",
        )
        .bind(fingerprint)
        .fetch_optional(&self.pool)
        .await?;
        let credential = |row: sqlx::sqlite::SqliteRow| {
            Ok(Credential {
                box_id: row.try_get("box_id")?,
                generation: u32::try_from(row.try_get::<i64, _>("generation")?).unwrap_or(0),
                fingerprint: fingerprint.to_owned(),
                is_used: row.try_get::<Option<i64>, _>("first_used_ms")?.is_some(),
            })
        };
        row.map(credential).transpose()
    }

    /// Takes down that a certificate was used: those before it hold no longer, and the enrolment that made it is over. Whether
    /// any did hold.
    pub(in crate::cloud) async fn used(&self, credential: &Credential, now_ms: i64) -> Result<bool, sqlx::Error> {
        let mut tx = self.transaction().await?;
        sqlx::query("UPDATE credentials SET first_used_ms = $2 WHERE fingerprint = $1 AND first_used_ms IS NULL")
            .bind(&credential.fingerprint)
            .bind(now_ms)
            .execute(&mut *tx)
            .await?;
        let ended =
            sqlx::query("UPDATE credentials SET revoked = TRUE WHERE box_id = $1 AND generation < $2 AND NOT revoked")
                .bind(&credential.box_id)
                .bind(i64::from(credential.generation))
                .execute(&mut *tx)
                .await?;
        sqlx::query("UPDATE enrolments SET state = 'done', enrolled = NULL WHERE box_id = $1 AND state = 'enrolled'")
            .bind(&credential.box_id)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(ended.rows_affected() > 0)
    }
}
