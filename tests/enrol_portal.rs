//! Boxes added in the portal as a person adds them, in a real Chromium: what the pages show, ask and say. Each page is looked at
//! on a desk and on a phone, by day and by night; the pictures are in the folder that the test names.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed unwrap is a failed test

mod common;
#[path = "enrol/fake_box.rs"]
mod fake_box;
#[path = "enrol/world.rs"]
mod world;

use std::time::Duration;

use common::browser::Browser;
use common::have;
use platen::enroll::words;
use platen::proto::v1::EnrollmentState as State;
use world::{World, label};

/// Longer than the pages need to renew themselves twice.
const TWO_RENEWALS: Duration = Duration::from_secs(5);

const CODE: &str = "form[action='/add/code'] input[name=code]";
const LOOK: &str = "form[action='/add/code'] button";

/// A cloud, and a browser in front of its portal.
async fn portal(path: &str) -> Option<(World, Browser)> {
    if !have("chromium") {
        return None;
    }
    let world = World::new().await;
    let mut browser = Browser::start().await;
    browser.open(&format!("http://localhost:{}{path}", world.running.portal_addr().port())).await;
    Some((world, browser))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_types_the_code_that_a_box_shows_and_adds_it() {
    let Some((world, mut browser)) = portal("/").await else { return };
    browser.pictures("fleet-empty").await;
    browser.click(".head a.button").await;
    browser.sees("The box shows a code").await;
    browser.pictures("add").await;
    // As src/cloud/portal/add.png shows it.
    browser.picture(&common::browser::file("add"), 1_100, "light").await;
    let mut a_box = world.a_box("PL-1");
    let code = a_box.show_code().await.user_code;
    browser.type_into(CODE, &code.to_lowercase()).await;
    browser.click(LOOK).await;
    browser.sees("the same four words").await;
    browser.pictures("add-found").await;
    let shown = browser.text().await;
    for expected in ["PL-1", "raspberrypi4-64", "0.1.0", "127.0.0.1", &words(&a_box.bound_key())] {
        assert!(shown.contains(expected), "the page lacks {expected}:\n{shown}");
    }
    browser.type_into("input[name=name]", "Reception").await;
    browser.type_into("input[name=site]", "Bonn").await;
    browser.click("form button").await;
    browser.sees("press the button of the box").await;
    browser.pictures("add-press").await;
    assert_eq!(world.boxes().await, 0);
    a_box.press().await.unwrap();
    let enrolled = a_box.ask().await.enrolled.expect("it is enrolled");
    // By itself, as whatever comes of the box.
    browser.sees("It is added. It fetches its certificate").await;
    browser.pictures("add-enrolled").await;
    a_box.holds = Some(a_box.take(enrolled));
    a_box.poll().await.unwrap();
    browser.sees("has reported with its own certificate").await;
    browser.pictures("add-done").await;
    browser.click("a.button").await;
    browser.sees("Reception").await;
    let fleet = browser.text().await;
    assert!(fleet.contains("Bonn") && fleet.contains("PL-1"), "{fleet}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_scans_the_label_holds_the_button_and_counts_how_often_the_led_blinks() {
    let Some((world, mut browser)) = portal("/add").await else { return };
    let field = |name: &str| format!("form[action='/add/windows'] input[name={name}]");
    browser.type_into(&field("label"), &format!("PLATEN:PL-2:{}", *label().text())).await;
    browser.type_into(&field("name"), "Second floor").await;
    browser.click("form[action='/add/windows'] button").await;
    browser.sees("hold the button of the box").await;
    browser.pictures("add-window").await;
    let mut a_box = world.a_box("PL-2");
    a_box.hold(&label()).await;
    browser.sees("How often does the LED blink").await;
    browser.pictures("add-number").await;
    let number = a_box.ask().await.number;
    browser.click(&format!("button[value='{number}']")).await;
    browser.sees("It is added").await;
    browser.pictures("add-by-button").await;
    assert_eq!((a_box.ask_state().await, world.boxes().await), (State::Enrolled, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_who_counts_wrong_is_told_what_to_do() {
    let Some((world, mut browser)) = portal("/").await else { return };
    let window = world.window("PL-1").await;
    let mut a_box = world.a_box("PL-1");
    a_box.hold(&label()).await;
    let number = a_box.ask().await.number;
    let port = world.running.portal_addr().port();
    browser.open(&format!("http://localhost:{port}/add/windows/{window}")).await;
    browser.sees("How often does the LED blink").await;
    browser.click(&format!("button[value='{}']", if number == 6 { 2 } else { number + 1 })).await;
    browser.sees("It was not added.").await;
    browser.pictures("add-wrong-number").await;
    browser.click("a.button").await;
    browser.sees("The box shows a code").await;
    assert_eq!((a_box.ask_state().await, world.boxes().await), (State::Refused, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_makes_a_one_off_code_and_a_box_is_added_by_it() {
    let Some((world, mut browser)) = portal("/add").await else { return };
    browser.type_into("form[action='/add/registration'] input[name=site]", "Bonn").await;
    browser.click("form[action='/add/registration'] button").await;
    browser.sees("The code, for one box within 24 hours, at Bonn").await;
    browser.pictures("add-one-off").await;
    let code = browser.text_of("p.code").await;
    // Nobody could show it again: it stays.
    tokio::time::sleep(TWO_RENEWALS).await;
    assert_eq!(browser.text_of("p.code").await, code);
    assert_eq!(world.a_box("PL-3").register(&code).await.state(), State::Enrolled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_code_is_told_with_its_remedy_until_somebody_has_read_it() {
    let Some((world, mut browser)) = portal("/add").await else { return };
    browser.type_into(CODE, "BBBB-BBBB").await;
    browser.click(LOOK).await;
    browser.sees("That did not work.").await;
    browser.pictures("add-wrong-code").await;
    let told = browser.text_of("p.error").await;
    assert!(told.contains("Compare it letter by letter"), "no remedy: {told}");
    tokio::time::sleep(TWO_RENEWALS).await;
    assert_eq!(browser.text_of("p.error").await, told);
    // What was typed is still there, to be compared; and from there it goes on.
    assert_eq!(browser.typed(CODE).await, "BBBB-BBBB");
    let code = world.a_box("PL-1").show_code().await.user_code;
    browser.type_into(CODE, &code).await;
    browser.click(LOOK).await;
    browser.sees("the same four words").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_mistyped_label_only_the_secret_is_typed_again() {
    let Some((_world, mut browser)) = portal("/add").await else { return };
    let field = |name: &str| format!("form[action='/add/windows'] input[name={name}]");
    for (name, typed) in [("serial", "PL-2"), ("secret", "0123-4567"), ("name", "Attic"), ("site", "Bonn")] {
        browser.type_into(&field(name), typed).await;
    }
    browser.click("form[action='/add/windows'] button").await;
    browser.sees("That did not work.").await;
    browser.pictures("add-wrong-label").await;
    for (name, kept) in [("serial", "PL-2"), ("secret", ""), ("name", "Attic"), ("site", "Bonn")] {
        assert_eq!(browser.typed(&field(name)).await, kept, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_types_is_not_renewed_away() {
    let Some((world, mut browser)) = portal("/").await else { return };
    let mut a_box = world.a_box("PL-1");
    a_box.enrol(&world.running, "Reception", "Bonn").await;
    a_box.poll().await.unwrap();
    // A view that changes by itself: it says how long ago the box has polled.
    browser.sees("Reception").await;
    browser.click("details[id^=ping] summary").await;
    let address = "details[id^=ping] input[name=address]";
    browser.type_into(address, "10.0.0.7").await;
    tokio::time::sleep(TWO_RENEWALS).await;
    assert_eq!(browser.typed(address).await, "10.0.0.7");
    // Nor where it is left for something else.
    browser.click("details[id^=unlock] summary").await;
    tokio::time::sleep(TWO_RENEWALS).await;
    assert_eq!(browser.typed(address).await, "10.0.0.7");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_turns_a_box_away_and_enables_it_again() {
    let Some((world, mut browser)) = portal("/").await else { return };
    let mut a_box = world.a_box("PL-1");
    a_box.enrol(&world.running, "Reception", "Bonn").await;
    a_box.poll().await.unwrap();
    browser.sees("Reception").await;
    browser.click("details[id^=revoke] summary").await;
    browser.sees("is lost, stolen").await;
    tokio::time::sleep(TWO_RENEWALS).await;
    // What is open stays open, and who goes on with the keyboard goes on from there.
    browser.sees("is lost, stolen").await;
    assert_eq!(browser.focused().await, "Turn away");
    browser.pictures("fleet-turn-away").await;
    browser.click("details[id^=revoke] button").await;
    browser.sees("turned away").await;
    browser.pictures("fleet-turned-away").await;
    assert!(a_box.poll().await.is_err());
    browser.click("form[action$='/enable'] button").await;
    browser.sees("online").await;
    a_box.poll().await.unwrap();
}
