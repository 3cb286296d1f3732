//! One operation of the codec, run so many times, for `tests/bench/codec/run` to count its instructions. Prints on what
//! it ran: the instructions depend on it, as cryptography and copying use what the processor has.
#![allow(clippy::unwrap_used, clippy::panic)] // a failed unwrap ends a measurement that means nothing

use platen::snmp::fuzzing::operations::{NAMES, operation};
use std::hint::black_box;

/// The count is taken between the first instruction of this function and its last, so it must be one, and has a name
/// that no other has.
#[inline(never)]
fn counted_operations(operation: &dyn Fn() -> usize, times: u32) -> usize {
    (0..times).map(|_| black_box(operation())).sum()
}

fn processor() -> String {
    let mut words = vec![std::env::consts::ARCH];
    #[cfg(target_arch = "x86_64")]
    for (has_it, word) in [
        (is_x86_feature_detected!("aes"), "aes"),
        (is_x86_feature_detected!("sha"), "sha"),
        (is_x86_feature_detected!("avx2"), "avx2"),
        (is_x86_feature_detected!("avx512f"), "avx512f"),
    ] {
        if has_it {
            words.push(word);
        }
    }
    words.join(" ")
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, times] = arguments.as_slice() else {
        // What there is to count.
        for name in NAMES {
            println!("{name}");
        }
        return;
    };
    let operation = operation(name).unwrap_or_else(|| panic!("there is no operation \"{name}\""));
    // What is made once for all is not counted.
    assert!(operation() > 0, "\"{name}\" does not work");
    let done = counted_operations(&*operation, times.parse().unwrap());
    assert!(done > 0);
    println!("{}", processor());
}
