//! Timelines of the button: what each length of a press means, at its edges to the millisecond, and that nothing else ever does.

use proptest::prelude::*;

use super::*;

/// Plays edges (time, contact) with a tick whenever the machine asks for one, up to `end_ms`; what was said, and when.
fn play(button: &mut ButtonMachine, edges: &[(u64, bool)], end_ms: u64) -> Vec<(u64, Gesture)> {
    let mut said = Vec::new();
    let mut edges = edges.iter().copied().peekable();
    let mut now = 0;
    loop {
        let edge = edges.peek().map_or(u64::MAX, |(at, _)| *at);
        let deadline = button.deadline_ms().unwrap_or(u64::MAX);
        let at = edge.min(deadline).max(now);
        if at > end_ms {
            return said;
        }
        now = at;
        let input = match edges.next_if(|(at, _)| *at <= now) {
            Some((_, true)) => Input::Down,
            Some((_, false)) => Input::Up,
            None => Input::Tick,
        };
        said.extend(button.step(input, now).map(|gesture| (now, gesture)));
    }
}

fn held(ms: u64) -> Vec<Gesture> {
    let said = play(&mut ButtonMachine::new(), &[(100, true), (100 + ms, false)], 200_000);
    said.into_iter().map(|(_, gesture)| gesture).collect()
}

/// What a press of this length alone must mean: the table, written down a second time.
fn meaning(ms: u64) -> Gesture {
    match ms {
        0..1_000 => Gesture::Tap,
        3_000..6_000 => Gesture::Pair,
        10_000..14_000 => Gesture::Retry,
        20_000..60_000 => Gesture::ResetCancelled,
        60_000.. => Gesture::Stuck,
        _ => Gesture::Refused,
    }
}

#[test]
fn a_press_means_what_its_length_says_to_the_millisecond() {
    let edges = [1_000, 3_000, 6_000, 10_000, 14_000, 20_000, 60_000];
    for ms in edges.iter().flat_map(|edge| [edge - 1, *edge, edge + 1]).chain([30, 500, 4_000, 12_000, 40_000, 90_000])
    {
        assert_eq!(held(ms), [meaning(ms)], "held for {ms} ms");
    }
}

#[test]
fn what_lasts_less_than_the_debounce_time_is_no_press() {
    assert_eq!(held(29), []);
    assert_eq!(held(30), [Gesture::Tap]);
    let dip = [(0, true), (5_000, false), (5_020, true), (11_000, false)];
    let said = play(&mut ButtonMachine::new(), &dip, 60_000);
    assert_eq!(said, [(11_030, Gesture::Retry)], "a contact that opens for 20 ms is held on");
}

#[test]
fn a_factory_reset_takes_a_long_hold_and_a_tap_that_begins_within_five_seconds() {
    let with_tap = |hold: u64, after: u64, tap: u64| {
        let up = 100 + hold;
        let edges = [(100, true), (up, false), (up + after, true), (up + after + tap, false)];
        let said = play(&mut ButtonMachine::new(), &edges, 200_000);
        said.into_iter().map(|(_, gesture)| gesture).collect::<Vec<_>>()
    };
    assert_eq!(with_tap(20_000, 500, 300), [Gesture::FactoryReset]);
    assert_eq!(with_tap(59_999, 5_000, 999), [Gesture::FactoryReset]);
    assert_eq!(with_tap(19_999, 500, 300), [Gesture::Refused, Gesture::Tap]);
    assert_eq!(with_tap(20_000, 5_001, 300), [Gesture::ResetCancelled, Gesture::Tap]);
    assert_eq!(with_tap(20_000, 500, 1_000), [Gesture::ResetCancelled]);
    assert_eq!(with_tap(20_000, 500, 4_000), [Gesture::ResetCancelled], "not taken for pairing either");
    assert_eq!(with_tap(20_000, 500, 70_000), [Gesture::ResetCancelled, Gesture::Stuck]);
    assert_eq!(with_tap(60_000, 500, 300), [Gesture::Stuck, Gesture::Tap]);
    assert_eq!(with_tap(20_000, 500, 20), [Gesture::ResetCancelled], "a spark is no tap");
}

#[test]
fn a_stuck_button_is_said_once_and_works_again_when_it_is_let_go() {
    let edges = [(0, true), (3_600_000, false), (3_601_000, true), (3_601_200, false)];
    let said = play(&mut ButtonMachine::new(), &edges, 4_000_000);
    assert_eq!(said, [(60_000, Gesture::Stuck), (3_601_230, Gesture::Tap)]);
}

#[test]
fn held_at_power_on_it_asks_for_the_other_slot_after_ten_seconds() {
    let from_start = |ms: u64, power_on: bool| {
        let mut button = ButtonMachine::pressed_at_start(0, power_on);
        play(&mut button, &[(ms, false), (200_000, true), (200_100, false)], 300_000)
    };
    let tap = (200_130, Gesture::Tap);
    assert_eq!(from_start(9_999, true), [tap]);
    assert_eq!(from_start(10_000, true), [(10_000, Gesture::Rescue), tap]);
    assert_eq!(from_start(25_000, true), [(10_000, Gesture::Rescue), tap], "and no factory reset");
    assert_eq!(from_start(70_000, true), [(10_000, Gesture::Rescue), (60_000, Gesture::Stuck), tap]);
    assert_eq!(from_start(25_000, false), [tap], "when only the program was started");
}

#[test]
fn what_is_shown_while_it_is_held_is_what_letting_it_go_would_mean() {
    for ms in (0..59_000).step_by(100) {
        let mut button = ButtonMachine::new();
        play(&mut button, &[(0, true)], ms.max(30));
        let progress = button.progress(ms).unwrap();
        let promised = match progress.release {
            Release::Tap => Gesture::Tap,
            Release::Nothing => Gesture::Refused,
            Release::Pair => Gesture::Pair,
            Release::Retry => Gesture::Retry,
            Release::ArmReset => Gesture::ResetCancelled,
        };
        assert_eq!((progress.held_ms, promised), (ms, meaning(ms)));
        if let Some(next) = button.progress_changes_ms(ms) {
            assert!((ms..next).all(|at| button.progress(at).unwrap().shows == progress.shows), "at {ms}");
        }
    }
    let mut button = ButtonMachine::new();
    play(&mut button, &[(0, true), (21_000, false)], 22_000);
    assert_eq!(button.progress(22_000).unwrap().shows, Some(Signal::Press), "tap now");
    play(&mut button, &[], 27_000);
    assert_eq!(button.progress(27_000), None);
}

#[test]
fn the_list_of_times_is_in_order_and_complete() {
    let times: Times = toml::from_str(TIMES).unwrap();
    assert!(times.held.is_sorted_by(|a, b| a.from_ms < b.from_ms));
    assert_eq!(times.held.first().unwrap().from_ms, 0);
    assert!(times.held.last().unwrap().from_ms < times.stuck_ms);
}

/// Presses as (pause before, held) in ms, and bounces at each of their edges: short on-off pairs within 20 ms.
fn presses() -> impl Strategy<Value = Vec<(u64, u64, Vec<u64>, Vec<u64>)>> {
    let bounce = || proptest::collection::vec(1_u64..=4, 0..=2);
    // Often near where meanings change.
    let near = (prop::sample::select(vec![0_u64, 1_000, 3_000, 6_000, 10_000, 14_000, 20_000, 60_000]), -60_i64..60);
    let length = prop_oneof![near.prop_map(|(at, by)| at.saturating_add_signed(by)), 0_u64..70_000];
    proptest::collection::vec((80_u64..9_000, length, bounce(), bounce()), 1..8)
}

/// Edges of a contact that closes or opens at `at`, bouncing: the first edge is true, and so is the last.
fn bouncing(edges: &mut Vec<(u64, bool)>, at: u64, contact: bool, bounces: &[u64]) -> u64 {
    let mut t = at;
    edges.push((t, contact));
    for ms in bounces {
        edges.push((t + ms, !contact));
        edges.push((t + 2 * ms, contact));
        t += 2 * ms;
    }
    t
}

proptest! {
    #[test]
    fn bounces_change_nothing_and_no_gesture_says_what_the_held_time_does_not(presses in presses()) {
        let (mut clean, mut bouncy) = (Vec::new(), Vec::new());
        let mut expected = Vec::new();
        let (mut now, mut armed_at) = (1_000, None);
        for (pause, length, down, up) in presses {
            let length = length.max(60); // longer than bounces and debounce
            now += pause;
            if let Some(armed) = armed_at.take() {
                match (now - armed <= 5_000, length < 1_000) {
                    (true, true) => expected.push(Gesture::FactoryReset),
                    (true, false) => {
                        expected.push(Gesture::ResetCancelled);
                        expected.extend((length >= 60_000).then_some(Gesture::Stuck));
                    }
                    (false, _) => {
                        expected.push(Gesture::ResetCancelled);
                        armed_at = (20_000..60_000).contains(&length).then_some(now + length);
                        expected.extend(armed_at.is_none().then(|| meaning(length)));
                    }
                }
            } else {
                armed_at = (20_000..60_000).contains(&length).then_some(now + length);
                expected.extend(armed_at.is_none().then(|| meaning(length)));
            }
            clean.extend([(now, true), (now + length, false)]);
            bouncing(&mut bouncy, now, true, &down);
            now += length;
            bouncing(&mut bouncy, now, false, &up);
        }
        expected.extend(armed_at.map(|_| Gesture::ResetCancelled));
        for edges in [clean, bouncy] {
            let said = play(&mut ButtonMachine::new(), &edges, now + 100_000);
            let said: Vec<Gesture> = said.into_iter().map(|(_, gesture)| gesture).collect();
            prop_assert_eq!(&said, &expected);
        }
    }

    #[test]
    fn whatever_the_contact_does_no_gesture_comes_before_it_was_closed_for_long_enough(
        edges in proptest::collection::vec((prop_oneof![0_u64..60, 0_u64..30_000], any::<bool>(), any::<bool>()), 0..200),
    ) {
        let mut button = ButtonMachine::new();
        // For how long the contact was closed since the last gesture; dips count as closed, so each edge may hide one.
        let (mut now, mut closed_ms, mut dips_ms) = (0, 0, 0);
        for (pause, contact, tick) in edges {
            now += pause;
            closed_ms += if button.contact() { pause } else { 0 };
            let input = match (tick, contact) {
                (true, _) => Input::Tick,
                (false, true) => Input::Down,
                (false, false) => Input::Up,
            };
            dips_ms += 30;
            let Some(said) = button.step(input, now) else { continue };
            let needs_ms = match said {
                Gesture::Tap | Gesture::ResetCancelled => 0,
                Gesture::Refused => 1_000,
                Gesture::Pair => 3_000,
                Gesture::Retry => 10_000,
                Gesture::FactoryReset => 20_000,
                Gesture::Stuck => 60_000,
                Gesture::Rescue => u64::MAX,
            };
            prop_assert!(closed_ms + dips_ms >= needs_ms, "{said:?} after {closed_ms} ms");
            // The hold that armed the reset goes on counting for its confirmation, and a hold for being stuck.
            if matches!(said, Gesture::Tap | Gesture::Refused | Gesture::Pair | Gesture::Retry | Gesture::FactoryReset) {
                (closed_ms, dips_ms) = (0, 0);
            }
        }
    }
}
