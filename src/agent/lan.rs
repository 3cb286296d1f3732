//! The part that talks with printers: it searches the ranges, reads the printers it knows, and accepts every reading
//! into the outbox before anybody is told of it. A search goes on beside the reading of known printers, which comes first.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::credentials::{candidates_for, is_downgrade, label_of};
use super::engines::EngineFile;
use super::ledger::{Group, Ledger, moment};
use super::memories::Memories;
use super::outbox::SharedOutbox;
use super::rhythm::{rest_of_silent, span_of_slow_search};
use super::search::{Found, SearchOptions, SearchProgress, read_with, search};
use super::settings::CloudSettings;
use super::status::Status;
use super::tasks::Outcome;
use super::{AgentError, BootFacts};
use crate::discovery::{AddressSet, DnsResolver, Fence, Paces, ProbeError, Ranges, ScopedIp};
use crate::printer::Reading;
use crate::printer::history::Rules;
use crate::proto::v1::{self, TaskState};
use crate::snmp::{Client, Credentials};
use crate::store::{Inventory, KnownPrinter, StoreError};
use crate::sys::{Clock, SystemFs};

/// Printers read at once; the engine's window bounds the packets.
pub(super) const READ_AT_ONCE: usize = 64;
/// Readings accepted with one fsync at most.
const ACCEPT_AT_ONCE: usize = 32;
/// The cloud may set the time between readings within these bounds.
const READ_INTERVAL: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(86_400));
/// Tasks that may wait for one search.
const WAITING_TASKS_MAX: usize = 64;

/// What this part is asked to do. The queue holds eight: more than that is not a queue but a fault.
#[derive(Debug)]
pub(super) enum LanCommand {
    /// Search the ranges now, for a task or because it is time.
    Scan { task_id: Option<String> },
    /// Read one known printer now.
    Read { task_id: String, device_key: String },
    /// The cloud changed ranges or rhythm.
    Settings(CloudSettings),
}

/// What this part is made of.
pub(super) struct Lan<C> {
    pub client: Client,
    pub clock: C,
    pub boot: BootFacts,
    pub options: SearchOptions,
    pub fence: Fence,
    /// Ranges of the box's own configuration, used until the cloud names some.
    pub own_ranges: Vec<String>,
    pub own_read_interval: Duration,
    pub scan_interval: Duration,
    pub settings: CloudSettings,
    pub inventory: Inventory,
    pub inventory_file: PathBuf,
    pub outbox: SharedOutbox,
    pub status: watch::Sender<Status>,
    pub commands: mpsc::Receiver<LanCommand>,
    pub ended: mpsc::Sender<(String, Outcome)>,
    /// How printers have answered, by device key; as many as the inventory has.
    pub health: HashMap<String, Health>,
    /// What makes their next readings short.
    pub memories: Memories,
    /// What is known of their past.
    pub ledger: Ledger,
    /// Between two light looks at a printer.
    pub look_interval: Duration,
    /// Where SNMPv3 engines are kept, and how many were last.
    pub engine_file: EngineFile,
    pub engines_kept: usize,
}

/// How a printer has answered since the agent started.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Health {
    /// Rounds that it has missed since it answered last.
    missed: u32,
    /// Whether it has answered at all.
    has_answered: bool,
    /// Not asked before.
    not_before: Option<Instant>,
}

/// A search under way.
struct Search {
    found: mpsc::Receiver<Found>,
    task: JoinHandle<Result<(), ProbeError>>,
    progress: watch::Receiver<SearchProgress>,
    stop: CancellationToken,
    began: Instant,
    /// Whether somebody waits for it, so that it goes at full pace.
    is_urgent: bool,
    tasks: Vec<String>,
    addresses: u32,
    /// Printers read, those included that were known and read before the search.
    printers: u32,
}

impl<C: Clock + Clone> Lan<C> {
    /// Reads printers until `stop`.
    ///
    /// # Errors
    /// When readings cannot be accepted because the disk fails. Silent printers are no error.
    pub(super) async fn run(mut self, stop: CancellationToken) -> Result<(), AgentError> {
        self.show_inventory();
        let mut search: Option<Search> = None;
        let mut next_scan = Instant::now();
        let mut next_read = Instant::now();
        let mut next_look = Instant::now() + self.look_interval;
        // A box that knows printers begins with them: their meters matter more than what may be new, and whoever starts
        // it again each morning must not sweep the network each morning. A new one searches at once.
        let mut is_first = self.inventory.printers.is_empty();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                command = self.commands.recv() => match command {
                    None => break,
                    Some(LanCommand::Scan { task_id }) => {
                        search = self.search_now(search.take(), task_id, &stop).await?;
                        next_scan = Instant::now() + self.scan_interval;
                        next_read = Instant::now() + self.read_interval();
                    }
                    Some(LanCommand::Read { task_id, device_key }) => {
                        let outcome = self.read_one(&device_key).await?;
                        self.end_task(task_id, outcome).await;
                    }
                    Some(LanCommand::Settings(settings)) => {
                        if settings.ranges != self.settings.ranges {
                            is_first = true;
                            next_scan = Instant::now();
                        }
                        self.settings = settings;
                        next_read = next_read.min(Instant::now() + self.read_interval());
                    }
                },
                devices = take_found(search.as_mut()) => {
                    let printers = self.accept_found(devices).await?;
                    if let Some(running) = &mut search {
                        running.printers += printers;
                        self.show_search(running);
                        if running.found.is_closed() && running.found.is_empty() {
                            self.end_search(search.take()).await?;
                        }
                    }
                }
                () = tokio::time::sleep_until(next_read) => {
                    self.read_all(false, &stop).await?;
                    next_read = Instant::now() + self.read_interval();
                }
                () = tokio::time::sleep_until(next_look), if self.look_interval < self.read_interval() => {
                    self.look_at_all(&stop).await?;
                    next_look = Instant::now() + self.look_interval;
                }
                () = tokio::time::sleep_until(next_scan) => {
                    search = if std::mem::take(&mut is_first) {
                        self.search_now(search.take(), None, &stop).await?
                    } else {
                        self.search_slowly(search.take(), &stop).await?
                    };
                    next_scan = Instant::now() + self.scan_interval;
                }
            }
        }
        if let Some(search) = search {
            search.task.abort();
        }
        self.save_ledger(true)
    }

    fn read_interval(&self) -> Duration {
        match self.settings.read_interval_s {
            0 => self.own_read_interval,
            seconds => Duration::from_secs(u64::from(seconds)).clamp(READ_INTERVAL.0, READ_INTERVAL.1),
        }
    }

    async fn end_task(&self, id: String, outcome: Outcome) {
        // The receiver is gone only when the agent stops; the journal then fails the task at the next start.
        let _stopping = self.ended.send((id, outcome)).await;
    }

    fn ranges_in_force(&self) -> &[String] {
        if self.settings.ranges.is_empty() { &self.own_ranges } else { &self.settings.ranges }
    }

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
    async fn search_now(
        &mut self,
        running: Option<Search>,
        task_id: Option<String>,
        stop: &CancellationToken,
    ) -> Result<Option<Search>, AgentError> {
        let mut tasks: Vec<String> = task_id.into_iter().collect();
        if let Some(mut running) = running {
            if running.is_urgent && running.tasks.len() < WAITING_TASKS_MAX {
                running.tasks.append(&mut tasks);
                return Ok(Some(running));
            }
            tasks.extend(running.tasks.iter().cloned());
            self.break_off(running).await?;
        }
        let began = Instant::now();
        let addresses = match self.resolve().await {
            Ok(addresses) => addresses,
            Err(problem) => {
                for id in tasks {
                    self.end_task(id, Outcome::of(TaskState::Failed, problem.clone())).await;
                }
                return Ok(None);
            }
        };
        let printers = self.read_all(true, stop).await?;
        let paces = self.options.paces;
        Ok(Some(Search { tasks, printers, began, is_urgent: true, ..self.begin(&addresses, paces, stop) }))
    }

    /// Begins a search that nobody waits for, so slowly that it is noticed by nobody.
    async fn search_slowly(
        &mut self,
        running: Option<Search>,
        stop: &CancellationToken,
    ) -> Result<Option<Search>, AgentError> {
        if running.is_some() {
            tracing::warn!("the last search has not ended; the next one is left out");
            return Ok(running);
        }
        let Ok(addresses) = self.resolve().await else { return Ok(None) };
        let span = span_of_slow_search(self.scan_interval, addresses.len(), self.options.credentials.len());
        let paces = self.options.paces.no_faster_than_one_every(span);
        Ok(Some(self.begin(&addresses, paces, stop)))
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

    pub(super) fn is_answering(&self, known: &KnownPrinter) -> bool {
        self.health.get(&known.device_key).is_some_and(|health| health.has_answered && health.missed == 0)
    }

    fn show_search(&self, search: &Search) {
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
    async fn break_off(&mut self, mut search: Search) -> Result<(), AgentError> {
        search.stop.cancel();
        while let Some(device) = search.found.recv().await {
            self.accept_found(vec![device]).await?;
        }
        // It was told to end; how it did is of no interest.
        let _ended = search.task.await;
        Ok(())
    }

    /// What there is to do after a search.
    async fn end_search(&mut self, search: Option<Search>) -> Result<(), AgentError> {
        let Some(search) = search else { return Ok(()) };
        let ended = search.task.await.unwrap_or_else(|stopped| Err(ProbeError::Failed(stopped.to_string())));
        self.save_inventory().await?;
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
        Ok(())
    }

    /// Accepts what a search has found; returns how many printers there were.
    async fn accept_found(&mut self, devices: Vec<Found>) -> Result<u32, AgentError> {
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
        let printers = group.readings;
        self.accept(group).await?;
        self.show_inventory();
        Ok(printers)
    }

    /// Reads the known printers: all of them, or those that are due. Returns how many answered.
    async fn read_all(&mut self, even_if_not_due: bool, stop: &CancellationToken) -> Result<u32, AgentError> {
        let now = Instant::now();
        let is_due = |known: &&KnownPrinter| {
            let health = self.health.get(&known.device_key).copied().unwrap_or_default();
            even_if_not_due || health.not_before.is_none_or(|at| at <= now)
        };
        let (mut jobs, mut unasked) = (Vec::new(), Vec::new());
        for known in self.inventory.printers.iter().filter(is_due) {
            match self.job(known) {
                Some(job) => jobs.push(job),
                None => unasked.push(known.device_key.clone()),
            }
        }
        unasked.into_iter().for_each(|key| self.missed(key));
        if jobs.is_empty() {
            return Ok(0);
        }
        let before = self.status.borrow().lan.activity.clone();
        self.status.send_modify(|status| status.lan.activity = Some("reading".to_owned()));
        let (client, options) = (self.client.clone(), self.options.clone());
        let jobs = jobs.into_iter().map(|(key, target, candidates)| {
            let memory = self.memories.of(target, now);
            (key, target, candidates, memory)
        });
        let jobs: Vec<_> = jobs.collect();
        let mut readings = futures_util::stream::iter(jobs)
            .map(|(key, target, candidates, memory)| {
                let (client, options) = (&client, &options);
                async move { (key, read_with(client, target, &candidates, options, memory.as_deref()).await) }
            })
            .buffer_unordered(READ_AT_ONCE)
            .ready_chunks(ACCEPT_AT_ONCE);
        let mut answering = 0;
        loop {
            let chunk = tokio::select! {
                () = stop.cancelled() => break,
                chunk = readings.next() => chunk,
            };
            let Some(chunk) = chunk else { break };
            let mut group = Group::default();
            for (key, mut found) in chunk {
                self.keep_memory(&mut found);
                match found.reading {
                    Ok(reading) if reading.is_printer => {
                        self.take_in(found.target, found.credentials_index, reading, &mut group);
                        continue;
                    }
                    Ok(_) => tracing::info!(target = %found.target, "no longer a printer"),
                    Err(error) => tracing::info!(target = %found.target, %error, "printer not read"),
                }
                self.missed(key);
            }
            answering += group.readings;
            self.accept(group).await?;
        }
        drop(readings);
        self.save_inventory().await?;
        self.show_inventory();
        self.status.send_modify(|status| status.lan.activity = before);
        Ok(answering)
    }

    /// Keeps what makes the next reading short. A printer that did not answer is as it was.
    fn keep_memory(&mut self, found: &mut Found) {
        if found.reading.is_ok() {
            self.memories.keep(found.target, found.memory.take(), Instant::now());
        }
    }

    /// A printer has missed a round: after three of them it is asked less and less often, down to once an hour.
    fn missed(&mut self, device_key: String) {
        let interval = self.read_interval();
        let health = self.health.entry(device_key).or_default();
        health.missed = health.missed.saturating_add(1);
        health.not_before = rest_of_silent(health.missed, interval).map(|rest| Instant::now() + rest);
    }

    pub(super) async fn read_one(&mut self, device_key: &str) -> Result<Outcome, AgentError> {
        let known = self.inventory.printers.iter().find(|known| known.device_key == device_key);
        let Some((_, target, candidates)) = known.and_then(|known| self.job(known)) else {
            return Ok(Outcome::of(TaskState::Refused, "this box does not know such a printer within its fence"));
        };
        let memory = self.memories.of(target, Instant::now());
        let mut found = read_with(&self.client, target, &candidates, &self.options, memory.as_deref()).await;
        self.keep_memory(&mut found);
        match found.reading {
            Ok(reading) if reading.is_printer => {
                let mut group = Group::default();
                if !self.take_in(target, found.credentials_index, reading, &mut group) {
                    let message = "it answers by a less safe version of SNMP than before, and is not read so";
                    return Ok(Outcome::of(TaskState::Failed, message));
                }
                self.accept(group).await?;
                self.save_inventory().await?;
                Ok(Outcome { printers_read: 1, addresses_asked: 1, ..Outcome::of(TaskState::Done, "read") })
            }
            Ok(_) => Ok(Outcome::of(TaskState::Failed, "what answers there is not a printer any more")),
            Err(error) => Ok(Outcome::of(TaskState::Failed, error.to_string())),
        }
    }

    /// How a known printer is read; nothing for one that no longer lies within the fence, or behind an interface that is
    /// not there any more.
    pub(super) fn job(&self, known: &KnownPrinter) -> Option<(String, SocketAddr, Vec<usize>)> {
        let address: ScopedIp = match known.address.parse() {
            Ok(address) => address,
            Err(error) => {
                tracing::warn!(printer = known.device_key, %error, "a known printer cannot be asked");
                return None;
            }
        };
        let candidates = candidates_for(&self.options.credentials, &known.credentials);
        self.fence.allows(address).then(|| (known.device_key.clone(), address.with_port(known.port), candidates))
    }

    pub(super) fn taken(&self) -> v1::Taken {
        v1::Taken {
            boot_id: self.boot.boot_id.clone(),
            monotonic_ms: self.clock.monotonic_ms(),
            wall_clock_unix_ms: self.clock.wall_unix_ms(),
            ..v1::Taken::default()
        }
    }

    /// Adds a reading, and the events that follow from it, to a group that is accepted together. Returns whether it was taken.
    fn take_in(&mut self, target: SocketAddr, credentials_index: usize, reading: Reading, group: &mut Group) -> bool {
        let taken = self.taken();
        let rules = Rules::for_interval(self.read_interval());
        let told = self.ledger.judge(&reading, &self.options.read.profiles, moment(&taken), &rules);
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
        let device_key = device_key.to_owned();
        let before = self.inventory.printers.iter().find(|known| known.device_key == device_key);
        if before.is_some_and(|known| is_downgrade(credentials, &known.credentials, credentials_index)) {
            let error = format!(
                "{}: {device_key} was read by SNMPv3 before and answers by an older version now; it is not read so. If that \
                 is meant, take the SNMPv3 users out of the configuration",
                ScopedIp::from(target)
            );
            tracing::warn!(%error, "no downgrade");
            self.status.send_modify(|status| status.lan.last_error = Some(error));
            return false;
        }
        let known = KnownPrinter {
            credentials: label_of(credentials, credentials_index),
            address: ScopedIp::from(target).to_string(),
            port: target.port(),
            last_seen_unix_ms: self.clock.wall_unix_ms(),
            device_key: device_key.clone(),
        };
        match self.inventory.remember(known) {
            Ok(()) => {
                let health = Health { missed: 0, has_answered: true, not_before: None };
                self.health.insert(device_key, health);
            }
            Err(error) => tracing::warn!(%error, "the printer is read and not remembered"),
        }
        true
    }

    pub(super) async fn accept(&mut self, mut group: Group) -> Result<(), AgentError> {
        if group.records.is_empty() {
            return Ok(());
        }
        match self.outbox.append(std::mem::take(&mut group.records)).await {
            Ok(_) => Ok(()),
            // Full is said, and nothing is accepted until the cloud has taken some; nothing accepted is lost.
            Err(error @ StoreError::Full { .. }) => {
                tracing::error!(%error, "readings are not accepted");
                self.ledger.undo(group);
                self.status.send_modify(|status| status.lan.last_error = Some(error.to_string()));
                Ok(())
            }
            Err(error) => Err(AgentError::Store(error)),
        }
    }

    async fn save_inventory(&mut self) -> Result<(), AgentError> {
        let (inventory, file) = (self.inventory.clone(), self.inventory_file.clone());
        let keys: HashSet<&str> = inventory.printers.iter().map(|known| known.device_key.as_str()).collect();
        self.health.retain(|key, _| keys.contains(key.as_str()));
        let (engines, engine_file, clock) = (self.client.known_engines(), self.engine_file.clone(), self.clock.clone());
        let has_new_engines = engines.len() != self.engines_kept;
        self.engines_kept = engines.len();
        let saved = tokio::task::spawn_blocking(move || {
            // The clocks in it are carried on; only other engines are worth a write.
            if has_new_engines && let Err(error) = engine_file.save(engines, &clock) {
                tracing::warn!(%error, "SNMPv3 engines are not kept");
            }
            inventory.save(&SystemFs, &file)
        })
        .await;
        saved.map_err(|e| AgentError::Part { name: "inventory", cause: e.to_string() })?.map_err(AgentError::Store)?;
        self.save_ledger(false)
    }

    pub(super) fn save_ledger(&mut self, is_the_end: bool) -> Result<(), AgentError> {
        let now_ms = self.clock.monotonic_ms();
        // A megabyte at most sites, and only after an event or twice an hour: not worth a thread.
        self.ledger.save(now_ms, is_the_end).map_err(AgentError::Ledger)
    }

    fn show_inventory(&self) {
        let known = count(self.inventory.printers.len());
        let answering = count(self.inventory.printers.iter().filter(|known| self.is_answering(known)).count());
        let (ranges, snmp) = (self.ranges_in_force().to_vec(), self.client.statistics());
        self.status.send_modify(|status| {
            status.lan.snmp = snmp;
            status.lan.printers_known = known;
            status.lan.printers_answering = answering;
            status.lan.ranges = ranges;
        });
    }
}

/// What a search has found since it was last asked; nothing at all, for ever, when there is no search.
async fn take_found(search: Option<&mut Search>) -> Vec<Found> {
    let Some(search) = search else { return std::future::pending().await };
    let mut devices = Vec::with_capacity(ACCEPT_AT_ONCE);
    search.found.recv_many(&mut devices, ACCEPT_AT_ONCE).await;
    devices
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
