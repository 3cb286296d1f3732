//! The board: the LED and the button of the box.
//!
//! What this room is for: saying how the box is by one LED, and understanding what somebody says with one button.
//! What it promises: the rhythm alone tells the state, within eight seconds and without colours; the light never flashes more
//! than twice in a second; nothing happens by the button that the time for which it was held does not say.
//! Who may call it: agent, the console; it knows nobody.

mod button;
mod config;
mod evdev_button;
mod gpiochar;
mod hardware;
mod open;
mod panel;
mod pattern;
mod picture;
mod rhythm;
mod rppal_gpio;
mod showing;
mod signal;
#[cfg(any(test, feature = "sim"))]
mod simulated;
mod sysfs_led;
#[cfg(any(test, feature = "sim"))]
mod testing;

pub use button::{ButtonMachine, Gesture, Input, Progress, Release, Times};
pub use config::{BoardConfig, Bootloader, ButtonConfig, LedConfig, Pull, SerialConfig, SlotsConfig};
pub use evdev_button::{DEV_INPUT, EvdevButton};
pub use gpiochar::{GpioButton, GpioLed};
pub use hardware::{BoardError, Button, EDGES_MAX, Edge, Led, Light, NoLed};
pub use open::{Board, Roots};
pub use panel::{GESTURES_MAX, Panel, PanelHandle};
pub use pattern::{Colour, Dims, Pattern, Patterns};
pub use picture::{ascii_table, ascii_timeline, svg};
pub use rhythm::{FULL, Rhythm, STEPS_MAX, Steps};
pub use rppal_gpio::{RppalButton, RppalLed};
pub use signal::{NUMBERS, Number, SIGNALS, Signal, Stage};
#[cfg(any(test, feature = "sim"))]
pub use simulated::{Keys, Screen, SimulatedButton, SimulatedFinger, SimulatedLed};
pub use sysfs_led::{SYSFS_LEDS, SysfsLed};
#[cfg(any(test, feature = "sim"))]
pub use testing::{Finger, PressedByHand, Recording, RecordingLed};
