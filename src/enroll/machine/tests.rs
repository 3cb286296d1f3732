//! The machine under chosen and random strings of events.

use super::*;

#[test]
fn a_new_box_is_nobodys_and_waits() {
    let now = Now { unix_ms: 1_000, up_ms: 1 };
    let (state, effects) = step(&State::new(Kept::default()), Event::Started(Found::default()), now);
    assert_eq!(effects, [Effect::MakeKeys]);
    let (state, effects) = step(&state, Event::KeysMade, now);
    assert_eq!((state.phase.word(), effects.len()), ("unclaimed", 0));
}
