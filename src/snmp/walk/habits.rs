//! What a device bears, found out by walks and remembered for the next: how many repetitions, how many names, whether
//! its GETBULK is to be used at all; and how many rows each walk brought, so that the next asks for just those.

use crate::snmp::Oid;
use crate::snmp::limits::{
    FIRST_REPETITIONS, MAX_HABITS, MAX_LENGTHS, MAX_OIDS_PER_REQUEST, MAX_REPETITIONS, MAX_TRY_AGAIN_AFTER,
    MAX_WALK_REPETITIONS, MORE_REPETITIONS, TRY_AGAIN_AFTER,
};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

/// Whether a device's GETBULK can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bulk {
    Unknown,
    Works,
    /// It is answered with an error or not at all, where GETNEXT is answered.
    Refused,
    /// Its answers are out of order, where those to GETNEXT are in order. So that no row is missed, it is not used again.
    OutOfOrder,
}

/// What one device bears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::snmp) struct Habits {
    pub(super) bulk: Bulk,
    /// Repetitions of the next GETBULK.
    pub(super) repetitions: u32,
    /// Repetitions up to which they may grow.
    most: u32,
    /// Repetitions beyond which no device is tried.
    limit: u32,
    /// Most names of a GETNEXT.
    pub(super) names: usize,
    /// Its GETBULK of several names cannot be used, where that of one can: what it answers does not belong to its names.
    pub(super) mixes_names: bool,
    /// Answers without trouble since the last trouble.
    clean: u32,
    /// So many of them, and a little more is tried again.
    patience: u32,
}

impl Default for Habits {
    fn default() -> Self {
        Self::unknown(MAX_WALK_REPETITIONS)
    }
}

impl Habits {
    /// A device of which nothing is known.
    pub(super) fn unknown(limit: u32) -> Self {
        Self {
            bulk: Bulk::Unknown,
            repetitions: FIRST_REPETITIONS.min(limit),
            most: limit,
            limit,
            names: MAX_OIDS_PER_REQUEST,
            mixes_names: false,
            clean: 0,
            patience: TRY_AGAIN_AFTER,
        }
    }

    /// How many repetitions a walk starts with; `None`: with GETNEXT.
    pub(super) fn first_repetitions(&self) -> Option<u32> {
        match self.bulk {
            Bulk::Unknown | Bulk::Works => Some(self.repetitions),
            // It may have been a bad moment.
            Bulk::Refused if self.clean >= self.patience => Some(1),
            Bulk::Refused | Bulk::OutOfOrder => None,
        }
    }

    /// A GETBULK was answered in order; `is_full`: with all that was asked for.
    pub(super) fn bulk_went_well(&mut self, is_full: bool) {
        if self.bulk == Bulk::Refused {
            (self.repetitions, self.most) = (1, MORE_REPETITIONS.min(self.limit));
        }
        self.bulk = Bulk::Works;
        self.went_well();
        if is_full {
            self.repetitions = self.repetitions.saturating_add(MORE_REPETITIONS).min(self.most);
        }
    }

    /// An answer brought no trouble.
    pub(super) fn went_well(&mut self) {
        self.clean = self.clean.saturating_add(1);
        if self.clean >= self.patience && self.bulk != Bulk::Refused {
            self.clean = 0;
            self.most = self.most.saturating_add(MORE_REPETITIONS).min(self.limit);
            self.names = self.names.saturating_mul(2).min(MAX_OIDS_PER_REQUEST);
        }
    }

    /// So many repetitions go, and more do not.
    pub(super) fn lower(&mut self, repetitions: u32) {
        (self.repetitions, self.most) = (repetitions, repetitions);
        self.bulk = Bulk::Works;
        self.be_more_patient();
    }

    /// So many repetitions did go after all: it was an object that did not.
    pub(super) fn restore(&mut self, repetitions: u32) {
        self.repetitions = self.repetitions.max(repetitions);
        self.most = self.most.max(repetitions);
    }

    /// GETBULK does not go, and GETNEXT does.
    pub(super) fn refuse_bulk(&mut self) {
        self.bulk = Bulk::Refused;
        self.be_more_patient();
    }

    /// So many names go, and more do not.
    pub(super) fn lower_names(&mut self, names: usize) {
        self.names = names.max(1);
        self.be_more_patient();
    }

    fn be_more_patient(&mut self) {
        self.clean = 0;
        self.patience = self.patience.saturating_mul(2).min(MAX_TRY_AGAIN_AFTER);
    }
}

/// What is remembered of one device.
#[derive(Debug, Default)]
struct Memory {
    habits: Habits,
    /// The rows of each whole walk, by a short mark of its root: a wrong one costs a request and nothing else.
    lengths: Vec<(u32, u32)>,
}

fn mark(root: &Oid) -> u32 {
    let mut hasher = DefaultHasher::new();
    root.hash(&mut hasher);
    hasher.finish() as u32
}

/// The devices that were walked.
#[derive(Debug)]
pub(in crate::snmp) struct HabitTable {
    devices: Mutex<HashMap<SocketAddr, Memory>>,
    /// Repetitions beyond which no device is tried.
    limit: u32,
}

impl HabitTable {
    pub(in crate::snmp) fn new(limit: u32) -> Self {
        Self { devices: Mutex::default(), limit: limit.clamp(1, MAX_REPETITIONS) }
    }

    /// The device's habits, and how many rows a whole walk of this subtree brought last.
    pub(super) fn of(&self, device: SocketAddr, root: &Oid) -> (Habits, Option<u32>) {
        let table = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(memory) = table.get(&device) else { return (Habits::unknown(self.limit), None) };
        let mark = mark(root);
        (memory.habits, memory.lengths.iter().find(|(known, _)| *known == mark).map(|(_, rows)| *rows))
    }

    pub(super) fn remember(&self, device: SocketAddr, habits: Habits) {
        self.change(device, |memory| memory.habits = habits);
    }

    /// A walk of this subtree was whole, and brought so many rows.
    pub(super) fn remember_length(&self, device: SocketAddr, root: &Oid, rows: usize) {
        let (mark, rows) = (mark(root), u32::try_from(rows).unwrap_or(u32::MAX));
        self.change(device, |memory| {
            memory.lengths.retain(|(known, _)| *known != mark);
            if memory.lengths.len() >= MAX_LENGTHS {
                memory.lengths.remove(0);
            }
            memory.lengths.push((mark, rows));
        });
    }

    fn change(&self, device: SocketAddr, change: impl FnOnce(&mut Memory)) {
        let mut table = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        if table.len() >= MAX_HABITS && !table.contains_key(&device) {
            // Whichever comes first: to forget one costs a few requests and nothing else.
            if let Some(victim) = table.keys().next().copied() {
                table.remove(&victim);
            }
        }
        change(table.entry(device).or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_grow_with_full_answers_and_only_with_those() {
        let mut habits = Habits::default();
        let mut steps = vec![habits.repetitions];
        for is_full in [true, false, true, true] {
            habits.bulk_went_well(is_full);
            steps.push(habits.repetitions);
        }
        assert_eq!(steps, [10, 20, 20, 25, 25]);
    }

    #[test]
    fn what_was_too_much_is_tried_again_after_many_clean_answers_and_later_each_time() {
        let mut habits = Habits::default();
        for patience in [200, 400] {
            habits.lower(5);
            for _ in 1..patience {
                habits.bulk_went_well(true);
                assert_eq!(habits.repetitions, 5);
            }
            habits.bulk_went_well(true);
            assert_eq!(habits.repetitions, 15);
        }
        habits.refuse_bulk();
        assert_eq!(habits.first_repetitions(), None);
        (0..800).for_each(|_| habits.went_well());
        assert_eq!(habits.first_repetitions(), Some(1));
    }

    #[test]
    fn the_table_keeps_its_limit() {
        let table = HabitTable::new(MAX_WALK_REPETITIONS);
        let address = |n: u32| SocketAddr::from((std::net::Ipv4Addr::from(n), 161));
        for n in 0..=u32::try_from(MAX_HABITS).unwrap() {
            table.remember(address(n), Habits { repetitions: 7, ..Habits::default() });
        }
        assert_eq!(table.devices.lock().unwrap().len(), MAX_HABITS);
        let root = crate::oid!(1, 3);
        assert_eq!(table.of(address(MAX_HABITS as u32), &root).0.repetitions, 7);
        assert_eq!(table.of(address(u32::MAX), &root), (Habits::default(), None));
        for n in 0..1_000u32 {
            table.remember_length(address(5), &root.with(&[n]), 3);
            table.remember_length(address(5), &root, 8);
        }
        assert_eq!(table.of(address(5), &root).1, Some(8));
        assert_eq!(table.devices.lock().unwrap()[&address(5)].lengths.len(), MAX_LENGTHS);
    }
}
