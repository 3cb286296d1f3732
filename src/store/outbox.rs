//! The outbox: a queue on the disk between accepting a reading and the cloud's acknowledgement of it.

use std::collections::HashMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::ballast::Reserve;
use super::delivery::Place;
use super::files::parent;
use super::generation::{Generation, Segment, SegmentName, Standing};
use super::limits::{Limits, MAX_APPEND_BYTES, MAX_PAYLOAD_BYTES, ROOM_PERCENT};
use super::opening::{self, Opened, Recovery};
use super::record::{RECORD_HEAD_BYTES, SEGMENT_HEADER_BYTES, next_chain, write_record, write_segment_header};
use super::state::{AgeClock, EpochState, State};
use super::{Draft, Ended, Epoch, Seq, StoreError};
use crate::sys::{Entropy, Fs, FsFile, FsLock, SystemEntropy, SystemFs};

/// Name of the file whose lock says that the outbox is open.
const LOCK: &str = "lock";

/// The queue. One process has it open at a time.
pub struct Outbox {
    pub(super) fs: Arc<dyn Fs>,
    pub(super) dir: PathBuf,
    pub(super) limits: Limits,
    pub(super) current: Generation,
    /// Epochs that ended with damage and still have something to deliver or to keep, oldest first.
    pub(super) closed: Vec<Generation>,
    /// The last segment of the current epoch, if it may be written on.
    pub(super) active: Option<Box<dyn FsFile>>,
    pub(super) clock: AgeClock,
    /// How long the outbox had lived when that was last written down.
    pub(super) saved_lived_s: u64,
    /// Where the last batch began.
    pub(super) place: Option<Place>,
    /// Set when thinning has found no more: the newest day of each printer then.
    pub(super) thinned_out: Option<HashMap<u64, u32>>,
    /// Set after a failure that leaves it unknown what is on the disk.
    failed: Option<String>,
    _lock: FsLock,
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Outbox");
        out.field("dir", &self.dir).field("epoch", &self.epoch()).field("last_seq", &self.last_seq());
        out.field("pending", &self.pending()).field("failed", &self.failed).finish_non_exhaustive()
    }
}

impl Outbox {
    /// Opens the outbox in this folder (made where missing), checks every record in it and repairs what a power cut
    /// or the flash has done. On a full disk an outbox that exists can be opened; on a read-only one none can.
    ///
    /// # Errors
    /// When another process has it open, or the disk refuses. Damage is no error: it is told in [`Recovery`].
    pub fn open(dir: impl AsRef<Path>, limits: Limits) -> Result<(Self, Recovery), StoreError> {
        Self::open_on(Arc::new(SystemFs), &SystemEntropy, dir.as_ref(), limits)
    }

    /// As [`open`](Self::open), on a given file system and with given randomness for new epochs.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_on(
        fs: Arc<dyn Fs>,
        entropy: &dyn Entropy,
        dir: &Path,
        limits: Limits,
    ) -> Result<(Self, Recovery), StoreError> {
        fs.create_dir_all(dir).map_err(StoreError::io("make the folder", dir))?;
        fs.sync_dir(parent(dir)).map_err(StoreError::io("sync the folder of", dir))?;
        let lock_path = dir.join(LOCK);
        let lock = fs.try_lock(&lock_path).map_err(StoreError::io("lock", &lock_path))?;
        let lock = lock.ok_or_else(|| StoreError::InUse(dir.to_owned()))?;
        let reserve = Reserve { fs: &*fs, dir, limits };
        let Opened { current, closed, active, clock, recovery } = opening::load(reserve, entropy)?;
        reserve.keep_ballast();
        let outbox = Self {
            fs,
            dir: dir.to_owned(),
            limits,
            current,
            closed,
            active,
            clock,
            saved_lived_s: clock.lived_s,
            place: None,
            thinned_out: None,
            failed: None,
            _lock: lock,
        };
        Ok((outbox, recovery))
    }

    /// The epoch that new payloads go to.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.current.state.epoch()
    }

    /// The highest sequence number ever given in [`epoch`](Self::epoch); 0 when none was.
    #[must_use]
    pub fn last_seq(&self) -> Seq {
        self.current.last()
    }

    /// Up to where the cloud holds everything of [`epoch`](Self::epoch), as it said itself.
    #[must_use]
    pub fn acknowledged_seq(&self) -> Seq {
        self.current.state.acknowledged()
    }

    /// The epochs before [`epoch`](Self::epoch) of which something is still held, oldest first: they wait, or are kept for
    /// a cloud that [asks again](Self::resend_from). At most 16.
    #[must_use]
    pub fn ended(&self) -> Vec<Ended> {
        let ended = |generation: &Generation| {
            let epoch = generation.state.epoch();
            Ended { epoch, acknowledged: generation.state.acknowledged(), last: generation.last() }
        };
        self.closed.iter().map(ended).collect()
    }

    /// Payloads accepted and not yet acknowledged, in all epochs.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.generations().map(Generation::pending).sum::<u64>() + self.unmoved()
    }

    /// Payloads of [`epoch`](Self::epoch) that were thinned since it began.
    #[must_use]
    pub fn thinned(&self) -> u64 {
        self.current.thinned()
    }

    /// Bytes of segment files on the disk, counted against [`Limits::max_total_bytes`].
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.generations().map(Generation::bytes).sum()
    }

    /// Accepts these payloads, all or none, in this order: one write and one fdatasync. When it returns `Ok`, they
    /// will be delivered, whatever happens to the power; of those whose [label](super::Label) allows it, should the
    /// room get scarce, number and hash only. Returns their sequence numbers (an empty range, starting after the last,
    /// for no payloads).
    ///
    /// Where they would pass the quota (or the disk is full), room is made first: what the cloud has already is let go,
    /// then records are thinned, down to nine tenths of the quota. That takes longer than usual: the outbox is read
    /// and files are rewritten.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::PayloadTooLong`], [`StoreError::AppendTooLong`] and [`StoreError::WrongBase`]
    /// accept nothing and harm nothing. After any other error nothing more is taken until the outbox is opened again.
    /// These payloads are not accepted then; only if the process ends or the power fails before the outbox could undo
    /// the write, they may be found all the same.
    pub fn append(&mut self, drafts: &[Draft]) -> Result<RangeInclusive<Seq>, StoreError> {
        self.check_usable()?;
        let first = Seq(self.last_seq().0.saturating_add(1));
        let last = Seq(self.last_seq().0.saturating_add(drafts.len() as u64));
        if drafts.is_empty() {
            return Ok(first..=last);
        }
        let size = size_of_append(first, drafts)?;
        if self.is_moving() {
            // What was accepted before comes first, and there is no room for it.
            return Err(StoreError::Full { used_bytes: self.used_bytes(), max_bytes: self.limits.max_total_bytes });
        }
        self.note_days(drafts);
        self.make_room(drafts, size + SEGMENT_HEADER_BYTES as u64)?;
        let mut written = self.write(first, drafts, size);
        if written.as_ref().is_err_and(Undone::can_be_tried_again) && self.make_space(drafts, size)? {
            written = self.write(first, drafts, size);
        }
        match written {
            Ok(()) => {}
            Err(Undone { error, .. }) => return Err(self.fail(error)),
        }
        let max_bytes = self.limits.max_total_bytes;
        if self.used_bytes() > max_bytes {
            // Counted upon when room was made: what was written before is delivered, and not the last segment any more.
            self.give_up_tail(&[], self.used_bytes() - max_bytes)?;
        }
        Ok(first..=last)
    }

    /// Writes the records of an append.
    fn write(&mut self, first: Seq, drafts: &[Draft], size: u64) -> Result<(), Undone> {
        let begin_segment = self.active.is_none()
            || self
                .current
                .segments
                .back()
                .is_none_or(|segment| !segment.is_empty() && segment.bytes + size > self.limits.segment_bytes);
        let mut buffer = Vec::with_capacity(SEGMENT_HEADER_BYTES + usize::try_from(size).unwrap_or(0));
        if begin_segment {
            write_segment_header(&mut buffer, self.epoch(), first, &self.current.chain);
        }
        let mut chain = self.current.chain;
        for (seq, draft) in (first.0..).map(Seq).zip(drafts) {
            let sha256 = write_record(&mut buffer, seq, &draft.label, &draft.payload);
            chain = next_chain(&chain, seq, &sha256);
        }
        if begin_segment {
            self.write_new_segment(first, &buffer)?;
        } else {
            self.write_active(&buffer)?;
        }
        if let Some(segment) = self.current.segments.back_mut() {
            segment.last = Seq(first.0 + drafts.len() as u64 - 1);
            segment.bytes += size;
        }
        self.current.chain = chain;
        Ok(())
    }

    /// Sees that an append of so many bytes fits into the quota.
    fn make_room(&mut self, drafts: &[Draft], wanted: u64) -> Result<(), StoreError> {
        let max_bytes = self.limits.max_total_bytes;
        let over = |outbox: &Self| outbox.used_bytes().saturating_add(wanted).saturating_sub(max_bytes);
        let full = |outbox: &Self| StoreError::Full { used_bytes: outbox.used_bytes(), max_bytes };
        if over(self) == 0 {
            return Ok(());
        }
        if wanted > max_bytes {
            return Err(full(self));
        }
        let spare = max_bytes - max_bytes / 100 * ROOM_PERCENT;
        self.give_up_tail(drafts, over(self) + spare)?;
        if over(self) > 0 && self.thinned_out.is_none() {
            self.thin(drafts, over(self) + spare)?;
        }
        if over(self) > 0 {
            // What is delivered and cannot be let go before another segment follows it.
            let acknowledged = self.current.state.acknowledged();
            let is_needed = |segment: &Segment| {
                drafts.iter().any(|draft| draft.label.base.is_some_and(|base| base <= segment.last))
            };
            let last = self.current.segments.back();
            let delivered = last.filter(|segment| segment.last <= acknowledged && !is_needed(segment));
            if delivered.is_none_or(|segment| segment.bytes < over(self)) {
                return Err(full(self));
            }
            self.active = None;
        }
        Ok(())
    }

    /// After the disk turned out to be full: lets go of what it can of its own. Says whether it is worth another try.
    fn make_space(&mut self, drafts: &[Draft], size: u64) -> Result<bool, StoreError> {
        let before = self.used_bytes();
        self.give_up_tail(drafts, size)?;
        if before - self.used_bytes() < size && self.thinned_out.is_none() {
            self.thin(drafts, size)?;
        }
        Ok(before > self.used_bytes())
    }

    pub(super) fn generations(&self) -> impl Iterator<Item = &Generation> {
        self.closed.iter().chain([&self.current])
    }

    pub(super) fn check_usable(&self) -> Result<(), StoreError> {
        match &self.failed {
            Some(cause) => Err(StoreError::Failed(cause.clone())),
            None => Ok(()),
        }
    }

    pub(super) fn fail(&mut self, error: StoreError) -> StoreError {
        self.failed = Some(error.to_string());
        error
    }

    fn write_active(&mut self, bytes: &[u8]) -> Result<(), Undone> {
        let (Some(segment), Some(file)) = (self.current.segments.back(), self.active.as_mut()) else {
            let error = StoreError::Failed("no segment is open for writing".into());
            return Err(Undone { error, is_clean: false });
        };
        let path = segment.name.path(&self.dir);
        write_durably(file.as_mut(), bytes, &path).map_err(|error| {
            // What was not accepted should not be found: after a failed sync it would look right and not be on the
            // disk. If this fails too, the next opening finds a torn end.
            let is_clean = file.set_len(segment.bytes).is_ok();
            Undone { error, is_clean }
        })
    }

    fn write_new_segment(&mut self, first: Seq, bytes: &[u8]) -> Result<(), Undone> {
        let name = SegmentName { generation: self.current.state.generation, first, standing: Standing::Good };
        let path = name.path(&self.dir);
        let written = self.fs.create(&path).map_err(StoreError::io("create", &path)).and_then(|mut file| {
            write_durably(file.as_mut(), bytes, &path)?;
            self.fs.sync_dir(&self.dir).map_err(StoreError::io("sync the folder of", &path))?;
            Ok(file)
        });
        match written {
            Ok(file) => {
                self.active = Some(file);
                self.current.segments.push_back(Segment::new(name));
                Ok(())
            }
            Err(error) => {
                // As above.
                let removed = self.fs.remove(&path);
                let is_gone = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
                let is_clean = removed.is_ok() || removed.is_err_and(|error| is_gone(&error));
                Err(Undone { error, is_clean })
            }
        }
    }

    pub(super) fn reserve(&self) -> Reserve<'_> {
        Reserve { fs: &*self.fs, dir: &self.dir, limits: self.limits }
    }

    /// The states of all epochs, the current one last.
    pub(super) fn states(&self) -> Vec<EpochState> {
        self.generations().map(|generation| generation.state.clone()).collect()
    }

    /// Makes these the states of all epochs, durably.
    pub(super) fn commit(&mut self, clock: AgeClock, states: Vec<EpochState>) -> Result<(), StoreError> {
        let mut closed = states;
        let Some(current) = closed.pop() else { return Ok(()) };
        let state = State::new(clock, current, closed);
        if let Err(error) = self.reserve().save(&state) {
            return Err(self.fail(error));
        }
        self.clock = clock;
        self.saved_lived_s = clock.lived_s;
        for (generation, state) in self.closed.iter_mut().zip(state.closed) {
            generation.state = state;
        }
        self.current.state = state.current;
        Ok(())
    }
}

/// An append that was not done, and what was undone of it.
struct Undone {
    error: StoreError,
    is_clean: bool,
}

impl Undone {
    /// After a refused write all is as before; after a failed sync it is unknown what the disk has.
    fn can_be_tried_again(&self) -> bool {
        self.is_clean && self.error.is_disk_full() && !self.error.is_sync()
    }
}

/// The size of the records of an append; refuses what cannot be.
fn size_of_append(first: Seq, drafts: &[Draft]) -> Result<u64, StoreError> {
    let mut bytes = 0_usize;
    for (index, (draft, seq)) in drafts.iter().zip(first.0..).enumerate() {
        if draft.payload.len() > MAX_PAYLOAD_BYTES {
            return Err(StoreError::PayloadTooLong { index, bytes: draft.payload.len() });
        }
        let is_wrong = |base: &Seq| base.0 == 0 || base.0 >= seq || seq - base.0 > u64::from(u32::MAX);
        if let Some(base) = draft.label.base.filter(is_wrong) {
            return Err(StoreError::WrongBase { index, base, seq: Seq(seq) });
        }
        bytes = bytes.saturating_add(RECORD_HEAD_BYTES + draft.payload.len());
    }
    if bytes > MAX_APPEND_BYTES {
        return Err(StoreError::AppendTooLong { bytes });
    }
    Ok(bytes as u64)
}

pub(super) fn write_durably(file: &mut dyn FsFile, bytes: &[u8], path: &Path) -> Result<(), StoreError> {
    file.write_all(bytes).map_err(StoreError::io("write", path))?;
    file.sync_data().map_err(StoreError::io("sync", path))
}
