//! A simulated box: the agent's outbox, journal and conversation with the cloud, and in the place of its LAN printers that the
//! world knows. Its disk outlives it; everything else is gone with the power.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use platen::agent::simulation::{Asked, Draft, Outcome, SimulatedBox, World, start};
use platen::agent::to_message;
use platen::proto::v1::TaskState;
use platen::store::{Limits, StoreError};
use platen::sys::{Entropy, EntropyError, FaultFs};
use prost::Message;
use tokio::time::{Instant, sleep, sleep_until};

use crate::clock::BoxClock;
use crate::history::{Event, History, Offer, true_ms};
use crate::printers::Printers;
use crate::wire::{SimCloud, while_alive};

/// The making of the firmware: no clock stands before it.
const FIRMWARE_MS: u64 = crate::history::BEGINNING_MS - 40 * 86_400_000;
/// Before an agent that ended is started again.
const RESTART: Duration = Duration::from_secs(5);

/// Randomness out of a seed.
#[derive(Debug)]
pub struct SeededEntropy(Mutex<fastrand::Rng>);

impl Entropy for SeededEntropy {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), EntropyError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill(buffer);
        Ok(())
    }
}

#[derive(Debug)]
struct State {
    printers: Printers,
    random: fastrand::Rng,
    /// The last time that it wrote down.
    floor_ms: u64,
    is_quiet: bool,
    level: (u64, u64),
}

/// A box; clones are the same.
#[derive(Clone)]
pub struct Appliance {
    pub box_id: String,
    pub disk: FaultFs,
    pub history: History,
    pub limits: Limits,
    pub poll_interval: Duration,
    pub read_interval: Duration,
    pub call_limit: Duration,
    entropy: Arc<SeededEntropy>,
    state: Arc<Mutex<State>>,
}

/// How a box is made.
pub struct Making {
    pub box_id: String,
    pub printers: usize,
    pub seed: u64,
    pub limits: Limits,
    pub poll_interval: Duration,
    pub read_interval: Duration,
    pub call_limit: Duration,
}

impl Appliance {
    pub fn new(making: Making, history: History) -> Self {
        let mut random = fastrand::Rng::with_seed(making.seed);
        let state = State {
            printers: Printers::new(&making.box_id, making.printers, random.u64(..)),
            random: random.fork(),
            floor_ms: FIRMWARE_MS,
            is_quiet: false,
            level: (0, 0),
        };
        Self {
            box_id: making.box_id,
            disk: FaultFs::default(),
            history,
            limits: making.limits,
            poll_interval: making.poll_interval,
            read_interval: making.read_interval,
            call_limit: making.call_limit,
            entropy: Arc::new(SeededEntropy(Mutex::new(random))),
            state: Arc::new(Mutex::new(state)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It reads no more on its own.
    pub fn be_quiet(&self) {
        self.state().is_quiet = true;
    }

    /// Readings that wait in its outbox, as it last said.
    pub fn pending(&self) -> u64 {
        self.state().level.1
    }

    /// The last time that it wrote down is lost.
    pub fn forget_time(&self) {
        self.state().floor_ms = FIRMWARE_MS;
    }

    /// Runs on its host: the service manager, which starts the agent again when it ends.
    pub async fn run(self) -> turmoil::Result {
        loop {
            let why = self.live().await;
            while_alive(&self.disk).await;
            self.history.note(Event::Ended { box_id: self.box_id.clone(), why });
            sleep(RESTART).await;
        }
    }

    /// One life of the agent; why it ended.
    async fn live(&self) -> String {
        let mut id = [0; 16];
        self.entropy.fill(&mut id).ok();
        let boot_id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let (drift, floor_ms) = {
            let mut state = self.state();
            (state.random.i64(-50..=50), state.floor_ms)
        };
        let clock = BoxClock::start(&boot_id, drift, floor_ms);
        self.history.note(Event::Started { box_id: self.box_id.clone(), boot_id });
        let cloud = SimCloud {
            box_id: self.box_id.clone(),
            disk: self.disk.clone(),
            clock: clock.clone(),
            limit: self.call_limit,
            history: self.history.clone(),
        };
        let world = World {
            cloud,
            clock: clock.clone(),
            fs: Arc::new(self.disk.clone()),
            entropy: self.entropy.clone(),
            limits: self.limits,
            poll_interval: self.poll_interval,
        };
        let (seen, link) = match start(world) {
            Ok(started) => started,
            Err(error) => return error.to_string(),
        };
        tokio::select! {
            biased;
            ended = link => ended.map_or_else(|error| error.to_string(), |()| "nothing more to do".to_owned()),
            () = self.read_printers(seen, clock) => "the printers' side ended".to_owned(),
        }
    }

    async fn read_printers(&self, mut seen: SimulatedBox, clock: BoxClock) {
        let mut next_read = Instant::now() + self.read_interval.mul_f64(self.state().random.f64());
        let mut level = seen.outbox.level();
        loop {
            {
                let now = level.borrow_and_update();
                self.state().level = (now.epoch, now.pending);
            }
            tokio::select! {
                biased;
                asked = seen.asked() => match asked {
                    None => return,
                    Some(Asked::Settings) => {}
                    Some(Asked::Scan { task_id }) => self.do_task(&seen, &clock, task_id.unwrap_or_default()).await,
                    Some(Asked::Read { task_id, .. }) => self.do_task(&seen, &clock, task_id).await,
                },
                () = sleep_until(next_read) => {
                    next_read = Instant::now() + self.read_interval;
                    if !self.state().is_quiet {
                        self.read_all(&seen, &clock).await.ok();
                    }
                    self.state().floor_ms = clock.floor_ms();
                }
                _ = level.changed() => {}
            }
            if let Some(record) = clock.anchor() {
                let offer = self.offer(record.clone(), false, true);
                if self.append(&seen, vec![Draft::Kept(record)], vec![offer]).await.is_ok() {
                    clock.anchored();
                }
            }
            while_alive(&self.disk).await;
        }
    }

    async fn do_task(&self, seen: &SimulatedBox, clock: &BoxClock, task_id: String) {
        while_alive(&self.disk).await;
        self.history.note(Event::TaskDone { box_id: self.box_id.clone(), task_id: task_id.clone() });
        let pause_ms = self.state().random.u64(0..20_000);
        sleep(Duration::from_millis(pause_ms)).await;
        let state = match self.read_all(seen, clock).await {
            Ok(()) => TaskState::Done,
            Err(_) => TaskState::Failed,
        };
        seen.ended.send((task_id, Outcome::of(state, "as the world has it"))).await.ok();
    }

    /// Reads every printer; what was read is accepted together.
    async fn read_all(&self, seen: &SimulatedBox, clock: &BoxClock) -> Result<(), StoreError> {
        let (mut drafts, mut offers) = (Vec::new(), Vec::new());
        let count = self.state().printers.count();
        for index in 0..count {
            let reading = self.state().printers.read(index);
            let message = to_message(reading, clock.taken());
            let is_flagged = self.state().random.u8(0..10) == 0;
            offers.push(self.offer(message.encode_to_vec(), true, is_flagged));
            drafts.push(Draft::Reading { message: Box::new(message), is_flagged });
        }
        self.append(seen, drafts, offers).await
    }

    fn offer(&self, content: Vec<u8>, is_reading: bool, is_kept: bool) -> Offer {
        Offer { box_id: self.box_id.clone(), content, is_reading, true_ms: true_ms(), is_kept }
    }

    async fn append(&self, seen: &SimulatedBox, drafts: Vec<Draft>, offers: Vec<Offer>) -> Result<(), StoreError> {
        while_alive(&self.disk).await;
        let box_id = self.box_id.clone();
        let offers = self.history.offer(&box_id, offers);
        let result = seen.outbox.append(drafts).await;
        // Whoever was killed in the middle of it has said nothing: it may be found, or not.
        while_alive(&self.disk).await;
        match result {
            Ok(range) => {
                let epoch = seen.outbox.level().borrow().epoch;
                let first_seq = range.start().0;
                self.history.note(Event::Accepted { box_id, epoch, first_seq, offers });
                Ok(())
            }
            Err(error) => {
                self.history.note(Event::Refused { box_id, offers, why: error.to_string() });
                Err(error)
            }
        }
    }
}
