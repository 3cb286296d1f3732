//! StartEnrollment: a box asks to become somebody's.

use std::net::IpAddr;

use super::rows::{self, Enrolment, State};
use super::{BUTTON_LIFE_MS, CODE_LIFE_MS, EnrolError, Why, check, limits, refused, registration, window};
use crate::cloud::authority::Authority;
use crate::cloud::db::{Database, Tx};
use crate::enroll::letters;
use crate::proto::v1::start_enrollment_request::Way;
use crate::proto::v1::{StartEnrollmentReply, StartEnrollmentRequest};
use crate::sys::{random_bytes, random_hex};

/// Letters of a code that a box shows.
pub(super) const USER_CODE_LETTERS: usize = 8;
/// Time between two polls, in seconds (RFC 8628 section 3.5); for a button shorter, as its window is.
const POLL_S: u32 = 5;
const BUTTON_POLL_S: u32 = 2;

/// Takes a request down. What is decided at once, the box learns at its first poll.
///
/// # Errors
/// Where it is not what the contract says, does not prove itself, came before, or there are too many.
pub(in crate::cloud) async fn start(
    database: &Database,
    authority: &Authority,
    request: &StartEnrollmentRequest,
    address: IpAddr,
    portal_url: &str,
    now_ms: i64,
) -> Result<StartEnrollmentReply, EnrolError> {
    let way = check::start(request)?;
    let address = address.to_canonical().to_string();
    let mut tx = database.transaction().await?;
    limits::purge(&mut tx, now_ms).await?;
    limits::take_nonce(&mut tx, &request.nonce, now_ms).await?;
    limits::check_room(&mut tx, &address, now_ms).await?;
    rows::supersede(&mut tx, &request.bound_key).await?;
    let (number, life_ms, poll_s, label_proof) = match way {
        Way::ShowCode(_) => (10, CODE_LIFE_MS, POLL_S, Vec::new()),
        Way::ButtonHeld(held) => (11, BUTTON_LIFE_MS, BUTTON_POLL_S, held.label_proof.clone()),
        Way::RegistrationCode(_) => (12, BUTTON_LIFE_MS, BUTTON_POLL_S, Vec::new()),
    };
    let user_code = match way {
        Way::ShowCode(_) => Some(free_code(&mut tx).await?),
        _ => None,
    };
    let enrolment = Enrolment {
        id: random_bytes::<32>().to_vec(),
        reference: random_hex(16),
        nonce: request.nonce.clone(),
        bound_key: request.bound_key.clone(),
        serial: request.serial.clone(),
        model: request.model.clone(),
        firmware: request.firmware_version.clone(),
        csr: request.csr.clone(),
        address,
        way: number,
        label_proof,
        user_code,
        created_ms: now_ms,
        expires_ms: now_ms.saturating_add(life_ms),
        polled_ms: now_ms,
        count: 0,
        poll_s,
        state: State::Waiting,
        number: 0,
        message: String::new(),
        tenant: String::new(),
        site: String::new(),
        name: String::new(),
        box_id: None,
        enrolled: None,
    };
    rows::insert(&mut tx, &enrolment).await?;
    let user_code = enrolment.user_code.as_deref().map(letters::grouped);
    let id = enrolment.id.clone();
    match way {
        Way::ShowCode(_) => {}
        Way::ButtonHeld(_) => window::meet(&mut tx, &request.serial, now_ms).await?,
        Way::RegistrationCode(it) => registration::redeem(&mut tx, authority, enrolment, &it.code, now_ms).await?,
    }
    tx.commit().await?;
    Ok(StartEnrollmentReply {
        enrollment: id,
        portal_url: if user_code.is_some() { portal_url.to_owned() } else { String::new() },
        user_code: user_code.unwrap_or_default(),
        expires_s: u32::try_from(life_ms / 1_000).unwrap_or(0),
        poll_s,
    })
}

/// A code that no open enrolment has.
async fn free_code(tx: &mut Tx) -> Result<String, EnrolError> {
    // Of 2.5 * 10^10 codes at most 4,096 are taken: two tries fail together never.
    for _ in 0..4 {
        let code = letters::from_random(random_bytes(), USER_CODE_LETTERS);
        let taken: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM enrolments WHERE user_code = $1")
            .bind(&code)
            .fetch_one(&mut **tx)
            .await?;
        if taken == 0 {
            return Ok(code);
        }
    }
    Err(refused(Why::TooMany, "no code is free at the moment: try again"))
}
