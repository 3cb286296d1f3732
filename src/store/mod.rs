//! What survives a power cut: the outbox of accepted readings, the inventory of known printers, small files.
//!
//! What this room is for: keeping what the box has promised to keep, on flash that may be full, torn or failing.
//! What it promises:
//! - A payload is accepted when [`Outbox::append`] returns: it is on the disk (one write and one fdatasync for the
//!   whole cycle). Accepted payloads come out in order, byte for byte, until they are acknowledged.
//! - A pair (epoch, sequence number) names one payload for ever: numbers are never used again, not after all was
//!   acknowledged and deleted, nor after a crash at any point.
//! - What is damaged is never delivered and never guessed: what precedes the damage is kept, the file is set aside,
//!   a new epoch begins, and [`Recovery`] says so.
//! - After a failed write or sync nothing more is taken until the outbox is opened again; a sync is never retried.
//! - Everything is bounded: [`Limits`] and the constants beside them.
//!
//! Who may call it: uplink, enroll, tunnel, update, agent. All calls block on the disk: from async code, call them in
//! `tokio::task::spawn_blocking`. It knows nobody but `sys`; a payload is bytes to it.

mod ballast;
mod check;
mod delivery;
mod entry;
mod error;
mod files;
mod generation;
mod inventory;
mod limits;
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

pub use entry::{Batch, Content, Draft, Entry, Label, Resend};
pub use error::StoreError;
pub use inventory::{Inventory, KnownPrinter};
pub use limits::{
    DEFAULT_MAX_TOTAL_BYTES, Limits, MAX_APPEND_BYTES, MAX_EVIDENCE_FILES, MAX_INVENTORY_BYTES, MAX_KNOWN_PRINTERS,
    MAX_PAYLOAD_BYTES, TAIL_S,
};
pub use opening::{NewEpoch, Recovery};
pub use outbox::Outbox;
pub use system::{read_bounded, write_atomically};

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
