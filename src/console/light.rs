//! What the light says, in words: for whoever stands before the box and sees it blink.

/// A state of the light.
#[derive(Debug)]
pub struct State {
    /// The word, the same everywhere.
    pub word: &'static str,
    /// How it blinks.
    pub rhythm: &'static str,
    /// In which colour, where it has several.
    pub colour: &'static str,
    /// What it means.
    pub means: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

const fn state(
    word: &'static str,
    (rhythm, colour): (&'static str, &'static str),
    means: &'static str,
    remedy: &'static str,
) -> State {
    State { word, rhythm, colour, means, remedy }
}

/// All that it can say.
pub static STATES: [State; 17] = [
    state("ok", ("steady", "green"), "all is well", "nothing"),
    state("starting", ("swells and fades", "white"), "the box is starting", "wait a minute"),
    state("unclaimed", ("slow, once in 2 s", "blue"), "the box belongs to nobody yet", "type claim"),
    state("pairing", ("fast, twice a second", "blue"), "the box is being claimed", "go on in the portal"),
    state("number", ("2 to 6 blinks, pause", "blue"), "a number for the portal", "count, and type it in the portal"),
    state("press", ("like a heartbeat", "blue"), "the box wants a hand", "press its button, or type confirm"),
    state("tunnel", ("steady with gaps", "green"), "somebody looks at a printer's page", "nothing; tunnel off ends it"),
    state(
        "no-cloud",
        ("1 long, 1 short", "orange"),
        "the cloud is out of reach",
        "type status, then test; nothing is lost meanwhile",
    ),
    state("no-network", ("1 long, 2 short", "orange"), "no cable or no address", "look at the cable; type network"),
    state(
        "no-printers",
        ("1 long, 3 short", "orange"),
        "no printer answers",
        "type ranges; is SNMP on in the printers?",
    ),
    state("clock/tls", ("1 long, 4 short", "orange"), "TLS refused or inspected, or no date", "type status"),
    state("updating", ("even, not fast", "white"), "an update is being installed", "do not unplug the box"),
    state("locate", ("long and short", "white"), "somebody in the portal looks for it", "wave"),
    state(
        "disabled",
        ("very long, short gap", "red"),
        "the cloud refuses this box",
        "look in the portal; or type unlock",
    ),
    state("fault", ("a flash in 2 s", "red"), "storage or hardware fails", "type status; replace the memory card"),
    state("reset-armed", ("faster and faster", "red"), "the button is held for a reset", "let go to end it"),
    state("refused", ("2 blinks", "red"), "that is not possible now", "type status"),
];

/// The state with this word.
#[must_use]
pub fn find(word: &str) -> Option<&'static State> {
    STATES.iter().find(|state| state.word == word)
}

/// One state, explained.
#[must_use]
pub fn explain(state: &State) -> String {
    format!(
        "The light says `{}`: {} ({}).\nIt means: {}.\nWhat to do: {}.",
        state.word, state.rhythm, state.colour, state.means, state.remedy
    )
}

/// All of them, a line each.
#[must_use]
pub fn all() -> String {
    let line = |state: &State| format!("{:<12}{:<8}{:<22}{}", state.word, state.colour, state.rhythm, state.means);
    STATES.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause;

    #[test]
    fn whatever_a_cause_lights_is_explained() {
        for cause in cause::all() {
            assert!(find(cause::explain(cause).led).is_some(), "{cause:?}");
        }
        assert!(all().lines().count() == STATES.len() && all().lines().all(|line| line.len() < 80), "{}", all());
    }
}
