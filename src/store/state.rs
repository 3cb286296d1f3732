//! The small file beside the segments: which epochs there are, up to where the cloud has each of them, and when it said
//! so. It is replaced as a whole at each acknowledgement. One line of JSON and one line with its CRC32.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::files::{read_bounded, write_atomically};
use super::limits::{MARK_GRAIN_S, MAX_CLOCK_STEP_S, MAX_CLOSED_EPOCHS, MAX_MARKS, MAX_STATE_BYTES};
use super::{Epoch, Seq, StoreError};
use crate::sys::Fs;

/// What is known of one epoch.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct EpochState {
    /// Counts the epochs of this outbox from 1: their order, and the beginning of their files' names.
    pub generation: u32,
    pub epoch: u64,
    /// Everything up to here is held by the cloud, as far as it has not asked for it again.
    pub acknowledged: u64,
    /// The highest number that was ever acknowledged.
    pub reached: u64,
    /// Everything up to here is let go: its files are removed, or will be.
    pub released: u64,
    /// How many of those were thinned.
    pub thinned: u64,
    /// Which acknowledgement came when, oldest first; of those whose time is over only the newest.
    pub marks: Vec<Mark>,
    /// Where the cloud has ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<Cut>,
}

/// An epoch that was ended although there was more in it: what follows is moved into the epochs since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cut {
    /// The last number that counts.
    pub after: u64,
    /// The first generation since.
    pub into: u32,
    /// Whether all that followed is moved.
    pub is_moved: bool,
}

/// "Acknowledged up to here" at this time of the [`AgeClock`], seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark(pub u64, pub u64);

impl EpochState {
    pub fn new(generation: u32, epoch: u64) -> Self {
        Self { generation, epoch, ..Self::default() }
    }

    pub fn epoch(&self) -> Epoch {
        Epoch(self.epoch)
    }

    pub fn acknowledged(&self) -> Seq {
        Seq(self.acknowledged)
    }

    /// Takes note of an acknowledgement. Those that lie close together share a mark with the time of the last.
    pub fn mark(&mut self, up_to: Seq, now_s: u64) {
        self.acknowledged = up_to.0;
        self.reached = self.reached.max(up_to.0);
        match self.marks.last_mut() {
            Some(last) if last.1 / MARK_GRAIN_S == now_s / MARK_GRAIN_S => *last = Mark(up_to.0, now_s),
            _ => self.marks.push(Mark(up_to.0, now_s)),
        }
        while self.marks.len() > MAX_MARKS {
            // What the first covers is covered by the second, and kept a little longer.
            self.marks.remove(0);
        }
    }

    /// Takes an acknowledgement back: from here on everything is to be sent again.
    pub fn take_back(&mut self, acknowledged: u64) {
        self.acknowledged = acknowledged;
        for mark in &mut self.marks {
            mark.0 = mark.0.min(acknowledged);
        }
        self.marks.dedup_by_key(|mark| mark.0);
    }

    /// Up to where everything was acknowledged at least `age_s` ago; forgets marks that have no say any more.
    pub fn older_than(&mut self, age_s: u64, now_s: u64) -> u64 {
        let is_old = |mark: &&Mark| now_s.saturating_sub(mark.1) >= age_s;
        let old = self.marks.iter().take_while(is_old).count();
        self.marks.drain(..old.saturating_sub(1));
        self.marks.first().filter(is_old).map_or(0, |mark| mark.0.min(self.acknowledged))
    }
}

/// Seconds that the outbox has lived through, as far as it knows. It follows the wall clock, which may jump: steps back
/// count nothing, and of a step forward at most [`MAX_CLOCK_STEP_S`] count. So a clock that is set right after a start
/// at 1970 ages nothing by decades, one that is set back stops nothing, and time without power counts one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct AgeClock {
    pub lived_s: u64,
    /// The wall clock when it was last looked at, seconds since 1970; 0: never.
    wall_unix_s: u64,
}

impl AgeClock {
    /// The clock after a look at the wall clock.
    #[must_use]
    pub fn at(self, wall_unix_s: u64) -> Self {
        let step = if self.wall_unix_s == 0 { 0 } else { wall_unix_s.saturating_sub(self.wall_unix_s) };
        Self { lived_s: self.lived_s.saturating_add(step.min(MAX_CLOCK_STEP_S)), wall_unix_s }
    }
}

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// Format of the store; another one is not read.
    version: u32,
    pub clock: AgeClock,
    /// The epoch that is being written.
    pub current: EpochState,
    /// Epochs that ended with damage and still have something to deliver or to keep, oldest first.
    pub closed: Vec<EpochState>,
}

const VERSION: u32 = 2;

impl State {
    pub fn new(clock: AgeClock, current: EpochState, closed: Vec<EpochState>) -> Self {
        Self { version: VERSION, clock, current, closed }
    }

    /// Replaces the file.
    pub fn save(&self, fs: &dyn Fs, path: &Path) -> Result<(), StoreError> {
        // Numbers in a struct always serialise; should they not, an unreadable file would be worse than an error.
        let json =
            serde_json::to_string(self).map_err(|error| StoreError::io("write", path)(std::io::Error::other(error)))?;
        let text = format!("{json}\n{:08x}\n", crc32fast::hash(json.as_bytes()));
        write_atomically(fs, path, text.as_bytes())
    }

    /// Reads the file: `Ok(None)` where there is none, `Ok(Some(Err))` where it is not what was written.
    pub fn load(fs: &dyn Fs, path: &Path) -> Result<Option<Result<Self, &'static str>>, StoreError> {
        match read_bounded(fs, path, MAX_STATE_BYTES) {
            Ok(bytes) => Ok(bytes.map(|bytes| Self::parse(&bytes))),
            Err(StoreError::FileTooLong { .. }) => Ok(Some(Err("the state file is too long"))),
            Err(error) => Err(error),
        }
    }

    fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        let text = std::str::from_utf8(bytes).map_err(|_| "the state file is not text")?;
        let (json, crc) = text.split_once('\n').ok_or("the state file is cut off")?;
        if crc != format!("{:08x}\n", crc32fast::hash(json.as_bytes())) {
            return Err("the state file does not match its checksum");
        }
        let state: Self = serde_json::from_str(json).map_err(|_| "the state file is not understood")?;
        if state.version != VERSION || state.closed.len() > MAX_CLOSED_EPOCHS || state.current.epoch == 0 {
            return Err("the state file is of another version of this program");
        }
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::FaultFs;

    #[test]
    fn no_flipped_bit_of_the_state_passes() {
        let fs = FaultFs::default();
        let path = Path::new("/d/state");
        let mut one = EpochState::new(1, u64::MAX);
        one.mark(Seq(7), 1_000);
        let state = State::new(AgeClock::default().at(1_764_000_000), EpochState::new(2, 5), vec![one]);
        state.save(&fs, path).unwrap();
        assert_eq!(State::load(&fs, path).unwrap(), Some(Ok(state)));
        let length = fs.files()[0].1;
        for i in 0..length * 8 {
            fs.flip(path, i / 8, 1 << (i % 8));
            assert!(State::load(&fs, path).unwrap().unwrap().is_err(), "bit {i}");
            fs.flip(path, i / 8, 1 << (i % 8));
        }
        for cut in (0..length).rev() {
            fs.cut(path, cut);
            assert!(State::load(&fs, path).unwrap().unwrap().is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn the_longest_state_fits_into_its_bound() {
        let mut longest = EpochState::new(u32::MAX, u64::MAX);
        for n in 0..1_000 {
            longest.mark(Seq(u64::MAX - 2_000 + n), u64::MAX - 1_000 * MARK_GRAIN_S + n * MARK_GRAIN_S);
        }
        assert_eq!(longest.marks.len(), MAX_MARKS);
        (longest.released, longest.thinned) = (u64::MAX, u64::MAX);
        longest.cut = Some(Cut { after: u64::MAX, into: u32::MAX, is_moved: false });
        let clock = AgeClock { lived_s: u64::MAX, wall_unix_s: u64::MAX };
        let state = State::new(clock, longest.clone(), vec![longest; MAX_CLOSED_EPOCHS]);
        let fs = FaultFs::default();
        state.save(&fs, Path::new("/d/state")).unwrap();
        assert_eq!(State::load(&fs, Path::new("/d/state")).unwrap(), Some(Ok(state)));
    }

    #[test]
    fn marks_tell_what_is_older_than_a_time_and_are_few() {
        let mut state = EpochState::new(1, 1);
        let day = 86_400;
        for n in 0..20 * day / 300 {
            state.mark(Seq(n + 1), 1_000 + n * 300);
        }
        assert!(state.marks.len() <= MAX_MARKS);
        let now = 1_000 + 20 * day;
        let old = state.older_than(7 * day, now);
        let exact = 13 * day / 300;
        assert!(old <= exact && old >= exact - MARK_GRAIN_S / 300 - 1, "{old} of {exact}");
        assert_eq!(state.older_than(7 * day, now), old, "asked again, the same");
        state.take_back(5);
        assert_eq!((state.acknowledged, state.reached), (5, 20 * day / 300));
        assert_eq!(state.older_than(7 * day, now), 5);
    }

    #[test]
    fn a_clock_that_jumps_ages_nothing_by_more_than_a_day() {
        let clock = AgeClock::default().at(1_000);
        assert_eq!(clock.lived_s, 0);
        let clock = clock.at(1_300);
        assert_eq!(clock.lived_s, 300);
        let clock = clock.at(1_764_000_000);
        assert_eq!(clock.lived_s, 300 + MAX_CLOCK_STEP_S, "set right");
        let clock = clock.at(1_000).at(1_060);
        assert_eq!(clock.lived_s, 360 + MAX_CLOCK_STEP_S, "set back, and it goes on");
    }
}
