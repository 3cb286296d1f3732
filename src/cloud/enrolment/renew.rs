//! The life of a box's certificates: a new one before the old one ends, a way back after it has ended, and what else its people
//! need for that.

use super::take_in::{new, note, sign};
use super::{EnrolError, Why, check, limits, refused};
use crate::cloud::authority::Authority;
use crate::cloud::db::{Credential, Database, Tx, add_credential};
use crate::enroll::{letters, unlock};
use crate::proto::signed;
use crate::proto::v1::{Enrolled, RecoverReply, RecoverRequest, RenewCertificateRequest};

/// A box that was not heard of for so long comes back only if a person allows it: 13 months, in milliseconds.
const AWAY_MAX_MS: i64 = 395 * 86_400_000;

/// What renewals and recoveries must know of a box.
#[derive(Debug, Clone, sqlx::FromRow)]
struct Row {
    bound_key: Option<Vec<u8>>,
    generation: i64,
    tenant: String,
    enrolled_ms: i64,
    last_poll_ms: Option<i64>,
    recoveries_left: i64,
    recovery_allowed: bool,
    recovered_csr: Option<Vec<u8>>,
    is_barred: bool,
}

async fn of_box(tx: &mut Tx, box_id: &str) -> Result<Option<Row>, EnrolError> {
    let row = sqlx::query_as(
        "SELECT bound_key, generation, tenant, enrolled_ms, last_poll_ms, recoveries_left, recovery_allowed, recovered_csr,
                revoked OR suspended IS NOT NULL AS is_barred
         FROM boxes WHERE id = $1",
    );
    Ok(row.bind(box_id).fetch_optional(&mut **tx).await?)
}

/// Makes the next certificate of a box. Those before it hold until it is used.
async fn next(
    tx: &mut Tx,
    authority: &Authority,
    box_id: &str,
    row: &Row,
    csr: &[u8],
    nonce: &[u8],
) -> Result<Enrolled, EnrolError> {
    let generation = u32::try_from(row.generation).unwrap_or(u32::MAX).saturating_add(1);
    let issued = authority.issue(check::csr(csr)?, box_id).map_err(EnrolError::Authority)?;
    add_credential(tx, box_id, &issued.fingerprint, generation, issued.ends_ms).await?;
    sqlx::query("UPDATE boxes SET generation = $2 WHERE id = $1")
        .bind(box_id)
        .bind(i64::from(generation))
        .execute(&mut **tx)
        .await?;
    sign(authority, nonce, Enrolled { tenant: row.tenant.clone(), ..new(&issued, box_id, generation) })
}

/// A new certificate for a box that has one.
///
/// # Errors
/// Where the request does not prove itself, or came before.
pub(in crate::cloud) async fn renew(
    database: &Database,
    authority: &Authority,
    box_id: &str,
    request: &RenewCertificateRequest,
    now_ms: i64,
) -> Result<Enrolled, EnrolError> {
    check::nonce(&request.nonce)?;
    check::csr(&request.csr)?;
    let mut tx = database.transaction().await?;
    let unknown = || refused(Why::Unknown, "there is no such box");
    let row = of_box(&mut tx, box_id).await?.ok_or_else(unknown)?;
    let Some(bound_key) = &row.bound_key else {
        return Err(refused(Why::Forbidden, "this box was taken in by files and has no bound key: enrol it anew"));
    };
    check::signature(bound_key, &signed::renew(&request.nonce, &request.csr), &request.signature)?;
    limits::take_nonce(&mut tx, &request.nonce, now_ms).await?;
    let enrolled = next(&mut tx, authority, box_id, &row, &request.csr, &request.nonce).await?;
    tx.commit().await?;
    Ok(enrolled)
}

/// Whether a box may try again, and a new certificate where it asks for one. `caller` is the credential of the connection.
///
/// # Errors
/// Where the request is not what the contract says, or came before. That a box may not come back is no error.
pub(in crate::cloud) async fn recover(
    database: &Database,
    authority: &Authority,
    caller: Option<&Credential>,
    request: &RecoverRequest,
    now_ms: i64,
) -> Result<RecoverReply, EnrolError> {
    check::nonce(&request.nonce)?;
    let no = |message: &str| Ok(RecoverReply { message: message.to_owned(), ..RecoverReply::default() });
    let mut tx = database.transaction().await?;
    let is_caller = caller.is_some_and(|caller| caller.box_id == request.box_id);
    let row = of_box(&mut tx, &request.box_id).await?;
    let message = signed::recover(&request.nonce, request.generation, &request.box_id, &request.csr);
    let has_signed = row
        .as_ref()
        .and_then(|row| row.bound_key.as_deref())
        .is_some_and(|key| check::signature(key, &message, &request.signature).is_ok());
    // A box that is none of ours, and one that is another: the same answer.
    let Some(row) = row.filter(|_| has_signed || (is_caller && request.csr.is_empty())) else { return no("") };
    if row.is_barred {
        return no("This box was turned away or stopped: somebody must enable it in the portal.");
    }
    if !holds(&mut tx, &request.box_id, request.generation).await? {
        return no("This certificate was replaced by a newer one: the box must use that, or be enrolled anew.");
    }
    let ticket = signed::retry(&request.nonce, request.generation, &request.box_id);
    let ticket = authority.sign_message(&ticket).map_err(EnrolError::Authority)?;
    if request.csr.is_empty() {
        return Ok(RecoverReply { ticket, ..RecoverReply::default() });
    }
    check::csr(&request.csr)?;
    limits::take_nonce(&mut tx, &request.nonce, now_ms).await?;
    let enrolled = match come_back(&mut tx, authority, &row, request, now_ms).await? {
        Ok(enrolled) => enrolled,
        Err(why) => {
            tx.commit().await?;
            return no(why);
        }
    };
    tx.commit().await?;
    Ok(RecoverReply { ticket, enrolled: Some(enrolled), message: String::new() })
}

/// Whether a box has a certificate of this generation that was not replaced.
async fn holds(tx: &mut Tx, box_id: &str, generation: u32) -> Result<bool, EnrolError> {
    let found: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM credentials WHERE box_id = $1 AND generation = $2 AND NOT revoked")
            .bind(box_id)
            .bind(i64::from(generation))
            .fetch_one(&mut **tx)
            .await?;
    Ok(found > 0)
}

/// A certificate for a box whose own has ended, or why not.
async fn come_back(
    tx: &mut Tx,
    authority: &Authority,
    row: &Row,
    request: &RecoverRequest,
    now_ms: i64,
) -> Result<Result<Enrolled, &'static str>, EnrolError> {
    let csr = signed::sha256(&request.csr);
    // The same request again: the answer was lost on its way.
    let is_again = row.recovered_csr.as_deref() == Some(csr.as_slice());
    let last_seen_ms = row.last_poll_ms.unwrap_or(0).max(row.enrolled_ms);
    let is_long_away = now_ms - last_seen_ms > AWAY_MAX_MS;
    if !is_again && row.recoveries_left <= 0 {
        return Ok(Err("This box has come back by itself too often: somebody must allow one more in the portal."));
    }
    if is_long_away && !row.recovery_allowed && !is_again {
        return Ok(Err(
            "This box was away for more than 13 months: somebody must allow in the portal that it comes back.",
        ));
    }
    let enrolled = next(tx, authority, &request.box_id, row, &request.csr, &request.nonce).await?;
    if !is_again {
        sqlx::query(
            "UPDATE boxes SET recoveries_left = recoveries_left - 1, recovery_allowed = FALSE, recovered_csr = $2
             WHERE id = $1",
        )
        .bind(&request.box_id)
        .bind(csr.to_vec())
        .execute(&mut **tx)
        .await?;
        note(tx, now_ms, &request.box_id, "box_recovered", &format!("certificate {}", enrolled.generation)).await?;
    }
    Ok(Ok(enrolled))
}

/// Allows a box to come back once more by itself, also after more than 13 months. Whether there is such a box.
///
/// # Errors
/// Where the database fails.
pub(in crate::cloud) async fn allow_recovery(
    database: &Database,
    box_id: &str,
    now_ms: i64,
) -> Result<bool, EnrolError> {
    let mut tx = database.transaction().await?;
    let done = sqlx::query(
        "UPDATE boxes SET recoveries_left = recoveries_left + 1, recovery_allowed = TRUE
         WHERE id = $1 AND bound_key IS NOT NULL AND left_ms IS NULL",
    )
    .bind(box_id)
    .execute(&mut *tx)
    .await?;
    if done.rows_affected() > 0 {
        note(&mut tx, now_ms, box_id, "recovery_allowed", "").await?;
    }
    tx.commit().await?;
    Ok(done.rows_affected() > 0)
}

/// The answer to the challenge that the console of a disabled box shows. That it was given is noted.
///
/// # Errors
/// In words, where the challenge is none, or the box has no unlock secret.
pub(in crate::cloud) async fn unlock_answer(
    database: &Database,
    box_id: &str,
    challenge: &str,
    now_ms: i64,
) -> Result<String, EnrolError> {
    let Some(letters) = letters::parse(challenge, unlock::LETTERS) else {
        let words = "The challenge is eight letters, as WDJB-MJHT: compare it with the console of the box.";
        return Err(refused(Why::Invalid, words));
    };
    let mut tx = database.transaction().await?;
    let found: Option<(Option<Vec<u8>>, i64)> = sqlx::query_as(
        "SELECT b.unlock_secret,
                COALESCE((SELECT MAX(generation) FROM credentials c
                          WHERE c.box_id = b.id AND NOT c.revoked AND c.first_used_ms IS NOT NULL), b.generation)
         FROM boxes b WHERE b.id = $1",
    )
    .bind(box_id)
    .fetch_optional(&mut *tx)
    .await?;
    let Some((Some(secret), generation)) = found else {
        return Err(refused(Why::Unknown, "This box has no unlock secret: it was taken in by files. Enrol it anew."));
    };
    note(&mut tx, now_ms, box_id, "unlock_answered", &letters::grouped(&letters)).await?;
    tx.commit().await?;
    Ok(unlock::answer(&secret, &letters, u32::try_from(generation).unwrap_or(0)))
}
