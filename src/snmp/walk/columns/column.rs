//! One of several columns that are read side by side: what was found of it, and whether its end can be believed.

use crate::snmp::walk::rows::Rows;
use crate::snmp::{Oid, VarBind, Walk, WalkEnd, WalkLimits, guard};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Open,
    /// To be walked by itself.
    Alone,
    Ended(WalkEnd),
}

#[derive(Debug)]
pub(super) struct Column {
    pub(super) rows: Rows,
    pub(super) state: State,
    /// The objects behind its end that the answer named, in order.
    pub(super) beyond: Vec<Oid>,
    /// What a walk of this column by itself brought.
    pub(super) walk: Option<Walk>,
}

impl Column {
    pub(super) fn new(root: &Oid, limits: &WalkLimits, is_alone: bool) -> Self {
        let state = if is_alone || guard::takes_single_steps(root) { State::Alone } else { State::Open };
        Self { rows: Rows::new(root, limits), state, beyond: Vec::new(), walk: None }
    }

    /// Takes one binding over; those behind the column's end are noted.
    pub(super) fn take(&mut self, binding: VarBind, bytes_left: &mut usize) {
        let is_present = binding.value.is_present();
        let is_inside = binding.oid.starts_with(self.rows.root());
        if self.state == State::Open && is_inside && is_present {
            match bytes_left.checked_sub(binding.value.kept_bytes()) {
                Some(left) => *bytes_left = left,
                None => return self.state = State::Ended(WalkEnd::ByteLimit),
            }
        }
        let oid = (!is_inside && is_present).then(|| binding.oid.clone());
        if self.state == State::Open
            && let Some(end) = self.rows.take([binding])
        {
            self.state = State::Ended(end);
        }
        if self.state == State::Ended(WalkEnd::EndOfSubtree) {
            self.beyond.extend(oid);
        }
    }

    pub(super) fn kept_bytes(&self) -> usize {
        self.rows.found().iter().map(|row| row.value.kept_bytes()).sum()
    }

    /// Whether it was said to end before an object that is known, or has a gap where one is. `other` are objects that
    /// answers named.
    pub(super) fn contradicts<'a>(&self, mut other: impl Iterator<Item = &'a Oid>) -> bool {
        let end = match (self.state, self.beyond.first()) {
            (State::Ended(WalkEnd::EndOfSubtree), Some(first)) => Some(first),
            (State::Ended(WalkEnd::EndOfMibView), _) => None,
            _ => return false,
        };
        let found = self.rows.found();
        other.any(|oid| {
            if oid.starts_with(self.rows.root()) {
                return found.binary_search_by(|row| row.oid.cmp(oid)).is_err();
            }
            oid > self.rows.root() && end.is_none_or(|end| oid < end)
        })
    }

    pub(super) fn end(&mut self) -> Walk {
        let end = match self.state {
            State::Ended(end) => end,
            State::Open | State::Alone => WalkEnd::TimeLimit,
        };
        self.walk.take().unwrap_or_else(|| self.rows.end(end))
    }
}
