//! LED and button at the header of a Raspberry Pi, by BCM numbers, over the registers of its chip. It builds everywhere; on other
//! computers it says that they are none.
//!
//! The library could make levels by switching in a thread of its own, which keeps awake for a part of each period; a box that
//! shines dimly for years would pay for it all the time. So this light is only on or off.

use std::io;

use rppal::gpio::{Error, Gpio, InputPin, OutputPin, Trigger};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::config::Pull;
use super::hardware::{BoardError, Button, EDGES_MAX, Edge, LOOK_UP, Led, Light};

fn failed(what: String) -> impl Fn(Error) -> BoardError {
    move |error| {
        let remedy = match error {
            Error::UnknownModel => "this is no Raspberry Pi, or one newer than this program: take kind = \"gpiochip\"",
            Error::PinUsed(_) | Error::PinNotAvailable(_) => "give it a free BCM number in board.toml",
            _ => "let this service open /dev/gpiomem and /dev/gpiochip0, or take kind = \"gpiochip\"",
        };
        BoardError::new(&what, error, remedy)
    }
}

/// One pin, or three (red, green, blue).
#[derive(Debug)]
pub struct RppalLed {
    pins: Vec<OutputPin>,
    active_low: bool,
}

impl RppalLed {
    /// Takes the pins, dark.
    ///
    /// # Errors
    /// [`BoardError`] when this is no Raspberry Pi, or the pins cannot be had.
    pub fn open(pins: &[u8], active_low: bool) -> Result<Self, BoardError> {
        let failed = failed(format!("LED at GPIO {pins:?}"));
        let gpio = Gpio::new().map_err(&failed)?;
        let dark = |pin: rppal::gpio::Pin| if active_low { pin.into_output_high() } else { pin.into_output_low() };
        let pins: Result<Vec<_>, _> = pins.iter().map(|pin| gpio.get(*pin).map(dark)).collect();
        Ok(Self { pins: pins.map_err(failed)?, active_low })
    }
}

impl Led for RppalLed {
    fn has_levels(&self) -> bool {
        false
    }

    fn show(&mut self, light: Light) -> io::Result<()> {
        let on = light.lines(self.pins.len());
        for (pin, on) in self.pins.iter_mut().zip(on) {
            if on == self.active_low { pin.set_low() } else { pin.set_high() }
        }
        Ok(())
    }
}

/// A contact at a pin.
#[derive(Debug)]
pub struct RppalButton {
    pin: InputPin,
    active_low: bool,
}

impl RppalButton {
    /// Takes the pin.
    ///
    /// # Errors
    /// [`BoardError`] when this is no Raspberry Pi, or the pin cannot be had.
    pub fn open(pin: u8, active_low: bool, pull: Pull) -> Result<Self, BoardError> {
        let failed = failed(format!("button at GPIO {pin}"));
        let pin = Gpio::new().and_then(|gpio| gpio.get(pin)).map_err(&failed)?;
        let mut pin = match pull {
            Pull::Up => pin.into_input_pullup(),
            Pull::Down => pin.into_input_pulldown(),
            Pull::None => pin.into_input(),
        };
        pin.set_interrupt(Trigger::Both, None).map_err(failed)?;
        Ok(Self { pin, active_low })
    }

    fn forward(&mut self, edges: &mpsc::Sender<Edge>) -> Result<(), Error> {
        while !edges.is_closed() {
            let Some(event) = self.pin.poll_interrupt(false, Some(LOOK_UP))? else { continue };
            let is_high = event.trigger == Trigger::RisingEdge;
            let edge = Edge { pressed: is_high != self.active_low, at: Instant::now() };
            if edges.blocking_send(edge).is_err() {
                break;
            }
        }
        Ok(())
    }
}

impl Button for RppalButton {
    fn is_pressed(&mut self) -> bool {
        self.pin.is_high() != self.active_low
    }

    fn edges(mut self: Box<Self>) -> io::Result<mpsc::Receiver<Edge>> {
        let (sender, edges) = mpsc::channel(EDGES_MAX);
        std::thread::Builder::new().name("button".to_owned()).spawn(move || {
            if let Err(error) = self.forward(&sender) {
                tracing::error!(%error, pin = self.pin.pin(), "the button cannot be read");
            }
        })?;
        Ok(edges)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_computer_that_is_no_raspberry_pi_is_told_what_to_take_instead() {
        if Gpio::new().is_ok() {
            eprintln!("SKIPPED: this is a Raspberry Pi");
            return;
        }
        for error in [RppalLed::open(&[17], false).err(), RppalButton::open(27, true, Pull::Up).err()] {
            let error = error.expect("no such hardware").to_string();
            assert!(error.contains("GPIO") && error.contains("gpiochip"), "{error}");
        }
    }
}
