//! One-off codes that the portal makes and somebody types at the console of a box.

use super::rows::{self, Enrolment};
use super::{EnrolError, REGISTRATION_LIFE_MS, TENANT, Why, check, limits, refused, take_in};
use crate::cloud::authority::Authority;
use crate::cloud::db::{Database, Tx};
use crate::enroll::letters;
use crate::proto::signed;
use crate::sys::random_bytes;

/// Makes a code, as "XXXX-XXXX-XXXX-XXXX": for one box, within a day, at one site (empty: the box is alone), perhaps only for one
/// serial number. It is shown once; only its hash is kept.
///
/// # Errors
/// In words, where site, name or serial number cannot be used.
pub(in crate::cloud) async fn make_code(
    database: &Database,
    site: &str,
    name: &str,
    serial: Option<&str>,
    now_ms: i64,
) -> Result<String, EnrolError> {
    let is_empty_or_name = |text: &str| text.trim().is_empty() || check::is_name(text);
    if !is_empty_or_name(site) || !is_empty_or_name(name) {
        return Err(refused(Why::Invalid, "Name and site have at most 64 characters."));
    }
    let serial = serial.map(str::trim).filter(|serial| !serial.is_empty());
    if serial.is_some_and(|serial| !check::is_serial(serial)) {
        return Err(refused(Why::Invalid, "The serial number is 1 to 32 letters, digits and dashes, as on the label."));
    }
    let code = letters::from_random(random_bytes(), check::REGISTRATION_LETTERS);
    let mut tx = database.transaction().await?;
    limits::purge(&mut tx, now_ms).await?;
    sqlx::query(
        "INSERT INTO registration_codes (sha256, tenant, site, name, serial, created_ms, expires_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    // It has 69 bits: a plain hash does not give it away.
    .bind(signed::sha256(code.as_bytes()).to_vec())
    .bind(TENANT)
    .bind(site.trim())
    .bind(name.trim())
    .bind(serial)
    .bind(now_ms)
    .bind(now_ms.saturating_add(REGISTRATION_LIFE_MS))
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(letters::grouped(&code))
}

/// Takes a box in whose console was given a code, or refuses it; why exactly, is not told.
pub(super) async fn redeem(
    tx: &mut Tx,
    authority: &Authority,
    mut enrolment: Enrolment,
    code: &str,
    now_ms: i64,
) -> Result<(), EnrolError> {
    let who = [format!("address:{}", enrolment.address), format!("serial:{}", enrolment.serial)];
    let who = [who[0].as_str(), who[1].as_str()];
    let is_guessing = limits::is_guessing(tx, &who, now_ms).await?;
    let hash = signed::sha256(code.as_bytes()).to_vec();
    let found: Option<(String, String, String)> = sqlx::query_as(
        "SELECT tenant, site, name FROM registration_codes
         WHERE sha256 = $1 AND used_ms IS NULL AND expires_ms > $2 AND (serial IS NULL OR serial = $3)",
    )
    .bind(&hash)
    .bind(now_ms)
    .bind(&enrolment.serial)
    .fetch_optional(&mut **tx)
    .await?;
    match found {
        Some((tenant, site, name)) if !is_guessing => {
            let former = take_in::former(tx, &tenant, &enrolment.serial).await?;
            if former.as_ref().is_some_and(|former| former.is_barred) {
                enrolment.refuse("This box was turned away or stopped: somebody must enable it in the portal first.");
            } else {
                let name = if name.is_empty() { former.map(|former| former.name).unwrap_or_default() } else { name };
                enrolment.name = if name.is_empty() { enrolment.serial.clone() } else { name };
                (enrolment.tenant, enrolment.site) = (tenant, site);
                take_in::take_in(tx, authority, &mut enrolment, now_ms).await?;
            }
        }
        _ => {
            if !is_guessing {
                limits::add_wrong(tx, &who, now_ms).await?;
            }
            enrolment.refuse("This code is not valid: it was mistyped, used before, is older than a day, or for another box. After five wrong ones none is taken for a quarter of an hour.");
        }
    }
    if enrolment.box_id.is_some() {
        sqlx::query("UPDATE registration_codes SET used_ms = $2 WHERE sha256 = $1")
            .bind(&hash)
            .bind(now_ms)
            .execute(&mut **tx)
            .await?;
    }
    rows::put(tx, &enrolment).await
}
