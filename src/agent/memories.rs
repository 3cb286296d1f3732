//! What is remembered of each printer between its readings, so that they are short. In memory only: after a restart of the
//! box every printer is explored once.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::printer::Memory;

/// After so long a printer is explored anew, as it may have tables that it did not have before.
const EXPLORE_EVERY: Duration = Duration::from_secs(86_400);
/// Most bytes that are remembered of all printers together: 1,000 of 16 KB. Others are explored at each reading.
const KEPT_BYTES_MAX: usize = 16 << 20;

/// Remembered printers, by where they are. Whether the same one still is there the reading itself finds out.
#[derive(Debug, Default)]
pub(super) struct Memories {
    printers: HashMap<SocketAddr, Kept>,
    bytes: usize,
}

#[derive(Debug)]
struct Kept {
    memory: Arc<Memory>,
    bytes: usize,
    explored: Instant,
}

impl Memories {
    /// What is remembered of the printer there, if that is not too old.
    pub(super) fn of(&self, target: SocketAddr, now: Instant) -> Option<Arc<Memory>> {
        let kept = self.printers.get(&target)?;
        (now.saturating_duration_since(kept.explored) < EXPLORE_EVERY).then(|| Arc::clone(&kept.memory))
    }

    /// Keeps what came of a reading that ended well; nothing comes of what is no printer, or has too many objects.
    pub(super) fn keep(&mut self, target: SocketAddr, memory: Option<Memory>, now: Instant) {
        let before = self.forget(target);
        let Some(memory) = memory else { return };
        let bytes = memory.kept_bytes();
        if self.bytes + bytes > KEPT_BYTES_MAX {
            return;
        }
        let explored = before.filter(|_| memory.readings() > 0).unwrap_or(now);
        self.bytes += bytes;
        self.printers.insert(target, Kept { memory: Arc::new(memory), bytes, explored });
    }

    /// Forgets the printer there; returns when it was explored.
    fn forget(&mut self, target: SocketAddr) -> Option<Instant> {
        let kept = self.printers.remove(&target)?;
        self.bytes -= kept.bytes;
        Some(kept.explored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::printer::{ReadOptions, explore, read_known};
    use crate::snmp::Recording;

    #[tokio::test]
    async fn a_printer_is_remembered_for_a_day_and_then_explored_anew() {
        let text = b"1.3.6.1.2.1.1.1.0|4|A printer\n1.3.6.1.2.1.43.5.1.1.17.1|4|ABC12345\n";
        let (recording, options) = (Recording::parse(text).unwrap(), ReadOptions::default());
        let target: SocketAddr = "127.0.0.1:161".parse().unwrap();
        let (mut memories, start) = (Memories::default(), Instant::now());
        let at = |hours: u64| start + Duration::from_secs(hours * 3_600);

        memories.keep(target, explore(&recording, &options).await.unwrap().memory, at(0));
        let memory = memories.of(target, at(20)).unwrap();
        memories.keep(target, read_known(&recording, &options, &memory).await.unwrap().memory, at(20));
        assert!(memories.of(target, at(23)).is_some());
        assert!(memories.of(target, at(24)).is_none(), "reading it again does not make it new");
        memories.keep(target, explore(&recording, &options).await.unwrap().memory, at(24));
        assert!(memories.of(target, at(47)).is_some());

        memories.keep(target, None, at(48));
        assert!(memories.of(target, at(48)).is_none() && memories.bytes == 0);
    }
}
