//! What kind of world a seed makes: how long its steps are, how many boxes, how bad its faults.

use std::time::Duration;

/// A world's measures.
#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    /// What the network and crashes are reckoned in; between two steps each host runs on its own.
    pub tick: Duration,
    /// Steps with faults.
    pub steps: u32,
    pub boxes: usize,
    pub printers: usize,
    pub poll_interval: Duration,
    pub read_interval: Duration,
    /// Longest time for one call.
    pub call_limit: Duration,
    /// Longest way of a message.
    pub latency: Duration,
    pub quota_bytes: u64,
    pub rates: Rates,
}

/// How often something goes wrong: once in so many steps on the average, for each box; 0: never.
#[derive(Debug, Clone, Copy)]
pub struct Rates {
    pub partition: u32,
    pub hold: u32,
    pub power_cut: u32,
    pub kill: u32,
    /// A call of the disk in which the process is killed or the power fails.
    pub cut_in_call: u32,
    pub disk_error: u32,
    pub cloud_crash: u32,
    pub restore: u32,
    pub task: u32,
    pub forget_time: u32,
    /// Of so many stops of a box, at one an image is taken of its card, at a later one it is put back; once for each box.
    pub card: u32,
    pub lose_acks_percent: u8,
}

impl Plan {
    /// Whether the boxes' disks are so small that what was acknowledged may not be there any more when a restored cloud asks
    /// for it again.
    pub fn may_give_up(&self) -> bool {
        self.quota_bytes < 1 << 20
    }

    pub fn of(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed ^ 0x5eed_0f3a);
        // Most worlds look closely at minutes, some at days.
        let tick_s = [1, 1, 1, 5, 5, 20, 20, 60][random.usize(0..8)];
        let tick = Duration::from_secs(tick_s);
        let poll_ticks = random.u32(8..60);
        let mut rate = |from: u32, to: u32| if random.u8(0..4) == 0 { 0 } else { random.u32(from..to) };
        let rates = Rates {
            partition: rate(60, 600),
            hold: rate(100, 1_000),
            power_cut: rate(80, 1_500),
            kill: rate(100, 1_500),
            cut_in_call: rate(40, 600),
            disk_error: rate(100, 1_000),
            cloud_crash: rate(60, 800),
            restore: rate(400, 3_000),
            task: rate(30, 300),
            forget_time: rate(200, 2_000),
            card: 0,
            lose_acks_percent: 0,
        };
        let lose_acks_percent = if random.bool() { random.u8(0..60) } else { 0 };
        let mut plan = Self {
            seed,
            tick,
            steps: random.u32(600..2_500),
            boxes: random.usize(1..=3),
            printers: random.usize(1..=4),
            poll_interval: (tick * poll_ticks).clamp(Duration::from_secs(5), Duration::from_secs(3_600)),
            read_interval: tick * random.u32(5..60),
            call_limit: Duration::from_secs(30).max(tick * 12),
            latency: tick * random.u32(0..5),
            quota_bytes: if random.u8(0..6) == 0 || (rates.restore == 0 && random.bool()) {
                random.u64(60_000..200_000)
            } else {
                4 << 20
            },
            rates: Rates { lose_acks_percent, ..rates },
        };
        // Of its own seed, so that the other worlds are what they were. On a small disk nobody could say what became of a record.
        let mut of_cards = fastrand::Rng::with_seed(seed ^ 0xca4d_ca4d);
        if !plan.may_give_up() && of_cards.u8(0..4) == 0 {
            plan.rates.card = of_cards.u32(1..4);
        }
        plan
    }
}
