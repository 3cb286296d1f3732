//! The rules that the LED table is held to. Light is 1, darkness 0, colours do not exist; two rhythms differ by the time for
//! which one is lit and the other is not, at the phases at which that is least.
//!
//! All durations are multiples of 50 ms. The difference is linear in the phases between such moments, so that trying those
//! finds the least.

use super::*;
use crate::board::rhythm::FULL;

const CELL_MS: u32 = 50;

/// What a person must be able to tell apart: half a second of light in eight, and more where flashes are counted.
const STATES_APART_MS: u32 = 500;
const NUMBERS_APART_MS: u32 = 800;

type Cells = Vec<f64>;

fn cells(rhythm: &Rhythm) -> Cells {
    let length = rhythm.length_ms().max(CELL_MS);
    assert_eq!(length % CELL_MS, 0);
    (0..length / CELL_MS).map(|n| f64::from(rhythm.level_at(u64::from(n * CELL_MS))) / f64::from(FULL)).collect()
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The least difference of two repeating rhythms in a window, in ms.
fn repeating_apart(a: &Cells, b: &Cells, window_ms: u32) -> u32 {
    let window = (window_ms / CELL_MS) as usize;
    let both = a.len() / gcd(a.len(), b.len()) * b.len();
    let mut least = f64::INFINITY;
    for shift in 0..gcd(a.len(), b.len()) {
        let apart: Vec<f64> = (0..both).map(|t| (a[t % a.len()] - b[(t + shift) % b.len()]).abs()).collect();
        let mut sum: f64 = (0..window).map(|t| apart[t % both]).sum();
        for start in 0..both {
            least = least.min(sum);
            sum += apart[(start + window) % both] - apart[start];
        }
    }
    (least * f64::from(CELL_MS)).round() as u32
}

/// The least difference of what is shown once, in darkness, and whatever else is seen in the same window.
fn once_apart(once: &Cells, other: &Cells, other_is_once: bool, window_ms: u32) -> u32 {
    let window = (window_ms / CELL_MS) as usize;
    let at = |t: usize| if other_is_once { other.get(t).copied().unwrap_or(0.0) } else { other[t % other.len()] };
    let shifts = if other_is_once { window - other.len() } else { other.len() };
    let mut least = f64::INFINITY;
    for shift in 0..shifts {
        let seen: Vec<f64> = match other_is_once {
            true => (0..window).map(|t| t.checked_sub(shift).map_or(0.0, at)).collect(),
            false => (0..window).map(|t| at(t + shift)).collect(),
        };
        let all: f64 = seen.iter().sum();
        for start in 0..=window - once.len() {
            let under = once.iter().zip(&seen[start..]).map(|(once, seen)| (once - seen).abs() - seen);
            least = least.min(all + under.sum::<f64>());
        }
    }
    (least * f64::from(CELL_MS)).round() as u32
}

/// Everything that an LED may show: each row, and what an LED without levels shows instead.
fn everything(has_levels: bool) -> Vec<(Signal, Rhythm)> {
    let rhythm = |pattern: &Pattern| pattern.rhythm_for(has_levels).clone();
    Patterns::built_in().iter().map(|pattern| (pattern.signal, rhythm(pattern))).collect()
}

/// All pairs with their difference in ms, the closest first.
fn pairs(has_levels: bool) -> Vec<(u32, Signal, Signal)> {
    let table = Patterns::built_in();
    let all = everything(has_levels);
    let mut pairs = Vec::new();
    for (n, (first, a)) in all.iter().enumerate() {
        for (second, b) in &all[n + 1..] {
            let numbers = matches!((first, second), (Signal::Number(_), Signal::Number(_)));
            let window_ms = if numbers { table.numbers_readable_ms } else { table.readable_ms };
            let apart = match (a.is_once(), b.is_once()) {
                (false, false) => repeating_apart(&cells(a), &cells(b), window_ms),
                (true, is_once) => once_apart(&cells(a), &cells(b), is_once, window_ms),
                (false, true) => once_apart(&cells(b), &cells(a), false, window_ms),
            };
            pairs.push((apart, *first, *second));
        }
    }
    pairs.sort_by_key(|(apart, ..)| *apart);
    pairs
}

fn are_numbers(pair: &&(u32, Signal, Signal)) -> bool {
    matches!(pair, (_, Signal::Number(_), Signal::Number(_)))
}

#[test]
fn the_rhythm_alone_tells_the_state_at_whatever_moment_one_looks() {
    for has_levels in [true, false] {
        let pairs = pairs(has_levels);
        assert_eq!(pairs.len(), SIGNALS * (SIGNALS - 1) / 2);
        for (apart, first, second) in pairs.iter().filter(|pair| !are_numbers(pair)).take(5) {
            eprintln!("levels {has_levels}: {first} and {second} differ {apart} ms in 8 s");
        }
        for (apart, first, second) in pairs.iter().filter(are_numbers).take(3) {
            eprintln!("levels {has_levels}: {first} and {second} differ {apart} ms in 13 s");
        }
        for (apart, first, second) in &pairs {
            let numbers = matches!((first, second), (Signal::Number(_), Signal::Number(_)));
            let least = if numbers { NUMBERS_APART_MS } else { STATES_APART_MS };
            assert!(*apart >= least, "{first} and {second} differ {apart} ms only, levels {has_levels}");
        }
    }
}

#[test]
fn drafts_of_the_table_that_could_not_be_told_apart_are_found() {
    let blink = |steps: &[u32]| cells(&Rhythm::Blink(Steps::from_slice(steps).unwrap()));
    let once = |steps: &[u32]| cells(&Rhythm::Once(Steps::from_slice(steps).unwrap()));
    // The held button at 0.5 Hz and `unclaimed` differed in colour only.
    assert_eq!(repeating_apart(&blink(&[1_000, 1_000]), &blink(&[1_000, 1_000]), 8_000), 0);
    // `done` and `refused` were a flash of 1500 ms, and the same with a gap of 300 in it.
    assert_eq!(once_apart(&once(&[1_500]), &once(&[600, 300, 600]), true, 8_000), 300);
    // A shift of half a round is worse to look at than none.
    assert_eq!(repeating_apart(&blink(&[250, 250]), &blink(&[500, 500]), 1_000), 500);
}

/// When light begins and ends in half a minute, from its beginning.
fn changes(rhythm: &Rhythm) -> Vec<u32> {
    let lit = |t: u32| rhythm.level_at(u64::from(t)) > FULL / 2;
    let starts_lit = if lit(0) { vec![0] } else { vec![] };
    starts_lit.into_iter().chain((1..30_000).filter(|t| lit(*t) != lit(t - 1))).collect()
}

#[test]
fn no_second_has_more_than_two_flashes() {
    // A flash is a pair of opposing changes (WCAG 2.3.1).
    for has_levels in [true, false] {
        for (signal, rhythm) in everything(has_levels) {
            let changes = changes(&rhythm);
            let most = changes.iter().map(|from| changes.iter().filter(|t| (*from..from + 1_000).contains(*t)).count());
            let most = most.max().unwrap_or(0);
            assert!(most <= 4, "{signal}: {most} changes in a second");
        }
    }
}

#[test]
fn a_whole_round_is_seen_in_time_from_whatever_moment_one_looks() {
    let table = Patterns::built_in();
    for (signal, rhythm) in everything(true) {
        let Rhythm::Blink(steps) = &rhythm else { continue };
        // The round after the one that was under way, up to where its last darkness is longer than any other.
        let pause = *steps.last().unwrap();
        let gaps = steps.iter().skip(1).step_by(2).filter(|gap| **gap < pause);
        let to_know_it_is_over = gaps.max().map_or(0, |gap| gap + CELL_MS);
        let needed = 2 * rhythm.length_ms() - pause + to_know_it_is_over;
        let is_number = matches!(signal, Signal::Number(_));
        let limit = if is_number { table.numbers_readable_ms } else { table.readable_ms };
        assert!(needed <= limit, "{signal} needs {needed} ms");
        assert!(!is_number || 2 * rhythm.length_ms() <= limit, "two rounds of {signal}");
    }
}

#[test]
fn a_count_of_faults_begins_with_a_long_flash_and_a_number_does_not() {
    for (signal, rhythm) in everything(true) {
        let Rhythm::Blink(steps) = &rhythm else { continue };
        let on: Vec<u32> = steps.iter().step_by(2).copied().collect();
        match signal {
            Signal::NoCloud | Signal::NoNetwork | Signal::NoPrinters | Signal::ClockTls | Signal::Disabled => {
                assert!(on.iter().skip(1).all(|short| on[0] >= 4 * short), "{signal}: {on:?}");
            }
            Signal::Number(number) => assert_eq!(on, vec![400; usize::from(number.get())]),
            _ => {}
        }
    }
}

#[test]
fn a_table_with_a_row_missing_twice_or_wrong_is_refused() {
    let changed = |from: &str, to: &str| Patterns::parse(&TABLE.replacen(from, to, 1)).unwrap_err();
    assert!(changed("word = \"locate\"", "word = \"lost\"").contains("no state lost"));
    assert!(changed("word = \"locate\"", "word = \"ok\"").contains("ok has not exactly one row"));
    assert!(changed("[600, 100, 200, 100]", "[600, 100, 200]").contains("L-18"));
    assert!(changed("[600, 100, 200, 100]", "[600, 0]").contains("L-18"));
    assert!(changed("stage = 3", "stage = 2").contains("not exactly one row"));
    assert!(changed("lasts_ms", "lasts").contains("unknown field"));
    assert!(changed("#ffffff", "white").contains("not #rrggbb"));
}

#[test]
fn of_any_set_of_signals_exactly_one_is_shown_whatever_their_order() {
    let table = Patterns::built_in();
    assert_eq!(table.highest([]), Signal::Off);
    for first in Signal::all() {
        assert_eq!(table.highest([first, Signal::Off]), first);
        for second in Signal::all() {
            let shown = table.highest([first, second]);
            assert_eq!(shown, table.highest([second, first]));
            assert!(shown == first || shown == second);
            assert!(table.of(shown).priority >= table.of(first).priority.max(table.of(second).priority));
            for third in Signal::all() {
                assert_eq!(table.highest([shown, third]), table.highest([third, second, first]));
            }
        }
    }
}

#[test]
fn what_somebody_must_not_miss_goes_before_what_is_merely_so() {
    let table = Patterns::built_in();
    assert_eq!(table.highest([Signal::Ok, Signal::NoCloud, Signal::NoNetwork]), Signal::NoNetwork);
    assert_eq!(table.highest([Signal::Fault, Signal::Updating, Signal::Unclaimed]), Signal::Fault);
    assert_eq!(table.highest([Signal::NoPrinters, Signal::NoCloud]), Signal::NoCloud, "of equal ones the first");
    assert_eq!(table.highest([Signal::Disabled, Signal::Done]), Signal::Done);
}
