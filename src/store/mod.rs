//! What survives a power cut: the outbox of accepted readings, the inventory of known printers, small files.
//!
//! What this room is for: keeping what the box has promised to keep, on flash that may be full, torn or failing.
//! What it promises:
//! - **Accepted is delivered.** A payload is accepted when [`Outbox::append`] returns: it is on the disk (one write and one
//!   fdatasync for the whole group). Accepted payloads come out in order, byte for byte, until they are acknowledged.
//! - **Once.** A pair (epoch, sequence number) names one payload for ever: numbers are never used again, not after all
//!   was acknowledged and removed, nor after a resend, nor after a crash at any point.
//! - **A chain.** Each epoch has a hash chain over numbers and hashes, which every [`Entry`] carries; it is checked at
//!   opening, and nothing that is done to make room changes it.
//! - **A tail.** What was acknowledged is kept for seven days, for a cloud that was restored from a backup and
//!   [asks again](Outbox::resend_from), unless the room is needed; then it goes as far as nothing that waits needs it.
//!   [`Outbox::acknowledge`] says how days are counted on a box whose clock jumps.
//! - **A full outbox loses detail and never an end.** Past the quota, first the tail is let go, then records are thinned
//!   by their [`Label`]s, oldest days first: of each printer and day the first and the last stay, what is flagged, the
//!   newest day, and the whole reading that one of these needs. A thinned record keeps its number and its hash
//!   ([`Content::Thinned`]), and is counted ([`Outbox::thinned`]). Only when there is nothing left to thin,
//!   [`StoreError::Full`] is said, and nothing of that append is taken.
//! - **What is damaged is never delivered and never guessed.** What precedes the damage is kept, the file is set aside, a
//!   new epoch begins, and [`Recovery`] says so. Damage in the tail costs the tail and nothing that waits.
//! - **After a failed sync nothing more is taken** until the outbox is dropped and opened again; a sync is never retried, and
//!   opening reads what the disk has and not what the kernel believes. On a full disk an outbox opens, delivers and
//!   acknowledges out of its ballast, and makes the ballast again when there is room.
//! - **An epoch can be [ended](Outbox::end_epoch) at the cloud's wish,** where an old copy of the outbox came back and gave
//!   numbers again: what follows the last number that both have alike is accepted anew in the next epoch, once.
//! - **Everything is bounded:** files by [`Limits`], memory by the constants beside them; of a record nothing is held in
//!   memory, of a segment file some 50 bytes. Making room takes one segment file in memory (twice the largest: 17 MiB where
//!   appends of 8 MiB were made, 2 MiB else) and up to some 20 MiB for an outbox of over a thousand printers.
//!
//! Who may call it: uplink, enroll, tunnel, update, agent. All calls block on the disk: from async code, call them in
//! `tokio::task::spawn_blocking`. It knows nobody but `sys`; a payload is bytes to it.

mod ballast;
mod check;
mod delivery;
mod ending;
#[cfg(test)]
mod ending_tests;
mod entry;
mod error;
mod files;
mod generation;
mod inventory;
mod limits;
mod look;
#[cfg(test)]
mod look_tests;
#[cfg(test)]
mod model_tests;
mod opening;
mod outbox;
#[cfg(test)]
mod outbox_tests;
mod record;
mod state;
mod system;
mod tail;
#[cfg(test)]
mod tail_tests;
mod thinning;
#[cfg(test)]
mod thinning_tests;
mod walk;

pub use ending::{Moved, Portion};
pub use entry::{Batch, Content, Draft, Ended, Entry, Label, Resend};
pub use error::StoreError;
pub use inventory::{Inventory, KnownPrinter};
pub use limits::{
    DEFAULT_MAX_TOTAL_BYTES, Limits, MAX_APPEND_BYTES, MAX_EVIDENCE_FILES, MAX_INVENTORY_BYTES, MAX_KNOWN_PRINTERS,
    MAX_PAYLOAD_BYTES, TAIL_S,
};
pub use look::{Held, look};
pub use opening::{NewEpoch, Recovery};
pub use outbox::Outbox;
pub use system::{read_bounded, read_bounded_on, read_or_set_aside, write_atomically, write_atomically_on};

/// Names one beginning of an outbox: random, never 0. Sequence numbers mean something only together with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

impl std::fmt::Display for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The number of a payload in its epoch, from 1, without gaps. 0 stands for "none yet".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Seq(pub u64);

impl std::fmt::Display for Seq {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}
