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

/// Space kept back, so that on a full disk acknowledgements can be written and files be rewritten shorter: one segment.
/// A small outbox keeps a sixteenth of its quota.
pub const MAX_BALLAST_BYTES: u64 = 1024 * 1024;

/// Of a quota, what a segment and the ballast take at most: one part of so many.
const PARTS: u64 = 16;

/// How long what was acknowledged is kept, for a cloud that is restored from a backup: seven days.
pub const TAIL_S: u64 = 7 * DAY_S;

/// The segment that is written is closed once something in it was acknowledged this long ago, so that the tail of a box
/// with few printers ends too.
pub const MAX_OPEN_S: u64 = DAY_S;

/// Of a step of the wall clock so much counts as time gone by.
pub const MAX_CLOCK_STEP_S: u64 = DAY_S;

const DAY_S: u64 = 86_400;

/// Acknowledgements within such a span of time share a mark: 28 of them are the tail.
pub const MARK_GRAIN_S: u64 = 6 * 3_600;

/// Marks of one epoch: the tail's, one before it, one begun, with room.
pub const MAX_MARKS: usize = 32;

/// Time that is written down at least so often while nothing is acknowledged.
pub const CLOCK_SAVE_S: u64 = 6 * 3_600;

/// When room is made, then down to so much of the quota, in percent: it is not made anew at each append.
pub const ROOM_PERCENT: u64 = 90;

/// Pairs of printer and day that one thinning looks at: 90 days of 1,400 printers, some 8 MiB. Of more, the oldest days.
pub const MAX_SPANS: usize = 131_072;

/// Printers that one thinning tells apart: four times the largest inventory. Records of others are not thinned.
pub const MAX_GROUPS: usize = 16_384;

/// Bases that one thinning remembers: 90 days of 1,400 printers with two a day. With more, nothing that could be a base is
/// thinned.
pub const MAX_BASES: usize = 262_144;

/// Rounds of one thinning; the last takes all days it may.
pub const MAX_THINNING_ROUNDS: usize = 4;

/// How far back the base of a new record may lie: one part of so many of the quota. It must be kept as long as the record
/// waits, with all between them.
pub const BASE_REACH_PARTS: u64 = 4;

/// The most entries of one batch, as they are held in memory at once.
pub const MAX_BATCH_ENTRIES: usize = 65_536;

/// The share of a partition that an outbox may take, in percent.
pub const PARTITION_PERCENT: u64 = 60;

/// Records that are moved into a new epoch at once, in bytes.
pub const MAX_MOVED_BYTES: usize = 512 * 1024;

/// Epochs that ended with a damaged file and still have payloads to deliver. More means a dying disk: the oldest is
/// then given up and counted, so that recovery always ends.
pub const MAX_CLOSED_EPOCHS: usize = 16;

/// Files set aside that are kept as evidence once nothing in them is awaited any more.
pub const MAX_EVIDENCE_FILES: usize = 4;

/// The longest state file: 17 epochs of 32 marks at most.
pub const MAX_STATE_BYTES: usize = 32 * 1024;

/// The most printers in an inventory: four times the largest fleet that one box is meant for (1,000).
pub const MAX_KNOWN_PRINTERS: usize = 4_096;

/// The longest inventory file: 4,096 printers at 1 KiB each.
pub const MAX_INVENTORY_BYTES: usize = 4 * 1024 * 1024;

/// The bounds of one outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes of all segment files. Past it, room is made or appends are refused. Beside them there are the
    /// ballast, the state, a file that is being replaced, and at most
    /// [`MAX_EVIDENCE_FILES`] damaged ones.
    pub max_total_bytes: u64,
    /// The size past which a segment file is closed and the next one begun.
    pub segment_bytes: u64,
}

impl Limits {
    /// The bounds for a partition of this size: at most 60 % of it, and at most what 90 days of 200 printers take.
    #[must_use]
    pub fn for_partition(total_bytes: u64) -> Self {
        let share = total_bytes / 100 * PARTITION_PERCENT;
        Self::of(share.min(DEFAULT_MAX_TOTAL_BYTES))
    }

    /// The bounds for a quota.
    #[must_use]
    pub fn of(max_total_bytes: u64) -> Self {
        Self { max_total_bytes, segment_bytes: DEFAULT_SEGMENT_BYTES.min(max_total_bytes / PARTS) }
    }

    /// The size of the ballast.
    #[must_use]
    pub fn ballast_bytes(&self) -> u64 {
        MAX_BALLAST_BYTES.min(self.max_total_bytes / PARTS)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::of(DEFAULT_MAX_TOTAL_BYTES)
    }
}
