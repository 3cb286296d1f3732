//! What goes into the outbox and what comes out of it.

use super::record::Chain;
use super::{Epoch, Seq};

/// A payload that is to be accepted, and what the outbox must know of it should the room get scarce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The payload, at most [`MAX_PAYLOAD_BYTES`](super::MAX_PAYLOAD_BYTES).
    pub payload: Vec<u8>,
    /// Whose it is and whether it may be thinned.
    pub label: Label,
}

/// What decides whether a record may be thinned. The payload itself is only bytes to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// Stands for the printer: a hash of its key. 0: belongs to none, is never thinned.
    pub group: u64,
    /// Days since 1970-01-01 by the box's clock.
    pub day: u32,
    /// Flagged, an event, or otherwise never to be thinned.
    pub is_kept: bool,
    /// The whole reading of the same epoch without which this payload cannot be understood; it must come before it,
    /// at most 2^32 − 1 numbers, and have no base itself.
    pub base: Option<Seq>,
}

impl Label {
    /// For what is never thinned and needs nothing else.
    #[must_use]
    pub const fn kept() -> Self {
        Self { group: 0, day: 0, is_kept: true, base: None }
    }

    /// Whether it may be thinned at all.
    pub(super) const fn can_be_thinned(&self) -> bool {
        self.group != 0 && !self.is_kept
    }
}

/// Consecutive entries of one epoch, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The epoch in which they were accepted; it can be an older one than [`Outbox::epoch`](super::Outbox::epoch)
    /// after damage.
    pub epoch: Epoch,
    /// The hash chain before the first of them.
    pub previous_chain: [u8; 32],
    /// At least one; their numbers ascend by one.
    pub entries: Vec<Entry>,
}

impl Batch {
    /// The number of its last entry.
    #[must_use]
    pub fn last_seq(&self) -> Seq {
        self.entries.last().map_or(Seq(0), |entry| entry.seq)
    }
}

/// An accepted payload, or what is left of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number in the epoch.
    pub seq: Seq,
    /// SHA-256 of the payload as it was accepted.
    pub sha256: [u8; 32],
    /// The payload, if it is still there.
    pub content: Content,
    /// The hash chain of the epoch after it: SHA-256 of the chain before it, its number (8 bytes, big-endian) and its
    /// [`sha256`](Self::sha256). Before number 1 it is SHA-256 of the epoch (8 bytes, big-endian).
    pub chain: Chain,
}

/// What an entry holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// The payload, byte for byte as it was accepted.
    Payload(Vec<u8>),
    /// Number and hash only: the room was needed (or, of what the cloud had once before, the payload is damaged).
    Thinned,
}

impl Content {
    /// The payload, where it is there.
    #[must_use]
    pub fn payload(&self) -> Option<&[u8]> {
        match self {
            Self::Payload(bytes) => Some(bytes),
            Self::Thinned => None,
        }
    }
}

/// What a [resend](super::Outbox::resend_from) brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resend {
    /// How many entries, delivered before, wait again.
    pub again: u64,
    /// How many of what was asked for are not held any more.
    pub lost: u64,
}

/// An epoch in which no number is given any more, and of which something is still held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Which.
    pub epoch: Epoch,
    /// Up to where the cloud holds everything of it, as it said itself.
    pub acknowledged: Seq,
    /// The highest number that is held.
    pub last: Seq,
}
