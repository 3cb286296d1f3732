//! The conversation with the cloud, in rounds: poll, begin what is asked, deliver what waits, report what ended.
//! A round starts when its time has come, when a wake-up arrives, or when new readings were accepted.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::lan::LanCommand;
use super::outbox::SharedOutbox;
use super::settings::CloudSettings;
use super::status::Status;
use super::tasks::{Decision, Outcome, TaskJournal, ping_task};
use super::{AgentError, BootFacts};
use crate::discovery::Fence;
use crate::proto::v1::{self, TaskState, task::Kind};
use crate::store::{Seq, StoreError};
use crate::sys::Clock;
use crate::uplink::{Backoff, Cloud, LinkState, Session, UplinkError, upload_batch};

/// The cloud may set the time between polls within these bounds.
const POLL_INTERVAL: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(3_600));
/// Waits between rounds that fail.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// Readings in a batch, and their bytes: the contract's limits.
const BATCH_MAX_COUNT: usize = 500;
const BATCH_MAX_BYTES: usize = 512 * 1024;
/// Batches in one round, so that a long backlog does not keep the box from polling.
const BATCHES_MAX: usize = 64;
/// Pings under way at once.
const PINGS_MAX: usize = 4;
/// Readings are delivered this long after the first of a group was accepted, so that a round of readings goes together.
const GATHER: Duration = Duration::from_millis(500);

/// What this part is made of.
pub(super) struct CloudLink<C, L> {
    pub cloud: L,
    pub clock: C,
    pub boot: BootFacts,
    pub poll_interval: Duration,
    pub outbox: SharedOutbox,
    pub journal: TaskJournal,
    pub settings: CloudSettings,
    pub status: watch::Sender<Status>,
    /// Wake-ups of the MQTT link.
    pub wake: mpsc::Receiver<()>,
    pub link_state: watch::Receiver<LinkState>,
    /// To the part that talks with printers, and ends of tasks from it.
    pub lan: mpsc::Sender<LanCommand>,
    pub ended: mpsc::Receiver<(String, Outcome)>,
    /// What pings may reach, and those under way: they wait for no search.
    pub fence: Fence,
    pub pings: JoinSet<(String, Outcome)>,
}

impl<C: Clock, L: Cloud> CloudLink<C, L> {
    /// Talks with the cloud until `stop`.
    ///
    /// # Errors
    /// When the box cannot write down what it must remember. A cloud that cannot be reached is no error here.
    pub(super) async fn run(mut self, stop: CancellationToken) -> Result<(), AgentError> {
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        let mut level = self.outbox.level();
        let mut next_round = Instant::now();
        let mut failing = false;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                Some((id, outcome)) = self.ended.recv() => {
                    self.journal.end(&id, &outcome)?;
                    if !failing {
                        next_round = Instant::now();
                    }
                    continue;
                }
                Some(Ok((id, outcome))) = self.pings.join_next() => {
                    self.journal.end(&id, &outcome)?;
                    if !failing {
                        next_round = Instant::now();
                    }
                    continue;
                }
                Some(()) = self.wake.recv() => {}
                Ok(()) = level.changed() => {
                    let pending = level.borrow_and_update().pending;
                    self.status.send_modify(|status| status.outbox = level.borrow().clone());
                    if pending > 0 && !failing {
                        next_round = next_round.min(Instant::now() + GATHER);
                    }
                    continue;
                }
                () = tokio::time::sleep_until(next_round) => {}
            }
            let round = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                round = self.round() => round,
            };
            next_round = Instant::now()
                + match round {
                    Ok(()) => {
                        backoff.reset();
                        failing = false;
                        self.poll_interval.mul_f64(0.9 + 0.2 * fastrand::f64())
                    }
                    Err(RoundError::Uplink(error)) => {
                        let wait = backoff.next(fastrand::f64()).max(Duration::from_millis(200));
                        failing = true;
                        tracing::warn!(%error, retry_in_ms = wait.as_millis(), "the cloud was not reached");
                        self.status.send_modify(|status| status.cloud.last_error = Some(error.to_string()));
                        wait
                    }
                    Err(RoundError::Agent(error)) => return Err(error),
                };
        }
    }

    async fn round(&mut self) -> Result<(), RoundError> {
        let mut session = self.cloud.open().await?;
        let request = v1::PollRequest { status: Some(self.box_status()), silent: Vec::new() };
        let reply = session.poll(request).await?;
        self.take_poll_reply(reply)?;
        self.deliver(&mut session).await?;
        for report in self.journal.unreported() {
            session.report_task(report.clone()).await?;
            self.journal.reported(&report).map_err(AgentError::Journal)?;
        }
        let now = self.clock.wall_unix_ms();
        self.status.send_modify(|status| {
            status.cloud.last_contact_unix_ms = Some(now);
            status.cloud.last_error = None;
        });
        Ok(())
    }

    fn box_status(&self) -> v1::BoxStatus {
        let status = self.status.borrow();
        let level = self.outbox.level().borrow().clone();
        v1::BoxStatus {
            firmware_version: status.firmware_version.clone(),
            boot_id: self.boot.boot_id.clone(),
            uptime_ms: self.clock.monotonic_ms(),
            wall_clock_unix_ms: self.clock.wall_unix_ms(),
            config_revision: self.settings.revision,
            outbox_epoch: level.epoch,
            outbox_pending: level.pending,
            outbox_last_seq: level.last_seq,
            printers_known: status.lan.printers_known,
            printers_answering: status.lan.printers_answering,
            wake_link_up: *self.link_state.borrow() == LinkState::Up,
            fence: status.lan.fence.clone(),
            ..v1::BoxStatus::default()
        }
    }

    fn take_poll_reply(&mut self, reply: v1::PollReply) -> Result<(), RoundError> {
        if reply.next_poll_s > 0 {
            let asked = Duration::from_secs(u64::from(reply.next_poll_s));
            self.poll_interval = asked.clamp(POLL_INTERVAL.0, POLL_INTERVAL.1);
        }
        if let Some(config) = reply.config {
            self.settings.take(config).map_err(AgentError::Settings)?;
            self.command(LanCommand::Settings(self.settings.clone()));
        }
        for task in reply.tasks {
            if self.journal.decide(&task, reply.server_time_unix_ms).map_err(AgentError::Journal)? == Decision::Begin {
                tracing::info!(task = %task.id.escape_debug(), "task begins");
                self.begin(task)?;
            }
        }
        Ok(())
    }

    fn begin(&mut self, task: v1::Task) -> Result<(), RoundError> {
        let refused = match task.kind {
            Some(Kind::ScanNow(_)) => self.command(LanCommand::Scan { task_id: Some(task.id.clone()) }),
            Some(Kind::ReadDevice(read)) => {
                self.command(LanCommand::Read { task_id: task.id.clone(), device_key: read.device_key })
            }
            Some(Kind::Ping(_)) if self.pings.len() >= PINGS_MAX => true,
            Some(Kind::Ping(asked)) => {
                let fence = self.fence.clone();
                self.pings.spawn(async move { (task.id, ping_task(&asked, &fence).await) });
                return Ok(());
            }
            Some(Kind::Locate(_)) => {
                let outcome = Outcome::of(TaskState::Unsupported, "this box has no LED");
                self.journal.end(&task.id, &outcome).map_err(AgentError::Journal)?;
                return Ok(());
            }
            None => return Ok(()),
        };
        if refused {
            let outcome = Outcome::of(TaskState::Failed, "the box is busy with earlier tasks: try again");
            self.journal.end(&task.id, &outcome).map_err(AgentError::Journal)?;
        }
        Ok(())
    }

    /// Says whether there was no room for the command.
    fn command(&self, command: LanCommand) -> bool {
        self.lan.try_send(command).is_err()
    }

    async fn deliver(&self, session: &mut L::Session) -> Result<(), RoundError> {
        for _ in 0..BATCHES_MAX {
            let batch = self.outbox.next_batch(BATCH_MAX_COUNT, BATCH_MAX_BYTES).await.map_err(AgentError::Store)?;
            let Some(batch) = batch else { break };
            // The epoch is the batch's own: after damage, what precedes it goes under its old epoch.
            let (epoch, last) = (batch.epoch, batch.last_seq());
            let ack = session.upload(upload_batch(batch)).await?;
            let acknowledged = Seq(ack.contiguous_seq);
            if ack.epoch != epoch.0 {
                let detail = format!("it acknowledged epoch {:016x} where {epoch} was sent", ack.epoch);
                return Err(UplinkError::Contract(detail).into());
            }
            match self.outbox.acknowledge(epoch, acknowledged, self.clock.wall_unix_ms() / 1_000).await {
                Ok(_) => {}
                // Nothing was changed by it; the readings stay, and are sent again when the cloud has come to its senses.
                Err(error @ (StoreError::AcknowledgedTooMuch { .. } | StoreError::UnknownEpoch(_))) => {
                    return Err(UplinkError::Contract(error.to_string()).into());
                }
                Err(error) => return Err(AgentError::Store(error).into()),
            }
            if acknowledged < last {
                // The cloud lacks something before this batch: it was restored, or is not ours.
                let detail = format!("it acknowledged only up to {acknowledged} of {last}");
                return Err(UplinkError::Contract(detail).into());
            }
        }
        Ok(())
    }
}

enum RoundError {
    Uplink(UplinkError),
    Agent(AgentError),
}

impl From<UplinkError> for RoundError {
    fn from(error: UplinkError) -> Self {
        Self::Uplink(error)
    }
}

impl From<AgentError> for RoundError {
    fn from(error: AgentError) -> Self {
        Self::Agent(error)
    }
}
