//! The simulated cloud: the real intake over rows in memory, behind the simulated network. It can lose acknowledgements, crash in
//! the middle of a transaction, and be restored from a backup.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use platen::cloud::intake::memory::{Lie, MemoryRows};
use platen::cloud::intake::{Outcome, Polled, accept, poll, release};
use platen::proto::v1::{self, TaskState, task::Kind as TaskKind};
use prost::Message;
use turmoil::net::{TcpListener, TcpStream};

use crate::history::{Event, History, true_ms};
use crate::wire::{Kind, PORT, receive, send};

/// A task as the cloud keeps it.
#[derive(Debug, Clone)]
struct CloudTask {
    box_id: String,
    task: v1::Task,
    has_ended: bool,
}

/// What a backup holds.
#[derive(Debug, Clone)]
struct Kept {
    rows: MemoryRows,
    tasks: Vec<CloudTask>,
}

#[derive(Debug)]
struct State {
    kept: Kept,
    backups: Vec<(u64, Kept)>,
    random: fastrand::Rng,
    /// Of a hundred batches, after so many the connection breaks instead of the answer.
    lose_acks_percent: u8,
    poll_interval_s: u32,
    has_crashed: bool,
}

/// The cloud; clones are the same.
#[derive(Debug, Clone)]
pub struct SimulatedCloud {
    state: Arc<Mutex<State>>,
    history: History,
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

impl SimulatedCloud {
    pub fn new(boxes: &[String], seed: u64, poll_interval_s: u32, history: History) -> Self {
        let rows = MemoryRows::default();
        for box_id in boxes {
            rows.add_box(box_id, &format!("site of {box_id}"), signed(crate::history::BEGINNING_MS));
        }
        let state = State {
            kept: Kept { rows, tasks: Vec::new() },
            backups: Vec::new(),
            random: fastrand::Rng::with_seed(seed),
            lose_acks_percent: 0,
            poll_interval_s,
            has_crashed: false,
        };
        Self { state: Arc::new(Mutex::new(state)), history }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn rows(&self) -> MemoryRows {
        self.state().kept.rows.clone()
    }

    pub fn lie(&self, lie: Lie) {
        self.rows().lie(lie);
    }

    pub fn lose_acks(&self, percent: u8) {
        self.state().lose_acks_percent = percent;
    }

    /// Whether it has crashed since it was last started.
    pub fn has_crashed(&self) -> bool {
        self.state().has_crashed
    }

    /// The machine is up again.
    pub fn restart(&self) {
        let mut state = self.state();
        state.kept.rows.restart();
        state.has_crashed = false;
    }

    pub fn back_up(&self, at_ms: u64) {
        let mut state = self.state();
        let kept = Kept { rows: state.kept.rows.copy(), tasks: state.kept.tasks.clone() };
        state.backups.push((at_ms, kept));
    }

    /// Puts one of the backups in the place of everything; says of when it is.
    pub fn restore(&self) -> Option<u64> {
        let mut state = self.state();
        if state.backups.is_empty() {
            return None;
        }
        let count = state.backups.len();
        let chosen = state.random.usize(0..count);
        let (at_ms, kept) = &state.backups[chosen];
        let (at_ms, kept) = (*at_ms, Kept { rows: kept.rows.copy(), tasks: kept.tasks.clone() });
        state.kept = kept;
        // What came after it is no past of this cloud.
        state.backups.truncate(chosen + 1);
        Some(at_ms)
    }

    /// Asks a box to do something.
    pub fn ask(&self, box_id: &str, id: &str, kind: TaskKind, expires_unix_ms: u64) {
        let task = v1::Task { id: id.to_owned(), expires_unix_ms, kind: Some(kind) };
        self.state().kept.tasks.push(CloudTask { box_id: box_id.to_owned(), task, has_ended: false });
    }

    /// Whether it has stopped a box until somebody looks.
    pub fn has_stopped(&self, box_id: &str) -> bool {
        self.rows().box_state(box_id).is_some_and(|state| state.suspended.is_some())
    }

    /// Somebody has looked, and lets the box go on. Says whether that was done.
    pub fn let_go_on(&self, box_id: &str, at_ms: u64) -> bool {
        let rows = self.rows();
        // Rows in memory are ready at once.
        release(&rows, box_id, signed(at_ms)).now_or_never().is_some_and(|done| done.is_ok_and(|done| done))
    }

    /// Tasks whose end it has not heard of.
    pub fn open_tasks(&self) -> Vec<String> {
        let state = self.state();
        state.kept.tasks.iter().filter(|task| !task.has_ended).map(|task| task.task.id.clone()).collect()
    }

    /// Runs on its host.
    pub async fn serve(self) -> turmoil::Result {
        let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            let cloud = self.clone();
            // A connection that breaks is the box's affair.
            tokio::task::spawn_local(async move { cloud.converse(stream).await.ok() });
        }
    }

    async fn converse(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let (_, hello) = receive(&mut stream).await?;
        let box_id = String::from_utf8_lossy(&hello).into_owned();
        loop {
            let (kind, body) = receive(&mut stream).await?;
            let answer = match kind {
                Kind::Poll => self.poll(&box_id, &body).await,
                Kind::Upload => self.upload(&box_id, &body).await,
                Kind::Report => self.report(&box_id, &body),
                _ => return Err(std::io::ErrorKind::InvalidData.into()),
            };
            if self.has_crashed() {
                // The world takes the machine away; until then it does nothing more.
                std::future::pending::<()>().await;
            }
            let Some((kind, body)) = answer else { return Ok(()) };
            send(&mut stream, kind, &body).await?;
        }
    }

    fn crashed(&self, box_id: &str, why: &dyn std::fmt::Display) -> Option<(Kind, Vec<u8>)> {
        self.state().has_crashed = true;
        self.history.note(Event::NotTaken { box_id: box_id.to_owned(), why: why.to_string() });
        None
    }

    fn refused(&self, box_id: &str, why: &str) -> Option<(Kind, Vec<u8>)> {
        self.history.note(Event::NotTaken { box_id: box_id.to_owned(), why: format!("refused: {why}") });
        Some((Kind::Unavailable, why.as_bytes().to_vec()))
    }

    async fn poll(&self, box_id: &str, body: &[u8]) -> Option<(Kind, Vec<u8>)> {
        let request = v1::PollRequest::decode(body).ok()?;
        let (rows, interval_s) = (self.rows(), self.state().poll_interval_s);
        let polled = match poll(&rows, box_id, &request, interval_s, signed(true_ms())).await {
            Ok(Polled::Welcome { resend, standby, end_epoch }) => (resend, standby, end_epoch),
            Ok(Polled::Suspended(why)) => return self.refused(box_id, &why),
            Err(error) => return self.crashed(box_id, &error),
        };
        let status = request.status.unwrap_or_default();
        let of_box = |task: &&CloudTask| task.box_id == box_id && !task.has_ended;
        let tasks: Vec<_> = self.state().kept.tasks.iter().filter(of_box).map(|task| task.task.clone()).collect();
        self.history.note(Event::Polled {
            box_id: box_id.to_owned(),
            epoch: status.outbox_epoch,
            last_seq: status.outbox_last_seq,
            acknowledged: status.outbox_acknowledged,
            resend_from: polled.0.first().map(|resend| resend.from_seq),
            tasks: tasks.len(),
        });
        let reply = v1::PollReply {
            server_time_unix_ms: true_ms(),
            next_poll_s: interval_s,
            tasks,
            resend: polled.0,
            standby: polled.1,
            end_epoch: polled.2,
            ..v1::PollReply::default()
        };
        Some((Kind::Answer, reply.encode_to_vec()))
    }

    async fn upload(&self, box_id: &str, body: &[u8]) -> Option<(Kind, Vec<u8>)> {
        let batch = v1::ReadingBatch::decode(body).ok()?;
        let (box_id, epoch) = (box_id.to_owned(), batch.epoch);
        let seq = |stored: Option<&v1::StoredReading>| stored.map_or(0, |stored| stored.seq);
        let (first_seq, last_seq) = (seq(batch.readings.first()), seq(batch.readings.last()));
        self.history.note(Event::Uploaded { box_id: box_id.clone(), epoch, first_seq, last_seq });
        let outcome = match accept(&self.rows(), &box_id, &batch, signed(true_ms())).await {
            Ok(outcome) => outcome,
            Err(error) => return self.crashed(&box_id, &error),
        };
        match outcome {
            Outcome::UpTo(up_to) => {
                self.history.note(Event::Committed { box_id, epoch, up_to });
                let mut state = self.state();
                let lose = state.lose_acks_percent;
                if state.random.u8(0..100) < lose {
                    return None;
                }
                Some((Kind::Answer, v1::UploadAck { epoch, contiguous_seq: up_to }.encode_to_vec()))
            }
            Outcome::Conflict(seq) => self.refused(&box_id, &format!("conflict at {seq}")),
            Outcome::ChainBroken(seq) => self.refused(&box_id, &format!("chain broken after {seq}")),
            Outcome::Refused(why) => self.refused(&box_id, why),
            Outcome::Suspended(why) => self.refused(&box_id, &why),
        }
    }

    fn report(&self, box_id: &str, body: &[u8]) -> Option<(Kind, Vec<u8>)> {
        let report = v1::TaskReport::decode(body).ok()?;
        let mut state = self.state();
        let is_it = |task: &&mut CloudTask| task.box_id == box_id && task.task.id == report.task_id;
        if let Some(task) = state.kept.tasks.iter_mut().find(is_it) {
            task.has_ended |= report.state != TaskState::Running as i32;
        }
        drop(state);
        let (box_id, task_id) = (box_id.to_owned(), report.task_id);
        self.history.note(Event::TaskReported { box_id, task_id, state: report.state });
        Some((Kind::Answer, Vec::new()))
    }
}
