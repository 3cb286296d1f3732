//! What happens when an outbox is opened: everything on the disk is checked, record by record; torn tails are cut off,
//! damaged files set aside, and what was found is told.
//!
//! The order of writing is what makes a crash in here harmless: first all is read, then the state is replaced in one
//! step, and only then files are renamed or removed, which the next opening would do again.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::Path;

use super::files::TEMPORARY;
use super::generation::{End, Generation, Segment, SegmentName, Standing, check_segment};
use super::limits::{MAX_CLOSED_EPOCHS, MAX_EVIDENCE_FILES};
use super::state::{EpochState, State};
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
    pub recovery: Recovery,
}

/// Name of the state file.
pub(super) const STATE: &str = "state";

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

/// Reads an outbox, repairs it and leaves it ready for use. The caller holds the lock.
pub(super) fn load(fs: &dyn Fs, entropy: &dyn Entropy, dir: &Path) -> Result<Opened, StoreError> {
    let mut files: BTreeMap<u32, Vec<SegmentName>> = BTreeMap::new();
    for name in fs.list(dir).map_err(StoreError::io("list", dir))? {
        if name.ends_with(TEMPORARY) {
            // Left over from an interrupted replacement. Should it stay, the next replacement overwrites it.
            let _ = fs.remove(&dir.join(&name));
        } else if let Some(name) = SegmentName::parse(&name) {
            files.entry(name.generation).or_default().push(name);
        }
    }
    for names in files.values_mut() {
        names.sort_by_key(|name| name.first);
    }

    let stored = State::load(fs, &dir.join(STATE))?;
    let newest = files.keys().next_back().copied().unwrap_or(0);
    let mut reader = Reader { fs, dir, files: &files, torn_bytes: 0 };
    let mut new_epoch = None;
    let mut set_aside = SetAside::new();
    let mut closed = Vec::new();
    let mut current = None;
    let mut last_generation = newest;
    match &stored {
        Some(Ok(state)) if newest <= state.current.generation => {
            last_generation = state.current.generation;
            for epoch in &state.closed {
                closed.push(reader.closed(*epoch, &mut set_aside)?);
            }
            let (generation, flawed) = reader.read(state.current, true)?;
            if let Some(flawed) = flawed {
                reader.set_aside_from(&generation, &flawed, &mut set_aside);
                let kept_up_to = generation.last();
                new_epoch = Some(NewEpoch::Damaged { file: flawed.file, what: flawed.what, kept_up_to });
                closed.push(generation);
            } else {
                current = Some(generation);
            }
        }
        None if files.is_empty() => new_epoch = Some(NewEpoch::First),
        lost => {
            let what = match lost {
                Some(Ok(_)) => "the state file is older than the segments",
                Some(Err(what)) => what,
                None => "the state file is missing",
            };
            new_epoch = Some(NewEpoch::StateLost { what });
            for (generation, names) in &files {
                let first = names.first().map_or(1, |name| name.first.0);
                let state = EpochState { generation: *generation, epoch: 0, acknowledged: first.saturating_sub(1) };
                closed.push(reader.closed(state, &mut set_aside)?);
            }
        }
    }
    let torn_bytes = reader.torn_bytes;

    closed.retain(|generation| generation.pending() > 0 && generation.state.epoch != 0);
    let mut given_up = 0;
    while closed.len() > MAX_CLOSED_EPOCHS {
        given_up += closed.remove(0).pending();
    }
    let mut current = match current {
        Some(current) => current,
        None => {
            let epoch = entropy.nonzero_u64()?;
            Generation::new(EpochState { generation: last_generation.saturating_add(1), epoch, acknowledged: 0 })
        }
    };
    let state = State::new(current.state, closed.iter().map(|generation| generation.state).collect());
    if stored.as_ref() != Some(&Ok(state.clone())) {
        let path = dir.join(STATE);
        if matches!(new_epoch, Some(NewEpoch::StateLost { .. })) && stored.is_some() {
            let aside = dir.join(format!("{STATE}{}", Standing::Corrupt.suffix()));
            fs.rename(&path, &aside).map_err(StoreError::io("set aside", &path))?;
        }
        state.save(fs, &path)?;
    }

    // From here on: nothing that would be missed if the power failed.
    let set_aside = tidy(fs, dir, &files, &mut closed, &current, &set_aside);
    let active = open_active(fs, dir, &mut current)?;
    fs.sync_dir(dir).map_err(StoreError::io("sync the folder", dir))?;

    let pending = current.pending() + closed.iter().map(Generation::pending).sum::<u64>();
    let epoch = current.state.epoch();
    let recovery = Recovery { epoch, new_epoch, pending, torn_bytes, set_aside, given_up };
    Ok(Opened { current, closed, active, recovery })
}

/// Reads generations; shares what they all need.
struct Reader<'a> {
    fs: &'a dyn Fs,
    dir: &'a Path,
    files: &'a BTreeMap<u32, Vec<SegmentName>>,
    torn_bytes: u64,
}

impl Reader<'_> {
    /// Reads an epoch that is not written any more: what is good of it counts, the rest is set aside.
    fn closed(&mut self, state: EpochState, set_aside: &mut SetAside) -> Result<Generation, StoreError> {
        let (generation, flawed) = self.read(state, false)?;
        if let Some(flawed) = flawed {
            self.set_aside_from(&generation, &flawed, set_aside);
        }
        Ok(generation)
    }

    fn set_aside_from(&self, generation: &Generation, flawed: &Flawed, set_aside: &mut SetAside) {
        let names = self.files.get(&generation.state.generation).map_or(&[][..], Vec::as_slice);
        for name in names.iter().filter(|name| name.first >= flawed.from && name.standing == Standing::Good) {
            let standing = if name.first == flawed.from { flawed.standing } else { Standing::Behind };
            set_aside.insert(name.clone(), standing);
        }
    }

    /// Reads the segments of one epoch as far as they are good and without gaps.
    /// An epoch number of 0 means that it is to be learnt from the first segment.
    fn read(&mut self, state: EpochState, is_current: bool) -> Result<(Generation, Option<Flawed>), StoreError> {
        let mut generation = Generation::new(state);
        let names = self.files.get(&state.generation).map_or(&[][..], Vec::as_slice);
        let names: Vec<_> = names.iter().filter(|name| name.standing != Standing::Behind).collect();
        let mut expected = Seq(state.acknowledged.saturating_add(1));
        let mut seen = false;
        for (i, &name) in names.iter().enumerate() {
            let next = names.get(i + 1);
            // The next one begins where the cloud has everything before it: this one is done with.
            if next.is_some_and(|next| next.first <= expected && !seen) {
                continue;
            }
            let flaw = |what, standing| Flawed { what, file: name.to_string(), from: name.first, standing };
            let fits = if seen { name.first == expected } else { name.first <= expected };
            if !fits {
                return Ok((generation, Some(flaw("what should precede it is missing", Standing::Behind))));
            }
            seen = true;
            let (segment, epoch, end) = check_segment(self.fs, self.dir, name.clone(), &generation.state)
                .map_err(StoreError::io("read", &name.path(self.dir)))?;
            if generation.state.epoch == 0 {
                generation.state.epoch = epoch.0;
            }
            if epoch != generation.state.epoch() {
                return Ok((generation, Some(flaw("it is of another epoch", Standing::Behind))));
            }
            expected = Seq(segment.last().0.saturating_add(1));
            generation.segments.push_back(segment);
            match end {
                End::Clean => {}
                End::Torn { bytes } if next.is_none() => self.torn_bytes += if is_current { bytes } else { 0 },
                End::Torn { .. } => return Ok((generation, Some(flaw("its end is missing", Standing::Corrupt)))),
                End::Damaged(what) => return Ok((generation, Some(flaw(what, Standing::Corrupt)))),
            }
        }
        let found = generation.segments.back().map_or(Seq(0), Segment::last);
        if found < state.acknowledged() {
            // The cloud has more than the disk: the disk forgot something that it had promised to hold.
            let (file, from) = names.last().map_or((String::new(), Seq(0)), |name| (name.to_string(), name.first));
            let what = "the newest records are missing";
            return Ok((generation, Some(Flawed { what, file, from, standing: Standing::Corrupt })));
        }
        Ok((generation, None))
    }
}

/// Gives the files that are to be set aside their names, removes those of which nothing is awaited, and keeps a few as
/// evidence. Failures are passed over: whatever stays is met again at the next opening. Says what was set aside.
fn tidy(
    fs: &dyn Fs,
    dir: &Path,
    files: &BTreeMap<u32, Vec<SegmentName>>,
    closed: &mut [Generation],
    current: &Generation,
    set_aside: &SetAside,
) -> Vec<String> {
    let mut told = Vec::new();
    let mut evidence = Vec::new();
    for name in files.values().flatten() {
        let mut segments =
            closed.iter_mut().flat_map(|generation| &mut generation.segments).filter(|segment| segment.name == *name);
        let in_use = segments.next();
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
        } else if in_use.is_some() || current.segments.iter().any(|segment| segment.name == *name) {
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
