//! What the board needs of its hardware: a light that can be set, a contact that tells when it opens and closes. Each making
//! has a file of its own.

use std::io;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::pattern::{Colour, Patterns};
use super::rhythm::{FULL, Rhythm};
use super::signal::Signal;

/// How many edges may wait for the panel. A hardware that has more waits.
pub const EDGES_MAX: usize = 64;

/// What an LED shows at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Light {
    /// From 0, dark, to 255, full.
    pub level: u8,
    /// For an LED that has colours.
    pub colour: Option<Colour>,
}

impl Light {
    /// None.
    pub const DARK: Self = Self { level: 0, colour: None };

    /// Red, green and blue at this level; white where there is no colour.
    #[must_use]
    pub fn rgb(self) -> [u8; 3] {
        let full = self.colour.map_or([FULL; 3], |colour| Patterns::built_in().rgb(colour));
        full.map(|part| u8::try_from(u32::from(part) * u32::from(self.level) / u32::from(FULL)).unwrap_or(FULL))
    }

    /// Which of one line, or of three (red, green, blue), are on, for lines that know no more.
    #[must_use]
    pub fn lines(self, lines: usize) -> [bool; 3] {
        match lines {
            3 => Self { level: if self.level > 0 { FULL } else { 0 }, ..self }.rgb().map(|part| part > FULL / 2),
            _ => [self.level > 0; 3],
        }
    }
}

/// Something of the board does not work.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {problem}; {remedy}")]
pub struct BoardError {
    /// The device.
    pub what: String,
    /// What cannot be done with it, and why.
    pub problem: String,
    /// What to do about it.
    pub remedy: &'static str,
}

impl BoardError {
    pub(super) fn new(what: impl ToString, problem: impl ToString, remedy: &'static str) -> Self {
        Self { what: what.to_string(), problem: problem.to_string(), remedy }
    }
}

/// How long a thread that waits for edges goes without looking whether anybody still wants them.
pub(super) const LOOK_UP: std::time::Duration = std::time::Duration::from_secs(1);

/// An LED.
pub trait Led: Send {
    /// Whether it can be lit more and less; otherwise it is on at every level but 0.
    fn has_levels(&self) -> bool;

    /// Shows this until something else is shown.
    ///
    /// # Errors
    /// The operating system's.
    fn show(&mut self, light: Light) -> io::Result<()>;

    /// Is told what it is about to show, for those that can show words.
    fn announce(&mut self, _signal: Signal) {}

    /// Plays a repeating rhythm by itself, from its beginning, until something else is shown. `false`: it cannot, and what it
    /// shows has not changed.
    ///
    /// # Errors
    /// The operating system's.
    fn play(&mut self, _rhythm: &Rhythm, _colour: Option<Colour>) -> io::Result<bool> {
        Ok(false)
    }
}

/// No LED: everything is shown to nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoLed;

impl Led for NoLed {
    fn has_levels(&self) -> bool {
        false
    }

    fn show(&mut self, _light: Light) -> io::Result<()> {
        Ok(())
    }

    fn play(&mut self, _rhythm: &Rhythm, _colour: Option<Colour>) -> io::Result<bool> {
        Ok(true)
    }
}

/// The contact of a button has opened or closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    /// Closed.
    pub pressed: bool,
    /// When. In a test with a clock of its own: by that.
    pub at: Instant,
}

/// A button.
pub trait Button: Send {
    /// Whether it is pressed now.
    fn is_pressed(&mut self) -> bool;

    /// The edges from now on, bounces included, at most [`EDGES_MAX`] of them waiting. They end when the hardware is gone.
    ///
    /// # Errors
    /// The operating system's.
    fn edges(self: Box<Self>) -> io::Result<mpsc::Receiver<Edge>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_lines_tell_the_colours_apart_and_one_tells_light_from_darkness() {
        let colours = [Colour::White, Colour::Blue, Colour::Green, Colour::Orange, Colour::Red];
        let lines = colours.map(|colour| Light { level: 25, colour: Some(colour) }.lines(3));
        for (n, one) in lines.iter().enumerate() {
            assert!(one.contains(&true) && !lines[n + 1..].contains(one), "{one:?}");
        }
        assert_eq!(Light { level: 1, colour: Some(Colour::Red) }.lines(1), [true; 3]);
        assert_eq!(Light::DARK.lines(1), [false; 3]);
        assert_eq!(Light::DARK.lines(3), [false; 3]);
        assert_eq!(Light { level: 51, colour: Some(Colour::White) }.rgb(), [51; 3]);
    }
}
