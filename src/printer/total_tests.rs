//! The reader is total: whatever a device says, there is no panic, no text that is not printable, no percentage outside of
//! 0 to 100, no number where the device gave a code.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value as Json;

use super::{ReadOptions, explore, read_known};
use crate::snmp::{Oid, Recording, Value};

/// Where a reader looks: columns of the standard tables, and objects of makers.
const PLACES: &[&str] = &[
    "1.3.6.1.2.1.1.1",
    "1.3.6.1.2.1.1.5",
    "1.3.6.1.2.1.2.2.1.6",
    "1.3.6.1.2.1.25.3.2.1.2",
    "1.3.6.1.2.1.25.3.2.1.3",
    "1.3.6.1.2.1.25.3.5.1.1",
    "1.3.6.1.2.1.25.3.5.1.2",
    "1.3.6.1.2.1.43.5.1.1.2",
    "1.3.6.1.2.1.43.5.1.1.16",
    "1.3.6.1.2.1.43.5.1.1.17",
    "1.3.6.1.2.1.43.6.1.1.3",
    "1.3.6.1.2.1.43.7.1.1.4.1",
    "1.3.6.1.2.1.43.8.2.1.9.1",
    "1.3.6.1.2.1.43.8.2.1.10.1",
    "1.3.6.1.2.1.43.8.2.1.11.1",
    "1.3.6.1.2.1.43.9.2.1.5.1",
    "1.3.6.1.2.1.43.10.2.1.3.1",
    "1.3.6.1.2.1.43.10.2.1.4.1",
    "1.3.6.1.2.1.43.11.1.1.3.1",
    "1.3.6.1.2.1.43.11.1.1.4.1",
    "1.3.6.1.2.1.43.11.1.1.5.1",
    "1.3.6.1.2.1.43.11.1.1.6.1",
    "1.3.6.1.2.1.43.11.1.1.8.1",
    "1.3.6.1.2.1.43.11.1.1.9.1",
    "1.3.6.1.2.1.43.12.1.1.4.1",
    "1.3.6.1.2.1.43.13.4.1.6.1",
    "1.3.6.1.2.1.43.18.1.1.2.1",
    "1.3.6.1.2.1.43.18.1.1.7.1",
    "1.3.6.1.2.1.43.18.1.1.9.1",
    "1.3.6.1.4.1.2699.1.2.1.2.1.1.3",
];

fn value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        vec(any::<u8>(), 0..60),
        "[A-Za-z0-9 ,;:/()-]{0,40}".prop_map(String::into_bytes),
        Just(b"MFG:Xerox;MDL:C8000;SN:ABC12345;".to_vec()),
    ];
    prop_oneof![
        4 => (-4i64..300).prop_map(Value::Integer),
        1 => any::<i64>().prop_map(Value::Integer),
        1 => any::<u32>().prop_map(Value::Counter32),
        1 => any::<u64>().prop_map(Value::Counter64),
        1 => any::<u32>().prop_map(Value::TimeTicks),
        4 => text.prop_map(Value::OctetString),
        1 => Just(Value::object_id("1.3.6.1.2.1.25.3.1.5".parse().unwrap())),
        1 => Just(Value::Null),
    ]
}

/// A device of some maker, with anything anywhere.
fn device() -> impl Strategy<Value = Recording> {
    let makers: Vec<Oid> = crate::snmp::allowed_subtrees();
    let places: Vec<Oid> = PLACES.iter().map(|place| place.parse().unwrap()).collect();
    let own: Vec<Oid> = super::Profiles::built_in().every_instance();
    let standard = (proptest::sample::select(places), 0u32..5).prop_map(|(place, index)| place.with(&[index]));
    let object = prop_oneof![4 => standard, 3 => proptest::sample::select(own)];
    (proptest::sample::select(makers), vec((object, value()), 0..80)).prop_map(|(maker, objects)| {
        let mut recording = Recording::from_objects(objects);
        recording.set("1.3.6.1.2.1.1.2.0".parse().unwrap(), Value::object_id(maker));
        recording
    })
}

/// Every text is printable.
fn check_texts(json: &Json) {
    match json {
        Json::String(text) => {
            assert!(text.chars().all(|c| !c.is_control() && !('\u{202a}'..='\u{202e}').contains(&c)), "{text:?}");
        }
        Json::Array(items) => items.iter().for_each(check_texts),
        Json::Object(fields) => fields.values().for_each(check_texts),
        _ => {}
    }
}

fn check(reading: &super::Reading) {
    check_texts(&serde_json::to_value(reading).unwrap());
    for supply in &reading.supplies {
        let is_real = supply.level.is_some_and(|level| level >= 0) && supply.max_capacity.is_some_and(|max| max > 0);
        assert_eq!(supply.percent.is_some(), is_real, "{supply:?}");
        assert!(supply.percent.into_iter().chain(supply.maker_percent).all(|percent| percent <= 100), "{supply:?}");
    }
    let mut names: Vec<&str> = reading.meters.iter().map(|meter| meter.name.as_str()).collect();
    names.dedup();
    assert_eq!(names.len(), reading.meters.len(), "a meter is told twice: {names:?}");
    assert!(reading.serial.as_deref().is_none_or(super::identity::is_serial), "{:?}", reading.serial);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn whatever_a_device_says_its_reading_is_sound(first in device(), changes in vec(value(), 1..20)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let options = ReadOptions { panel: true, ..ReadOptions::default() };
        let outcome = runtime.block_on(explore(&first, &options)).unwrap();
        check(&outcome.reading);
        // And again, when some of it has changed, from what is remembered.
        let mut second = first.clone();
        for ((oid, _), value) in first.iter().zip(changes) {
            second.set(oid.clone(), value);
        }
        if let Some(memory) = &outcome.memory {
            check(&runtime.block_on(read_known(&second, &options, memory)).unwrap().reading);
        }
    }
}
