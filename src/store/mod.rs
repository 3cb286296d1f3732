//! The store: what survives a power cut.
//!
//! What this room is for: the outbox of readings, the inventory of known printers, and files that are replaced whole.
//! What it promises: an appended payload is on the disk when `append` returns; sequence numbers of an epoch are never
//! used twice; what cannot be read back is set aside and said, never guessed.
//! Who may call it: uplink, enroll, agent.

mod error;
mod files;
mod inventory;
mod outbox;
mod segment;

pub use error::StoreError;
pub use files::{read_bounded, write_atomically};
pub use inventory::{Inventory, KnownPrinter};
pub use outbox::{Entry, Epoch, Outbox, OutboxLimits, Recovery, Seq};
