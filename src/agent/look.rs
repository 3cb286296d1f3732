//! The light look at printers between two readings: status, alerts, total. An alert's start and end are told at once; who is
//! not as expected is read whole.

use std::net::SocketAddr;

use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

use super::lan::{Lan, READ_AT_ONCE};
use super::ledger::{Group, moment};
use crate::printer::{StatusOptions, StatusRound, read_status};
use crate::snmp::Credentials;
use crate::store::KnownPrinter;
use crate::sys::Clock;

/// A light look at a printer.
struct Look {
    device_key: String,
    address: String,
    target: SocketAddr,
    credentials: Credentials,
    options: StatusOptions,
}

impl<C: Clock + Clone> Lan<C> {
    /// Looks at the printers that answer, between two readings: alerts that began or ended are told at once. Who is not as
    /// expected is read whole.
    pub(super) async fn look_at_all(&mut self, stop: &CancellationToken) {
        let standby = self.standby.borrow().clone();
        let printers = self.inventory.printers.iter();
        let answering = printers.filter(|known| self.is_answering(known) && !standby.covers(&known.device_key));
        let jobs: Vec<Look> = answering.filter_map(|known| self.look_job(known)).collect();
        let (client, timing) = (self.client.clone(), self.options.timing);
        let mut looks = futures_util::stream::iter(jobs)
            .map(|look| {
                let session = client.session(look.target, look.credentials.clone(), timing);
                async move { (read_status(&session, &look.options).await, look) }
            })
            .buffer_unordered(READ_AT_ONCE);
        let mut unsure = Vec::new();
        loop {
            let (round, look) = tokio::select! {
                () = stop.cancelled() => break,
                next = looks.next() => match next {
                    Some(next) => next,
                    None => break,
                },
            };
            match round {
                Ok(round) => unsure.extend(self.take_look(&look, &round).await),
                Err(error) => tracing::info!(target = %look.target, %error, "printer not looked at"),
            }
        }
        drop(looks);
        for device_key in unsure {
            self.read_one(&device_key).await;
        }
        self.save_ledger(false);
    }

    /// Tells what follows from a look; returns the printer's key where it is to be read whole.
    async fn take_look(&mut self, look: &Look, round: &StatusRound) -> Option<String> {
        let taken = self.taken();
        let seen = moment(&taken, self.clock.wall_unix_ms());
        let told = self.ledger.judge_look(&look.device_key, &look.address, round, seen);
        let mut group = Group::default();
        self.ledger.tell(told.events, told.changes, &taken, &mut group);
        // Not accepted means not remembered: the next look sees it again.
        let _told_again = self.accept(group).await;
        told.wants_reading.map(|why| {
            tracing::info!(target = %look.target, ?why, "a look is not enough");
            look.device_key.clone()
        })
    }

    /// How a known printer is looked at.
    fn look_job(&self, known: &KnownPrinter) -> Option<Look> {
        let (device_key, target, candidates) = self.job(known)?;
        let credentials = self.options.credentials.get(*candidates.first()?)?.clone();
        let device = self.ledger.device(&device_key)?;
        let options = StatusOptions {
            device_index: device.device_index(),
            total: device.total_oid().and_then(|oid| oid.parse().ok()),
        };
        Some(Look { device_key, address: known.address.clone(), target, credentials, options })
    }
}
