//! A world: boxes, cloud and network on one thread, faults drawn from its seed, then peace, until everything is delivered or the
//! time for that is over.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use platen::cloud::intake::memory::Lie;
use platen::proto::v1::{self, task::Kind as TaskKind};
use platen::store::Limits;
use platen::sys::{Fault, FaultFs};
use turmoil::Sim;

use crate::accepted::accepted;
use crate::box_host::{Appliance, Making};
use crate::checker::{self, Findings};
use crate::cloud_host::SimulatedCloud;
use crate::history::{BEGINNING_MS, Event, History};
use crate::plan::Plan;
use crate::wire::CLOUD;

/// What is made wrong on purpose, to see that the checker finds it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sabotage {
    #[default]
    None,
    /// The cloud stores what is there already once more.
    NoUniqueKey,
    /// A box gives numbers again after a restart: its memory card is put back to what it was.
    NumbersAgain,
    /// The cloud acknowledges before it commits, and crashes.
    AckBeforeCommit,
}

/// What became of a world.
pub struct Outcome {
    pub plan: Plan,
    pub history: History,
    pub findings: Findings,
    pub simulated: Duration,
    pub accepted: usize,
}

/// What is to happen at a step, beside what is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Repair(usize),
    Release(usize),
    Start(usize),
    HealDisk(usize),
    StartCloud,
    /// Somebody looks at a box that the cloud has stopped.
    LookAt(usize),
}

struct World<'a> {
    plan: Plan,
    sabotage: Sabotage,
    sim: Sim<'a>,
    cloud: SimulatedCloud,
    boxes: Vec<Appliance>,
    history: History,
    random: fastrand::Rng,
    due: BTreeMap<u64, Vec<Due>>,
    step: u64,
    is_cloud_up: bool,
    tasks: u64,
    cards: Vec<Card>,
}

/// What became of a box's memory card.
#[derive(Debug, Clone, Default)]
struct Card {
    /// An image, and of when it is: the place of that event.
    image: Option<(FaultFs, usize)>,
    is_put_back: bool,
    /// Somebody will look at the box.
    is_seen: bool,
}

/// Makes the world of a plan, lets it live, and judges it.
pub fn run(plan: &Plan, sabotage: Sabotage) -> Outcome {
    fastrand::seed(plan.seed);
    let mut world = World::new(plan.clone(), sabotage);
    for _ in 0..plan.steps {
        world.faults();
        world.step();
    }
    let is_settled = world.peace();
    let told = world.history.told();
    let mut findings = checker::check(&told, &world.cloud.rows(), plan.may_give_up());
    if !is_settled {
        let open = world.cloud.open_tasks();
        let pending: Vec<_> = world.boxes.iter().map(Appliance::pending).collect();
        let what = format!("in {} s of peace: {pending:?} wait, tasks {open:?}", world.patience().as_secs());
        findings.add("in peace everything is delivered", what);
    }
    let accepted = accepted(&told, &mut Findings::default()).len();
    drop(told);
    let simulated = world.sim.elapsed();
    Outcome { plan: plan.clone(), history: world.history.clone(), findings, simulated, accepted }
}

impl World<'_> {
    fn new(plan: Plan, sabotage: Sabotage) -> Self {
        let mut random = fastrand::Rng::with_seed(plan.seed);
        let history = History::default();
        let names: Vec<String> = (0..plan.boxes).map(|index| format!("box{index}")).collect();
        let poll_s = u32::try_from(plan.poll_interval.as_secs()).unwrap_or(3_600);
        let cloud = SimulatedCloud::new(&names, random.u64(..), poll_s, history.clone());
        cloud.lose_acks(plan.rates.lose_acks_percent);
        cloud.lie(match sabotage {
            Sabotage::NoUniqueKey => Lie::NoUniqueKey,
            Sabotage::AckBeforeCommit => Lie::AckBeforeCommit,
            Sabotage::None | Sabotage::NumbersAgain => Lie::None,
        });
        let mut sim = turmoil::Builder::new()
            .rng_seed(random.u64(..))
            .tick_duration(plan.tick)
            .simulation_duration(Duration::from_secs(1 << 40))
            .min_message_latency(Duration::ZERO)
            .max_message_latency(plan.latency.max(Duration::from_millis(1)))
            .tcp_capacity(4_096)
            .enable_random_order()
            .build();
        let serving = cloud.clone();
        sim.host(CLOUD, move || serving.clone().serve());
        let mut boxes = Vec::new();
        for box_id in names {
            let making = Making {
                box_id: box_id.clone(),
                printers: plan.printers,
                seed: random.u64(..),
                limits: limits(plan.quota_bytes),
                poll_interval: plan.poll_interval,
                read_interval: plan.read_interval,
                call_limit: plan.call_limit,
            };
            let appliance = Appliance::new(making, history.clone());
            boxes.push(appliance.clone());
            sim.host(box_id, move || appliance.clone().run());
        }
        let cards = vec![Card::default(); boxes.len()];
        Self {
            plan,
            sabotage,
            sim,
            cloud,
            boxes,
            history,
            random,
            due: BTreeMap::new(),
            step: 0,
            is_cloud_up: true,
            tasks: 0,
            cards,
        }
    }

    fn now_ms(&self) -> u64 {
        BEGINNING_MS + u64::try_from(self.sim.elapsed().as_millis()).unwrap_or(u64::MAX / 2)
    }

    fn fault(&self, what: String) {
        self.history.note_at(self.now_ms(), Event::Fault(what));
    }

    /// Whether something that happens once in so many steps happens now.
    fn draws(&mut self, once_in: u32) -> bool {
        once_in > 0 && self.random.u32(0..once_in) == 0
    }

    fn later(&mut self, most_steps: u64, due: Due) {
        let at = self.step + self.random.u64(1..=most_steps);
        self.due.entry(at).or_default().push(due);
    }

    fn step(&mut self) {
        self.step += 1;
        self.sim.step().expect("no host of this world ends with an error");
        for index in 0..self.boxes.len() {
            if self.boxes[index].disk.is_killed() && self.is_up(index) {
                let with_power = self.random.bool();
                self.stop_box(index, with_power, "in a call of its disk");
            }
        }
        if self.is_cloud_up && self.cloud.has_crashed() {
            self.stop_cloud("in a transaction");
        }
        self.look_at_stopped_boxes();
        while let Some(entry) = self.due.first_entry().filter(|entry| *entry.key() <= self.step) {
            for due in entry.remove() {
                self.carry_out(due);
            }
        }
    }

    fn is_up(&mut self, index: usize) -> bool {
        let box_id = self.boxes[index].box_id.clone();
        self.sim.is_host_running(box_id)
    }

    fn carry_out(&mut self, due: Due) {
        match due {
            Due::Repair(index) => {
                self.sim.repair(self.boxes[index].box_id.as_str(), CLOUD);
                self.fault(format!("{}: the network is whole", self.boxes[index].box_id));
            }
            Due::Release(index) => self.sim.release(self.boxes[index].box_id.as_str(), CLOUD),
            Due::HealDisk(index) => {
                if !self.boxes[index].disk.is_killed() {
                    self.boxes[index].disk.repair();
                    self.fault(format!("{}: the disk works", self.boxes[index].box_id));
                }
            }
            Due::Start(index) => {
                if !self.is_up(index) {
                    self.sim.bounce(self.boxes[index].box_id.as_str());
                }
            }
            Due::StartCloud => self.start_cloud(),
            Due::LookAt(index) => {
                self.cards[index].is_seen = false;
                let (box_id, now_ms) = (self.boxes[index].box_id.clone(), self.now_ms());
                if self.is_cloud_up && self.cloud.let_go_on(&box_id, now_ms) {
                    self.history.note_at(now_ms, Event::Released { box_id });
                }
            }
        }
    }

    /// Boxes whose card was put back are stopped by the cloud; some time later somebody lets them go on. Of others nobody knows
    /// why they are stopped, so they stay it.
    fn look_at_stopped_boxes(&mut self) {
        for index in 0..self.boxes.len() {
            let Card { is_put_back, is_seen, .. } = self.cards[index];
            if is_put_back && !is_seen && self.cloud.has_stopped(&self.boxes[index].box_id) {
                self.cards[index].is_seen = true;
                self.later(100, Due::LookAt(index));
            }
        }
    }

    /// A card is put back to what it was: an image of it is taken first. With sabotage nobody tells of it.
    fn change_card(&mut self, index: usize) {
        let disk = self.boxes[index].disk.clone();
        let box_id = self.boxes[index].box_id.clone();
        if self.sabotage == Sabotage::NumbersAgain {
            match self.cards[index].image.take() {
                Some((image, _)) => disk.put_back(&image),
                None => self.cards[index].image = Some((disk.copy(), 0)),
            }
            return;
        }
        if self.cards[index].is_put_back || !self.draws(self.plan.rates.card) {
            return;
        }
        match self.cards[index].image.take() {
            Some((image, since)) => {
                disk.put_back(&image);
                self.cards[index].is_put_back = true;
                self.history.note_at(self.now_ms(), Event::CardPutBack { box_id, since });
            }
            None => {
                let since = self.history.told().events.len();
                self.history.note_at(self.now_ms(), Event::CardImaged { box_id });
                self.cards[index].image = Some((disk.copy(), since));
            }
        }
    }

    /// Ends a box: without power what was not synced is lost, otherwise it is as after SIGKILL.
    fn stop_box(&mut self, index: usize, with_power: bool, how: &str) {
        let appliance = self.boxes[index].clone();
        self.sim.crash(appliance.box_id.as_str());
        if with_power {
            appliance.disk.repair();
        } else {
            appliance.disk.crash(&mut self.random);
        }
        let what = if with_power { "killed" } else { "without power" };
        self.fault(format!("{}: {what}, {how}", appliance.box_id));
        self.change_card(index);
        self.later(60, Due::Start(index));
    }

    fn stop_cloud(&mut self, how: &str) {
        self.sim.crash(CLOUD);
        self.cloud.rows().crash();
        self.is_cloud_up = false;
        self.fault(format!("cloud: crashed {how}"));
        self.later(60, Due::StartCloud);
    }

    fn start_cloud(&mut self) {
        if self.is_cloud_up {
            return;
        }
        self.cloud.restart();
        self.is_cloud_up = true;
        self.sim.bounce(CLOUD);
        self.fault("cloud: starts".to_owned());
        self.tell_what_the_cloud_has();
    }

    fn tell_what_the_cloud_has(&self) {
        let rows = self.cloud.rows();
        let told = self.history.told();
        let epochs: std::collections::BTreeSet<_> = told
            .events
            .iter()
            .filter_map(|(_, event)| match event {
                Event::Committed { box_id, epoch, .. } => Some((box_id.clone(), *epoch)),
                _ => None,
            })
            .collect();
        drop(told);
        for (box_id, epoch) in epochs {
            let up_to = rows.progress(&box_id, epoch).unwrap_or_default().contiguous_seq;
            let count = rows.count(&box_id, epoch);
            self.history.note_at(self.now_ms(), Event::CloudHas { box_id, epoch, up_to, count });
        }
    }

    /// Draws what goes wrong at this step.
    fn faults(&mut self) {
        for index in 0..self.boxes.len() {
            self.faults_of_network(index);
            if self.is_up(index) {
                self.faults_of_box(index);
            }
        }
        self.faults_of_cloud();
    }

    fn faults_of_network(&mut self, index: usize) {
        let box_id = self.boxes[index].box_id.clone();
        if self.draws(self.plan.rates.partition) {
            match self.random.u8(0..3) {
                0 => self.sim.partition(box_id.as_str(), CLOUD),
                1 => self.sim.partition_oneway(box_id.as_str(), CLOUD),
                _ => self.sim.partition_oneway(CLOUD, box_id.as_str()),
            }
            self.fault(format!("{box_id}: the network is cut"));
            self.later(150, Due::Repair(index));
        }
        if self.draws(self.plan.rates.hold) {
            self.sim.hold(box_id.as_str(), CLOUD);
            self.fault(format!("{box_id}: the network stands still"));
            self.later(40, Due::Release(index));
        }
        if self.draws(self.plan.rates.task) {
            self.tasks += 1;
            let id = format!("task{}", self.tasks);
            let kind = if self.random.bool() {
                TaskKind::ScanNow(v1::ScanNow {})
            } else {
                TaskKind::ReadDevice(v1::ReadDevice { device_key: "any".to_owned() })
            };
            let life_ms = u64::try_from(self.plan.tick.as_millis()).unwrap_or(1_000) * self.random.u64(1..400);
            self.cloud.ask(&box_id, &id, kind, self.now_ms() + life_ms);
            self.history.note_at(self.now_ms(), Event::TaskMade { box_id, task_id: id });
        }
    }

    fn faults_of_box(&mut self, index: usize) {
        let rates = self.plan.rates;
        let appliance = self.boxes[index].clone();
        if self.draws(rates.power_cut) {
            self.stop_box(index, false, "at some await");
        } else if self.draws(rates.kill) {
            self.stop_box(index, true, "at some await");
        } else if self.draws(rates.cut_in_call) {
            let nth = self.random.u64(1..40);
            appliance.disk.fail(nth, Fault::Killed);
            self.fault(format!("{}: will be cut off in call {nth} of its disk", appliance.box_id));
        } else if self.draws(rates.disk_error) {
            let kinds = [io::ErrorKind::StorageFull, io::ErrorKind::Other, io::ErrorKind::StorageFull];
            let kind = kinds[self.random.usize(0..kinds.len())];
            let nth = self.random.u64(1..20);
            let fault = if self.random.bool() { Fault::Once(kind) } else { Fault::ForEver(kind) };
            appliance.disk.fail(nth, fault);
            self.fault(format!("{}: call {nth} of its disk meets {fault:?}", appliance.box_id));
            self.later(100, Due::HealDisk(index));
        }
        if self.draws(rates.forget_time) {
            appliance.forget_time();
        }
    }

    fn faults_of_cloud(&mut self) {
        let backup_every = u64::from(self.plan.steps / 8).max(1);
        if self.step.is_multiple_of(backup_every) && self.is_cloud_up {
            self.cloud.back_up(self.now_ms());
        }
        if !self.is_cloud_up {
            return;
        }
        if self.draws(self.plan.rates.cloud_crash) {
            if self.random.bool() {
                self.cloud.rows().crash_after(self.random.u32(0..40));
            } else {
                self.stop_cloud("at some await");
            }
        } else if self.draws(self.plan.rates.restore) {
            self.stop_cloud("and is lost");
            if let Some(at_ms) = self.cloud.restore() {
                let ago_s = (self.now_ms() - at_ms) / 1_000;
                self.fault(format!("cloud: restored from a backup of {ago_s} s ago"));
            }
        }
    }

    /// How long it may take until all is delivered once nothing goes wrong any more.
    fn patience(&self) -> Duration {
        (self.plan.poll_interval.mul_f64(1.2) + Duration::from_secs(360)) * 20 + self.plan.tick * 300
    }

    /// Nothing goes wrong any more. Says whether everything came to rest within the time for it.
    fn peace(&mut self) -> bool {
        self.fault("peace".to_owned());
        self.due.clear();
        self.cards.iter_mut().for_each(|card| card.is_seen = false);
        self.cloud.lose_acks(0);
        if !self.is_cloud_up {
            self.start_cloud();
        }
        self.cloud.restart();
        for index in 0..self.boxes.len() {
            let appliance = self.boxes[index].clone();
            appliance.be_quiet();
            appliance.disk.repair();
            self.sim.release(appliance.box_id.as_str(), CLOUD);
            self.sim.repair(appliance.box_id.as_str(), CLOUD);
            if !self.is_up(index) {
                self.sim.bounce(appliance.box_id.as_str());
            }
        }
        let steps = self.patience().as_nanos() / self.plan.tick.as_nanos();
        for step in 0..steps {
            self.step();
            if step % 20 == 19 && self.is_settled() {
                return true;
            }
        }
        false
    }

    fn is_settled(&self) -> bool {
        if self.boxes.iter().any(|appliance| appliance.pending() > 0) || !self.cloud.open_tasks().is_empty() {
            return false;
        }
        let told = self.history.told();
        let accepted = accepted(&told, &mut Findings::default());
        checker::undelivered(&told, &accepted, &self.cloud.rows().rows(), self.plan.may_give_up()).is_empty()
    }
}

fn limits(quota_bytes: u64) -> Limits {
    Limits { max_total_bytes: quota_bytes, segment_bytes: quota_bytes / 16 }
}
