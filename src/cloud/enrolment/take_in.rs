//! Where all ways end: the box has an id, a certificate, and a tenant whose it is until it is released.

use prost::Message as _;

use super::rows::{Enrolment, State};
use super::{EnrolError, FETCH_LIFE_MS, check};
use crate::cloud::authority::{Authority, Issued, new_box_id};
use crate::cloud::db::{Database, Tx, add_credential};
use crate::proto::signed;
use crate::proto::v1::Enrolled;
use crate::sys::random_bytes;

/// A box of this tenant with this serial number, from before.
#[derive(Debug, Clone)]
pub(super) struct Former {
    pub id: String,
    pub name: String,
    pub site: String,
    generation: u32,
    /// Turned away or stopped by this cloud, and not because it has left.
    pub is_barred: bool,
}

/// The box that a tenant has or had with this serial number.
pub(super) async fn former(tx: &mut Tx, tenant: &str, serial: &str) -> Result<Option<Former>, EnrolError> {
    let row: Option<(String, String, String, i64, bool)> = sqlx::query_as(
        "SELECT id, name, site, generation, left_ms IS NULL AND (revoked OR suspended IS NOT NULL) FROM boxes
         WHERE tenant = $1 AND serial = $2",
    )
    .bind(tenant)
    .bind(serial)
    .fetch_optional(&mut **tx)
    .await?;
    Ok(row.map(|(id, name, site, generation, is_barred)| Former {
        id,
        name,
        site,
        generation: u32::try_from(generation).unwrap_or(0),
        is_barred,
    }))
}

/// What the box that has this serial number at the portal's tenant is called.
///
/// # Errors
/// Where the database fails.
pub(in crate::cloud) async fn former_name(database: &Database, serial: &str) -> Result<Option<String>, EnrolError> {
    let mut tx = database.transaction().await?;
    Ok(former(&mut tx, super::TENANT, serial).await?.map(|former| former.name))
}

/// Whether a serial number belongs to another tenant.
pub(super) async fn is_locked(tx: &mut Tx, tenant: &str, serial: &str) -> Result<bool, EnrolError> {
    let other: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM tenant_locks WHERE serial = $1 AND tenant <> $2")
        .bind(serial)
        .bind(tenant)
        .fetch_one(&mut **tx)
        .await?;
    Ok(other > 0)
}

/// Books a serial number for a tenant. Whether it was free, or the tenant's already.
///
/// # Errors
/// Where the database fails.
pub(in crate::cloud) async fn reserve(
    database: &Database,
    serial: &str,
    tenant: &str,
    now_ms: i64,
) -> Result<bool, EnrolError> {
    let mut tx = database.transaction().await?;
    lock(&mut tx, serial, tenant, now_ms).await?;
    let is_locked = is_locked(&mut tx, tenant, serial).await?;
    tx.commit().await?;
    Ok(!is_locked)
}

async fn lock(tx: &mut Tx, serial: &str, tenant: &str, now_ms: i64) -> Result<(), EnrolError> {
    sqlx::query("INSERT INTO tenant_locks (serial, tenant, since_ms) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
        .bind(serial)
        .bind(tenant)
        .bind(now_ms)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// The words for whoever wants a box that is another's.
pub(super) const LOCKED: &str =
    "This box belongs to another customer. Whoever had it must release it in their portal first.";

/// Takes the box in whose tenant, site and name stand in the enrolment, or refuses it there.
pub(super) async fn take_in(
    tx: &mut Tx,
    authority: &Authority,
    enrolment: &mut Enrolment,
    now_ms: i64,
) -> Result<(), EnrolError> {
    if is_locked(tx, &enrolment.tenant, &enrolment.serial).await? {
        enrolment.refuse(LOCKED);
        return Ok(());
    }
    let former = former(tx, &enrolment.tenant, &enrolment.serial).await?;
    let box_id = former.as_ref().map_or_else(new_box_id, |former| former.id.clone());
    let generation = former.as_ref().map_or(1, |former| former.generation.saturating_add(1));
    let unlock_secret = random_bytes::<32>().to_vec();
    let issued = authority.issue(check::csr(&enrolment.csr)?, &box_id).map_err(EnrolError::Authority)?;
    match former {
        Some(_) => put_again(tx, enrolment, &box_id, generation, &unlock_secret, now_ms).await?,
        None => put_new(tx, enrolment, &box_id, &issued.fingerprint, &unlock_secret, now_ms).await?,
    }
    add_credential(tx, &box_id, &issued.fingerprint, generation, issued.ends_ms).await?;
    lock(tx, &enrolment.serial, &enrolment.tenant, now_ms).await?;
    let way = match enrolment.way {
        10 => "a code that it showed",
        11 => "its button",
        _ => "a registration code",
    };
    let detail = format!("serial {} by {way}, from {}; certificate {generation}", enrolment.serial, enrolment.address);
    note(tx, now_ms, &box_id, "box_enrolled", &detail).await?;
    let enrolled = Enrolled { tenant: enrolment.tenant.clone(), unlock_secret, ..new(&issued, &box_id, generation) };
    let enrolled = sign(authority, &enrolment.nonce, enrolled)?;
    enrolment.state = State::Enrolled;
    enrolment.box_id = Some(box_id);
    enrolment.enrolled = Some(enrolled.encode_to_vec());
    enrolment.expires_ms = enrolment.expires_ms.max(now_ms.saturating_add(FETCH_LIFE_MS));
    Ok(())
}

/// What a box gets, unsigned; tenant and secret are not in it yet.
pub(super) fn new(issued: &Issued, box_id: &str, generation: u32) -> Enrolled {
    Enrolled {
        box_id: box_id.to_owned(),
        certificate_chain: vec![issued.der.clone()],
        generation,
        renew_after_unix_ms: renew_after(issued, random_bytes()),
        ..Enrolled::default()
    }
}

/// At two thirds of the life, a tenth of that earlier or later: boxes that were taken in together do not renew together.
fn renew_after(issued: &Issued, random: [u8; 2]) -> u64 {
    let share = i64::from(u16::from_be_bytes(random));
    let two_thirds = (issued.ends_ms - issued.begins_ms) * 2 / 3;
    let after = two_thirds * 9 / 10 + two_thirds / 5 * share / i64::from(u16::MAX);
    u64::try_from(issued.begins_ms + after).unwrap_or(0)
}

/// Signs what a box gets for the request with this nonce.
pub(super) fn sign(authority: &Authority, nonce: &[u8], mut enrolled: Enrolled) -> Result<Enrolled, EnrolError> {
    enrolled.signature = authority.sign_message(&signed::enrolled(nonce, &enrolled)).map_err(EnrolError::Authority)?;
    Ok(enrolled)
}

/// For the people who run the cloud.
pub(super) async fn note(tx: &mut Tx, at_ms: i64, box_id: &str, kind: &str, detail: &str) -> Result<(), EnrolError> {
    sqlx::query("INSERT INTO events (at_ms, box_id, kind, detail) VALUES ($1, $2, $3, $4)")
        .bind(at_ms)
        .bind(box_id)
        .bind(kind)
        .bind(detail)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

async fn put_new(
    tx: &mut Tx,
    enrolment: &Enrolment,
    box_id: &str,
    fingerprint: &str,
    unlock_secret: &[u8],
    now_ms: i64,
) -> Result<(), EnrolError> {
    // A site without a name is the box's own.
    let site = if enrolment.site.is_empty() { box_id } else { &enrolment.site };
    sqlx::query(
        "INSERT INTO boxes (id, name, site, fingerprint, created_ms, enrolled_ms, serial, model, bound_key, unlock_secret,
         tenant) VALUES ($1, $2, $3, $4, $5, $5, $6, $7, $8, $9, $10)",
    )
    .bind(box_id)
    .bind(&enrolment.name)
    .bind(site)
    .bind(fingerprint)
    .bind(now_ms)
    .bind(&enrolment.serial)
    .bind(&enrolment.model)
    .bind(&enrolment.bound_key)
    .bind(unlock_secret)
    .bind(&enrolment.tenant)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// The same box after a reset. It begins new epochs, so what was decided of the old ones does not hold; what it has delivered
/// stays.
async fn put_again(
    tx: &mut Tx,
    enrolment: &Enrolment,
    box_id: &str,
    generation: u32,
    unlock_secret: &[u8],
    now_ms: i64,
) -> Result<(), EnrolError> {
    sqlx::query("UPDATE credentials SET revoked = TRUE WHERE box_id = $1").bind(box_id).execute(&mut **tx).await?;
    sqlx::query(
        "UPDATE boxes SET name = $2, site = CASE WHEN $3 = '' THEN site ELSE $3 END, generation = $4, bound_key = $5,
         unlock_secret = $6, model = $7, enrolled_ms = $8, revoked = FALSE, suspended = NULL, suspended_detail = '',
         boots = '[]', released_epoch = NULL, released_seq = NULL, fork_epoch = NULL, fork_seq = NULL, fork_told = 0,
         recoveries_left = 2, recovered_csr = NULL, recovery_allowed = FALSE, contact_counter = 0, contact_boot = '', leaving_since_ms = NULL,
         leaving_told_ms = NULL, left_ms = NULL, left_how = '' WHERE id = $1",
    )
    .bind(box_id)
    .bind(&enrolment.name)
    .bind(&enrolment.site)
    .bind(i64::from(generation))
    .bind(&enrolment.bound_key)
    .bind(unlock_secret)
    .bind(&enrolment.model)
    .bind(now_ms)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_renew_at_two_thirds_of_the_life_a_tenth_earlier_or_later() {
        const DAY_MS: i64 = 86_400_000;
        let issued = Issued {
            der: Vec::new(),
            pem: String::new(),
            fingerprint: String::new(),
            begins_ms: 0,
            ends_ms: 90 * DAY_MS,
        };
        let day = |random| renew_after(&issued, random) / 86_400_000;
        assert_eq!((day([0, 0]), day([0x80, 0]), day([255, 255])), (54, 60, 66));
    }
}
