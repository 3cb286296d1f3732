//! What happened in a world, in order and with the true time: what the checker judges by, what is hashed to prove that a seed
//! is always the same world, and what is printed when something is wrong.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The true time when a world begins, milliseconds since 1970: 2026-09-21T14:13:20Z.
pub const BEGINNING_MS: u64 = 1_790_000_000_000;

/// The true time by the world's clock, milliseconds since 1970. Only on a host.
pub fn true_ms() -> u64 {
    let elapsed = turmoil::sim_elapsed().unwrap_or_default();
    BEGINNING_MS + u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX / 2)
}

/// Something that is offered to an outbox to be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Whose.
    pub box_id: String,
    /// A serialised `platen.v1.Reading`, or `platen.v1.Record` for what is not one.
    pub content: Vec<u8>,
    pub is_reading: bool,
    /// When it was true.
    pub true_ms: u64,
    /// Whether it may be thinned.
    pub is_kept: bool,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Fault(String),
    Started {
        box_id: String,
        boot_id: String,
    },
    /// Numbers of offers that are appended together.
    Offered {
        box_id: String,
        offers: std::ops::Range<usize>,
    },
    Accepted {
        box_id: String,
        epoch: u64,
        first_seq: u64,
        offers: std::ops::Range<usize>,
    },
    Refused {
        box_id: String,
        offers: std::ops::Range<usize>,
        why: String,
    },
    Polled {
        box_id: String,
        epoch: u64,
        last_seq: u64,
        acknowledged: u64,
        resend_from: Option<u64>,
        tasks: usize,
    },
    Uploaded {
        box_id: String,
        epoch: u64,
        first_seq: u64,
        last_seq: u64,
    },
    Committed {
        box_id: String,
        epoch: u64,
        up_to: u64,
    },
    NotTaken {
        box_id: String,
        why: String,
    },
    Acknowledged {
        box_id: String,
        epoch: u64,
        up_to: u64,
    },
    CallFailed {
        box_id: String,
        why: String,
    },
    TaskMade {
        box_id: String,
        task_id: String,
    },
    TaskDone {
        box_id: String,
        task_id: String,
    },
    TaskReported {
        box_id: String,
        task_id: String,
        state: i32,
    },
    Ended {
        box_id: String,
        why: String,
    },
    /// An image was taken of its memory card.
    CardImaged {
        box_id: String,
    },
    /// The card was put back to what it was at that event.
    CardPutBack {
        box_id: String,
        since: usize,
    },
    /// Somebody looked at a stopped box and let it go on.
    Released {
        box_id: String,
    },
    /// What the cloud had: highest acknowledged and durable number of each epoch, after it came up again.
    CloudHas {
        box_id: String,
        epoch: u64,
        up_to: u64,
        count: usize,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(what) => write!(f, "*** {what}"),
            Self::Started { box_id, boot_id } => write!(f, "{box_id} starts as {boot_id:.8}"),
            Self::Offered { box_id, offers } => write!(f, "{box_id} offers {offers:?}"),
            Self::Accepted { box_id, epoch, first_seq, offers } => {
                write!(f, "{box_id} accepted {offers:?} from {first_seq} of {epoch:016x}")
            }
            Self::Refused { box_id, offers, why } => write!(f, "{box_id} did not accept {offers:?}: {why}"),
            Self::Polled { box_id, epoch, last_seq, acknowledged, resend_from, tasks } => write!(
                f,
                "cloud: poll of {box_id}, epoch {epoch:016x}, last {last_seq}, acknowledged {acknowledged}; asked again from {resend_from:?}, {tasks} tasks"
            ),
            Self::Uploaded { box_id, epoch, first_seq, last_seq } => {
                write!(f, "cloud: {box_id} uploads {first_seq} to {last_seq} of {epoch:016x}")
            }
            Self::Committed { box_id, epoch, up_to } => {
                write!(f, "cloud: committed for {box_id} up to {up_to} of {epoch:016x}")
            }
            Self::NotTaken { box_id, why } => write!(f, "cloud: not taken of {box_id}: {why}"),
            Self::Acknowledged { box_id, epoch, up_to } => {
                write!(f, "{box_id} hears that {up_to} of {epoch:016x} is acknowledged")
            }
            Self::CallFailed { box_id, why } => write!(f, "{box_id}: {why}"),
            Self::TaskMade { box_id, task_id } => write!(f, "cloud: task {task_id} for {box_id}"),
            Self::TaskDone { box_id, task_id } => write!(f, "{box_id} does task {task_id}"),
            Self::TaskReported { box_id, task_id, state } => {
                write!(f, "cloud: {box_id} reports task {task_id}, state {state}")
            }
            Self::CardImaged { box_id } => write!(f, "*** {box_id}: an image is taken of its card"),
            Self::CardPutBack { box_id, since } => {
                write!(f, "*** {box_id}: its card is put back to what it was at event {since}")
            }
            Self::Released { box_id } => write!(f, "cloud: {box_id} is released"),
            Self::Ended { box_id, why } => write!(f, "{box_id} ends: {why}"),
            Self::CloudHas { box_id, epoch, up_to, count } => {
                write!(f, "cloud: holds {count} records of {box_id}, up to {up_to} of {epoch:016x}")
            }
        }
    }
}

/// The history and what was offered.
#[derive(Debug, Default)]
pub struct Told {
    pub events: Vec<(u64, Event)>,
    pub offers: Vec<Offer>,
}

/// A history that grows; clones share it.
#[derive(Debug, Clone, Default)]
pub struct History(Arc<Mutex<Told>>);

impl History {
    pub fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what happened on a host, now.
    pub fn note(&self, event: Event) {
        self.note_at(true_ms(), event);
    }

    pub fn note_at(&self, at_ms: u64, event: Event) {
        self.told().events.push((at_ms, event));
    }

    /// Notes what is offered; its numbers.
    pub fn offer(&self, box_id: &str, mut new: Vec<Offer>) -> std::ops::Range<usize> {
        let mut told = self.told();
        let first = told.offers.len();
        told.offers.append(&mut new);
        let offers = first..told.offers.len();
        let event = Event::Offered { box_id: box_id.to_owned(), offers: offers.clone() };
        told.events.push((true_ms(), event));
        offers
    }

    /// A hash over everything that happened.
    pub fn hash(&self) -> [u8; 32] {
        let told = self.told();
        let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
        for (at_ms, event) in &told.events {
            digest.update(format!("{at_ms} {event}\n").as_bytes());
        }
        for offer in &told.offers {
            digest.update(&offer.content);
        }
        digest.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
    }

    /// The last events, a line each, with the seconds since the beginning.
    pub fn last(&self, count: usize) -> String {
        let told = self.told();
        let from = told.events.len().saturating_sub(count);
        let line = |(at_ms, event): &(u64, Event)| {
            let since_ms = at_ms - BEGINNING_MS;
            format!("{:>10}.{:03} s  {event}\n", since_ms / 1_000, since_ms % 1_000)
        };
        told.events[from..].iter().map(line).collect()
    }
}
