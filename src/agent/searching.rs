//! Searches of the part that talks with printers: beginning them, at full pace or so slowly that nobody notices, taking in what
//! they find, and ending them.

use std::collections::HashSet;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::lan::{ACCEPT_AT_ONCE, Lan};
use super::ledger::Group;
use super::rhythm::span_of_slow_search;
use super::search::{Found, SearchOptions, SearchProgress, search};
use super::tasks::Outcome;
use crate::discovery::{AddressSet, DnsResolver, Paces, ProbeError, Ranges, ScopedIp};
use crate::proto::v1::TaskState;
use crate::snmp::Credentials;
use crate::store::KnownPrinter;
use crate::sys::Clock;

/// Tasks that may wait for one search.
const WAITING_TASKS_MAX: usize = 64;

/// A search under way.
pub(super) struct Search {
    pub found: mpsc::Receiver<Found>,
    pub task: JoinHandle<Result<(), ProbeError>>,
    pub progress: watch::Receiver<SearchProgress>,
    pub stop: CancellationToken,
    pub began: Instant,
    /// Whether somebody waits for it, so that it goes at full pace.
    pub is_urgent: bool,
    pub tasks: Vec<String>,
    pub addresses: u32,
    /// Printers read, those included that were known and read before the search.
    pub printers: u32,
}

impl<C: Clock + Clone> Lan<C> {
    async fn addresses(&self) -> Result<AddressSet, String> {
        let ranges = self.ranges_in_force();
        if ranges.is_empty() {
            return Err("no ranges are configured: set lan.ranges, or the ranges of this box in the cloud".to_owned());
        }
        let ranges = Ranges::parse(ranges).map_err(|e| e.to_string())?;
        let addresses = ranges.resolve(&self.fence, &DnsResolver).await.map_err(|e| e.to_string())?;
        if addresses.is_empty() {
            return Err(format!("none of the ranges lies within the fence of this box ({})", self.fence));
        }
        Ok(addresses)
    }

    /// Reads the known printers and begins to search for others, at full pace. A search that is under way at full pace
    /// already is joined.
    pub(super) async fn search_now(
        &mut self,
        running: Option<Search>,
        task_id: Option<String>,
        stop: &CancellationToken,
    ) -> Option<Search> {
        let mut tasks: Vec<String> = task_id.into_iter().collect();
        if let Some(mut running) = running {
            if running.is_urgent && running.tasks.len() < WAITING_TASKS_MAX {
                running.tasks.append(&mut tasks);
                return Some(running);
            }
            tasks.extend(running.tasks.iter().cloned());
            self.break_off(running).await;
        }
        let began = Instant::now();
        let addresses = match self.resolve().await {
            Ok(addresses) => addresses,
            Err(problem) => {
                for id in tasks {
                    self.end_task(id, Outcome::of(TaskState::Failed, problem.clone())).await;
                }
                return None;
            }
        };
        let printers = self.read_all(true, stop).await;
        let paces = self.options.paces;
        Some(Search { tasks, printers, began, is_urgent: true, ..self.begin(&addresses, paces, stop) })
    }

    /// Begins a search that nobody waits for, so slowly that it is noticed by nobody.
    pub(super) async fn search_slowly(&mut self, running: Option<Search>, stop: &CancellationToken) -> Option<Search> {
        if running.is_some() {
            tracing::warn!("the last search has not ended; the next one is left out");
            return running;
        }
        let Ok(addresses) = self.resolve().await else { return None };
        let span = span_of_slow_search(self.scan_interval, addresses.len(), self.options.credentials.len());
        let paces = self.options.paces.no_faster_than_one_every(span);
        Some(self.begin(&addresses, paces, stop))
    }

    /// The addresses to search, or what is wrong with them, which is shown too.
    async fn resolve(&mut self) -> Result<AddressSet, String> {
        let addresses = self.addresses().await;
        let now = self.clock.wall_unix_ms();
        let ranges = self.ranges_in_force().to_vec();
        self.status.send_modify(|status| {
            status.lan.ranges = ranges;
            match &addresses {
                Ok(_) => status.lan.last_error = None,
                Err(problem) => {
                    tracing::warn!(%problem, "the ranges cannot be searched");
                    status.lan.last_error = Some(problem.clone());
                    status.lan.last_scan_unix_ms = Some(now);
                }
            }
        });
        addresses
    }

    fn begin(&self, addresses: &AddressSet, paces: Paces, stop: &CancellationToken) -> Search {
        let (shown, progress) = watch::channel(SearchProgress::default());
        let (sender, found) = mpsc::channel(ACCEPT_AT_ONCE);
        let stop = stop.child_token();
        let (client, fence, token) = (self.client.clone(), self.fence.clone(), stop.clone());
        let (set, options) =
            (addresses.clone(), SearchOptions { paces, skip: self.read_already(), ..self.options.clone() });
        let task = tokio::spawn(async move { search(&client, &fence, &set, &options, sender, &shown, &token).await });
        let addresses = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
        let search = Search {
            found,
            task,
            progress,
            stop,
            began: Instant::now(),
            is_urgent: false,
            tasks: Vec::new(),
            addresses,
            printers: 0,
        };
        self.show_search(&search);
        search
    }

    /// Addresses of printers that answered in the last round: they need not be asked who they are. Where there are users
    /// of SNMPv3, printers that are known by less are asked all the same, as they may offer it by now.
    fn read_already(&self) -> HashSet<ScopedIp> {
        let has_users = self.options.credentials.iter().any(|it| matches!(it, Credentials::V3(_)));
        let is_done =
            |known: &&KnownPrinter| self.is_answering(known) && (known.credentials.starts_with("v3/") || !has_users);
        self.inventory.printers.iter().filter(is_done).filter_map(|known| known.address.parse().ok()).collect()
    }

    pub(super) fn show_search(&self, search: &Search) {
        let progress = *search.progress.borrow();
        let words = if search.is_urgent { "searching" } else { "searching slowly" };
        let words = match progress.passes {
            0 => words.to_owned(),
            passes => format!("{words}: pass {} of {passes}, {} addresses", progress.pass, search.addresses),
        };
        let snmp = self.client.statistics();
        self.status.send_modify(|status| (status.lan.activity, status.lan.snmp) = (Some(words), snmp));
    }

    /// Ends a search before its time; what it has found is accepted.
    async fn break_off(&mut self, mut search: Search) {
        search.stop.cancel();
        while let Some(device) = search.found.recv().await {
            self.accept_found(vec![device]).await;
        }
        // It was told to end; how it did is of no interest.
        let _ended = search.task.await;
    }

    /// What there is to do after a search.
    pub(super) async fn end_search(&mut self, search: Option<Search>) {
        let Some(search) = search else { return };
        let ended = search.task.await.unwrap_or_else(|stopped| Err(ProbeError::Failed(stopped.to_string())));
        self.save_inventory().await;
        self.show_inventory();
        let now = self.clock.wall_unix_ms();
        let problem = ended.as_ref().err().map(ToString::to_string);
        self.status.send_modify(|status| {
            status.lan.activity = None;
            status.lan.last_scan_unix_ms = Some(now);
            status.lan.last_error = problem;
        });
        let outcome = match ended {
            Err(error) => Outcome::of(TaskState::Failed, error.to_string()),
            Ok(()) => Outcome {
                state: TaskState::Done,
                message: format!(
                    "{} printers read, {} addresses searched, {:.1} s",
                    search.printers,
                    search.addresses,
                    search.began.elapsed().as_secs_f64()
                ),
                addresses_asked: search.addresses,
                printers_read: search.printers,
            },
        };
        tracing::info!(outcome = %outcome.message, "search ended");
        for id in search.tasks {
            self.end_task(id, outcome.clone()).await;
        }
    }

    /// Accepts what a search has found; returns how many printers there were.
    pub(super) async fn accept_found(&mut self, devices: Vec<Found>) -> u32 {
        let mut group = Group::default();
        for mut found in devices {
            self.keep_memory(&mut found);
            match found.reading {
                Ok(reading) if reading.is_printer => {
                    self.take_in(found.target, found.credentials_index, reading, &mut group);
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::info!(target = %found.target, %error, "a device answered and then could not be read")
                }
            }
        }
        let readings = group.readings;
        let printers = if self.accept(group).await.is_ok() { readings } else { 0 };
        self.show_inventory();
        printers
    }
}

/// What a search has found since it was last asked; nothing at all, for ever, when there is no search.
pub(super) async fn take_found(search: Option<&mut Search>) -> Vec<Found> {
    let Some(search) = search else { return std::future::pending().await };
    let mut devices = Vec::with_capacity(ACCEPT_AT_ONCE);
    search.found.recv_many(&mut devices, ACCEPT_AT_ONCE).await;
    devices
}
