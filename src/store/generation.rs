//! One epoch as the outbox holds it in memory: its segment files and what is in them, some 50 bytes for each. Where a
//! record lies is looked up in the file when it is wanted.

use std::collections::VecDeque;
use std::fmt;
use std::path::{Path, PathBuf};

use super::Seq;
use super::record::{Chain, SEGMENT_HEADER_BYTES, first_chain};
use super::state::EpochState;

/// The ending of a segment's name.
const SEGMENT: &str = ".seg";

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
    /// The last sequence number in it; the one before its first when it has none.
    pub last: Seq,
    /// Length of the file as far as it is good.
    pub bytes: u64,
    /// How many of its records are thinned.
    pub thinned: u64,
}

impl Segment {
    pub fn new(name: SegmentName) -> Self {
        let last = Seq(name.first.0.saturating_sub(1));
        Self { name, last, bytes: SEGMENT_HEADER_BYTES as u64, thinned: 0 }
    }

    pub fn is_empty(&self) -> bool {
        self.last < self.name.first
    }
}

/// One epoch.
#[derive(Debug)]
pub(super) struct Generation {
    pub state: EpochState,
    /// Oldest first, without gaps between them.
    pub segments: VecDeque<Segment>,
    /// The hash chain after the last record.
    pub chain: Chain,
}

impl Generation {
    pub fn new(state: EpochState) -> Self {
        let chain = first_chain(state.epoch());
        Self { state, segments: VecDeque::new(), chain }
    }

    /// The highest sequence number ever given in this epoch, as far as it counts.
    pub fn last(&self) -> Seq {
        let last = self.end().max(Seq(self.state.reached));
        self.state.cut.map_or(last, |cut| last.min(Seq(cut.after)))
    }

    /// The highest sequence number in its files.
    pub fn end(&self) -> Seq {
        self.segments.back().map_or(Seq(0), |segment| segment.last)
    }

    /// Whether something of it is yet to be moved into a later epoch.
    pub fn is_moving(&self) -> bool {
        self.state.cut.is_some_and(|cut| !cut.is_moved)
    }

    /// Forgets what was moved into a later epoch; answers with the files of which nothing is left.
    pub fn clip(&mut self) -> Vec<SegmentName> {
        let Some(cut) = self.state.cut.filter(|cut| cut.is_moved) else { return Vec::new() };
        let keep = self.segments.partition_point(|segment| segment.name.first.0 <= cut.after);
        let gone = self.segments.split_off(keep);
        if let Some(segment) = self.segments.back_mut() {
            segment.last = segment.last.min(Seq(cut.after));
        }
        gone.into_iter().map(|segment| segment.name).collect()
    }

    /// The lowest sequence number that is held, or the next one where none is.
    pub fn first_held(&self) -> Seq {
        self.segments.front().map_or(Seq(self.last().0.saturating_add(1)), |segment| {
            Seq(segment.name.first.0.max(self.state.released.saturating_add(1)))
        })
    }

    pub fn pending(&self) -> u64 {
        self.last().0.saturating_sub(self.state.acknowledged)
    }

    /// Whether, once it is not written any more, something of it is awaited or kept for a while.
    pub fn is_worth_keeping(&self) -> bool {
        let has_tail = self.segments.back().is_some_and(|segment| segment.last.0 > self.state.released);
        let is_awaited = self.pending() > 0 || self.is_moving();
        self.state.epoch != 0 && (is_awaited || (has_tail && !self.state.marks.is_empty()))
    }

    /// The segment of this very file.
    pub fn segment_mut(&mut self, name: &SegmentName) -> Option<&mut Segment> {
        let index = self.segments.binary_search_by_key(&name.first, |segment| segment.name.first).ok()?;
        self.segments.get_mut(index).filter(|segment| segment.name == *name)
    }

    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// How many of its records were thinned, those no longer held included.
    pub fn thinned(&self) -> u64 {
        let held = self.segments.iter().filter(|segment| segment.last.0 > self.state.released);
        self.state.thinned.saturating_add(held.map(|segment| segment.thinned).sum())
    }
}
