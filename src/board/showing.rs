//! What the LED shows at each moment: the highest of what holds, of what was asked for, and of what somebody who holds the
//! button should know. Pure; times are milliseconds of the panel's clock.

use super::hardware::Light;
use super::pattern::{Colour, Patterns};
use super::rhythm::{FULL, Rhythm, Steps};
use super::signal::{SIGNALS, Signal};

/// How many things may be asked for at a time; the oldest gives way.
pub(super) const FLASHES_MAX: usize = 4;

/// A muted box still says for once a minute that it is disabled or faulty.
const MUTED_ON_MS: u32 = 200;
const MUTED_OFF_MS: u32 = 59_800;

/// Something that is shown for some time.
#[derive(Debug, Clone, Copy)]
struct Flash {
    signal: Signal,
    /// Tells it from an earlier one of the same signal.
    serial: u32,
    until_ms: u64,
}

/// What is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct What {
    signal: Signal,
    /// 0 for what holds, else the flash's.
    serial: u32,
    muted: bool,
}

/// How the LED is at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub light: Light,
    /// The whole rhythm and when it began, where it repeats: for hardware that can play it.
    pub whole: Option<Whole>,
    /// When the rhythm changes the light next.
    pub rhythm_next_ms: Option<u64>,
    /// When something else is shown next, if nobody asks for anything.
    pub other_next_ms: Option<u64>,
}

/// A repeating rhythm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Whole {
    pub rhythm: Rhythm,
    pub colour: Option<Colour>,
    pub began_ms: u64,
}

/// What is to be shown, and since when.
#[derive(Debug)]
pub(super) struct Showing {
    table: &'static Patterns,
    has_levels: bool,
    standing: heapless::Vec<Signal, SIGNALS>,
    flashes: heapless::Deque<Flash, FLASHES_MAX>,
    flashes_so_far: u32,
    held: Option<Signal>,
    muted: bool,
    /// When somebody touched the button last; 0 for never, which is when the program began.
    touched_ms: Option<u64>,
    what: What,
    since_ms: u64,
}

impl Showing {
    pub(super) fn new(has_levels: bool) -> Self {
        Self {
            table: Patterns::built_in(),
            has_levels,
            standing: heapless::Vec::new(),
            flashes: heapless::Deque::new(),
            flashes_so_far: 0,
            held: None,
            muted: false,
            touched_ms: None,
            what: What { signal: Signal::Off, serial: 0, muted: false },
            since_ms: 0,
        }
    }

    pub(super) fn set(&mut self, signals: &[Signal]) {
        self.standing.clear();
        for signal in signals {
            if !self.standing.contains(signal) {
                let _ = self.standing.push(*signal); // there are no more than SIGNALS different ones
            }
        }
    }

    pub(super) fn mute(&mut self, muted: bool) {
        self.muted = muted;
    }

    pub(super) fn hold(&mut self, shows: Option<Signal>) {
        // Who holds the button of a box that belongs to somebody cannot open the pairing window.
        self.held = shows.filter(|signal| *signal != Signal::Pairing || self.standing.contains(&Signal::Unclaimed));
    }

    /// Somebody is at the box: full brightness.
    pub(super) fn touch(&mut self, now_ms: u64) {
        self.touched_ms = Some(now_ms);
    }

    /// What is shown, once more from its beginning.
    pub(super) fn replay(&mut self, now_ms: u64) {
        self.touch(now_ms);
        self.since_ms = now_ms;
    }

    /// Shows it for so long; `None`: once, or as long as the table says, else as long as it takes to be read.
    pub(super) fn flash(&mut self, signal: Signal, for_ms: Option<u64>, now_ms: u64) {
        let pattern = self.table.of(signal);
        let rhythm = pattern.rhythm_for(self.has_levels);
        let (lead, tail) = (u64::from(self.table.lead_ms), u64::from(self.table.tail_ms));
        let lasts_ms = if rhythm.is_once() {
            u64::from(rhythm.length_ms()) + tail
        } else {
            for_ms.or(pattern.lasts_ms).unwrap_or(u64::from(self.table.readable_ms))
        };
        let is_once = |flash: &Flash| self.table.of(flash.signal).rhythm.is_once();
        self.flashes.retain(|flash| flash.signal != signal && !(rhythm.is_once() && is_once(flash)));
        if self.flashes.is_full() {
            self.flashes.pop_front();
        }
        self.flashes_so_far = self.flashes_so_far.wrapping_add(1).max(1);
        let until_ms = now_ms.saturating_add(lead).saturating_add(lasts_ms);
        let _ = self.flashes.push_back(Flash { signal, serial: self.flashes_so_far, until_ms }); // there is room now
    }

    /// The signal that is shown.
    pub(super) const fn signal(&self) -> Signal {
        self.what.signal
    }

    /// How the LED is at this time.
    pub(super) fn frame(&mut self, now_ms: u64) -> Frame {
        self.flashes.retain(|flash| flash.until_ms > now_ms);
        let what = self.what(now_ms);
        if what != self.what {
            (self.what, self.since_ms) = (what, now_ms);
        }
        let expires_ms = self.flashes.iter().map(|flash| flash.until_ms).min();
        let other_next_ms = expires_ms.into_iter().chain(self.muted_again_ms(now_ms)).min();
        Frame { other_next_ms, ..self.rhythm(now_ms) }
    }

    fn what(&self, now_ms: u64) -> What {
        let asked_for = || self.flashes.iter().map(|flash| flash.signal).chain(self.held);
        let shown = |signal: Signal| {
            let flash = self.flashes.iter().find(|flash| flash.signal == signal && self.held != Some(signal));
            What { signal, serial: flash.map_or(0, |flash| flash.serial), muted: false }
        };
        let signal = self.table.highest(self.standing.iter().copied().chain(asked_for()));
        if !self.muted || self.muted_again_ms(now_ms).is_some() {
            return shown(signal);
        }
        // What was asked for is shown, although something may go before it that is not shown.
        if asked_for().next().is_some() {
            return shown(self.table.highest(asked_for()));
        }
        What { signal, serial: 0, muted: true }
    }

    /// Until when a muted box shows its state to whoever has touched the button.
    fn muted_again_ms(&self, now_ms: u64) -> Option<u64> {
        let shows_ms = u64::from(self.table.lead_ms + self.table.readable_ms);
        self.touched_ms.filter(|_| self.muted).map(|touched| touched + shows_ms).filter(|until| *until > now_ms)
    }

    fn rhythm(&self, now_ms: u64) -> Frame {
        let pattern = self.table.of(self.what.signal);
        let muted = Rhythm::Blink(Steps::from_iter([MUTED_ON_MS, MUTED_OFF_MS]));
        let rhythm = match (self.what.muted, self.what.signal) {
            (false, _) => pattern.rhythm_for(self.has_levels),
            (true, Signal::Disabled | Signal::Fault) => &muted,
            (true, _) => &Rhythm::Dark,
        };
        let began_ms = self.since_ms + u64::from(self.table.lead_ms);
        let frame = Frame { light: Light::DARK, whole: None, rhythm_next_ms: Some(began_ms), other_next_ms: None };
        let Some(t) = now_ms.checked_sub(began_ms) else { return frame };
        let dims_ms = pattern.dims.map(|dims| self.since_ms.max(self.touched_ms.unwrap_or(0)) + dims.after_ms);
        let percent =
            pattern.dims.filter(|_| dims_ms.is_some_and(|at| at <= now_ms)).map_or(100, |dims| dims.to_percent);
        let level = scaled(rhythm.level_at(t), percent);
        let light = if level == 0 { Light::DARK } else { Light { level, colour: pattern.colour } };
        let repeats = matches!(rhythm, Rhythm::Blink(_) | Rhythm::Breathe(_)) && pattern.dims.is_none();
        let whole = repeats.then(|| Whole { rhythm: rhythm.clone(), colour: pattern.colour, began_ms });
        let changes_ms = rhythm.next_change_ms(t).map(|next| began_ms.saturating_add(next));
        let rhythm_next_ms = changes_ms.into_iter().chain(dims_ms.filter(|at| *at > now_ms)).min();
        Frame { light, whole, rhythm_next_ms, other_next_ms: None }
    }
}

/// A share of a level, dark only where it was.
fn scaled(level: u8, percent: u8) -> u8 {
    let scaled = u32::from(level) * u32::from(percent.min(100)) / 100;
    u8::try_from(scaled).unwrap_or(FULL).max(u8::from(level > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_light_is_never_darkness() {
        assert_eq!(
            [(255, 10), (255, 100), (3, 10), (0, 50)].map(|(level, percent)| scaled(level, percent)),
            [25, 255, 1, 0]
        );
    }
}
