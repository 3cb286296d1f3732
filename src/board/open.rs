//! Opens the hardware of a board. Whatever is missing does not end the box: it runs without its LED or button, and says so.

use std::path::{Path, PathBuf};

use super::config::{BoardConfig, ButtonConfig, LedConfig};
use super::evdev_button::{DEV_INPUT, EvdevButton};
use super::gpiochar::{GpioButton, GpioLed};
use super::hardware::{BoardError, Button, Led, NoLed};
use super::rppal_gpio::{RppalButton, RppalLed};
use super::sysfs_led::{SYSFS_LEDS, SysfsLed};

/// Where the kernel shows its devices; a test has a look-alike.
#[derive(Debug, Clone)]
pub struct Roots {
    /// `/sys/class/leds`.
    pub leds: PathBuf,
    /// `/dev/input`.
    pub input: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self { leds: Path::new(SYSFS_LEDS).to_owned(), input: Path::new(DEV_INPUT).to_owned() }
    }
}

/// What could be opened of a board.
pub struct Board {
    /// Its LED; [`NoLed`] where there is none.
    pub led: Box<dyn Led>,
    /// Its button.
    pub button: Option<Box<dyn Button>>,
    /// What could not be opened.
    pub troubles: Vec<BoardError>,
}

impl Board {
    /// Opens what there is.
    #[must_use]
    pub fn open(config: &BoardConfig, roots: &Roots) -> Self {
        let mut troubles = Vec::new();
        let led = open_led(&config.led, roots).unwrap_or_else(|error| {
            troubles.push(error);
            Box::new(NoLed)
        });
        let button = open_button(&config.button, roots).unwrap_or_else(|error| {
            troubles.push(error);
            None
        });
        for error in &troubles {
            tracing::error!(board = config.name, %error, "a part of the board does not work");
        }
        Self { led, button, troubles }
    }
}

fn open_led(led: &LedConfig, roots: &Roots) -> Result<Box<dyn Led>, BoardError> {
    Ok(match led {
        LedConfig::None => Box::new(NoLed),
        LedConfig::Sysfs { name, only_on_off } => Box::new(SysfsLed::open(&roots.leds, name, *only_on_off)?),
        LedConfig::Gpio { pins, active_low } => Box::new(RppalLed::open(pins, *active_low)?),
        LedConfig::GpioChip { chip, lines, active_low } => Box::new(GpioLed::open(chip, lines, *active_low)?),
    })
}

fn open_button(button: &ButtonConfig, roots: &Roots) -> Result<Option<Box<dyn Button>>, BoardError> {
    Ok(match button {
        ButtonConfig::None => None,
        ButtonConfig::Evdev { device, key } => Some(Box::new(EvdevButton::open(&roots.input, device, key)?)),
        ButtonConfig::Gpio { pin, active_low, pull } => Some(Box::new(RppalButton::open(*pin, *active_low, *pull)?)),
        ButtonConfig::GpioChip { chip, line, active_low, pull } => {
            Some(Box::new(GpioButton::open(chip, *line, *active_low, *pull)?))
        }
    })
}
