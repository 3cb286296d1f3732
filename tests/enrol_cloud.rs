//! The cloud's side of enrolment as a box meets it, over real TLS: the three ways in, what attackers try at each, the life of
//! certificates, and the ways out. No test waits: where time matters, the cloud is told that it has passed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed unwrap is a failed test

#[path = "enrol/fake_box.rs"]
mod fake_box;
#[path = "enrol/world.rs"]
mod world;

use std::time::Duration;

use fake_box::{connect, is_refusal};
use platen::enroll::{LabelSecret, letters, unlock};
use platen::proto::signed;
use platen::proto::v1::start_enrollment_request::Way;
use platen::proto::v1::{self, EnrollmentState as State};
use platen::uplink::CloudKey;
use tonic::Code;
use world::{World, label};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_box_is_taken_in_by_the_code_that_it_shows_and_a_press_of_its_button() {
    let world = World::new().await;
    let mut a_box = world.a_box("PL-1");
    let started = a_box.show_code().await;
    assert_eq!((started.expires_s, started.poll_s, started.enrollment.len()), (900, 5, 32));
    assert!(started.portal_url.ends_with("/add"), "{}", started.portal_url);
    assert!(letters::parse(&started.user_code, 8).is_some() && started.user_code.len() == 9);
    assert_eq!(a_box.ask_state().await, State::Waiting);
    assert_eq!(a_box.press().await.unwrap_err().code(), Code::FailedPrecondition);
    // As people type it.
    let typed = started.user_code.to_lowercase().replace('-', " ");
    world.running.approve(&typed, "Reception", "Bonn").await.unwrap();
    assert_eq!(a_box.ask_state().await, State::Press);
    assert_eq!(world.boxes().await, 0);
    a_box.press().await.unwrap();
    a_box.press().await.unwrap();
    let first = a_box.ask().await.enrolled.unwrap();
    assert_eq!((first.generation, first.tenant.as_str(), first.unlock_secret.len()), (1, "default", 32));
    // Repeated until the box has polled as itself.
    let again = a_box.ask().await.enrolled.unwrap();
    assert_eq!(first, again);
    a_box.holds = Some(a_box.take(again));
    a_box.poll().await.unwrap();
    assert_eq!(a_box.ask_state().await, State::Expired);
    assert_eq!(world.kinds(&first.box_id).await, ["box_enrolled"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_box_is_taken_in_by_its_button_and_the_number_that_its_led_blinks() {
    let world = World::new().await;
    for window_first in [true, false] {
        let serial = format!("PL-{window_first}");
        let mut a_box = world.a_box(&serial);
        let window;
        if window_first {
            window = world.window(&serial).await;
            assert_eq!(a_box.hold(&label()).await.expires_s, 120);
        } else {
            a_box.hold(&label()).await;
            assert_eq!(a_box.ask_state().await, State::Waiting);
            window = world.window(&serial).await;
        }
        let reply = a_box.ask().await;
        assert_eq!(reply.state(), State::Number);
        assert!((2..=6).contains(&reply.number));
        assert!(world.running.pick_number(&window, reply.number).await.unwrap());
        let enrolled = a_box.ask().await.enrolled.unwrap();
        let holds = a_box.take(enrolled);
        a_box.poll_with(&holds).await.unwrap();
        // It is over.
        assert!(world.running.pick_number(&window, reply.number).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registration_code_takes_one_box_in_within_a_day() {
    let world = World::new().await;
    let code = world.running.make_registration_code("Bonn", None).await.unwrap();
    assert!(letters::parse(&code, 16).is_some() && code.len() == 19);
    let reply = world.a_box("PL-1").register(&code).await;
    assert_eq!(reply.state(), State::Enrolled);
    let reply = world.a_box("PL-2").register(&code).await;
    assert_eq!((reply.state(), world.boxes().await), (State::Refused, 1), "{}", reply.message);
    let bound = world.running.make_registration_code("Bonn", Some("PL-3")).await.unwrap();
    assert_eq!(world.a_box("PL-4").register(&bound).await.state(), State::Refused);
    assert_eq!(world.a_box("PL-3").register(&bound).await.state(), State::Enrolled);
    let late = world.running.make_registration_code("Bonn", None).await.unwrap();
    world.running.pass(DAY);
    assert_eq!(world.a_box("PL-5").register(&late).await.state(), State::Refused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t_32_a_press_without_a_window_claims_nothing() {
    let world = World::new().await;
    let mut a_box = world.a_box("PL-1");
    a_box.hold(&label()).await;
    // A window for another box, and one for this by somebody who does not have the label.
    world.window("PL-2").await;
    world.running.open_window("PL-1", &LabelSecret::from_bytes([8; 10]).text(), "x", "").await.unwrap();
    for _ in 0..3 {
        let reply = a_box.ask().await;
        assert_eq!((reply.state(), reply.message.as_str()), (State::Waiting, ""));
    }
    world.running.pass(2 * MINUTE);
    assert_eq!(a_box.ask_state().await, State::Expired);
    assert_eq!(world.boxes().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t_32_of_two_boxes_that_claim_one_window_none_is_taken_in() {
    let world = World::new().await;
    let window = world.window("PL-1").await;
    let (mut one, mut other) = (world.a_box("PL-1"), world.a_box("PL-1"));
    one.hold(&label()).await;
    let number = one.ask().await.number;
    other.hold(&label()).await;
    assert_eq!((one.ask_state().await, other.ask_state().await), (State::Refused, State::Refused));
    assert!(world.running.pick_number(&window, number).await.is_err());
    assert_eq!(world.boxes().await, 0);
    // Both were there before the window was opened.
    let (mut one, mut other) = (world.a_box("PL-2"), world.a_box("PL-2"));
    one.hold(&label()).await;
    other.hold(&label()).await;
    world.window("PL-2").await;
    assert_eq!((one.ask_state().await, other.ask_state().await), (State::Refused, State::Refused));
    // The same box that is held again is no second one.
    let window = world.window("PL-3").await;
    let mut again = world.a_box("PL-3");
    again.hold(&label()).await;
    again.hold(&label()).await;
    let number = again.ask().await.number;
    assert!(world.running.pick_number(&window, number).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t_32_a_replayed_claim_is_refused() {
    let world = World::new().await;
    let mut a_box = world.a_box("PL-1");
    let request = a_box.held(&label());
    a_box.start(request.clone()).await.unwrap();
    world.running.pass(3 * MINUTE);
    world.window("PL-1").await;
    let mut client = connect(&world.cloud, None).await.unwrap();
    assert_eq!(client.start_enrollment(request.clone()).await.unwrap_err().code(), Code::AlreadyExists);
    // With another nonce, key or request the proofs do not hold.
    let thief = world.a_box("PL-1");
    let stolen = thief.sealed(vec![9; 32], thief.csr(), request.way.clone().unwrap());
    client.start_enrollment(stolen).await.unwrap();
    let mut forged = request.clone();
    forged.nonce = vec![5; 32];
    assert_eq!(client.start_enrollment(forged).await.unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(world.boxes().await, 0);
    // And a poll is taken once.
    let mut another = world.a_box("PL-9");
    another.show_code().await;
    let poll = another.poll_request();
    client.poll_enrollment(poll.clone()).await.unwrap();
    assert_eq!(client.poll_enrollment(poll).await.unwrap_err().code(), Code::AlreadyExists);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t_32_a_wrong_number_refuses_the_box_and_closes_the_window() {
    let world = World::new().await;
    let window = world.window("PL-1").await;
    let mut a_box = world.a_box("PL-1");
    a_box.hold(&label()).await;
    let number = a_box.ask().await.number;
    assert!(!world.running.pick_number(&window, if number == 6 { 2 } else { number + 1 }).await.unwrap());
    assert_eq!(a_box.ask_state().await, State::Refused);
    assert!(world.running.pick_number(&window, number).await.is_err());
    a_box.hold(&label()).await;
    assert_eq!((a_box.ask_state().await, world.boxes().await), (State::Waiting, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t_32_a_claim_holds_for_two_minutes() {
    let world = World::new().await;
    let window = world.window("PL-1").await;
    let mut a_box = world.a_box("PL-1");
    a_box.hold(&label()).await;
    let number = a_box.ask().await.number;
    world.running.pass(2 * MINUTE);
    assert!(world.running.pick_number(&window, number).await.is_err());
    assert_eq!((a_box.ask_state().await, world.boxes().await), (State::Expired, 0));
    // A window does not stay open for ever either.
    world.running.pass(3 * MINUTE);
    a_box.hold(&label()).await;
    assert_eq!(a_box.ask_state().await, State::Waiting);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_five_wrong_codes_none_is_taken_for_a_quarter_of_an_hour() {
    let world = World::new().await;
    let mut a_box = world.a_box("PL-1");
    let code = a_box.show_code().await.user_code;
    for _ in 0..5 {
        assert!(world.running.approve("BBBB-BBBB", "x", "").await.is_err());
    }
    let error = world.running.approve(&code, "x", "").await.unwrap_err().to_string();
    assert!(error.contains("quarter of an hour"), "{error}");
    world.running.pass(15 * MINUTE);
    let code = a_box.show_code().await.user_code;
    world.running.approve(&code, "x", "").await.unwrap();
    // At the console.
    let registration = world.running.make_registration_code("Bonn", None).await.unwrap();
    for _ in 0..5 {
        assert_eq!(world.a_box("PL-2").register("BBBBBBBBBBBBBBBB").await.state(), State::Refused);
    }
    assert_eq!(world.a_box("PL-2").register(&registration).await.state(), State::Refused);
    // It is the address that guesses, whatever serial numbers it says.
    assert_eq!(world.a_box("PL-3").register(&registration).await.state(), State::Refused);
    world.running.pass(15 * MINUTE);
    assert_eq!(world.a_box("PL-2").register(&registration).await.state(), State::Enrolled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_the_contract_is_refused() {
    let world = World::new().await;
    let mut client = connect(&world.cloud, None).await.unwrap();
    let mut a_box = world.a_box("PL-1");
    let code = |code: &str| Way::RegistrationCode(v1::RegistrationCode { code: code.to_owned() });
    let show = Way::ShowCode(v1::ShowCode {});
    let right = a_box.request(show.clone());
    let mut broken_csr = right.csr.clone();
    *broken_csr.last_mut().unwrap() ^= 1;
    let ed25519 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let csr_of = |key| rcgen::CertificateParams::default().serialize_request(key).unwrap().der().to_vec();
    let (nonce, csr) = (vec![1; 32], right.csr.clone());
    for wrong in [
        v1::StartEnrollmentRequest { way: None, ..right.clone() },
        v1::StartEnrollmentRequest { serial: "A B".to_owned(), ..right.clone() },
        v1::StartEnrollmentRequest { bound_key: vec![1; 31], ..right.clone() },
        v1::StartEnrollmentRequest { model: "x".repeat(65), ..right.clone() },
        a_box.sealed(vec![1; 31], csr.clone(), show.clone()),
        a_box.sealed(nonce.clone(), Vec::new(), show.clone()),
        a_box.sealed(nonce.clone(), vec![0; 3_000], show.clone()),
        a_box.sealed(nonce.clone(), broken_csr, show.clone()),
        a_box.sealed(nonce.clone(), csr_of(&ed25519), show.clone()),
        a_box.sealed(nonce.clone(), csr_of(&p384), show),
        a_box.sealed(nonce.clone(), csr.clone(), code("AAAA")),
        a_box.sealed(nonce, csr, Way::ButtonHeld(v1::ButtonHeld { label_proof: vec![1] })),
    ] {
        assert_eq!(client.start_enrollment(wrong).await.unwrap_err().code(), Code::InvalidArgument);
    }
    assert_eq!(client.start_enrollment(right).await.unwrap().into_inner().user_code.len(), 9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_certificate_every_other_call_is_refused_with_proof() {
    let world = World::new().await;
    let mut client = connect(&world.cloud, None).await.unwrap();
    client.get_time(v1::TimeRequest { nonce: vec![1; 32] }).await.unwrap();
    assert!(is_refusal(&client.poll(v1::PollRequest::default()).await.unwrap_err()));
    assert!(is_refusal(&client.report_task(v1::TaskReport::default()).await.unwrap_err()));
    assert!(is_refusal(&client.leave(v1::LeaveRequest::default()).await.unwrap_err()));
    let renew = v1::RenewCertificateRequest::default();
    assert!(is_refusal(&client.renew_certificate(renew).await.unwrap_err()));
    let nothing = tokio_stream_of_nothing();
    assert!(is_refusal(&client.upload_readings(nothing).await.map(drop).unwrap_err()));
}

fn tokio_stream_of_nothing() -> impl futures_util::Stream<Item = v1::ReadingBatch> + Send + 'static {
    futures_util::stream::empty()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_serial_number_of_another_tenant_is_refused_by_each_way_until_it_is_released() {
    let world = World::new().await;
    assert!(world.running.reserve_serial("PL-1", "other").await.unwrap());
    let mut a_box = world.a_box("PL-1");
    let code = a_box.show_code().await.user_code;
    assert!(world.running.approve(&code, "x", "").await.is_err());
    assert!(world.running.open_window("PL-1", &label().text(), "x", "").await.is_err());
    let code = world.running.make_registration_code("Bonn", None).await.unwrap();
    assert_eq!(a_box.register(&code).await.state(), State::Refused);
    assert_eq!(world.boxes().await, 0);
    // A box that has left after a reset stays its tenant's; one that was released does not.
    let mut ours = world.a_box("PL-2");
    let id = ours.enrol(&world.running, "x", "").await;
    ours.poll().await.unwrap();
    ours.leave(3).await;
    assert!(!world.running.reserve_serial("PL-2", "other").await.unwrap());
    let events = world.running.box_events(&id).await.unwrap();
    assert!(events[0].0 == "box_left" && events[0].1.contains("3 readings"), "{events:?}");
    assert!(is_refusal(&ours.poll().await.unwrap_err()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_box_that_was_reset_is_the_same_box_to_its_tenant() {
    let world = World::new().await;
    let mut before = world.a_box("PL-1");
    let id = before.enrol(&world.running, "Reception", "Bonn").await;
    before.poll().await.unwrap();
    // New bound key, same serial number.
    let mut after = world.a_box("PL-1");
    assert_eq!(after.enrol(&world.running, "Reception", "").await, id);
    assert_eq!(after.holds.as_ref().unwrap().enrolled.generation, 2);
    assert!(is_refusal(&before.poll().await.unwrap_err()));
    after.poll().await.unwrap();
    assert_eq!(world.boxes().await, 1);
    // One that was turned away comes back by a person's word, not by a code alone.
    assert!(world.running.revoke(&id).await.unwrap());
    let code = world.running.make_registration_code("Bonn", None).await.unwrap();
    assert_eq!(world.a_box("PL-1").register(&code).await.state(), State::Refused);
    let mut third = world.a_box("PL-1");
    assert_eq!(third.enrol(&world.running, "Reception", "").await, id);
    third.poll().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_old_certificate_holds_until_the_new_one_was_used() {
    let world = World::new().await;
    let mut a_box = world.a_box("PL-1");
    a_box.enrol(&world.running, "x", "").await;
    a_box.poll().await.unwrap();
    let lost = a_box.renew().await.unwrap();
    let new = a_box.renew().await.unwrap();
    assert_eq!((lost.enrolled.generation, new.enrolled.generation), (2, 3));
    assert!(new.enrolled.unlock_secret.is_empty() && new.enrolled.renew_after_unix_ms > 0);
    // A connection that was open before.
    let mut open = connect(&world.cloud, a_box.holds.as_ref()).await.unwrap();
    a_box.contact += 1;
    open.poll(a_box.poll_as(1)).await.unwrap();
    a_box.poll_with(&new).await.unwrap();
    assert!(is_refusal(&open.poll(a_box.poll_as(1)).await.unwrap_err()));
    assert!(is_refusal(&a_box.poll().await.unwrap_err()));
    assert!(is_refusal(&a_box.poll_with(&lost).await.unwrap_err()));
    a_box.poll_with(&new).await.unwrap();
    // A stranger with the box's certificate, and without its bound key.
    let mut thief = world.a_box("PL-1");
    thief.holds = Some(new);
    assert_eq!(thief.renew().await.map(drop).unwrap_err().code(), Code::FailedPrecondition);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_box_comes_back_twice_by_itself_and_then_by_a_persons_word() {
    let world = World::new().await;
    let mut a_box = world.a_box("PL-1");
    let id = a_box.enrol(&world.running, "x", "").await;
    a_box.poll().await.unwrap();
    for generation in 1..=2 {
        let reply = a_box.recover(generation, true).await;
        let holds = a_box.take(reply.enrolled.expect("it comes back"));
        a_box.poll_with(&holds).await.unwrap();
        a_box.holds = Some(holds);
    }
    let reply = a_box.recover(3, true).await;
    assert!(reply.enrolled.is_none() && reply.message.contains("portal"), "{}", reply.message);
    assert!(world.running.allow_recovery(&id).await.unwrap());
    let reply = a_box.recover(3, true).await;
    let holds = a_box.take(reply.enrolled.expect("it was allowed"));
    a_box.poll_with(&holds).await.unwrap();
    a_box.holds = Some(holds);
    // Too long away.
    assert!(world.running.allow_recovery(&id).await.unwrap());
    a_box.recover(4, true).await.enrolled.expect("it was allowed");
    world.running.pass(396 * DAY);
    assert!(a_box.recover(4, true).await.enrolled.is_none());
    assert!(world.running.allow_recovery(&id).await.unwrap());
    assert!(a_box.recover(4, true).await.enrolled.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_is_for_one_box_and_its_present_certificate() {
    let world = World::new().await;
    let (mut one, mut other) = (world.a_box("PL-1"), world.a_box("PL-2"));
    let id = one.enrol(&world.running, "x", "").await;
    one.poll().await.unwrap();
    let other_id = other.enrol(&world.running, "y", "").await;
    let reply = one.recover(1, false).await;
    let key = CloudKey::in_roots(&world.cloud.pinned_pem.clone().into_bytes()).unwrap();
    assert!(key.has_signed(&signed::retry(&one.nonce, 1, &id), &reply.ticket));
    assert!(one.recover(2, false).await.ticket.is_empty());
    // For another box, by one's own key and certificate.
    let nonce = vec![3; 32];
    let signature = one.sign(&signed::recover(&nonce, 1, &other_id, &[]));
    let request = v1::RecoverRequest { box_id: other_id, generation: 1, nonce, csr: Vec::new(), signature };
    for holds in [None, one.holds.as_ref()] {
        let mut client = connect(&world.cloud, holds).await.unwrap();
        assert!(client.recover(request.clone()).await.unwrap().into_inner().ticket.is_empty());
    }
    // One that was turned away, and enabled again.
    assert!(world.running.revoke(&id).await.unwrap());
    assert!(one.recover(1, true).await.enrolled.is_none());
    assert!(one.recover(1, false).await.ticket.is_empty());
    assert!(world.running.enable(&id).await.unwrap());
    assert!(!one.recover(1, false).await.ticket.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t_01_a_box_that_is_turned_away_is_cut_off_at_its_next_call() {
    let world = World::new().await;
    let mut a_box = world.a_box("PL-1");
    let id = a_box.enrol(&world.running, "x", "").await;
    a_box.poll().await.unwrap();
    let mut open = connect(&world.cloud, a_box.holds.as_ref()).await.unwrap();
    a_box.contact += 1;
    open.poll(a_box.poll_as(1)).await.unwrap();
    world.running.revoke(&id).await.unwrap();
    assert!(is_refusal(&open.poll(a_box.poll_as(1)).await.unwrap_err()));
    assert!(is_refusal(&a_box.poll().await.unwrap_err()));
    assert!(is_refusal(&a_box.renew().await.map(drop).unwrap_err()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t_01_a_copied_box_is_known_by_its_count_of_polls_and_both_are_stopped() {
    let world = World::new().await;
    for is_counted_equal in [true, false] {
        let mut a_box = world.a_box(&format!("PL-{is_counted_equal}"));
        let id = a_box.enrol(&world.running, "x", "").await;
        for _ in 0..3 {
            a_box.poll().await.unwrap();
        }
        // The copy starts from the disk of then.
        let counter = a_box.contact;
        a_box.boot_id = "boot-2".to_owned();
        a_box.contact = if is_counted_equal { counter - 1 } else { counter - 2 };
        let status = a_box.poll().await.unwrap_err();
        assert!(is_refusal(&status) && status.message().contains("box_cloned"), "{status}");
        (a_box.boot_id, a_box.contact) = ("boot-1".to_owned(), counter);
        assert!(is_refusal(&a_box.poll().await.unwrap_err()), "the original is stopped too");
        assert!(a_box.recover(1, true).await.enrolled.is_none());
        assert!(world.running.release(&id).await.unwrap());
        a_box.poll().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_released_box_is_told_so_until_it_leaves_and_is_nobodys_then() {
    let world = World::new().await;
    let mut a_box = world.a_box("PL-1");
    let id = a_box.enrol(&world.running, "x", "").await;
    assert!(a_box.poll().await.unwrap().decommission.is_none());
    assert!(world.running.release_box(&id).await.unwrap());
    let key = CloudKey::in_roots(&world.cloud.pinned_pem.clone().into_bytes()).unwrap();
    for _ in 0..2 {
        let told = a_box.poll().await.unwrap().decommission.expect("it is told");
        assert!(key.has_signed(&signed::decommission(1, &id), &told.signature));
    }
    assert!(!world.running.reserve_serial("PL-1", "other").await.unwrap());
    a_box.leave(0).await;
    assert!(world.running.reserve_serial("PL-1", "other").await.unwrap());
    assert!(is_refusal(&a_box.poll().await.unwrap_err()));
    assert!(!world.running.enable(&id).await.unwrap());
    // One whose farewell is lost on its way.
    let mut silent = world.a_box("PL-2");
    let id = silent.enrol(&world.running, "x", "").await;
    world.running.release_box(&id).await.unwrap();
    silent.poll().await.unwrap();
    world.running.tidy().await.unwrap();
    assert!(!world.running.reserve_serial("PL-2", "other").await.unwrap());
    world.running.pass(61 * MINUTE);
    world.running.tidy().await.unwrap();
    assert!(world.running.reserve_serial("PL-2", "other").await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_portal_answers_the_challenge_of_a_disabled_box_and_notes_it() {
    let world = World::new().await;
    let mut a_box = world.a_box("PL-1");
    let id = a_box.enrol(&world.running, "x", "").await;
    a_box.poll().await.unwrap();
    let secret = a_box.holds.as_ref().unwrap().enrolled.unlock_secret.clone();
    let answer = world.running.unlock_answer(&id, "wdjb-mjht").await.unwrap();
    assert_eq!(answer, unlock::answer(&secret, "WDJBMJHT", 1));
    assert_eq!(world.kinds(&id).await[0], "unlock_answered");
    assert!(world.running.unlock_answer(&id, "WDJB").await.is_err());
    assert!(world.running.unlock_answer("box-none", "WDJBMJHT").await.is_err());
}

/// A client of the portal, as a browser's forms are.
struct Portal {
    base: String,
    token: String,
}

impl Portal {
    fn of(world: &World) -> Self {
        let base = format!("http://localhost:{}", world.running.portal_addr().port());
        let page = curl(&[&format!("{base}/add")]);
        let token = between(&page, "name=\"token\" value=\"", "\"").to_owned();
        Self { base, token }
    }

    fn post(&self, path: &str, fields: &[(&str, &str)]) -> serde_json::Value {
        let mut arguments = vec!["--data-urlencode".to_owned(), format!("token={}", self.token)];
        for (name, value) in fields {
            arguments.extend(["--data-urlencode".to_owned(), format!("{name}={value}")]);
        }
        arguments.push(format!("{}{path}", self.base));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        serde_json::from_str(&curl(&arguments)).unwrap()
    }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    text.split_once(before).unwrap().1.split_once(after).unwrap().0
}

fn curl(arguments: &[&str]) -> String {
    let output =
        std::process::Command::new("curl").args(["--silent", "--max-time", "20"]).args(arguments).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn programs_can_do_by_json_what_people_do_in_the_portal() {
    let world = World::new().await;
    let portal = Portal::of(&world);
    let mut a_box = world.a_box("PL-1");
    let code = a_box.show_code().await.user_code;
    let found = portal.post("/api/v1/enrolments/find", &[("code", &code)]);
    assert_eq!((found["serial"].as_str(), found["state"].as_str()), (Some("PL-1"), Some("waiting")));
    assert_eq!(found["words"].as_str().unwrap(), platen::enroll::words(&a_box.bound_key()));
    let path = format!("/api/v1/enrolments/{}", found["id"].as_str().unwrap());
    assert_eq!(portal.post(&path, &[("name", "Reception"), ("site", "Bonn")])["state"], "press");
    a_box.press().await.unwrap();
    assert_eq!(a_box.ask_state().await, State::Enrolled);
    // The button, by the text of the label's QR code.
    let text = format!("PLATEN:PL-2:{}", *label().text());
    let window = portal.post("/api/v1/enrolments/windows", &[("label", &text), ("name", "Two")]);
    let mut two = world.a_box("PL-2");
    two.hold(&label()).await;
    let number = two.ask().await.number.to_string();
    let path = format!("/api/v1/enrolments/windows/{}", window["id"].as_str().unwrap());
    assert_eq!(portal.post(&path, &[("number", &number)])["right"], true);
    let made = portal.post("/api/v1/enrolments/registration-codes", &[("site", "Bonn")]);
    assert_eq!(world.a_box("PL-3").register(made["code"].as_str().unwrap()).await.state(), State::Enrolled);
    // Without the token nothing.
    let forged = Portal { token: "forged".to_owned(), ..portal };
    assert!(forged.post("/api/v1/enrolments/registration-codes", &[]).get("error").is_some());
    assert_eq!(world.boxes().await, 3);
}
