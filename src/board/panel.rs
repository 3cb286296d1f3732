//! The panel: joins LED and button. It shows the highest of what it is told, and tells what somebody says with the button.
//!
//! A tap shows the state once more at full brightness, and a press that means nothing is shown as refused, without anybody
//! having to ask; everything else is for whoever takes the gestures.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::button::{ButtonMachine, Gesture, Input};
use super::hardware::{Button, Edge, Led, Light};
use super::showing::{FLASHES_MAX, Frame, Showing, Whole};
use super::signal::{SIGNALS, Signal};

/// How many gestures may wait; further ones are dropped: whoever pressed sees that nothing happened.
pub const GESTURES_MAX: usize = 8;

/// Longest time for which something can be asked for.
const FLASH_MAX: Duration = Duration::from_mins(10);

/// Tells the panel what to show. Clones are the same panel's. No call waits.
#[derive(Debug, Clone)]
pub struct PanelHandle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    wishes: Mutex<Wishes>,
    changed: Notify,
}

/// What was asked for since the panel looked last.
#[derive(Debug)]
struct Wishes {
    standing: Option<heapless::Vec<Signal, SIGNALS>>,
    muted: Option<bool>,
    flashes: heapless::Deque<(Signal, Option<u64>), FLASHES_MAX>,
    replay: bool,
    shown: Signal,
}

impl PanelHandle {
    /// What holds from now on, in place of what held before: the highest is shown.
    pub fn set(&self, signals: &[Signal]) {
        self.wish(|wishes| {
            let mut standing = heapless::Vec::new();
            for signal in signals {
                if !standing.contains(signal) {
                    let _ = standing.push(*signal); // there are no more than SIGNALS different ones
                }
            }
            wishes.standing = Some(standing);
        });
    }

    /// Shows it for as long as the LED table says: `done` and `refused` once, `locate` for a minute, anything else until it can
    /// have been read.
    pub fn flash(&self, signal: Signal) {
        self.add(signal, None);
    }

    /// Shows it for so long, ten minutes at most: a number while it is compared.
    pub fn flash_for(&self, signal: Signal, time: Duration) {
        self.add(signal, Some(u64::try_from(time.min(FLASH_MAX).as_millis()).unwrap_or(0)));
    }

    /// Full brightness, and the state from its beginning: what a tap does too.
    pub fn replay(&self) {
        self.wish(|wishes| wishes.replay = true);
    }

    /// Dark, but for what somebody at the box has asked for; `disabled` and `fault` blink once a minute.
    pub fn mute(&self, muted: bool) {
        self.wish(|wishes| wishes.muted = Some(muted));
    }

    /// What the LED says, or would say if it were not muted.
    #[must_use]
    pub fn shown(&self) -> Signal {
        self.0.lock().shown
    }

    fn add(&self, signal: Signal, for_ms: Option<u64>) {
        self.wish(|wishes| {
            if wishes.flashes.is_full() {
                wishes.flashes.pop_front();
            }
            let _ = wishes.flashes.push_back((signal, for_ms)); // there is room now
        });
    }

    fn wish(&self, wish: impl FnOnce(&mut Wishes)) {
        wish(&mut self.0.lock());
        self.0.changed.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Wishes> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner) // every change of it is whole
    }
}

/// LED and button together.
pub struct Panel {
    shared: Arc<Shared>,
    led: Box<dyn Led>,
    led_failed: bool,
    edges: Option<mpsc::Receiver<Edge>>,
    button: ButtonMachine,
    gestures: mpsc::Sender<Gesture>,
    showing: Showing,
    start: Instant,
    /// Time of what the button was told last; it must not go back.
    button_ms: u64,
    /// What the LED shows, as far as it is known.
    light: Option<Light>,
    /// The rhythm that the LED was last asked to play, and whether it does.
    playing: Option<(Whole, bool)>,
}

impl Panel {
    /// Joins them. `power_on`: the box has just been started, and not only the program; only then can the button, held since,
    /// ask for the other slot. A button whose edges cannot be had is none, and the log says so.
    #[must_use]
    pub fn new(
        led: Box<dyn Led>,
        button: Option<Box<dyn Button>>,
        power_on: bool,
    ) -> (Self, PanelHandle, mpsc::Receiver<Gesture>) {
        let wishes =
            Wishes { standing: None, muted: None, flashes: heapless::Deque::new(), replay: false, shown: Signal::Off };
        let shared = Arc::new(Shared { wishes: Mutex::new(wishes), changed: Notify::new() });
        let (gestures, taken) = mpsc::channel(GESTURES_MAX);
        let (mut machine, mut edges) = (ButtonMachine::new(), None);
        if let Some(mut button) = button {
            if button.is_pressed() {
                machine = ButtonMachine::pressed_at_start(0, power_on);
            }
            edges = button.edges().inspect_err(|error| tracing::error!(%error, "the button cannot be read")).ok();
        }
        let panel = Self {
            shared: Arc::clone(&shared),
            showing: Showing::new(led.has_levels()),
            led,
            led_failed: false,
            edges,
            button: machine,
            gestures,
            start: Instant::now(),
            button_ms: 0,
            light: None,
            playing: None,
        };
        (panel, PanelHandle(shared), taken)
    }

    /// Runs until it is told to stop. The LED keeps what it shows then.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut next_ms = Some(0);
        loop {
            let wake = next_ms.map(|ms| self.start + Duration::from_millis(ms));
            let timer = async {
                match wake {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let shared = Arc::clone(&self.shared);
            // Edges before time: what waits has happened before now.
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                edge = next_edge(&mut self.edges) => self.edge(edge),
                () = shared.changed.notified() => {}
                () = timer => {}
            }
            next_ms = self.turn();
        }
    }

    /// Does what is due, and says when something is due next.
    fn turn(&mut self) -> Option<u64> {
        let now_ms = self.ms(Instant::now());
        // An edge that waits comes before this moment, so the button is told of the time only when none does.
        if self.edges.as_ref().is_none_or(mpsc::Receiver::is_empty) {
            self.tell_button(Input::Tick, now_ms);
        }
        self.take_wishes(now_ms);
        self.showing.hold(self.button.progress(now_ms).and_then(|progress| progress.shows));
        let frame = self.showing.frame(now_ms);
        let signal = self.showing.signal();
        let before = std::mem::replace(&mut self.shared.lock().shown, signal);
        if before != signal {
            self.led.announce(signal);
        }
        let by_itself = self.show(&frame);
        let rhythm_ms = frame.rhythm_next_ms.filter(|_| !by_itself);
        [rhythm_ms, frame.other_next_ms, self.button.deadline_ms(), self.button.progress_changes_ms(now_ms)]
            .into_iter()
            .flatten()
            .min()
    }

    fn ms(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.start).as_millis()).unwrap_or(u64::MAX)
    }

    fn edge(&mut self, edge: Option<Edge>) {
        match edge {
            Some(Edge { pressed, at }) => {
                let at_ms = self.ms(at);
                if pressed {
                    self.showing.touch(at_ms);
                }
                self.tell_button(if pressed { Input::Down } else { Input::Up }, at_ms);
            }
            None => {
                tracing::error!("the button is gone: it is not read any more; start the box anew when it is back");
                (self.edges, self.button) = (None, ButtonMachine::new());
            }
        }
    }

    fn tell_button(&mut self, input: Input, at_ms: u64) {
        self.button_ms = self.button_ms.max(at_ms);
        let Some(gesture) = self.button.step(input, self.button_ms) else { return };
        tracing::info!(?gesture, "button");
        match gesture {
            Gesture::Tap => self.showing.replay(self.button_ms),
            Gesture::Refused | Gesture::ResetCancelled => self.showing.flash(Signal::Refused, None, self.button_ms),
            _ => {}
        }
        if self.gestures.try_send(gesture).is_err() {
            tracing::warn!(?gesture, "nobody takes what the button says");
        }
    }

    fn take_wishes(&mut self, now_ms: u64) {
        let mut wishes = self.shared.lock();
        if let Some(standing) = wishes.standing.take() {
            self.showing.set(&standing);
        }
        if let Some(muted) = wishes.muted.take() {
            self.showing.mute(muted);
        }
        while let Some((signal, for_ms)) = wishes.flashes.pop_front() {
            self.showing.flash(signal, for_ms, now_ms);
        }
        if std::mem::take(&mut wishes.replay) {
            self.showing.replay(now_ms);
        }
    }

    /// Whether the LED goes on by itself.
    fn show(&mut self, frame: &Frame) -> bool {
        if let Some(whole) = &frame.whole {
            if self.playing.as_ref().is_none_or(|(playing, _)| playing != whole) {
                let played = self.led.play(&whole.rhythm, whole.colour);
                let plays = self.note(played).unwrap_or(false);
                self.light = self.light.filter(|_| !plays);
                self.playing = Some((whole.clone(), plays));
            }
            if self.playing.as_ref().is_some_and(|(_, plays)| *plays) {
                return true;
            }
        } else {
            self.playing = None;
        }
        if self.light != Some(frame.light) {
            let shown = self.led.show(frame.light);
            self.light = self.note(shown).map(|()| frame.light);
        }
        false
    }

    /// Logs what an LED fails at, once until it works again: the box goes on without its light.
    fn note<T>(&mut self, result: std::io::Result<T>) -> Option<T> {
        match &result {
            Err(error) if !self.led_failed => tracing::error!(%error, "the LED cannot be set"),
            Ok(_) if self.led_failed => tracing::info!("the LED can be set again"),
            _ => {}
        }
        self.led_failed = result.is_err();
        result.ok()
    }
}

async fn next_edge(edges: &mut Option<mpsc::Receiver<Edge>>) -> Option<Edge> {
    match edges {
        Some(edges) => edges.recv().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
#[path = "panel_tests.rs"]
mod tests;
