//! LED and button at lines of the kernel's GPIO character device (`/dev/gpiochipN`): boards other than the Raspberry Pi, or the
//! Pi where a process may not see its registers.

use std::io;
use std::path::{Path, PathBuf};

use gpiocdev::Request;
use gpiocdev::line::{Bias, EdgeDetection, EdgeKind, Value};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::config::Pull;
use super::hardware::{BoardError, Button, EDGES_MAX, Edge, LOOK_UP, Led, Light};

/// The name by which `gpioinfo` shows who has a line.
const CONSUMER: &str = "platen";

const REMEDY: &str = "look with gpioinfo for chip and line, and who has it; let this service open the chip";

/// One line, or three (red, green, blue).
#[derive(Debug)]
pub struct GpioLed {
    request: Request,
    lines: Vec<u32>,
}

impl GpioLed {
    /// Takes the lines of a chip, dark.
    ///
    /// # Errors
    /// [`BoardError`] when there is no such chip or line, or another has it.
    pub fn open(chip: &Path, lines: &[u32], active_low: bool) -> Result<Self, BoardError> {
        let mut builder = Request::builder();
        builder.on_chip(chip).with_consumer(CONSUMER).with_lines(lines).as_output(Value::Inactive);
        if active_low {
            builder.as_active_low();
        }
        let failed = |error| BoardError::new(format_args!("LED at {} {lines:?}", chip.display()), error, REMEDY);
        Ok(Self { request: builder.request().map_err(failed)?, lines: lines.to_vec() })
    }
}

impl Led for GpioLed {
    fn has_levels(&self) -> bool {
        false
    }

    fn show(&mut self, light: Light) -> io::Result<()> {
        for (line, on) in self.lines.iter().zip(light.lines(self.lines.len())) {
            let value = if on { Value::Active } else { Value::Inactive };
            self.request.set_value(*line, value).map_err(io::Error::other)?;
        }
        Ok(())
    }
}

/// A contact at a line.
#[derive(Debug)]
pub struct GpioButton {
    request: Request,
    what: String,
}

impl GpioButton {
    /// Takes the line of a chip.
    ///
    /// # Errors
    /// [`BoardError`] when there is no such chip or line, or another has it.
    pub fn open(chip: &Path, line: u32, active_low: bool, pull: Pull) -> Result<Self, BoardError> {
        let chip: PathBuf = chip.to_owned();
        let what = format!("button at {} line {line}", chip.display());
        let bias = match pull {
            Pull::Up => Some(Bias::PullUp),
            Pull::Down => Some(Bias::PullDown),
            Pull::None => None,
        };
        let mut builder = Request::builder();
        builder.on_chip(chip).with_consumer(CONSUMER).with_line(line).as_input().with_bias(bias);
        builder.with_edge_detection(EdgeDetection::BothEdges);
        if active_low {
            builder.as_active_low();
        }
        let request = builder.request().map_err(|error| BoardError::new(&what, error, REMEDY))?;
        Ok(Self { request, what })
    }

    fn forward(&self, edges: &mpsc::Sender<Edge>) -> gpiocdev::Result<()> {
        while !edges.is_closed() {
            if !self.request.wait_edge_event(LOOK_UP)? {
                continue;
            }
            let event = self.request.read_edge_event()?;
            // Rising is from inactive to active, whatever the level is.
            let edge = Edge { pressed: event.kind == EdgeKind::Rising, at: Instant::now() };
            if edges.blocking_send(edge).is_err() {
                break;
            }
        }
        Ok(())
    }
}

impl Button for GpioButton {
    fn is_pressed(&mut self) -> bool {
        self.request.lone_value().is_ok_and(|value| value == Value::Active)
    }

    fn edges(self: Box<Self>) -> io::Result<mpsc::Receiver<Edge>> {
        let (sender, edges) = mpsc::channel(EDGES_MAX);
        std::thread::Builder::new().name("button".to_owned()).spawn(move || {
            if let Err(error) = self.forward(&sender) {
                tracing::error!(%error, what = self.what, "the button cannot be read");
            }
        })?;
        Ok(edges)
    }
}
