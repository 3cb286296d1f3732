//! Who is silent, and why as far as it is known: pure functions of the time and of what is stored. Nothing is silent without
//! being told, and nothing silent vanishes.

use prost::Message;

use super::dating::Interval;
use super::rows::{BoxState, Silence};
use crate::cause::{Cause, Trouble, from_number};
use crate::proto::v1;

/// Intervals without a sign of life after which a box or a printer is flagged.
const INTERVALS: i64 = 3;
/// A box is flagged after this at the latest, in milliseconds …
const BOX_PATIENCE_MAX_MS: i64 = 15 * 60 * 1_000;
/// The time between polls where a box was told none, in seconds: what boxes do by themselves.
const POLL_INTERVAL_DEFAULT_S: u32 = 300;
/// The time between readings where the cloud has set none, in seconds: what boxes do by themselves.
pub(crate) const READ_INTERVAL_DEFAULT_S: u32 = 3_600;
/// A printer is not flagged earlier than this after its last reading, in milliseconds: readings travel in groups.
const PRINTER_PATIENCE_MIN_MS: i64 = 60 * 1_000;

/// A box that is silent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoxSilence {
    /// Its last sign of life, or its making.
    pub since_ms: i64,
    /// Why, as far as it told before it fell silent.
    pub trouble: Trouble,
}

/// Whether a box is silent now. The cloud has been listening since `listening_since_ms`: what it could not hear before, it
/// does not miss.
#[must_use]
pub fn box_silence(state: &BoxState, listening_since_ms: i64, now_ms: i64) -> Option<BoxSilence> {
    let told_s = if state.told_interval_s == 0 { POLL_INTERVAL_DEFAULT_S } else { state.told_interval_s };
    let interval_ms = i64::from(told_s) * 1_000;
    // … but not before it was to poll at all, if it was told to poll seldom.
    let patience_ms = (interval_ms * INTERVALS).min(BOX_PATIENCE_MAX_MS).max(interval_ms * 3 / 2);
    let since_ms = state.last_poll_ms.unwrap_or(state.created_ms);
    (now_ms - since_ms.max(listening_since_ms) > patience_ms)
        .then(|| BoxSilence { since_ms, trouble: last_words(state) })
}

/// What a box last said was wrong with itself; else that it fell silent without a word.
fn last_words(state: &BoxState) -> Trouble {
    if state.last_poll_ms.is_none() {
        return Trouble::new(Cause::NeverSeen, "");
    }
    let status = state.status.as_deref().and_then(|bytes| v1::BoxStatus::decode(bytes).ok()).unwrap_or_default();
    // What it can live with explains no silence.
    let explains = |cause: Cause| {
        !matches!(
            cause,
            Cause::Unspecified | Cause::Http2Blocked | Cause::MqttBlocked | Cause::SshBlocked | Cause::Ranges
        )
    };
    status
        .troubles
        .iter()
        .map(|trouble| Trouble::new(from_number(trouble.cause), &trouble.detail))
        .find(|trouble| explains(trouble.cause))
        .unwrap_or_else(|| Trouble::new(Cause::BoxSilent, ""))
}

/// A printer that is not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrinterSilence {
    /// When it was last read; `None`: never.
    pub since: Option<Interval>,
    /// Why, as far as it is known.
    pub trouble: Trouble,
}

/// Whether a printer is not read now. `said`: what the box that holds it says of it; `holder`: that box's own silence;
/// `last`: its newest reading; `read_interval_s`: 0 where the cloud has set none.
#[must_use]
pub fn printer_silence(
    said: Option<&Silence>,
    holder: Option<&BoxSilence>,
    last: Option<Interval>,
    read_interval_s: u32,
    now_ms: i64,
) -> Option<PrinterSilence> {
    let interval_s = if read_interval_s == 0 { READ_INTERVAL_DEFAULT_S } else { read_interval_s };
    let patience_ms = (i64::from(interval_s) * 1_000 * INTERVALS).max(PRINTER_PATIENCE_MIN_MS);
    let is_late = last.is_none_or(|last| now_ms - last.high_ms > patience_ms);
    let is_missed = said.is_some_and(|said| i64::from(said.missed) >= INTERVALS);
    if !is_late && !is_missed {
        return None;
    }
    // A silent box explains more than what it said before.
    let trouble = match (holder, said) {
        (Some(holder), _) => Trouble::new(Cause::BoxSilent, &holder.trouble.to_string()),
        (None, Some(said)) => Trouble::new(from_number(said.cause), &said.detail),
        (None, None) => Trouble::new(Cause::Unspecified, ""),
    };
    Some(PrinterSilence { since: last, trouble })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(told_interval_s: u32, last_poll_ms: Option<i64>, troubles: Vec<v1::Trouble>) -> BoxState {
        let status = v1::BoxStatus { troubles, ..v1::BoxStatus::default() };
        BoxState { told_interval_s, last_poll_ms, status: Some(status.encode_to_vec()), ..BoxState::default() }
    }

    #[test]
    fn a_box_is_silent_after_three_intervals_and_after_a_quarter_of_an_hour_at_the_latest() {
        for (interval_s, silent_after_s) in [(5, 15), (300, 900), (360, 900), (3_600, 5_400)] {
            let polled = state(interval_s, Some(0), vec![]);
            assert_eq!(box_silence(&polled, 0, silent_after_s * 1_000), None);
            let silence = box_silence(&polled, 0, silent_after_s * 1_000 + 1).unwrap();
            assert_eq!((silence.since_ms, silence.trouble.cause), (0, Cause::BoxSilent));
            // The cloud was down meanwhile.
            assert_eq!(box_silence(&polled, 1, silent_after_s * 1_000 + 1), None);
        }
        let never = state(300, None, vec![]);
        assert_eq!(box_silence(&never, 0, 900_001).unwrap().trouble.cause, Cause::NeverSeen);
    }

    #[test]
    fn a_silent_box_is_explained_by_its_last_words_that_explain_it() {
        let said = |cause: Cause| v1::Trouble { cause: cause.into(), detail: "d".to_owned() };
        let silent = state(5, Some(0), vec![said(Cause::MqttBlocked), said(Cause::Storage)]);
        assert_eq!(box_silence(&silent, 0, 1 << 40).unwrap().trouble, Trouble::new(Cause::Storage, "d"));
    }

    #[test]
    fn a_printer_is_not_read_after_three_missed_rounds_or_three_intervals_and_says_why() {
        let said = |missed| Silence {
            device_id: 1,
            cause: Cause::PingOnly.into(),
            detail: String::new(),
            missed,
            since_ms: 0,
        };
        let last = Some(Interval { low_ms: 0, high_ms: 0 });
        let of = |said: Option<&Silence>, now| printer_silence(said, None, last, 600, now).map(|it| it.trouble.cause);
        assert_eq!(of(None, 1_800_000), None);
        assert_eq!(of(None, 1_800_001), Some(Cause::Unspecified));
        assert_eq!(of(Some(&said(2)), 1), None);
        assert_eq!(of(Some(&said(3)), 1), Some(Cause::PingOnly));
        assert_eq!(of(Some(&said(1)), 1_800_001), Some(Cause::PingOnly));
        let gone = BoxSilence { since_ms: 0, trouble: Trouble::new(Cause::NoLink, "") };
        let silence = printer_silence(Some(&said(3)), Some(&gone), None, 0, 1).unwrap();
        assert_eq!((silence.trouble.to_string().as_str(), silence.since), ("box-silent: no-link", None));
    }
}
