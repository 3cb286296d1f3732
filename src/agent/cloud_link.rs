//! The conversation with the cloud, in rounds: poll, begin what is asked, deliver what waits, report what ended.
//! A round starts when its time has come, when a wake-up arrives, or when new readings were accepted.

use std::io;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::certificates::Certificates;
use super::lan::LanCommand;
use super::outbox::SharedOutbox;
use super::panel::Shown;
use super::settings::CloudSettings;
use super::silent::SilentPrinter;
use super::standby::Standby;
use super::status::{EndedEpoch, Status};
use super::tasks::{Decision, Outcome, TaskJournal, ping_task};
use super::{AgentError, BootFacts};
use crate::cause::{self, Cause, Trouble};
use crate::discovery::Fence;
use crate::enroll::machine::{Effect, Event, Now, Phase};
use crate::enroll::{Enrolment, Verdict};
use crate::proto::v1::{self, TaskState, task::Kind};
use crate::store::{Epoch, Resend, Seq, StoreError};
use crate::sys::Clock;
use crate::uplink::{Backoff, Cloud, LinkState, Session, UplinkError, upload_batch};

/// The cloud may set the time between polls within these bounds.
const POLL_INTERVAL: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(3_600));
/// Waits between rounds that fail.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// The wait after a round in which the disk failed, at least.
const STORE_RETRY: Duration = Duration::from_secs(5);
/// The wait before it is looked again whether there is a certificate; how often the cloud is asked for one is the machine's.
const NO_CERTIFICATE_RETRY: Duration = Duration::from_secs(60);
/// Readings in a batch, and their bytes: the contract's limits.
const BATCH_MAX_COUNT: usize = 500;
const BATCH_MAX_BYTES: usize = 512 * 1024;
/// Batches in one round, so that a long backlog does not keep the box from polling.
const BATCHES_MAX: usize = 64;
/// Longest time for which the LED says where the box is, in seconds.
const LOCATE_MAX_S: u32 = 300;
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
    /// Whom another box of the site reads, as the cloud says.
    pub standby: watch::Sender<Standby>,
    /// Proven refusals of the box's credential.
    pub enrolment: Enrolment,
    /// How a new certificate is had; the simulated world has none.
    pub certificates: Option<Certificates<L>>,
    /// The light, where there is one.
    pub shown: Option<broadcast::Sender<Shown>>,
}

impl<C: Clock, L: Cloud> CloudLink<C, L> {
    /// Talks with the cloud until `stop`.
    ///
    /// # Errors
    /// When the box cannot write down what it must remember. A cloud that cannot be reached is no error here.
    pub(super) async fn run(mut self, stop: CancellationToken) -> Result<(), AgentError> {
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        let mut level = self.outbox.level();
        // A box that was refused does not get around the wait by starting again.
        let mut next_round = Instant::now() + self.enrolment.wait_after_start(fastrand::f64());
        let mut failing = self.enrolment.consecutive() > 0;
        let mut is_held = failing;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                Some((id, outcome)) = self.ended.recv() => {
                    self.end_task(&id, &outcome);
                    if !failing {
                        next_round = Instant::now();
                    }
                    continue;
                }
                Some(Ok((id, outcome))) = self.pings.join_next() => {
                    self.end_task(&id, &outcome);
                    if !failing {
                        next_round = Instant::now();
                    }
                    continue;
                }
                // Who was refused waits its time out, and who was asked to come later does.
                Some(()) = self.wake.recv(), if !is_held => {}
                Ok(()) = level.changed() => {
                    let pending = level.borrow_and_update().pending;
                    self.status.send_modify(|status| status.outbox = level.borrow().clone());
                    if pending > 0 && !failing && !is_held {
                        next_round = next_round.min(Instant::now() + GATHER);
                    }
                    continue;
                }
                () = tokio::time::sleep_until(next_round) => {}
            }
            is_held = false;
            let round = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                round = self.round() => round,
            };
            // A failure is told by the outbox itself, and tried again in the next round.
            let _told = self.outbox.tidy(self.clock.wall_unix_ms() / 1_000).await;
            self.keep_again();
            next_round = Instant::now()
                + match round {
                    Ok(()) => {
                        backoff.reset();
                        failing = false;
                        self.poll_interval.mul_f64(0.9 + 0.2 * fastrand::f64())
                    }
                    Err(RoundError::Uplink(error)) => {
                        failing = true;
                        is_held = error.proven_refusal().is_some() || error.retry_after().is_some();
                        let wait = self.after_failure(&error, &mut backoff)?;
                        tracing::warn!(%error, retry_in_ms = wait.as_millis(), "the cloud was not reached");
                        wait
                    }
                    // The cloud was reached; what waits on the disk is sent when the disk gives it.
                    Err(RoundError::Restart(why)) => return Err(AgentError::Restart(why.to_owned())),
                    Err(RoundError::NoCertificate(why)) => {
                        failing = true;
                        tracing::warn!(why, "the certificate has ended, and there is no new one yet");
                        self.status.send_modify(|status| {
                            status.cloud.last_error = Some(format!("refused: the certificate has ended: {why}"));
                            status.cloud.cause = Some(cause::explain(Cause::Refused).word.to_owned());
                        });
                        NO_CERTIFICATE_RETRY
                    }
                    Err(RoundError::Store(error)) => {
                        tracing::error!(%error, "what waits in the outbox cannot be delivered now");
                        backoff.next(fastrand::f64()).max(STORE_RETRY)
                    }
                };
        }
    }

    /// How long to wait after a failed round. Five proven refusals end this part.
    fn after_failure(&mut self, error: &UplinkError, backoff: &mut Backoff) -> Result<Duration, AgentError> {
        let trouble = error.trouble();
        self.status.send_modify(|status| {
            status.cloud.last_error = Some(error.to_string());
            status.cloud.cause = Some(cause::explain(trouble.cause).word.to_owned());
        });
        let usual = backoff.next_after(fastrand::f64(), error.retry_after()).max(Duration::from_millis(200));
        let Some(refused) = error.proven_refusal() else { return Ok(usual) };
        let word = cause::explain(refused).word;
        match self.enrolment.count(word, &trouble.detail, self.now(), fastrand::f64()) {
            Ok(Verdict::Wait(wait)) => Ok(wait),
            Ok(Verdict::Discarded) => {
                if let Some(certificates) = &self.certificates {
                    certificates.identity.discard_next()?;
                }
                Err(AgentError::Restart("the new certificate was refused: the old one is tried again".to_owned()))
            }
            Ok(Verdict::Disabled) => Err(AgentError::Restart("disabled after five proven refusals".to_owned())),
            Err(error) => {
                tracing::error!(%error, "a refusal cannot be written down, and is not counted");
                Ok(self.enrolment.wait_after_start(fastrand::f64()).max(usual))
            }
        }
    }

    fn now(&self) -> Now {
        Now::by(&self.clock)
    }

    /// Takes an event of enrolment; one that cannot be written down has not happened, and comes again.
    fn enrolment(&self, event: Event) -> Vec<Effect> {
        self.enrolment.apply(event, self.now()).unwrap_or_else(|error| {
            tracing::error!(%error, "the record of enrolment cannot be written");
            Vec::new()
        })
    }

    async fn round(&mut self) -> Result<(), RoundError> {
        let wanted = self.enrolment(Event::Tick);
        if matches!(self.enrolment.state().phase, Phase::Expired(_)) && !self.clock_was_ahead().await? {
            return Err(self.recover(wanted.contains(&Effect::Recover)).await);
        }
        let mut session = self.cloud.open().await?;
        let request = self.poll_request(session.transport());
        let reply = session.poll(request).await?;
        self.welcomed();
        let release = reply.decommission.clone();
        self.take_poll_reply(reply).await?;
        self.deliver(&mut session).await?;
        if let Some(release) = release {
            self.release(&release, &mut session).await?;
        }
        if wanted.contains(&Effect::Renew)
            && let Some(certificates) = &self.certificates
        {
            let renewed = certificates.renew(&mut session).await;
            self.renewed(renewed)?;
        }
        for report in self.journal.unreported() {
            session.report_task(report.clone()).await?;
            if let Err(error) = self.journal.reported(&report) {
                self.not_kept(&error);
            }
        }
        Ok(())
    }

    /// Whether the certificate only seems to have ended: a session without one is told the time, where the box does not know it.
    /// Fails where there is no such session, for whatever reason that has.
    async fn clock_was_ahead(&self) -> Result<bool, UplinkError> {
        let Some(certificates) = &self.certificates else { return Ok(false) };
        let _told = certificates.stranger.open().await?;
        self.enrolment(Event::Tick);
        Ok(!matches!(self.enrolment.state().phase, Phase::Expired(_)))
    }

    /// The certificate has ended: asks for another without one, where that is due. Why the round ends.
    async fn recover(&self, is_due: bool) -> RoundError {
        let Some(certificates) = self.certificates.as_ref().filter(|_| is_due) else {
            let why = self.enrolment.state().last_error;
            return RoundError::NoCertificate(why.unwrap_or_else(|| "the next try is due later".to_owned()));
        };
        let (box_id, generation) = (self.status.borrow().box_id.clone(), self.enrolment.generation());
        let recovered = certificates.recover(&box_id, generation).await;
        match self.renewed(recovered) {
            Err(restart) => restart,
            Ok(()) => RoundError::NoCertificate(self.enrolment.state().last_error.unwrap_or_default()),
        }
    }

    /// Keeps a new certificate beside the one in use, and starts the box with it; or remembers why there is none.
    fn renewed(&self, renewed: Result<crate::enroll::Credential, String>) -> Result<(), RoundError> {
        let (Some(certificates), Ok(credential)) = (&self.certificates, &renewed) else {
            let why = renewed.err().unwrap_or_default();
            tracing::warn!(why, "there is no new certificate; it is tried again");
            self.enrolment(Event::NotRenewed(why));
            return Ok(());
        };
        if !self.enrolment(Event::SaidEnrolled(credential.tenant.clone())).contains(&Effect::KeepNext) {
            return Ok(());
        }
        let kept = certificates.identity.keep_next(credential).map_err(|e| e.to_string());
        match self.enrolment(kept.map_or_else(Event::NextNotKept, |()| Event::NextKept)) {
            effects if effects.contains(&Effect::Restart) => Err(RoundError::Restart("it has a new certificate")),
            _ => Ok(()),
        }
    }

    /// The box is nobody's any more, once everything is delivered.
    async fn release(&self, release: &v1::Decommission, session: &mut L::Session) -> Result<(), RoundError> {
        let Some(certificates) = &self.certificates else { return Ok(()) };
        let (box_id, generation) = (self.status.borrow().box_id.clone(), self.enrolment.generation());
        if !certificates.is_release(release, generation, &box_id) || self.outbox.level().borrow().pending > 0 {
            return Ok(());
        }
        session.leave(v1::LeaveRequest { pending: 0 }).await?;
        match self.enrolment(Event::Decommission) {
            effects if effects.contains(&Effect::Wipe) => Err(RoundError::Restart("the cloud has released it")),
            _ => Ok(()),
        }
    }

    /// The cloud took the box's credential and answered.
    fn welcomed(&mut self) {
        if self.enrolment(Event::Welcome).contains(&Effect::Promote)
            && let Some(certificates) = &self.certificates
        {
            match certificates.identity.promote_next() {
                Ok(credential) => {
                    tracing::info!(generation = credential.generation, "the new certificate is in use");
                    self.enrolment(Event::Promoted(credential.validity, credential.generation));
                }
                Err(error) => tracing::error!(%error, "the new certificate cannot take the place of the old yet"),
            }
        }
        let now = self.clock.wall_unix_ms();
        self.status.send_modify(|status| {
            status.cloud.last_contact_unix_ms = Some(now);
            status.cloud.last_error = None;
            status.cloud.cause = None;
        });
    }

    /// Something of tasks or settings cannot be written down: it is told, and the box goes on.
    fn not_kept(&mut self, error: &io::Error) {
        tracing::error!(%error, "the journal of tasks, or the cloud's settings, cannot be written");
        self.status.send_modify(|status| status.storage_error = Some(error.to_string()));
    }

    /// What could not be written down is tried again, and told no more when it is. Settings need no more than that: after a
    /// restart the cloud sends them again.
    fn keep_again(&mut self) {
        if self.status.borrow().storage_error.is_some() && self.journal.keep().is_ok() {
            tracing::info!("the journal of tasks is written again");
            self.status.send_modify(|status| status.storage_error = None);
        }
    }

    fn end_task(&mut self, id: &str, outcome: &Outcome) {
        if let Err(error) = self.journal.end(id, outcome) {
            self.not_kept(&error);
        }
    }

    /// What the cloud is told at a poll.
    fn poll_request(&self, transport: &str) -> v1::PollRequest {
        let silent = self.status.borrow().lan.silent.iter().map(SilentPrinter::to_message).collect();
        v1::PollRequest { status: Some(self.box_status(transport)), silent, contact: self.contact() }
    }

    /// Which credential polls, and for how many times; the simulated world has none.
    fn contact(&self) -> Option<v1::Contact> {
        self.certificates.as_ref()?;
        Some(v1::Contact { generation: self.enrolment.generation(), counter: self.enrolment.next_contact() })
    }

    /// What is not as it should be with the box itself.
    fn troubles(&self) -> Vec<v1::Trouble> {
        let storage = self.outbox.level().borrow().trouble.clone();
        let storage = storage.or_else(|| self.status.borrow().storage_trouble().map(str::to_owned));
        let mut troubles: Vec<_> = storage.map(|why| Trouble::new(Cause::Storage, &why)).into_iter().collect();
        troubles.extend(self.link_state.borrow().trouble());
        troubles.extend(self.cloud.troubles());
        let message = |trouble: Trouble| v1::Trouble { cause: trouble.cause as i32, detail: trouble.detail };
        troubles.into_iter().map(message).collect()
    }

    fn box_status(&self, transport: &str) -> v1::BoxStatus {
        // Before the status is borrowed, which it looks at too.
        let troubles = self.troubles();
        let status = self.status.borrow();
        let level = self.outbox.level().borrow().clone();
        let to_ended = |ended: &EndedEpoch| v1::EndedEpoch {
            epoch: ended.epoch,
            acknowledged: ended.acknowledged,
            last_seq: ended.last_seq,
        };
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
            outbox_acknowledged: level.acknowledged,
            troubles,
            outbox_thinned: level.thinned,
            ended_epochs: level.ended.iter().map(to_ended).collect(),
            clock_quality: self.clock.now().quality.into(),
            transport: transport.to_owned(),
            state: status.word_after_contact().to_owned(),
        }
    }

    async fn take_poll_reply(&mut self, reply: v1::PollReply) -> Result<(), RoundError> {
        if reply.next_poll_s > 0 {
            let asked = Duration::from_secs(u64::from(reply.next_poll_s));
            self.poll_interval = asked.clamp(POLL_INTERVAL.0, POLL_INTERVAL.1);
        }
        if let Some(config) = reply.config {
            // In force all the same: after a restart the cloud sends it again.
            if let Err(error) = self.settings.take(config) {
                self.not_kept(&error);
            }
            self.command(LanCommand::Settings(self.settings.clone()));
        }
        self.standby.send_replace(Standby::told(reply.standby, self.poll_interval));
        for task in reply.tasks {
            match self.journal.decide(&task, reply.server_time_unix_ms) {
                Ok(Decision::Begin) => {
                    tracing::info!(task = %task.id.escape_debug(), "task begins");
                    self.begin(task);
                }
                Ok(Decision::Known) => {}
                // What cannot be written down is not begun: it might be done twice.
                Err(error) => self.not_kept(&error),
            }
        }
        if let Some(v1::EndEpoch { epoch, after_seq }) = reply.end_epoch {
            let (epoch, after) = (Epoch(epoch), Seq(after_seq));
            if self.outbox.end_epoch(epoch, after).await? {
                tracing::warn!(%epoch, %after, "the cloud holds something else under later numbers: a new epoch begins");
            }
        }
        for resend in reply.resend {
            self.resend(Epoch(resend.epoch), Seq(resend.from_seq)).await?;
        }
        Ok(())
    }

    fn begin(&mut self, task: v1::Task) {
        let refused = match task.kind {
            Some(Kind::ScanNow(_)) => self.command(LanCommand::Scan { task_id: Some(task.id.clone()) }),
            Some(Kind::ReadDevice(read)) => {
                self.command(LanCommand::Read { task_id: task.id.clone(), device_key: read.device_key })
            }
            Some(Kind::Ping(_)) if self.pings.len() >= PINGS_MAX => true,
            Some(Kind::Ping(asked)) => {
                let fence = self.fence.clone();
                self.pings.spawn(async move { (task.id, ping_task(&asked, &fence).await) });
                return;
            }
            Some(Kind::Locate(locate)) => {
                let time = Duration::from_secs(u64::from(locate.duration_s.clamp(1, LOCATE_MAX_S)));
                let is_shown = self.shown.as_ref().is_some_and(|shown| shown.send(Shown::Locate(time)).is_ok());
                let outcome = match is_shown {
                    true => Outcome::of(TaskState::Done, "its LED blinks"),
                    false => Outcome::of(TaskState::Unsupported, "this box has no LED"),
                };
                self.end_task(&task.id, &outcome);
                return;
            }
            None => return,
        };
        if refused {
            let outcome = Outcome::of(TaskState::Failed, "the box is busy with earlier tasks: try again");
            self.end_task(&task.id, &outcome);
        }
    }

    /// The cloud lacks what it had acknowledged: it was restored from a backup. Says how many are sent again.
    async fn resend(&self, epoch: Epoch, from: Seq) -> Result<u64, RoundError> {
        match self.outbox.resend_from(epoch, from).await {
            Ok(Resend { again, lost }) => {
                tracing::warn!(%epoch, %from, again, lost, "the cloud lacks what it had acknowledged: it is sent again");
                Ok(again)
            }
            Err(error) if error.leaves_all_as_it_was() => {
                // Nothing of it is held any more, or never was.
                tracing::warn!(%error, "the cloud asks for what is not there");
                Ok(0)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Says whether there was no room for the command.
    fn command(&self, command: LanCommand) -> bool {
        self.lan.try_send(command).is_err()
    }

    async fn deliver(&self, session: &mut L::Session) -> Result<(), RoundError> {
        for _ in 0..BATCHES_MAX {
            let batch = self.outbox.next_batch(BATCH_MAX_COUNT, BATCH_MAX_BYTES).await?;
            let Some(batch) = batch else { break };
            // The epoch is the batch's own: after damage, what precedes it goes under its old epoch.
            let (epoch, last) = (batch.epoch, batch.last_seq());
            let before = batch.entries.first().map_or(0, |entry| entry.seq.0.saturating_sub(1));
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
                Err(error) => return Err(error.into()),
            }
            if acknowledged.0 < before {
                // The cloud lacks something before this batch: it was restored from a backup.
                if self.resend(epoch, Seq(acknowledged.0 + 1)).await? == 0 {
                    // Not held any more: the cloud passes over it when it has asked for it at a poll.
                    break;
                }
            } else if acknowledged < last {
                let detail = format!("it acknowledged only up to {acknowledged} of {last}");
                return Err(UplinkError::Contract(detail).into());
            }
        }
        Ok(())
    }
}

enum RoundError {
    Uplink(UplinkError),
    /// The outbox does not give what waits in it, or cannot write down what was delivered.
    Store(StoreError),
    /// The certificate has ended and there is no new one: why.
    NoCertificate(String),
    /// The box is to start anew: why.
    Restart(&'static str),
}

impl From<UplinkError> for RoundError {
    fn from(error: UplinkError) -> Self {
        Self::Uplink(error)
    }
}

impl From<StoreError> for RoundError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
