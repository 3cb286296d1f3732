//! The part that talks with printers: it searches the ranges, reads the printers it knows, and accepts every reading
//! into the outbox before anybody is told of it. A search goes on beside the reading of known printers, which comes first.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::credentials::candidates_for;
use super::engines::EngineFile;
use super::keeping::InventoryKept;
use super::ledger::{Group, Ledger};
use super::memories::Memories;
use super::outbox::SharedOutbox;
use super::rhythm::until_time_of_day;
use super::search::{SearchOptions, read_with};
use super::searching::{Search, take_found};
use super::settings::CloudSettings;
use super::silent::{Displaced, answers_pings, trouble_of};
use super::standby::Standby;
use super::status::Status;
use super::tasks::Outcome;
use super::{AgentError, BootFacts};
use crate::cause::{Cause, Trouble};
use crate::discovery::{Fence, ScopedIp};
use crate::proto::v1::TaskState;
use crate::snmp::Client;
use crate::store::{Inventory, KnownPrinter};
use crate::sys::Clock;

/// Printers read at once; the engine's window bounds the packets.
pub(super) const READ_AT_ONCE: usize = 64;
/// Readings accepted with one fsync at most.
pub(super) const ACCEPT_AT_ONCE: usize = 32;
/// The cloud may set the time between readings within these bounds.
const READ_INTERVAL: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(86_400));
/// And the time between light looks.
const LOOK_INTERVAL: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(86_400));
/// Missed rounds after which a silent printer is pinged as well, to tell a printer without SNMP from one that is not there.
const PING_AFTER_MISSED: u32 = 2;

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
    /// Between two light looks at a printer, until the cloud says otherwise.
    pub own_look_interval: Duration,
    /// Where SNMPv3 engines are kept, and how many were last.
    pub engine_file: EngineFile,
    pub engines_kept: usize,
    /// What of the inventory is on the disk.
    pub inventory_kept: InventoryKept,
    /// Whom another box of the site reads.
    pub standby: watch::Receiver<Standby>,
    /// Who lost an address to somebody else.
    pub displaced: Displaced,
}

/// How a printer has answered since the agent started.
#[derive(Debug, Default, Clone)]
pub(super) struct Health {
    /// Rounds that it has missed since it answered last.
    pub missed: u32,
    /// Why it missed the last one.
    pub trouble: Option<Trouble>,
    /// Whether it has answered at all.
    has_answered: bool,
    /// Not asked before.
    pub not_before: Option<Instant>,
}

impl Health {
    /// It has just answered.
    pub fn answered() -> Self {
        Self { has_answered: true, ..Self::default() }
    }
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
        let mut next_look = Instant::now() + self.look_interval();
        // A box that knows printers begins with them: their meters matter more than what may be new, and whoever starts
        // it again each morning must not sweep the network each morning. A new one searches at once.
        let mut is_first = self.inventory.printers.is_empty();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                command = self.commands.recv() => match command {
                    None => break,
                    Some(LanCommand::Scan { task_id }) => {
                        search = self.search_now(search.take(), task_id, &stop).await;
                        next_scan = Instant::now() + self.scan_interval;
                        next_read = Instant::now() + self.until_next_read();
                    }
                    Some(LanCommand::Read { task_id, device_key }) => {
                        let outcome = self.read_one(&device_key).await;
                        self.end_task(task_id, outcome).await;
                    }
                    Some(LanCommand::Settings(settings)) => {
                        if settings.ranges != self.settings.ranges {
                            is_first = true;
                            next_scan = Instant::now();
                        }
                        self.settings = settings;
                        next_read = next_read.min(Instant::now() + self.until_next_read());
                    }
                },
                devices = take_found(search.as_mut()) => {
                    let printers = self.accept_found(devices).await;
                    if let Some(running) = &mut search {
                        running.printers += printers;
                        self.show_search(running);
                        if running.found.is_closed() && running.found.is_empty() {
                            self.end_search(search.take()).await;
                        }
                    }
                }
                () = tokio::time::sleep_until(next_read) => {
                    self.read_all(false, &stop).await;
                    next_read = Instant::now() + self.until_next_read();
                }
                () = tokio::time::sleep_until(next_look), if self.look_interval() < self.read_interval() => {
                    self.look_at_all(&stop).await;
                    next_look = Instant::now() + self.look_interval();
                }
                () = tokio::time::sleep_until(next_scan) => {
                    search = if std::mem::take(&mut is_first) {
                        self.search_now(search.take(), None, &stop).await
                    } else {
                        self.search_slowly(search.take(), &stop).await
                    };
                    next_scan = Instant::now() + self.scan_interval;
                }
            }
        }
        if let Some(search) = search {
            search.task.abort();
        }
        self.save_ledger(true);
        Ok(())
    }

    /// Time until the printers are read again: an interval, or less where a time of the day comes before.
    fn until_next_read(&self) -> Duration {
        let by_day = until_time_of_day(self.clock.wall_unix_ms(), &self.settings.read_times_utc);
        by_day.map_or(self.read_interval(), |until| until.min(self.read_interval()))
    }

    fn look_interval(&self) -> Duration {
        match self.settings.look_interval_s {
            0 => self.own_look_interval,
            seconds => Duration::from_secs(u64::from(seconds)).clamp(LOOK_INTERVAL.0, LOOK_INTERVAL.1),
        }
    }

    pub(super) fn read_interval(&self) -> Duration {
        match self.settings.read_interval_s {
            0 => self.own_read_interval,
            seconds => Duration::from_secs(u64::from(seconds)).clamp(READ_INTERVAL.0, READ_INTERVAL.1),
        }
    }

    pub(super) async fn end_task(&self, id: String, outcome: Outcome) {
        // The receiver is gone only when the agent stops; the journal then fails the task at the next start.
        let _stopping = self.ended.send((id, outcome)).await;
    }

    pub(super) fn ranges_in_force(&self) -> &[String] {
        if self.settings.ranges.is_empty() { &self.own_ranges } else { &self.settings.ranges }
    }

    pub(super) fn is_answering(&self, known: &KnownPrinter) -> bool {
        self.health.get(&known.device_key).is_some_and(|health| health.has_answered && health.missed == 0)
    }

    /// Reads the known printers: all of them, or those that are due. Returns how many answered.
    pub(super) async fn read_all(&mut self, even_if_not_due: bool, stop: &CancellationToken) -> u32 {
        let now = Instant::now();
        let standby = self.standby.borrow().clone();
        let is_due = |known: &&KnownPrinter| {
            let not_before = self.health.get(&known.device_key).and_then(|health| health.not_before);
            (even_if_not_due || not_before.is_none_or(|at| at <= now)) && !standby.covers(&known.device_key)
        };
        let (mut jobs, mut unasked) = (Vec::new(), Vec::new());
        for known in self.inventory.printers.iter().filter(is_due) {
            match self.job(known) {
                Some(job) => jobs.push(job),
                None => unasked.push((known.device_key.clone(), Trouble::new(Cause::OutsideFence, &known.address))),
            }
        }
        unasked.into_iter().for_each(|(key, trouble)| self.missed(key, trouble));
        if jobs.is_empty() {
            self.show_inventory();
            return 0;
        }
        let before = self.status.borrow().lan.activity.clone();
        self.status.send_modify(|status| status.lan.activity = Some("reading".to_owned()));
        let (client, options, fence) = (self.client.clone(), self.options.clone(), self.fence.clone());
        let jobs = jobs.into_iter().map(|(key, target, candidates)| {
            let memory = self.memories.of(target, now);
            let pings = self.health.get(&key).is_some_and(|health| health.missed >= PING_AFTER_MISSED);
            (key, target, candidates, memory, pings)
        });
        let jobs: Vec<_> = jobs.collect();
        let mut readings = futures_util::stream::iter(jobs)
            .map(|(key, target, candidates, memory, pings)| {
                let (client, options, fence) = (&client, &options, &fence);
                async move {
                    let found = read_with(client, target, &candidates, options, memory.as_deref()).await;
                    let is_silent = matches!(&found.reading, Err(error) if trouble_of(error).cause == Cause::Silent);
                    (key, found, pings && is_silent && answers_pings(ScopedIp::from(target), fence).await)
                }
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
            for (key, mut found, answers_pings) in chunk {
                self.keep_memory(&mut found);
                let trouble = match found.reading {
                    Ok(reading) if reading.is_printer => {
                        self.take_in(found.target, found.credentials_index, reading, &mut group);
                        continue;
                    }
                    Ok(_) => Trouble::new(Cause::NotAPrinter, &ScopedIp::from(found.target).to_string()),
                    Err(_) if answers_pings => Trouble::new(Cause::PingOnly, &ScopedIp::from(found.target).to_string()),
                    Err(error) => trouble_of(&error),
                };
                tracing::info!(target = %found.target, %trouble, "printer not read");
                self.missed(key, trouble);
            }
            let readings = group.readings;
            if self.accept(group).await.is_ok() {
                answering += readings;
            }
        }
        drop(readings);
        self.save_inventory().await;
        self.show_inventory();
        self.status.send_modify(|status| status.lan.activity = before);
        answering
    }

    pub(super) async fn read_one(&mut self, device_key: &str) -> Outcome {
        let known = self.inventory.printers.iter().find(|known| known.device_key == device_key);
        let Some((_, target, candidates)) = known.and_then(|known| self.job(known)) else {
            return Outcome::of(TaskState::Refused, "this box does not know such a printer within its fence");
        };
        let memory = self.memories.of(target, Instant::now());
        let mut found = read_with(&self.client, target, &candidates, &self.options, memory.as_deref()).await;
        self.keep_memory(&mut found);
        match found.reading {
            Ok(reading) if reading.is_printer => {
                let mut group = Group::default();
                if !self.take_in(target, found.credentials_index, reading, &mut group) {
                    let message = "it answers by a less safe version of SNMP than before, and is not read so";
                    return Outcome::of(TaskState::Failed, message);
                }
                if let Err(error) = self.accept(group).await {
                    return Outcome::of(TaskState::Failed, format!("it was read, and that cannot be kept: {error}"));
                }
                self.save_inventory().await;
                Outcome { printers_read: 1, addresses_asked: 1, ..Outcome::of(TaskState::Done, "read") }
            }
            Ok(_) => Outcome::of(TaskState::Failed, "what answers there is not a printer any more"),
            Err(error) => Outcome::of(TaskState::Failed, error.to_string()),
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
}
