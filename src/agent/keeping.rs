//! What the part that talks with printers keeps: readings go into the outbox, printers into the inventory, their past into the
//! ledger. A disk that refuses stops none of the reading: what cannot be kept is not accepted, said, and read again.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::credentials::{is_downgrade, label_of};
use super::lan::{Health, Lan};
use super::ledger::{Group, moment};
use super::rhythm::rest_of_silent;
use super::search::Found;
use super::silent::{SilentPrinter, TOLD_MAX, silent};
use crate::cause::{Cause, Trouble};
use crate::discovery::ScopedIp;
use crate::printer::Reading;
use crate::printer::history::Rules;
use crate::proto::v1;
use crate::store::{Inventory, KnownPrinter, StoreError};
use crate::sys::{Clock, SystemFs};

/// When printers were last seen is written this often where nothing else of the inventory changes.
const INVENTORY_EVERY: Duration = Duration::from_secs(6 * 3_600);

/// What of the inventory is on the disk.
#[derive(Debug, Default)]
pub(super) struct InventoryKept {
    saved: Option<(Inventory, Instant)>,
}

impl InventoryKept {
    /// Whether it is worth a write.
    fn is_due(&self, inventory: &Inventory, now: Instant) -> bool {
        let Some((saved, at)) = &self.saved else { return true };
        let same = |(a, b): (&KnownPrinter, &KnownPrinter)| {
            (&a.device_key, &a.address, a.port, &a.credentials) == (&b.device_key, &b.address, b.port, &b.credentials)
        };
        now.duration_since(*at) >= INVENTORY_EVERY
            || saved.printers.len() != inventory.printers.len()
            || !saved.printers.iter().zip(&inventory.printers).all(same)
    }
}

impl<C: Clock + Clone> Lan<C> {
    /// This moment, as a reading carries it.
    pub(super) fn taken(&self) -> v1::Taken {
        let now = self.clock.now();
        v1::Taken {
            boot_id: self.boot.boot_id.clone(),
            monotonic_ms: now.monotonic_ms,
            wall_clock_unix_ms: now.unix_ms,
            quality: now.quality.into(),
            // Of a lower bound it is not known how far it is off.
            radius_ms: if now.radius_ms == u64::MAX { 0 } else { now.radius_ms },
        }
    }

    /// Adds a reading, and the events that follow from it, to a group that is accepted together. Returns whether it was taken.
    pub(super) fn take_in(
        &mut self,
        target: SocketAddr,
        credentials_index: usize,
        reading: Reading,
        group: &mut Group,
    ) -> bool {
        let taken = self.taken();
        let rules = Rules::for_interval(self.read_interval());
        let told =
            self.ledger.judge(&reading, &self.options.read.profiles, moment(&taken, self.clock.wall_unix_ms()), &rules);
        if !self.remember(target, credentials_index, &told.place_key) {
            return false;
        }
        self.ledger.enter(reading, told, &taken, group);
        true
    }

    /// Notes a printer that has answered. Returns whether its reading may be taken: not when the printer spoke SNMPv3
    /// before and somebody now answers for it with less.
    fn remember(&mut self, target: SocketAddr, credentials_index: usize, device_key: &str) -> bool {
        let credentials = &self.options.credentials;
        let address = ScopedIp::from(target).to_string();
        let before = self.inventory.printers.iter().find(|known| known.device_key == device_key);
        if before.is_some_and(|known| is_downgrade(credentials, &known.credentials, credentials_index)) {
            let detail = format!(
                "{address}: {device_key} was read by SNMPv3 before and answers by an older version now; it is not read so. If that \
                 is meant, take the SNMPv3 users out of the configuration"
            );
            tracing::warn!(error = detail, "no downgrade");
            self.missed(device_key.to_owned(), Trouble::new(Cause::Downgrade, &address));
            self.status.send_modify(|status| status.lan.last_error = Some(detail));
            return false;
        }
        let was_there = |known: &&KnownPrinter| {
            known.device_key != device_key && known.address == address && known.port == target.port()
        };
        if let Some(displaced) = self.inventory.printers.iter().find(was_there) {
            self.displaced.add(&displaced.device_key, device_key, &address);
        }
        self.displaced.found(device_key);
        let known = KnownPrinter {
            credentials: label_of(credentials, credentials_index),
            address,
            port: target.port(),
            last_seen_unix_ms: self.clock.wall_unix_ms(),
            device_key: device_key.to_owned(),
        };
        match self.inventory.remember(known) {
            Ok(()) => {
                self.health.insert(device_key.to_owned(), Health::answered());
            }
            Err(error) => tracing::warn!(%error, "the printer is read and not remembered"),
        }
        true
    }

    /// A printer has missed a round: after three of them it is asked less and less often, down to once an hour.
    pub(super) fn missed(&mut self, device_key: String, trouble: Trouble) {
        let interval = self.read_interval();
        let health = self.health.entry(device_key).or_default();
        health.missed = health.missed.saturating_add(1);
        health.trouble = Some(trouble);
        health.not_before = rest_of_silent(health.missed, interval).map(|rest| Instant::now() + rest);
    }

    /// Keeps what makes the next reading short. A printer that did not answer is as it was.
    pub(super) fn keep_memory(&mut self, found: &mut Found) {
        if found.reading.is_ok() {
            self.memories.keep(found.target, found.memory.take(), Instant::now());
        }
    }

    /// Accepts a group: durable when this returns.
    ///
    /// # Errors
    /// When it cannot be kept: then nothing of it is remembered, so that it is seen again.
    pub(super) async fn accept(&mut self, mut group: Group) -> Result<(), StoreError> {
        if group.records.is_empty() {
            return Ok(());
        }
        match self.outbox.append(std::mem::take(&mut group.records)).await {
            Ok(_) => {
                self.ledger.accepted(group);
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "readings are not accepted");
                self.ledger.undo(group);
                self.status.send_modify(|status| status.lan.last_error = Some(error.to_string()));
                Err(error)
            }
        }
    }

    /// Writes down whom the box knows, where that changed.
    pub(super) async fn save_inventory(&mut self) {
        let keys: HashSet<&str> = self.inventory.printers.iter().map(|known| known.device_key.as_str()).collect();
        self.health.retain(|key, _| keys.contains(key.as_str()));
        let (engines, engine_file, clock) = (self.client.known_engines(), self.engine_file.clone(), self.clock.clone());
        let has_new_engines = engines.len() != self.engines_kept;
        self.engines_kept = engines.len();
        let now = Instant::now();
        let is_due = self.inventory_kept.is_due(&self.inventory, now);
        let (inventory, file) = (self.inventory.clone(), self.inventory_file.clone());
        let saved = tokio::task::spawn_blocking(move || {
            // The clocks in it are carried on; only other engines are worth a write.
            if has_new_engines && let Err(error) = engine_file.save(engines, &clock) {
                tracing::warn!(%error, "SNMPv3 engines are not kept");
            }
            if is_due { inventory.save(&SystemFs, &file).map(|()| Some(inventory)) } else { Ok(None) }
        })
        .await;
        match saved {
            Ok(Ok(Some(inventory))) => self.inventory_kept.saved = Some((inventory, now)),
            Ok(Ok(None)) => {}
            // A search finds them again; it is tried again after the next round.
            Ok(Err(error)) => tracing::error!(%error, "the inventory is not kept"),
            Err(stopped) => tracing::error!(%stopped, "the inventory is not kept"),
        }
        self.save_ledger(false);
    }

    /// Writes down what events changed, and now and then all of it.
    pub(super) fn save_ledger(&mut self, is_the_end: bool) {
        let now_ms = self.clock.monotonic_ms();
        // Some kilobytes after an event, some megabytes twice a day: not worth a thread.
        if let Err(error) = self.ledger.save(now_ms, is_the_end) {
            tracing::error!(%error, "what is known of printers' past is not kept");
        }
    }

    pub(super) fn show_inventory(&self) {
        let known = count(self.inventory.printers.len());
        let answering = count(self.inventory.printers.iter().filter(|known| self.is_answering(known)).count());
        let (ranges, snmp) = (self.ranges_in_force().to_vec(), self.client.statistics());
        let silent = self.silent();
        self.status.send_modify(|status| {
            status.lan.snmp = snmp;
            status.lan.printers_known = known;
            status.lan.printers_answering = answering;
            status.lan.ranges = ranges;
            status.lan.silent = silent;
        });
    }

    /// The printers that were not read when they were last asked, those of other boxes left out.
    fn silent(&self) -> Vec<SilentPrinter> {
        let standby = self.standby.borrow();
        let missing = self.inventory.printers.iter().filter_map(|known| {
            let health = self.health.get(&known.device_key)?;
            let trouble = health.trouble.as_ref().filter(|_| health.missed > 0)?;
            Some(silent(&known.device_key, health.missed, trouble))
        });
        let mut all: Vec<_> = missing.chain(self.displaced.silent()).collect();
        all.retain(|silent| !standby.covers(&silent.device_key));
        all.truncate(TOLD_MAX);
        all
    }
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inventory(address: &str, last_seen_unix_ms: u64) -> Inventory {
        let printer = KnownPrinter {
            device_key: "serial:Acme:1".to_owned(),
            address: address.to_owned(),
            port: 161,
            credentials: "v2c/1".to_owned(),
            last_seen_unix_ms,
        };
        Inventory { printers: vec![printer] }
    }

    #[test]
    fn being_seen_again_is_no_reason_to_write() {
        let now = Instant::now();
        let kept = InventoryKept { saved: Some((inventory("10.0.0.7", 1), now)) };
        assert!(!kept.is_due(&inventory("10.0.0.7", 2), now));
        assert!(kept.is_due(&inventory("10.0.0.8", 2), now));
        assert!(kept.is_due(&Inventory::default(), now));
        assert!(kept.is_due(&inventory("10.0.0.7", 2), now + INVENTORY_EVERY));
        assert!(InventoryKept::default().is_due(&Inventory::default(), now));
    }
}
