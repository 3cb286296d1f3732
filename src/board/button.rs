//! What somebody says with the button: a machine of edges and times. It is pure; whoever owns it tells the time.
//!
//! The times are data (`button.toml`). A contact bounces, so a change counts once it has lasted for the debounce time, and it
//! counts from when it began: how long the button was held is neither longer nor shorter for it.

use std::sync::OnceLock;

use serde::Deserialize;

use super::signal::Signal;

const TIMES: &str = include_str!("button.toml");

/// Most rows of the list of times.
const ROWS_MAX: usize = 12;

/// What somebody has said with the button.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gesture {
    /// Pressed and let go within a second: full brightness, the state once more; presence, where it is asked for.
    Tap,
    /// Held for 3 to 6 s: open the pairing window, where the box belongs to nobody.
    Pair,
    /// Held for 10 to 14 s: one more try of a disabled box.
    Retry,
    /// Held for 20 s or longer, then tapped within 5 s: factory reset.
    FactoryReset,
    /// Held for 20 s or longer, and not confirmed by a tap: no factory reset.
    ResetCancelled,
    /// Held for a time that means nothing.
    Refused,
    /// Held at power-on for 10 s: start the other slot.
    Rescue,
    /// Held for a minute: something lies on it, or it is broken. Said once; nothing else follows until it is let go.
    Stuck,
}

/// What letting the button go now would mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Release {
    /// [`Gesture::Tap`].
    Tap,
    /// [`Gesture::Refused`].
    Nothing,
    /// [`Gesture::Pair`].
    Pair,
    /// [`Gesture::Retry`].
    Retry,
    /// A tap afterwards is [`Gesture::FactoryReset`].
    ArmReset,
}

/// What the machine is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// The contact closed.
    Down,
    /// The contact opened.
    Up,
    /// Time has passed.
    Tick,
}

/// What somebody who holds the button should know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// For how long it has been held, in ms; 0 while the confirming tap is awaited.
    pub held_ms: u64,
    /// What letting it go now would mean.
    pub release: Release,
    /// What the LED shows meanwhile; `None`: what it shows anyway.
    pub shows: Option<Signal>,
}

/// The times.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Times {
    debounce_ms: u64,
    stuck_ms: u64,
    confirm_within_ms: u64,
    rescue_ms: u64,
    held: heapless::Vec<Held, ROWS_MAX>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Held {
    from_ms: u64,
    release: Release,
    #[serde(default, deserialize_with = "signal")]
    shows: Option<Signal>,
}

fn signal<'de, D: serde::Deserializer<'de>>(text: D) -> Result<Option<Signal>, D::Error> {
    let word = String::deserialize(text)?;
    let signal =
        Signal::from_word(&word).ok_or_else(|| serde::de::Error::custom(format!("there is no state {word}")))?;
    Ok(Some(signal))
}

impl Times {
    /// The list. One that could not be read would make a button without meanings; that it can, a test says.
    #[must_use]
    pub fn built_in() -> &'static Self {
        static BUILT_IN: OnceLock<Times> = OnceLock::new();
        const NONE: Times = Times {
            debounce_ms: 30,
            stuck_ms: 0,
            confirm_within_ms: 0,
            rescue_ms: u64::MAX,
            held: heapless::Vec::new(),
        };
        let load =
            || toml::from_str(TIMES).inspect_err(|error| tracing::error!(%error, "no button times")).unwrap_or(NONE);
        BUILT_IN.get_or_init(load)
    }

    fn row(&self, held_ms: u64) -> Option<&Held> {
        self.held.iter().rev().find(|row| row.from_ms <= held_ms)
    }

    fn release(&self, held_ms: u64) -> Release {
        self.row(held_ms).map_or(Release::Nothing, |row| row.release)
    }
}

/// Where the machine is. Times are those at which a state began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    /// Held since.
    Held(u64),
    /// Held since before the program began to look, at power-on.
    HeldAtPowerOn(u64),
    /// Held since, and nothing follows from it but that it may be stuck.
    Ignored(u64),
    /// Held for too long to be meant.
    Stuck,
    /// The reset is armed since; a tap confirms it.
    Armed(u64),
    /// Pressed since, to confirm the reset.
    Confirming(u64),
}

/// The machine.
#[derive(Debug)]
pub struct ButtonMachine {
    times: &'static Times,
    state: State,
    /// The contact as it was last told.
    contact: bool,
    /// When it began to differ from the state, and when it changed last.
    unsettled: Option<Unsettled>,
}

#[derive(Debug, Clone, Copy)]
struct Unsettled {
    began_ms: u64,
    last_ms: u64,
}

impl ButtonMachine {
    /// A button that is not pressed.
    #[must_use]
    pub fn new() -> Self {
        Self { times: Times::built_in(), state: State::Idle, contact: false, unsettled: None }
    }

    /// A button that was pressed when the program began to look. `power_on`: the box has just been started, and not only the
    /// program; otherwise this press means nothing.
    #[must_use]
    pub fn pressed_at_start(now_ms: u64, power_on: bool) -> Self {
        let state = if power_on { State::HeldAtPowerOn(now_ms) } else { State::Ignored(now_ms) };
        Self { state, contact: true, ..Self::new() }
    }

    /// Tells it what has happened at this time; times never go back. At most one gesture comes of it; where more is due,
    /// [`deadline_ms`](Self::deadline_ms) is in the past.
    pub fn step(&mut self, input: Input, now_ms: u64) -> Option<Gesture> {
        let settled = self.settle(now_ms);
        match input {
            Input::Tick => {}
            Input::Down => self.edge(true, now_ms),
            Input::Up => self.edge(false, now_ms),
        }
        settled.or_else(|| self.pass(now_ms))
    }

    /// When [`step`](Self::step) wants to be called at the latest.
    #[must_use]
    pub fn deadline_ms(&self) -> Option<u64> {
        let settles = self.unsettled.map(|unsettled| unsettled.last_ms + self.times.debounce_ms);
        let passes = self.due_ms().filter(|_| self.unsettled.is_none());
        settles.or(passes)
    }

    /// Whether somebody has just pressed it, bounces included.
    #[must_use]
    pub const fn contact(&self) -> bool {
        self.contact
    }

    /// What somebody who holds it, or has just armed the reset, should know.
    #[must_use]
    pub fn progress(&self, now_ms: u64) -> Option<Progress> {
        match self.state {
            State::Held(since) => {
                let held_ms = now_ms.saturating_sub(since);
                let row = self.times.row(held_ms)?;
                Some(Progress { held_ms, release: row.release, shows: row.shows })
            }
            State::Armed(_) => Some(Progress { held_ms: 0, release: Release::ArmReset, shows: Some(Signal::Press) }),
            _ => None,
        }
    }

    /// When [`progress`](Self::progress) says something else next, if nothing happens.
    #[must_use]
    pub fn progress_changes_ms(&self, now_ms: u64) -> Option<u64> {
        let State::Held(since) = self.state else { return None };
        let next = self.times.held.iter().map(|row| since + row.from_ms).find(|at| *at > now_ms);
        next.filter(|at| *at < since + self.times.stuck_ms)
    }

    fn edge(&mut self, contact: bool, now_ms: u64) {
        if contact == self.contact {
            return;
        }
        self.contact = contact;
        let began_ms = self.unsettled.map_or(now_ms, |unsettled| unsettled.began_ms);
        self.unsettled = Some(Unsettled { began_ms, last_ms: now_ms });
    }

    /// Takes a change for real that has lasted long enough.
    fn settle(&mut self, now_ms: u64) -> Option<Gesture> {
        let Unsettled { began_ms, last_ms } = self.unsettled?;
        if now_ms < last_ms + self.times.debounce_ms {
            return None;
        }
        // Whatever was due before it began is due all the same, and first.
        if self.due_ms().is_some_and(|due| self.is_due_before(due, began_ms)) {
            return self.pass(now_ms);
        }
        self.unsettled = None;
        match (self.contact, self.is_held()) {
            (true, false) => {
                self.state =
                    if let State::Armed(_) = self.state { State::Confirming(began_ms) } else { State::Held(began_ms) };
                None
            }
            (false, true) => self.let_go(began_ms),
            _ => None, // it was only noise
        }
    }

    const fn is_held(&self) -> bool {
        !matches!(self.state, State::Idle | State::Armed(_))
    }

    fn let_go(&mut self, at_ms: u64) -> Option<Gesture> {
        let before = std::mem::replace(&mut self.state, State::Idle);
        match before {
            State::Held(since) => match self.times.release(at_ms.saturating_sub(since)) {
                Release::Tap => Some(Gesture::Tap),
                Release::Nothing => Some(Gesture::Refused),
                Release::Pair => Some(Gesture::Pair),
                Release::Retry => Some(Gesture::Retry),
                Release::ArmReset => {
                    self.state = State::Armed(at_ms);
                    None
                }
            },
            State::Confirming(_) => Some(Gesture::FactoryReset), // one that is too long was cancelled before
            _ => None,
        }
    }

    /// When time alone makes a difference.
    fn due_ms(&self) -> Option<u64> {
        let Times { stuck_ms, confirm_within_ms, rescue_ms, .. } = *self.times;
        match self.state {
            State::Idle | State::Stuck => None,
            State::Held(since) | State::Ignored(since) => Some(since + stuck_ms),
            State::HeldAtPowerOn(since) => Some(since + rescue_ms),
            State::Armed(since) => Some(since + confirm_within_ms),
            State::Confirming(since) => Some(since + self.tap_ms()),
        }
    }

    /// Whether what is due goes before a change that began at this time. At the same moment it does, as lengths count from
    /// their first millisecond on; only the confirming tap may begin in the last one.
    const fn is_due_before(&self, due_ms: u64, began_ms: u64) -> bool {
        if let State::Armed(_) = self.state { due_ms < began_ms } else { due_ms <= began_ms }
    }

    /// From when on a press is no tap any more.
    fn tap_ms(&self) -> u64 {
        self.times.held.iter().find(|row| row.release != Release::Tap).map_or(0, |row| row.from_ms)
    }

    /// What time alone has made due. A change that has begun before is waited for.
    fn pass(&mut self, now_ms: u64) -> Option<Gesture> {
        let due = self.due_ms().filter(|due| *due <= now_ms)?;
        if self.unsettled.is_some_and(|unsettled| !self.is_due_before(due, unsettled.began_ms)) {
            return None;
        }
        let (next, gesture) = match self.state {
            State::Held(_) | State::Ignored(_) => (State::Stuck, Gesture::Stuck),
            State::HeldAtPowerOn(since) => (State::Ignored(since), Gesture::Rescue),
            State::Armed(_) => (State::Idle, Gesture::ResetCancelled),
            State::Confirming(since) => (State::Ignored(since), Gesture::ResetCancelled),
            State::Idle | State::Stuck => return None,
        };
        self.state = next;
        Some(gesture)
    }
}

impl Default for ButtonMachine {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
#[path = "button_tests.rs"]
mod tests;
