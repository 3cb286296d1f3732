//! `board.toml`: what a board has, so that the same program runs on each. See `board/README.md`.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::hardware::BoardError;

/// A board.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoardConfig {
    /// Its name, that of its folder.
    pub name: String,
    /// Words of which one is in the device tree's model (`/proc/device-tree/model`); none for a board that has no such file.
    #[serde(default)]
    pub models: Vec<String>,
    /// Its LED.
    pub led: LedConfig,
    /// Its button.
    pub button: ButtonConfig,
    /// Where a technician's cable goes; none for a board without.
    pub serial: Option<SerialConfig>,
    /// The two systems between which updates change; none for one that is not updated.
    pub slots: Option<SlotsConfig>,
}

/// How the LED is driven.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum LedConfig {
    /// There is none.
    None,
    /// By the kernel: `/sys/class/leds/NAME`.
    Sysfs {
        /// Its name there.
        name: String,
        /// The kernel knows levels of brightness for it, its hardware does not.
        #[serde(default)]
        only_on_off: bool,
    },
    /// By the registers of a Raspberry Pi.
    Gpio {
        /// BCM numbers: one, or red, green and blue.
        pins: Vec<u8>,
        /// It shines when the pin is low.
        #[serde(default)]
        active_low: bool,
    },
    /// By the kernel's GPIO character device.
    GpioChip {
        /// `/dev/gpiochipN`.
        chip: PathBuf,
        /// One line, or red, green and blue.
        lines: Vec<u32>,
        /// It shines when the line is low.
        #[serde(default)]
        active_low: bool,
    },
}

/// How the button is read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum ButtonConfig {
    /// There is none.
    None,
    /// As a key of an input device.
    Evdev {
        /// The device's name.
        device: String,
        /// `KEY_…`, as linux/input-event-codes.h has it.
        key: String,
    },
    /// By the registers of a Raspberry Pi.
    Gpio {
        /// BCM number.
        pin: u8,
        /// It is pressed when the pin is low.
        #[serde(default)]
        active_low: bool,
        /// The resistor within the chip.
        #[serde(default)]
        pull: Pull,
    },
    /// By the kernel's GPIO character device.
    GpioChip {
        /// `/dev/gpiochipN`.
        chip: PathBuf,
        /// The line.
        line: u32,
        /// It is pressed when the line is low.
        #[serde(default)]
        active_low: bool,
        /// The resistor within the chip.
        #[serde(default)]
        pull: Pull,
    },
}

/// The resistor that holds an open contact at one level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pull {
    /// High when open.
    Up,
    /// Low when open.
    Down,
    /// It is on the board.
    #[default]
    None,
}

/// The serial line of the console.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SerialConfig {
    /// `/dev/tty…`.
    pub tty: PathBuf,
    /// Bits a second.
    pub baud: u32,
}

/// The systems between which an update changes, by their names in RAUC's `system.conf`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotsConfig {
    /// Two of them.
    pub names: [String; 2],
    /// RAUC's `bootloader=`: how it tells the boot loader which to start.
    pub bootloader: Bootloader,
}

/// Boot loaders that RAUC can tell which slot to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "their names say it")]
pub enum Bootloader {
    Uboot,
    Grub,
    Barebox,
    Efi,
    Custom,
}

const REMEDY: &str = "see board/README.md";

/// Rates that a serial line of these boards can have.
const BAUDS: [u32; 5] = [9_600, 19_200, 38_400, 57_600, 115_200];

impl BoardConfig {
    /// Reads `board.toml`.
    ///
    /// # Errors
    /// [`BoardError`] with the file, the line and what is wrong there.
    pub fn load(path: &Path) -> Result<Self, BoardError> {
        let failed = |error: std::io::Error| {
            BoardError::new(path.display(), error, "name the board's file, or take board/generic/board.toml")
        };
        Self::parse(&path.display().to_string(), &std::fs::read_to_string(path).map_err(failed)?)
    }

    /// The same of a text; `what` names it in errors.
    ///
    /// # Errors
    /// [`BoardError`] with the line and what is wrong there.
    pub fn parse(what: &str, text: &str) -> Result<Self, BoardError> {
        let board: Self =
            toml::from_str(text).map_err(|error| BoardError::new(what, error.to_string().trim(), REMEDY))?;
        board.check().map_err(|problem| BoardError::new(what, problem, REMEDY))?;
        Ok(board)
    }

    /// Whether it is for a computer with this model, as `/proc/device-tree/model` has it.
    #[must_use]
    pub fn fits(&self, model: &str) -> bool {
        self.models.iter().any(|word| model.contains(word.as_str()))
    }

    fn check(&self) -> Result<(), String> {
        let is_word = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if self.name.is_empty() || !self.name.chars().all(is_word) {
            return Err(format!("name: {:?} is not made of letters, digits, - and _", self.name));
        }
        if self.models.iter().any(String::is_empty) {
            return Err("models: an empty word fits every computer".to_owned());
        }
        let lines = match &self.led {
            LedConfig::Sysfs { name, .. } if name.is_empty() || name.contains('/') || name == ".." => {
                return Err(format!("led.name: {name:?} is not a name in /sys/class/leds"));
            }
            LedConfig::Gpio { pins, .. } => pins.len(),
            LedConfig::GpioChip { lines, .. } => lines.len(),
            _ => 1,
        };
        if lines != 1 && lines != 3 {
            return Err(format!("led: one line, or red, green and blue, not {lines}"));
        }
        match &self.serial {
            Some(serial) if !BAUDS.contains(&serial.baud) => {
                Err(format!("serial.baud: {} is none of {BAUDS:?}", serial.baud))
            }
            Some(serial) if !serial.tty.starts_with("/dev") => {
                Err(format!("serial.tty: {:?} is not in /dev", serial.tty))
            }
            _ => Ok(()),
        }?;
        match &self.slots {
            Some(SlotsConfig { names: [a, b], .. }) if a == b || a.is_empty() || b.is_empty() => {
                Err("slots.names: two different names".to_owned())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOARD: &str = r#"
name = "a-board"
models = ["A Board"]
[led]
kind = "gpiochip"
chip = "/dev/gpiochip0"
lines = [17, 27, 22]
[button]
kind = "evdev"
device = "gpio-keys"
key = "KEY_RESTART"
[serial]
tty = "/dev/ttyS0"
baud = 115200
[slots]
names = ["rootfs.0", "rootfs.1"]
bootloader = "uboot"
"#;

    #[test]
    fn a_board_is_read_and_known_by_its_model() {
        let board = BoardConfig::parse("board.toml", BOARD).unwrap();
        assert!(board.fits("A Board Rev 1.2\0") && !board.fits("Another"));
        assert!(matches!(&board.led, LedConfig::GpioChip { lines, active_low: false, .. } if lines == &[17, 27, 22]));
        assert_eq!(board.slots.unwrap().bootloader, Bootloader::Uboot);
    }

    #[test]
    fn what_is_wrong_in_a_file_is_said_with_its_place() {
        let said = |from: &str, to: &str| {
            assert!(BOARD.contains(from));
            BoardConfig::parse("x/board.toml", &BOARD.replacen(from, to, 1)).unwrap_err().to_string()
        };
        for (from, to, expected) in [
            ("lines = [17, 27, 22]", "lines = [17, 27]", "not 2"),
            ("lines =", "line =", "lines"),
            ("kind = \"gpiochip\"", "kind = \"laser\"", "laser"),
            ("baud = 115200", "baud = 1200", "serial.baud: 1200"),
            ("/dev/ttyS0", "/tmp/x", "serial.tty"),
            ("rootfs.1", "rootfs.0", "slots.names"),
            ("uboot", "lilo", "lilo"),
            ("name = \"a-board\"", "name = \"a board\"", "name: \"a board\""),
            ("models", "model", "model"),
            ("[\"A Board\"]", "[\"\"]", "every computer"),
        ] {
            let said = said(from, to);
            assert!(said.starts_with("x/board.toml: ") && said.contains(expected), "{said}");
            assert!(said.ends_with(REMEDY), "{said}");
        }
    }
}
