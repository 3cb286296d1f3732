//! The lock against who guesses, cuts the power, kills the console, and sets clocks.

use std::sync::Mutex;

use proptest::prelude::*;

use super::*;
use crate::store::write_atomically_on;
use crate::sys::{Fault, FaultFs, SystemEntropy};

const LABEL: [u8; 10] = [7; 10];
const MINUTE: u64 = 60_000;

/// A box with a lock: its disk, and its clock that never jumps.
struct Bench {
    fs: FaultFs,
    now: Arc<Mutex<Moment>>,
    boots: u32,
}

impl Bench {
    fn new() -> Self {
        let now = Moment { boot: "0".to_owned(), uptime_ms: 5_000 };
        Self { fs: FaultFs::default(), now: Arc::new(Mutex::new(now)), boots: 0 }
    }

    /// The lock of a console that has just been started.
    fn lock(&self) -> Lock {
        let now = self.now.clone();
        let now = move || now.lock().unwrap().clone();
        let lock = Lock::new(Arc::new(self.fs.clone()), Path::new("/d"), Some(LabelSecret::from_bytes(LABEL)), now);
        Lock { iterations: std::num::NonZeroU32::MIN, ..lock }
    }

    fn pass(&self, ms: u64) {
        self.now.lock().unwrap().uptime_ms += ms;
    }

    fn restart(&mut self) {
        self.boots += 1;
        *self.now.lock().unwrap() = Moment { boot: self.boots.to_string(), uptime_ms: 3_000 };
    }
}

fn label_code() -> String {
    LabelSecret::from_bytes(LABEL).text().to_string()
}

const WRONG: &str = "0000-0000-0000-0000";

#[test]
fn five_wrong_codes_close_it_each_time_for_longer_and_a_right_one_resets() {
    let bench = Bench::new();
    let lock = bench.lock();
    for minutes in [15, 30, 60, 120, 240, 480, 960, 1_440, 1_440] {
        for tries_left in (1..TRIES).rev() {
            assert_eq!(lock.attempt(WRONG).unwrap(), Outcome::Wrong { tries_left });
        }
        let closed = Outcome::Closed(Duration::from_secs(minutes * 60));
        assert_eq!(lock.attempt(WRONG).unwrap(), closed);
        // The right code is not even looked at meanwhile.
        assert_eq!(lock.attempt(&label_code()).unwrap(), closed);
        bench.pass(minutes * MINUTE - 1);
        assert_eq!(lock.attempt(&label_code()).unwrap(), Outcome::Closed(Duration::from_millis(1)));
        bench.pass(1);
        assert_eq!(lock.closed_for().unwrap(), None);
    }
    assert_eq!(lock.attempt(&label_code().to_lowercase()).unwrap(), Outcome::Right);
    assert_eq!(lock.attempt(WRONG).unwrap(), Outcome::Wrong { tries_left: TRIES - 1 });
}

#[test]
fn a_new_process_changes_nothing_and_a_new_start_of_the_system_begins_the_wait_anew() {
    let mut bench = Bench::new();
    for _ in 0..TRIES {
        bench.lock().attempt(WRONG).unwrap();
    }
    bench.pass(10 * MINUTE);
    assert_eq!(bench.lock().closed_for().unwrap(), Some(Duration::from_secs(5 * 60)));
    bench.restart();
    assert_eq!(bench.lock().closed_for().unwrap(), Some(FIRST_WAIT));
    bench.pass(14 * MINUTE);
    assert_eq!(bench.lock().attempt(&label_code()).unwrap(), Outcome::Closed(Duration::from_secs(60)));
    bench.pass(MINUTE);
    assert_eq!(bench.lock().attempt(&label_code()).unwrap(), Outcome::Right);
}

#[test]
fn a_code_of_ones_own_takes_the_place_of_the_labels_until_it_is_given_up() {
    let bench = Bench::new();
    let lock = bench.lock();
    assert_eq!(lock.opened_by().unwrap(), OpenedBy::Label);
    assert!(matches!(lock.set_code(Some("short"), &SystemEntropy), Err(LockError::Length)));
    lock.set_code(Some("Rohrpost 17"), &SystemEntropy).unwrap();
    assert_eq!(lock.opened_by().unwrap(), OpenedBy::OwnCode);
    assert_eq!(lock.attempt(&label_code()).unwrap(), Outcome::Wrong { tries_left: 4 });
    assert_eq!(lock.attempt("rohrpost 17").unwrap(), Outcome::Wrong { tries_left: 3 });
    assert_eq!(bench.lock().attempt("Rohrpost 17").unwrap(), Outcome::Right);
    let written = bench.fs.read_at(Path::new("/d/console.json"), 0, FILE_MAX_BYTES).unwrap();
    assert!(!String::from_utf8_lossy(&written).contains("Rohrpost"));
    lock.set_code(None, &SystemEntropy).unwrap();
    assert_eq!(lock.attempt(&label_code()).unwrap(), Outcome::Right);
}

#[test]
fn without_label_and_code_nothing_opens_it() {
    let lock = Lock { label: None, ..Bench::new().lock() };
    assert_eq!(lock.opened_by().unwrap(), OpenedBy::Nothing);
    assert_eq!(lock.attempt("").unwrap(), Outcome::NoCode);
    lock.set_code(Some("long enough"), &SystemEntropy).unwrap();
    assert_eq!(lock.attempt("long enough").unwrap(), Outcome::Right);
}

#[test]
fn a_damaged_file_costs_a_wait_and_no_more() {
    let bench = Bench::new();
    write_atomically_on(&bench.fs, Path::new("/d/console.json"), b"{\"wrong\":").unwrap();
    assert_eq!(bench.lock().attempt(&label_code()).unwrap(), Outcome::Closed(FIRST_WAIT));
    bench.pass(15 * MINUTE);
    assert_eq!(bench.lock().attempt(&label_code()).unwrap(), Outcome::Right);
}

#[test]
fn what_cannot_be_written_down_is_not_compared() {
    let bench = Bench::new();
    bench.lock().attempt(WRONG).unwrap();
    bench.fs.fail(1, Fault::ReadOnly);
    for code in [WRONG, &label_code()] {
        let error = bench.lock().attempt(code).unwrap_err().to_string();
        assert!(error.contains("no code is taken") && error.contains("memory card"), "{error}");
    }
    bench.fs.repair();
    assert_eq!(bench.lock().attempt(WRONG).unwrap(), Outcome::Wrong { tries_left: 3 });
}

#[test]
fn two_consoles_do_not_count_past_each_other() {
    let bench = Bench::new();
    let _held = bench.lock().hold().unwrap();
    assert!(matches!(bench.lock().attempt(WRONG), Err(LockError::Busy)));
}

#[test]
fn a_power_cut_at_any_step_wins_no_try() {
    let mut random = fastrand::Rng::with_seed(30);
    for nth in 1..40 {
        for _ in 0..20 {
            let mut bench = Bench::new();
            let mut told_wrong = 0;
            // Cuts the power in the n-th call of each try, whatever it was at.
            for _ in 0..TRIES * 3 {
                bench.fs.fail(nth, Fault::Killed);
                let told = bench.lock().attempt(WRONG);
                told_wrong += u32::from(matches!(told, Ok(Outcome::Wrong { .. } | Outcome::Closed(_))));
                let closed = matches!(told, Ok(Outcome::Closed(_)));
                bench.fs.repair();
                bench.fs.crash(&mut random);
                bench.restart();
                let kept = bench.lock().read().unwrap();
                assert!(kept.wrong >= told_wrong.min(TRIES), "{kept:?} after {told_wrong}, cut at {nth}");
                if closed {
                    assert_eq!(bench.lock().closed_for().unwrap(), Some(FIRST_WAIT));
                    break;
                }
            }
        }
    }
}

#[test]
fn the_right_code_opens_although_the_power_fails_while_it_is_written_down() {
    let mut random = fastrand::Rng::with_seed(31);
    for nth in 1..40 {
        let mut bench = Bench::new();
        bench.lock().attempt(WRONG).unwrap();
        bench.fs.fail(nth, Fault::Killed);
        let told = bench.lock().attempt(&label_code());
        assert!(matches!(told, Ok(Outcome::Right) | Err(_)), "{told:?}");
        bench.fs.repair();
        bench.fs.crash(&mut random);
        bench.restart();
        assert!(bench.lock().read().unwrap().wrong <= 2);
        assert_eq!(bench.lock().attempt(&label_code()).unwrap(), Outcome::Right);
    }
}

#[derive(Debug, Clone)]
enum Act {
    Wrong,
    Right,
    Pass(u64),
    NewProcess,
    Restart,
}

proptest! {
    #[test]
    fn whatever_is_tried_guesses_cost_the_time_that_they_are_to_cost(acts in proptest::collection::vec(prop_oneof![
        8 => Just(Act::Wrong),
        1 => Just(Act::Right),
        4 => (0..30 * MINUTE).prop_map(Act::Pass),
        1 => Just(Act::NewProcess),
        1 => Just(Act::Restart),
    ], 0..120)) {
        let mut bench = Bench::new();
        let mut lock = bench.lock();
        // Guesses since the last right code, and the time that passed since the first of them.
        let (mut guesses, mut passed) = (0_u32, 0_u64);
        for act in acts {
            match act {
                Act::Wrong => {
                    let told = lock.attempt(WRONG).unwrap();
                    let compared = lock.read().unwrap().wrong > guesses;
                    prop_assert!(compared || matches!(told, Outcome::Closed(_)));
                    guesses += u32::from(compared);
                    let rounds_waited = guesses.saturating_sub(1) / TRIES;
                    let due: u64 = (1..=rounds_waited).map(|round| wait_ms(round * TRIES)).sum();
                    prop_assert!(passed >= due, "{guesses} guesses in {passed} ms");
                }
                Act::Right => {
                    if lock.attempt(&label_code()).unwrap() == Outcome::Right {
                        (guesses, passed) = (0, 0);
                    }
                }
                Act::Pass(ms) => {
                    bench.pass(ms);
                    passed += ms;
                }
                Act::NewProcess => lock = bench.lock(),
                Act::Restart => {
                    bench.restart();
                    lock = bench.lock();
                }
            }
        }
    }
}
