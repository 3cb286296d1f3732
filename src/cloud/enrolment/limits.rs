//! What keeps guessers slow and tables small.

use super::{EnrolError, Why, refused};
use crate::cloud::db::Tx;

/// So many wrong codes by one account, address or serial number …
const WRONG_MAX: i64 = 5;
/// … in so long, and no code of theirs is looked at.
const WRONG_SPAN_MS: i64 = 15 * 60 * 1_000;
/// How long a nonce is remembered. What it could be sent again for is over long before.
const NONCE_LIFE_MS: i64 = 30 * 86_400_000;
/// How long an enrolment that is over is remembered.
const OVER_LIFE_MS: i64 = 86_400_000;
/// Open enrolments of one address, and of all.
const OPEN_OF_ADDRESS_MAX: i64 = 64;
const OPEN_MAX: i64 = 4_096;

/// Drops what is long over.
pub(super) async fn purge(tx: &mut Tx, now_ms: i64) -> Result<(), EnrolError> {
    for (statement, before_ms) in [
        ("DELETE FROM nonces WHERE at_ms < $1", now_ms - NONCE_LIFE_MS),
        ("DELETE FROM wrong_codes WHERE at_ms < $1", now_ms - WRONG_SPAN_MS),
        ("DELETE FROM enrolments WHERE expires_ms < $1", now_ms - OVER_LIFE_MS),
        ("DELETE FROM windows WHERE expires_ms < $1", now_ms - OVER_LIFE_MS),
        ("DELETE FROM registration_codes WHERE expires_ms < $1", now_ms - OVER_LIFE_MS),
        ("UPDATE enrolments SET user_code = NULL WHERE expires_ms <= $1 AND user_code IS NOT NULL", now_ms),
        ("UPDATE enrolments SET enrolled = NULL WHERE expires_ms <= $1 AND enrolled IS NOT NULL", now_ms),
        ("UPDATE windows SET secret = '' WHERE expires_ms <= $1 AND secret <> ''", now_ms),
    ] {
        sqlx::query(statement).bind(before_ms).execute(&mut **tx).await?;
    }
    Ok(())
}

/// Takes a nonce, once.
pub(super) async fn take_nonce(tx: &mut Tx, nonce: &[u8], now_ms: i64) -> Result<(), EnrolError> {
    let done = sqlx::query("INSERT INTO nonces (nonce, at_ms) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .bind(nonce)
        .bind(now_ms)
        .execute(&mut **tx)
        .await?;
    if done.rows_affected() == 0 {
        return Err(refused(Why::Again, "this request came before: make a new one, with a new nonce"));
    }
    Ok(())
}

/// Whether there is room for one more enrolment.
pub(super) async fn check_room(tx: &mut Tx, address: &str, now_ms: i64) -> Result<(), EnrolError> {
    let (of_address, of_all): (i64, i64) = sqlx::query_as(
        "SELECT COUNT(CASE WHEN address = $1 THEN 1 END), COUNT(*) FROM enrolments
         WHERE state IN ('waiting', 'press', 'number') AND expires_ms > $2",
    )
    .bind(address)
    .bind(now_ms)
    .fetch_one(&mut **tx)
    .await?;
    if of_address >= OPEN_OF_ADDRESS_MAX || of_all >= OPEN_MAX {
        return Err(refused(
            Why::TooMany,
            "too many boxes ask to be taken in at the moment: try again in a quarter of an hour",
        ));
    }
    Ok(())
}

/// Whether one of these has guessed too often.
pub(super) async fn is_guessing(tx: &mut Tx, who: &[&str], now_ms: i64) -> Result<bool, EnrolError> {
    let mut is_guessing = false;
    // All are looked up, whatever the first says: the answer takes the same time.
    for who in who {
        let wrong: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM wrong_codes WHERE who = $1 AND at_ms > $2")
            .bind(who)
            .bind(now_ms - WRONG_SPAN_MS)
            .fetch_one(&mut **tx)
            .await?;
        is_guessing |= wrong >= WRONG_MAX;
    }
    Ok(is_guessing)
}

/// Takes a wrong code down.
pub(super) async fn add_wrong(tx: &mut Tx, who: &[&str], now_ms: i64) -> Result<(), EnrolError> {
    for who in who {
        sqlx::query("INSERT INTO wrong_codes (who, at_ms) VALUES ($1, $2)")
            .bind(who)
            .bind(now_ms)
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}
