//! Sweeps against agents of ours: who is asked, who is heard, and who is not.

use super::*;
use crate::oid;
use crate::snmp::testing::{Agent, Asked, client, patient, v1, v2c};
use crate::snmp::{ClientConfig, Value, codec::ber};
use std::sync::Mutex;
use tokio::net::UdpSocket;

fn name() -> Oid {
    oid!(1, 3, 6, 1, 2, 1, 1, 2, 0)
}

fn five(asked: &Asked) -> Vec<u8> {
    asked.response(0, 0, &[(asked.oids[0].clone(), 2, &[5])])
}

fn probe(credentials: Credentials) -> Probe {
    Probe::Community { credentials, oids: vec![name()] }
}

fn plan(targets: Vec<SocketAddr>, probe: Probe, listen_ms: u64) -> SweepPlan {
    SweepPlan {
        targets: Box::new(targets.into_iter()),
        probe,
        pace: Pace::of_the_client(),
        listen: Duration::from_millis(listen_ms),
        unreachable: Unreachable::default(),
    }
}

async fn all(mut probes: Probes) -> Vec<ProbeAnswer> {
    let mut answers = Vec::new();
    while let Some(answer) = probes.next().await {
        answers.push(answer);
    }
    answers.sort_by_key(|answer| answer.target);
    answers
}

/// An address where nobody listens.
async fn nobody() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn whoever_answers_is_told_once_and_the_silent_cost_nothing() {
    let twice = Agent::answering(|_, asked| vec![five(&asked), five(&asked)]).await;
    let v1_only = Agent::answering(|_, asked| if asked.version == 0 { vec![five(&asked)] } else { vec![] }).await;
    let error = Agent::answering(|_, asked| vec![asked.response(2, 1, &[])]).await;
    let mut targets = vec![twice.address, v1_only.address, error.address];
    for _ in 0..50 {
        targets.push(nobody().await);
    }
    let client = client();
    let probes = client.sweep(plan(targets.clone(), probe(v2c()), 300)).await.unwrap();
    let counter = probes.counter();
    let answers = all(probes).await;
    assert_eq!(counter.load(Ordering::Relaxed), 53);
    let mut heard: Vec<SocketAddr> = answers.iter().map(|answer| answer.target).collect();
    let mut expected = vec![twice.address, error.address];
    heard.sort();
    expected.sort();
    assert_eq!(heard, expected);
    let answer = answers.iter().find(|answer| answer.target == twice.address).unwrap();
    assert_eq!(answer.bindings, [VarBind { oid: name(), value: Value::Integer(5) }]);
    let statistics = client.statistics();
    assert_eq!((statistics.probes, statistics.taken), (53, 2));

    let answers = all(client.sweep(plan(vec![v1_only.address], probe(v1()), 300)).await.unwrap()).await;
    assert_eq!(answers.len(), 1);
}

#[tokio::test]
async fn who_cannot_be_reached_is_noted_and_the_others_are_asked_all_the_same() {
    let agents = [Agent::answering(|_, asked| vec![five(&asked)]).await, Agent::answering(|_, _| vec![]).await];
    let closed = [nobody().await, nobody().await, nobody().await];
    let targets = vec![closed[0], agents[0].address, closed[1], closed[2], agents[1].address];
    let client = client();
    let plan = SweepPlan { pace: Pace::per_second(100), ..plan(targets, probe(v2c()), 300) };
    let unreachable = plan.unreachable.clone();
    assert_eq!(all(client.sweep(plan).await.unwrap()).await.len(), 1);
    assert_eq!(agents.map(|agent| (agent.asked().len(), unreachable.is_known(agent.address))), [(1, false); 2]);
    assert_eq!(closed.map(|target| unreachable.is_known(target)), [true; 3]);
    assert!(!unreachable.is_closed(closed[0]), "closed ports are no closed network");
    assert_eq!(client.statistics().unreachable, 3);
}

#[tokio::test]
async fn ids_differ_and_only_the_right_one_from_the_right_place_is_an_answer() {
    let stranger = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let first = Agent::answering(|_, asked| vec![asked.response_with_id(asked.id ^ 1, 0, 0, &[])]).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let second = socket.local_addr().unwrap();
    let seen = Arc::new(Mutex::new(0));
    let (seen_, stranger_) = (Arc::clone(&seen), Arc::clone(&stranger));
    let task = tokio::spawn(async move {
        let mut buffer = [0; 1500];
        let (length, source) = socket.recv_from(&mut buffer).await.unwrap();
        let asked = Asked::read(&buffer[..length]);
        *seen_.lock().unwrap() = asked.id;
        stranger_.send_to(&five(&asked), source).await.unwrap();
    });
    let client = client();
    let answers = all(client.sweep(plan(vec![first.address, second], probe(v2c()), 300)).await.unwrap()).await;
    assert_eq!(answers, []);
    task.await.unwrap();
    assert_ne!(first.asked()[0].id, *seen.lock().unwrap());
    assert_eq!(client.statistics().ignored, 2);
}

#[tokio::test]
async fn an_engine_discovery_brings_the_engine_id() {
    let agent = Agent::start(|_, datagram| {
        // The discovery comes back as a report that bears its msgID (RFC 3414 §4).
        let mut message = ber::Reader::new(ber::Reader::new(datagram).expect(0x30).unwrap());
        message.integer().unwrap();
        let id = ber::Reader::new(message.expect(0x30).unwrap()).integer().unwrap();
        let element = |tag, content: &[u8]| {
            let mut out = Vec::new();
            ber::push(&mut out, tag, content);
            out
        };
        let id = element(2, &i32::try_from(id).unwrap().to_be_bytes());
        let number = |octet| element(2, &[octet]);
        let engine = element(4, b"\x80\x00\x00\x00\x05abc");
        let global = [id.clone(), number(99), element(4, &[0]), number(3)].concat();
        let empty = element(4, b"");
        let usm = [engine.clone(), number(1), number(9), empty.clone(), empty.clone(), empty.clone()].concat();
        let stats = ber::object_id_octets(&oid!(1, 3, 6, 1, 6, 3, 15, 1, 1, 4, 0)).unwrap();
        let binding = element(0x30, &[element(6, &stats), element(0x41, &[1])].concat());
        let pdu = element(0xa8, &[id, number(0), number(0), element(0x30, &binding)].concat());
        let scoped = element(0x30, &[engine, empty, pdu].concat());
        let usm = element(4, &element(0x30, &usm));
        vec![element(0x30, &[number(3), element(0x30, &global), usm, scoped].concat())]
    })
    .await;
    let client = client();
    let probes = client.sweep(plan(vec![agent.address], Probe::EngineDiscovery, 300)).await.unwrap();
    let answers = all(probes).await;
    assert_eq!(answers[0].engine_id.as_deref(), Some(&b"\x80\x00\x00\x00\x05abc"[..]));
}

#[tokio::test]
async fn nobody_has_a_probe_and_a_request_to_answer_at_once() {
    let open = Arc::new(Mutex::new((0, 0)));
    let open_ = Arc::clone(&open);
    let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let target = socket.local_addr().unwrap();
    let agent = tokio::spawn(async move {
        let mut buffer = [0; 1500];
        loop {
            let (length, source) = socket.recv_from(&mut buffer).await.unwrap();
            {
                let mut open = open_.lock().unwrap();
                open.0 += 1;
                open.1 = open.1.max(open.0);
            }
            let (socket, open, asked) = (Arc::clone(&socket), Arc::clone(&open_), Asked::read(&buffer[..length]));
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(40)).await;
                open.lock().unwrap().0 -= 1;
                socket.send_to(&five(&asked), source).await.unwrap();
            });
        }
    });
    let client = client();
    let session = client.session(target, v2c(), patient());
    let asking = tokio::spawn({
        let session = session.clone();
        async move { session.get(&[name()]).await }
    });
    tokio::time::sleep(Duration::from_millis(5)).await;
    // The probe comes while the session waits, and the next request while the probe is on its way.
    let mut targets = vec![target];
    for _ in 0..20 {
        targets.push(nobody().await);
    }
    let slow = SweepPlan { pace: Pace::per_second(200), ..plan(targets, probe(v2c()), 500) };
    let mut probes = client.sweep(slow).await.unwrap();
    asking.await.unwrap().unwrap();
    for _ in 0..5 {
        session.get(&[name()]).await.unwrap();
    }
    // Another test may have taken up one of the ports that nobody had.
    let mut answered = false;
    while !answered {
        answered = probes.next().await.expect("the printer did not answer the sweep").target == target;
    }
    assert_eq!(open.lock().unwrap().1, 1);
    agent.abort();
}

#[tokio::test]
async fn a_probe_keeps_the_pause_after_an_answered_request() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let heard_ = Arc::clone(&heard);
    let agent = Agent::answering(move |_, asked| {
        heard_.lock().unwrap().push(std::time::Instant::now());
        vec![five(&asked)]
    })
    .await;
    // Long, so that a slow machine does not keep it by chance.
    let gap = Duration::from_millis(400);
    let config = ClientConfig { gap, packets_per_second: None, ..ClientConfig::default() };
    let client = Client::open(config).unwrap();
    client.session(agent.address, v2c(), patient()).get(&[name()]).await.unwrap();
    let answers = all(client.sweep(plan(vec![agent.address], probe(v2c()), 1_000)).await.unwrap()).await;
    assert_eq!(answers.len(), 1);
    let heard = heard.lock().unwrap();
    assert!(heard[1] - heard[0] >= gap - Duration::from_millis(100), "{:?}", heard[1] - heard[0]);
}

#[tokio::test]
async fn a_probe_of_a_sweep_that_was_broken_off_is_still_waited_for() {
    let silent = Agent::answering(|count, asked| if count == 0 { vec![] } else { vec![five(&asked)] }).await;
    let client = client();
    let probes = client.sweep(plan(vec![silent.address], probe(v2c()), 1_000)).await.unwrap();
    while silent.asked().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let begin = Instant::now();
    drop(probes);
    // The next one begins, so that the first is not there any more.
    assert_eq!(all(client.sweep(plan(vec![nobody().await], probe(v2c()), 0)).await.unwrap()).await, []);
    client.session(silent.address, v2c(), patient()).get(&[name()]).await.unwrap();
    assert!(begin.elapsed() >= PROBE_PATIENCE / 2, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_sweep_that_nobody_listens_to_ends_and_the_next_begins() {
    let agent = Agent::answering(|_, asked| vec![five(&asked)]).await;
    let client = client();
    let forever = SweepPlan {
        targets: Box::new(std::iter::repeat_with(|| SocketAddr::from(([127, 0, 0, 1], 1)))),
        pace: Pace::per_second(500),
        ..plan(Vec::new(), probe(v2c()), 0)
    };
    let endless = client.sweep(forever).await.unwrap();
    let probes = client.sweep(plan(vec![agent.address], probe(v2c()), 300)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(probes.sent(), 0, "one after the other");
    drop(endless);
    assert_eq!(all(probes).await.len(), 1);
}

#[tokio::test]
async fn what_must_not_be_asked_is_not_asked_of_everybody() {
    let epson = oid!(1, 3, 6, 1, 4, 1, 1248, 1, 2, 2, 44, 1, 1, 2, 1);
    let bad = Probe::Community { credentials: v2c(), oids: vec![epson] };
    assert!(client().sweep(plan(Vec::new(), bad, 0)).await.is_err());
    let user = Credentials::V3(crate::snmp::UsmUser::new("u", None, None, "").unwrap());
    assert!(client().sweep(plan(Vec::new(), probe(user), 0)).await.is_err());
}

#[test]
fn a_template_holds_the_id_wherever_it_stands() {
    for (message, places) in [(message_of(probe(v1())).unwrap(), 1), (Message::Discovery, 2)] {
        let mut template = Template::of(&message).unwrap();
        assert_eq!(template.places.len(), places);
        let datagram = template.with_id(0x4711_0815).to_vec();
        assert_eq!(codec::id_of(&datagram).unwrap(), 0x4711_0815);
        assert_eq!(datagram, message.encode(0x4711_0815, Instant::now().into_std()).unwrap());
    }
}
