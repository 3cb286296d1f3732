//! The check of a segment file at opening, every byte of it.

use std::io;
use std::path::Path;

use super::generation::{Segment, SegmentName};
use super::record::{Chain, Flaw, Head, Item, SEGMENT_HEADER_BYTES, first_chain, next_chain, read_segment_header};
use super::state::EpochState;
use super::walk::{Obstacle, Walk};
use super::{Epoch, Seq};
use crate::sys::Fs;

/// Read at once while the rest of a file is looked through.
const WINDOW_BYTES: usize = 256 * 1024;

/// Why the check of a segment ended where it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// At the end of the file, after a whole item.
    Clean,
    /// In a record (or the file's head) of which only the beginning is there, or all zeros: it was never accepted.
    Torn {
        /// Bytes after the last whole item.
        bytes: u64,
    },
    /// At something else than what was written.
    Damaged(&'static str),
}

/// A segment as it was found.
pub(super) struct Checked {
    pub segment: Segment,
    pub epoch: Epoch,
    /// The hash chain after its last good record.
    pub chain: Chain,
    pub end: End,
}

/// Checks a segment file, every item of it and the hash chain through it. `before` is the chain before its first record,
/// where that is known.
/// A damaged payload that the cloud has had already (up to `state.reached`) does no harm and is passed over: its number
/// and its hash are still there.
pub(super) fn check_segment(
    fs: &dyn Fs,
    dir: &Path,
    name: SegmentName,
    state: &EpochState,
    before: Option<Chain>,
) -> io::Result<Checked> {
    let path = name.path(dir);
    let first = name.first;
    let mut segment = Segment::new(name);
    let (epoch, chain) = match read_segment_header(&fs.read_at(&path, 0, SEGMENT_HEADER_BYTES)?) {
        Ok((epoch, seq, chain)) => {
            let before = if seq == Seq(1) { Some(first_chain(epoch)) } else { before };
            let damaged = match before {
                _ if seq != first => Some("the file has the name of another one"),
                Some(before) if before != chain => Some("the hash chain does not lead to it"),
                _ => None,
            };
            if let Some(what) = damaged {
                return Ok(Checked { segment, epoch, chain, end: End::Damaged(what) });
            }
            (epoch, chain)
        }
        Err(flaw) => {
            segment.bytes = 0;
            let end = judge(fs, &path, 0, flaw)?;
            return Ok(Checked { segment, epoch: state.epoch(), chain: before.unwrap_or_default(), end });
        }
    };
    let mut checked = Checked { segment, epoch, chain, end: End::Clean };
    let mut walk = Walk::new(fs, path, SEGMENT_HEADER_BYTES as u64, u64::MAX);
    checked.end = match go_through(&mut walk, state, &mut checked)? {
        None => End::Clean,
        Some(flaw) => judge(fs, &walk.path, checked.segment.bytes, flaw)?,
    };
    Ok(checked)
}

/// Walks to the end of the file or to the first flaw.
fn go_through(walk: &mut Walk<'_>, state: &EpochState, checked: &mut Checked) -> io::Result<Option<Flaw>> {
    loop {
        let expected = Seq(checked.segment.last.0.saturating_add(1));
        let bytes = match walk.item() {
            Ok(None) => return Ok(None),
            Err(Obstacle::Io(error)) => return Err(error),
            Ok(Some((item, bytes))) => {
                let first = match &item {
                    Item::Record(head, _) => head.seq,
                    Item::Run { first, .. } => *first,
                };
                if first != expected {
                    return Ok(Some(Flaw::Damaged("a record has another number than its place")));
                }
                match item {
                    Item::Record(head, _) => checked.push(&head.sha256),
                    Item::Run { hashes, .. } => {
                        hashes.iter().for_each(|hash| checked.push(hash));
                        checked.segment.thinned += hashes.len() as u64;
                    }
                }
                bytes
            }
            Err(Obstacle::Flaw(Flaw::DamagedPayload(head))) if head.seq == expected && head.seq.0 <= state.reached => {
                checked.push(&head.sha256);
                Head::Record(head).bytes()
            }
            Err(Obstacle::Flaw(flaw)) => return Ok(Some(flaw)),
        };
        checked.segment.bytes += bytes as u64;
        walk.pass(bytes);
    }
}

impl Checked {
    fn push(&mut self, sha256: &Chain) {
        self.segment.last = Seq(self.segment.last.0.saturating_add(1));
        self.chain = next_chain(&self.chain, self.segment.last, sha256);
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
        flaw => End::Damaged(flaw.what()),
    })
}
