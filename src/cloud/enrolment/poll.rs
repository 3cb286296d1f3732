//! PollEnrollment and ConfirmPresence: what became of it, and that somebody stands before the box.

use prost::Message as _;

use super::rows::{self, Enrolment, State};
use super::{EnrolError, Why, check, refused, take_in, window};
use crate::cloud::authority::Authority;
use crate::cloud::db::{Database, Tx};
use crate::proto::signed;
use crate::proto::v1::{ConfirmPresenceRequest, Enrolled, EnrollmentState, PollEnrollmentReply, PollEnrollmentRequest};

/// Who polls too often is told to wait so much longer each time (RFC 8628 section 3.5), up to that, in seconds.
const SLOW_DOWN_S: u32 = 5;
const POLL_MAX_S: u32 = 60;
/// A poll may come so much early, in milliseconds: networks are not even.
const EARLY_MS: i64 = 1_000;

async fn found(tx: &mut Tx, id: &[u8], message: &[u8], signature: &[u8], now_ms: i64) -> Result<Enrolment, EnrolError> {
    let unknown = || refused(Why::Unknown, "there is no such enrolment, or it is long over: begin anew");
    let enrolment = rows::by_id(tx, id, now_ms).await?.ok_or_else(unknown)?;
    check::signature(&enrolment.bound_key, message, signature)?;
    Ok(enrolment)
}

/// What became of an enrolment.
///
/// # Errors
/// Where there is none such, or the poll is not the box's, or came before.
pub(in crate::cloud) async fn poll(
    database: &Database,
    request: &PollEnrollmentRequest,
    now_ms: i64,
) -> Result<PollEnrollmentReply, EnrolError> {
    let mut tx = database.transaction().await?;
    let message = signed::enrol_poll(&request.enrollment, request.count);
    let mut enrolment = found(&mut tx, &request.enrollment, &message, &request.signature, now_ms).await?;
    if request.count <= enrolment.count {
        return Err(refused(Why::Again, "this poll came before: each has a higher count than those before it"));
    }
    if enrolment.state == State::Waiting && enrolment.way == 11 {
        window::meet(&mut tx, &enrolment.serial, now_ms).await?;
        enrolment = rows::by_id(&mut tx, &enrolment.id, now_ms).await?.unwrap_or(enrolment);
    }
    enrolment.poll_s = next_poll_s(enrolment.poll_s, now_ms - enrolment.polled_ms);
    (enrolment.count, enrolment.polled_ms) = (request.count, now_ms);
    // What is too late stays what it was in the database, and is too late whenever it is looked at.
    if enrolment.state != State::Expired {
        rows::put(&mut tx, &enrolment).await?;
    }
    tx.commit().await?;
    Ok(reply(&enrolment))
}

/// The time between polls from now on, in seconds, where the last came `after_ms` after the one before.
fn next_poll_s(poll_s: u32, after_ms: i64) -> u32 {
    let is_early = after_ms + EARLY_MS < i64::from(poll_s) * 1_000;
    if is_early { (poll_s + SLOW_DOWN_S).min(POLL_MAX_S) } else { poll_s }
}

fn reply(enrolment: &Enrolment) -> PollEnrollmentReply {
    let (state, message) = match enrolment.state {
        State::Waiting => (EnrollmentState::Waiting, ""),
        State::Press => (EnrollmentState::Press, "Press the button of the box."),
        State::Number => (EnrollmentState::Number, "Say in the portal how often the LED blinks."),
        State::Enrolled => (EnrollmentState::Enrolled, ""),
        State::Done => (EnrollmentState::Expired, "The box has used its certificate: this is over."),
        State::Refused => (EnrollmentState::Refused, enrolment.message.as_str()),
        State::Expired => (EnrollmentState::Expired, "Nobody has decided in time: begin anew."),
    };
    let enrolled = enrolment.enrolled.as_deref().filter(|_| enrolment.state == State::Enrolled);
    PollEnrollmentReply {
        state: state.into(),
        number: if enrolment.state == State::Number { enrolment.number } else { 0 },
        poll_s: enrolment.poll_s,
        enrolled: enrolled.and_then(|bytes| Enrolled::decode(bytes).ok()),
        message: message.to_owned(),
    }
}

/// Somebody has pressed the button of a box that somebody in the portal wants. Said twice, it is said once.
///
/// # Errors
/// Where there is no such enrolment, the words are not the box's, or nobody wants the box.
pub(in crate::cloud) async fn confirm(
    database: &Database,
    authority: &Authority,
    request: &ConfirmPresenceRequest,
    now_ms: i64,
) -> Result<(), EnrolError> {
    let mut tx = database.transaction().await?;
    let message = signed::presence(&request.enrollment);
    let mut enrolment = found(&mut tx, &request.enrollment, &message, &request.signature, now_ms).await?;
    match enrolment.state {
        State::Enrolled | State::Done => return Ok(()),
        State::Press => {}
        _ => return Err(refused(Why::Forbidden, "nobody in the portal waits for the button of this box")),
    }
    take_in::take_in(&mut tx, authority, &mut enrolment, now_ms).await?;
    rows::put(&mut tx, &enrolment).await?;
    tx.commit().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_polls_too_often_is_told_to_slow_down() {
        assert_eq!((next_poll_s(5, 5_000), next_poll_s(5, 4_000), next_poll_s(5, 3_999)), (5, 5, 10));
        assert_eq!((next_poll_s(58, 0), next_poll_s(60, 0)), (60, 60));
    }
}
