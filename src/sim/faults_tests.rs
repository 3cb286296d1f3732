//! What each fault puts on the wire.

use super::*;
use crate::sim::ber::{self, OCTETS, Reader, SEQUENCE, element, integer, sequence};
use crate::sim::usm::Users;
use crate::sim::usual_users;
use crate::snmp::{Recording, Value};
use std::sync::Arc;

const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 65);
const ID: i64 = 0x4000_0001;
const GET: u8 = 0xa0;
const GET_BULK: u8 = 0xa5;
const TREATED_WELL: (u32, Option<Duration>) = (1, Some(Duration::from_millis(20)));

fn device(fault: Fault) -> Device {
    let rows = (1..=40).map(|n| (oid!(1, 3, 6, 1, 2, 1, 43, 1, n), Value::Integer(i64::from(n))));
    let users = Arc::new(Users::new(usual_users()));
    let mut device = Device::new(ADDRESS, Recording::from_objects(rows), None, "public".to_owned(), users);
    device.fault = Some(fault);
    device
}

fn pdu(operation: u8, repetitions: i64) -> Vec<u8> {
    let asked = if operation == GET { oid!(1, 3, 6, 1, 2, 1, 43, 1, 1) } else { oid!(1, 3, 6, 1, 2, 1, 43) };
    let list = sequence(&[sequence(&[ber::oid(&asked), element(5, &[])])]);
    element(operation, &[integer(ID), integer(0), integer(repetitions), list].concat())
}

fn community(version: i64, operation: u8, repetitions: i64) -> Vec<u8> {
    sequence(&[integer(version), element(OCTETS, b"public"), pdu(operation, repetitions)])
}

/// A plain v3 request of the user "open".
fn v3(engine_id: &[u8], operation: u8) -> Vec<u8> {
    v3_of(engine_id, pdu(operation, 10))
}

fn v3_of(engine_id: &[u8], pdu: Vec<u8>) -> Vec<u8> {
    let empty = || element(OCTETS, &[]);
    let global = sequence(&[integer(ID), integer(65_507), element(OCTETS, &[4]), integer(3)]);
    let usm =
        sequence(&[element(OCTETS, engine_id), integer(0), integer(0), element(OCTETS, b"open"), empty(), empty()]);
    let scoped = sequence(&[element(OCTETS, engine_id), empty(), pdu]);
    sequence(&[integer(3), global, element(OCTETS, &usm), scoped])
}

/// What an answer says.
#[derive(Debug, Default, PartialEq)]
struct Said {
    operation: u8,
    id: i64,
    status: i64,
    /// The last arc and the value's octets of each binding.
    rows: Vec<(u32, Vec<u8>)>,
    /// Of v3: msgMaxSize, flags, boots and time.
    v3: Option<(i64, u8, i64, i64)>,
}

fn said(datagram: &[u8]) -> Option<Said> {
    let mut message = Reader(Reader(datagram).expect(SEQUENCE)?);
    let mut said = Said::default();
    let mut pdu = if message.integer()? == 3 {
        let mut global = Reader(message.expect(SEQUENCE)?);
        assert_eq!(global.integer(), Some(ID));
        let (size, flags) = (global.integer()?, *global.expect(OCTETS)?.first()?);
        let mut usm = Reader(Reader(message.expect(OCTETS)?).expect(SEQUENCE)?);
        usm.expect(OCTETS)?;
        said.v3 = Some((size, flags, usm.integer()?, usm.integer()?));
        let mut scoped = Reader(message.expect(SEQUENCE)?);
        scoped.expect(OCTETS)?;
        scoped
    } else {
        message
    };
    pdu.expect(OCTETS)?;
    let (operation, contents) = pdu.element()?;
    let mut fields = Reader(contents);
    (said.operation, said.id, said.status) = (operation, fields.integer()?, fields.integer()?);
    fields.integer()?;
    let mut list = Reader(fields.expect(SEQUENCE)?);
    while !list.0.is_empty() {
        let mut binding = Reader(list.expect(SEQUENCE)?);
        let oid = ber::parse_oid(binding.expect(6)?)?;
        let row = *oid.arcs().last()?;
        said.rows.push((row, binding.element()?.1.to_vec()));
    }
    Some(said)
}

fn answers(fault: Fault, request: &[u8]) -> Vec<(Ipv4Addr, Vec<u8>)> {
    faulty(&mut device(fault), request, ADDRESS, TREATED_WELL).unwrap_or_default()
}

/// To a request of v2c.
fn the_answer(fault: Fault, operation: u8, repetitions: i64) -> (Ipv4Addr, Vec<u8>) {
    let answers = answers(fault, &community(1, operation, repetitions));
    assert_eq!(answers.len(), 1, "{fault:?}");
    answers.into_iter().next().unwrap()
}

fn rows(fault: Fault, repetitions: i64) -> Vec<u32> {
    said(&the_answer(fault, GET_BULK, repetitions).1).unwrap().rows.iter().map(|(row, _)| *row).collect()
}

#[test]
fn faults_are_read_as_they_are_written_and_the_message_names_all() {
    let message = "upset".parse::<Fault>().unwrap_err().to_string();
    for (name, fault) in BY_NAME {
        assert_eq!(name.parse(), Ok(fault));
        assert!(message.contains(name), "{message}");
    }
    assert_eq!("slow:20".parse(), Ok(Fault::Slow(Duration::from_millis(20))));
    assert_eq!("lossy:100".parse(), Ok(Fault::Lossy(100)));
    for wrong in ["lossy:1001", "slow", "slow:x", "silent:1", "Silent"] {
        assert!(wrong.parse::<Fault>().is_err(), "{wrong}");
    }
}

#[test]
fn a_flood_ends_with_the_answer_and_a_wrong_id_is_all_that_is_wrong() {
    let flood = answers(Fault::Flooding, &community(1, GET, 0));
    let (answer, junk) = flood.split_last().unwrap();
    let truth = said(&answer.1).unwrap();
    assert_eq!((truth.id, truth.rows.as_slice(), junk.len()), (ID, &[(1, vec![1])][..], FLOOD));
    assert!(junk.iter().all(|(from, junk)| *from == ADDRESS && said(junk).unwrap().id != ID));
    let wrong = said(&the_answer(Fault::WrongId, GET, 0).1).unwrap();
    assert_eq!(Said { id: ID, ..wrong }, truth);
}

#[test]
fn broken_answers_are_broken_and_large_ones_large() {
    let (_, whole) = the_answer(Fault::Slow(Duration::ZERO), GET, 0);
    assert_eq!(the_answer(Fault::Truncated, GET, 0).1, whole[..whole.len() / 2]);
    let (_, oversized) = the_answer(Fault::Oversized, GET, 0);
    assert!(oversized.starts_with(&whole) && oversized.len() == whole.len() + OVERSIZE_BYTES);
    assert_eq!(said(&the_answer(Fault::Garbage, GET, 0).1), None);
    assert!(answers(Fault::Silent, &community(1, GET, 0)).is_empty());
    assert!(answers(Fault::Lossy(1_000), &community(1, GET, 0)).is_empty());
}

#[test]
fn a_huge_answer_is_well_formed_and_brings_more_than_was_asked_for() {
    let (_, huge) = the_answer(Fault::Huge, GET_BULK, 1);
    assert!((HUGE_ANSWER_BYTES - 1_000..=HUGE_ANSWER_BYTES + 100).contains(&huge.len()), "{}", huge.len());
    let rows = said(&huge).unwrap().rows;
    assert!(
        rows.len() > 3_000
            && rows[..40].iter().map(|(row, _)| *row).eq(1..=40)
            && rows[40..].iter().all(|row| *row == (40, vec![]))
    );
    assert_eq!(said(&the_answer(Fault::Huge, GET, 0).1).unwrap().rows, [(1, vec![1])]);
}

#[test]
fn lies_come_from_another_address_with_the_right_id() {
    for (fault, expected) in
        [(Fault::Spoofed, vec![(STRANGER, 0), (ADDRESS, 1)]), (Fault::Impostor, vec![(STRANGER, 0)])]
    {
        let answers = answers(fault, &community(1, GET, 0));
        let told = answers.iter().map(|(from, answer)| {
            let said = said(answer).unwrap();
            assert_eq!(said.id, ID);
            (*from, said.rows[0].1[0])
        });
        assert_eq!(told.collect::<Vec<_>>(), expected, "{fault:?}");
    }
}

#[test]
fn weak_agents_are_weak_in_one_thing_only() {
    let status = |fault, repetitions| said(&the_answer(fault, GET_BULK, repetitions).1).unwrap().status;
    assert_eq!((status(Fault::NoBulk, 1), status(Fault::TinyBulk, 6), status(Fault::TinyBulk, 5)), (5, 1, 0));
    assert_eq!(rows(Fault::Unordered, 6), [1, 3, 2, 5, 4, 6]);
    assert_eq!(rows(Fault::Unordered, 2), [1, 2]);
    assert!(answers(Fault::V1Only, &community(1, GET, 0)).is_empty());
    assert!(answers(Fault::V1Only, &v3(&[], GET)).is_empty());
    assert_eq!(answers(Fault::V1Only, &community(0, GET, 0)).len(), 1);
}

#[test]
fn a_fragile_device_answers_who_is_polite_and_then_nobody_for_a_while() {
    let engine_id = device(Fault::Fragile).engine_id().to_vec();
    let (polite, greedy) = (community(1, GET_BULK, 25), community(1, GET_BULK, 26));
    let v3_greedy = v3_of(&engine_id, pdu(GET_BULK, 26));
    for (treated, request) in [
        ((2, Some(FRAGILE_GAP)), &polite),
        ((1, Some(FRAGILE_GAP - Duration::from_micros(1))), &polite),
        ((1, None), &greedy),
        ((1, None), &v3_greedy),
    ] {
        let mut device = device(Fault::Fragile);
        assert!(faulty(&mut device, &polite, ADDRESS, (1, Some(FRAGILE_GAP))).is_some());
        assert_eq!(faulty(&mut device, request, ADDRESS, treated), None);
        assert_eq!(faulty(&mut device, &polite, ADDRESS, TREATED_WELL), None);
        assert!(device.silent_until.unwrap() > Instant::now() + Duration::from_secs(30));
        device.silent_until = Some(Instant::now());
        assert!(faulty(&mut device, &polite, ADDRESS, TREATED_WELL).is_some());
    }
}

#[test]
fn unsigned_reports_come_before_the_answer_and_only_in_v3() {
    const REPORT: u8 = 0xa8;
    for (fault, count, false_boots) in [(Fault::ReportFlood, 11, 1), (Fault::ClockGames, 2, i64::from(i32::MAX))] {
        let engine_id = device(fault).engine_id().to_vec();
        // A question, and discovery, whose answer is a report too but an honest one.
        for (request, last) in [(v3(&engine_id, GET), 0xa2), (v3(&[], GET), REPORT)] {
            let answers = answers(fault, &request);
            let (answer, before) = answers.split_last().unwrap();
            assert_eq!(before.len(), count, "{fault:?}");
            for (from, datagram) in before {
                let report = said(datagram).unwrap();
                let (_, flags, boots, time_s) = report.v3.unwrap();
                assert!(fault == Fault::ReportFlood || time_s == false_boots);
                assert_eq!((*from, report.operation, report.id, flags), (ADDRESS, REPORT, ID, 0));
                assert_eq!(boots, false_boots, "{fault:?}");
            }
            let answer = said(&answer.1).unwrap();
            assert_eq!((answer.operation, answer.v3.unwrap().2), (last, 1));
        }
        assert_eq!(answers(fault, &community(1, GET, 0)).len(), 1);
    }
}

#[test]
fn a_big_message_size_is_the_biggest_there_is() {
    let sizes = [Fault::BigMsgSize, Fault::Slow(Duration::ZERO)].map(|fault| {
        let request = v3(device(fault).engine_id(), GET);
        said(&answers(fault, &request)[0].1).unwrap().v3.unwrap().0
    });
    assert_eq!(sizes, [i64::from(i32::MAX), 65_507]);
}
