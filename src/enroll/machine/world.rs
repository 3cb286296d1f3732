//! A world for the machine's tests: a disk that survives, a cloud that gives certificates, power that fails between any two things
//! that the driver does, and what must always hold.

use std::collections::{BTreeSet, VecDeque};

use super::*;

pub(super) const MINUTE: u64 = 60_000;
pub(super) const HOUR: u64 = 60 * MINUTE;
pub(super) const DAY: u64 = 24 * HOUR;
const OURS: &str = "acme";
const THEIRS: &str = "evil";

/// A certificate as it lies on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cred {
    pub id: u32,
    pub tenant: String,
    pub validity: Validity,
}

/// What the power cannot take.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk {
    pub kept: Kept,
    pub bound: bool,
    pub current: Option<Cred>,
    pub next: Option<Cred>,
}

#[derive(Debug, Clone)]
pub(super) struct World {
    pub state: State,
    pub disk: Disk,
    pub now: Now,
    /// Time as it is; the box's clock may have fallen back.
    true_ms: u64,
    pub random: fastrand::Rng,
    /// Of a thousand chances to fail, how many the power takes.
    pub cuts: u32,
    /// The power fails at this chance, counted from 1; 0: at none.
    pub cut_at: u64,
    pub chances: u64,
    /// What the cloud has not said yet.
    pub pending: VecDeque<Event>,
    offered: Option<Cred>,
    ids: u32,
    /// Certificates of which the box has written down, or acted upon, that they were welcome; and those that were refused.
    welcome: BTreeSet<u32>,
    refused: BTreeSet<u32>,
    /// What happened in the pairing under way.
    said_number: bool,
    pressed_after_press: bool,
    said_press: bool,
    asked_up_ms: u64,
    /// By true time.
    windows: Vec<u64>,
    retries: Vec<u64>,
    wrong: u32,
    closed: Option<u64>,
    refusals: u32,
    /// How often each phase was entered: a test that never gets there proves nothing.
    pub seen: BTreeSet<&'static str>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let now = Now { unix_ms: 1_700_000_000_000, up_ms: 0 };
        let mut world = Self {
            state: State::new(Kept::default()),
            disk: Disk::default(),
            now,
            true_ms: now.unix_ms,
            random: fastrand::Rng::with_seed(seed),
            cuts: 0,
            cut_at: 0,
            chances: 0,
            pending: VecDeque::new(),
            offered: None,
            ids: 0,
            welcome: BTreeSet::new(),
            refused: BTreeSet::new(),
            said_number: false,
            pressed_after_press: false,
            said_press: false,
            asked_up_ms: 0,
            windows: Vec::new(),
            retries: Vec::new(),
            wrong: 0,
            closed: None,
            refusals: 0,
            seen: BTreeSet::new(),
        };
        world.boot();
        world
    }

    pub fn pass(&mut self, ms: u64) {
        self.now.unix_ms += ms;
        self.now.up_ms += ms;
        self.true_ms += ms;
    }

    pub fn clock_falls_back(&mut self, ms: u64) {
        self.now.unix_ms = (self.now.unix_ms - ms).max(1_600_000_000_000);
    }

    fn power_fails(&mut self) -> bool {
        self.chances += 1;
        self.chances == self.cut_at || self.cuts > 0 && self.random.u32(0..1000) < self.cuts
    }

    /// The box starts from what is on the disk.
    pub fn boot(&mut self) {
        if self.cuts > 0 && self.random.u8(0..5) == 0 {
            let back = self.random.u64(0..3 * DAY);
            self.clock_falls_back(back);
        }
        self.now.up_ms = 0;
        (self.state, self.offered) = (State::new(self.disk.kept.clone()), None);
        self.pending.clear();
        let found = Found {
            bound: self.disk.bound,
            current: self.disk.current.as_ref().map(|cred| cred.validity),
            generation: self.disk.current.as_ref().map_or(0, |cred| cred.id),
            next: self.disk.next.as_ref().map(|cred| cred.tenant.clone()),
        };
        let was_disabled = self.disk.kept.disabled.is_some();
        self.hear(Event::Started(found));
        // The start itself may have been cut off; then the last one counts.
        let is_disabled = self.state.phase == Phase::Disabled;
        let is_held = was_disabled && self.disk.current.is_some() && !self.disk.kept.forgetting;
        assert!(!is_held || is_disabled, "a start has ended being disabled: {:?}", self.state);
    }

    /// Whether the cloud has taken the certificate beside, and the box has written that down.
    pub fn next_was_welcome(&self) -> bool {
        self.disk.next.as_ref().is_some_and(|next| self.welcome.contains(&next.id))
    }

    /// The certificate that the box shows now.
    fn shown(&self) -> Option<&Cred> {
        match self.state.phase {
            Phase::Enrolling { .. } => self.disk.next.as_ref().filter(|_| self.state.has_next),
            _ if self.state.has_next => self.disk.next.as_ref(),
            _ => self.disk.current.as_ref(),
        }
    }

    /// One event, with all that follows from it, or up to a power cut.
    pub fn hear(&mut self, event: Event) {
        let before = self.state.clone();
        let (after, effects) = step(&before, event.clone(), self.now);
        if self.power_fails() {
            return self.boot();
        }
        self.disk.kept = after.kept.clone();
        self.state = after;
        self.note(&before, &event, &effects);
        for effect in effects {
            if self.power_fails() {
                return self.boot();
            }
            self.check_record(&effect);
            let restarts = effect == Effect::Restart;
            let after = self.execute(effect);
            if restarts || self.power_fails() {
                return self.boot();
            }
            if let Some(event) = after {
                let has_moved = self.state.clone();
                self.hear(event);
                if self.state != has_moved && self.state.phase != has_moved.phase && self.now.up_ms == 0 {
                    // It was started anew meanwhile.
                    return;
                }
            }
        }
        self.check();
    }

    /// What must be on the disk before this effect begins.
    fn check_record(&self, effect: &Effect) {
        let kept = &self.disk.kept;
        match effect {
            Effect::Wipe => assert!(kept.forgetting, "wiped without a record"),
            Effect::Begin(Way::Button) => assert!(kept.windows_unix_ms.contains(&self.now.unix_ms)),
            Effect::Renew | Effect::Recover => assert_eq!(kept.renewal_tried_unix_ms, self.now.unix_ms),
            Effect::Promote => {
                let next = self.disk.next.as_ref().unwrap();
                assert_eq!(kept.tenant.as_ref(), Some(&next.tenant), "whose box it is was not written down");
            }
            _ => {}
        }
    }

    /// Does it; what it ends with.
    fn execute(&mut self, effect: Effect) -> Option<Event> {
        match effect {
            Effect::MakeKeys => {
                self.disk.bound = true;
                return Some(Event::KeysMade);
            }
            Effect::Begin(_) => self.pending.push_back(Event::Began(self.random.u64(0..2_000_000))),
            Effect::KeepNext if self.random.u8(0..10) == 0 => return Some(Event::NextNotKept("full".to_owned())),
            Effect::KeepNext => {
                self.disk.next = Some(self.offered.clone().unwrap());
                return Some(Event::NextKept);
            }
            Effect::Promote => {
                let next = self.disk.next.take().unwrap();
                assert!(
                    self.welcome.contains(&next.id),
                    "a certificate that was not welcome took the place of the old"
                );
                let promoted = Event::Promoted(next.validity, next.id);
                self.disk.current = Some(next);
                return Some(promoted);
            }
            Effect::DiscardNext => {
                if let Some(next) = self.disk.next.take() {
                    let works = self.welcome.contains(&next.id) && !self.refused.contains(&next.id);
                    assert!(!works, "a certificate that was welcome is thrown away: {:?}", self.state);
                }
            }
            Effect::Wipe => {
                (self.disk.bound, self.disk.current, self.disk.next) = (false, None, None);
                return Some(Event::Wiped);
            }
            _ => {}
        }
        None
    }

    /// Checks what the event made of the state, and counts.
    fn note(&mut self, before: &State, event: &Event, effects: &[Effect]) {
        let after = &self.state;
        self.seen.insert(after.phase.word());
        // The lock.
        let released = *event == Event::Decommission && before.is_claimed();
        if before.kept.tenant.is_some() && before.kept.tenant != after.kept.tenant {
            assert!(released && after.kept.tenant.is_none(), "the lock is gone by {event:?}");
        }
        // The way in.
        if matches!(event, Event::Ask(_)) && matches!(before.phase, Phase::Unclaimed) {
            (self.said_number, self.said_press, self.pressed_after_press) = (false, false, false);
            self.asked_up_ms = self.now.up_ms;
        }
        if let (Phase::Pairing { way, .. }, Phase::Enrolling { tenant, .. }) = (&before.phase, &after.phase) {
            let is_there = match way {
                Way::Button => self.said_number,
                Way::Code => self.pressed_after_press,
                Way::Registration => true,
            };
            assert!(is_there, "{way:?} without anybody before the box");
            assert_eq!(*event, Event::SaidEnrolled(tenant.clone()));
            assert!(before.kept.tenant.as_ref().is_none_or(|lock| lock == tenant), "enrolled for another tenant");
        }
        self.said_number |= matches!(event, Event::SaidNumber(2..=6));
        self.pressed_after_press |= *event == Event::Tap && self.said_press;
        self.said_press |= *event == Event::SaidPress;
        if let Phase::Pairing { way: Way::Button, until_up_ms, .. } = after.phase {
            assert!(until_up_ms <= self.asked_up_ms + 2 * MINUTE, "a window of the button longer than 120 s");
        }
        if effects.contains(&Effect::Begin(Way::Button)) {
            self.windows.push(self.true_ms);
            assert!(self.of_last(&self.windows, HOUR) <= 3, "four windows in an hour");
        }
        self.note_refusals(before, event);
        self.note_ways_back(before, event);
        if *event == Event::Wiped && before.phase == Phase::Forgetting {
            (self.wrong, self.closed, self.refusals) = (0, None, 0);
            self.windows.clear();
            self.retries.clear();
        }
    }

    fn of_last(&self, times: &[u64], span: u64) -> usize {
        times.iter().filter(|at| **at + span > self.true_ms).count()
    }

    fn note_refusals(&mut self, before: &State, event: &Event) {
        let is_shown = self.shown_in(before);
        let is_at_work = matches!(before.phase, Phase::Active(_) | Phase::Renewing(_) | Phase::Expired(_));
        let is_tried = matches!(before.phase, Phase::Enrolling { .. }) && before.has_next;
        match event {
            Event::Welcome if is_at_work || is_tried => {
                self.welcome.extend(is_shown);
                self.refusals = 0;
            }
            Event::Refused(..) if is_at_work || is_tried => {
                self.refused.extend(is_shown);
                self.refusals += u32::from(is_at_work && !before.has_next);
                let is_disabled = self.state.kept.disabled.is_some();
                assert_eq!(is_disabled, self.refusals >= 5, "disabled at {} refusals", self.refusals);
            }
            _ => {}
        }
        let kept = &self.state.kept;
        let was_disabled = before.phase == Phase::Disabled && before.kept.disabled.is_some();
        if was_disabled && (kept.disabled.is_none() || self.state.phase != Phase::Disabled) {
            let ends = [Event::Ticket, Event::HeldTen, Event::Answer(true), Event::Reset, Event::Decommission];
            assert!(ends.contains(event), "{event:?} has ended being disabled");
            self.refusals = 4;
        }
        if self.state.is_claimed() {
            assert_eq!(kept.consecutive, self.refusals, "miscounted at {event:?}");
        }
    }

    fn shown_in(&self, before: &State) -> Option<u32> {
        let next = matches!(before.phase, Phase::Enrolling { .. }) || before.has_next;
        let cred = if next { self.disk.next.as_ref() } else { self.disk.current.as_ref() };
        cred.map(|cred| cred.id)
    }

    fn note_ways_back(&mut self, before: &State, event: &Event) {
        if before.phase != Phase::Disabled {
            return;
        }
        let is_tried = before.kept.disabled.is_some() && self.state.kept.may_try_now;
        if *event == Event::HeldTen && is_tried {
            self.retries.push(self.true_ms);
            assert!(self.of_last(&self.retries, HOUR) <= 1, "two tries in an hour");
            assert!(self.of_last(&self.retries, DAY) <= 3, "four tries in a day");
        }
        let is_wrong = self.state.kept.wrong_answers > before.kept.wrong_answers;
        if matches!(event, Event::Answer(_)) && (is_tried || is_wrong) {
            assert!(
                self.closed.is_none_or(|closed| closed + DAY <= self.true_ms),
                "a sixth answer is taken within a day"
            );
            self.closed = None;
            self.wrong = if is_wrong { self.wrong + 1 } else { 0 };
            assert!(self.wrong <= 5);
            if self.wrong == 5 {
                (self.wrong, self.closed) = (0, Some(self.true_ms));
            }
        }
    }

    /// What holds whenever nothing is under way.
    pub fn check(&self) {
        let State { phase, kept, has_next, .. } = &self.state;
        if self.state.is_claimed() {
            let current = self.disk.current.as_ref();
            let whose = &current.unwrap_or_else(|| panic!("{} without a certificate", phase.word())).tenant;
            assert_eq!(Some(kept.generation), current.map(|cred| cred.id), "counts for another certificate");
            assert_eq!(kept.tenant.as_ref(), Some(whose), "at work for another tenant than the lock says");
        }
        if matches!(phase, Phase::Unclaimed | Phase::Factory | Phase::Pairing { .. }) {
            assert_eq!(self.disk.current, None, "{} with a certificate", phase.word());
        }
        assert!(!has_next || self.disk.next.is_some() || *phase == Phase::Forgetting, "tries what is not there");
        assert_eq!(*kept, self.disk.kept);
    }

    /// An answer with a certificate for a box of this tenant.
    pub fn enrolled(&mut self, tenant: &str) -> Event {
        self.ids += 1;
        let from = self.now.unix_ms;
        let validity = Validity { from_unix_ms: from, until_unix_ms: from + 90 * DAY, renew_unix_ms: 0 };
        self.offered = Some(Cred { id: self.ids, tenant: tenant.to_owned(), validity });
        Event::SaidEnrolled(tenant.to_owned())
    }

    /// What brings the box on where it is now, if all goes well.
    pub fn good_event(&mut self) -> Event {
        if let Some(event) = self.pending.pop_front() {
            return event;
        }
        let lock = self.disk.kept.tenant.clone().unwrap_or_else(|| OURS.to_owned());
        match self.state.phase.clone() {
            Phase::Unclaimed => Event::Ask(self.random.choice([Way::Code, Way::Button, Way::Registration]).unwrap()),
            Phase::Pairing { way: Way::Code, stage: Stage::Waiting, .. } => Event::SaidPress,
            Phase::Pairing { stage: Stage::Press(false), .. } => Event::Tap,
            Phase::Pairing { way: Way::Button, stage: Stage::Waiting, .. } => Event::SaidNumber(3),
            Phase::Pairing { .. } => self.enrolled(&lock),
            Phase::Enrolling { .. } => Event::Welcome,
            Phase::Active(_) if self.state.has_next => Event::Welcome,
            Phase::Renewing(_) | Phase::Expired(_) if self.state.has_next => Event::Welcome,
            Phase::Renewing(_) | Phase::Expired(_) => self.enrolled(&lock),
            Phase::Disabled => Event::Ticket,
            Phase::Factory | Phase::Forgetting | Phase::Active(_) => Event::Tick,
        }
    }

    /// Anything at all.
    pub fn any_event(&mut self) -> Event {
        match self.random.u8(0..30) {
            0..=5 => return self.good_event(),
            6..=8 => return Event::Refused("refused".to_owned(), "revoked".to_owned()),
            _ => {}
        }
        match self.random.u8(0..22) {
            0 => Event::Ask(Way::Code),
            1 => Event::Ask(Way::Button),
            2 => Event::Ask(Way::Registration),
            3 => Event::SaidPress,
            4 => Event::SaidNumber(self.random.u8(0..9)),
            5 => self.enrolled(OURS),
            6 => self.enrolled(THEIRS),
            7 => Event::SaidNo("no".to_owned()),
            8 => Event::Cancel,
            9 => Event::Tap,
            10 => Event::Welcome,
            11 => Event::NotRenewed("down".to_owned()),
            12 => Event::Ticket,
            13 => Event::HeldTen,
            14 => Event::Unlock("ABCDEFGH".to_owned()),
            15 | 16 => Event::Answer(false),
            17 => Event::Answer(self.random.bool()),
            18 if self.random.u8(0..6) == 0 => Event::Reset,
            19 if self.random.u8(0..6) == 0 => Event::Decommission,
            _ => Event::Tick,
        }
    }

    /// Whether this can happen at all: nobody is welcome or refused without having shown a certificate.
    pub fn can_happen(&self, event: &Event) -> bool {
        !matches!(event, Event::Welcome | Event::Refused(..)) || self.shown().is_some()
    }

    /// A random stretch of time, mostly short.
    pub fn some_time(&mut self) -> u64 {
        let most = match self.random.u8(0..40) {
            0..=19 => 5_000,
            20..=29 => 2 * MINUTE,
            30..=34 => 20 * MINUTE,
            35..=37 => 2 * HOUR,
            38 => 2 * DAY,
            _ => 70 * DAY,
        };
        self.random.u64(0..most)
    }

    /// So many random events.
    pub fn live(&mut self, events: usize) {
        for _ in 0..events {
            let time = self.some_time();
            self.pass(time);
            if self.random.u8(0..60) == 0 {
                self.clock_falls_back(time);
            }
            let event = self.any_event();
            if self.can_happen(&event) {
                self.hear(event);
            }
            self.check();
        }
    }
}
