//! An LED that the kernel drives: `/sys/class/leds/NAME` (Documentation/leds/leds-class.rst), also one of several colours
//! (leds-class-multicolor.rst). Where the kernel has the trigger `pattern`, it gets whole rhythms: the light goes on blinking
//! though this process is busy, or gone.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::hardware::{BoardError, Led, Light};
use super::pattern::Colour;
use super::rhythm::{FULL, Rhythm};

/// Where the kernel has its LEDs.
pub const SYSFS_LEDS: &str = "/sys/class/leds";

/// Which colour a channel of the LED has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Channel {
    Red,
    Green,
    Blue,
    White,
}

/// An LED of the kernel's.
#[derive(Debug)]
pub struct SysfsLed {
    folder: PathBuf,
    max: u32,
    only_on_off: bool,
    /// Of an LED of several colours, in the kernel's order.
    channels: Vec<Channel>,
    can_play: bool,
    plays: bool,
}

/// Most colours of an LED.
const CHANNELS_MAX: usize = 8;

impl SysfsLed {
    /// Takes the LED of this name below `root` over from whatever drives it. `only_on_off`: the kernel knows levels for it, but
    /// its hardware does not.
    ///
    /// # Errors
    /// [`BoardError`] when there is no such LED, or it may not be set.
    pub fn open(root: &Path, name: &str, only_on_off: bool) -> Result<Self, BoardError> {
        let folder = root.join(name);
        let failed = |problem: io::Error| {
            let remedy = match problem.kind() {
                io::ErrorKind::NotFound => "look for its name in /sys/class/leds and write it into board.toml",
                _ => "let this service write the LED's files",
            };
            BoardError::new(format_args!("LED {}", folder.display()), problem, remedy)
        };
        let max = read(&folder, "max_brightness").map_err(failed)?.parse().unwrap_or(1_u32).max(1);
        let triggers = read(&folder, "trigger").unwrap_or_default();
        let can_play = triggers.split_whitespace().any(|name| name.trim_matches(['[', ']']) == "pattern");
        let channels = match read(&folder, "multi_index") {
            Ok(index) => index.split_whitespace().take(CHANNELS_MAX).map(channel).collect(),
            Err(_) => Vec::new(),
        };
        let led = Self { folder: folder.clone(), max, only_on_off, channels, can_play, plays: false };
        led.drop_trigger().map_err(failed)?;
        write(&led.folder, "brightness", "0").map_err(failed)?;
        Ok(led)
    }

    fn drop_trigger(&self) -> io::Result<()> {
        match write(&self.folder, "trigger", "none") {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()), // a kernel without triggers
            result => result,
        }
    }

    fn scaled(&self, level: u8) -> u32 {
        let scaled = u64::from(level) * u64::from(self.max) / u64::from(FULL);
        u32::try_from(scaled).unwrap_or(self.max).max(u32::from(level > 0))
    }

    fn set_colour(&self, colour: Option<Colour>) -> io::Result<()> {
        if self.channels.is_empty() {
            return Ok(());
        }
        let [red, green, blue] = Light { level: FULL, colour }.rgb();
        let has_white = self.channels.contains(&Channel::White);
        let mut text = String::new();
        for channel in &self.channels {
            let part = match (channel, colour) {
                (Channel::White, _) => u8::MAX * u8::from(matches!(colour, Some(Colour::White) | None)),
                (_, Some(Colour::White)) if has_white => 0,
                (Channel::Red, _) => red,
                (Channel::Green, _) => green,
                (Channel::Blue, _) => blue,
            };
            let _ = write!(text, "{} ", self.scaled(part));
        }
        write(&self.folder, "multi_intensity", text.trim_end())
    }
}

impl Led for SysfsLed {
    fn has_levels(&self) -> bool {
        self.max > 1 && !self.only_on_off
    }

    fn show(&mut self, light: Light) -> io::Result<()> {
        if self.plays {
            self.drop_trigger()?;
            self.plays = false;
        }
        if light.level > 0 {
            self.set_colour(light.colour)?;
        }
        write(&self.folder, "brightness", &self.scaled(light.level).to_string())
    }

    fn play(&mut self, rhythm: &Rhythm, colour: Option<Colour>) -> io::Result<bool> {
        let Rhythm::Blink(steps) = rhythm else { return Ok(false) };
        if !self.can_play {
            return Ok(false);
        }
        // Each brightness twice, the second time for 0 ms: otherwise the kernel fades from one to the next.
        let mut pattern = String::new();
        for (index, ms) in steps.iter().enumerate() {
            let level = if index.is_multiple_of(2) { self.max } else { 0 };
            let _ = write!(pattern, "{level} {ms} {level} 0 ");
        }
        self.set_colour(colour)?;
        write(&self.folder, "trigger", "pattern")?;
        match write(&self.folder, "pattern", pattern.trim_end()) {
            Ok(()) => {
                self.plays = true;
                Ok(true)
            }
            // A driver that takes none of them; do it by hand from now on.
            Err(error) => {
                tracing::warn!(%error, led = %self.folder.display(), "the kernel does not take this rhythm");
                self.can_play = false;
                self.drop_trigger()?;
                Ok(false)
            }
        }
    }
}

fn channel(word: &str) -> Channel {
    match word {
        "red" => Channel::Red,
        "green" => Channel::Green,
        "blue" => Channel::Blue,
        _ => Channel::White,
    }
}

fn read(folder: &Path, name: &str) -> io::Result<String> {
    Ok(std::fs::read_to_string(folder.join(name))?.trim().to_owned())
}

/// In one write, as the kernel wants it; nothing is created.
fn write(folder: &Path, name: &str, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).truncate(true).open(folder.join(name))?.write_all(text.as_bytes())
}
