//! Walks of devices made up in memory: whatever their tables and their faults, a walk brings what a plain walk by
//! GETNEXT brings, in fewer requests.

use super::*;
use crate::oid;
use crate::snmp::limits::MAX_REQUEST_BYTES;
use crate::snmp::{Value, VarBind, codec};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ops::Bound;

/// A device, and what is wrong with it.
#[derive(Debug, Clone, Default)]
pub(super) struct Device {
    pub(super) objects: BTreeMap<Oid, Value>,
    pub(super) is_v1: bool,
    /// So many bindings fit one answer of GETBULK, in turn.
    pub(super) room: Vec<usize>,
    /// It is silent to more repetitions or names than this.
    pub(super) bears: Option<usize>,
    /// It says tooBig to more repetitions or names than this.
    pub(super) fits: Option<usize>,
    /// Its GETBULK is out of order.
    pub(super) is_shuffled: bool,
    /// Its GETBULK leaves out the bindings of names that are at their end, so that the others move up.
    pub(super) omits_ended: bool,
    /// Its GETBULK looks at the first name only.
    pub(super) reads_one_name: bool,
    /// Its GETBULK answers name after name, and not row after row.
    pub(super) goes_by_columns: bool,
    /// Its noSuchName is always about the first name.
    pub(super) blames_the_first: bool,
    /// Its GETNEXT of several names is out of order.
    pub(super) shuffles_names: bool,
    /// It says genErr when it comes to this object.
    pub(super) broken: Option<Oid>,
    /// How many rows it is believed to have.
    pub(super) expected: Option<u32>,
    pub(super) asked: Vec<Request>,
}

pub(super) fn target() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 161))
}

fn answer(error_status: u32, error_index: usize, list: Vec<VarBind>) -> Result<Response, SnmpError> {
    let bindings = Bindings { list, unreadable: 0 };
    Ok(Response { error_status, error_index: u32::try_from(error_index).unwrap(), bindings })
}

impl Device {
    pub(super) fn of(objects: impl IntoIterator<Item = Oid>) -> Self {
        Self { objects: objects.into_iter().map(|oid| (oid, Value::Integer(7))).collect(), ..Self::default() }
    }

    fn behind(&self, name: &Oid) -> VarBind {
        match self.objects.range::<Oid, _>((Bound::Excluded(name), Bound::Unbounded)).next() {
            Some((oid, value)) => VarBind { oid: oid.clone(), value: value.clone() },
            None => VarBind { oid: name.clone(), value: Value::EndOfMibView },
        }
    }

    fn next(&self, names: &[Oid]) -> Result<Response, SnmpError> {
        let mut list = Vec::new();
        for (index, name) in names.iter().enumerate() {
            let next = self.behind(name);
            if self.is_v1 && next.value == Value::EndOfMibView {
                let index = if self.blames_the_first { 0 } else { index };
                return answer(status::NO_SUCH_NAME, index + 1, vec![]);
            }
            if self.broken.as_ref() == Some(&next.oid) {
                return answer(status::GEN_ERR, index + 1, vec![]);
            }
            list.push(next);
        }
        if self.shuffles_names {
            list.reverse();
        }
        answer(0, 0, list)
    }

    /// As RFC 3416 §4.2.3 has it, without non-repeaters, and with what is wrong with this one.
    fn bulk(&self, names: &[Oid], repetitions: u32) -> Result<Response, SnmpError> {
        let room = self.room.get(self.asked.len() % self.room.len().max(1)).copied().unwrap_or(usize::MAX);
        let names = if self.reads_one_name { &names[..1] } else { names };
        // Each binding with the place of its name.
        let mut rows: Vec<Vec<(usize, VarBind)>> = Vec::new();
        for _ in 0..repetitions {
            let from = |place: usize| rows.last().map_or(&names[place], |row| &row[place].1.oid);
            let row: Vec<_> = (0..names.len()).map(|place| (place, self.behind(from(place)))).collect();
            if let Some(place) = row.iter().position(|(_, next)| self.broken.as_ref() == Some(&next.oid)) {
                return answer(status::GEN_ERR, place + 1, vec![]);
            }
            rows.push(row);
        }
        // It is what is sent that is out of order.
        if self.is_shuffled && rows.len().min(room / names.len()) > 2 {
            rows.swap(1, 2);
        }
        if self.goes_by_columns {
            rows = (0..names.len()).map(|place| rows.iter().map(|row| row[place].clone()).collect()).collect();
        }
        let is_over = |place: usize, next: &VarBind| {
            let column = names[place].arcs().get(..entry().arcs().len() + 1).unwrap_or_default();
            next.value == Value::EndOfMibView || !next.oid.arcs().starts_with(column)
        };
        let bindings = rows.into_iter().flatten();
        let bindings = bindings.filter(|(place, next)| !(self.omits_ended && is_over(*place, next)));
        answer(0, 0, bindings.map(|(_, next)| next).take(room).collect())
    }

    pub(super) fn hear(&mut self, request: Request) -> Result<Response, SnmpError> {
        self.asked.push(request.clone());
        let size = match &request {
            Request::GetBulk { oids, max_repetitions, .. } => oids.len() * usize::try_from(*max_repetitions).unwrap(),
            Request::Get(names) | Request::GetNext(names) => names.len(),
        };
        assert!(request.oids().iter().map(codec::varbinds::name_bytes).sum::<usize>() <= MAX_REQUEST_BYTES);
        if self.bears.is_some_and(|bears| size > bears) {
            return Err(SnmpError::Timeout { target: target(), tries: 1 });
        }
        if self.fits.is_some_and(|fits| size > fits) {
            return answer(status::TOO_BIG, 0, vec![]);
        }
        match &request {
            Request::GetBulk { oids, max_repetitions, .. } => self.bulk(oids, *max_repetitions),
            Request::Get(names) | Request::GetNext(names) => self.next(names),
        }
    }

    pub(super) fn walk_with(
        &mut self,
        root: &Oid,
        limits: &WalkLimits,
        habits: &mut Habits,
    ) -> Result<Walk, SnmpError> {
        let mut walker = Walker::new(target(), root, limits, !self.is_v1, *habits, self.expected);
        self.asked.clear();
        loop {
            assert!(self.asked.len() < 10_000, "a walk without an end");
            let heard = self.hear(walker.request());
            let end = walker.hear(heard);
            *habits = walker.habits;
            if let Some(end) = end {
                return end;
            }
        }
    }

    fn walk(&mut self, root: &Oid) -> Walk {
        self.walk_with(root, &WalkLimits::default(), &mut Habits::default()).unwrap()
    }

    /// What a walk by GETNEXT, one name after the other, brings.
    pub(super) fn plain(&self, root: &Oid) -> Walk {
        let varbinds: Vec<VarBind> = self
            .objects
            .range::<Oid, _>((Bound::Excluded(root), Bound::Unbounded))
            .take_while(|(oid, _)| oid.starts_with(root))
            .map(|(oid, value)| VarBind { oid: oid.clone(), value: value.clone() })
            .collect();
        let last = varbinds.last().map_or(root, |row| &row.oid);
        let end = match self.behind(last).value {
            Value::EndOfMibView => WalkEnd::EndOfMibView,
            _ => WalkEnd::EndOfSubtree,
        };
        Walk { varbinds, end }
    }

    pub(super) fn repetitions(&self) -> Vec<u32> {
        let of = |request: &Request| match request {
            Request::GetBulk { max_repetitions, .. } => *max_repetitions,
            Request::Get(_) | Request::GetNext(_) => 0,
        };
        self.asked.iter().map(of).collect()
    }
}

pub(super) fn without_bulk() -> Habits {
    let mut habits = Habits::default();
    habits.bulk = Bulk::OutOfOrder;
    habits
}

pub(super) fn entry() -> Oid {
    oid!(1, 3, 6, 1, 2, 1, 43, 11, 1, 1)
}

pub(super) fn table(columns: u32, rows: u32) -> Vec<Oid> {
    (1..=columns).flat_map(|column| (1..=rows).map(move |row| entry().with(&[column, 1, row]))).collect()
}

#[test]
fn a_table_is_walked_by_getnext_in_few_requests() {
    for (is_v1, neighbour) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut objects = table(9, 5);
        if neighbour {
            objects.push(entry().with(&[10, 1, 1]).with(&[0]));
            objects.push(oid!(1, 3, 6, 1, 2, 1, 44, 1));
        }
        let mut device = Device { is_v1, ..Device::of(objects) };
        let mut habits = without_bulk();
        let walk = device.walk_with(&entry(), &WalkLimits::default(), &mut habits).unwrap();
        assert_eq!(walk, device.plain(&entry()));
        println!("45 cells, v1 {is_v1}, neighbour {neighbour}: {} requests", device.asked.len());
        assert!(device.asked.len() <= 11, "{}", device.asked.len());
    }
}

#[test]
fn a_list_and_scalars_are_walked_by_getnext_in_few_requests() {
    let root = oid!(1, 3, 6, 1, 2, 1, 1);
    let mut scalars = Device { is_v1: true, ..Device::of((1..=40).map(|n| root.with(&[n, 0]))) };
    assert_eq!(scalars.walk(&root), scalars.plain(&root));
    let mut list = Device { is_v1: true, ..Device::of((1..=40).map(|n| root.with(&[9, n]))) };
    assert_eq!(list.walk(&root.with(&[9])), list.plain(&root));
    for requests in [scalars.asked.len(), list.asked.len()] {
        println!("40 in a row: {requests} requests");
        assert!(requests <= 10, "{requests}");
    }
}

#[test]
fn repetitions_grow_and_the_next_walk_starts_where_this_one_ended() {
    let mut device = Device::of(table(9, 10));
    let mut habits = Habits::default();
    for repetitions in [&[10, 20, 25, 25, 25][..], &[25, 25, 25, 16]] {
        let walk = device.walk_with(&entry(), &WalkLimits::default(), &mut habits).unwrap();
        assert_eq!(walk, device.plain(&entry()));
        assert_eq!(device.repetitions(), repetitions);
        device.expected = Some(90);
    }
}

#[test]
fn a_column_that_is_known_is_asked_for_just_its_rows() {
    let mut device = Device::of(table(9, 4));
    let mut habits = Habits::default();
    let column = entry().with(&[2]);
    for repetitions in [[10], [5]] {
        let walk = device.walk_with(&column, &WalkLimits::default(), &mut habits).unwrap();
        assert_eq!((walk, device.repetitions()), (device.plain(&column), repetitions.to_vec()));
        assert_eq!(habits.repetitions, 10, "a small column is no reason to ask for more");
        device.expected = Some(4);
    }
    // It has grown since.
    device.expected = Some(2);
    assert_eq!(device.walk(&column), device.plain(&column));
    assert_eq!(device.repetitions(), [3, 10]);
}

#[test]
fn growing_loses_nothing_and_what_is_too_much_is_asked_once() {
    for too_big in [true, false] {
        let mut device = Device::of(table(9, 40));
        *if too_big { &mut device.fits } else { &mut device.bears } = Some(12);
        let mut habits = Habits::default();
        let walk = device.walk_with(&entry(), &WalkLimits::default(), &mut habits).unwrap();
        assert_eq!(walk, device.plain(&entry()));
        assert_eq!(device.repetitions().iter().filter(|repetitions| **repetitions > 12).count(), 1);
        let walk = device.walk_with(&entry(), &WalkLimits::default(), &mut habits).unwrap();
        assert_eq!(walk, device.plain(&entry()));
        assert!(device.repetitions().iter().all(|repetitions| *repetitions == 10));
    }
}

#[test]
fn a_device_that_bears_one_repetition_or_one_name_is_walked_all_the_same() {
    for bears in [1, 2, 3] {
        for is_v1 in [true, false] {
            let mut device = Device { is_v1, bears: Some(bears), ..Device::of(table(9, 5)) };
            let mut habits = Habits::default();
            (habits.bulk, habits.repetitions) = (Bulk::Works, 25);
            for _ in 0..2 {
                let walk = device.walk_with(&entry(), &WalkLimits::default(), &mut habits).unwrap();
                assert_eq!(walk, device.plain(&entry()), "{bears}");
            }
            let silent = device.asked.iter().filter(|request| request.oids().len() > bears).count();
            assert!(silent <= 1, "it is remembered: {silent}");
            assert!(is_v1 || device.repetitions().iter().all(|n| usize::try_from(*n).unwrap() <= bears));
        }
    }
}

#[test]
fn a_getbulk_out_of_order_is_left_for_getnext_and_not_used_again() {
    let mut device = Device { is_shuffled: true, ..Device::of(table(9, 5)) };
    let mut habits = Habits::default();
    for bulks in [1, 0] {
        let walk = device.walk_with(&entry(), &WalkLimits::default(), &mut habits).unwrap();
        assert_eq!(walk, device.plain(&entry()));
        assert_eq!(device.repetitions().iter().filter(|repetitions| **repetitions > 0).count(), bulks);
        println!("45 cells, GETBULK out of order: {} requests", device.asked.len());
    }
}

#[test]
fn no_more_is_asked_for_than_the_row_limit_lets_be_kept() {
    let mut device = Device::of(table(9, 5));
    let limits = WalkLimits { rows: 1, ..WalkLimits::default() };
    let walk = device.walk_with(&entry(), &limits, &mut Habits::default()).unwrap();
    assert_eq!((walk.varbinds.len(), walk.end), (1, WalkEnd::RowLimit));
    assert_eq!(device.repetitions(), [2]);
}

#[test]
fn an_object_that_cannot_be_read_is_stepped_past_and_told() {
    for is_v1 in [true, false] {
        let broken = entry().with(&[3, 1, 4]);
        let mut device = Device { is_v1, broken: Some(broken.clone()), ..Device::of(table(9, 5)) };
        let mut habits = Habits::default();
        let walk = device.walk_with(&entry(), &WalkLimits::default(), &mut habits).unwrap();
        let mut expected = device.plain(&entry()).varbinds;
        expected.retain(|row| row.oid != broken);
        assert_eq!((walk.varbinds, walk.end), (expected, WalkEnd::BrokenOff));
        assert!(is_v1 || habits.repetitions >= 10, "the device is not to blame: {habits:?}");
    }
}

/// Columns of one set of rows, of which some cells are missing; or names without any order.
pub(super) fn objects() -> impl Strategy<Value = Vec<Oid>> {
    let cells = (1u32..8, proptest::collection::btree_set((1u32..3, 1u32..15), 1..12), 0u8..5)
        .prop_flat_map(|(columns, rows, holes)| {
            let cells: Vec<Oid> = (1..=columns)
                .flat_map(|column| rows.iter().map(move |(one, other)| entry().with(&[column, *one, *other])))
                .collect();
            let there = proptest::collection::vec(0u8..10, cells.len());
            (Just(cells), there, Just(holes))
        })
        .prop_map(|(cells, there, holes)| {
            cells
                .into_iter()
                .zip(there)
                .filter(|(_, chance)| *chance >= holes)
                .map(|(cell, _)| cell)
                .collect::<Vec<Oid>>()
        });
    let names = proptest::collection::vec(proptest::collection::vec(0u32..5, 1..5), 0..60)
        .prop_map(|names| names.into_iter().map(|name| entry().with(&name)).collect::<Vec<Oid>>());
    (prop_oneof![3 => cells, 1 => names], any::<bool>(), any::<bool>()).prop_map(|(mut objects, before, behind)| {
        if before {
            objects.push(oid!(1, 3, 6, 1, 2, 1, 43, 10, 1));
        }
        if behind {
            objects.push(oid!(1, 3, 6, 1, 2, 1, 43, 12, 1));
        }
        objects
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn a_walk_brings_what_a_plain_walk_by_getnext_brings(
        objects in objects(),
        is_v1 in any::<bool>(),
        room in proptest::collection::vec(1usize..30, 0..5),
        bears in proptest::option::of(1usize..30),
        fits in proptest::option::of(1usize..30),
        is_shuffled in any::<bool>(),
        shuffles_names in any::<bool>(),
        expected in proptest::option::of(0u32..50),
        below in prop_oneof![Just(vec![]), Just(vec![1]), Just(vec![2]), Just(vec![2, 1])],
    ) {
        let mut device =
            Device { is_v1, room, bears, fits, is_shuffled, shuffles_names, expected, ..Device::of(objects) };
        let root = entry().with(&below);
        let mut habits = Habits::default();
        for _ in 0..3 {
            let walk = device.walk_with(&root, &WalkLimits::default(), &mut habits);
            prop_assert_eq!(walk.unwrap(), device.plain(&root));
        }
    }

    #[test]
    fn getnext_never_takes_more_requests_than_rows(objects in objects(), is_v1 in any::<bool>()) {
        let mut device = Device { is_v1, ..Device::of(objects) };
        let mut habits = without_bulk();
        let walk = device.walk_with(&entry(), &WalkLimits::default(), &mut habits).unwrap();
        // One more shows the end; in v1, guesses beyond the end of everything cost a few.
        let spare = 1 + if is_v1 { 3 } else { 0 };
        prop_assert!(device.asked.len() <= walk.varbinds.len() + spare, "{} for {}", device.asked.len(), walk.varbinds.len());
    }

    #[test]
    fn whatever_is_answered_a_walk_ends_and_its_rows_increase(
        answers in proptest::collection::vec(
            (0u32..7, 0u32..4, proptest::collection::vec((0u32..3, 0u32..40, any::<bool>()), 0..30), 0usize..2),
            1..40,
        ),
        is_v1 in any::<bool>(),
    ) {
        let mut walker = Walker::new(target(), &oid!(1, 3, 1), &WalkLimits::default(), !is_v1, Habits::default(), None);
        let mut requests = 0;
        let walk = loop {
            walker.request();
            let (error_status, error_index, bindings, unreadable) = answers[requests % answers.len()].clone();
            let heard = match error_status {
                6 => Err(SnmpError::Timeout { target: target(), tries: 1 }),
                error_status => Ok(Response { error_status, error_index, bindings: Bindings {
                    list: bindings.into_iter().map(|(a, b, is_end)| VarBind {
                        oid: oid!(1, 3, a, b),
                        value: if is_end && b > 30 { Value::EndOfMibView } else { Value::Integer(1) },
                    }).collect(),
                    unreadable,
                } }),
            };
            requests += 1;
            prop_assert!(requests < 2_000, "a walk without an end");
            if let Some(end) = walker.hear(heard) {
                break end;
            }
        };
        if let Ok(walk) = walk {
            prop_assert!(walk.varbinds.windows(2).all(|pair| pair[0].oid < pair[1].oid));
        }
    }
}
