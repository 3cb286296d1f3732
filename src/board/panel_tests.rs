//! The panel on a board that writes down what its LED showed, by a clock that stands until it is told.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::board::pattern::{Colour, Patterns};
use crate::board::rhythm::{FULL, Rhythm};
use crate::board::signal::{Number, Stage};
use crate::board::testing::{Finger, PressedByHand, Recording, RecordingLed};

struct Desk {
    panel: PanelHandle,
    finger: Finger,
    led: Recording,
    gestures: mpsc::Receiver<Gesture>,
    start: Instant,
    _stop: tokio_util::sync::DropGuard,
}

impl Desk {
    fn new() -> Self {
        Self::with(RecordingLed::new(true), false)
    }

    fn with((led, recording): (RecordingLed, Recording), pressed: bool) -> Self {
        let (button, finger) = PressedByHand::new(pressed);
        let (panel, handle, gestures) = Panel::new(Box::new(led), Some(Box::new(button)), true);
        let stop = CancellationToken::new();
        tokio::spawn(panel.run(stop.clone()));
        Self { panel: handle, finger, led: recording, gestures, start: Instant::now(), _stop: stop.drop_guard() }
    }

    async fn pass(&self, ms: u64) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_millis().try_into().unwrap()
    }

    /// That the LED showed this signal from a time on, after the lead, for as long as it takes to be read.
    fn assert_shown(&self, signal: Signal, since_ms: u64) {
        let table = Patterns::built_in();
        let pattern = table.of(signal);
        let begins = since_ms + u64::from(table.lead_ms);
        for t in since_ms..begins {
            assert_eq!(self.led.at(t), Light::DARK, "the lead of {signal} at {t} ms");
        }
        let once_ms = u64::from(pattern.rhythm.length_ms() + table.tail_ms);
        let long = if pattern.rhythm.is_once() { once_ms } else { u64::from(table.readable_ms) };
        let until = self.now().min(begins + long);
        for t in (begins..until).step_by(10) {
            let expected = pattern.rhythm.level_at(t - begins);
            // A breathing light is set 25 times a second.
            let found = self.led.at(t).level;
            assert!(found.abs_diff(expected) <= 20, "{signal} at {t} ms: {found}, not {expected}");
            assert!(found == 0 || self.led.at(t).colour == pattern.colour);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_signal_is_shown_as_the_table_says() {
    for signal in Signal::all() {
        let desk = Desk::new();
        desk.panel.set(&[signal]);
        desk.pass(9_000).await;
        desk.assert_shown(signal, 0);
        assert_eq!(desk.panel.shown(), signal);
    }
}

#[tokio::test(start_paused = true)]
async fn the_highest_of_what_holds_is_shown_and_comes_back_after_what_was_asked_for() {
    let mut desk = Desk::new();
    desk.panel.set(&[Signal::Ok, Signal::NoNetwork, Signal::Unclaimed]);
    desk.pass(10_000).await;
    desk.assert_shown(Signal::NoNetwork, 0);
    desk.panel.flash(Signal::Done);
    desk.pass(12_000).await;
    desk.assert_shown(Signal::Done, 10_000);
    // Lead 700, flash 1500, tail 500; then the state with its own lead.
    desk.assert_shown(Signal::NoNetwork, 12_700);
    assert_eq!(desk.led.at(10_700 + 1_499).colour, Some(Colour::Green));
    assert!(desk.gestures.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_number_is_shown_for_the_time_it_was_asked_for_and_a_lookout_for_a_minute() {
    let desk = Desk::new();
    desk.panel.set(&[Signal::Pairing]);
    let number = Signal::Number(Number::new(4).unwrap());
    desk.panel.flash_for(number, Duration::from_secs(40));
    desk.pass(40_600).await;
    desk.assert_shown(number, 0);
    assert_eq!(desk.panel.shown(), number);
    desk.pass(200).await;
    assert_eq!(desk.panel.shown(), Signal::Pairing);
    desk.panel.set(&[Signal::Ok]);
    desk.panel.flash(Signal::Locate);
    desk.pass(60_600).await;
    assert_eq!(desk.panel.shown(), Signal::Locate);
    desk.pass(200).await;
    assert_eq!(desk.panel.shown(), Signal::Ok);
}

#[tokio::test(start_paused = true)]
async fn ten_minutes_of_ok_are_followed_by_a_tenth_of_the_light_until_somebody_touches_the_button() {
    let desk = Desk::new();
    desk.panel.set(&[Signal::Ok]);
    desk.pass(600_000 - 10).await;
    assert_eq!(desk.led.at(desk.now()).level, FULL);
    desk.pass(20).await;
    let level = desk.led.at(desk.now()).level;
    assert!((1..=25).contains(&level), "{level}");
    desk.finger.set(true).await;
    desk.pass(5).await;
    assert_eq!(desk.led.at(desk.now()).level, FULL, "at the touch already");
    desk.pass(300).await;
    desk.finger.set(false).await;
    desk.pass(1_000).await;
    assert_eq!(desk.led.at(desk.now()).level, FULL);
    desk.pass(601_000).await;
    assert!(desk.led.at(desk.now()).level <= 25);
}

#[tokio::test(start_paused = true)]
async fn a_tap_shows_the_state_once_more_from_its_beginning() {
    let mut desk = Desk::new();
    desk.panel.set(&[Signal::NoPrinters]);
    desk.pass(5_000).await;
    desk.finger.hold(Duration::from_millis(200)).await;
    desk.pass(10_000).await;
    assert_eq!(desk.gestures.recv().await, Some(Gesture::Tap));
    desk.assert_shown(Signal::NoPrinters, 5_230);
}

#[tokio::test(start_paused = true)]
async fn while_it_is_held_the_led_says_what_letting_go_would_do() {
    let mut desk = Desk::new();
    desk.panel.set(&[Signal::NoCloud]);
    desk.finger.set(true).await;
    let mut seen = Vec::new();
    for _ in 0..2_200 {
        desk.pass(10).await;
        let shown = desk.panel.shown();
        if seen.last().is_none_or(|(_, last)| *last != shown) {
            seen.push((desk.now() / 100 * 100, shown));
        }
    }
    let stages = Stage::ALL.map(Signal::ResetArmed);
    let expected =
        [(0, Signal::NoCloud), (6_000, stages[0]), (10_000, stages[1]), (14_000, stages[2]), (20_000, Signal::Press)];
    assert_eq!(seen, expected, "and no pairing: this box belongs to somebody");
    desk.finger.set(false).await;
    desk.pass(1_000).await;
    assert_eq!(desk.panel.shown(), Signal::Press);
    desk.finger.hold(Duration::from_millis(300)).await;
    desk.pass(100).await;
    assert_eq!(desk.gestures.recv().await, Some(Gesture::FactoryReset));
    assert_eq!(desk.panel.shown(), Signal::NoCloud);
}

#[tokio::test(start_paused = true)]
async fn a_box_that_belongs_to_nobody_shows_when_letting_go_opens_the_pairing_window() {
    let mut desk = Desk::new();
    desk.panel.set(&[Signal::Unclaimed]);
    desk.finger.set(true).await;
    desk.pass(3_500).await;
    assert_eq!(desk.panel.shown(), Signal::Pairing);
    desk.pass(1_000).await;
    desk.finger.set(false).await;
    assert_eq!(desk.gestures.recv().await, Some(Gesture::Pair));
    assert!(desk.gestures.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_press_that_means_nothing_is_shown_as_refused() {
    let mut desk = Desk::new();
    desk.panel.set(&[Signal::Ok]);
    desk.finger.hold(Duration::from_secs(2)).await;
    desk.pass(9_000).await;
    assert_eq!(desk.gestures.recv().await, Some(Gesture::Refused));
    desk.assert_shown(Signal::Refused, 2_030);
    assert_eq!(desk.panel.shown(), Signal::Ok);
}

#[tokio::test(start_paused = true)]
async fn a_muted_box_is_dark_but_for_faults_and_for_who_touches_it() {
    let desk = Desk::new();
    desk.panel.mute(true);
    desk.panel.set(&[Signal::NoCloud]);
    desk.pass(600_000).await;
    assert!(desk.led.all().iter().all(|(_, light)| light.level == 0), "dark");
    desk.panel.set(&[Signal::Disabled]);
    desk.pass(300_000).await;
    let lit: Vec<u64> = desk.led.all().into_iter().filter(|(_, light)| light.level > 0).map(|(ms, _)| ms).collect();
    assert_eq!(lit.len(), 5, "one blink a minute: {lit:?}");
    assert!(lit.windows(2).all(|pair| pair[1] - pair[0] == 60_000));
    desk.panel.set(&[Signal::NoCloud]);
    desk.pass(1_000).await;
    desk.finger.hold(Duration::from_millis(200)).await;
    desk.pass(60_000).await;
    desk.assert_shown(Signal::NoCloud, 901_230);
    assert_eq!(desk.led.at(desk.now()), Light::DARK);
    desk.panel.flash(Signal::Locate);
    desk.pass(10_000).await;
    desk.assert_shown(Signal::Locate, desk.now() - 10_000);
}

#[tokio::test(start_paused = true)]
async fn a_muted_box_shows_what_was_asked_for_although_something_hidden_goes_before_it() {
    let desk = Desk::new();
    desk.panel.mute(true);
    desk.panel.set(&[Signal::Updating]);
    desk.panel.flash(Signal::Locate);
    desk.pass(9_000).await;
    desk.assert_shown(Signal::Locate, 0);
}

#[tokio::test(start_paused = true)]
async fn a_button_held_at_power_on_asks_for_the_other_slot() {
    let (led, recording) = RecordingLed::new(true);
    let mut desk = Desk::with((led, recording), true);
    desk.pass(9_990).await;
    assert!(desk.gestures.try_recv().is_err());
    assert_eq!(desk.gestures.recv().await, Some(Gesture::Rescue));
}

#[tokio::test(start_paused = true)]
async fn hardware_that_can_plays_a_rhythm_by_itself_and_is_left_alone() {
    let plays = Arc::new(Mutex::new(Vec::new()));
    let (led, recording) = RecordingLed::new(false);
    let desk = Desk::with((led.that_plays(Arc::clone(&plays)), recording), false);
    desk.panel.set(&[Signal::Starting]);
    desk.pass(100_000).await;
    desk.panel.set(&[Signal::Ok]);
    desk.pass(100_000).await;
    let starting = Rhythm::Blink([1_500, 500].into_iter().collect());
    assert_eq!(*plays.lock().unwrap(), [starting], "an LED without levels gets the rhythm that needs none");
    let levels: Vec<(u64, u8)> = desk.led.all().into_iter().map(|(ms, light)| (ms, light.level)).collect();
    assert_eq!(levels, [(0, 0), (100_000, 0), (100_700, FULL)]);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_takes_is_dropped_and_the_panel_goes_on() {
    let mut desk = Desk::new();
    for _ in 0..3 * GESTURES_MAX {
        desk.finger.hold(Duration::from_millis(100)).await;
        desk.pass(200).await;
    }
    let mut taken = 0;
    while desk.gestures.try_recv().is_ok() {
        taken += 1;
    }
    assert_eq!(taken, GESTURES_MAX);
    for _ in 0..1_000 {
        desk.panel.flash(Signal::Locate);
        desk.panel.set(&[Signal::Ok; 100]);
    }
    desk.finger.hold(Duration::from_secs(4)).await;
    assert_eq!(desk.gestures.recv().await, Some(Gesture::Pair));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_asked_and_pressed_no_second_has_more_than_two_flashes(
        asked in proptest::collection::vec((0_u64..3_000, 0..SIGNALS, 0..5_u8), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let lights = runtime.block_on(async {
            let desk = Desk::new();
            let all: Vec<Signal> = Signal::all().collect();
            for (pause, which, how) in asked {
                match how {
                    0 => desk.panel.set(&[all[which]]),
                    1 => desk.panel.flash(all[which]),
                    2 => desk.panel.replay(),
                    3 => desk.finger.set(true).await,
                    _ => desk.finger.set(false).await,
                }
                desk.pass(pause).await;
            }
            desk.led.all()
        });
        let lit = |level: u8| level > FULL / 2;
        let starts: Vec<u64> = lights
            .windows(2)
            .filter(|pair| !lit(pair[0].1.level) && lit(pair[1].1.level))
            .map(|pair| pair[1].0)
            .collect();
        prop_assert!(starts.windows(3).all(|three| three[2] - three[0] >= 1_000), "{:?}", starts);
    }
}
