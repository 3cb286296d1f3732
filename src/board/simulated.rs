//! A board for the demo: the LED is a line of the terminal that is drawn anew, and keys are the button. Without a terminal
//! nothing is drawn, and the program itself presses.
//!
//! `space` taps, `p` holds for 4 s (pairing), `r` for 12 s (one more try), `f` for 21 s and taps (factory reset).

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::termios::{LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::hardware::{Button, EDGES_MAX, Edge, Led, Light};
use super::signal::Signal;

/// How often the line is drawn, and how much of the past it shows.
const DRAW: Duration = Duration::from_millis(100);
const TRACE: usize = 50;

/// How long a tap is, and how long after the hold it comes that confirms a factory reset.
const TAP: Duration = Duration::from_millis(200);
const BEFORE_CONFIRMING: Duration = Duration::from_secs(1);

/// How many presses may wait.
const PRESSES_MAX: usize = 8;

/// What the LED shows now.
#[derive(Debug, Clone, Copy)]
struct Shown {
    light: Light,
    signal: Signal,
}

/// An LED of which nothing is seen but what [`Screen`] draws.
#[derive(Debug)]
pub struct SimulatedLed(Arc<Mutex<Shown>>);

/// Draws a [`SimulatedLed`].
#[derive(Debug)]
pub struct Screen {
    shown: Arc<Mutex<Shown>>,
    /// The last [`TRACE`] moments, the newest last.
    trace: VecDeque<u8>,
}

impl SimulatedLed {
    /// An LED, and what draws it.
    #[must_use]
    pub fn new() -> (Self, Screen) {
        let shown = Arc::new(Mutex::new(Shown { light: Light::DARK, signal: Signal::Off }));
        (Self(Arc::clone(&shown)), Screen { shown, trace: VecDeque::with_capacity(TRACE) })
    }

    fn change(&self, change: impl FnOnce(&mut Shown)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Led for SimulatedLed {
    fn has_levels(&self) -> bool {
        true
    }

    fn show(&mut self, light: Light) -> io::Result<()> {
        self.change(|shown| shown.light = light);
        Ok(())
    }

    fn announce(&mut self, signal: Signal) {
        self.change(|shown| shown.signal = signal);
    }
}

impl Screen {
    /// The line as it is now, with its control sequences: a coloured dot, the word, the rhythm of the last five seconds.
    pub fn line(&mut self) -> String {
        let Shown { light, signal } = *self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if self.trace.len() == TRACE {
            self.trace.pop_front();
        }
        self.trace.push_back(light.level);
        let blocks = |level: &u8| match *level {
            0 => '·',
            1..=85 => '▂',
            86..=170 => '▅',
            _ => '█',
        };
        let trace: String = self.trace.iter().map(blocks).collect();
        // Never quite black, so that the dot is seen, nor quite as dim as an LED may be.
        let visible = if light.level == 0 { 0 } else { light.level.max(80) };
        let [red, green, blue] = if visible == 0 { [60; 3] } else { Light { level: visible, ..light }.rgb() };
        format!("\r\x1b[2K\x1b[38;2;{red};{green};{blue}m●\x1b[0m {:14} {trace}", signal.to_string())
    }

    /// Draws until it is told to stop, where `out` is a terminal; otherwise only waits.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut out = io::stderr();
        if !out.is_terminal() {
            stop.cancelled().await;
            return;
        }
        let mut beat = tokio::time::interval(DRAW);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = beat.tick() => {
                    let line = self.line();
                    if out.write_all(line.as_bytes()).and_then(|()| out.flush()).is_err() {
                        break; // nobody looks any more
                    }
                }
            }
        }
        let _ = out.write_all(b"\r\x1b[2K"); // nor does it matter then
    }
}

/// A button that a [`SimulatedFinger`] presses.
#[derive(Debug)]
pub struct SimulatedButton {
    edges: mpsc::Receiver<Edge>,
}

/// Presses a [`SimulatedButton`]. Clones are the same finger.
#[derive(Debug, Clone)]
pub struct SimulatedFinger {
    presses: mpsc::Sender<(Duration, Duration)>,
}

impl SimulatedButton {
    /// A button, who presses it, and the work of pressing: to be run beside everything else; it ends with the last finger.
    pub fn new() -> (Self, SimulatedFinger, impl Future<Output = ()> + Send + 'static) {
        let (sender, edges) = mpsc::channel(EDGES_MAX);
        let (presses, mut waiting) = mpsc::channel::<(Duration, Duration)>(PRESSES_MAX);
        let work = async move {
            while let Some((hold, pause)) = waiting.recv().await {
                for (pressed, then) in [(true, hold), (false, pause)] {
                    if sender.send(Edge { pressed, at: Instant::now() }).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(then).await;
                }
            }
        };
        (Self { edges }, SimulatedFinger { presses }, work)
    }
}

impl Button for SimulatedButton {
    fn is_pressed(&mut self) -> bool {
        false
    }

    fn edges(self: Box<Self>) -> io::Result<mpsc::Receiver<Edge>> {
        Ok(self.edges)
    }
}

impl SimulatedFinger {
    /// Holds it for so long, after what was asked for before. `false`: too much is waiting, or there is no button any more.
    #[must_use]
    pub fn press(&self, hold: Duration) -> bool {
        self.presses.try_send((hold, TAP)).is_ok()
    }

    /// Holds it for 21 s and taps.
    #[must_use]
    pub fn factory_reset(&self) -> bool {
        self.presses.try_send((Duration::from_secs(21), BEFORE_CONFIRMING)).is_ok() && self.press(TAP)
    }

    /// Does what a key says; `None` for one that says nothing.
    pub fn key(&self, key: u8) -> Option<bool> {
        match key {
            b' ' => Some(self.press(TAP)),
            b'p' => Some(self.press(Duration::from_secs(4))),
            b'r' => Some(self.press(Duration::from_secs(12))),
            b'f' => Some(self.factory_reset()),
            _ => None,
        }
    }

    /// Lets the keys of the terminal press it, without Enter, until the answer is dropped. `None` where standard input is no
    /// terminal.
    #[must_use]
    pub fn listen_to_keys(&self) -> Option<Keys> {
        let before = tcgetattr(io::stdin()).ok()?;
        let mut now = before.clone();
        now.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
        // A read ends after a tenth of a second without a key, so that the thread sees when it is not wanted any more.
        now.control_chars[SpecialCharacterIndices::VMIN as usize] = 0;
        now.control_chars[SpecialCharacterIndices::VTIME as usize] = 1;
        tcsetattr(io::stdin(), SetArg::TCSANOW, &now).ok()?;
        let stop = CancellationToken::new();
        let keys = Keys { before, stop: stop.clone() };
        let finger = self.clone();
        let read = move || {
            let mut key = [0_u8; 1];
            while !stop.is_cancelled() {
                match io::stdin().read(&mut key) {
                    Ok(0) => {}
                    Ok(_) if finger.key(key[0]) == Some(false) => tracing::warn!("the button is still busy"),
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => return,
                }
            }
        };
        std::thread::Builder::new().name("keys".to_owned()).spawn(read).ok()?;
        Some(keys)
    }
}

/// The terminal as it is while keys press the button; dropped, it is as before.
#[derive(Debug)]
pub struct Keys {
    before: Termios,
    stop: CancellationToken,
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.stop.cancel();
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &self.before); // a terminal that is gone needs nothing
    }
}

#[cfg(test)]
mod tests {
    use super::super::button::Gesture;
    use super::super::panel::Panel;
    use super::super::pattern::Colour;
    use super::super::rhythm::FULL;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn keys_mean_what_the_demo_says_and_wait_for_each_other() {
        let (led, _screen) = SimulatedLed::new();
        let (button, finger, work) = SimulatedButton::new();
        tokio::spawn(work);
        let (panel, _handle, mut gestures) = Panel::new(Box::new(led), Some(Box::new(button)), false);
        tokio::spawn(panel.run(CancellationToken::new()));
        for key in *b" pr" {
            assert_eq!(finger.key(key), Some(true));
        }
        assert_eq!(finger.key(b'f'), Some(true));
        assert_eq!(finger.key(b'x'), None);
        for expected in [Gesture::Tap, Gesture::Pair, Gesture::Retry, Gesture::FactoryReset] {
            assert_eq!(gestures.recv().await, Some(expected));
        }
        let taken = (0..100).filter(|_| finger.press(TAP)).count();
        assert_eq!(taken, PRESSES_MAX, "and no more wait");
    }

    #[tokio::test(start_paused = true)]
    async fn the_line_has_dot_word_and_rhythm() {
        let (led, mut screen) = SimulatedLed::new();
        let (panel, handle, _gestures) = Panel::new(Box::new(led), None, false);
        tokio::spawn(panel.run(CancellationToken::new()));
        handle.set(&[Signal::Fault]);
        let mut line = String::new();
        for _ in 0..30 {
            tokio::time::sleep(DRAW).await;
            line = screen.line();
        }
        assert!(line.contains("fault ") && line.contains("38;2;60;60;60m●"), "{line}");
        assert!(line.ends_with("······██··················██·"), "{line}");
        let (mut led, mut screen) = SimulatedLed::new();
        led.show(Light { level: FULL, colour: Some(Colour::White) }).unwrap();
        assert!(screen.line().contains("38;2;255;255;255m●"));
    }
}
