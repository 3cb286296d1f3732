//! What the fuzz target `reader` runs (`tests/fuzz`): the reader over devices that the fuzzer makes up while they are
//! read, so that it meets every object that the reader asks for, in every vendor's profile, and never has to guess one.
//! In no firmware: only with the feature `fuzzing`, and in tests, which replay the kept inputs.
//!
//! It panics when the reader does, or breaks a promise of this room:
//!
//! - no text has a control character;
//! - a percentage is one, and never made of a code (−1, −2, −3);
//! - no meter is made of a negative number;
//! - the same device read again says the same, also by what is remembered of it, and so does what was written as JSON.

use super::{ReadOptions, Reading, explore, read, read_known};
use crate::oid;
use crate::snmp::{ObjectSource, Oid, Recording, SnmpError, Value, VarBind, Walk, WalkEnd, WalkLimits};
use arbitrary::{Result as Drawn, Unstructured};
use std::collections::BTreeSet;
use std::future::Future;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Enterprise numbers of those who make printers, network cards and computers.
const ENTERPRISES: [u32; 24] = [
    11, 18334, 1602, 1248, 641, 1347, 2435, 253, 367, 236, 2385, 1129, 2001, 297, 10642, 674, 40093, 683, 314, 279,
    1472, 8072, 311, 2699,
];

/// Pieces of texts: words that mean something to a reader, and what is no text.
const PIECES: [&[u8]; 32] = [
    b"Black Toner",
    b"Cyan",
    b"Waste Toner Box",
    b"PN 006R01509;SN48178080",
    b" HP CF410A",
    b"S/N:CRUM-",
    b"MFG:HP;MDL:LaserJet 4;SN:CNB1234567;",
    b"MANUFACTURER:",
    b"CMD:PJL,PCL;",
    b";",
    b":",
    b" ",
    b"\0",
    b"\x01\x15",
    b"\x01\x18\x00\x00",
    b"\x1b[31m",
    b"\r\n",
    b"\x7f",
    b"\xc2\x85",
    b"\xe9",
    b"\xff\xfe",
    "\u{202e}".as_bytes(),
    "\u{feff}".as_bytes(),
    "トナー".as_bytes(),
    b"0",
    b"-3",
    b"100",
    b"99999999999999999999",
    b"12,345 pages",
    b"FW 1.2.3",
    b"Kyocera ECOSYS",
    b"XEROX",
];

/// A device that is made up while it is asked. What it has once said it says again.
struct Invented<'a> {
    state: Mutex<State<'a>>,
}

struct State<'a> {
    u: Unstructured<'a>,
    objects: Recording,
    /// Instances and subtrees of which it is decided whether they exist.
    decided: BTreeSet<Oid>,
}

/// Reads a device that these bytes make up; or, if they are the text of a recording, that recording.
pub fn reader(bytes: &[u8]) {
    if let Ok(recording) = Recording::parse(bytes) {
        return read_again(&recording);
    }
    let Ok(invented) = Invented::new(bytes) else { return };
    let reading = finish(read(&invented, &options()));
    let recording = invented.lock().objects.clone();
    if let Ok(reading) = reading {
        check(&reading, &recording);
    }
    read_again(&recording);
}

/// The default, and the text of the panel: the more texts, the better.
fn options() -> ReadOptions {
    ReadOptions { panel: true, ..ReadOptions::default() }
}

/// A recording has every answer at once.
fn finish<T>(reading: impl Future<Output = T>) -> T {
    let mut reading = pin!(reading);
    loop {
        if let Poll::Ready(result) = reading.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return result;
        }
    }
}

fn read_again(recording: &Recording) {
    let Ok(first) = finish(explore(recording, &options())) else { return };
    check(&first.reading, recording);
    if let Some(memory) = &first.memory
        && let Ok(second) = finish(read_known(recording, &options(), memory))
    {
        check(&second.reading, recording);
        assert_eq!(without_ages(second.reading), without_ages(first.reading));
    }
}

/// How long ago something was read is different each time.
fn without_ages(mut reading: Reading) -> Reading {
    reading.meters.iter_mut().for_each(|meter| meter.age_ms = None);
    reading
}

#[allow(clippy::expect_used)] // a reading that cannot be written is a fault
fn check(reading: &Reading, recording: &Recording) {
    let json = serde_json::to_value(reading).expect("a reading as JSON");
    check_json(&json);
    let again: Reading = serde_json::from_value(json).expect("the same reading");
    // What is only for the rules that compare readings is not written.
    let again = Reading { alerts_complete: reading.alerts_complete, ..again };
    assert_eq!(&again, reading);
    for meter in &reading.meters {
        let raw = meter.oid.parse().ok().and_then(|oid| recording.value(&oid)).and_then(Value::as_i64);
        assert!(raw.is_none_or(|raw| raw >= 0), "{meter:?} is made of {raw:?}");
    }
}

/// Every text is clean, and every percentage is one.
fn check_json(json: &serde_json::Value) {
    use serde_json::Value as Json;
    match json {
        Json::String(text) => assert!(!text.contains(char::is_control), "{text:?} has a control character"),
        Json::Array(list) => list.iter().for_each(check_json),
        Json::Object(fields) => {
            let number = |name: &str| fields.get(name).and_then(Json::as_i64);
            for (name, value) in fields.iter().filter(|(name, value)| name.ends_with("percent") && !value.is_null()) {
                assert!(value.as_u64().is_some_and(|percent| percent <= 100), "{name} of {json}");
            }
            if fields.get("percent").is_some_and(|percent| !percent.is_null()) {
                assert!(number("level").is_none_or(|level| level >= 0), "a percentage of a code: {json}");
                assert!(number("max_capacity").is_none_or(|max| max > 0), "a percentage of a code: {json}");
            }
            fields.values().for_each(check_json);
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

fn text(u: &mut Unstructured<'_>) -> Drawn<Vec<u8>> {
    let mut text = Vec::new();
    for _ in 0..u.int_in_range(0..=5u8)? {
        if u.int_in_range(0..=3u8)? < 3 {
            text.extend_from_slice(u.choose(&PIECES)?);
        } else {
            let length = u.int_in_range(0..=24)?.min(u.len());
            text.extend_from_slice(u.bytes(length)?);
        }
    }
    Ok(text)
}

fn number(u: &mut Unstructured<'_>) -> Drawn<i64> {
    Ok(match u.int_in_range(0..=7u8)? {
        0..=3 => u.int_in_range(-3..=120)?,
        4 => *u.choose(&[i64::MIN, i64::MAX, i64::from(i32::MIN), i64::from(i32::MAX), i64::from(u32::MAX), 0x8000])?,
        5 => u.arbitrary::<u16>()?.into(),
        _ => u.arbitrary()?,
    })
}

fn value(u: &mut Unstructured<'_>) -> Drawn<Value> {
    Ok(match u.int_in_range(0..=15u8)? {
        0..=5 => Value::Integer(number(u)?),
        6..=10 => Value::OctetString(text(u)?),
        11 => Value::Counter32(u.arbitrary()?),
        12 => Value::Counter64(u.arbitrary()?),
        13 => Value::object_id(oid!(1, 3, 6, 1, 2, 1, 25, 3, 1, u.int_in_range(1..=20)?)),
        14 => u.choose(&[Value::Null, Value::NoSuchInstance, Value::EndOfMibView, Value::TimeTicks(1)])?.clone(),
        _ => match u.int_in_range(0..=2u8)? {
            0 => Value::Gauge32(u.arbitrary()?),
            1 => Value::Opaque(text(u)?),
            _ => Value::IpAddress(u.arbitrary::<[u8; 4]>()?.into()),
        },
    })
}

/// What stands behind a column, or behind a table's entry: indexes that rows of other columns have too.
fn suffix(u: &mut Unstructured<'_>) -> Drawn<Vec<u32>> {
    let row = u.int_in_range(1..=4)?;
    Ok(match u.int_in_range(0..=7u8)? {
        0..=2 => vec![1, row],
        3..=5 => vec![u.int_in_range(1..=20)?, 1, row],
        6 => vec![row],
        _ => (0..u.int_in_range(0..=6u8)?).map(|_| u.arbitrary()).collect::<Drawn<_>>()?,
    })
}

impl<'a> Invented<'a> {
    /// Mostly something that says it is a printer: else there is not much to be read.
    fn new(bytes: &'a [u8]) -> Drawn<Self> {
        let mut u = Unstructured::new(bytes);
        let mut objects = Recording::default();
        if u.int_in_range(0..=7u8)? < 7 {
            let enterprise = oid!(1, 3, 6, 1, 4, 1, *u.choose(&ENTERPRISES)?, u.int_in_range(1..=3)?);
            objects.set(oid!(1, 3, 6, 1, 2, 1, 1, 2, 0), Value::object_id(enterprise));
            let device = u.int_in_range(1..=2)?;
            let printer = Value::object_id(oid!(1, 3, 6, 1, 2, 1, 25, 3, 1, 5));
            objects.set(oid!(1, 3, 6, 1, 2, 1, 25, 3, 2, 1, 2, device), printer);
            objects.set(oid!(1, 3, 6, 1, 2, 1, 43, 5, 1, 1, 1, device), Value::Integer(1));
        }
        // Two columns that make percentages: both of the same rows.
        for row in 1..=u.int_in_range(0..=3)? {
            for column in [8, 9] {
                let cell = oid!(1, 3, 6, 1, 2, 1, 43, 11, 1, 1, column, 1, row);
                objects.set(cell, Value::Integer(number(&mut u)?));
            }
        }
        Ok(Self { state: Mutex::new(State { u, objects, decided: BTreeSet::new() }) })
    }

    fn lock(&self) -> MutexGuard<'_, State<'a>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State<'_> {
    fn decide_instance(&mut self, oid: &Oid) -> Drawn<()> {
        if self.decided.insert(oid.clone()) && self.objects.value(oid).is_none() && self.u.arbitrary()? {
            let value = value(&mut self.u)?;
            self.objects.set(oid.clone(), value);
        }
        Ok(())
    }

    /// Rows of a subtree, and how a walk of it ends.
    fn decide_subtree(&mut self, root: &Oid) -> Drawn<Option<WalkEnd>> {
        if self.decided.insert(root.clone()) {
            for _ in 0..self.u.int_in_range(0..=8u8)? {
                let (oid, value) = (root.with(&suffix(&mut self.u)?), value(&mut self.u)?);
                self.objects.set(oid, value);
            }
        }
        Ok(match self.u.int_in_range(0..=31u8)? {
            0..=27 => None,
            28 => Some(WalkEnd::NotIncreasing),
            29 => Some(WalkEnd::TimeLimit),
            _ => Some(WalkEnd::BrokenOff),
        })
    }

    /// Now and then, an error instead of an answer.
    fn error(&mut self) -> Result<(), SnmpError> {
        match self.u.int_in_range(0..=63u8) {
            Ok(63) => Err(SnmpError::Engine("it was made up".to_owned())),
            _ => Ok(()),
        }
    }
}

impl ObjectSource for Invented<'_> {
    async fn get(&self, oids: &[Oid]) -> Result<Vec<VarBind>, SnmpError> {
        let objects = {
            let mut state = self.lock();
            state.error()?;
            for oid in oids {
                // Where the fuzzer's bytes have run out, there is nothing.
                let _ = state.decide_instance(oid);
            }
            state.objects.clone()
        };
        objects.get(oids).await
    }

    async fn walk(&self, root: &Oid, limits: WalkLimits) -> Result<Walk, SnmpError> {
        let (objects, end) = {
            let mut state = self.lock();
            state.error()?;
            let end = state.decide_subtree(root).ok().flatten();
            (state.objects.clone(), end)
        };
        let mut walk = objects.walk(root, limits).await?;
        walk.end = end.unwrap_or(walk.end);
        Ok(walk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kept_inputs_of_reader_hold() {
        crate::snmp::fuzzing::replay("reader", reader);
    }

    #[test]
    fn a_percentage_of_a_code_and_a_text_with_controls_are_seen() {
        for bad in [
            r#"{"level":-3,"max_capacity":100,"percent":3}"#,
            r#"{"level":5,"max_capacity":-2,"percent":5}"#,
            r#"{"level":5,"max_capacity":5,"percent":101}"#,
            r#"["a",["b\u001b"]]"#,
        ] {
            let json = serde_json::from_str(bad).unwrap();
            assert!(std::panic::catch_unwind(|| check_json(&json)).is_err(), "{bad}");
        }
        check_json(&serde_json::json!([{"level": 5, "max_capacity": 100, "percent": 5, "name": "Gerät"}]));
    }
}
