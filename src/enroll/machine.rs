//! Whose box this is, as a pure machine: `step(state, event, now)` gives the next state and what is to be done. It reads no clock,
//! no disk and no network, so every string of events can be tried.
//!
//! Whoever drives it keeps three promises: what [`State::kept`] holds is on the disk before any effect of the step begins; after a
//! start it says by [`Event::Started`] what the disk holds; effects are done in their order, and nothing else is heard before one that
//! the disk does has ended and that was said, nor between [`Effect::Restart`] and the start: what an old connection still says would
//! be taken for an answer to the new certificate. Then a power cut at any point leads to a state from which the box goes on.

mod phases;
mod state;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod world;

use phases::FIRST_CONTACT_MS;
pub use state::{Challenge, Disabled, Effect, Event, Found, Kept, Now, Phase, Stage, State, Validity, Way};

/// Refusals in a row that disable.
pub const REFUSALS_MAX: u32 = 5;

/// What follows from an event.
#[must_use]
pub fn step(state: &State, event: Event, now: Now) -> (State, Vec<Effect>) {
    let mut next = state.clone();
    let effects = match event {
        Event::Started(found) => started(&mut next, found, now),
        Event::Reset => forget(&mut next, true),
        Event::Decommission if state.is_claimed() => forget(&mut next, false),
        Event::Wiped => wiped(&mut next),
        Event::KeysMade if state.phase == Phase::Factory => {
            next.phase = Phase::Unclaimed;
            Vec::new()
        }
        event => match &state.phase {
            Phase::Unclaimed => phases::unclaimed(&mut next, &event, now),
            Phase::Pairing { .. } => phases::pairing(&mut next, event, now),
            Phase::Enrolling { .. } => phases::enrolling(&mut next, event, now),
            Phase::Active(_) | Phase::Renewing(_) | Phase::Expired(_) => phases::at_work(&mut next, event, now),
            Phase::Disabled => phases::disabled(&mut next, event, now),
            Phase::Factory | Phase::Forgetting => phases::not_now(&event),
        },
    };
    (next, effects)
}

fn started(next: &mut State, found: Found, now: Now) -> Vec<Effect> {
    next.has_next = found.next.is_some();
    if next.kept.forgetting {
        next.phase = Phase::Forgetting;
        return vec![Effect::Wipe];
    }
    if found.current.is_some() {
        // The power may have failed between taking its place and writing that down.
        (next.kept.generation, next.kept.is_first_welcome) = (found.generation, false);
    }
    match (found.current, found.next) {
        (Some(_), _) if next.kept.disabled.is_some() => next.phase = Phase::Disabled,
        (Some(validity), _) => next.phase = Phase::Active(validity),
        (None, Some(tenant)) => {
            next.phase = Phase::Enrolling { tenant, until_up_ms: now.up_ms + FIRST_CONTACT_MS };
            return vec![Effect::FirstContact];
        }
        (None, None) => {
            // Whatever was counted was counted of a certificate that is gone.
            (next.kept.disabled, next.kept.consecutive, next.kept.may_try_now) = (None, 0, false);
            next.phase = if found.bound { Phase::Unclaimed } else { Phase::Factory };
        }
    }
    if found.bound { Vec::new() } else { vec![Effect::MakeKeys] }
}

/// Everything is forgotten; whose box it is only where the cloud has released it.
fn forget(next: &mut State, keep_tenant: bool) -> Vec<Effect> {
    if next.phase == Phase::Forgetting {
        return Vec::new();
    }
    let tell = next.is_claimed();
    next.kept.forgetting = true;
    if !keep_tenant {
        next.kept.tenant = None;
    }
    next.phase = Phase::Forgetting;
    if tell { vec![Effect::TellLeave, Effect::Wipe] } else { vec![Effect::Wipe] }
}

fn wiped(next: &mut State) -> Vec<Effect> {
    if next.phase != Phase::Forgetting {
        return Vec::new();
    }
    next.kept = Kept { tenant: next.kept.tenant.take(), ..Kept::default() };
    (next.phase, next.last_error, next.has_next) = (Phase::Factory, None, false);
    vec![Effect::MakeKeys, Effect::Restart]
}
