//! Sessions against agents as they are in the field.

use super::*;
use crate::snmp::testing::{Agent, Asked, client, impatient, patient, session, v1, v2c};
use crate::snmp::{KnownEngine, Recording, WalkEnd};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

fn names(count: u32) -> Vec<Oid> {
    (1..=count).map(|n| oid!(1, 3, 6, 1, 4, 1, 99_999, 2, n)).collect()
}

/// Answers each name with its last arc.
fn last_arcs(asked: &Asked) -> Vec<u8> {
    let values: Vec<[u8; 1]> = asked.oids.iter().map(|oid| [*oid.arcs().last().unwrap() as u8 & 0x7f]).collect();
    let bindings: Vec<_> = asked.oids.iter().cloned().zip(&values).map(|(oid, v)| (oid, 2, &v[..])).collect();
    asked.response(0, 0, &bindings)
}

fn value_of(oid: &Oid) -> Value {
    Value::Integer(i64::from(oid.arcs().last().unwrap() & 0x7f))
}

#[tokio::test]
async fn a_long_list_is_read_in_several_requests_and_in_order() {
    let agent = Agent::answering(|_, asked| vec![last_arcs(&asked)]).await;
    let oids = names(95);
    let answer = session(&agent, v2c()).get(&oids).await.unwrap();
    assert!(answer.iter().zip(&oids).all(|(binding, oid)| binding.oid == *oid && binding.value == value_of(oid)));
    let asked = agent.asked();
    assert_eq!(asked.len(), 5);
    assert!(asked.iter().all(|asked| asked.oids.len() <= MAX_OIDS_PER_REQUEST));
    assert_eq!(session(&agent, v2c()).get(&[]).await.unwrap(), []);
}

#[tokio::test]
async fn a_request_never_outgrows_a_frame_however_long_its_names() {
    let agent = Agent::answering(|_, asked| vec![last_arcs(&asked)]).await;
    let long: Vec<Oid> = (1..=40).map(|n| oid!(1, 3, 6).with(&[u32::MAX; 60]).with(&[n])).collect();
    let answer = session(&agent, v2c()).get(&long).await.unwrap();
    assert!(answer.iter().zip(&long).all(|(binding, oid)| binding.value == value_of(oid)));
    assert!(agent.heard.lock().unwrap().iter().all(|datagram| datagram.len() <= 1_400));
}

/// As RFC 1157 §4.1.2 has it: the first name that does not exist spoils the whole answer.
fn v1_agent(asked: &Asked, missing: &BTreeSet<Oid>) -> Vec<u8> {
    match asked.oids.iter().position(|oid| missing.contains(oid)) {
        Some(position) => {
            let echo: Vec<_> = asked.oids.iter().map(|oid| (oid.clone(), 5, &[][..])).collect();
            asked.response(2, u8::try_from(position).unwrap() + 1, &echo)
        }
        None => last_arcs(asked),
    }
}

#[tokio::test]
async fn objects_missing_in_v1_do_not_spoil_the_others() {
    let oids = names(30);
    let missing: BTreeSet<Oid> = oids.iter().filter(|oid| oid.arcs().last().unwrap() % 3 == 0).cloned().collect();
    let known = missing.clone();
    let agent = Agent::answering(move |_, asked| vec![v1_agent(&asked, &known)]).await;
    let answer = session(&agent, v1()).get(&oids).await.unwrap();
    for (binding, oid) in answer.iter().zip(&oids) {
        let expected = if missing.contains(oid) { Value::NoSuchInstance } else { value_of(oid) };
        assert_eq!((&binding.oid, &binding.value), (oid, &expected));
    }
    assert!(agent.asked().iter().all(|asked| asked.version == 0));
    assert_eq!(agent.asked().len(), 2 + missing.len(), "one more request for each missing object");
}

#[tokio::test]
async fn a_v1_agent_that_does_not_say_which_object_is_missing_is_asked_by_halves() {
    let oids = names(16);
    let agent = Agent::answering(|_, asked| {
        let bad = asked.oids.iter().any(|oid| *oid.arcs().last().unwrap() == 7);
        vec![if bad { asked.response(2, 0, &[]) } else { last_arcs(&asked) }]
    })
    .await;
    let answer = session(&agent, v1()).get(&oids).await.unwrap();
    assert_eq!(answer[6].value, Value::NoSuchInstance);
    assert_eq!(answer.iter().filter(|binding| binding.value.is_present()).count(), 15);
}

#[tokio::test]
async fn too_big_is_asked_again_by_halves() {
    let agent = Agent::answering(|_, asked| {
        vec![if asked.oids.len() > 3 { asked.response(1, 0, &[]) } else { last_arcs(&asked) }]
    })
    .await;
    let oids = names(20);
    let answer = session(&agent, v2c()).get(&oids).await.unwrap();
    assert!(answer.iter().zip(&oids).all(|(binding, oid)| binding.value == value_of(oid)));
    let hopeless = Agent::answering(|_, asked| vec![asked.response(1, 0, &[])]).await;
    let error = session(&hopeless, v2c()).get(&oids).await.unwrap_err();
    assert_eq!(error, SnmpError::ErrorStatus { target: hopeless.address, status: 1 });
}

#[tokio::test]
async fn a_broken_object_is_absent_and_not_zero_and_the_others_are_read() {
    let agent = Agent::answering(|_, asked| match asked.oids.iter().position(|oid| *oid.arcs().last().unwrap() == 2) {
        Some(position) => vec![asked.response(5, u8::try_from(position).unwrap() + 1, &[])],
        None => vec![last_arcs(&asked)],
    })
    .await;
    let answer = session(&agent, v2c()).get(&names(4)).await.unwrap();
    let values: Vec<_> = answer.into_iter().map(|binding| binding.value).collect();
    assert_eq!(values, [Value::Integer(1), Value::Null, Value::Integer(3), Value::Integer(4)]);
}

#[tokio::test]
async fn an_answer_cut_short_or_out_of_order_is_made_whole() {
    let agent = Agent::answering(|_, mut asked| {
        asked.oids.truncate(3);
        asked.oids.reverse();
        vec![last_arcs(&asked)]
    })
    .await;
    let oids = names(8);
    let answer = session(&agent, v2c()).get(&oids).await.unwrap();
    assert!(answer.iter().zip(&oids).all(|(binding, oid)| binding.oid == *oid && binding.value == value_of(oid)));
}

#[tokio::test]
async fn an_agent_that_answers_about_other_objects_answers_nothing() {
    let agent = Agent::answering(|_, asked| vec![asked.response(0, 0, &[(oid!(1, 3, 9), 2, &[7])])]).await;
    let answer = session(&agent, v2c()).get(&names(5)).await.unwrap();
    assert!(answer.iter().all(|binding| binding.value == Value::Null));
    assert!(agent.asked().len() <= 10);
}

#[tokio::test]
async fn get_next_in_v1_says_the_end_for_each_object() {
    let agent = Agent::answering(|_, asked| {
        assert_eq!(asked.tag, 0xa1);
        match asked.oids.iter().position(|oid| *oid.arcs().last().unwrap() == 2) {
            Some(position) => vec![asked.response(2, u8::try_from(position).unwrap() + 1, &[])],
            None => {
                let bindings: Vec<_> = asked.oids.iter().map(|oid| (oid.with(&[0]), 2, &[1][..])).collect();
                vec![asked.response(0, 0, &bindings)]
            }
        }
    })
    .await;
    let answer = session(&agent, v1()).get_next(&names(3)).await.unwrap();
    assert_eq!(answer[0], VarBind { oid: names(1)[0].with(&[0]), value: Value::Integer(1) });
    assert_eq!(answer[1].value, Value::EndOfMibView);
    assert_eq!(answer[2].value, Value::Integer(1));
}

#[tokio::test]
async fn get_bulk_is_refused_in_v1_and_sent_as_asked_in_v2c() {
    let agent = Agent::answering(|_, asked| vec![last_arcs(&asked)]).await;
    let error = session(&agent, v1()).get_bulk(&names(1), 0, 5).await.unwrap_err();
    assert!(matches!(error, SnmpError::BadRequest { .. }), "{error}");
    session(&agent, v2c()).get_bulk(&names(2), 1, 1_000_000).await.unwrap();
    let asked = agent.asked();
    assert_eq!((asked[0].tag, asked[0].first, asked[0].second), (0xa5, 1, i64::from(MAX_REPETITIONS)));
}

#[tokio::test]
async fn what_is_never_asked_for_does_not_leave_the_box() {
    let agent = Agent::answering(|_, asked| vec![last_arcs(&asked)]).await;
    let session = session(&agent, v2c());
    let command = oid!(1, 3, 6, 1, 4, 1, 1248, 1, 2, 2, 44, 1, 1, 2, 1, 124);
    assert!(matches!(session.get(std::slice::from_ref(&command)).await, Err(SnmpError::BadRequest { .. })));
    assert!(matches!(session.get_next(std::slice::from_ref(&command)).await, Err(SnmpError::BadRequest { .. })));
    assert!(matches!(session.get_bulk(std::slice::from_ref(&command), 0, 1).await, Err(SnmpError::BadRequest { .. })));
    assert!(matches!(session.get_next(&[oid!(1, 3, 6, 1, 4, 1)]).await, Err(SnmpError::BadRequest { .. })));
    for root in [command, oid!(1, 3, 6, 1, 4, 1), oid!(1, 3, 6, 1, 4, 1, 1248), oid!(1)] {
        assert!(matches!(session.walk(&root, WalkLimits::default()).await, Err(SnmpError::BadRequest { .. })));
    }
    assert_eq!(agent.asked(), []);
}

#[tokio::test]
async fn a_walk_next_to_epsons_commands_goes_one_step_at_a_time() {
    let agent = Agent::answering(|_, asked| {
        vec![asked.response(0, 0, &[(oid!(1, 3, 6, 1, 4, 1, 1248, 1, 2, 2, 44, 1), 2, &[1])])]
    })
    .await;
    let root = oid!(1, 3, 6, 1, 4, 1, 1248, 1, 2, 2, 2);
    let walk = session(&agent, v2c()).walk(&root, WalkLimits::default()).await.unwrap();
    assert_eq!((walk.varbinds.len(), walk.end), (0, WalkEnd::EndOfSubtree));
    assert_eq!(agent.asked().iter().map(|asked| asked.tag).collect::<Vec<_>>(), [0xa1]);
}

#[tokio::test]
async fn columns_next_to_epsons_commands_are_read_without_a_step_into_them() {
    let own = oid!(1, 3, 6, 1, 4, 1, 1248, 1, 2, 2);
    // Two rows of each of these columns, and in between what must not be come to.
    let cells = [2, 3, 44, 45, 46].iter().flat_map(|column| [1, 2].map(|row| (own.with(&[*column, row]), Value::Null)));
    let device = Recording::from_objects(cells);
    let agent = Agent::answering(move |_, asked| {
        let steps = if asked.tag == 0xa5 { asked.second } else { 1 };
        let mut row = asked.oids.clone();
        let mut found: Vec<(Oid, u8, &[u8])> = Vec::new();
        for _ in 0..steps {
            row = row.iter().map(|oid| device.next_after(oid).map_or(oid.clone(), |(next, _)| next.clone())).collect();
            found.extend(row.iter().map(|oid| (oid.clone(), 2, &[1][..])));
        }
        vec![asked.response(0, 0, &found)]
    })
    .await;
    for credentials in [v1(), v2c()] {
        let session = session(&agent, credentials);
        let walk = session.columns(&own, &[2, 3, 45, 46], WalkLimits::default()).await.unwrap();
        assert_eq!(walk.varbinds.len(), 8, "{walk:?}");
    }
    // What lies before the commands is read a step at a time: past its own end it comes to the first of them at most.
    let before = own.with(&[44]);
    for asked in agent.asked().iter().filter(|asked| asked.oids.iter().any(|oid| *oid < before)) {
        assert_eq!((asked.tag, asked.oids.len()), (0xa1, 1));
    }
    assert!(agent.asked().iter().all(|asked| !asked.oids.iter().any(|oid| oid.starts_with(&before))));
    let heard = agent.asked().len();
    for (entry, column) in [(own.clone(), 44), (oid!(1, 3, 6, 1, 4, 1), 1248), (oid!(1, 3), 6)] {
        let refused = session(&agent, v2c()).columns(&entry, &[1, column], WalkLimits::default()).await;
        assert!(matches!(refused, Err(SnmpError::BadRequest { .. })), "{refused:?}");
    }
    let many: Vec<u32> = (1..=65).collect();
    let refused = session(&agent, v2c()).columns(&own.with(&[45]), &many, WalkLimits::default()).await;
    assert!(matches!(refused, Err(SnmpError::BadRequest { .. })), "{refused:?}");
    assert_eq!(agent.asked().len(), heard);
}

/// An agent over 37 objects, of v1 or v2c.
fn table() -> Recording {
    let below = (1..=30u32).map(|n| (oid!(1, 3, 6, 1, 2, 1, 43, 11, n), Value::Integer(1)));
    let beside = (1..=7u32).map(|n| (oid!(1, 3, 6, 1, 2, 1, 44, n), Value::Integer(2)));
    Recording::from_objects(below.chain(beside))
}

fn walkable(table: &Recording, asked: &Asked) -> Vec<u8> {
    let from = &asked.oids[0];
    let steps = if asked.tag == 0xa5 { asked.second } else { 1 };
    let mut position = from.clone();
    let mut found: Vec<(Oid, u8, &[u8])> = Vec::new();
    for _ in 0..steps {
        match table.next_after(&position) {
            Some((oid, _)) => {
                found.push((oid.clone(), 2, &[1]));
                position = oid.clone();
            }
            None if asked.version == 0 => return asked.response(2, 1, &[(from.clone(), 5, &[])]),
            None => {
                found.push((position.clone(), 0x82, &[]));
                break;
            }
        }
    }
    asked.response(0, 0, &found)
}

#[tokio::test]
async fn walks_of_v1_and_v2c_find_the_same_and_know_their_ends() {
    let agent = Agent::answering(|_, asked| vec![walkable(&table(), &asked)]).await;
    for (root, end) in [
        (oid!(1, 3, 6, 1, 2, 1, 43), WalkEnd::EndOfSubtree),
        (oid!(1, 3, 6, 1, 2, 1, 44), WalkEnd::EndOfMibView),
        (oid!(1, 3, 6, 1, 2, 1, 42), WalkEnd::EndOfSubtree),
        (oid!(1, 3, 6, 1, 2, 1, 45), WalkEnd::EndOfMibView),
    ] {
        let by_v1 = session(&agent, v1()).walk(&root, WalkLimits::default()).await.unwrap();
        let by_v2c = session(&agent, v2c()).walk(&root, WalkLimits::default()).await.unwrap();
        let expected = table().iter().filter(|(oid, _)| oid.starts_with(&root)).count();
        assert_eq!((by_v1.varbinds.len(), by_v1.end), (expected, end), "{root}");
        assert_eq!(by_v1, by_v2c);
    }
    let tags: BTreeSet<(i64, u8)> = agent.asked().iter().map(|asked| (asked.version, asked.tag)).collect();
    assert_eq!(tags, BTreeSet::from([(0, 0xa1), (1, 0xa5)]));
}

#[tokio::test]
async fn a_walk_takes_smaller_steps_when_the_device_wants_them() {
    let agent = Agent::answering(|_, asked| {
        vec![if asked.second > 2 { asked.response(1, 0, &[]) } else { walkable(&table(), &asked) }]
    })
    .await;
    let root = oid!(1, 3, 6, 1, 2, 1, 43);
    let walk = session(&agent, v2c()).walk(&root, WalkLimits::default()).await.unwrap();
    assert_eq!((walk.varbinds.len(), walk.end), (30, WalkEnd::EndOfSubtree));
    let steps: Vec<i64> = agent.asked().iter().map(|asked| asked.second).take(4).collect();
    assert_eq!(steps, [10, 5, 2, 2]);
}

#[tokio::test]
async fn a_device_without_getbulk_is_walked_by_getnext() {
    for refuses in [true, false] {
        let agent = Agent::answering(move |_, asked| match (asked.tag, refuses) {
            (0xa5, true) => vec![asked.response(5, 0, &[])],
            (0xa5, false) => vec![],
            _ => vec![walkable(&table(), &asked)],
        })
        .await;
        let root = oid!(1, 3, 6, 1, 2, 1, 43);
        let timing = Timing { timeout: Duration::from_millis(400), retries: 1 };
        let session = client().session(agent.address, v2c(), timing);
        let walk = session.walk(&root, WalkLimits::default()).await.unwrap();
        assert_eq!((walk.varbinds.len(), walk.end), (30, WalkEnd::EndOfSubtree));
    }
}

#[tokio::test]
async fn a_device_that_falls_silent_leaves_what_it_said() {
    let agent =
        Agent::answering(|count, asked| if count < 2 { vec![walkable(&table(), &asked)] } else { vec![] }).await;
    let root = oid!(1, 3, 6, 1, 2, 1, 43);
    let timing = Timing { timeout: Duration::from_millis(400), retries: 0 };
    let session = client().session(agent.address, v2c(), timing);
    let walk = session.walk(&root, WalkLimits::default()).await.unwrap();
    assert_eq!((walk.varbinds.len(), walk.end), (30, WalkEnd::TimeLimit));
    let error = session.walk(&root, WalkLimits::default()).await.unwrap_err();
    assert!(matches!(error, SnmpError::Timeout { .. }), "{error}");
}

#[tokio::test]
async fn a_walk_keeps_its_limits_of_rows_and_time() {
    // A device without an end: each object has one behind it.
    let agent = Agent::answering(|_, asked| {
        let next = asked.oids[0].arcs().last().copied().unwrap();
        let next = if next < 1_000 { 1_000 } else { next + 1 };
        vec![asked.response(0, 0, &[(oid!(1, 3, 6, 1, 2, 1, 43, next), 2, &[1])])]
    })
    .await;
    let root = oid!(1, 3, 6, 1, 2, 1, 43);
    let limits = WalkLimits { rows: 25, ..WalkLimits::default() };
    let walk = session(&agent, v2c()).walk(&root, limits).await.unwrap();
    assert_eq!((walk.varbinds.len(), walk.end), (25, WalkEnd::RowLimit));
    let start = Instant::now();
    let limits = WalkLimits { rows: usize::MAX, time: Duration::from_millis(200), ..WalkLimits::default() };
    let walk = session(&agent, v2c()).walk(&root, limits).await.unwrap();
    assert_eq!(walk.end, WalkEnd::TimeLimit);
    assert!(!walk.varbinds.is_empty() && start.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn a_device_that_goes_in_circles_or_breaks_off_is_left() {
    let circle = Agent::answering(|_, asked| {
        let objects: &[u32] = match (asked.tag, asked.oids[0].arcs().last()) {
            (0xa5, _) => &[1, 2, 1],
            (_, Some(1)) => &[2],
            _ => &[1],
        };
        let bindings: Vec<_> = objects.iter().map(|n| (oid!(1, 3, 6, 1, 2, 1, 43, *n), 2, &[1][..])).collect();
        vec![asked.response(0, 0, &bindings)]
    })
    .await;
    let root = oid!(1, 3, 6, 1, 2, 1, 43);
    let walk = session(&circle, v2c()).walk(&root, WalkLimits::default()).await.unwrap();
    assert_eq!((walk.varbinds.len(), walk.end), (2, WalkEnd::NotIncreasing));
    let broken = Agent::answering(|count, asked| {
        vec![if count == 0 { walkable(&table(), &asked) } else { asked.response(5, 1, &[]) }]
    })
    .await;
    let walk = session(&broken, v2c()).walk(&root, WalkLimits::default()).await.unwrap();
    assert_eq!((walk.varbinds.len(), walk.end), (10, WalkEnd::BrokenOff));
    let empty = Agent::answering(|_, asked| vec![asked.response(0, 0, &[])]).await;
    let error = session(&empty, v2c()).walk(&root, WalkLimits::default()).await.unwrap_err();
    assert!(matches!(&error, SnmpError::Garbage { target, .. } if *target == empty.address), "{error}");
}

fn v3() -> Credentials {
    Credentials::V3(UsmUser::new("reader", None, None, "").unwrap())
}

fn up_time() -> [Oid; 1] {
    [oid!(1, 3, 6, 1, 2, 1, 1, 3, 0)]
}

/// An SNMPv3 agent that answers each datagram as the list says: with which engine id, and which arc of usmStats it
/// reports. Behind the end of the list it answers as its last entry says.
async fn v3_agent(script: Vec<(&'static [u8], Option<u32>)>) -> Agent {
    Agent::start(move |count, datagram| {
        let (engine_id, report) = script[count.min(script.len() - 1)];
        vec![codec::tests::v3_answer(engine_id, codec::id_of(datagram).unwrap(), report)]
    })
    .await
}

#[tokio::test]
async fn an_engine_is_discovered_once_and_remembered() {
    let agent = v3_agent(vec![(b"engine A", Some(4)), (b"engine A", None)]).await;
    let client = client();
    for asked in 2..5 {
        let session = client.session(agent.address, v3(), patient());
        assert_eq!(session.get(&up_time()).await.unwrap()[0].value, Value::Integer(5));
        assert_eq!(agent.heard.lock().unwrap().len(), asked);
    }
}

#[tokio::test]
async fn sessions_that_need_an_engine_at_the_same_time_discover_it_once() {
    let agent = v3_agent(vec![(b"engine A", Some(4)), (b"engine A", None)]).await;
    let client = client();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let session = client.session(agent.address, v3(), patient());
        tasks.spawn(async move { session.get(&up_time()).await.unwrap() });
    }
    assert_eq!(tasks.join_all().await.len(), 10);
    assert_eq!(agent.heard.lock().unwrap().len(), 11);
}

#[tokio::test]
async fn an_agent_that_changes_its_engine_id_is_discovered_anew_once() {
    let agent =
        v3_agent(vec![(b"engine A", Some(4)), (b"engine B", Some(4)), (b"engine B", Some(4)), (b"engine B", None)])
            .await;
    let session = session(&agent, v3());
    assert_eq!(session.get(&up_time()).await.unwrap()[0].value, Value::Integer(5));
    let restless = v3_agent(vec![(b"engine A", Some(4))]).await;
    let error = crate::snmp::testing::session(&restless, v3()).get(&up_time()).await.unwrap_err();
    assert_eq!(error, SnmpError::Refused { target: restless.address, reason: UsmReport::UnknownEngineId });
    assert_eq!(restless.heard.lock().unwrap().len(), 4, "two discoveries and two questions");
}

#[tokio::test]
async fn an_engine_that_is_remembered_over_a_restart_is_not_discovered_again() {
    let agent = v3_agent(vec![(b"engine A", Some(4)), (b"engine A", None)]).await;
    let before = client();
    before.session(agent.address, v3(), patient()).get(&up_time()).await.unwrap();
    let known = before.known_engines();
    assert_eq!((known.len(), known[0].target, known[0].engine_id.as_slice()), (1, agent.address, &b"engine A"[..]));

    // The next life asks at once, and goes on asking although nothing is remembered of others.
    let after = client();
    after.remember_engines(known.clone());
    after.session(agent.address, v3(), patient()).get(&up_time()).await.unwrap();
    assert_eq!(agent.heard.lock().unwrap().len(), 3, "a discovery and a question, and then a question");

    // Another device lives there by now: it says so, or it says nothing.
    let other = v3_agent(vec![(b"engine B", Some(4)), (b"engine B", Some(4)), (b"engine B", None)]).await;
    let after = client();
    after.remember_engines([KnownEngine { target: other.address, ..known[0].clone() }]);
    after.session(other.address, v3(), patient()).get(&up_time()).await.unwrap();
    let silent = Agent::start(|_, datagram| {
        let has = |engine_id: &[u8]| datagram.windows(engine_id.len()).any(|octets| octets == engine_id);
        let report = if has(b"engine B") { None } else { Some(4) };
        let answer = codec::tests::v3_answer(b"engine B", codec::id_of(datagram).unwrap(), report);
        if has(b"engine A") { vec![] } else { vec![answer] }
    })
    .await;
    let after = client();
    after.remember_engines([KnownEngine { target: silent.address, ..known[0].clone() }]);
    after
        .session(silent.address, v3(), Timing { timeout: Duration::from_millis(500), retries: 1 })
        .get(&up_time())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_clock_that_will_not_fit_is_followed_once() {
    let agent = v3_agent(vec![(b"engine A", Some(4)), (b"engine A", Some(2)), (b"engine A", None)]).await;
    assert_eq!(session(&agent, v3()).get(&up_time()).await.unwrap()[0].value, Value::Integer(5));
    let broken = v3_agent(vec![(b"engine A", Some(4)), (b"engine A", Some(2))]).await;
    let error = session(&broken, v3()).get(&up_time()).await.unwrap_err();
    assert_eq!(error, SnmpError::Refused { target: broken.address, reason: UsmReport::NotInTimeWindow });
    assert_eq!(broken.heard.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn an_engine_without_an_id_is_refused() {
    let agent = Agent::start(|_, datagram| {
        vec![Message::Discovery.encode(codec::id_of(datagram).unwrap(), Instant::now()).unwrap()]
    })
    .await;
    let error = session(&agent, v3()).get(&up_time()).await.unwrap_err();
    assert!(matches!(&error, SnmpError::BadRequest { .. }), "{error}");
    // What is denied is denied before anything is sent.
    let heard = agent.heard.lock().unwrap().len();
    let command = oid!(1, 3, 6, 1, 4, 1, 1248, 1, 2, 2, 44, 1);
    assert!(matches!(session(&agent, v3()).get(&[command]).await, Err(SnmpError::BadRequest { .. })));
    assert_eq!(agent.heard.lock().unwrap().len(), heard);
}

#[tokio::test]
async fn a_v3_answer_to_a_question_in_another_version_is_not_taken() {
    let agent = Agent::start(|_, datagram| {
        let id = codec::id_of(datagram).unwrap();
        vec![Message::Discovery.encode(id, Instant::now()).unwrap()]
    })
    .await;
    let error = client().session(agent.address, v2c(), impatient()).get(&names(1)).await.unwrap_err();
    assert!(matches!(error, SnmpError::Garbage { .. } | SnmpError::Timeout { .. }), "{error}");
}
