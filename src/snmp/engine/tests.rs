//! The engine against agents that lie, stay silent, or answer late.

use crate::oid;
use crate::snmp::testing::{Agent, Asked, client, impatient, patient, session, v2c};
use crate::snmp::{Asks, Client, ClientConfig, SnmpError, Timing, Value};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;

fn five(asked: &Asked) -> Vec<u8> {
    asked.response(0, 0, &[(asked.oids[0].clone(), 2, &[5])])
}

fn name() -> crate::snmp::Oid {
    oid!(1, 3, 6, 1, 2, 1, 1, 3, 0)
}

/// An address where nobody listens: bound a moment ago, and let go.
async fn nobody() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn a_silent_target_is_asked_again_with_another_id_and_then_named() {
    let agent = Agent::answering(|_, _| vec![]).await;
    let timing = Timing { timeout: Duration::from_millis(20), retries: 2 };
    let start = Instant::now();
    let error = client().session(agent.address, v2c(), timing).get(&[name()]).await.unwrap_err();
    assert_eq!(error, SnmpError::Timeout { target: agent.address, tries: 3 });
    assert!(start.elapsed() >= Duration::from_millis(20 + 40 + 80), "each try waits twice as long");
    let mut ids: Vec<i32> = agent.asked().iter().map(|asked| asked.id).collect();
    assert_eq!(ids.len(), 3);
    ids.dedup();
    assert_eq!(ids.len(), 3, "each try has its own id");
    assert!(ids.iter().all(|id| *id >= 0x4000_0000));
}

#[tokio::test]
async fn an_answer_to_an_earlier_try_is_an_answer() {
    let mut first = None;
    let agent = Agent::answering(move |count, asked| {
        if count == 0 {
            first = Some(asked);
            return vec![];
        }
        vec![five(first.as_ref().unwrap())]
    })
    .await;
    let timing = Timing { timeout: Duration::from_millis(50), retries: 5 };
    let answer = client().session(agent.address, v2c(), timing).get(&[name()]).await.unwrap();
    assert_eq!(answer[0].value, Value::Integer(5));
}

#[tokio::test]
async fn answers_with_a_wrong_id_version_or_type_are_not_taken() {
    let agent = Agent::answering(|_, asked| {
        let binding: &[(crate::snmp::Oid, u8, &[u8])] = &[(asked.oids[0].clone(), 2, &[9])];
        let wrong_id = asked.response_with_id(asked.id ^ 1, 0, 0, binding);
        let wrong_version = Asked { version: 0, ..asked.clone() }.response(0, 0, binding);
        let mut a_request = asked.response(0, 0, binding);
        let place = a_request.iter().position(|octet| *octet == 0xa2).unwrap();
        a_request[place] = 0xa0;
        vec![wrong_id, wrong_version, a_request, b"\x30".to_vec(), five(&asked)]
    })
    .await;
    let answer = session(&agent, v2c()).get(&[name()]).await.unwrap();
    assert_eq!(answer[0].value, Value::Integer(5));
}

#[tokio::test]
async fn an_answer_from_another_address_or_port_is_not_taken() {
    let stranger = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let asked_address = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let target = asked_address.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut buffer = [0; 1500];
        let (length, source) = asked_address.recv_from(&mut buffer).await.unwrap();
        let asked = Asked::read(&buffer[..length]);
        let lie = asked.response(0, 0, &[(asked.oids[0].clone(), 2, &[9])]);
        stranger.send_to(&lie, source).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        asked_address.send_to(&five(&asked), source).await.unwrap();
    });
    let answer = client().session(target, v2c(), patient()).get(&[name()]).await.unwrap();
    assert_eq!(answer[0].value, Value::Integer(5));
    task.await.unwrap();
}

#[tokio::test]
async fn what_is_no_snmp_is_named_if_nothing_better_comes() {
    let agent = Agent::start(|_, _| vec![b"HTTP/1.1 400 Bad Request".to_vec()]).await;
    let timing = Timing { timeout: Duration::from_millis(400), retries: 0 };
    let error = client().session(agent.address, v2c(), timing).get(&[name()]).await.unwrap_err();
    assert!(matches!(&error, SnmpError::Garbage { target, .. } if *target == agent.address), "{error}");
}

#[tokio::test]
async fn a_closed_port_does_not_disturb_the_others() {
    let agent = Agent::answering(|_, asked| vec![five(&asked)]).await;
    let client = client();
    for _ in 0..5 {
        let dead = nobody().await;
        let error = client.session(dead, v2c(), impatient()).get(&[name()]).await.unwrap_err();
        assert!(matches!(error, SnmpError::Timeout { .. }), "{error}");
        let alive = client.session(agent.address, v2c(), patient());
        assert_eq!(alive.get(&[name()]).await.unwrap()[0].value, Value::Integer(5));
    }
}

#[tokio::test]
async fn a_target_is_asked_one_thing_at_a_time() {
    let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let target = socket.local_addr().unwrap();
    let open = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (open_, most_) = (Arc::clone(&open), Arc::clone(&most));
    let agent = tokio::spawn(async move {
        let mut buffer = [0; 1500];
        loop {
            let (length, source) = socket.recv_from(&mut buffer).await.unwrap();
            most_.fetch_max(open_.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let (socket, open, asked) = (Arc::clone(&socket), Arc::clone(&open_), Asked::read(&buffer[..length]));
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(5)).await;
                open.fetch_sub(1, Ordering::SeqCst);
                socket.send_to(&five(&asked), source).await.unwrap();
            });
        }
    });
    let client = client();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let session = client.session(target, v2c(), patient());
        tasks.spawn(async move { session.get(&[name()]).await.unwrap() });
    }
    assert_eq!(tasks.join_all().await.len(), 20);
    assert_eq!(most.load(Ordering::SeqCst), 1);
    agent.abort();
}

#[tokio::test]
async fn the_window_bounds_how_many_answers_may_arrive_at_once() {
    // Agents that stay silent until as many as the window have been asked: more must not come, and fewer would hang.
    let heard = Arc::new(AtomicUsize::new(0));
    let mut agents = Vec::new();
    for _ in 0..12 {
        let heard = Arc::clone(&heard);
        agents.push(
            Agent::answering(move |_, _| {
                heard.fetch_add(1, Ordering::SeqCst);
                vec![]
            })
            .await,
        );
    }
    let config =
        ClientConfig { packets_per_second: None, window: 4, asks: Asks::AllButDenied, ..ClientConfig::default() };
    let client = Client::open(config).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for agent in &agents {
        let session = client.session(agent.address, v2c(), Timing { timeout: Duration::from_secs(30), retries: 0 });
        tasks.spawn(async move { session.get(&[name()]).await });
    }
    for _ in 0..500 {
        if heard.load(Ordering::SeqCst) >= 4 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(heard.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn silent_targets_give_their_place_in_the_window_back() {
    let mut agents = Vec::new();
    for _ in 0..4 {
        agents.push(Agent::answering(|_, _| vec![]).await);
    }
    let answering = Agent::answering(|_, asked| vec![five(&asked)]).await;
    let config =
        ClientConfig { packets_per_second: None, window: 2, asks: Asks::AllButDenied, ..ClientConfig::default() };
    let client = Client::open(config).unwrap();
    // After 50 ms the silent ones wait for their second try, for half a minute.
    let timing = Timing { timeout: Duration::from_millis(50), retries: 10 };
    let mut tasks = tokio::task::JoinSet::new();
    for agent in &agents {
        let session = client.session(agent.address, v2c(), timing);
        tasks.spawn(async move { session.get(&[name()]).await });
    }
    tokio::time::sleep(Duration::from_millis(10)).await;
    let session = client.session(answering.address, v2c(), patient());
    let answer = tokio::time::timeout(Duration::from_secs(10), session.get(&[name()])).await;
    assert_eq!(answer.unwrap().unwrap()[0].value, Value::Integer(5));
}

#[tokio::test]
async fn datagrams_leave_no_faster_than_the_pace() {
    let agent = Agent::answering(|_, asked| vec![five(&asked)]).await;
    let config =
        ClientConfig { packets_per_second: Some(100), burst: 2, asks: Asks::AllButDenied, ..ClientConfig::default() };
    let session = Client::open(config).unwrap().session(agent.address, v2c(), patient());
    let start = Instant::now();
    for _ in 0..22 {
        session.get(&[name()]).await.unwrap();
    }
    assert!(start.elapsed() >= Duration::from_millis(190), "20 datagrams after the burst of 2 take 200 ms");
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_nothing_behind() {
    let agent = Agent::answering(|count, asked| if count == 0 { vec![] } else { vec![five(&asked)] }).await;
    let client = client();
    let timing = Timing { timeout: Duration::from_millis(40), retries: 10 };
    let session = client.session(agent.address, v2c(), timing);
    let names = [name()];
    let gone = tokio::time::timeout(Duration::from_millis(10), session.get(&names)).await;
    assert!(gone.is_err());
    let answer = client.session(agent.address, v2c(), patient()).get(&[name()]).await.unwrap();
    assert_eq!(answer[0].value, Value::Integer(5));
    assert_eq!(agent.asked().len(), 2, "nobody asks again for one who has gone");
}

#[tokio::test]
async fn a_datagram_larger_than_a_frame_is_read_whole() {
    let text = vec![b'x'; 30_000];
    let agent =
        Agent::answering(move |_, asked| vec![asked.response(0, 0, &[(asked.oids[0].clone(), 4, &text)])]).await;
    let answer = session(&agent, v2c()).get(&[name()]).await.unwrap();
    assert_eq!(answer[0].value.as_bytes().unwrap().len(), 30_000);
}

#[tokio::test]
async fn ipv6_targets_are_asked_too() {
    let agent = match UdpSocket::bind("[::1]:0").await {
        Ok(_) => Agent::start_at("[::1]:0", |_, datagram| vec![five(&Asked::read(datagram))]).await,
        Err(error) => {
            eprintln!("SKIPPED: this machine has no IPv6 loopback: {error}");
            return;
        }
    };
    assert_eq!(session(&agent, v2c()).get(&[name()]).await.unwrap()[0].value, Value::Integer(5));
}

#[tokio::test]
async fn an_unsendable_datagram_is_named() {
    // Port 0 cannot be sent to.
    let target: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let error = client().session(target, v2c(), impatient()).get(&[name()]).await.unwrap_err();
    assert!(matches!(error, SnmpError::Network { .. }), "{error}");
}

#[test]
fn without_a_runtime_the_client_does_not_open_and_does_not_panic() {
    assert!(Client::open(ClientConfig::default()).is_err());
}

#[tokio::test]
async fn a_device_has_its_pause_between_two_requests() {
    let heard = Arc::new(std::sync::Mutex::new(Vec::new()));
    let heard_ = Arc::clone(&heard);
    let agent = Agent::answering(move |_, asked| {
        heard_.lock().unwrap().push(Instant::now());
        vec![five(&asked)]
    })
    .await;
    let client = client();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let session = client.session(agent.address, v2c(), patient());
        tasks.spawn(async move { session.get(&[name()]).await.unwrap() });
    }
    assert_eq!(tasks.join_all().await.len(), 10);
    let heard = heard.lock().unwrap();
    // Each was sent 20 ms after the one before; how late the agent noticed is not in our hands, so the whole is looked at.
    assert!(heard[9] - heard[0] >= Duration::from_millis(9 * 20 - 15), "{:?}", heard[9] - heard[0]);
}

#[tokio::test]
async fn a_device_that_has_become_slow_is_asked_half_as_often() {
    let heard = Arc::new(std::sync::Mutex::new(Vec::new()));
    let heard_ = Arc::clone(&heard);
    let slow = Duration::from_millis(400);
    let agent = Agent::answering(move |count, asked| {
        heard_.lock().unwrap().push(Instant::now());
        if count >= 40 {
            std::thread::sleep(slow);
        }
        vec![five(&asked)]
    })
    .await;
    let config = ClientConfig { gap: Duration::ZERO, packets_per_second: None, ..ClientConfig::default() };
    let session = Client::open(config).unwrap().session(agent.address, v2c(), patient());
    for _ in 0..50 {
        session.get(&[name()]).await.unwrap();
    }
    let heard = heard.lock().unwrap();
    let last = heard[49] - heard[48];
    assert!(last >= slow + slow / 4, "{last:?} from one request to the next, {slow:?} of which it works");
}

#[tokio::test]
async fn a_loss_at_a_quick_device_is_noticed_long_before_the_configured_wait() {
    let agent = Agent::answering(|count, asked| if count == 3 { vec![] } else { vec![five(&asked)] }).await;
    let client = client();
    let session = client.session(agent.address, v2c(), Timing { timeout: Duration::from_secs(20), retries: 2 });
    let start = Instant::now();
    for _ in 0..6 {
        session.get(&[name()]).await.unwrap();
    }
    assert_eq!(agent.asked().len(), 7);
    assert!(start.elapsed() < Duration::from_secs(15), "a machine may be slow, but not by the configured 20 s");
    assert_eq!(client.statistics().retransmitted, 1);
}

#[test]
fn the_last_try_waits_as_long_as_for_a_device_of_which_nothing_is_known() {
    let timing = Timing { timeout: Duration::from_secs(2), retries: 2 };
    let quick = Duration::from_millis(250);
    let waits: Vec<u128> = (0..3).map(|tries| super::wait_after(quick, &timing, tries).as_millis()).collect();
    assert_eq!(waits, [250, 500, 2_000]);
    let waits: Vec<u128> = (0..3).map(|tries| super::wait_after(timing.timeout, &timing, tries).as_millis()).collect();
    assert_eq!(waits, [2_000, 4_000, 8_000]);
}

#[tokio::test]
async fn answers_that_the_kernel_drops_are_counted() {
    // One request is answered by far more than the smallest receive buffer holds.
    let agent = Agent::answering(|count, asked| {
        if count > 0 {
            return vec![five(&asked)];
        }
        let junk = asked.response_with_id(7, 0, 0, &[(name(), 4, &[0; 1_000])]);
        vec![junk; 500]
    })
    .await;
    let config = ClientConfig {
        packets_per_second: None,
        receive_buffer_bytes: 4_096,
        asks: Asks::AllButDenied,
        ..ClientConfig::default()
    };
    let client = Client::open(config).unwrap();
    let session = client.session(agent.address, v2c(), Timing { timeout: Duration::from_millis(200), retries: 20 });
    session.get(&[name()]).await.unwrap();
    // The kernel tells with the next datagram that there is room for.
    session.get(&[name()]).await.unwrap();
    let statistics = client.statistics();
    assert!(statistics.kernel_drops > 0, "{statistics:?}");
    assert!(statistics.received + statistics.kernel_drops >= 500, "{statistics:?}");
}
