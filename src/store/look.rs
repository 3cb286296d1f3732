//! A look at an outbox from outside, while its owner goes on writing: no lock is taken and nothing is changed.
//!
//! The owner may append, join files and remove them meanwhile. So a record that is cut off ends its file, a file that is gone is
//! passed over, and a number is seen once; what was accepted after the look began may be missed.

use std::io;
use std::path::Path;

use super::ballast::STATE;
use super::generation::{SegmentName, Standing};
use super::record::{Item, SEGMENT_HEADER_BYTES, read_segment_header};
use super::state::{EpochState, State};
use super::walk::{Obstacle, Walk};
use super::{Epoch, Seq, StoreError};
use crate::sys::Fs;

/// A payload that an outbox holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held<'a> {
    /// Its epoch.
    pub epoch: Epoch,
    /// Its number.
    pub seq: Seq,
    /// Whether the cloud has acknowledged it, as far as is known.
    pub is_delivered: bool,
    /// The payload; `None` where only its number and hash are left.
    pub payload: Option<&'a [u8]>,
}

/// Sees everything that the outbox in this folder holds, oldest first; an empty or missing folder holds nothing.
///
/// # Errors
/// When the disk refuses, or a file is not what was written: what precedes it was seen.
pub fn look(fs: &dyn Fs, dir: &Path, see: &mut dyn FnMut(Held<'_>)) -> Result<(), StoreError> {
    let state = State::load(fs, &dir.join(STATE))?.and_then(Result::ok);
    let names = match fs.list(dir) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StoreError::io("list", dir)(error)),
    };
    let mut names: Vec<_> = names.iter().filter_map(|name| SegmentName::parse(name)).collect();
    names.retain(|name| name.standing == Standing::Good);
    names.sort();
    let mut before = None;
    for name in names {
        let known = state.as_ref().and_then(|state| {
            state.closed.iter().chain([&state.current]).find(|epoch| epoch.generation == name.generation)
        });
        let mut last = match before {
            Some((generation, last)) if generation == name.generation => last,
            _ => known.map_or(Seq(0), |epoch| Seq(epoch.released)),
        };
        match look_at(fs, name.path(dir), known, &mut last, see) {
            Err(StoreError::Io { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
        before = Some((name.generation, last));
    }
    Ok(())
}

/// One file; `last` is the last number that was seen, or let go.
fn look_at(
    fs: &dyn Fs,
    path: std::path::PathBuf,
    known: Option<&EpochState>,
    last: &mut Seq,
    see: &mut dyn FnMut(Held<'_>),
) -> Result<(), StoreError> {
    let head = fs.read_at(&path, 0, SEGMENT_HEADER_BYTES).map_err(StoreError::io("read", &path))?;
    let (epoch, _, _) = match read_segment_header(&head) {
        Ok(head) => head,
        // Just being made.
        Err(_) if head.len() < SEGMENT_HEADER_BYTES => return Ok(()),
        Err(flaw) => return Err(Obstacle::Flaw(flaw).at(&path)),
    };
    let acknowledged = known.map_or(Seq(0), EpochState::acknowledged);
    let mut walk = Walk::new(fs, path, SEGMENT_HEADER_BYTES as u64, u64::MAX);
    // What follows a cut is in a later epoch, once all of it is.
    let end = known.and_then(|epoch| epoch.cut).filter(|cut| cut.is_moved).map_or(u64::MAX, |cut| cut.after);
    let mut show = |seq: Seq, payload: Option<&[u8]>| {
        if seq > *last && seq.0 <= end {
            *last = seq;
            see(Held { epoch, seq, is_delivered: seq <= acknowledged, payload });
        }
    };
    loop {
        let bytes = match walk.item() {
            Ok(Some((Item::Record(head, payload), bytes))) => {
                show(head.seq, Some(payload));
                bytes
            }
            Ok(Some((Item::Run { first, hashes }, bytes))) => {
                (first.0..).zip(hashes).for_each(|(seq, _)| show(Seq(seq), None));
                bytes
            }
            Ok(None) | Err(Obstacle::Flaw(super::record::Flaw::CutOff)) => return Ok(()),
            Err(obstacle) => return Err(obstacle.at(&walk.path)),
        };
        walk.pass(bytes);
    }
}
