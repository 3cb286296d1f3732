//! The outbox: a queue on the disk between accepting a reading and the cloud's acknowledgement of it.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::parent;
use super::generation::{Generation, Segment, SegmentName, Standing};
use super::limits::{BALLAST_BYTES, Limits, MAX_APPEND_BYTES, MAX_PAYLOAD_BYTES};
use super::opening::{self, Opened, Recovery, STATE};
use super::record::{
    Flaw, RECORD_OVERHEAD_BYTES, SEGMENT_HEADER_BYTES, read_record, write_record, write_segment_header,
};
use super::state::State;
use super::{Epoch, Seq, StoreError};
use crate::sys::{Entropy, Fs, FsFile, FsLock, SystemEntropy, SystemFs};

/// Name of the file whose lock says that the outbox is open.
const LOCK: &str = "lock";
/// Name of the file that keeps some space back.
const BALLAST: &str = "ballast";

/// An accepted payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The epoch in which it was accepted. All entries of one batch have the same; it can be an older one than
    /// [`Outbox::epoch`] after damage.
    pub epoch: Epoch,
    /// Its number there.
    pub seq: Seq,
    /// SHA-256 of the payload as it was accepted.
    pub sha256: [u8; 32],
    /// The payload, byte for byte.
    pub payload: Vec<u8>,
}

/// The queue. One process has it open at a time.
pub struct Outbox {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    limits: Limits,
    current: Generation,
    /// Epochs that ended with damage and still have something to deliver, oldest first.
    closed: Vec<Generation>,
    /// The last segment of the current epoch.
    active: Option<Box<dyn FsFile>>,
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
    /// or the flash has done.
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
        let Opened { current, closed, active, recovery } = opening::load(&*fs, entropy, dir)?;
        let outbox = Self { fs, dir: dir.to_owned(), limits, current, closed, active, failed: None, _lock: lock };
        outbox.keep_ballast();
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

    /// Payloads accepted and not yet acknowledged, in all epochs.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.generations().map(Generation::pending).sum()
    }

    /// Bytes of records on the disk, counted against [`Limits::max_total_bytes`].
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.generations().map(Generation::bytes).sum()
    }

    /// Accepts these payloads, all or none, in this order: one write and one fdatasync. When it returns `Ok`, they
    /// will be delivered, whatever happens to the power. Returns their sequence numbers (an empty range, starting
    /// after the last, for no payloads).
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::PayloadTooLong`] and [`StoreError::AppendTooLong`] change nothing. After
    /// any other error nothing more is taken until the outbox is opened again. These payloads are not accepted then;
    /// only if the process ends or the power fails before the outbox could undo the write, they may be found all
    /// the same.
    pub fn append(&mut self, payloads: &[Vec<u8>]) -> Result<RangeInclusive<Seq>, StoreError> {
        self.check_usable()?;
        let first = Seq(self.last_seq().0.saturating_add(1));
        let last = Seq(self.last_seq().0.saturating_add(payloads.len() as u64));
        if payloads.is_empty() {
            return Ok(first..=last);
        }
        let size = size_of_append(payloads)?;
        let begin_segment = self.current.segments.back().is_none_or(|segment| {
            !segment.payload_lengths.is_empty() && segment.bytes + size > self.limits.segment_bytes
        });
        self.check_space(size, begin_segment)?;

        let mut buffer = Vec::with_capacity(SEGMENT_HEADER_BYTES + usize::try_from(size).unwrap_or(0));
        if begin_segment {
            write_segment_header(&mut buffer, self.epoch(), first);
        }
        for (seq, payload) in (first.0..).zip(payloads) {
            write_record(&mut buffer, Seq(seq), payload);
        }
        let written = if begin_segment { self.write_new_segment(first, &buffer) } else { self.write_active(&buffer) };
        if let Err(error) = written {
            return Err(self.fail(error));
        }
        if let Some(segment) = self.current.segments.back_mut() {
            for payload in payloads {
                segment.push(payload.len());
            }
        }
        if begin_segment {
            self.remove_delivered();
        }
        Ok(first..=last)
    }

    /// The oldest payloads that are not acknowledged, in order, all of one epoch. At most `max_count`, and at most
    /// `max_bytes` of payload together, but always at least one when there is any (and `max_count` is not 0): a
    /// payload must not be able to block the queue.
    ///
    /// # Errors
    /// When the disk refuses, or a record is not what was written. Then nothing more is taken until the outbox is
    /// opened again, which sets the file aside.
    pub fn next_batch(&mut self, max_count: usize, max_bytes: usize) -> Result<Vec<Entry>, StoreError> {
        match self.read_batch(max_count, max_bytes.min(MAX_APPEND_BYTES)) {
            Err(error @ StoreError::Damaged { .. }) => Err(self.fail(error)),
            other => other,
        }
    }

    /// Takes note that the cloud holds everything of this epoch up to this number, durably, and frees the space of
    /// whole segments. Returns how many payloads were newly acknowledged: 0 when the cloud told nothing new. (A
    /// cloud that was restored from a backup may tell less than before; what is deleted here cannot be sent again.)
    ///
    /// # Errors
    /// When the number or the epoch was never given (nothing is changed then), or the disk refuses.
    pub fn acknowledge(&mut self, epoch: Epoch, seq: Seq) -> Result<u64, StoreError> {
        self.check_usable()?;
        let known = self.generations().find(|generation| generation.state.epoch() == epoch);
        let (last, before) = match known {
            Some(generation) => (generation.last(), generation.state.acknowledged()),
            None => return Err(StoreError::UnknownEpoch(epoch)),
        };
        if seq > last {
            return Err(StoreError::AcknowledgedTooMuch { epoch, seq, last });
        }
        if seq <= before {
            return Ok(0);
        }
        let acknowledged = |generation: &Generation| {
            let mut state = generation.state;
            if state.epoch() == epoch {
                state.acknowledged = seq.0;
            }
            state
        };
        // An old epoch of which the cloud has everything is forgotten.
        let still_open = |generation: &&Generation| generation.state.epoch() != epoch || seq < last;
        let closed = self.closed.iter().filter(still_open).map(acknowledged).collect();
        let state = State::new(acknowledged(&self.current), closed);
        if let Err(error) = self.save(&state) {
            return Err(self.fail(error));
        }
        for generation in self.closed.iter_mut().chain([&mut self.current]) {
            generation.state = acknowledged(generation);
        }
        self.remove_delivered();
        Ok(seq.0 - before.0)
    }

    fn generations(&self) -> impl Iterator<Item = &Generation> {
        self.closed.iter().chain([&self.current])
    }

    fn check_usable(&self) -> Result<(), StoreError> {
        match &self.failed {
            Some(cause) => Err(StoreError::Failed(cause.clone())),
            None => Ok(()),
        }
    }

    fn fail(&mut self, error: StoreError) -> StoreError {
        self.failed = Some(error.to_string());
        error
    }

    /// Whether an append of this size stays below the bound, counting as free what would be removed with it.
    fn check_space(&self, size: u64, begin_segment: bool) -> Result<(), StoreError> {
        let mut used_bytes = self.used_bytes();
        let mut wanted = size;
        if begin_segment {
            wanted += SEGMENT_HEADER_BYTES as u64;
            let delivered = |segment: &&Segment| segment.last() <= self.current.state.acknowledged();
            used_bytes -= self.current.segments.back().filter(delivered).map_or(0, |segment| segment.bytes);
        }
        let max_bytes = self.limits.max_total_bytes;
        if used_bytes.saturating_add(wanted) > max_bytes {
            return Err(StoreError::Full { used_bytes, max_bytes });
        }
        Ok(())
    }

    fn write_active(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let (Some(segment), Some(file)) = (self.current.segments.back(), self.active.as_mut()) else {
            return Err(StoreError::Failed("no segment is open for writing".into()));
        };
        let path = segment.name.path(&self.dir);
        let written = write_durably(file.as_mut(), bytes, &path);
        if written.is_err() {
            // What was not accepted should not be found: after a failed sync it would look right and not be on the
            // disk. If this fails too, the next opening finds a torn end.
            let _ = file.set_len(segment.bytes);
        }
        written
    }

    fn write_new_segment(&mut self, first: Seq, bytes: &[u8]) -> Result<(), StoreError> {
        let name = SegmentName { generation: self.current.state.generation, first, standing: Standing::Good };
        let path = name.path(&self.dir);
        let mut file = self.fs.create(&path).map_err(StoreError::io("create", &path))?;
        let written = write_durably(file.as_mut(), bytes, &path)
            .and_then(|()| self.fs.sync_dir(&self.dir).map_err(StoreError::io("sync the folder of", &path)));
        if written.is_err() {
            // As above.
            let _ = self.fs.remove(&path);
            return written;
        }
        self.active = Some(file);
        self.current.segments.push_back(Segment::new(name));
        Ok(())
    }

    /// Writes the state; on a full disk, gives the ballast up for it: an acknowledgement is what frees space.
    fn save(&self, state: &State) -> Result<(), StoreError> {
        let path = self.dir.join(STATE);
        match state.save(&*self.fs, &path) {
            Err(error) if error.is_disk_full() => {
                let ballast = self.dir.join(BALLAST);
                self.fs.remove(&ballast).map_err(StoreError::io("give up", &ballast))?;
                state.save(&*self.fs, &path)
            }
            other => other,
        }
    }

    /// Sees that the ballast is there. Without it the outbox works as well, only not on a full disk.
    fn keep_ballast(&self) {
        let path = self.dir.join(BALLAST);
        if self.fs.read_at(&path, BALLAST_BYTES as u64 - 1, 1).is_ok_and(|byte| byte.len() == 1) {
            return;
        }
        if let Ok(mut file) = self.fs.create(&path) {
            let _ = write_durably(file.as_mut(), &vec![0; BALLAST_BYTES], &path);
        }
    }

    /// Removes segments of which the cloud has everything, but never the one that is being written. The state that
    /// says so is durable already, so it does no harm when a removal fails or is undone by a power cut.
    /// (Here a tail of seven days would be kept back, for a cloud that was restored from a backup.)
    fn remove_delivered(&mut self) {
        let mut removed = false;
        for (generation, keep) in
            self.closed.iter_mut().map(|generation| (generation, 0)).chain([(&mut self.current, 1)])
        {
            while generation.segments.len() > keep {
                let Some(segment) = generation.segments.front() else { break };
                if segment.last() > generation.state.acknowledged() {
                    break;
                }
                // A damaged file stays as evidence; the next opening limits how many.
                if segment.name.standing == Standing::Good {
                    match self.fs.remove(&segment.name.path(&self.dir)) {
                        Ok(()) => removed = true,
                        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                        Err(_) => break,
                    }
                }
                generation.segments.pop_front();
            }
        }
        self.closed.retain(|generation| generation.pending() > 0);
        if removed {
            self.keep_ballast();
        }
    }

    fn read_batch(&self, max_count: usize, max_bytes: usize) -> Result<Vec<Entry>, StoreError> {
        let mut entries = Vec::new();
        let Some(generation) = self.generations().find(|generation| generation.pending() > 0) else {
            return Ok(entries);
        };
        let mut left_bytes = max_bytes;
        for segment in &generation.segments {
            let Some((offset, lengths)) = find(segment, generation.state.acknowledged()) else { continue };
            let mut chosen = 0_u64;
            let mut read_bytes = 0;
            for length in lengths.iter().take(max_count.saturating_sub(entries.len())) {
                let length = *length as usize;
                if length > left_bytes && (chosen > 0 || !entries.is_empty()) {
                    left_bytes = 0;
                    break;
                }
                left_bytes = left_bytes.saturating_sub(length);
                read_bytes += RECORD_OVERHEAD_BYTES + length;
                chosen += 1;
            }
            if chosen == 0 {
                break;
            }
            let first = segment.last().0 + 1 - lengths.len() as u64;
            let path = segment.name.path(&self.dir);
            let bytes = self.fs.read_at(&path, offset, read_bytes).map_err(StoreError::io("read", &path))?;
            let mut rest = bytes.as_slice();
            for seq in (first..).map(Seq).take(usize::try_from(chosen).unwrap_or(usize::MAX)) {
                let damaged = |what| StoreError::Damaged { path: path.clone(), what };
                let (record, size) = read_record(rest).map_err(|flaw| match flaw {
                    Flaw::CutOff => damaged("it became shorter"),
                    Flaw::Damaged(what) => damaged(what),
                    Flaw::DamagedPayload { .. } => damaged("a payload does not match its checksum"),
                })?;
                if record.seq != seq {
                    return Err(damaged("a record has another number than its place"));
                }
                let payload = record.payload.to_vec();
                entries.push(Entry { epoch: generation.state.epoch(), seq, sha256: record.sha256, payload });
                rest = rest.get(size..).unwrap_or_default();
            }
            if chosen < lengths.len() as u64 {
                break;
            }
        }
        Ok(entries)
    }
}

/// Where the first record after `acknowledged` lies in this segment, and the payload lengths from there on.
fn find(segment: &Segment, acknowledged: Seq) -> Option<(u64, &[u32])> {
    let skipped = (acknowledged.0 + 1).saturating_sub(segment.name.first.0);
    let (skipped, rest) = segment.payload_lengths.split_at_checked(usize::try_from(skipped).ok()?)?;
    let before: u64 = skipped.iter().map(|length| u64::from(*length) + RECORD_OVERHEAD_BYTES as u64).sum();
    (!rest.is_empty()).then_some((SEGMENT_HEADER_BYTES as u64 + before, rest))
}

/// The size of the records of an append; refuses what is too long.
fn size_of_append(payloads: &[Vec<u8>]) -> Result<u64, StoreError> {
    let mut bytes = 0_usize;
    for (index, payload) in payloads.iter().enumerate() {
        if payload.len() > MAX_PAYLOAD_BYTES {
            return Err(StoreError::PayloadTooLong { index, bytes: payload.len() });
        }
        bytes = bytes.saturating_add(RECORD_OVERHEAD_BYTES + payload.len());
    }
    if bytes > MAX_APPEND_BYTES {
        return Err(StoreError::AppendTooLong { bytes });
    }
    Ok(bytes as u64)
}

fn write_durably(file: &mut dyn FsFile, bytes: &[u8], path: &Path) -> Result<(), StoreError> {
    file.write_all(bytes).map_err(StoreError::io("write", path))?;
    file.sync_data().map_err(StoreError::io("sync", path))
}
