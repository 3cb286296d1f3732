//! Walking a subtree: with as large steps as the device bears, and an end in every case.
//!
//! [`Walker`] decides what to ask and what an answer means, without a network; `rows` keeps what was found, `ahead`
//! guesses names so that one GETNEXT can bring several rows, `columns` reads columns of a table side by side, `habits`
//! remembers what each device bears.

mod ahead;
mod columns;
mod habits;
mod rows;
#[cfg(test)]
mod tests;

pub(super) use columns::columns;
pub(super) use habits::HabitTable;

use super::codec::{Bindings, Request, Response};
use super::limits::MAX_STEPPED_PAST;
use super::session::status;
use super::{Oid, Session, SnmpError, Walk, WalkEnd, WalkLimits, guard};
use ahead::Ahead;
use habits::{Bulk, Habits};
use rows::Rows;
use std::net::SocketAddr;
use tokio::time::{Instant, timeout_at};

/// Walks with as large steps as the device bears.
pub(super) async fn walk(session: &Session, root: &Oid, limits: WalkLimits) -> Result<Walk, SnmpError> {
    let target = session.target();
    guard::check_walk(target, root)?;
    let deadline = Instant::now() + limits.time;
    let (habits, expected) = session.habits().of(target, root);
    let mut walker = Walker::new(target, root, &limits, session.has_bulk(), habits, expected);
    // Each turn either brings an object identifier larger than all before, or makes the step smaller; the time limit
    // ends what the row limit does not.
    loop {
        let request = walker.request();
        let end = match timeout_at(deadline, session.exchange(request)).await {
            Ok(heard) => walker.hear(heard),
            Err(_) => Some(walker.out_of_time()),
        };
        session.habits().remember(target, walker.habits);
        if let Some(end) = end {
            if let Ok(walk) = &end
                && walk.end.is_complete()
            {
                session.habits().remember_length(target, root, walk.varbinds.len());
            }
            return end;
        }
    }
}

/// How to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// GETBULK with so many repetitions.
    Bulk(u32),
    /// GETNEXT.
    Next,
}

/// What a GETNEXT that is answered well shows about what was tried before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shows {
    Nothing,
    /// The device does not know GETBULK.
    BulkRefused,
    /// Its GETBULK goes out of order.
    BulkOutOfOrder,
    /// It was asked for too much: so many repetitions are tried next.
    TooManyRepetitions(u32),
    /// It was about this object alone: so many repetitions did go before it.
    OneObject(u32),
}

/// Why a step did not lead on.
#[derive(Debug)]
enum Trouble {
    Silence(SnmpError),
    Status(u32),
    /// An answer with nothing in it, or with something that cannot be read and nobody knows what.
    Unreadable,
    Error(SnmpError),
}

/// One walk.
struct Walker {
    target: SocketAddr,
    rows: Rows,
    ahead: Ahead,
    habits: Habits,
    step: Step,
    shows: Shows,
    /// Next to what must not be asked for, a walk takes one object at a time.
    one_by_one: bool,
    /// Most names of the next GETNEXT, while it is found out how many go.
    names: usize,
    /// What the last GETNEXT asked for.
    asked: Vec<Oid>,
    /// How many repetitions the last GETBULK asked for.
    asked_repetitions: u32,
    /// Whether the device has said anything in this walk.
    answered: bool,
    /// How many rows the device had when it was walked last.
    expected: Option<u32>,
    /// Requests without an answer since the last answer.
    silences: u32,
    /// Most repetitions that were answered well in this walk.
    best: u32,
    stepped_past: u32,
}

impl Walker {
    fn new(
        target: SocketAddr,
        root: &Oid,
        limits: &WalkLimits,
        has_bulk: bool,
        habits: Habits,
        expected: Option<u32>,
    ) -> Self {
        let one_by_one = limits.careful || guard::takes_single_steps(root);
        let repetitions = habits.first_repetitions().filter(|_| has_bulk && !one_by_one);
        Self {
            target,
            rows: Rows::new(root, limits),
            ahead: Ahead::default(),
            habits,
            step: repetitions.map_or(Step::Next, Step::Bulk),
            shows: Shows::Nothing,
            one_by_one,
            names: habits.names,
            asked: Vec::new(),
            asked_repetitions: 0,
            answered: false,
            expected,
            silences: 0,
            best: 0,
            stepped_past: 0,
        }
    }

    /// What to ask now.
    fn request(&mut self) -> Request {
        let position = self.rows.position();
        match self.step {
            Step::Bulk(repetitions) => {
                let max_repetitions = repetitions.min(self.rows.useful_repetitions(self.expected));
                self.asked_repetitions = max_repetitions;
                Request::GetBulk { oids: vec![position], non_repeaters: 0, max_repetitions }
            }
            Step::Next => {
                // To find out whether GETNEXT goes at all, one name is enough.
                let is_trial = self.one_by_one || self.shows != Shows::Nothing;
                let most = if is_trial { 1 } else { self.names.min(self.rows.wanted()) };
                self.asked = self.ahead.names(position, self.rows.root(), self.rows.found(), most);
                Request::GetNext(self.asked.clone())
            }
        }
    }

    /// Takes over what came of it; returns the walk when it is at its end.
    fn hear(&mut self, heard: Result<Response, SnmpError>) -> Option<Result<Walk, SnmpError>> {
        let taken = match heard {
            Ok(response) => {
                self.answered = true;
                self.silences = 0;
                match (response.error_status, self.step) {
                    (status::NO_ERROR, Step::Bulk(repetitions)) => self.take_bulk(repetitions, response.bindings),
                    (status::NO_ERROR, Step::Next) => self.take_next(response.bindings),
                    (status::NO_SUCH_NAME, _) => self.take_nothing(response.error_index),
                    (status, _) => Err(Trouble::Status(status)),
                }
            }
            Err(error @ SnmpError::Timeout { .. }) => Err(Trouble::Silence(error)),
            Err(error) => Err(Trouble::Error(error)),
        };
        match taken {
            Ok(end) => end.map(|end| Ok(self.rows.end(end))),
            Err(trouble) if self.ask_for_less(&trouble) || self.step_past(&trouble) => None,
            Err(trouble) => Some(self.give_up(trouble)),
        }
    }

    fn take_bulk(&mut self, repetitions: u32, bindings: Bindings) -> Result<Option<WalkEnd>, Trouble> {
        // No bindings at all, against RFC 3416 §4.2.3, are as good as genErr; so is a gap that nobody knows where it is.
        if bindings.list.is_empty() || bindings.unreadable > 0 {
            return Err(Trouble::Unreadable);
        }
        if !self.rows.is_in_order(&bindings.list) {
            // Rows may have been passed over, so none of it is taken.
            (self.step, self.shows) = (Step::Next, Shows::BulkOutOfOrder);
            return Ok(None);
        }
        self.best = self.best.max(self.asked_repetitions);
        let is_full = bindings.list.len() >= usize::try_from(self.habits.repetitions).unwrap_or(usize::MAX);
        let end = self.rows.take(bindings.list);
        if repetitions < self.habits.repetitions && self.habits.bulk != Bulk::Refused {
            self.habits.lower(repetitions);
        } else {
            // Where the walk is at its end, more would only have brought what nobody wants.
            self.habits.bulk_went_well(is_full && end.is_none());
        }
        self.step = Step::Bulk(self.habits.repetitions);
        Ok(end)
    }

    fn take_next(&mut self, bindings: Bindings) -> Result<Option<WalkEnd>, Trouble> {
        let asked = self.asked.len();
        let is_whole = bindings.unreadable == 0 && !bindings.list.is_empty();
        let chain = if is_whole { ahead::chain(&self.asked, bindings.list) } else { None };
        let Some(chain) = chain else {
            if asked == 1 {
                return Err(Trouble::Unreadable);
            }
            // It contradicts itself, or nobody knows which name it has no answer for: one name goes without saying.
            self.names = 1;
            return Ok(None);
        };
        let taken = chain.len();
        let end = self.rows.take(chain);
        if end == Some(WalkEnd::NotIncreasing) {
            return Ok(end);
        }
        self.ahead.learn(asked, taken, self.rows.found());
        match std::mem::replace(&mut self.shows, Shows::Nothing) {
            Shows::Nothing if self.names < self.habits.names => self.habits.lower_names(self.names),
            Shows::Nothing => self.habits.went_well(),
            Shows::BulkRefused => self.habits.refuse_bulk(),
            Shows::BulkOutOfOrder => self.habits.bulk = Bulk::OutOfOrder,
            Shows::TooManyRepetitions(fewer) => {
                self.habits.lower(fewer);
                self.step = Step::Bulk(fewer);
            }
            Shows::OneObject(repetitions) if repetitions > 0 => {
                self.habits.restore(repetitions);
                self.step = Step::Bulk(repetitions);
            }
            Shows::OneObject(_) => {}
        }
        Ok(end)
    }

    /// noSuchName: nothing is behind the name with this number, from 1. That spoils what is behind the others too.
    fn take_nothing(&mut self, index: u32) -> Result<Option<WalkEnd>, Trouble> {
        if self.step != Step::Next {
            // It says so at the end of everything, and there may be rows before it.
            self.step = Step::Next;
            return Ok(None);
        }
        if self.asked.len() == 1 {
            return Ok(Some(WalkEnd::EndOfMibView));
        }
        let number = usize::try_from(index).unwrap_or(0);
        match number.checked_sub(1).filter(|number| *number > 0).and_then(|number| self.asked.get(number)) {
            Some(name) => self.ahead.nothing_behind(name.clone()),
            None => self.ahead.nothing_behind(self.rows.position()),
        }
        Ok(None)
    }

    /// Makes the next step smaller, if it can be.
    fn ask_for_less(&mut self, trouble: &Trouble) -> bool {
        let is_silent = match trouble {
            Trouble::Silence(_) => true,
            Trouble::Status(_) | Trouble::Unreadable | Trouble::Error(SnmpError::Garbage { .. }) => false,
            Trouble::Error(_) => return false,
        };
        if is_silent {
            self.silences += 1;
        }
        // Waiting is dear: the second silence asks whether the device is there at all.
        let is_dear = is_silent && (!self.answered || self.silences > 1);
        match self.step {
            Step::Bulk(repetitions) => {
                // A device that has never answered a GETBULK may not know it.
                let may_know = self.answered || self.habits.bulk == Bulk::Works;
                let fewer = self.asked_repetitions / 2;
                let next_shows = match fewer {
                    _ if is_dear && !may_know => Shows::BulkRefused,
                    0 if repetitions > 1 && repetitions == self.habits.repetitions => Shows::OneObject(repetitions),
                    0 => Shows::BulkRefused,
                    _ if is_dear => Shows::TooManyRepetitions(fewer),
                    _ => {
                        self.step = Step::Bulk(fewer);
                        return true;
                    }
                };
                (self.step, self.shows) = (Step::Next, next_shows);
                true
            }
            Step::Next if self.asked.len() > 1 => {
                self.names = if is_dear { 1 } else { self.asked.len() / 2 };
                true
            }
            Step::Next => false,
        }
    }

    /// Goes on behind the name that most likely cannot be read; the walk will not be complete.
    fn step_past(&mut self, trouble: &Trouble) -> bool {
        if !matches!(trouble, Trouble::Status(status::GEN_ERR | status::NO_ACCESS) | Trouble::Unreadable)
            || self.stepped_past >= MAX_STEPPED_PAST
        {
            return false;
        }
        self.ahead.learn(1, 0, self.rows.found());
        let position = self.rows.position();
        let guess = self.ahead.guess(&position, self.rows.found()).filter(|name| name.starts_with(self.rows.root()));
        let Some(name) = guess else { return false };
        self.stepped_past += 1;
        self.names = self.habits.names;
        self.rows.step_past(name);
        self.shows = Shows::OneObject(self.best);
        true
    }

    /// What has been found is kept; an error is only for a walk that found nothing.
    fn give_up(&mut self, trouble: Trouble) -> Result<Walk, SnmpError> {
        if let Trouble::Status(_) | Trouble::Unreadable = trouble {
            self.habits.restore(self.best);
        }
        let is_empty = self.rows.found().is_empty();
        match trouble {
            Trouble::Silence(_) if self.answered => Ok(self.rows.end(WalkEnd::TimeLimit)),
            Trouble::Silence(error) | Trouble::Error(error) if is_empty => Err(error),
            Trouble::Status(status) if is_empty => Err(SnmpError::ErrorStatus { target: self.target, status }),
            Trouble::Unreadable if is_empty => {
                let detail = "the objects in it cannot be read".to_owned();
                Err(SnmpError::Garbage { target: self.target, detail })
            }
            Trouble::Silence(_) | Trouble::Error(_) | Trouble::Status(_) | Trouble::Unreadable => {
                Ok(self.rows.end(WalkEnd::BrokenOff))
            }
        }
    }

    fn out_of_time(&mut self) -> Result<Walk, SnmpError> {
        if self.answered {
            Ok(self.rows.end(WalkEnd::TimeLimit))
        } else {
            Err(SnmpError::Timeout { target: self.target, tries: 1 })
        }
    }
}
