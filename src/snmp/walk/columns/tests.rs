//! Columns side by side of devices made up in memory: whatever their tables and their faults, what comes is what a walk
//! of each column by itself brings, in fewer requests.

use super::super::tests::{Device, entry, objects, table, target, without_bulk};
use super::*;
use crate::oid;
use crate::snmp::Value;
use proptest::prelude::*;

impl Device {
    fn columns_with(
        &mut self,
        columns: &[u32],
        limits: &WalkLimits,
        habits: &mut Habits,
    ) -> Result<(Walk, usize), SnmpError> {
        let roots = column_roots(&entry(), columns);
        let mut side_by_side = SideBySide::new(target(), &roots, limits, !self.is_v1, *habits, self.expected);
        self.asked.clear();
        let mut requests = 0;
        while let Some(todo) = side_by_side.todo() {
            match todo {
                Todo::Ask(request) => {
                    assert!(self.asked.len() < 1_000, "columns without an end");
                    let heard = self.hear(request);
                    side_by_side.hear(heard);
                    requests = self.asked.len();
                    *habits = side_by_side.habits;
                }
                Todo::Walk(root, bytes) => {
                    let before = std::mem::take(&mut self.asked);
                    let walk = self.walk_with(&root, &WalkLimits { bytes, ..*limits }, habits);
                    requests += self.asked.len();
                    self.asked.splice(..0, before);
                    side_by_side.hear_walk(walk);
                }
            }
        }
        self.expected = Some(u32::try_from(side_by_side.longest()).unwrap());
        side_by_side.end().map(|walk| (walk, requests))
    }

    fn columns(&mut self, columns: &[u32], habits: &mut Habits) -> (Walk, usize) {
        self.columns_with(columns, &WalkLimits::default(), habits).unwrap()
    }

    /// What a walk of each column by GETNEXT, one name after the other, brings.
    fn plain_columns(&self, columns: &[u32]) -> Walk {
        Walk::joined(column_roots(&entry(), columns).iter().map(|root| self.plain(root)).collect())
    }
}

/// As a printer has it: something before the table, and something behind.
fn printer(objects: Vec<Oid>) -> Device {
    let around = [oid!(1, 3, 6, 1, 2, 1, 1, 1, 0), oid!(1, 3, 6, 1, 2, 1, 43, 12, 1, 1, 4, 1, 1)];
    Device::of(objects.into_iter().chain(around))
}

const EIGHT: [u32; 8] = [2, 3, 4, 5, 6, 7, 8, 9];

#[test]
fn a_table_of_four_rows_and_eight_columns_is_two_requests_once_its_length_is_known() {
    let mut device = printer(table(9, 4));
    let mut habits = Habits::default();
    for (round, most) in [(0, 4), (1, 2), (2, 2)] {
        let (walk, requests) = device.columns(&EIGHT, &mut habits);
        assert_eq!(walk, device.plain_columns(&EIGHT));
        assert!(requests <= most, "{requests} in round {round}: {:?}", device.repetitions());
        let bindings = device.asked.iter().zip(device.repetitions());
        assert!(bindings.into_iter().all(|(asked, r)| asked.oids().len() * usize::try_from(r).unwrap() <= 25));
    }
    // One row, and the object that shows the end, in one.
    let mut device = printer(table(9, 1));
    device.columns(&EIGHT, &mut habits);
    assert_eq!(device.columns(&EIGHT, &mut habits), (device.plain_columns(&EIGHT), 1));
}

#[test]
fn v1_and_a_device_without_getbulk_are_asked_for_a_row_at_a_time() {
    for is_v1 in [true, false] {
        let mut device = Device { is_v1, ..printer(table(9, 4)) };
        let (walk, requests) = device.columns(&EIGHT, &mut without_bulk());
        assert_eq!((walk, requests), (device.plain_columns(&EIGHT), 5));
        // Where nothing at all lies behind the table, v1 spoils the whole answer, and names the column.
        let mut last = Device { is_v1, ..Device::of(table(9, 4)) };
        let (walk, requests) = last.columns(&EIGHT, &mut without_bulk());
        assert_eq!(walk, last.plain_columns(&EIGHT));
        assert_eq!(walk.end, WalkEnd::EndOfMibView);
        assert!(requests <= 7, "{requests}");
    }
}

#[test]
fn columns_come_once_and_lowest_first_and_missing_ones_bring_nothing() {
    let mut device = printer(table(4, 3));
    let (walk, _) = device.columns(&[3, 77, 1, 3, 50], &mut Habits::default());
    let expected: Vec<Oid> = [1, 3].iter().flat_map(|c| (1..=3).map(move |row| entry().with(&[*c, 1, row]))).collect();
    assert_eq!(walk.varbinds.iter().map(|row| row.oid.clone()).collect::<Vec<_>>(), expected);
    assert_eq!(walk.end, WalkEnd::EndOfSubtree);
    assert_eq!(device.columns(&[], &mut Habits::default()).0, Walk { varbinds: vec![], end: WalkEnd::EndOfSubtree });
    assert_eq!(device.columns(&[2], &mut Habits::default()).0, device.plain_columns(&[2]));
}

#[test]
fn a_device_whose_getbulk_mixes_names_is_found_out_and_remembered() {
    let sparse: Vec<Oid> =
        table(9, 6).into_iter().filter(|oid| oid.arcs()[10] % 2 == 0 || oid.arcs()[12] < 5).collect();
    type Fault = fn(&mut Device);
    let faults: [(&str, Fault); 4] = [
        ("omits ended", |device| device.omits_ended = true),
        ("goes by columns", |device| device.goes_by_columns = true),
        ("reads one name", |device| device.reads_one_name = true),
        ("out of order", |device| device.is_shuffled = true),
    ];
    for (name, fault) in faults {
        let mut device = printer(sparse.clone());
        fault(&mut device);
        let mut habits = Habits::default();
        let mut requests = Vec::new();
        for _ in 0..3 {
            let (walk, count) = device.columns(&EIGHT, &mut habits);
            assert_eq!(walk, device.plain_columns(&EIGHT), "{name}");
            requests.push(count);
        }
        println!("{name}: {requests:?}");
        assert!(requests[2] <= 7 && habits.mixes_names, "{name}: {requests:?}");
        // That of one name is still used, where it is in order.
        assert_ne!(habits.bulk, Bulk::OutOfOrder, "{name}");
    }
}

#[test]
fn what_is_too_much_is_asked_for_less_and_remembered() {
    for (bears, too_big) in [(1, true), (1, false), (5, true), (5, false), (10, true), (10, false)] {
        let mut device = printer(table(9, 5));
        *if too_big { &mut device.fits } else { &mut device.bears } = Some(bears);
        let mut habits = Habits::default();
        (habits.bulk, habits.repetitions) = (Bulk::Works, 25);
        let mut requests = Vec::new();
        for _ in 0..3 {
            let (walk, count) = device.columns(&EIGHT, &mut habits);
            assert_eq!(walk, device.plain_columns(&EIGHT), "{bears}, {too_big}");
            requests.push(count);
        }
        let size =
            |(asked, repetitions): (&Request, u32)| asked.oids().len() * usize::try_from(repetitions.max(1)).unwrap();
        let over = device.asked.iter().zip(device.repetitions()).filter(|asked| size(*asked) > bears).count();
        println!("bears {bears}, says tooBig: {too_big}: {requests:?} requests, {over} too large in the last round");
        assert!(over <= 1, "{bears}, {too_big}: {over} of {requests:?}");
    }
}

#[test]
fn a_silent_device_is_asked_twice_and_one_that_falls_silent_leaves_what_it_said() {
    let mut silent = Device { bears: Some(0), ..printer(table(9, 5)) };
    let error = silent.columns_with(&EIGHT, &WalkLimits::default(), &mut Habits::default()).unwrap_err();
    assert!(matches!(error, SnmpError::Timeout { .. }), "{error}");
    assert_eq!(silent.asked.len(), 2);

    let roots = column_roots(&entry(), &EIGHT);
    let mut device = printer(table(9, 50));
    let mut table = SideBySide::new(target(), &roots, &WalkLimits::default(), true, Habits::default(), None);
    let mut requests = 0;
    while let Some(todo) = table.todo() {
        requests += 1;
        let silence = || SnmpError::Timeout { target: target(), tries: 3 };
        match todo {
            Todo::Ask(request) if requests <= 3 => table.hear(device.hear(request)),
            Todo::Ask(_) => table.hear(Err(silence())),
            Todo::Walk(..) => table.hear_walk(Err(silence())),
        }
    }
    let walk = table.end().unwrap();
    assert_eq!((walk.end, walk.varbinds.is_empty()), (WalkEnd::TimeLimit, false));
    assert!(requests <= 3 + 4, "{requests}");
}

#[test]
fn an_object_that_cannot_be_read_is_stepped_past_and_told_and_the_other_columns_are_whole() {
    for is_v1 in [true, false] {
        let broken = entry().with(&[3, 1, 4]);
        let mut device = Device { is_v1, broken: Some(broken.clone()), ..printer(table(9, 5)) };
        let (walk, _) = device.columns(&EIGHT, &mut Habits::default());
        let mut expected = device.plain_columns(&EIGHT).varbinds;
        expected.retain(|row| row.oid != broken);
        assert_eq!((walk.varbinds.len(), walk.end), (expected.len(), WalkEnd::BrokenOff));
        assert_eq!(walk.varbinds, expected);
    }
}

#[test]
fn limits_are_kept() {
    let mut device = printer(table(9, 40));
    let limits = WalkLimits { rows: 7, ..WalkLimits::default() };
    let (walk, _) = device.columns_with(&[2, 3], &limits, &mut Habits::default()).unwrap();
    assert_eq!((walk.varbinds.len(), walk.end), (14, WalkEnd::RowLimit));
    for columns in [&[2, 3][..], &[2]] {
        // Each value keeps eight bytes.
        let limits = WalkLimits { bytes: 100, ..WalkLimits::default() };
        let (walk, _) = device.columns_with(columns, &limits, &mut Habits::default()).unwrap();
        assert_eq!((walk.varbinds.len(), walk.end), (12, WalkEnd::ByteLimit));
    }
}

#[test]
fn next_to_what_must_not_be_asked_columns_are_walked_by_themselves() {
    let epson = oid!(1, 3, 6, 1, 4, 1, 1248, 1, 2, 2);
    let roots = column_roots(&epson, &[1, 2, 45, 46]);
    let mut table = SideBySide::new(target(), &roots, &WalkLimits::default(), true, Habits::default(), None);
    let Some(Todo::Ask(request)) = table.todo() else { panic!("the others are asked side by side") };
    assert_eq!(request.oids(), [epson.with(&[45]), epson.with(&[46])]);
    table.out_of_time();
    table.columns[0].state = State::Alone;
    assert!(matches!(table.todo(), Some(Todo::Walk(root, _)) if root == epson.with(&[1])));
}

/// Devices that are as they should be, bear little, or are odd in one way; none of them hides an object.
fn any_device() -> impl Strategy<Value = Device> {
    let room = proptest::collection::vec(1usize..30, 0..5);
    let sizes = (room, 1usize..30, proptest::option::of(0u32..50));
    (objects(), any::<bool>(), sizes, 0u8..12).prop_map(|(objects, is_v1, (room, size, expected), oddness)| {
        let mut device = Device { is_v1, room, expected, ..Device::of(objects) };
        match oddness {
            0 => device.bears = Some(size),
            1 => device.fits = Some(size),
            2 => device.is_shuffled = true,
            3 => device.shuffles_names = true,
            4 => device.omits_ended = true,
            5 => device.reads_one_name = true,
            6 => device.goes_by_columns = true,
            7 => device.blames_the_first = true,
            _ => {}
        }
        device
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn columns_side_by_side_bring_what_a_walk_of_each_by_itself_brings(
        device in any_device(), columns in proptest::collection::vec(1u32..10, 0..12),
    ) {
        let mut device = device;
        let mut habits = Habits::default();
        for _ in 0..3 {
            let (walk, _) = device.columns(&columns, &mut habits);
            prop_assert_eq!(walk, device.plain_columns(&columns));
        }
    }

    #[test]
    fn whatever_is_answered_it_ends_and_the_cells_are_of_the_columns_asked_and_increase(
        answers in proptest::collection::vec(
            (0u32..7, 0u32..4, proptest::collection::vec((0u32..5, 0u32..40, any::<bool>()), 0..30), 0usize..2),
            1..40,
        ),
        has_bulk in any::<bool>(),
    ) {
        let roots = column_roots(&oid!(1, 3), &[1, 2, 4]);
        let mut table = SideBySide::new(target(), &roots, &WalkLimits::default(), has_bulk, Habits::default(), None);
        let mut requests = 0;
        while let Some(todo) = table.todo() {
            let (error_status, error_index, bindings, unreadable) = answers[requests % answers.len()].clone();
            requests += 1;
            prop_assert!(requests < 2_000, "columns without an end");
            let silence = SnmpError::Timeout { target: target(), tries: 1 };
            match todo {
                Todo::Walk(..) => table.hear_walk(Err(silence)),
                Todo::Ask(_) if error_status == 6 => table.hear(Err(silence)),
                Todo::Ask(_) => table.hear(Ok(Response { error_status, error_index, bindings: Bindings {
                    list: bindings.into_iter().map(|(a, b, is_end)| VarBind {
                        oid: oid!(1, 3, a, b),
                        value: if is_end && b > 30 { Value::EndOfMibView } else { Value::Integer(1) },
                    }).collect(),
                    unreadable,
                } })),
            }
        }
        if let Ok(walk) = table.end() {
            prop_assert!(walk.varbinds.windows(2).all(|pair| pair[0].oid < pair[1].oid));
            prop_assert!(walk.varbinds.iter().all(|row| roots.iter().any(|root| row.oid.starts_with(root))));
        }
    }
}
