//! What happens when an outbox is opened: everything on the disk is checked, record by record; torn tails are cut off,
//! damaged files set aside, and what was found is told.
//!
//! The order of writing is what makes a crash in here harmless: first all is read, then the state is replaced in one
//! step, and only then files are renamed or removed, which the next opening would do again.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::Path;

use super::ballast::{Reserve, STATE};
use super::check::{End, check_segment};
use super::files::TEMPORARY;
use super::generation::{Generation, SegmentName, Standing};
use super::limits::{MAX_CLOSED_EPOCHS, MAX_EVIDENCE_FILES};
use super::state::{AgeClock, EpochState, State};
use super::{Epoch, Seq, StoreError};
use crate::sys::{Entropy, Fs, FsFile};

/// What the opening of an outbox found and did. Worth a log line when anything but `pending` is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// The epoch that new payloads go to.
    pub epoch: Epoch,
    /// Why it is a new one, where it is.
    pub new_epoch: Option<NewEpoch>,
    /// Payloads that wait for the cloud, in all epochs.
    pub pending: u64,
    /// Bytes of an append that was interrupted, cut off. They were never accepted.
    pub torn_bytes: u64,
    /// Names of files that were set aside now: damaged ones and those behind the damage.
    pub set_aside: Vec<String>,
    /// Payloads given up because there were too many damaged epochs.
    pub given_up: u64,
    /// Payloads that were damaged after the cloud had them, so that they could not be sent again should it ask.
    pub tail_lost: u64,
}

/// Why an outbox began a new epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewEpoch {
    /// It is a new outbox.
    First,
    /// The state file was lost. All that is there is delivered under its old epoch, from the beginning: what the
    /// cloud has already, it recognises.
    StateLost {
        /// What was wrong with it.
        what: &'static str,
    },
    /// A segment was damaged. What precedes the damage is delivered under its old epoch.
    Damaged {
        /// The damaged file (its name before it was set aside).
        file: String,
        /// What is wrong with it.
        what: &'static str,
        /// The last payload of the old epoch that is whole.
        kept_up_to: Seq,
    },
}

/// An outbox as it was found.
pub(super) struct Opened {
    pub current: Generation,
    pub closed: Vec<Generation>,
    /// The last segment of the current epoch, ready to be appended to.
    pub active: Option<Box<dyn FsFile>>,
    pub clock: AgeClock,
    pub recovery: Recovery,
}

/// Files that are to be set aside, and as what.
type SetAside = BTreeMap<SegmentName, Standing>;

/// Where the segments of a generation stop being good.
struct Flawed {
    what: &'static str,
    /// The file, by its name.
    file: String,
    /// This segment and all later ones are to be set aside.
    from: Seq,
    /// As what this segment is set aside.
    standing: Standing,
}

/// The files of an outbox: of each generation, by their first number.
type Files = BTreeMap<u32, Vec<SegmentName>>;

/// Reads an outbox, repairs it and leaves it ready for use. The caller holds the lock.
pub(super) fn load(reserve: Reserve<'_>, entropy: &dyn Entropy) -> Result<Opened, StoreError> {
    let Reserve { fs, dir, .. } = reserve;
    let files = list(fs, dir)?;
    let stored = State::load(fs, &dir.join(STATE))?;
    let mut reader = Reader { fs, dir, files: &files, torn_bytes: 0, tail_lost: 0, set_aside: SetAside::new() };
    let Found { current, mut closed, new_epoch, last_generation, clock } = reader.everything(stored.as_ref())?;
    let Reader { torn_bytes, tail_lost, set_aside, .. } = reader;

    closed.retain(Generation::is_worth_keeping);
    let mut given_up = 0;
    while closed.len() > MAX_CLOSED_EPOCHS {
        // First one of which nothing is awaited.
        let oldest =
            closed.iter().position(|generation| generation.pending() == 0 && !generation.is_moving()).unwrap_or(0);
        given_up += closed.remove(oldest).pending();
    }
    let mut current = match current {
        Some(current) => current,
        None => Generation::new(EpochState::new(last_generation.saturating_add(1), entropy.nonzero_u64()?)),
    };
    let closed_states = closed.iter().map(|generation| generation.state.clone()).collect();
    let state = State::new(clock, current.state.clone(), closed_states);
    if stored.as_ref() != Some(&Ok(state.clone())) {
        if matches!(new_epoch, Some(NewEpoch::StateLost { .. })) && stored.is_some() {
            let path = dir.join(STATE);
            let aside = dir.join(format!("{STATE}{}", Standing::Corrupt.suffix()));
            fs.rename(&path, &aside).map_err(StoreError::io("set aside", &path))?;
        }
        reserve.save(&state)?;
    }

    // From here on: nothing that would be missed if the power failed.
    let set_aside = tidy(fs, dir, &files, &mut closed, &mut current, &set_aside);
    let active = open_active(fs, dir, &mut current)?;
    fs.sync_dir(dir).map_err(StoreError::io("sync the folder", dir))?;

    let pending = current.pending() + closed.iter().map(Generation::pending).sum::<u64>();
    let epoch = current.state.epoch();
    let recovery = Recovery { epoch, new_epoch, pending, torn_bytes, set_aside, given_up, tail_lost };
    Ok(Opened { current, closed, active, clock, recovery })
}

/// Lists the segment files and removes what is left over from an interrupted replacement.
fn list(fs: &dyn Fs, dir: &Path) -> Result<Files, StoreError> {
    let mut files = Files::new();
    for name in fs.list(dir).map_err(StoreError::io("list", dir))? {
        if name.ends_with(TEMPORARY) {
            // Should it stay, the next replacement overwrites it.
            let _ = fs.remove(&dir.join(&name));
        } else if let Some(name) = SegmentName::parse(&name) {
            files.entry(name.generation).or_default().push(name);
        }
    }
    for names in files.values_mut() {
        names.sort_by_key(|name| name.first);
    }
    Ok(files)
}

/// What the files say.
struct Found {
    /// The epoch that was written, if it can be written on.
    current: Option<Generation>,
    closed: Vec<Generation>,
    new_epoch: Option<NewEpoch>,
    last_generation: u32,
    clock: AgeClock,
}

/// Reads generations; shares what they all need.
struct Reader<'a> {
    fs: &'a dyn Fs,
    dir: &'a Path,
    files: &'a Files,
    torn_bytes: u64,
    tail_lost: u64,
    set_aside: SetAside,
}

impl Reader<'_> {
    fn everything(&mut self, stored: Option<&Result<State, &'static str>>) -> Result<Found, StoreError> {
        let newest = self.files.keys().next_back().copied().unwrap_or(0);
        let none = Found {
            current: None,
            closed: Vec::new(),
            new_epoch: None,
            last_generation: newest,
            clock: AgeClock::default(),
        };
        match stored {
            Some(Ok(state)) if newest <= state.current.generation => {
                let mut found = Found { last_generation: state.current.generation, clock: state.clock, ..none };
                for epoch in &state.closed {
                    found.closed.push(self.closed(epoch.clone())?);
                }
                let (generation, flawed) = self.read(state.current.clone(), true)?;
                if let Some(flawed) = flawed {
                    let generation = self.close(generation, &flawed);
                    let kept_up_to = generation.segments.back().map_or(Seq(0), |segment| segment.last);
                    found.new_epoch = Some(NewEpoch::Damaged { file: flawed.file, what: flawed.what, kept_up_to });
                    found.closed.push(generation);
                } else {
                    found.current = Some(generation);
                }
                Ok(found)
            }
            None if self.files.is_empty() => Ok(Found { new_epoch: Some(NewEpoch::First), ..none }),
            lost => {
                let what = match lost {
                    Some(Ok(_)) => "the state file is older than the segments",
                    Some(Err(what)) => what,
                    None => "the state file is missing",
                };
                let mut found = Found { new_epoch: Some(NewEpoch::StateLost { what }), ..none };
                for (generation, names) in self.files {
                    let mut state = EpochState::new(*generation, 0);
                    state.released = names.first().map_or(1, |name| name.first.0).saturating_sub(1);
                    (state.acknowledged, state.reached) = (state.released, state.released);
                    found.closed.push(self.closed(state)?);
                }
                Ok(found)
            }
        }
    }

    /// Reads an epoch that is not written any more: what is good of it counts, the rest is set aside.
    fn closed(&mut self, state: EpochState) -> Result<Generation, StoreError> {
        let mut generation = match self.read(state, false)? {
            (generation, Some(flawed)) => self.close(generation, &flawed),
            (generation, None) => generation,
        };
        // Their files are removed, being nobody's.
        generation.clip();
        Ok(generation)
    }

    /// Ends an epoch where it stops being good.
    fn close(&mut self, mut generation: Generation, flawed: &Flawed) -> Generation {
        let names = self.files.get(&generation.state.generation).map_or(&[][..], Vec::as_slice);
        for name in names.iter().filter(|name| name.first >= flawed.from && name.standing == Standing::Good) {
            let standing = if name.first == flawed.from { flawed.standing } else { Standing::Behind };
            self.set_aside.insert(name.clone(), standing);
        }
        // No number is given in it any more; what is not there any more is neither awaited nor sent again.
        let found = generation.segments.back().map_or(generation.state.released, |segment| segment.last.0);
        generation.state.reached = generation.state.reached.min(found);
        generation.state.acknowledged = generation.state.acknowledged.min(found);
        generation
    }

    /// Reads the segments of one epoch as far as they are good and without gaps.
    /// An epoch number of 0 means that it is to be learnt from the first segment.
    fn read(&mut self, state: EpochState, is_current: bool) -> Result<(Generation, Option<Flawed>), StoreError> {
        let mut generation = Generation::new(state);
        let names = self.files.get(&generation.state.generation).map_or(&[][..], Vec::as_slice);
        let names: Vec<_> = names.iter().filter(|name| name.standing != Standing::Behind).collect();
        for (i, &name) in names.iter().enumerate() {
            let next = names.get(i + 1);
            let expected = match generation.segments.back() {
                // A leftover of files that were joined: all of it is in the one before.
                Some(segment) if name.first <= segment.last => continue,
                Some(segment) => segment.last.0.saturating_add(1),
                // The next one begins where all before it is let go: this one is done with.
                None if next.is_some_and(|next| next.first.0 <= generation.state.released.saturating_add(1)) => {
                    continue;
                }
                None => generation.state.released.saturating_add(1),
            };
            if name.first.0 > expected && !self.pass_over(&mut generation, name.first) {
                let what = "what should precede it is missing";
                return Ok((generation, Some(Flawed::at(name, what, Standing::Behind))));
            }
            let Some((what, standing)) = self.read_segment(&mut generation, name, next.is_none(), is_current)? else {
                continue;
            };
            // What the cloud had already is not worth ending the epoch for.
            if let Some(next) = next
                && self.pass_over(&mut generation, next.first)
            {
                if name.standing == Standing::Good {
                    self.set_aside.insert(name.clone(), standing);
                }
                continue;
            }
            return Ok((generation, Some(Flawed::at(name, what, standing))));
        }
        let found = generation.segments.back().map_or(Seq(0), |segment| segment.last);
        if found.0 < generation.state.reached {
            // The cloud has more than the disk: the disk forgot something that it had promised to hold.
            let what = "the newest records are missing";
            let flawed = match names.last() {
                Some(name) => Flawed::at(name, what, Standing::Corrupt),
                None => Flawed { what, file: String::new(), from: Seq(0), standing: Standing::Corrupt },
            };
            return Ok((generation, Some(flawed)));
        }
        Ok((generation, None))
    }

    /// Reads one segment into the generation; says what is wrong with it.
    fn read_segment(
        &mut self,
        generation: &mut Generation,
        name: &SegmentName,
        is_last: bool,
        is_current: bool,
    ) -> Result<Option<(&'static str, Standing)>, StoreError> {
        if is_last {
            // The only one whose last sync can have failed. What the memory holds and the disk does not would be taken for good,
            // be followed by what is accepted later, and found missing one day with all of that behind it: so no opening
            // without this, except where the system has no such call.
            let path = name.path(self.dir);
            match self.fs.drop_cache(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::Unsupported => {
                    return Err(StoreError::io("look past the memory's copy of", &path)(error));
                }
                _ => {}
            }
        }
        let before = (!generation.segments.is_empty()).then_some(generation.chain);
        let checked = check_segment(self.fs, self.dir, name.clone(), &generation.state, before)
            .map_err(StoreError::io("read", &name.path(self.dir)))?;
        if generation.state.epoch == 0 {
            generation.state.epoch = checked.epoch.0;
        }
        if checked.epoch != generation.state.epoch() {
            return Ok(Some(("it is of another epoch", Standing::Behind)));
        }
        if checked.segment.bytes > 0 {
            generation.chain = checked.chain;
        }
        generation.segments.push_back(checked.segment);
        Ok(match checked.end {
            End::Clean => None,
            End::Torn { bytes } if is_last => {
                self.torn_bytes += if is_current { bytes } else { 0 };
                None
            }
            End::Torn { .. } => Some(("its end is missing", Standing::Corrupt)),
            End::Damaged(what) => Some((what, Standing::Corrupt)),
        })
    }

    /// Lets go of everything before `next`, if the cloud has had all of it.
    fn pass_over(&mut self, generation: &mut Generation, next: Seq) -> bool {
        let up_to = next.0.saturating_sub(1);
        let state = &mut generation.state;
        if up_to > state.reached || up_to <= state.released {
            return false;
        }
        self.tail_lost += up_to - state.released;
        state.released = up_to;
        state.acknowledged = state.acknowledged.max(up_to);
        generation.segments.clear();
        true
    }
}

impl Flawed {
    fn at(name: &SegmentName, what: &'static str, standing: Standing) -> Self {
        Self { what, file: name.to_string(), from: name.first, standing }
    }
}

/// Gives the files that are to be set aside their names, removes those of which nothing is awaited, and keeps a few as
/// evidence. Failures are passed over: whatever stays is met again at the next opening. Says what was set aside.
fn tidy(
    fs: &dyn Fs,
    dir: &Path,
    files: &Files,
    closed: &mut [Generation],
    current: &mut Generation,
    set_aside: &SetAside,
) -> Vec<String> {
    let mut told = Vec::new();
    let mut evidence = Vec::new();
    for name in files.values().flatten() {
        let generation =
            closed.iter_mut().chain([&mut *current]).find(|known| known.state.generation == name.generation);
        let in_use = generation.and_then(|known| known.segment_mut(name));
        if let Some(standing) = set_aside.get(name) {
            let aside = SegmentName { standing: *standing, ..name.clone() };
            if fs.rename(&name.path(dir), &aside.path(dir)).is_err() {
                continue;
            }
            told.push(name.to_string());
            match in_use {
                Some(segment) => segment.name = aside,
                None => evidence.push(aside),
            }
        } else if in_use.is_some() {
            // Something in it is awaited, or it is the one that is written.
        } else if name.standing == Standing::Good {
            let _ = fs.remove(&name.path(dir));
        } else {
            evidence.push(name.clone());
        }
    }
    evidence.sort_by_key(|name| (Reverse(name.generation), name.first));
    for name in evidence.iter().skip(MAX_EVIDENCE_FILES) {
        let _ = fs.remove(&name.path(dir));
    }
    told
}

/// Makes the last segment of the current epoch ready for appending: its torn end is cut off, and what is left is on
/// the disk for certain (the process that wrote it may have been killed before it could sync).
fn open_active(fs: &dyn Fs, dir: &Path, current: &mut Generation) -> Result<Option<Box<dyn FsFile>>, StoreError> {
    while let Some(segment) = current.segments.back() {
        let path = segment.name.path(dir);
        if segment.bytes == 0 {
            // Not even its head is whole: it never held anything.
            fs.remove(&path).map_err(StoreError::io("remove", &path))?;
            current.segments.pop_back();
            continue;
        }
        let mut file = fs.open_append(&path).map_err(StoreError::io("open", &path))?;
        file.set_len(segment.bytes).map_err(StoreError::io("cut off the torn end of", &path))?;
        file.sync_data().map_err(StoreError::io("sync", &path))?;
        return Ok(Some(file));
    }
    Ok(None)
}
