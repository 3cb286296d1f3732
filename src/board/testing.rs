//! A board for tests: an LED that writes down what it showed when, and a button that is pressed by the test. Their time is
//! tokio's, so that a test with a paused clock takes no time.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::hardware::{Button, EDGES_MAX, Edge, Led, Light};
use super::pattern::Colour;
use super::rhythm::Rhythm;

/// What an LED showed: milliseconds since it was made, and the light from then on.
#[derive(Debug, Clone, Default)]
pub struct Recording(Arc<Mutex<Vec<(u64, Light)>>>);

impl Recording {
    /// Every change so far.
    #[must_use]
    pub fn all(&self) -> Vec<(u64, Light)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The light at a time, in ms since the LED was made.
    #[must_use]
    pub fn at(&self, ms: u64) -> Light {
        self.all().into_iter().rev().find(|(at, _)| *at <= ms).map_or(Light::DARK, |(_, light)| light)
    }
}

/// An LED that writes down what it shows.
#[derive(Debug)]
pub struct RecordingLed {
    recording: Recording,
    start: Instant,
    has_levels: bool,
    /// Whether it plays rhythms by itself; then what it plays is written into the list too.
    plays: Option<Arc<Mutex<Vec<Rhythm>>>>,
}

impl RecordingLed {
    /// An LED, and what it will have shown.
    #[must_use]
    pub fn new(has_levels: bool) -> (Self, Recording) {
        let recording = Recording::default();
        (Self { recording: recording.clone(), start: Instant::now(), has_levels, plays: None }, recording)
    }

    /// The same LED, but it plays rhythms by itself, and writes down which.
    #[must_use]
    pub fn that_plays(self, list: Arc<Mutex<Vec<Rhythm>>>) -> Self {
        Self { plays: Some(list), ..self }
    }
}

impl Led for RecordingLed {
    fn has_levels(&self) -> bool {
        self.has_levels
    }

    fn show(&mut self, light: Light) -> io::Result<()> {
        let ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.recording.0.lock().unwrap_or_else(PoisonError::into_inner).push((ms, light));
        Ok(())
    }

    fn play(&mut self, rhythm: &Rhythm, _colour: Option<Colour>) -> io::Result<bool> {
        let Some(list) = &self.plays else { return Ok(false) };
        list.lock().unwrap_or_else(PoisonError::into_inner).push(rhythm.clone());
        Ok(true)
    }
}

/// A button that a [`Finger`] presses.
#[derive(Debug)]
pub struct PressedByHand {
    edges: mpsc::Receiver<Edge>,
    pressed: bool,
}

/// Presses a [`PressedByHand`].
#[derive(Debug, Clone)]
pub struct Finger(mpsc::Sender<Edge>);

impl PressedByHand {
    /// A button that is pressed already, or is not, and who presses it.
    #[must_use]
    pub fn new(pressed: bool) -> (Self, Finger) {
        let (finger, edges) = mpsc::channel(EDGES_MAX);
        (Self { edges, pressed }, Finger(finger))
    }
}

impl Button for PressedByHand {
    fn is_pressed(&mut self) -> bool {
        self.pressed
    }

    fn edges(self: Box<Self>) -> io::Result<mpsc::Receiver<Edge>> {
        Ok(self.edges)
    }
}

impl Finger {
    /// Closes or opens the contact now.
    pub async fn set(&self, pressed: bool) {
        let _ = self.0.send(Edge { pressed, at: Instant::now() }).await; // nobody listens: nothing happens
    }

    /// Holds it for so long.
    pub async fn hold(&self, time: Duration) {
        self.set(true).await;
        tokio::time::sleep(time).await;
        self.set(false).await;
    }
}
