//! Regular expressions of profiles. A profile with a bad one does not load.

use regex_lite::Regex;
use serde::Deserialize;

/// Longest text that a pattern is tried on, in bytes: matching takes time in proportion.
const TEXT_MAX_BYTES: usize = 4 * 1024;

/// A compiled regular expression.
#[derive(Debug, Clone)]
pub(in crate::printer) struct Pattern(Regex);

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Regex::new(&text).map(Self).map_err(|e| serde::de::Error::custom(format!("the pattern {text:?}: {e}")))
    }
}

impl Pattern {
    /// Compiles a pattern that stands in the program.
    #[cfg(test)]
    pub(in crate::printer) fn of(text: &str) -> Self {
        Self(Regex::new(text).unwrap_or_else(|e| panic!("{text}: {e}")))
    }

    pub(in crate::printer) fn matches(&self, text: &str) -> bool {
        text.len() <= TEXT_MAX_BYTES && self.0.is_match(text)
    }

    /// The first group that took part, else the whole match.
    pub(in crate::printer) fn part_of<'a>(&self, text: &'a str) -> Option<&'a str> {
        if text.len() > TEXT_MAX_BYTES {
            return None;
        }
        let captures = self.0.captures(text)?;
        let group = (1..captures.len()).find_map(|n| captures.get(n)).or_else(|| captures.get(0))?;
        Some(group.as_str())
    }
}
