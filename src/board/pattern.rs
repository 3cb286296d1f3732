//! The LED table: what each [`Signal`] looks like and means, and which of several is shown. The rows are data
//! (`patterns.toml`); the tests beside this file hold them to the table's rules.

use std::sync::OnceLock;

use serde::Deserialize;

use super::rhythm::{Rhythm, Steps};
use super::signal::{SIGNALS, Signal, Stage};

const TABLE: &str = include_str!("patterns.toml");

/// Colours of light. Where an LED has only one, the rhythm says it all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "their names say it")]
pub enum Colour {
    White,
    Blue,
    Green,
    Orange,
    Red,
}

/// Dimmer when nothing has changed for long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dims {
    /// After so many ms.
    pub after_ms: u64,
    /// To this share of full brightness.
    pub to_percent: u8,
}

/// What a signal looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// What it says.
    pub signal: Signal,
    /// Its row in the LED table, `L-0` to `L-18`.
    pub id: String,
    /// What it means, one sentence for a person.
    pub meaning: String,
    /// Its colour; `None` for darkness.
    pub colour: Option<Colour>,
    /// Higher goes before lower; `None` is below all.
    pub priority: Option<u8>,
    /// How light and darkness follow each other.
    pub rhythm: Rhythm,
    /// The same for an LED that is only on or off, where that is another.
    pub without_levels: Option<Rhythm>,
    /// How long it is shown when it is asked for, in ms; `None`: as long as it holds.
    pub lasts_ms: Option<u64>,
    /// When it becomes dimmer.
    pub dims: Option<Dims>,
}

impl Pattern {
    /// The rhythm for an LED that has levels of brightness, or is only on or off.
    #[must_use]
    pub fn rhythm_for(&self, has_levels: bool) -> &Rhythm {
        self.without_levels.as_ref().filter(|_| !has_levels).unwrap_or(&self.rhythm)
    }
}

/// All rows.
#[derive(Debug)]
pub struct Patterns {
    list: heapless::Vec<Pattern, SIGNALS>,
    /// Light of each colour, red, green, blue.
    colours: Colours,
    /// Within how long a state can be read, in ms.
    pub readable_ms: u32,
    /// Within how long a number can be read, in ms.
    pub numbers_readable_ms: u32,
    /// Darkness before anything new, in ms.
    pub lead_ms: u32,
    /// Darkness after what is shown once, in ms.
    pub tail_ms: u32,
}

impl Patterns {
    /// The table. One that could not be read would be empty and the LED dark; that it can, a test says.
    #[must_use]
    pub fn built_in() -> &'static Self {
        static BUILT_IN: OnceLock<Patterns> = OnceLock::new();
        let load = || Self::parse(TABLE).inspect_err(|error| tracing::error!(%error, "no LED table")).unwrap_or(NONE);
        BUILT_IN.get_or_init(load)
    }

    /// The row of a signal.
    #[must_use]
    pub fn of(&self, signal: Signal) -> &Pattern {
        self.list.iter().find(|pattern| pattern.signal == signal).unwrap_or(&DARK)
    }

    /// All rows in the table's order; numbers and stages each count as one.
    pub fn iter(&self) -> impl Iterator<Item = &Pattern> {
        self.list.iter()
    }

    /// Red, green and blue of a colour.
    #[must_use]
    pub fn rgb(&self, colour: Colour) -> [u8; 3] {
        let Rgb(rgb) = match colour {
            Colour::White => self.colours.white,
            Colour::Blue => self.colours.blue,
            Colour::Green => self.colours.green,
            Colour::Orange => self.colours.orange,
            Colour::Red => self.colours.red,
        };
        rgb
    }

    /// The signal that is shown where several hold: the one of the highest priority, of equal ones the one that comes first
    /// in the table. [`Signal::Off`] where none holds.
    #[must_use]
    pub fn highest(&self, signals: impl IntoIterator<Item = Signal>) -> Signal {
        let rank = |signal: Signal| {
            let place = self.list.iter().position(|pattern| pattern.signal == signal);
            (self.of(signal).priority, std::cmp::Reverse(place.unwrap_or(usize::MAX)))
        };
        signals.into_iter().max_by_key(|signal| rank(*signal)).unwrap_or(Signal::Off)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let table: Table = toml::from_str(text).map_err(|error| error.to_string())?;
        let mut list = heapless::Vec::new();
        for row in &table.pattern {
            for pattern in row.patterns()? {
                list.push(pattern).map_err(|pattern| format!("{}: too many rows", pattern.id))?;
            }
        }
        match Signal::all().find(|signal| list.iter().filter(|row: &&Pattern| row.signal == *signal).count() != 1) {
            Some(signal) => Err(format!("{signal} has not exactly one row")),
            None => Ok(Self {
                list,
                colours: table.colours,
                readable_ms: table.readable_ms,
                numbers_readable_ms: table.numbers_readable_ms,
                lead_ms: table.lead_ms,
                tail_ms: table.tail_ms,
            }),
        }
    }
}

static DARK: Pattern = Pattern {
    signal: Signal::Off,
    id: String::new(),
    meaning: String::new(),
    colour: None,
    priority: None,
    rhythm: Rhythm::Dark,
    without_levels: None,
    lasts_ms: None,
    dims: None,
};

const NONE: Patterns = Patterns {
    list: heapless::Vec::new(),
    colours: Colours {
        white: Rgb([0; 3]),
        blue: Rgb([0; 3]),
        green: Rgb([0; 3]),
        orange: Rgb([0; 3]),
        red: Rgb([0; 3]),
    },
    readable_ms: 0,
    numbers_readable_ms: 0,
    lead_ms: 0,
    tail_ms: 0,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    readable_ms: u32,
    numbers_readable_ms: u32,
    lead_ms: u32,
    tail_ms: u32,
    colours: Colours,
    pattern: Vec<Row>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Colours {
    white: Rgb,
    blue: Rgb,
    green: Rgb,
    orange: Rgb,
    red: Rgb,
}

/// `#rrggbb`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
struct Rgb([u8; 3]);

impl TryFrom<String> for Rgb {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6);
        let number = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let [_, rgb @ ..] = number.ok_or_else(|| format!("{text} is not #rrggbb"))?.to_be_bytes();
        Ok(Self(rgb))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    id: String,
    word: String,
    stage: Option<u8>,
    meaning: String,
    colour: Option<Colour>,
    priority: Option<u8>,
    rhythm: RowRhythm,
    without_levels: Option<Rhythm>,
    lasts_ms: Option<u64>,
    dims: Option<Dims>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RowRhythm {
    Count { count: Count },
    Plain(Rhythm),
}

/// As many flashes as the number says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Count {
    on: u32,
    off: u32,
    pause: u32,
}

impl Count {
    /// The pause takes the place of the last `off`. Twelve steps at most, as a [`Number`](super::Number) is at most six.
    fn rhythm(&self, number: u8) -> Rhythm {
        let ends = (1..=number).map(|n| if n == number { self.pause } else { self.off });
        Rhythm::Blink(ends.flat_map(|off| [self.on, off]).collect::<Steps>())
    }
}

impl Row {
    /// One pattern; for `number` one for each number.
    fn patterns(&self) -> Result<Vec<Pattern>, String> {
        let of = |signal: Signal, rhythm: Rhythm| {
            let pattern = Pattern {
                signal,
                id: self.id.clone(),
                meaning: self.meaning.clone(),
                colour: self.colour,
                priority: self.priority,
                rhythm,
                without_levels: self.without_levels.clone(),
                lasts_ms: self.lasts_ms,
                dims: self.dims,
            };
            let is_sound = pattern.rhythm.is_sound() && pattern.without_levels.as_ref().is_none_or(Rhythm::is_sound);
            if is_sound { Ok(pattern) } else { Err(format!("{} {signal}: no such rhythm can be shown", self.id)) }
        };
        match &self.rhythm {
            RowRhythm::Count { count } => {
                let all = Signal::all().filter(|signal| signal.word() == self.word);
                all.filter_map(|signal| match signal {
                    Signal::Number(number) => Some(of(signal, count.rhythm(number.get()))),
                    _ => None,
                })
                .collect()
            }
            RowRhythm::Plain(rhythm) => {
                let stage = Stage::ALL.into_iter().find(|stage| Some(stage.number()) == self.stage);
                let signal = match stage {
                    Some(stage) => Some(Signal::ResetArmed(stage)).filter(|signal| signal.word() == self.word),
                    None => Signal::from_word(&self.word),
                };
                let signal = signal.ok_or_else(|| format!("{}: there is no state {}", self.id, self.word))?;
                Ok(vec![of(signal, rhythm.clone())?])
            }
        }
    }
}

#[cfg(test)]
#[path = "pattern_tests.rs"]
mod tests;
