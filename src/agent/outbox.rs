//! The outbox as the agent's parts see it. The store's calls wait for the disk, so they run where waiting hurts nobody; and a
//! disk that fails takes the outbox away and not the agent: it is opened again when the disk has come to its senses.

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::status::{EndedEpoch, OutboxStatus};
use super::updates::{Bases, Rebase};
use crate::proto::v1;
use crate::store::{self, Batch, Epoch, Label, Outbox, Recovery, Resend, Seq, StoreError};
use crate::sys::Entropy;

/// After a failure the outbox is opened again at most this often.
const REOPEN_EVERY: Duration = Duration::from_secs(5);

/// What is to be accepted.
#[derive(Debug)]
pub enum Draft {
    /// A reading; flagged ones are kept whatever happens.
    Reading {
        /// The reading.
        message: Box<v1::Reading>,
        /// Whether it says something that must not be thinned out.
        is_flagged: bool,
    },
    /// A serialised `platen.v1.Record` that is kept whatever happens: an event, a clock anchor.
    Kept(Vec<u8>),
}

/// Opens the outbox, the first time and after a failure.
type Open = Box<dyn Fn() -> Result<(Outbox, Recovery), StoreError> + Send>;

/// Set where appends end, which is in the work on the disk.
type Refused = Arc<Mutex<Option<String>>>;

/// What the handles share.
struct Shared {
    open: Open,
    /// `None` after a failure, until it is opened again.
    outbox: Option<Outbox>,
    /// Why there is none, and when that was.
    failed: Option<(String, Instant)>,
    /// Why the last readings were not accepted, where they were not.
    refused: Refused,
    bases: Bases,
}

/// A handle to the one outbox.
#[derive(Clone)]
pub struct SharedOutbox {
    shared: Arc<Mutex<Shared>>,
    level: watch::Sender<OutboxStatus>,
    refused: Refused,
    /// For new epochs.
    entropy: Arc<dyn Entropy>,
    /// Whether calls run where they are made; for a world without threads.
    is_inline: bool,
}

impl std::fmt::Debug for SharedOutbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedOutbox").field("level", &*self.level.borrow()).finish_non_exhaustive()
    }
}

impl SharedOutbox {
    /// Opens the outbox by `open`, now and after failures. A disk that refuses is no error here: it is told in the
    /// [level](Self::level), and tried again.
    ///
    /// # Errors
    /// When another process has the outbox: waiting would not mend that.
    pub fn new(
        open: impl Fn() -> Result<(Outbox, Recovery), StoreError> + Send + 'static,
        entropy: Arc<dyn Entropy>,
        is_inline: bool,
    ) -> Result<Self, StoreError> {
        let refused = Refused::default();
        let (open, bases) = (Box::new(open), Bases::default());
        let mut shared = Shared { open, outbox: None, failed: None, refused: refused.clone(), bases };
        match shared.reopen() {
            Err(error @ StoreError::InUse(_)) => return Err(error),
            Err(error) => shared.fail(&error),
            Ok(()) => {}
        }
        let (level, _) = watch::channel(shared.level(&OutboxStatus::default()));
        Ok(Self { shared: Arc::new(Mutex::new(shared)), level, refused, entropy, is_inline })
    }

    /// How full it is, and whether it works, now and whenever that changes.
    #[must_use]
    pub fn level(&self) -> watch::Receiver<OutboxStatus> {
        self.level.subscribe()
    }

    /// Accepts these, all or none: they are durable when this returns.
    ///
    /// # Errors
    /// When the disk is full or failing: nothing of it is accepted.
    pub async fn append(&self, drafts: Vec<Draft>) -> Result<RangeInclusive<Seq>, StoreError> {
        let refused = self.refused.clone();
        self.with(move |outbox, bases| {
            let epoch = outbox.epoch();
            let (first, from) = (outbox.last_seq().0 + 1, outbox.bases_from());
            let numbered = (first..).map(Seq).zip(drafts);
            let payloads: Vec<_> = numbered.map(|(seq, draft)| encode(draft, epoch, seq, from, bases)).collect();
            let result = outbox.append(&payloads);
            match &result {
                // What tests of the whole box compare with what arrives in the cloud.
                Ok(range) => tracing::debug!(epoch = %epoch, first = range.start().0, last = range.end().0, "accepted"),
                Err(_) => bases.clear(),
            }
            *locked(&refused) = result.as_ref().err().map(ToString::to_string);
            result
        })
        .await
    }

    /// The oldest readings that are not acknowledged, all of one epoch.
    ///
    /// # Errors
    /// When they cannot be read back.
    pub async fn next_batch(&self, max_count: usize, max_bytes: usize) -> Result<Option<Batch>, StoreError> {
        self.with(move |outbox, _| outbox.next_batch(max_count, max_bytes)).await
    }

    /// Takes the cloud's acknowledgement; `now_unix_s` is the wall clock, seconds since 1970.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub async fn acknowledge(&self, epoch: Epoch, seq: Seq, now_unix_s: u64) -> Result<(), StoreError> {
        self.with(move |outbox, _| outbox.acknowledge(epoch, seq, now_unix_s).map(drop)).await
    }

    /// Makes what was acknowledged from this number on wait again, as far as it is still held.
    ///
    /// # Errors
    /// When nothing is known of it, or it cannot be written down.
    pub async fn resend_from(&self, epoch: Epoch, seq: Seq) -> Result<Resend, StoreError> {
        self.with(move |outbox, _| outbox.resend_from(epoch, seq)).await
    }

    /// Ends this epoch after this number, and begins a new one; what was accepted after it is accepted anew in that. Says
    /// whether it was ended now.
    ///
    /// # Errors
    /// When that cannot be written down.
    pub async fn end_epoch(&self, epoch: Epoch, after: Seq) -> Result<bool, StoreError> {
        let entropy = self.entropy.clone();
        self.with(move |outbox, bases| {
            let is_new = outbox.end_epoch(epoch, after, &*entropy)?;
            move_on(outbox, bases)?;
            Ok(is_new)
        })
        .await
    }

    /// Removes what was acknowledged more than seven days ago; to be called now and then.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn tidy(&self, now_unix_s: u64) -> Result<(), StoreError> {
        self.with(move |outbox, _| outbox.tidy(now_unix_s)).await
    }

    async fn with<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Outbox, &mut Bases) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (this, now) = (self.clone(), Instant::now());
        let work = move || {
            let mut shared = this.lock();
            let result = shared.act(now, act);
            this.level.send_if_modified(|level| {
                let fresh = shared.level(level);
                let is_new = *level != fresh;
                *level = fresh;
                is_new
            });
            result
        };
        if self.is_inline {
            return work();
        }
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            Err(stopped) => Err(StoreError::Stopped(stopped.to_string())),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // A poisoned lock means that a holder panicked between two calls of the store, which keeps itself in order.
        locked(&self.shared)
    }
}

impl Shared {
    fn act<T>(
        &mut self,
        now: Instant,
        act: impl FnOnce(&mut Outbox, &mut Bases) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if let Some((why, at)) = &self.failed {
            if now.duration_since(*at) < REOPEN_EVERY {
                return Err(StoreError::Failed(why.clone()));
            }
            if let Err(error) = self.reopen() {
                self.fail(&error);
                return Err(error);
            }
        }
        let Some(outbox) = &mut self.outbox else { return Err(StoreError::Failed("it is not open".to_owned())) };
        let result = move_on(outbox, &mut self.bases).and_then(|()| act(outbox, &mut self.bases));
        if let Err(error) = &result
            && !error.leaves_all_as_it_was()
        {
            // What is on the disk is unknown now; opening it again finds out. At once, the first time: mostly it is one file.
            tracing::error!(%error, "the outbox failed; it is opened again");
            self.outbox = None;
            if let Err(error) = self.reopen() {
                self.fail(&error);
            }
        }
        result
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        self.outbox = None;
        self.bases.clear();
        let (outbox, recovery) = (self.open)()?;
        super::log(&recovery);
        self.outbox = Some(outbox);
        self.failed = None;
        Ok(())
    }

    fn fail(&mut self, error: &StoreError) {
        if self.failed.is_none() {
            tracing::error!(%error, "the outbox cannot be used: nothing is accepted until it can");
        }
        self.failed = Some((error.to_string(), Instant::now()));
    }

    fn level(&self, before: &OutboxStatus) -> OutboxStatus {
        // On a full disk an outbox can be opened, and yet takes nothing: that is told until it does.
        let trouble = self.failed.as_ref().map(|(why, _)| why.clone()).or_else(|| locked(&self.refused).clone());
        match &self.outbox {
            Some(outbox) => OutboxStatus {
                epoch: outbox.epoch().0,
                last_seq: outbox.last_seq().0,
                pending: outbox.pending(),
                acknowledged: outbox.acknowledged_seq().0,
                thinned: outbox.thinned(),
                ended: outbox.ended().into_iter().map(to_ended).collect(),
                trouble,
            },
            None => OutboxStatus { trouble, ..before.clone() },
        }
    }
}

/// Moves what is to be moved into a new epoch, before anything else is done. What finds no room waits until the cloud has taken
/// something.
fn move_on(outbox: &mut Outbox, bases: &mut Bases) -> Result<(), StoreError> {
    if !outbox.is_moving() {
        return Ok(());
    }
    let mut rebase = Rebase::default();
    loop {
        match outbox.move_on(|outbox, portion| rebase.portion(outbox, portion, bases)) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(StoreError::Full { .. }) => {
                bases.clear();
                return Ok(());
            }
            Err(error) => {
                bases.clear();
                return Err(error);
            }
        }
    }
}

fn to_ended(ended: store::Ended) -> EndedEpoch {
    EndedEpoch { epoch: ended.epoch.0, acknowledged: ended.acknowledged.0, last_seq: ended.last.0 }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn encode(draft: Draft, epoch: Epoch, seq: Seq, from: Seq, bases: &mut Bases) -> store::Draft {
    match draft {
        Draft::Reading { message, is_flagged } => {
            let group = group_of(&message.device_key);
            let encoded = bases.encode(*message, epoch, seq, from);
            let label = Label { group, day: encoded.day, is_kept: is_flagged, base: encoded.base };
            store::Draft { payload: encoded.record, label }
        }
        Draft::Kept(payload) => store::Draft { payload, label: Label::kept() },
    }
}

/// A number that stands for a printer: the beginning of its key's SHA-256; never 0.
fn group_of(device_key: &str) -> u64 {
    let hash = ring::digest::digest(&ring::digest::SHA256, device_key.as_bytes());
    hash.as_ref().first_chunk().map_or(1, |bytes| u64::from_be_bytes(*bytes)).max(1)
}
