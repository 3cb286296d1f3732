//! What the lives of simulated printers promise.

use super::*;
use crate::sim::{Simulated, demo_fleet};
use proptest::prelude::*;

fn printers(seed: u64) -> Vec<Printer> {
    demo_fleet()
        .into_iter()
        .map(|simulated| match simulated {
            Simulated::Living(description) => Printer::new(*description, seed),
            Simulated::Recording { .. } => unreachable!(),
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn meters_never_run_back_and_their_sums_hold(seed in any::<u64>(), steps in proptest::collection::vec(0u64..400, 1..30)) {
        for mut printer in printers(seed) {
            let mut before = printer.total();
            for seconds in &steps {
                printer.step(Duration::from_secs(*seconds));
                let c = printer.counters;
                prop_assert!(printer.total() >= before);
                prop_assert_eq!(c.get(Counter::Mono) + c.get(Counter::Colour), printer.total());
                prop_assert_eq!(c.get(Counter::Print) + c.get(Counter::Copy), printer.total());
                for (level, supply) in printer.supplies.iter().zip(&printer.description.supplies) {
                    prop_assert!(*level <= supply.max.max(supply.level) as f64);
                }
                before = printer.total();
            }
        }
    }
}

#[test]
fn in_a_day_every_printer_prints_and_alerts_come_and_go() {
    let (mut came, mut went) = (0, 0);
    for mut printer in printers(3) {
        let start = printer.total();
        for _ in 0..24 * 60 {
            printer.step(Duration::from_secs(60));
            went += printer.vanished_objects().len();
        }
        assert!(printer.total() > start, "{} printed nothing", printer.description.model);
        came += printer.next_alert - 1;
    }
    assert!(came > 20 && went > 20, "{came} alerts came, {went} objects went");
}

#[test]
fn the_same_seed_lives_the_same_life() {
    let live = |seed| {
        let mut printer = printers(seed).remove(0);
        (0..50).for_each(|_| printer.step(Duration::from_secs(7)));
        printer.counters
    };
    assert_eq!(live(5), live(5));
}
