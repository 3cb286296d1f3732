//! The end: a box was reset and leaves, or somebody in the portal releases it, so that it may become somebody else's.

use super::EnrolError;
use super::take_in::note;
use crate::cloud::authority::Authority;
use crate::cloud::db::{Credential, Database, Tx};
use crate::proto::signed;
use crate::proto::v1::Decommission;

/// A box that was told of its release and has not polled for so long has gone, though its farewell did not arrive.
const GONE_AFTER_MS: i64 = 3_600 * 1_000;
/// One that could not be told for so long (it is broken, or in a drawer) is released all the same: it is refused when it comes.
const UNTOLD_MAX_MS: i64 = 30 * 86_400_000;

/// The box says that it forgets who it is. It stays its tenant's, unless it was released; its readings stay.
///
/// # Errors
/// Where the database fails.
pub(in crate::cloud) async fn leave(
    database: &Database,
    box_id: &str,
    pending: u64,
    now_ms: i64,
) -> Result<(), EnrolError> {
    let mut tx = database.transaction().await?;
    let released: Option<Option<i64>> = sqlx::query_scalar("SELECT leaving_since_ms FROM boxes WHERE id = $1")
        .bind(box_id)
        .fetch_optional(&mut *tx)
        .await?;
    let lost = match pending {
        0 => "nothing that it had accepted is lost".to_owned(),
        1 => "1 reading that it had accepted is lost".to_owned(),
        pending => format!("{pending} readings that it had accepted are lost"),
    };
    if released.flatten().is_some() {
        end_release(&mut tx, box_id, &lost, now_ms).await?;
    } else {
        end(&mut tx, box_id, "reset", now_ms).await?;
        note(&mut tx, now_ms, box_id, "box_left", &format!("somebody has reset it; {lost}")).await?;
    }
    tx.commit().await?;
    Ok(())
}

async fn end(tx: &mut Tx, box_id: &str, how: &str, now_ms: i64) -> Result<(), EnrolError> {
    sqlx::query("UPDATE credentials SET revoked = TRUE WHERE box_id = $1").bind(box_id).execute(&mut **tx).await?;
    sqlx::query(
        "UPDATE boxes SET revoked = TRUE, left_ms = $2, left_how = $3, leaving_since_ms = NULL, leaving_told_ms = NULL,
         suspended = NULL, suspended_detail = '' WHERE id = $1",
    )
    .bind(box_id)
    .bind(now_ms)
    .bind(how)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

async fn end_release(tx: &mut Tx, box_id: &str, words: &str, now_ms: i64) -> Result<(), EnrolError> {
    end(tx, box_id, "released", now_ms).await?;
    sqlx::query(
        "DELETE FROM tenant_locks WHERE EXISTS (SELECT 1 FROM boxes b
         WHERE b.id = $1 AND b.serial = tenant_locks.serial AND b.tenant = tenant_locks.tenant)",
    )
    .bind(box_id)
    .execute(&mut **tx)
    .await?;
    note(tx, now_ms, box_id, "box_left", &format!("it was released; {words}")).await
}

/// Somebody releases a box: it is told so until it leaves. Whether there is such a box that has not left.
///
/// # Errors
/// Where the database fails.
pub(in crate::cloud) async fn mark_leaving(database: &Database, box_id: &str, now_ms: i64) -> Result<bool, EnrolError> {
    let mut tx = database.transaction().await?;
    let done = sqlx::query(
        "UPDATE boxes SET leaving_since_ms = $2 WHERE id = $1 AND left_ms IS NULL AND leaving_since_ms IS NULL",
    )
    .bind(box_id)
    .bind(now_ms)
    .execute(&mut *tx)
    .await?;
    if done.rows_affected() > 0 {
        note(&mut tx, now_ms, box_id, "box_to_leave", "somebody has released it").await?;
    }
    tx.commit().await?;
    Ok(done.rows_affected() > 0)
}

/// What a box is told at a poll, where it was released.
///
/// # Errors
/// Where database or signing fail.
pub(in crate::cloud) async fn decommission(
    database: &Database,
    authority: &Authority,
    credential: &Credential,
    now_ms: i64,
) -> Result<Option<Decommission>, EnrolError> {
    if !database.is_leaving(&credential.box_id).await? {
        return Ok(None);
    }
    let message = signed::decommission(credential.generation, &credential.box_id);
    let signature = authority.sign_message(&message).map_err(EnrolError::Authority)?;
    let mut tx = database.transaction().await?;
    sqlx::query("UPDATE boxes SET leaving_told_ms = $2 WHERE id = $1 AND leaving_since_ms IS NOT NULL")
        .bind(&credential.box_id)
        .bind(now_ms)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(Some(Decommission { signature }))
}

/// Ends the releases of boxes that have gone without a farewell, and of such that cannot be told.
///
/// # Errors
/// Where the database fails.
pub(in crate::cloud) async fn finish_releases(database: &Database, now_ms: i64) -> Result<(), EnrolError> {
    let mut tx = database.transaction().await?;
    let gone: Vec<String> = sqlx::query_scalar(
        "SELECT id FROM boxes WHERE leaving_since_ms IS NOT NULL AND (leaving_told_ms < $1 OR leaving_since_ms < $2)",
    )
    .bind(now_ms - GONE_AFTER_MS)
    .bind(now_ms - UNTOLD_MAX_MS)
    .fetch_all(&mut *tx)
    .await?;
    for box_id in gone {
        end_release(&mut tx, &box_id, "it has not been heard of since", now_ms).await?;
    }
    tx.commit().await?;
    Ok(())
}
