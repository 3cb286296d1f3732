//! The machine under chosen and random strings of events, in a world whose power fails.

use super::world::{DAY, HOUR, MINUTE, World};
use super::*;

fn refusal() -> Event {
    Event::Refused("refused".to_owned(), "revoked".to_owned())
}

/// A box at work, by the way of a code.
fn at_work(seed: u64) -> World {
    let mut world = World::new(seed);
    for _ in 0..200 {
        let event = world.good_event();
        world.hear(event);
        if matches!(world.state.phase, Phase::Active(_)) && !world.state.has_next {
            return world;
        }
    }
    panic!("{:?}", world.state)
}

fn disabled(seed: u64) -> World {
    let mut world = at_work(seed);
    for _ in 0..5 {
        world.hear(refusal());
    }
    assert_eq!(world.state.phase, Phase::Disabled);
    world
}

fn word(world: &World) -> &'static str {
    world.state.phase.word()
}

#[test]
fn a_new_box_is_nobodys_and_waits() {
    let now = Now { unix_ms: 1_000, up_ms: 1 };
    let (state, effects) = step(&State::new(Kept::default()), Event::Started(Found::default()), now);
    assert_eq!(effects, [Effect::MakeKeys]);
    let (state, effects) = step(&state, Event::KeysMade, now);
    assert_eq!((state.phase.word(), effects.len()), ("unclaimed", 0));
}

#[test]
fn p_61_disabled_exactly_at_the_fifth_refusal_with_a_power_cut_after_each() {
    let mut world = at_work(61);
    for n in 1..=5 {
        world.hear(refusal());
        world.boot();
        assert_eq!(word(&world), if n < 5 { "active" } else { "disabled" }, "{n}");
    }
    for _ in 0..100 {
        world.pass(3 * DAY);
        world.boot();
        world.hear(Event::Tick);
        assert_eq!(word(&world), "disabled");
    }
}

#[test]
fn p_62_one_success_forgets_four_refusals() {
    let mut world = at_work(62);
    for _ in 0..3 {
        for _ in 0..4 {
            world.hear(refusal());
        }
        world.hear(Event::Welcome);
        assert_eq!((word(&world), world.disk.kept.consecutive), ("active", 0));
    }
}

#[test]
fn p_63_each_way_back_allows_one_try_and_only_one() {
    let ways: [fn(&mut World); 3] = [
        |world| world.hear(Event::Ticket),
        |world| world.hear(Event::HeldTen),
        |world| {
            world.hear(Event::Unlock("ABCDEFGH".to_owned()));
            world.boot();
            world.hear(Event::Answer(true));
        },
    ];
    for way in ways {
        let mut world = disabled(63);
        way(&mut world);
        assert_eq!((word(&world), world.state.kept.may_try_now), ("active", true));
        world.boot();
        assert!(world.state.kept.may_try_now, "a power cut has taken the try");
        let mut refused = world.clone();
        refused.hear(refusal());
        assert_eq!((word(&refused), refused.state.kept.may_try_now), ("disabled", false));
        refused.hear(Event::Answer(true));
        assert_eq!(word(&refused), "disabled", "an answer was taken twice");
        world.hear(Event::Welcome);
        assert_eq!((word(&world), world.state.kept.consecutive, world.state.kept.may_try_now), ("active", 0, false));
    }
}

#[test]
fn p_63_the_button_allows_one_try_an_hour_and_three_a_day_whatever_the_clock_says() {
    for falls_back in [false, true] {
        let mut world = disabled(64);
        let mut tries = 0;
        for _ in 0..24 * 6 - 1 {
            let before = world.state.kept.retries_unix_ms.clone();
            world.hear(Event::HeldTen);
            tries += u32::from(world.state.kept.retries_unix_ms != before);
            if word(&world) != "disabled" {
                world.hear(refusal());
            }
            world.pass(10 * MINUTE);
            if falls_back {
                world.clock_falls_back(10 * MINUTE);
            }
        }
        assert_eq!(tries, if falls_back { 1 } else { 3 });
    }
}

#[test]
fn p_63_five_wrong_answers_close_the_console_for_a_day_whatever_the_clock_says() {
    for falls_back in [0, HOUR, 30 * DAY] {
        let mut world = disabled(65);
        let mut taken = 0;
        for _ in 0..10 {
            world.hear(Event::Unlock("ABCDEFGH".to_owned()));
            let before = world.state.kept.wrong_answers;
            world.hear(Event::Answer(false));
            taken += u32::from(world.state.kept.wrong_answers > before);
            world.pass(7 * MINUTE);
        }
        assert_eq!(taken, 5);
        world.clock_falls_back(falls_back);
        for _ in 0..DAY / HOUR {
            world.hear(Event::Unlock("ABCDEFGH".to_owned()));
            world.hear(Event::Answer(true));
            assert_eq!(word(&world), "disabled");
            world.pass(HOUR);
            world.boot();
        }
        world.pass(DAY);
        world.hear(Event::Unlock("ABCDEFGH".to_owned()));
        world.hear(Event::Answer(true));
        assert_eq!(word(&world), "active");
    }
}

/// Every life below, with the power cut at every place in it.
#[test]
fn a_power_cut_anywhere_in_a_life_breaks_nothing() {
    let life = |seed: u64, cut_at: u64| {
        let mut world = World::new(seed);
        world.cut_at = cut_at;
        for _ in 0..30 {
            let event = world.good_event();
            world.hear(event);
        }
        world.pass(61 * DAY);
        for _ in 0..10 {
            world.hear(Event::Tick);
            let event = world.good_event();
            if world.can_happen(&event) {
                world.hear(event);
            }
        }
        let cred = world.disk.current.as_ref().map(|cred| cred.id);
        for _ in 0..6 {
            if world.can_happen(&refusal()) {
                world.hear(refusal());
            }
        }
        for last in [Event::Ticket, Event::Reset] {
            world.hear(last);
            world.check();
        }
        (world.chances, cred)
    };
    for seed in 0..20 {
        let (chances, cred) = life(seed, 0);
        assert!(chances > 40 && cred > Some(1), "no life at all: {chances}, {cred:?}");
        for cut_at in 1..=chances {
            life(seed, cut_at);
        }
    }
}

#[test]
fn the_button_alone_makes_a_box_nobodys() {
    for seed in 0..500 {
        let mut world = World::new(seed);
        world.cuts = 10;
        for _ in 0..100 {
            let time = world.some_time();
            world.pass(time);
            let event = match world.random.u8(0..6) {
                0 => Event::Ask(Way::Button),
                1 => Event::HeldTen,
                2 | 3 => Event::Tap,
                4 => world.pending.pop_front().unwrap_or(Event::Tick),
                _ => Event::Tick,
            };
            world.hear(event);
            assert!(!world.state.is_claimed() && !matches!(world.state.phase, Phase::Enrolling { .. }));
        }
    }
}

/// A year of a box whose calls fail three times of ten, and whose power fails now and then.
#[test]
fn a_certificate_does_not_expire_in_a_year_in_which_three_of_ten_calls_fail() {
    for seed in 0..30 {
        let mut world = at_work(seed);
        let (mut calls, first) = (0, world.disk.current.clone());
        for tick in 0..365 * 24 * 4_u32 {
            world.pass(15 * MINUTE);
            let fails = world.random.u8(0..10) < 3;
            let tried = world.disk.kept.renewal_tried_unix_ms;
            world.hear(Event::Tick);
            let event = match world.pending.pop_front() {
                Some(event) => event,
                None if world.disk.kept.renewal_tried_unix_ms != tried => {
                    calls += 1;
                    let lock = world.disk.kept.tenant.clone().unwrap();
                    if fails { Event::NotRenewed("down".to_owned()) } else { world.enrolled(&lock) }
                }
                None if fails => Event::Tick,
                None => Event::Welcome,
            };
            world.hear(event);
            if tick % 977 == 0 {
                world.boot();
            }
            assert_ne!(word(&world), "expired", "seed {seed}, day {}", tick / 96);
        }
        assert!(calls >= 4 && world.disk.current != first, "no renewal: {calls}");
    }
}

/// The cloud does not answer from the 60th day on: tried daily, and hourly in the last week; never more often.
#[test]
fn a_renewal_is_tried_daily_and_hourly_in_the_last_week() {
    let mut world = at_work(66);
    let (mut tries, mut last) = (Vec::new(), 0);
    for _ in 0..91 * DAY / (5 * MINUTE) {
        world.pass(5 * MINUTE);
        world.hear(Event::Tick);
        let tried = world.disk.kept.renewal_tried_unix_ms;
        if tried != last {
            tries.push(tried);
            last = tried;
            world.hear(Event::NotRenewed("down".to_owned()));
            world.boot();
        }
    }
    let until = world.disk.current.as_ref().unwrap().validity.until_unix_ms;
    let in_last_week = tries.iter().filter(|at| **at + 7 * DAY > until && **at < until).count();
    assert!((160..=168).contains(&in_last_week), "{in_last_week}");
    assert!((22..=26).contains(&(tries.len() - in_last_week)), "{}", tries.len());
}

/// Taken in by the cloud, and the power fails before the certificate is in its place: neither time nor a change of mind loses it.
#[test]
fn a_first_certificate_that_was_welcome_is_not_thrown_away() {
    let mut found = 0;
    for cut_at in 1..60 {
        let mut world = World::new(7);
        world.cut_at = cut_at;
        for _ in 0..40 {
            let event = world.good_event();
            world.hear(event);
            if world.state.kept.is_first_welcome {
                break;
            }
        }
        if !world.state.kept.is_first_welcome {
            continue;
        }
        found += 1;
        for event in [Event::Cancel, Event::Tick, Event::SaidNo("no".to_owned()), Event::Tap] {
            world.pass(HOUR);
            world.hear(event);
            assert_eq!(word(&world), "enrolling");
        }
        world.hear(Event::Welcome);
        assert_eq!((word(&world), world.state.kept.is_first_welcome), ("active", false));
    }
    assert!(found > 0, "the power never failed there");
}

/// From wherever the string ended, the box comes out: with the cloud's help, with a person's, and out of what is only for a while by
/// itself.
fn comes_out(world: &World) {
    let is_out = |world: &World| matches!(world.state.phase, Phase::Unclaimed | Phase::Factory | Phase::Active(_));
    let calm = || {
        let mut world = world.clone();
        (world.cuts, world.cut_at) = (0, 0);
        world
    };
    let mut helped = calm();
    for _ in 0..60 {
        if is_out(&helped) && helped.pending.is_empty() && !helped.state.has_next {
            break;
        }
        let event = helped.good_event();
        helped.hear(event);
    }
    assert!(is_out(&helped), "the cloud cannot help: {:?} became {:?}", world.state, helped.state);

    let mut by_hand = calm();
    by_hand.hear(Event::Reset);
    for _ in 0..8 {
        let event = by_hand.pending.pop_front().unwrap_or(Event::Tick);
        by_hand.hear(event);
    }
    assert_eq!((word(&by_hand), by_hand.disk.current.is_some()), ("unclaimed", false));

    let mut alone = calm();
    for _ in 0..20 {
        while let Some(event) = alone.pending.pop_front() {
            alone.hear(event);
        }
        alone.pass(MINUTE);
        alone.hear(Event::Tick);
    }
    let waits = match alone.state.phase {
        Phase::Pairing { .. } | Phase::Forgetting | Phase::Factory => true,
        Phase::Enrolling { .. } => !alone.next_was_welcome(),
        _ => false,
    };
    assert!(!waits, "stays for ever: {:?} became {:?}", world.state, alone.state);
}

/// 20,000 strings of up to 60 events; `PLATEN_STRINGS` says how many more.
#[test]
fn no_string_of_events_with_power_cuts_breaks_what_must_always_hold() {
    let strings = std::env::var("PLATEN_STRINGS").ok().and_then(|text| text.parse().ok()).unwrap_or(20_000);
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..strings {
        let mut world = World::new(seed);
        world.cuts = if seed % 4 == 0 { 0 } else { 25 };
        if seed % 2 == 0 {
            // Half of them begin where things happen.
            for _ in 0..40 {
                let event = world.good_event();
                if world.can_happen(&event) {
                    world.hear(event);
                }
                if world.state.is_claimed() {
                    break;
                }
            }
        }
        let events = world.random.usize(1..=60);
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            world.live(events);
            comes_out(&world);
        }));
        if let Err(why) = run {
            eprintln!("string {seed}");
            std::panic::resume_unwind(why);
        }
        seen.append(&mut world.seen);
    }
    assert_eq!(seen.len(), 9, "not every phase was reached: {seen:?}");
}

#[test]
fn a_renewal_that_was_tried_just_before_the_end_does_not_delay_the_recovery_and_a_start_hurries_none() {
    let validity = Validity { from_unix_ms: 0, until_unix_ms: 90 * DAY, renew_unix_ms: 0 };
    let kept = Kept { renewal_tried_unix_ms: 90 * DAY - MINUTE, ..Kept::default() };
    let found = Found { bound: true, current: Some(validity), generation: 1, next: None };
    let now = Now { unix_ms: 90 * DAY + MINUTE, up_ms: 1 };
    let (state, _) = step(&State::new(kept), Event::Started(found.clone()), now);
    let (state, effects) = step(&state, Event::Tick, now);
    assert_eq!(effects, [Effect::Recover]);
    let later = Now { unix_ms: now.unix_ms + MINUTE, up_ms: 1 };
    let (state, _) = step(&State::new(state.kept), Event::Started(found), later);
    assert_eq!(step(&state, Event::Tick, later).1, []);
}
