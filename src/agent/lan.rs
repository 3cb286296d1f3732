//! The part that talks with printers: it searches the ranges, reads the printers it knows, and accepts every reading
//! into the outbox before anybody is told of it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::StreamExt;
use prost::Message;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::convert::to_message;
use super::outbox::SharedOutbox;
use super::search::{Found, SearchOptions, SearchProgress, read_device, search};
use super::settings::CloudSettings;
use super::status::Status;
use super::tasks::Outcome;
use super::{AgentError, BootFacts};
use crate::discovery::{AddressSet, DnsResolver, Fence, Ranges};
use crate::printer::Reading;
use crate::proto::v1::{self, TaskState};
use crate::snmp::Client;
use crate::store::{Inventory, KnownPrinter, StoreError};
use crate::sys::{Clock, SystemFs};

/// Printers read at once; the engine's window bounds the packets.
const READ_AT_ONCE: usize = 16;
/// Readings accepted with one fsync at most.
const ACCEPT_AT_ONCE: usize = 32;
/// The cloud may set the time between readings within these bounds.
const READ_INTERVAL: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(86_400));

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
}

impl<C: Clock + Clone> Lan<C> {
    /// Reads printers until `stop`.
    ///
    /// # Errors
    /// When readings cannot be accepted because the disk fails. Silent printers are no error.
    pub(super) async fn run(mut self, stop: CancellationToken) -> Result<(), AgentError> {
        self.show_inventory();
        let mut next_scan = Instant::now();
        let mut next_read = Instant::now() + self.read_interval();
        if !self.inventory.printers.is_empty() {
            // Known printers are read first: their meters matter more than what may be new.
            self.read_all(&stop).await?;
        }
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                command = self.commands.recv() => match command {
                    None => return Ok(()),
                    Some(LanCommand::Scan { task_id }) => {
                        let outcome = self.scan(&stop).await?;
                        next_scan = Instant::now() + self.scan_interval;
                        next_read = Instant::now() + self.read_interval();
                        self.end_task(task_id, outcome).await;
                    }
                    Some(LanCommand::Read { task_id, device_key }) => {
                        let outcome = self.read_one(&device_key).await?;
                        self.end_task(Some(task_id), outcome).await;
                    }
                    Some(LanCommand::Settings(settings)) => {
                        if settings.ranges != self.settings.ranges {
                            next_scan = Instant::now();
                        }
                        self.settings = settings;
                        next_read = next_read.min(Instant::now() + self.read_interval());
                    }
                },
                () = tokio::time::sleep_until(next_scan) => {
                    let outcome = self.scan(&stop).await?;
                    tracing::info!(outcome = %outcome.message, "search ended");
                    next_scan = Instant::now() + self.scan_interval;
                    next_read = Instant::now() + self.read_interval();
                }
                () = tokio::time::sleep_until(next_read) => {
                    self.read_all(&stop).await?;
                    next_read = Instant::now() + self.read_interval();
                }
            }
        }
    }

    fn read_interval(&self) -> Duration {
        match self.settings.read_interval_s {
            0 => self.own_read_interval,
            seconds => Duration::from_secs(u64::from(seconds)).clamp(READ_INTERVAL.0, READ_INTERVAL.1),
        }
    }

    async fn end_task(&self, task_id: Option<String>, outcome: Outcome) {
        if let Some(id) = task_id {
            // The receiver is gone only when the agent stops; the journal then fails the task at the next start.
            let _stopping = self.ended.send((id, outcome)).await;
        }
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

    async fn scan(&mut self, stop: &CancellationToken) -> Result<Outcome, AgentError> {
        let began = Instant::now();
        let ranges = self.ranges_in_force().to_vec();
        self.status.send_modify(|status| {
            status.lan.ranges = ranges;
            status.lan.activity = Some("searching".to_owned());
        });
        let outcome = match self.addresses().await {
            Err(problem) => {
                tracing::warn!(%problem, "the ranges cannot be searched");
                self.status.send_modify(|status| status.lan.last_error = Some(problem.clone()));
                Outcome::of(TaskState::Failed, problem)
            }
            Ok(addresses) => self.search(&addresses, began, stop).await?,
        };
        let now = self.clock.wall_unix_ms();
        self.status.send_modify(|status| {
            status.lan.activity = None;
            status.lan.last_scan_unix_ms = Some(now);
        });
        Ok(outcome)
    }

    async fn search(
        &mut self,
        addresses: &AddressSet,
        began: Instant,
        stop: &CancellationToken,
    ) -> Result<Outcome, AgentError> {
        let (progress, _) = watch::channel(SearchProgress::default());
        let (found, receiver) = mpsc::channel(ACCEPT_AT_ONCE);
        let (client, fence, options) = (self.client.clone(), self.fence.clone(), self.options.clone());
        // Printers are accepted as they are found: a wide range takes minutes, and the first of them is wanted at once.
        let (searched, taken) = tokio::join!(
            search(&client, &fence, addresses, &options, found, &progress, stop),
            self.take_found(receiver),
        );
        let printers_read = taken?;
        if let Err(error) = searched {
            return Ok(Outcome::of(TaskState::Failed, error.to_string()));
        }
        self.save_inventory().await?;
        self.show_inventory();
        self.status.send_modify(|status| {
            status.lan.printers_answering = printers_read;
            status.lan.last_error = None;
        });
        let asked = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
        Ok(Outcome {
            state: TaskState::Done,
            message: format!(
                "{printers_read} printers read, {asked} addresses asked, {:.1} s",
                began.elapsed().as_secs_f64()
            ),
            addresses_asked: asked,
            printers_read,
        })
    }

    /// Accepts what a search finds, in groups; returns how many printers there were.
    async fn take_found(&mut self, mut found: mpsc::Receiver<Found>) -> Result<u32, AgentError> {
        let mut printers = 0;
        let mut devices = Vec::with_capacity(ACCEPT_AT_ONCE);
        while found.recv_many(&mut devices, ACCEPT_AT_ONCE).await > 0 {
            let mut group = Vec::new();
            for Found { target, credentials_index, reading } in devices.drain(..) {
                match reading {
                    Ok(reading) if reading.is_printer => {
                        self.remember(target, credentials_index, &reading);
                        group.push(reading);
                    }
                    Ok(_) => {}
                    Err(error) => tracing::info!(%target, %error, "a device answered and then could not be read"),
                }
            }
            printers += count(group.len());
            self.accept(group).await?;
            self.show_inventory();
        }
        Ok(printers)
    }

    async fn read_all(&mut self, stop: &CancellationToken) -> Result<(), AgentError> {
        self.status.send_modify(|status| status.lan.activity = Some("reading".to_owned()));
        let jobs: Vec<_> = self.inventory.printers.iter().filter_map(|known| self.job(known)).collect();
        let (client, timing) = (self.client.clone(), self.options.timing);
        let mut readings = futures_util::stream::iter(jobs)
            .map(|(target, index, credentials)| {
                let client = client.clone();
                async move { (target, index, read_device(&client, target, credentials, timing).await) }
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
            let mut group = Vec::new();
            for (target, index, reading) in chunk {
                match reading {
                    Ok(reading) if reading.is_printer => {
                        self.remember(target, index, &reading);
                        group.push(reading);
                    }
                    Ok(_) => tracing::info!(%target, "no longer a printer"),
                    Err(error) => tracing::info!(%target, %error, "printer not read"),
                }
            }
            answering += count(group.len());
            self.accept(group).await?;
        }
        drop(readings);
        self.save_inventory().await?;
        self.show_inventory();
        self.status.send_modify(|status| {
            status.lan.activity = None;
            status.lan.printers_answering = answering;
        });
        Ok(())
    }

    async fn read_one(&mut self, device_key: &str) -> Result<Outcome, AgentError> {
        let known = self.inventory.printers.iter().find(|known| known.device_key == device_key);
        let Some((target, index, credentials)) = known.and_then(|known| self.job(known)) else {
            return Ok(Outcome::of(TaskState::Refused, "this box does not know such a printer within its fence"));
        };
        match read_device(&self.client, target, credentials, self.options.timing).await {
            Ok(reading) if reading.is_printer => {
                self.remember(target, index, &reading);
                self.accept(vec![reading]).await?;
                self.save_inventory().await?;
                Ok(Outcome { printers_read: 1, addresses_asked: 1, ..Outcome::of(TaskState::Done, "read") })
            }
            Ok(_) => Ok(Outcome::of(TaskState::Failed, "what answers there is not a printer any more")),
            Err(error) => Ok(Outcome::of(TaskState::Failed, error.to_string())),
        }
    }

    /// How a known printer is read; nothing for one that no longer lies within the fence.
    fn job(&self, known: &KnownPrinter) -> Option<(SocketAddr, usize, crate::snmp::Credentials)> {
        let ip = known.address.parse().ok()?;
        let index = known.credentials_index;
        let credentials = self.options.credentials.get(index).or(self.options.credentials.first())?.clone();
        self.fence.allows(ip).then(|| (SocketAddr::new(ip, known.port), index, credentials))
    }

    fn remember(&mut self, target: SocketAddr, credentials_index: usize, reading: &Reading) {
        let known = KnownPrinter {
            device_key: reading.device_key(),
            address: target.ip().to_string(),
            port: target.port(),
            credentials_index,
            last_seen_unix_ms: self.clock.wall_unix_ms(),
        };
        if let Err(error) = self.inventory.remember(known) {
            tracing::warn!(%error, "the printer is read and not remembered");
        }
    }

    async fn accept(&self, readings: Vec<Reading>) -> Result<(), AgentError> {
        if readings.is_empty() {
            return Ok(());
        }
        let payloads = readings
            .into_iter()
            .map(|reading| {
                let taken = v1::Taken {
                    boot_id: self.boot.boot_id.clone(),
                    monotonic_ms: self.clock.monotonic_ms(),
                    wall_clock_unix_ms: self.clock.wall_unix_ms(),
                };
                to_message(reading, taken).encode_to_vec()
            })
            .collect();
        match self.outbox.append(payloads).await {
            Ok(_) => Ok(()),
            // Full is said, and readings are not accepted until the cloud has taken some; nothing accepted is lost.
            Err(error @ StoreError::Full { .. }) => {
                tracing::error!(%error, "readings are not accepted");
                self.status.send_modify(|status| status.lan.last_error = Some(error.to_string()));
                Ok(())
            }
            Err(error) => Err(AgentError::Store(error)),
        }
    }

    async fn save_inventory(&self) -> Result<(), AgentError> {
        let (inventory, file) = (self.inventory.clone(), self.inventory_file.clone());
        let saved = tokio::task::spawn_blocking(move || inventory.save(&SystemFs, &file)).await;
        saved.map_err(|e| AgentError::Part { name: "inventory", cause: e.to_string() })?.map_err(AgentError::Store)
    }

    fn show_inventory(&self) {
        let known = count(self.inventory.printers.len());
        let ranges = self.ranges_in_force().to_vec();
        self.status.send_modify(|status| {
            status.lan.printers_known = known;
            status.lan.ranges = ranges;
        });
    }
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
