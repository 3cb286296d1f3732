//! What the board needs of its hardware: a light that can be set, a contact that tells when it opens and closes. Each making
//! has a file of its own.

use std::io;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::pattern::Colour;
use super::rhythm::Rhythm;

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
}

/// An LED.
pub trait Led: Send {
    /// Whether it can be lit more and less; otherwise it is on at every level but 0.
    fn has_levels(&self) -> bool;

    /// Shows this until something else is shown.
    ///
    /// # Errors
    /// The operating system's.
    fn show(&mut self, light: Light) -> io::Result<()>;

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
