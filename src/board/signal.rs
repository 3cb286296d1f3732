//! What the LED can say: one value a row of `patterns.toml`, by the words that console, portal and `platen status` use too.

use std::fmt;

/// How many values there are: the numbers and the stages each counted.
pub const SIGNALS: usize = 25;

/// Fewest and most flashes of a number: one would be taken for a blink, more are miscounted.
pub const NUMBERS: std::ops::RangeInclusive<u8> = 2..=6;

/// What the LED says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signal {
    /// L-0: no power, and nothing to say.
    Off,
    /// L-1: the box is starting.
    Starting,
    /// L-2: it waits to be claimed.
    Unclaimed,
    /// L-3: it can be claimed now.
    Pairing,
    /// L-4: a number to be compared; [`Number`] keeps it within what can be counted.
    Number(Number),
    /// L-5: press the button now.
    Press,
    /// L-6: all is well.
    Ok,
    /// L-7: somebody looks at a printer's page.
    Tunnel,
    /// L-8: the cloud is not reached.
    NoCloud,
    /// L-9: no cable or no address.
    NoNetwork,
    /// L-10: nothing answers.
    NoPrinters,
    /// L-11: TLS was refused or is inspected, or the time is wrong.
    ClockTls,
    /// L-12: do not unplug.
    Updating,
    /// L-13: the cloud has refused the box.
    Disabled,
    /// L-14: storage, start or hardware failed.
    Fault,
    /// L-15: the button is held.
    ResetArmed(Stage),
    /// L-16: done.
    Done,
    /// L-17: refused.
    Refused,
    /// L-18: here I am.
    Locate,
}

/// A number that can be counted on an LED, 2 to 6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Number(u8);

impl Number {
    /// `None` for a number outside of [`NUMBERS`].
    #[must_use]
    pub fn new(number: u8) -> Option<Self> {
        NUMBERS.contains(&number).then_some(Self(number))
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

/// How long the button has been held: each is quicker than the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Half a flash a second.
    First,
    /// One flash a second.
    Second,
    /// Two flashes a second.
    Third,
}

impl Stage {
    pub(super) const ALL: [Self; 3] = [Self::First, Self::Second, Self::Third];

    /// 1, 2, 3.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::First => 1,
            Self::Second => 2,
            Self::Third => 3,
        }
    }
}

impl Signal {
    /// Those with neither a number nor a stage.
    const PLAIN: [Self; 17] = [
        Self::Off,
        Self::Starting,
        Self::Unclaimed,
        Self::Pairing,
        Self::Press,
        Self::Ok,
        Self::Tunnel,
        Self::NoCloud,
        Self::NoNetwork,
        Self::NoPrinters,
        Self::ClockTls,
        Self::Updating,
        Self::Disabled,
        Self::Fault,
        Self::Done,
        Self::Refused,
        Self::Locate,
    ];

    /// Every value, [`SIGNALS`] of them.
    pub fn all() -> impl Iterator<Item = Self> {
        let numbers = NUMBERS.map(|number| Self::Number(Number(number)));
        Self::PLAIN.into_iter().chain(numbers).chain(Stage::ALL.map(Self::ResetArmed))
    }

    /// The word of the LED table. Stable.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Starting => "starting",
            Self::Unclaimed => "unclaimed",
            Self::Pairing => "pairing",
            Self::Number(_) => "number",
            Self::Press => "press",
            Self::Ok => "ok",
            Self::Tunnel => "tunnel",
            Self::NoCloud => "no-cloud",
            Self::NoNetwork => "no-network",
            Self::NoPrinters => "no-printers",
            Self::ClockTls => "clock/tls",
            Self::Updating => "updating",
            Self::Disabled => "disabled",
            Self::Fault => "fault",
            Self::ResetArmed(_) => "reset-armed",
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Locate => "locate",
        }
    }

    /// The value with this word. A number and a stage come after the word and a space (`number 4`, `reset-armed 2`), as
    /// [`Display`](fmt::Display) writes them. `None` for `number` alone.
    #[must_use]
    pub fn from_word(text: &str) -> Option<Self> {
        let (word, which) = text.split_once(' ').map_or((text, None), |(word, which)| (word, Some(which)));
        match (word, which) {
            ("number", Some(which)) => Number::new(which.parse().ok()?).map(Self::Number),
            ("reset-armed", Some(which)) => {
                let which: u8 = which.parse().ok()?;
                Stage::ALL.into_iter().find(|stage| stage.number() == which).map(Self::ResetArmed)
            }
            ("reset-armed", None) => Some(Self::ResetArmed(Stage::First)),
            (_, None) => Self::PLAIN.into_iter().find(|signal| signal.word() == word),
            _ => None,
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "number {}", number.get()),
            Self::ResetArmed(stage) => write!(f, "reset-armed {}", stage.number()),
            _ => f.write_str(self.word()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_is_found_by_what_it_is_written_as() {
        assert_eq!(Signal::all().count(), SIGNALS);
        for signal in Signal::all() {
            assert_eq!(Signal::from_word(&signal.to_string()), Some(signal));
        }
        assert_eq!(Signal::from_word("reset-armed"), Some(Signal::ResetArmed(Stage::First)));
        for text in ["", "number", "number 1", "number 7", "number x", "reset-armed 4", "ok 1", "OK", "no cloud"] {
            assert_eq!(Signal::from_word(text), None, "{text}");
        }
    }

    #[test]
    fn the_words_that_causes_name_for_the_led_are_signals() {
        for cause in crate::cause::all() {
            let word = crate::cause::explain(cause).led;
            assert!(Signal::from_word(word).is_some(), "{cause:?} names the state {word}");
        }
    }
}
