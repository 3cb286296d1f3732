//! Tests of the box's clock.

use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

use super::super::FixedClock;
use super::*;

const DAY: u64 = 86_400_000;
const BUILT: u64 = 20_000 * DAY;

/// A system clock that a test keeps a hand on.
#[derive(Clone)]
struct Hand(Arc<FixedClock>);

impl Clock for Hand {
    fn monotonic_ms(&self) -> u64 {
        self.0.monotonic_ms()
    }
    fn wall_unix_ms(&self) -> u64 {
        self.0.wall_unix_ms()
    }
    fn boot_id(&self) -> &str {
        self.0.boot_id()
    }
}

fn start(system_unix_ms: u64, kept: Option<u64>, ntp: bool) -> (BoxClock, Hand, Arc<AtomicBool>) {
    start_with(system_unix_ms, kept.map(KeptTime::certain), ntp)
}

fn start_with(system_unix_ms: u64, kept: Option<KeptTime>, ntp: bool) -> (BoxClock, Hand, Arc<AtomicBool>) {
    let hand = Hand(Arc::new(FixedClock::new(1_000, system_unix_ms, "boot")));
    let synchronised = Arc::new(AtomicBool::new(ntp));
    let asked = synchronised.clone();
    let clock = BoxClock::with(Box::new(hand.clone()), BUILT, kept, Box::new(move || asked.load(Ordering::Relaxed)));
    (clock, hand, synchronised)
}

#[test]
fn before_anything_is_known_it_shows_the_floor_or_a_later_system_clock_and_runs_on() {
    let (clock, hand, _) = start(0, None, false);
    assert_eq!((clock.wall_unix_ms(), clock.quality()), (BUILT, ClockQuality::Floor));
    hand.0.advance_ms(5_000);
    assert_eq!(clock.wall_unix_ms(), BUILT + 5_000);
    assert_eq!((clock.known(), clock.radius_ms()), (None, u64::MAX));
    assert_eq!(start(BUILT + DAY, None, false).0.wall_unix_ms(), BUILT + DAY);
    assert_eq!(start(BUILT + LIFE_MS + 1, None, false).0.wall_unix_ms(), BUILT);
    assert_eq!(start(0, Some(BUILT + 9 * DAY), false).0.wall_unix_ms(), BUILT + 9 * DAY);
    assert_eq!(start(0, Some(BUILT + LIFE_MS + 1), false).0.wall_unix_ms(), BUILT, "a broken file");
}

#[test]
fn a_system_clock_that_is_shown_without_being_believed_is_no_lower_bound() {
    let (clock, hand, _) = start(BUILT + 300 * DAY, Some(BUILT + DAY), false);
    hand.0.advance_ms(5_000);
    assert_eq!(clock.wall_unix_ms(), BUILT + 300 * DAY + 5_000);
    let bound = clock.now();
    assert_eq!((bound.unix_ms, bound.quality), (BUILT + DAY + 5_000, ClockQuality::Floor));
    clock.take_signed(BUILT + 2 * DAY, 10, clock.monotonic_ms()).unwrap();
    assert_eq!((clock.now().unix_ms, clock.wall_unix_ms()), (BUILT + 2 * DAY, BUILT + 2 * DAY));
}

#[test]
fn a_signed_time_sets_it_and_jumps_of_the_system_clock_do_nothing_then() {
    let (clock, hand, _) = start(BUILT + 300 * DAY, None, true);
    assert_eq!(clock.quality(), ClockQuality::Ntp);
    clock.prove();
    assert_eq!((clock.to_keep(), clock.is_a_guess()), (None, true), "nobody signs NTP");
    clock.take_signed(BUILT + 20 * DAY, 40, 1_000).unwrap();
    for system in [0, BUILT + 5_000 * DAY] {
        hand.0.set_wall_unix_ms(system);
        clock.look_at_system();
        assert_eq!(clock.wall_unix_ms(), BUILT + 20 * DAY);
    }
    hand.0.advance_ms(DAY);
    let now = clock.known().unwrap();
    assert_eq!((now.unix_ms, now.quality), (BUILT + 21 * DAY, ClockQuality::Token));
    assert_eq!(now.radius_ms, 40 + 86_400 * 1_000 / 5_000);
    assert_eq!((clock.to_keep(), clock.is_a_guess()), (None, true), "nothing has proven it");
    clock.prove();
    assert_eq!(clock.to_keep().unwrap().last_unix_ms, now.unix_ms - now.radius_ms);
    assert!(!clock.is_a_guess());
    assert_eq!(clock.at(500).unix_ms, BUILT + 20 * DAY - 500, "before it was known");
}

#[test]
fn a_time_server_that_sets_the_system_clock_later_is_noticed() {
    let (clock, hand, synchronised) = start(0, None, false);
    hand.0.set_wall_unix_ms(BUILT + 7 * DAY);
    clock.look_at_system();
    assert_eq!(clock.wall_unix_ms(), BUILT, "nobody vouches for it");
    synchronised.store(true, Ordering::Relaxed);
    clock.look_at_system();
    assert_eq!((clock.wall_unix_ms(), clock.quality()), (BUILT + 7 * DAY, ClockQuality::Ntp));
}

#[test]
fn a_signed_time_below_the_floor_or_beyond_the_firmwares_life_is_refused() {
    let (clock, ..) = start(0, Some(BUILT + DAY), false);
    let late = clock.take_signed(BUILT + LIFE_MS + 1, 10, 1_000);
    assert_eq!(late, Err(TimeRefused::TooLate { unix_ms: BUILT + LIFE_MS + 1 }));
    assert!(matches!(clock.take_signed(BUILT, 10, 1_000), Err(TimeRefused::BelowFloor { .. })));
    assert_eq!(clock.quality(), ClockQuality::Floor);
    assert!(clock.take_signed(BUILT + DAY - 5, 10, 1_000).is_ok(), "within its own radius");
    assert_eq!(clock.wall_unix_ms(), BUILT + DAY);
}

#[test]
fn a_wrong_signed_time_is_undone_by_a_right_one_within_a_day_also_after_a_restart() {
    let (right, wrong) = (BUILT + 100 * DAY, BUILT + 4_000 * DAY);
    let (clock, hand, _) = start(0, None, false);
    clock.take_signed(wrong, 10, 1_000).unwrap();
    clock.take_signed(right, 10, 1_000).expect("nothing had proven the wrong one");
    clock.take_signed(wrong, 10, 1_000).unwrap();
    clock.prove();
    hand.0.advance_ms(FLOOR_AFTER_MS / 2);
    clock.prove();
    let kept = clock.to_keep().unwrap();
    assert_eq!(kept.floor_unix_ms, BUILT);
    let (again, hand, _) = start_with(0, Some(kept), false);
    assert_eq!((again.wall_unix_ms(), again.quality()), (kept.last_unix_ms, ClockQuality::Floor));
    again.take_signed(right, 10, 1_000).unwrap();
    again.prove();
    hand.0.advance_ms(FLOOR_AFTER_MS / 2);
    again.prove();
    assert_eq!(again.to_keep().unwrap().floor_unix_ms, BUILT, "the wrong time left no trace");
    hand.0.advance_ms(FLOOR_AFTER_MS);
    again.prove();
    assert_eq!(again.to_keep().unwrap().floor_unix_ms, right - 10);
}

#[test]
fn what_has_held_for_a_day_is_the_floor_also_where_the_box_is_off_in_between() {
    let day = |day: u64| BUILT + day * DAY;
    let mut kept = None;
    for now in [10, 11, 12] {
        let (clock, ..) = start_with(0, kept, false);
        clock.take_signed(day(now) + 5_000, 10, 1_000).unwrap();
        clock.prove();
        kept = clock.to_keep();
    }
    let (clock, ..) = start_with(0, kept, false);
    assert_eq!(clock.wall_unix_ms(), day(12) + 5_000 - 10);
    assert!(matches!(clock.take_signed(day(11), 10, 1_000), Err(TimeRefused::BelowFloor { .. })));
    // Less than what was seen last, and not less than what has held.
    assert!(clock.take_signed(day(11) + 6_000, 10, 1_000).is_ok());
}

#[test]
fn drift_is_corrected_by_verified_answers_and_larger_steps_are_not_believed() {
    let (clock, hand, _) = start(0, None, false);
    assert!(!clock.correct(BUILT + DAY, 1_000, 1_100), "there is nothing to correct yet");
    clock.take_signed(BUILT + DAY, 100, 1_000).unwrap();
    hand.0.advance_ms(10 * DAY);
    let sent = clock.monotonic_ms();
    // Our oscillator lost nine seconds meanwhile.
    assert!(clock.correct(BUILT + 11 * DAY + 9_000, sent, sent + 200));
    assert_eq!(clock.wall_unix_ms(), BUILT + 11 * DAY + 9_000 - 100);
    assert!(!clock.correct(BUILT + 30 * DAY, sent, sent + 200));
    assert_eq!(clock.wall_unix_ms(), BUILT + 11 * DAY + 9_000 - 100);
}

#[test]
fn whoever_waits_for_the_time_is_told() {
    let (clock, ..) = start(0, None, false);
    let mut changes = clock.changes();
    assert_eq!(*changes.borrow_and_update(), None);
    clock.take_signed(BUILT + DAY, 100, 1_000).unwrap();
    assert!(changes.has_changed().unwrap());
    let expected = Anchor { monotonic_ms: 1_000, unix_ms: BUILT + DAY, radius_ms: 100, quality: ClockQuality::Token };
    assert_eq!(*changes.borrow_and_update(), Some(expected));
}

#[derive(Debug, Clone)]
enum Step {
    Pass(u64),
    SystemJumps(u64),
    Synchronised(bool),
    Signed(u64, u64),
    Word(u64),
    Prove,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let time = || BUILT - 100 * DAY..BUILT + LIFE_MS + 100 * DAY;
    let step = prop_oneof![
        (0..3 * DAY).prop_map(Step::Pass),
        time().prop_map(Step::SystemJumps),
        any::<bool>().prop_map(Step::Synchronised),
        (time(), 0..60_000_u64).prop_map(|(unix_ms, radius)| Step::Signed(unix_ms, radius)),
        time().prop_map(Step::Word),
        Just(Step::Prove),
    ];
    proptest::collection::vec(step, 0..40)
}

proptest! {
    #[test]
    fn invariant_8_no_rtc_it_never_runs_below_its_floor_nor_jumps_with_the_system_once_it_is_known(
        steps in steps(), kept in BUILT..BUILT + LIFE_MS
    ) {
        let (clock, hand, synchronised) = start(0, Some(kept), false);
        let mut floor = kept;
        for step in steps {
            let before = clock.now();
            let known = before.quality == ClockQuality::Token;
            match step {
                Step::Pass(ms) => {
                    hand.0.advance_ms(ms);
                    prop_assert!(clock.wall_unix_ms() >= before.unix_ms);
                }
                Step::SystemJumps(to) => {
                    hand.0.set_wall_unix_ms(to);
                    clock.look_at_system();
                    prop_assert!(!known || clock.now() == before);
                }
                Step::Synchronised(is) => synchronised.store(is, Ordering::Relaxed),
                Step::Signed(unix_ms, radius) => {
                    if clock.take_signed(unix_ms, radius, clock.monotonic_ms()).is_ok() {
                        prop_assert!(unix_ms + radius >= floor);
                        prop_assert_eq!(clock.quality(), ClockQuality::Token);
                    } else {
                        prop_assert_eq!(clock.now(), before);
                    }
                }
                Step::Prove => {
                    clock.prove();
                    if let Some(kept) = clock.to_keep() {
                        prop_assert!(kept.floor_unix_ms >= floor, "it never sinks");
                        prop_assert!(kept.floor_unix_ms + FLOOR_AFTER_MS <= clock.wall_unix_ms() || kept.floor_unix_ms == floor);
                        floor = kept.floor_unix_ms;
                    }
                }
                Step::Word(unix_ms) => {
                    let now = clock.monotonic_ms();
                    let agreed = clock.correct(unix_ms, now, now);
                    prop_assert!(agreed || clock.now() == before);
                    prop_assert!(clock.wall_unix_ms().abs_diff(before.unix_ms) <= CORRECTION_MAX_MS);
                }
            }
            prop_assert!(clock.wall_unix_ms() >= floor);
        }
    }
}
