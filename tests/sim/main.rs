//! The promise "a reading accepted is a reading delivered, once, in order, with no invented time", tried in worlds that are made
//! of a seed: README.md, "Simulation".
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod accepted;
mod box_host;
mod checker;
mod clock;
mod cloud_host;
mod history;
mod plan;
mod printers;
mod wire;
mod world;

use std::time::{Duration, Instant};

use plan::Plan;
use world::{Outcome, Sabotage, run};

/// How to see one world again.
const REPLAY: &str = "PLATEN_SIM_SEED";
/// How many worlds, and beginning with which seed.
const SEEDS: &str = "PLATEN_SIM_SEEDS";
const FIRST: &str = "PLATEN_SIM_FIRST";
/// Events that are printed of a world in which something is wrong.
const EVENTS_TOLD: usize = 60;

fn tell(outcome: &Outcome) -> String {
    format!(
        "seed {}:\n{}\nplan: {:?}\nthe last events:\n{}replay: {REPLAY}={} cargo test --test sim one_world -- --ignored --nocapture",
        outcome.plan.seed,
        outcome.findings,
        outcome.plan,
        outcome.history.last(EVENTS_TOLD),
        outcome.plan.seed,
    )
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn invariant_4_a_reading_accepted_is_a_reading_delivered_once() {
    for seed in 0..40 {
        let outcome = run(&Plan::of(seed), Sabotage::None);
        assert!(outcome.findings.is_empty(), "{}", tell(&outcome));
    }
}

#[test]
fn a_seed_is_always_the_same_world() {
    for seed in [1, 2, 3, 77, 1_000] {
        let (first, second) = (run(&Plan::of(seed), Sabotage::None), run(&Plan::of(seed), Sabotage::None));
        if first.history.hash() != second.history.hash() {
            let (first, second) = (first.history.told(), second.history.told());
            let differ = first.events.iter().zip(&second.events).position(|(a, b)| a != b);
            panic!("seed {seed} differs from event {differ:?} on");
        }
    }
}

/// The seed of the first of so many worlds in which the checker finds that this rule is broken.
fn first_found(sabotage: Sabotage, rule: &str, seeds: u64) -> Option<u64> {
    (0..seeds).find(|seed| run(&Plan::of(*seed), sabotage).findings.rules().contains(&rule))
}

#[test]
fn a_cloud_without_a_unique_key_is_found_out() {
    assert!(first_found(Sabotage::NoUniqueKey, "nothing is stored twice", 20).is_some());
}

#[test]
fn a_box_that_gives_numbers_again_is_found_out() {
    assert!(first_found(Sabotage::NumbersAgain, "numbers are never used again", 20).is_some());
}

#[test]
fn a_cloud_that_acknowledges_before_it_commits_is_found_out() {
    assert!(first_found(Sabotage::AckBeforeCommit, "what is acknowledged is committed", 20).is_some());
}

/// `PLATEN_SIM_SEED=7 cargo test --test sim one_world -- --ignored --nocapture`
#[test]
#[ignore = "for who looks at one world"]
fn one_world() {
    // With RUST_LOG=platen=info the boxes' own words between the events.
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).without_time().init();
    let seed = number(REPLAY).unwrap_or(0);
    let begun = Instant::now();
    let outcome = run(&Plan::of(seed), Sabotage::None);
    println!("{}", outcome.history.last(number("PLATEN_SIM_EVENTS").map_or(usize::MAX, |n| n as usize)));
    println!("{}\n{:?} in {:?}", tell(&outcome), outcome.simulated, begun.elapsed());
    assert!(outcome.findings.is_empty());
}

/// Of one of the threads.
#[derive(Default)]
struct Sum {
    simulated: Duration,
    accepted: usize,
    failed: Vec<u64>,
}

/// `tests/run sim`: many worlds, on both cores.
#[test]
#[ignore = "tests/run sim"]
fn many_worlds() {
    let (count, first) = (number(SEEDS).unwrap_or(1_000), number(FIRST).unwrap_or(0));
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let begun = Instant::now();
    let next = std::sync::atomic::AtomicU64::new(0);
    let work = || {
        let mut sum = Sum::default();
        loop {
            let nth = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if nth >= count {
                return sum;
            }
            let outcome = run(&Plan::of(first + nth), Sabotage::None);
            sum.simulated += outcome.simulated;
            sum.accepted += outcome.accepted;
            if !outcome.findings.is_empty() {
                println!("{}\n", tell(&outcome));
                sum.failed.push(outcome.plan.seed);
            }
            if nth % 100 == 99 {
                println!("{} of {count} worlds after {} s", nth + 1, begun.elapsed().as_secs());
            }
        }
    };
    let sums: Vec<Sum> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        running.into_iter().map(|thread| thread.join().expect("a world ends")).collect()
    });
    let mut failed: Vec<u64> = sums.iter().flat_map(|sum| sum.failed.clone()).collect();
    failed.sort_unstable();
    println!(
        "{count} seeds, {} violations, {} s, {} simulated hours, {} readings accepted",
        failed.len(),
        begun.elapsed().as_secs(),
        sums.iter().map(|sum| sum.simulated.as_secs()).sum::<u64>() / 3_600,
        sums.iter().map(|sum| sum.accepted).sum::<usize>(),
    );
    assert!(failed.is_empty(), "seeds {failed:?}");
}
