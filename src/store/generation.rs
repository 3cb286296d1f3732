//! One epoch as the outbox holds it in memory: its segment files and where each record lies, without the payloads.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::record::{
    Flaw, MAX_RECORD_BYTES, RECORD_OVERHEAD_BYTES, SEGMENT_HEADER_BYTES, read_record, read_segment_header,
};
use super::state::EpochState;
use super::{Epoch, Seq};
use crate::sys::Fs;

/// The ending of a segment's name.
const SEGMENT: &str = ".seg";
/// Read at once while a segment is checked: holds the longest record, so that each step gets on.
const WINDOW_BYTES: usize = 2 * MAX_RECORD_BYTES;

/// What became of a segment file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// It is as it should be.
    Good,
    /// It is damaged; what precedes the damage is good.
    Corrupt,
    /// It lies behind a damage. The cloud acknowledges only what it has without gaps, so nothing of it can be
    /// delivered under its old numbers, and under new ones it might be booked twice.
    Behind,
}

impl Standing {
    /// The further ending of the file's name.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Good => "",
            Self::Corrupt => ".corrupt",
            Self::Behind => ".behind",
        }
    }
}

/// What a segment file's name says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SegmentName {
    pub generation: u32,
    pub first: Seq,
    pub standing: Standing,
}

impl SegmentName {
    pub fn parse(name: &str) -> Option<Self> {
        let (stem, suffix) = name.split_at_checked(name.find(SEGMENT)? + SEGMENT.len())?;
        let standings = [Standing::Good, Standing::Corrupt, Standing::Behind];
        let standing = standings.into_iter().find(|standing| standing.suffix() == suffix)?;
        let (generation, first) = stem.strip_suffix(SEGMENT)?.split_once('-')?;
        Some(Self { generation: generation.parse().ok()?, first: Seq(first.parse().ok()?), standing })
    }

    pub fn path(&self, dir: &Path) -> PathBuf {
        dir.join(self.to_string())
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08}-{:020}{SEGMENT}{}", self.generation, self.first.0, self.standing.suffix())
    }
}

/// A segment file.
#[derive(Debug)]
pub(super) struct Segment {
    pub name: SegmentName,
    /// Lengths of the payloads, first to last: all that is needed to find them again.
    pub payload_lengths: Vec<u32>,
    /// Length of the file as far as it is good.
    pub bytes: u64,
}

impl Segment {
    pub fn new(name: SegmentName) -> Self {
        Self { name, payload_lengths: Vec::new(), bytes: SEGMENT_HEADER_BYTES as u64 }
    }

    /// The last sequence number in it; the one before its first when it has none.
    pub fn last(&self) -> Seq {
        Seq(self.name.first.0.saturating_sub(1).saturating_add(self.payload_lengths.len() as u64))
    }

    pub fn push(&mut self, payload_length: usize) {
        // At most MAX_PAYLOAD_BYTES: always fits.
        self.payload_lengths.push(u32::try_from(payload_length).unwrap_or(u32::MAX));
        self.bytes += (RECORD_OVERHEAD_BYTES + payload_length) as u64;
    }
}

/// One epoch.
#[derive(Debug)]
pub(super) struct Generation {
    pub state: EpochState,
    /// Oldest first, without gaps between them.
    pub segments: VecDeque<Segment>,
}

impl Generation {
    pub fn new(state: EpochState) -> Self {
        Self { state, segments: VecDeque::new() }
    }

    /// The highest sequence number ever given in this epoch.
    pub fn last(&self) -> Seq {
        self.segments.back().map_or(Seq(0), Segment::last).max(self.state.acknowledged())
    }

    pub fn pending(&self) -> u64 {
        self.last().0 - self.state.acknowledged
    }

    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }
}

/// Why the check of a segment ended where it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// At the end of the file, after a whole record.
    Clean,
    /// In a record (or head) of which only the beginning is there, or all zeros: it was never accepted.
    Torn {
        /// Bytes after the last whole record.
        bytes: u64,
    },
    /// At something else than what was written.
    Damaged(&'static str),
}

/// Checks a segment file, every record of it, and finds where its records lie.
/// A damaged payload that the cloud holds already (up to `state.acknowledged`) does no harm and is passed over.
pub(super) fn check_segment(
    fs: &dyn Fs,
    dir: &Path,
    name: SegmentName,
    state: &EpochState,
) -> io::Result<(Segment, Epoch, End)> {
    let path = name.path(dir);
    let first = name.first;
    let mut segment = Segment::new(name);
    let mut epoch = state.epoch();
    match read_segment_header(&fs.read_at(&path, 0, SEGMENT_HEADER_BYTES)?) {
        Ok((found, seq)) => {
            epoch = found;
            if seq != first {
                return Ok((segment, epoch, End::Damaged("the file has the name of another one")));
            }
        }
        Err(flaw) => {
            segment.bytes = 0;
            let end = judge(fs, &path, 0, flaw)?;
            return Ok((segment, epoch, end));
        }
    }
    loop {
        let window = fs.read_at(&path, segment.bytes, WINDOW_BYTES)?;
        let mut rest = window.as_slice();
        while !rest.is_empty() {
            let expected = Seq(segment.last().0 + 1);
            let (seq, size) = match read_record(rest) {
                Ok((record, size)) => (record.seq, size),
                Err(Flaw::DamagedPayload { seq, bytes }) if seq <= state.acknowledged() => (seq, bytes),
                // Only cut off by the window: read on from here.
                Err(Flaw::CutOff) if window.len() == WINDOW_BYTES && rest.len() < MAX_RECORD_BYTES => break,
                Err(flaw) => {
                    let end = judge(fs, &path, segment.bytes, flaw)?;
                    return Ok((segment, epoch, end));
                }
            };
            if seq != expected {
                return Ok((segment, epoch, End::Damaged("a record has another number than its place")));
            }
            segment.push(size - RECORD_OVERHEAD_BYTES);
            rest = rest.get(size..).unwrap_or_default();
        }
        if window.len() < WINDOW_BYTES {
            return Ok((segment, epoch, End::Clean));
        }
    }
}

/// Decides whether what is wrong at `offset` is a torn append or damage. Torn is only what no damage can look like:
/// a right beginning with the rest missing, or nothing but zeros (the length of the file arrived, the data did not).
fn judge(fs: &dyn Fs, path: &Path, offset: u64, flaw: Flaw) -> io::Result<End> {
    let mut bytes = 0;
    let mut all_zero = true;
    loop {
        let window = fs.read_at(path, offset + bytes, WINDOW_BYTES)?;
        bytes += window.len() as u64;
        all_zero &= window.iter().all(|byte| *byte == 0);
        if window.len() < WINDOW_BYTES {
            break;
        }
    }
    Ok(match flaw {
        _ if all_zero => End::Torn { bytes },
        Flaw::CutOff => End::Torn { bytes },
        Flaw::Damaged(what) => End::Damaged(what),
        Flaw::DamagedPayload { .. } => End::Damaged("a payload does not match its checksum"),
    })
}
