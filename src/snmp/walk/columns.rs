//! Several columns of a table side by side: one GETBULK brings the next rows of all of them, so that a small table takes
//! one or two datagrams instead of one for each column. In v1, and where GETBULK does not go, it is GETNEXT of all of them.
//!
//! [`SideBySide`] decides what to ask and what an answer means, without a network. An agent answers row by row, so the
//! place of a binding tells its column. That is not simply believed: each column must go forward by itself, and no object
//! that is known may lie where another answer said that there is none. What does not fit, and what cannot be read so, is
//! left to the walk of one column, which finds out more of what a device bears.

mod column;
#[cfg(test)]
mod tests;

use super::habits::{Bulk, Habits};
use super::{Trouble, walk};
use crate::snmp::codec::varbinds::name_bytes;
use crate::snmp::codec::{Bindings, Request, Response};
use crate::snmp::limits::{MAX_COLUMNS_PER_CALL, MAX_OIDS_PER_REQUEST, MAX_REQUEST_BYTES};
use crate::snmp::session::status;
use crate::snmp::source::column_roots;
use crate::snmp::{Oid, Session, SnmpError, VarBind, Walk, WalkEnd, WalkLimits, guard};
use column::{Column, State};
use std::net::SocketAddr;
use tokio::time::{Instant, timeout_at};

/// Reads columns side by side as far as the device bears it, and the others one after the other.
pub(in crate::snmp) async fn columns(
    session: &Session,
    entry: &Oid,
    columns: &[u32],
    limits: WalkLimits,
) -> Result<Walk, SnmpError> {
    let target = session.target();
    let roots = column_roots(entry, columns);
    if roots.len() > MAX_COLUMNS_PER_CALL {
        let detail = format!("{} columns are asked for at once, more than {MAX_COLUMNS_PER_CALL}", roots.len());
        return Err(SnmpError::BadRequest { target, detail });
    }
    for root in &roots {
        guard::check_walk(target, root)?;
    }
    let Some(first) = roots.first() else { return Ok(Walk::joined(Vec::new())) };
    let deadline = Instant::now() + limits.time;
    // What is remembered of the first column is the length of the longest.
    let (habits, expected) = session.habits().of(target, first);
    let mut table = SideBySide::new(target, &roots, &limits, session.has_bulk(), habits, expected);
    // Each turn brings a larger object identifier of some column, ends a column, or makes the step smaller; the time limit
    // ends what the row limit does not.
    while let Some(todo) = table.todo() {
        match todo {
            Todo::Ask(request) => {
                match timeout_at(deadline, session.exchange(request)).await {
                    Ok(heard) => table.hear(heard),
                    Err(_) => table.out_of_time(),
                }
                session.habits().remember(target, table.habits);
            }
            Todo::Walk(root, bytes) => {
                let time = deadline.saturating_duration_since(Instant::now());
                table.hear_walk(walk(session, &root, WalkLimits { bytes, time, ..limits }).await);
            }
        }
    }
    let longest = table.longest();
    let all = table.end()?;
    if all.end.is_complete() {
        session.habits().remember_length(target, first, longest);
    }
    Ok(all)
}

/// What is to be done next.
#[derive(Debug)]
enum Todo {
    Ask(Request),
    /// Walk this column by itself, and keep so many bytes of it.
    Walk(Oid, usize),
}

/// How to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// GETBULK of all columns, or of some.
    Bulk,
    /// GETNEXT of them.
    Next,
    /// GETNEXT of one name, to find out whether that goes.
    Probe,
}

/// What a GETNEXT that is answered well shows about what was tried before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shows {
    Nothing,
    /// The device does not know GETBULK.
    BulkRefused,
    /// Its GETBULK of several names is of no use.
    NamesMixed,
    /// It was asked for too much: so many bindings are tried next.
    TooMuch(u32),
}

/// Some columns of one table.
struct SideBySide {
    target: SocketAddr,
    columns: Vec<Column>,
    habits: Habits,
    step: Step,
    shows: Shows,
    /// Most bindings of the next answer to GETBULK.
    most: u32,
    /// Most names of the next request.
    names: usize,
    /// The columns of the last request, and how many repetitions of them it asked for.
    asked: Vec<usize>,
    asked_repetitions: u32,
    /// The column to ask next without the others.
    only: Option<usize>,
    /// How many rows the longest column had when it was read last.
    expected: Option<u32>,
    /// Whether the device has said anything.
    answered: bool,
    /// Requests without an answer since the last answer.
    silences: u32,
    bytes_left: usize,
    /// Objects that were named out of order.
    noticed: Vec<Oid>,
    /// What is to be told if nothing at all could be read.
    error: Option<SnmpError>,
}

impl SideBySide {
    fn new(
        target: SocketAddr,
        roots: &[Oid],
        limits: &WalkLimits,
        has_bulk: bool,
        habits: Habits,
        expected: Option<u32>,
    ) -> Self {
        // The walk of one column is better at that.
        let is_alone = roots.len() < 2 || habits.names < 2 || limits.careful;
        let most = habits.first_repetitions().filter(|_| has_bulk && !habits.mixes_names);
        Self {
            target,
            columns: roots.iter().map(|root| Column::new(root, limits, is_alone)).collect(),
            habits,
            step: if most.is_some() { Step::Bulk } else { Step::Next },
            shows: Shows::Nothing,
            most: most.unwrap_or(1),
            names: habits.names,
            asked: Vec::new(),
            asked_repetitions: 0,
            only: None,
            expected,
            answered: false,
            silences: 0,
            bytes_left: limits.bytes,
            noticed: Vec::new(),
            error: None,
        }
    }

    /// What to do now; `None` at the end.
    fn todo(&mut self) -> Option<Todo> {
        self.asked = self.choose();
        if let Some(column) = self.columns.iter().find(|column| column.state == State::Alone)
            && self.asked.is_empty()
        {
            return Some(Todo::Walk(column.rows.root().clone(), self.bytes_left));
        }
        let columns: Vec<&Column> = self.asked.iter().filter_map(|column| self.columns.get(*column)).collect();
        let useful = columns.iter().map(|column| column.rows.useful_repetitions(self.expected)).max()?;
        let oids = columns.iter().map(|column| column.rows.position()).collect();
        Some(Todo::Ask(if self.step == Step::Bulk {
            self.asked_repetitions = self.affordable_repetitions().min(useful);
            Request::GetBulk { oids, non_repeaters: 0, max_repetitions: self.asked_repetitions }
        } else {
            Request::GetNext(oids)
        }))
    }

    /// The columns of the next request: the first of those that are open.
    fn choose(&self) -> Vec<usize> {
        let is_open = |column: &usize| self.columns.get(*column).is_some_and(|column| column.state == State::Open);
        if let Some(only) = self.only.filter(is_open) {
            return vec![only];
        }
        let most = match self.step {
            Step::Bulk => self.names.min(usize::try_from(self.most).unwrap_or(usize::MAX)),
            Step::Next => self.names,
            Step::Probe => 1,
        };
        let mut bytes = 0;
        (0..self.columns.len())
            .filter(is_open)
            .take(most.clamp(1, MAX_OIDS_PER_REQUEST))
            .take_while(|column| {
                bytes += self.columns.get(*column).map_or(0, |column| name_bytes(&column.rows.position()));
                bytes <= MAX_REQUEST_BYTES
            })
            .collect()
    }

    /// How many rows of the columns asked the device bears.
    fn affordable_repetitions(&self) -> u32 {
        (self.most / u32::try_from(self.asked.len().max(1)).unwrap_or(u32::MAX)).max(1)
    }

    /// Takes over what came of a request.
    fn hear(&mut self, heard: Result<Response, SnmpError>) {
        let mut blamed = None;
        let taken = match heard {
            Ok(response) => {
                (self.answered, self.silences) = (true, 0);
                let index = usize::try_from(response.error_index).ok().and_then(|index| index.checked_sub(1));
                blamed = index.and_then(|index| self.asked.get(index)).copied();
                match (response.error_status, self.step) {
                    (status::NO_ERROR, Step::Bulk) => self.take_bulk(response.bindings),
                    (status::NO_ERROR, Step::Next | Step::Probe) => self.take_next(response.bindings),
                    (status::NO_SUCH_NAME, _) => {
                        self.take_nothing(blamed);
                        Ok(())
                    }
                    (status, _) => Err(Trouble::Status(status)),
                }
            }
            Err(error @ SnmpError::Timeout { .. }) => Err(Trouble::Silence(error)),
            Err(error) => Err(Trouble::Error(error)),
        };
        if let Err(trouble) = taken
            && !self.ask_for_less(&trouble)
        {
            self.leave(trouble, blamed);
        }
        if self.columns.iter().all(|column| column.state != State::Open) {
            self.doubt();
        }
    }

    fn take_bulk(&mut self, bindings: Bindings) -> Result<(), Trouble> {
        let (width, received) = (self.asked.len(), bindings.list.len());
        if received == 0 || bindings.unreadable > 0 {
            return Err(Trouble::Unreadable);
        }
        let is_in_order = self.asked.iter().enumerate().all(|(place, column)| {
            let of_column = bindings.list.iter().skip(place).step_by(width.max(1));
            self.columns.get(*column).is_some_and(|column| column.rows.is_in_order(of_column))
        });
        if !is_in_order {
            if width < 2 {
                return Err(Trouble::Unreadable);
            }
            // Rows may have been passed over, so none of it is taken.
            (self.step, self.shows) = (Step::Next, Shows::NamesMixed);
            return Ok(());
        }
        self.take(bindings.list);
        if received < width {
            self.names = received;
        }
        let is_over = self.columns.iter().all(|column| column.state != State::Open);
        let is_full = self.asked_repetitions == self.affordable_repetitions()
            && received >= width * usize::try_from(self.asked_repetitions).unwrap_or(usize::MAX);
        if self.most < self.habits.repetitions && self.habits.bulk != Bulk::Refused {
            self.habits.lower(self.most);
        } else {
            self.habits.bulk_went_well(is_full && !is_over);
        }
        self.most = self.habits.repetitions;
        Ok(())
    }

    fn take_next(&mut self, bindings: Bindings) -> Result<(), Trouble> {
        let (width, mut list) = (self.asked.len(), bindings.list);
        if list.len() < width || bindings.unreadable > 0 {
            if width < 2 {
                return Err(Trouble::Unreadable);
            }
            // Nobody knows which of them it has no answer for.
            self.names = width / 2;
            return Ok(());
        }
        list.truncate(width);
        let is_astray = |(column, binding): &(&usize, &VarBind)| {
            self.columns.get(**column).is_some_and(|column| !column.rows.is_in_order([*binding]))
        };
        let astray: Vec<(usize, Oid)> =
            self.asked.iter().zip(&list).filter(is_astray).map(|(column, it)| (*column, it.oid.clone())).collect();
        if astray.len() * 2 > width {
            if width < 2 {
                return Err(Trouble::Unreadable);
            }
            self.names = 1;
            return Ok(());
        }
        // These go in circles, or their answers stand in the places of others.
        for (column, oid) in astray {
            self.leave_alone(column);
            self.noticed.push(oid);
        }
        self.take(list);
        if self.only.take().is_some() {
            // It has something behind this name after all, so which one it meant is not known.
            self.names = (self.names / 2).max(1);
        }
        match std::mem::replace(&mut self.shows, Shows::Nothing) {
            Shows::Nothing if self.names < self.habits.names => self.habits.lower_names(self.names),
            Shows::Nothing => self.habits.went_well(),
            Shows::BulkRefused => self.habits.refuse_bulk(),
            Shows::NamesMixed => self.habits.mixes_names = true,
            Shows::TooMuch(fewer) => {
                self.habits.lower(fewer);
                (self.step, self.most) = (Step::Bulk, fewer);
            }
        }
        if self.step == Step::Probe {
            self.step = Step::Next;
        }
        if self.names < 2 && self.step == Step::Next {
            self.leave_all();
        }
        Ok(())
    }

    /// Gives each binding to the column of its place.
    fn take(&mut self, list: Vec<VarBind>) {
        for (column, binding) in self.asked.iter().cycle().zip(list) {
            if let Some(column) = self.columns.get_mut(*column) {
                column.take(binding, &mut self.bytes_left);
            }
        }
    }

    /// noSuchName: nothing is behind one of the names, and that spoils what is behind the others.
    fn take_nothing(&mut self, blamed: Option<usize>) {
        match (self.step, self.asked.as_slice(), blamed) {
            // It says so at the end of everything, and there may be rows before it.
            (Step::Bulk, ..) => self.step = Step::Next,
            (_, [column], _) => {
                // So nothing is behind the larger names either.
                let open = self.columns.iter_mut().skip(*column).filter(|column| column.state == State::Open);
                open.for_each(|column| column.state = State::Ended(WalkEnd::EndOfMibView));
                self.only = None;
            }
            // Some agents say the wrong number. Asked alone, there is no doubt.
            (_, _, Some(column)) => self.only = Some(column),
            (_, asked, None) => self.names = asked.len() / 2,
        }
    }

    /// Makes the next step smaller, if it can be.
    fn ask_for_less(&mut self, trouble: &Trouble) -> bool {
        let is_silent = matches!(trouble, Trouble::Silence(_));
        // What is cut off in the middle is too big for whoever sends it.
        let is_too_big =
            matches!(trouble, Trouble::Status(status::TOO_BIG) | Trouble::Error(SnmpError::Garbage { .. }));
        if !is_silent && !is_too_big {
            return false;
        }
        self.silences += u32::from(is_silent);
        // Waiting is dear: the second silence asks whether the device is there at all.
        let is_dear = is_silent && (!self.answered || self.silences > 1);
        let width = self.asked.len();
        match self.step {
            Step::Bulk => {
                // A device that has never answered a GETBULK may not know it.
                let may_know = self.answered || self.habits.bulk == Bulk::Works;
                let fewer = self.asked_repetitions.saturating_mul(u32::try_from(width).unwrap_or(u32::MAX)) / 2;
                match fewer {
                    0 if is_too_big => return false,
                    _ if fewer == 0 || is_dear && !may_know => {
                        (self.step, self.shows) = (Step::Probe, Shows::BulkRefused);
                    }
                    _ if is_dear => (self.step, self.shows) = (Step::Probe, Shows::TooMuch(fewer)),
                    _ => self.most = fewer,
                }
                true
            }
            Step::Next if width > 1 => {
                self.names = if is_dear { 1 } else { width / 2 };
                true
            }
            Step::Next | Step::Probe => false,
        }
    }

    /// Leaves columns to the walk of one column, or ends them.
    fn leave(&mut self, trouble: Trouble, blamed: Option<usize>) {
        let only = if self.asked.len() == 1 { self.asked.first().copied() } else { blamed };
        match trouble {
            Trouble::Error(error) if !matches!(error, SnmpError::Garbage { .. }) => {
                self.error.get_or_insert(error);
                self.end_all(WalkEnd::BrokenOff);
            }
            Trouble::Silence(error) if !self.answered => {
                self.error.get_or_insert(error);
                self.end_all(WalkEnd::TimeLimit);
            }
            Trouble::Silence(_) => {
                // Whether the device is still there shows with the next column.
                if let Some(column) = only.and_then(|column| self.columns.get_mut(column)) {
                    column.state = State::Ended(WalkEnd::TimeLimit);
                }
                self.leave_all();
            }
            Trouble::Status(_) | Trouble::Unreadable | Trouble::Error(_) => match (self.step, only) {
                (Step::Next | Step::Probe, Some(column)) => {
                    (self.step, self.shows, self.only) = (Step::Next, Shows::Nothing, None);
                    self.leave_alone(column);
                }
                (Step::Next, None) => self.names = (self.asked.len() / 2).max(1),
                (Step::Bulk | Step::Probe, _) => self.leave_all(),
            },
        }
    }

    /// What has been found is kept for the case that the walk brings nothing.
    fn leave_alone(&mut self, column: usize) {
        if let Some(column) = self.columns.get_mut(column) {
            column.state = State::Alone;
            self.bytes_left += column.kept_bytes();
        }
    }

    fn leave_all(&mut self) {
        let is_open = |column: &usize| self.columns.get(*column).is_some_and(|column| column.state == State::Open);
        let open: Vec<usize> = (0..self.columns.len()).filter(is_open).collect();
        open.into_iter().for_each(|column| self.leave_alone(column));
    }

    fn end_all(&mut self, end: WalkEnd) {
        let unfinished = self.columns.iter_mut().filter(|column| !matches!(column.state, State::Ended(_)));
        unfinished.for_each(|column| column.state = State::Ended(end));
    }

    /// Has those columns walked by themselves whose ends, or gaps, contradict what other answers said.
    fn doubt(&mut self) {
        let beyond = self.columns.iter().flat_map(|column| &column.beyond);
        let firsts = self.columns.iter().filter_map(|column| column.rows.found().first()).map(|row| &row.oid);
        let other: Vec<&Oid> = beyond.chain(firsts).chain(&self.noticed).collect();
        let is_doubtful =
            |column: &usize| self.columns.get(*column).is_some_and(|it| it.contradicts(other.iter().copied()));
        let doubtful: Vec<usize> = (0..self.columns.len()).filter(is_doubtful).collect();
        if doubtful.is_empty() {
            return;
        }
        match self.step {
            Step::Bulk => self.habits.mixes_names = true,
            Step::Next | Step::Probe => self.habits.lower_names(1),
        }
        doubtful.into_iter().for_each(|column| self.leave_alone(column));
    }

    /// Takes over what the walk of a column by itself brought.
    fn hear_walk(&mut self, walked: Result<Walk, SnmpError>) {
        let Some(column) = self.columns.iter_mut().find(|column| column.state == State::Alone) else { return };
        match walked {
            Ok(walk) => {
                self.bytes_left = self.bytes_left.saturating_sub(walk.kept_bytes());
                column.state = State::Ended(walk.end);
                column.walk = Some(walk);
            }
            Err(error) => {
                let is_silent = matches!(error, SnmpError::Timeout { .. });
                let end = if is_silent { WalkEnd::TimeLimit } else { WalkEnd::BrokenOff };
                column.state = State::Ended(end);
                let is_about_the_column = match &error {
                    SnmpError::ErrorStatus { .. } => true,
                    SnmpError::Garbage { .. } => self.answered,
                    _ => false,
                };
                if !is_about_the_column {
                    self.end_all(end);
                }
                self.error.get_or_insert(error);
            }
        }
    }

    fn out_of_time(&mut self) {
        if !self.answered {
            self.error.get_or_insert(SnmpError::Timeout { target: self.target, tries: 1 });
        }
        self.end_all(WalkEnd::TimeLimit);
    }

    /// The rows of the longest column.
    fn longest(&self) -> usize {
        let rows = |column: &Column| column.walk.as_ref().map_or(column.rows.found().len(), |walk| walk.varbinds.len());
        self.columns.iter().map(rows).max().unwrap_or(0)
    }

    /// What has been found; an error is only for a table of which nothing could be read.
    fn end(mut self) -> Result<Walk, SnmpError> {
        let walks: Vec<Walk> = self.columns.iter_mut().map(Column::end).collect();
        let is_something = |walk: &Walk| !walk.varbinds.is_empty() || walk.end.is_complete();
        match self.error {
            Some(error) if !walks.iter().any(is_something) => Err(error),
            _ => Ok(Walk::joined(walks)),
        }
    }
}
