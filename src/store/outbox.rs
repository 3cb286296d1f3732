//! The outbox: readings that were accepted and that the cloud has not acknowledged yet.
//!
//! On the disk: one folder for each epoch (`0001-<epoch>`), in it segment files named by their first sequence number and
//! a file `acknowledged`. Only the newest epoch takes new readings; older ones, which ended because something in them
//! was damaged, are delivered up to the damage. A torn last write is cut off: it was never accepted.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::ops::RangeInclusive;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::files::sync_folder_of;
use super::segment::{HEADER_BYTES, PAYLOAD_MAX_BYTES, Record, holds_a_record, read_records};
use super::{StoreError, read_bounded, write_atomically};
use crate::sys::random_u64;

/// A sequence number: from 1, by one, never used again within its epoch.
pub type Seq = u64;
/// Names a run of sequence numbers; random, never 0.
pub type Epoch = u64;

/// A segment that has grown to this size, in bytes, is closed.
const SEGMENT_BYTES: u64 = 4 * 1024 * 1024;
/// Largest segment that is read, in bytes: one append may exceed the mark by what it brings.
const SEGMENT_MAX_BYTES: u64 = 64 * 1024 * 1024;
const ACKNOWLEDGED: &str = "acknowledged";
const SUFFIX: &str = "seg";

/// How much the outbox takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxLimits {
    /// Bytes on the disk.
    pub total_bytes: u64,
}

impl Default for OutboxLimits {
    /// 256 MiB: 90 days of 200 printers, with room.
    fn default() -> Self {
        Self { total_bytes: 256 * 1024 * 1024 }
    }
}

/// A reading that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub seq: Seq,
    /// SHA-256 of the payload.
    pub sha256: [u8; 32],
    /// What was accepted.
    pub payload: Vec<u8>,
}

/// What was found when the outbox was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Readings that wait.
    pub pending: u64,
    /// Bytes of a write that was cut off by a crash: never accepted, removed.
    pub torn_bytes: u64,
    /// Files that were damaged and set aside.
    pub damaged: Vec<PathBuf>,
}

impl Recovery {
    /// Says in the log what was found.
    pub fn log(&self) {
        tracing::info!(pending = self.pending, torn_bytes = self.torn_bytes, "outbox opened");
        for path in &self.damaged {
            tracing::error!(path = %path.display(), "a file of the outbox was damaged and is set aside; a new epoch began");
        }
    }
}

/// Where a record lies.
#[derive(Debug, Clone, Copy)]
struct Place {
    seq: Seq,
    segment: Seq,
    offset: u64,
    bytes: u64,
}

/// One epoch on the disk.
#[derive(Debug)]
struct EpochFolder {
    epoch: Epoch,
    path: PathBuf,
    acknowledged: Seq,
    last: Seq,
    /// First sequence numbers and sizes of the segments, oldest first.
    segments: VecDeque<(Seq, u64)>,
    /// What is not acknowledged, oldest first. Bounded by the quota: 32 bytes for each record of at least 48.
    pending: VecDeque<Place>,
}

/// The outbox. One process has it open at a time.
#[derive(Debug)]
pub struct Outbox {
    folder: PathBuf,
    limits: OutboxLimits,
    /// Oldest first; never empty; the last one takes new readings.
    epochs: VecDeque<EpochFolder>,
    writer: Option<File>,
    broken: bool,
    _lock: File,
}

impl Outbox {
    /// Opens the outbox in `folder`, or begins one there.
    ///
    /// # Errors
    /// When the folder cannot be read or written, or another process has it open.
    pub fn open(folder: &Path, limits: OutboxLimits) -> Result<(Self, Recovery), StoreError> {
        make_folder(folder)?;
        let lock = lock(&folder.join("lock"))?;
        let mut recovery = Recovery::default();
        let mut epochs = VecDeque::new();
        for (number, epoch, path) in epoch_folders(folder)? {
            tracing::debug!(number, epoch, "reading an epoch of the outbox");
            epochs.push_back(EpochFolder::open(epoch, path, &mut recovery)?);
        }
        let mut outbox = Self { folder: folder.to_owned(), limits, epochs, writer: None, broken: false, _lock: lock };
        if outbox.epochs.is_empty() || !recovery.damaged.is_empty() {
            outbox.begin_epoch()?;
        }
        recovery.pending = outbox.pending();
        Ok((outbox, recovery))
    }

    /// The epoch of new readings.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epochs.back().map_or(0, |epoch| epoch.epoch)
    }

    /// The highest sequence number given in [`Outbox::epoch`]; 0 when none was.
    #[must_use]
    pub fn last_seq(&self) -> Seq {
        self.epochs.back().map_or(0, |epoch| epoch.last)
    }

    /// Readings that wait.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.epochs.iter().map(|epoch| epoch.pending.len() as u64).sum()
    }

    /// Accepts payloads, all or none, with one write and one sync. They are durable when this returns.
    ///
    /// # Errors
    /// [`StoreError::Full`] and [`StoreError::TooLarge`] leave everything as it was. After any other error nothing is
    /// taken until the outbox is opened again: a failed sync says nothing about what is on the disk.
    pub fn append(&mut self, payloads: &[Vec<u8>]) -> Result<RangeInclusive<Seq>, StoreError> {
        if self.broken {
            return Err(StoreError::Broken);
        }
        if let Some(payload) = payloads.iter().find(|payload| payload.len() > PAYLOAD_MAX_BYTES) {
            return Err(StoreError::TooLarge { size_bytes: payload.len(), limit_bytes: PAYLOAD_MAX_BYTES });
        }
        let bytes_more: u64 = payloads.iter().map(|payload| (HEADER_BYTES + payload.len()) as u64).sum();
        if self.size_bytes().saturating_add(bytes_more) > self.limits.total_bytes {
            return Err(StoreError::Full { limit_bytes: self.limits.total_bytes });
        }
        let result = self.append_records(payloads);
        self.broken = result.is_err();
        result
    }

    fn append_records(&mut self, payloads: &[Vec<u8>]) -> Result<RangeInclusive<Seq>, StoreError> {
        let Some(current) = self.epochs.back_mut() else { return Err(StoreError::Broken) };
        let first = current.last + 1;
        if payloads.is_empty() {
            return Ok(RangeInclusive::new(first, current.last));
        }
        let needs_new = current.segments.back().is_none_or(|&(_, size)| size >= SEGMENT_BYTES);
        if needs_new {
            self.writer = None;
            current.segments.push_back((first, 0));
        }
        let Some(segment) = current.segments.back_mut() else { return Err(StoreError::Broken) };
        let path = segment_path(&current.path, segment.0);
        let file = match &mut self.writer {
            Some(file) => file,
            none => none.insert(open_segment(&path, segment.1)?),
        };
        let mut buffer = Vec::new();
        let mut places = Vec::with_capacity(payloads.len());
        for (seq, payload) in (first..).zip(payloads) {
            let record = Record::new(seq, payload);
            let offset = segment.1 + buffer.len() as u64;
            places.push(Place { seq, segment: segment.0, offset, bytes: record.size_bytes() });
            record.write_to(&mut buffer);
        }
        file.write_all(&buffer).map_err(StoreError::file(&path, "written"))?;
        file.sync_data().map_err(StoreError::file(&path, "synced"))?;
        if needs_new {
            sync_folder_of(&path).map_err(StoreError::file(&path, "synced"))?;
        }
        segment.1 += buffer.len() as u64;
        current.last = first + payloads.len() as u64 - 1;
        current.pending.extend(places);
        Ok(first..=current.last)
    }

    /// The oldest readings that wait, of one epoch: at most `max_count`, and at most `max_bytes` of payload but for a
    /// single one that is larger. Empty when nothing waits.
    ///
    /// # Errors
    /// When they cannot be read back.
    pub fn next_batch(&self, max_count: usize, max_bytes: usize) -> Result<(Epoch, Vec<Entry>), StoreError> {
        let Some(epoch) = self.epochs.iter().find(|epoch| !epoch.pending.is_empty()) else {
            return Ok((self.epoch(), Vec::new()));
        };
        let mut entries: Vec<Entry> = Vec::new();
        let mut bytes = 0;
        let mut open: Option<(Seq, File)> = None;
        for place in epoch.pending.iter().take(max_count) {
            bytes += usize::try_from(place.bytes).unwrap_or(usize::MAX);
            if bytes > max_bytes && !entries.is_empty() {
                break;
            }
            let path = segment_path(&epoch.path, place.segment);
            let file = match &open {
                Some((segment, file)) if *segment == place.segment => file,
                _ => {
                    let file = File::open(&path).map_err(StoreError::file(&path, "read"))?;
                    &open.insert((place.segment, file)).1
                }
            };
            let mut buffer = vec![0; usize::try_from(place.bytes).unwrap_or(0)];
            file.read_exact_at(&mut buffer, place.offset).map_err(StoreError::file(&path, "read"))?;
            let record = Record::read_from(&buffer)
                .filter(|record| record.seq == place.seq)
                .ok_or_else(|| StoreError::Damaged { path: path.clone(), seq: place.seq })?;
            entries.push(Entry { seq: record.seq, sha256: record.sha256, payload: record.payload });
        }
        Ok((epoch.epoch, entries))
    }

    /// Takes the cloud's word that it holds everything of `epoch` up to `seq`. An acknowledgement that says less than an
    /// earlier one changes nothing.
    ///
    /// # Errors
    /// When this box has no such readings, or the acknowledgement cannot be written down.
    pub fn acknowledge(&mut self, epoch: Epoch, seq: Seq) -> Result<(), StoreError> {
        let newest = self.epoch();
        let unknown = StoreError::UnknownAck { epoch, seq };
        let Some(folder) = self.epochs.iter_mut().find(|folder| folder.epoch == epoch) else { return Err(unknown) };
        if seq > folder.last {
            return Err(unknown);
        }
        folder.acknowledge(seq)?;
        if epoch != newest && folder.pending.is_empty() {
            let path = folder.path.clone();
            self.epochs.retain(|folder| folder.epoch != epoch);
            fs::remove_dir_all(&path).map_err(StoreError::file(&path, "removed"))?;
        }
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        self.epochs.iter().flat_map(|epoch| &epoch.segments).map(|(_, size)| size).sum()
    }

    fn begin_epoch(&mut self) -> Result<(), StoreError> {
        let number = 1 + epoch_folders(&self.folder)?.iter().map(|(number, ..)| *number).max().unwrap_or(0);
        let epoch = random_u64().max(1);
        let path = self.folder.join(format!("{number:04}-{epoch:016x}"));
        make_folder(&path)?;
        sync_folder_of(&path).map_err(StoreError::file(&path, "synced"))?;
        let empty =
            EpochFolder { epoch, path, acknowledged: 0, last: 0, segments: VecDeque::new(), pending: VecDeque::new() };
        self.epochs.push_back(empty);
        self.writer = None;
        Ok(())
    }
}

impl EpochFolder {
    fn open(epoch: Epoch, path: PathBuf, recovery: &mut Recovery) -> Result<Self, StoreError> {
        let acknowledged = read_acknowledged(&path)?;
        let mut folder =
            Self { epoch, path, acknowledged, last: acknowledged, segments: VecDeque::new(), pending: VecDeque::new() };
        let firsts = segment_firsts(&folder.path)?;
        let newest = firsts.last().copied();
        for (position, first) in firsts.iter().copied().enumerate() {
            let expected = folder.segments.back().map(|_| folder.last + 1);
            let whole = expected.is_none_or(|expected| expected == first)
                && folder.open_segment(first, Some(first) == newest, recovery)?;
            if !whole {
                // What follows the damage cannot be delivered in order: it is set aside with it.
                for rest in firsts.iter().copied().skip(position) {
                    folder.set_aside(rest, recovery)?;
                }
                break;
            }
        }
        Ok(folder)
    }

    /// Takes a segment in. Returns false when it is damaged; the records before the damage are kept.
    fn open_segment(&mut self, first: Seq, is_newest: bool, recovery: &mut Recovery) -> Result<bool, StoreError> {
        let path = segment_path(&self.path, first);
        let bytes = read_bounded(&path, SEGMENT_MAX_BYTES).map_err(StoreError::file(&path, "read"))?;
        let (records, end) = read_records(&bytes, first);
        let rest = bytes.get(end..).unwrap_or_default();
        self.last = self.last.max(first + records.len() as u64 - 1);
        for (offset, record) in &records {
            if record.seq > self.acknowledged {
                let bytes = record.size_bytes();
                self.pending.push_back(Place { seq: record.seq, segment: first, offset: *offset, bytes });
            }
        }
        self.segments.push_back((first, end as u64));
        if rest.is_empty() {
            return Ok(true);
        }
        // A crash cuts off the last write of the newest segment, and nothing whole stands behind a cut.
        if is_newest && !holds_a_record(rest) {
            let file = OpenOptions::new().write(true).open(&path).map_err(StoreError::file(&path, "opened"))?;
            file.set_len(end as u64).map_err(StoreError::file(&path, "cut"))?;
            file.sync_all().map_err(StoreError::file(&path, "synced"))?;
            recovery.torn_bytes += rest.len() as u64;
            return Ok(true);
        }
        Ok(false)
    }

    /// Keeps a copy of a damaged segment for whoever wants to know, and leaves of the original what was whole.
    fn set_aside(&mut self, first: Seq, recovery: &mut Recovery) -> Result<(), StoreError> {
        let path = segment_path(&self.path, first);
        let aside = path.with_extension("damaged");
        let kept = self.segments.iter().find(|(known, _)| *known == first).map_or(0, |(_, size)| *size);
        fs::copy(&path, &aside).map_err(StoreError::file(&aside, "written"))?;
        let file = OpenOptions::new().write(true).open(&path).map_err(StoreError::file(&path, "opened"))?;
        file.set_len(kept).map_err(StoreError::file(&path, "cut"))?;
        file.sync_all().map_err(StoreError::file(&path, "synced"))?;
        if kept == 0 {
            fs::remove_file(&path).map_err(StoreError::file(&path, "removed"))?;
        }
        sync_folder_of(&path).map_err(StoreError::file(&path, "synced"))?;
        recovery.damaged.push(aside);
        Ok(())
    }

    fn acknowledge(&mut self, seq: Seq) -> Result<(), StoreError> {
        if seq <= self.acknowledged {
            return Ok(());
        }
        // Written before anything is deleted: it is what keeps the numbers from being used again.
        let path = self.path.join(ACKNOWLEDGED);
        write_atomically(&path, seq.to_string().as_bytes()).map_err(StoreError::file(&path, "written"))?;
        self.acknowledged = seq;
        while self.pending.front().is_some_and(|place| place.seq <= seq) {
            self.pending.pop_front();
        }
        // A closed segment ends before the next one begins. The newest stays: it is being written.
        while let (Some(&(first, _)), Some(&(next, _))) = (self.segments.front(), self.segments.get(1)) {
            if next - 1 > seq {
                break;
            }
            let path = segment_path(&self.path, first);
            fs::remove_file(&path).map_err(StoreError::file(&path, "removed"))?;
            self.segments.pop_front();
        }
        Ok(())
    }
}

fn make_folder(path: &Path) -> Result<(), StoreError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(StoreError::file(path, "made"))
}

fn lock(path: &Path) -> Result<File, StoreError> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(StoreError::file(path, "opened"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(StoreError::InUse { path: path.to_owned() }),
        Err(fs::TryLockError::Error(source)) => Err(StoreError::file(path, "locked")(source)),
    }
}

fn open_segment(path: &Path, size: u64) -> Result<File, StoreError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(StoreError::file(path, "opened"))?;
    file.seek(SeekFrom::Start(size)).map_err(StoreError::file(path, "opened"))?;
    Ok(file)
}

fn segment_path(folder: &Path, first: Seq) -> PathBuf {
    folder.join(format!("{first:020}.{SUFFIX}"))
}

fn names_in(folder: &Path) -> Result<Vec<String>, StoreError> {
    let mut names = Vec::new();
    for item in fs::read_dir(folder).map_err(StoreError::file(folder, "read"))? {
        let item = item.map_err(StoreError::file(folder, "read"))?;
        names.extend(item.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

fn segment_firsts(folder: &Path) -> Result<Vec<Seq>, StoreError> {
    let names = names_in(folder)?;
    Ok(names.iter().filter_map(|name| name.strip_suffix(SUFFIX)?.strip_suffix('.')?.parse().ok()).collect())
}

fn epoch_folders(folder: &Path) -> Result<Vec<(u32, Epoch, PathBuf)>, StoreError> {
    let mut found = Vec::new();
    for name in names_in(folder)? {
        let parts = name
            .split_once('-')
            .and_then(|(number, epoch)| Some((number.parse::<u32>().ok()?, u64::from_str_radix(epoch, 16).ok()?)));
        if let Some((number, epoch)) = parts {
            found.push((number, epoch, folder.join(&name)));
        }
    }
    found.sort();
    Ok(found)
}

fn read_acknowledged(folder: &Path) -> Result<Seq, StoreError> {
    let path = folder.join(ACKNOWLEDGED);
    match read_bounded(&path, 64) {
        Ok(bytes) => std::str::from_utf8(&bytes)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .ok_or(StoreError::Damaged { path, seq: 0 }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(StoreError::file(&path, "read")(error)),
    }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
