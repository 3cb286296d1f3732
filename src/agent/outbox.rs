//! The outbox as the agent's parts see it: the store's calls wait for the disk, so they run where waiting hurts nobody.

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::status::OutboxStatus;
use crate::store::{Batch, Draft, Epoch, Label, Outbox, Seq, StoreError};

/// A handle to the one outbox.
#[derive(Debug, Clone)]
pub struct SharedOutbox {
    outbox: Arc<Mutex<Outbox>>,
    level: watch::Sender<OutboxStatus>,
}

impl SharedOutbox {
    /// Shares an opened outbox.
    #[must_use]
    pub fn new(outbox: Outbox) -> Self {
        let (level, _) = watch::channel(level_of(&outbox));
        Self { outbox: Arc::new(Mutex::new(outbox)), level }
    }

    /// How full it is, now and whenever that changes.
    #[must_use]
    pub fn level(&self) -> watch::Receiver<OutboxStatus> {
        self.level.subscribe()
    }

    /// Accepts readings: they are durable when this returns.
    ///
    /// # Errors
    /// When the disk is full or failing.
    pub async fn append(&self, payloads: Vec<Vec<u8>>) -> Result<RangeInclusive<Seq>, StoreError> {
        let draft = |payload| Draft { payload, label: Label::kept() };
        let drafts: Vec<Draft> = payloads.into_iter().map(draft).collect();
        self.with(move |outbox| outbox.append(&drafts)).await
    }

    /// The oldest readings that are not acknowledged, all of one epoch; `None` when none waits.
    ///
    /// # Errors
    /// When they cannot be read back.
    pub async fn next_batch(&self, max_count: usize, max_bytes: usize) -> Result<Option<Batch>, StoreError> {
        self.with(move |outbox| outbox.next_batch(max_count, max_bytes)).await
    }

    /// Takes the cloud's acknowledgement; the time is the wall clock's, seconds since 1970.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub async fn acknowledge(&self, epoch: Epoch, seq: Seq, now_unix_s: u64) -> Result<(), StoreError> {
        self.with(move |outbox| outbox.acknowledge(epoch, seq, now_unix_s).map(drop)).await
    }

    async fn with<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Outbox) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = self.clone();
        let work = tokio::task::spawn_blocking(move || {
            // A poisoned lock means that a holder panicked between two calls of the store, which keeps itself in order.
            let mut outbox = shared.outbox.lock().unwrap_or_else(PoisonError::into_inner);
            let result = act(&mut outbox);
            shared.level.send_replace(level_of(&outbox));
            result
        });
        match work.await {
            Ok(result) => result,
            Err(stopped) => Err(StoreError::Stopped(stopped.to_string())),
        }
    }
}

fn level_of(outbox: &Outbox) -> OutboxStatus {
    OutboxStatus { epoch: outbox.epoch().0, last_seq: outbox.last_seq().0, pending: outbox.pending() }
}
