//! What the self-test says: one line for each step, and a word at the end.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::words::{self, Word};
use crate::cause::{Cause, Trouble};

/// Longest thing that is said of a step besides its word, in characters.
const DETAIL_MAX_CHARS: usize = 256;
/// Width of a step's name, in characters.
const NAME_WIDTH: usize = 11;

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is as it should be; what was found.
    Ok(String),
    /// Something does not work that the box can do without.
    Warn(Finding),
    /// The cause why the box does not work.
    Fail(Finding),
    /// There is nothing to try; why.
    Skip(String),
    /// A step before it has failed.
    NotTried,
}

/// A named cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its word, meaning and remedy.
    pub word: Word,
    /// Who and what. May be empty. Not escaped.
    pub detail: String,
}

impl Finding {
    /// A cause of the one list.
    #[must_use]
    pub fn new(cause: Cause, detail: impl Into<String>) -> Self {
        Self { word: words::of(cause), detail: detail.into() }
    }

    pub(super) fn local(word: Word, detail: impl Into<String>) -> Self {
        Self { word, detail: detail.into() }
    }

    /// The same, with another word in front: that of what does not pass, and the true cause in the detail.
    pub(super) fn blocked(cause: Cause, why: &Trouble) -> Self {
        Self::new(cause, why.to_string())
    }
}

impl From<Trouble> for Finding {
    fn from(trouble: Trouble) -> Self {
        Self::new(trouble.cause, trouble.detail)
    }
}

/// A step and what became of it. Shown (`to_string`) it is one line of printable characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The step: "link", "tcp-443", …
    pub step: String,
    /// What became of it.
    pub outcome: Outcome,
    /// How long it took.
    pub took: Duration,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The box works; there may have been warnings.
    Passed,
    /// It does not, and this is why.
    Failed(Finding),
}

impl Verdict {
    /// Whether the box works.
    #[must_use]
    pub fn has_passed(&self) -> bool {
        *self == Self::Passed
    }
}

/// What a terminal may be sent of something that came from the network or from a file: no control characters, none that turn the
/// direction of text or are not seen, and not too much.
fn plain(text: &str) -> String {
    let is_harmless = |c: char| {
        !c.is_control()
            && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let show = |c: char| if is_harmless(c) { c.to_string() } else { c.escape_unicode().to_string() };
    text.chars().take(DETAIL_MAX_CHARS).map(show).collect()
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.word.word)?;
        if !self.detail.is_empty() {
            write!(f, " ({})", plain(&self.detail))?;
        }
        write!(f, " – {}", self.word.remedy)
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<NAME_WIDTH$} ", plain(&self.step))?;
        let seconds = self.took.as_secs_f64();
        match &self.outcome {
            Outcome::Ok(found) => write!(f, "ok   {seconds:.2} s  {}", plain(found)),
            Outcome::Warn(finding) => write!(f, "WARN {seconds:.2} s  {finding}"),
            Outcome::Fail(finding) => write!(f, "FAIL {seconds:.2} s  {finding}"),
            Outcome::Skip(why) => write!(f, "skip: {}", plain(why)),
            Outcome::NotTried => f.write_str("not tried"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => f.write_str("passed"),
            Self::Failed(finding) => write!(f, "failed: {}", finding.word.word),
        }
    }
}

/// A line for a program.
#[derive(Debug, Serialize)]
pub struct LineJson {
    step: String,
    /// "ok", "warn", "fail", "skip", "not-tried".
    outcome: &'static str,
    took_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<&'static str>,
    detail: String,
}

impl From<&Line> for LineJson {
    fn from(line: &Line) -> Self {
        let (outcome, finding, text) = match &line.outcome {
            Outcome::Ok(found) => ("ok", None, found.as_str()),
            Outcome::Warn(finding) => ("warn", Some(finding), finding.detail.as_str()),
            Outcome::Fail(finding) => ("fail", Some(finding), finding.detail.as_str()),
            Outcome::Skip(why) => ("skip", None, why.as_str()),
            Outcome::NotTried => ("not-tried", None, ""),
        };
        Self {
            step: plain(&line.step),
            outcome,
            took_ms: u64::try_from(line.took.as_millis()).unwrap_or(u64::MAX),
            cause: finding.map(|finding| finding.word.word),
            remedy: finding.map(|finding| finding.word.remedy),
            detail: plain(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(outcome: Outcome) -> String {
        Line { step: "dns".to_owned(), outcome, took: Duration::from_millis(1_234) }.to_string()
    }

    #[test]
    fn each_step_is_one_line_with_the_word_first() {
        assert_eq!(line(Outcome::Ok("cloud.example".to_owned())), "dns         ok   1.23 s  cloud.example");
        assert_eq!(line(Outcome::NotTried), "dns         not tried");
        assert_eq!(line(Outcome::Skip("why".to_owned())), "dns         skip: why");
        let failed = line(Outcome::Fail(Finding::local(words::DNS_SILENT, "10.0.0.1")));
        assert!(failed.starts_with("dns         FAIL 1.23 s  dns-silent (10.0.0.1) – Check "), "{failed}");
        let verdict = Verdict::Failed(Finding::new(Cause::Tcp, "x"));
        assert_eq!((verdict.to_string(), Verdict::Passed.to_string()), ("failed: tcp".to_owned(), "passed".to_owned()));
    }

    #[test]
    fn what_a_stranger_said_is_escaped_and_cut_wherever_it_stands() {
        let evil = format!("\u{1b}[2J\r\n\u{202e}{}", "x".repeat(10_000));
        for outcome in [
            Outcome::Ok(evil.clone()),
            Outcome::Skip(evil.clone()),
            Outcome::Warn(Finding::new(Cause::MqttBlocked, evil.clone())),
            Outcome::Fail(Finding::new(Cause::CaptivePortal, evil.clone())),
        ] {
            let json = serde_json::to_string(&LineJson::from(&Line {
                step: evil.clone().chars().take(9).collect(),
                outcome: outcome.clone(),
                took: Duration::ZERO,
            }));
            for shown in [line(outcome.clone()), json.unwrap()] {
                assert!(shown.chars().all(|c| !c.is_control() && c != '\u{202e}'), "{shown}");
                assert!(shown.chars().count() < 900, "{shown}");
            }
        }
    }
}
