//! The bounds of the store, each with its reason.

/// The longest payload: a reading of the largest device in the corpus is below 64 KiB; four times that.
pub const MAX_PAYLOAD_BYTES: usize = 256 * 1024;

/// The most payload bytes of one append (one cycle): 200 printers of 20 kB are 4 MB; twice that.
/// It is held in memory while it is written.
pub const MAX_APPEND_BYTES: usize = 8 * 1024 * 1024;

/// The most the outbox takes on the disk if nothing else is said: 90 days of 200 printers, compact.
pub const DEFAULT_MAX_TOTAL_BYTES: u64 = 256 * 1024 * 1024;

/// A segment is closed when it has grown past this: small enough to give space back soon after an
/// acknowledgement, large enough that a full outbox has only hundreds of files.
pub const DEFAULT_SEGMENT_BYTES: u64 = 1024 * 1024;

/// Space kept back, so that acknowledgements can be written (and so space be freed) on a full disk.
pub const BALLAST_BYTES: usize = 64 * 1024;

/// Epochs that ended with a damaged file and still have payloads to deliver. More means a dying disk: the oldest is
/// then given up and counted, so that recovery always ends.
pub const MAX_CLOSED_EPOCHS: usize = 16;

/// Files set aside that are kept as evidence once nothing in them is awaited any more.
pub const MAX_EVIDENCE_FILES: usize = 4;

/// The longest state file: 17 epochs at less than 100 bytes each, with room.
pub const MAX_STATE_BYTES: usize = 16 * 1024;

/// The most printers in an inventory: four times the largest fleet that one box is meant for (1,000).
pub const MAX_KNOWN_PRINTERS: usize = 4_096;

/// The longest inventory file: 4,096 printers at 1 KiB each.
pub const MAX_INVENTORY_BYTES: usize = 4 * 1024 * 1024;

/// The bounds of one outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes of all records on the disk (headers included). Past it, appends are refused.
    pub max_total_bytes: u64,
    /// The size past which a segment file is closed and the next one begun.
    pub segment_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_total_bytes: DEFAULT_MAX_TOTAL_BYTES, segment_bytes: DEFAULT_SEGMENT_BYTES }
    }
}
