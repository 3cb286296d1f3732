//! What the engine has done and seen, in numbers: so that loss of our own making can be told from a network's.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the engine was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// Datagrams sent, further tries and probes included.
    pub sent: u64,
    /// Of these, the further tries of a request.
    pub retransmitted: u64,
    /// Of these, the probes of sweeps.
    pub probes: u64,
    /// Datagrams received.
    pub received: u64,
    /// Of these, answers and reports that were taken.
    pub taken: u64,
    /// Of these, such as belong to no request, or must not be believed.
    pub ignored: u64,
    /// Of these, such as could not be read.
    pub unreadable: u64,
    /// Requests that ended without any answer.
    pub silences: u64,
    /// Datagrams that the kernel threw away because the socket's buffer was full (SO_RXQ_OVFL, socket(7)): loss of our
    /// own making. As many as the kernel had told by the last datagram that did arrive.
    pub kernel_drops: u64,
    /// Times that the kernel had no room for a datagram to be sent.
    pub send_pauses: u64,
    /// Times that the network said that somebody cannot be reached (ICMP destination unreachable).
    #[serde(default)]
    pub unreachable: u64,
}

impl fmt::Display for Statistics {
    /// What tells a network's loss from loss of our own making.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, retransmitted, taken, silences, kernel_drops, .. } = self;
        write!(f, "{sent} sent, {retransmitted} of them again, {taken} answers, {silences} requests without one")?;
        match kernel_drops {
            0 => Ok(()),
            _ => write!(f, "; {kernel_drops} answers were dropped by this machine itself: raise net.core.rmem_max"),
        }
    }
}

macro_rules! counters {
    ($($name:ident),+) => {
        /// The same, while they count.
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $(pub(super) $name: Counter,)+
        }

        impl Counters {
            pub(super) fn read(&self) -> Statistics {
                Statistics { $($name: self.$name.0.load(Ordering::Relaxed),)+ }
            }
        }
    };
}

counters!(
    sent,
    retransmitted,
    probes,
    received,
    taken,
    ignored,
    unreadable,
    silences,
    kernel_drops,
    send_pauses,
    unreachable
);

/// One of them. Relaxed: nothing else hangs on the order in which they are seen.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn more(&self) {
        self.add(1);
    }

    pub(super) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_of_our_own_making_is_told_with_its_remedy_and_otherwise_not_at_all() {
        let statistics = Statistics { sent: 10, retransmitted: 2, taken: 7, silences: 1, ..Statistics::default() };
        assert_eq!(statistics.to_string(), "10 sent, 2 of them again, 7 answers, 1 requests without one");
        let dropped = Statistics { kernel_drops: 3, ..statistics }.to_string();
        assert!(dropped.ends_with("; 3 answers were dropped by this machine itself: raise net.core.rmem_max"));
    }
}
