//! Where objects come from: a device on the network or a recording of one. Whoever reads a printer
//! asks through this trait and cannot tell the difference, so a replay is read exactly as a device is.

use std::future::Future;
use std::time::Duration;

use super::{Oid, SnmpError, VarBind};

/// The bounds of a walk. Whatever the agent does, a walk ends at the first of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalkLimits {
    /// Most variable bindings kept; of several columns of a table, most rows of each.
    pub rows: usize,
    /// Most bytes of values kept.
    pub bytes: usize,
    /// Longest time from the first request on.
    pub time: Duration,
    /// Whether no request may run further past the subtree's end than to the first object there: one step at a time, which
    /// takes a request for each object. For devices that have commands among their objects.
    pub careful: bool,
}

impl Default for WalkLimits {
    /// 2,000 rows, 4 MiB and 60 s: far above any honest printer table, far below what hurts the box.
    fn default() -> Self {
        Self { rows: 2_000, bytes: 4 << 20, time: Duration::from_secs(60), careful: false }
    }
}

/// Why a walk ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WalkEnd {
    /// The agent went past the subtree: it is complete.
    EndOfSubtree,
    /// The agent has nothing more at all (endOfMibView, or noSuchName in v1): it is complete.
    EndOfMibView,
    /// The agent answered with an object identifier that does not increase; what came before is kept.
    NotIncreasing,
    /// [`WalkLimits::rows`] reached; what came before is kept.
    RowLimit,
    /// [`WalkLimits::bytes`] reached; what came before is kept.
    ByteLimit,
    /// [`WalkLimits::time`] reached, or the agent fell silent after it had begun; what came before is kept.
    TimeLimit,
    /// The agent answered with an error that no smaller request avoids, or with nothing or something unreadable, at the
    /// end or at objects that were stepped past; what could be read is kept.
    BrokenOff,
}

impl WalkEnd {
    /// Whether the whole subtree was seen.
    #[must_use]
    pub fn is_complete(self) -> bool {
        matches!(self, Self::EndOfSubtree | Self::EndOfMibView)
    }
}

/// What a walk brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walk {
    /// The objects below the root, in the agent's order, each with a present value.
    pub varbinds: Vec<VarBind>,
    /// Why it ended.
    pub end: WalkEnd,
}

impl Walk {
    /// The walks of several columns as one. No columns at all are complete.
    pub(super) fn joined(walks: Vec<Self>) -> Self {
        let incomplete = walks.iter().find(|walk| !walk.end.is_complete());
        let end = incomplete.or(walks.last()).map_or(WalkEnd::EndOfSubtree, |walk| walk.end);
        Self { varbinds: walks.into_iter().flat_map(|walk| walk.varbinds).collect(), end }
    }

    /// Roughly how many bytes its values keep.
    pub(super) fn kept_bytes(&self) -> usize {
        self.varbinds.iter().map(|binding| binding.value.kept_bytes()).sum()
    }
}

/// Something that answers for one device.
pub trait ObjectSource: Sync {
    /// Reads these instances. The answer has one binding for each, in the same order; what the device
    /// does not have comes back as an exception value ([`Value::is_present`](super::Value::is_present)
    /// is false), also from v1 devices, where one missing object spoils the whole answer.
    ///
    /// # Errors
    /// When the device does not answer, or refuses.
    fn get(&self, oids: &[Oid]) -> impl Future<Output = Result<Vec<VarBind>, SnmpError>> + Send;

    /// Reads the subtree below `root`, never past it by more than what one answer brings.
    ///
    /// # Errors
    /// When the device does not answer the first request, or refuses.
    fn walk(&self, root: &Oid, limits: WalkLimits) -> impl Future<Output = Result<Walk, SnmpError>> + Send;

    /// Reads these columns of the table whose entry object is `entry`: each cell below `entry`.`column`, and nothing else.
    /// The cells come column after column, lowest column first, each in the agent's order; a column that is named twice is
    /// read once, and one that the device does not have brings no cell. The end is that of the first column that is not
    /// complete, so a complete one says that every column was seen to its end.
    ///
    /// # Errors
    /// As [`walk`](Self::walk). Where some cells were read, or a column was seen to its end, what was read is kept, and the
    /// end tells that it is not all.
    fn columns(
        &self,
        entry: &Oid,
        columns: &[u32],
        limits: WalkLimits,
    ) -> impl Future<Output = Result<Walk, SnmpError>> + Send {
        async move {
            let mut walks = Vec::new();
            let mut left = limits;
            for root in column_roots(entry, columns) {
                let walk = self.walk(&root, left).await?;
                left.bytes -= walk.kept_bytes().min(left.bytes);
                walks.push(walk);
            }
            Ok(Walk::joined(walks))
        }
    }
}

/// The roots of some columns of a table, each once, in the order in which agents have them.
pub(super) fn column_roots(entry: &Oid, columns: &[u32]) -> Vec<Oid> {
    let mut roots: Vec<Oid> = columns.iter().map(|column| entry.with(&[*column])).collect();
    roots.sort();
    roots.dedup();
    roots
}
