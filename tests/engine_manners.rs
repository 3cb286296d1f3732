//! The engine among simulated printers that are fragile, broken or hostile: it is polite to all of them, and whatever some
//! of them do, the others are read whole.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed unwrap is a failed test

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt;
use platen::agent::{Found, Lockout, SearchOptions, SearchProgress, read_with, search};
use platen::discovery::{DnsResolver, Fence, Paces, Ranges};
use platen::oid;
use platen::printer::{ReadOptions, Reading, read};
use platen::sim::{Fault, RunningSim, SimConfig, demo_fleet, generated_fleet, start, usual_users};
use platen::snmp::{
    AuthAlgorithm, Client, ClientConfig, Credentials, Oid, PrivacyAlgorithm, Session, SnmpError, Timing, UsmUser,
    WalkEnd, WalkLimits,
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// What is promised is 20 ms from one request to the next; the rest is for clocks that are slewed meanwhile.
const LEAST_GAP: Duration = Duration::from_millis(19);

fn v2c() -> Credentials {
    Credentials::V2c { community: "public".into() }
}

/// Patient, so that a busy machine fails no test.
fn timing() -> Timing {
    Timing { timeout: Duration::from_secs(5), retries: 2 }
}

fn simulate(net: u8, count: usize, faults: Vec<(usize, Fault)>) -> RunningSim {
    let at = |n: usize| Ipv4Addr::new(127, 91, net, u8::try_from(n + 1).unwrap());
    let faults = faults.into_iter().map(|(n, fault)| (at(n), fault)).collect();
    let printers = generated_fleet(count, 5);
    start(SimConfig { first_address: at(0), printers, faults, speed: 0.0, ..SimConfig::default() }).unwrap()
}

fn session(client: &Client, sim: &RunningSim, n: usize, timing: Timing) -> Session {
    client.session(SocketAddr::new(sim.printers()[n].address.into(), sim.port()), v2c(), timing)
}

async fn read_all(client: &Client, sim: &RunningSim, timing: Timing) -> Vec<Result<Reading, SnmpError>> {
    let sessions: Vec<Session> = (0..sim.printers().len()).map(|n| session(client, sim, n, timing)).collect();
    let readings = futures_util::stream::iter(sessions.iter().enumerate())
        .map(|(n, session)| async move { (n, read(session, &ReadOptions::default()).await) })
        .buffer_unordered(64);
    let mut readings: Vec<_> = readings.collect().await;
    readings.sort_by_key(|(n, _)| *n);
    readings.into_iter().map(|(_, reading)| reading).collect()
}

fn is_whole(reading: &Result<Reading, SnmpError>) -> bool {
    reading.as_ref().is_ok_and(|reading| reading.is_printer && !reading.flags.iter().any(|flag| flag == "INCOMPLETE"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_printer_is_asked_one_thing_at_a_time_with_a_pause_and_within_the_pace() {
    // Some are slow, so that a second request would find the first one unanswered. Each is read twice at the same time,
    // and searched for as well.
    let faults = (0..30).step_by(3).map(|n| (n, Fault::Slow(Duration::from_millis(60)))).collect();
    let sim = simulate(0, 30, faults);
    let config = ClientConfig::default();
    let rate = f64::from(config.packets_per_second.unwrap());
    let client = Client::open(config).unwrap();
    let fence = Fence::parse(&["127.91.0.0/24"]).unwrap();
    let addresses = Ranges::parse(&["127.91.0.0/24"]).unwrap().resolve(&fence, &DnsResolver).await.unwrap();
    let options = SearchOptions {
        port: sim.port(),
        credentials: vec![v2c()],
        timing: timing(),
        paces: Paces::wanted(Some(100)),
        skip: std::collections::HashSet::new(),
        lockout: std::sync::Arc::<Lockout>::default(),
        read: ReadOptions::default(),
    };
    let search_all = async || {
        let (sender, mut receiver) = mpsc::channel::<Found>(64);
        let (progress, _) = watch::channel(SearchProgress::default());
        let stop = CancellationToken::new();
        let found = async {
            let mut found = HashMap::new();
            while let Some(device) = receiver.recv().await {
                found.insert(device.target.ip(), device.reading);
            }
            found
        };
        let searched = search(&client, &fence, &addresses, &options, sender, &progress, &stop);
        let (searched, found) = tokio::join!(searched, found);
        searched.unwrap();
        found
    };
    let (found, first, second) =
        tokio::join!(search_all(), read_all(&client, &sim, timing()), read_all(&client, &sim, timing()));
    assert!(found.values().chain(&first).chain(&second).all(is_whole));
    // A search leaves out whom a session talks to until its end; the next one finds everybody.
    let found = search_all().await;
    assert!(found.len() == 30 && found.values().all(is_whole), "{} found", found.len());
    let politeness = sim.politeness();
    assert_eq!(politeness.printers.len(), 30);
    for (address, treatment) in &politeness.printers {
        assert!(treatment.requests > 20, "{address}: {treatment:?}");
        assert_eq!(treatment.most_at_once, 1, "{address}: {treatment:?}");
        assert!(treatment.least_gap.unwrap() >= LEAST_GAP, "{address}: {treatment:?}");
    }
    let most = rate * 1.1 + f64::from(config.burst);
    assert!(politeness.most_in_a_second as f64 <= most, "{} in a second", politeness.most_in_a_second);
    assert_eq!(client.statistics().sent, politeness.requests);
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fragile_printer_gives_all_its_data() {
    let faults = (0..8).map(|n| (n, Fault::Fragile)).collect();
    let sim = simulate(1, 8, faults);
    let client = Client::open(ClientConfig::default()).unwrap();
    let (first, second) = tokio::join!(read_all(&client, &sim, timing()), read_all(&client, &sim, timing()));
    assert!(first.iter().chain(&second).all(is_whole), "{first:?}");

    // The test can tell: without the pause they fall silent.
    let rough = Client::open(ClientConfig { gap: Duration::ZERO, packets_per_second: None, ..ClientConfig::default() });
    let impatient = Timing { timeout: Duration::from_millis(100), retries: 0 };
    let pressed = read_all(&rough.unwrap(), &sim, impatient).await;
    assert!(!pressed.iter().any(is_whole));
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_broken_and_hostile_printers_do_is_named_and_harms_nobody_else() {
    let endless = [Fault::Endless, Fault::Looping];
    let healthy_in_the_end = [Fault::Flooding, Fault::Oversized, Fault::Spoofed, Fault::NoBulk, Fault::TinyBulk];
    let unreadable = [Fault::Silent, Fault::Truncated, Fault::WrongId, Fault::Garbage];
    let kinds: Vec<Fault> = [&endless[..], &healthy_in_the_end, &unreadable].concat();
    let faults = kinds.iter().copied().enumerate().map(|(n, fault)| (n * 2, fault)).collect();
    let sim = simulate(2, 40, faults);
    let client = Client::open(ClientConfig { packets_per_second: Some(2_000), ..ClientConfig::default() }).unwrap();
    let timing = Timing { timeout: Duration::from_secs(2), retries: 1 };
    let readings = read_all(&client, &sim, timing).await;
    for (n, reading) in readings.iter().enumerate() {
        let fault = kinds.get(n / 2).filter(|_| n % 2 == 0);
        match fault {
            Some(fault) if unreadable.contains(fault) => {
                let error = reading.as_ref().unwrap_err();
                let is_garbage = matches!(fault, Fault::Truncated | Fault::Garbage);
                assert_eq!(matches!(error, SnmpError::Garbage { .. }), is_garbage, "{fault:?}: {error}");
            }
            Some(fault) if endless.contains(fault) => {
                let reading = reading.as_ref().unwrap();
                assert!(reading.is_printer && reading.flags.iter().any(|flag| flag == "INCOMPLETE"), "{fault:?}");
            }
            _ => assert!(is_whole(reading), "{fault:?}: {reading:?}"),
        }
    }
    // What strangers said of the spoofed one was not believed: read without them, it says the same.
    let spoofed = kinds.iter().position(|fault| *fault == Fault::Spoofed).unwrap() * 2;
    let honest = simulate(3, 40, Vec::new());
    let truth = read(&session(&client, &honest, spoofed, timing), &ReadOptions::default()).await.unwrap();
    let told = readings[spoofed].as_ref().unwrap();
    assert_eq!(
        (&told.meters.len(), &told.serial, &told.supplies),
        (&truth.meters.len(), &truth.serial, &truth.supplies)
    );
    assert!(client.statistics().ignored >= 200, "{:?}", client.statistics());
    sim.shutdown().await;
    honest.shutdown().await;
}

/// Tables of the Printer MIB (RFC 3805), and the columns of them that a reading wants.
fn tables() -> [(Oid, &'static [u32]); 3] {
    let printer_mib = oid!(1, 3, 6, 1, 2, 1, 43);
    [
        (printer_mib.with(&[11, 1, 1]), &[3, 4, 5, 6, 7, 8, 9]),
        (printer_mib.with(&[8, 2, 1]), &[9, 10, 11, 12, 13, 18, 99]),
        (printer_mib.with(&[18, 1, 1]), &[2, 4, 7, 8]),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn columns_side_by_side_are_what_each_is_by_itself_also_of_odd_printers() {
    let kinds = [
        None,
        Some(Fault::NoBulk),
        Some(Fault::TinyBulk),
        Some(Fault::Unordered),
        Some(Fault::Huge),
        Some(Fault::Oversized),
        Some(Fault::Flooding),
        Some(Fault::Spoofed),
        Some(Fault::Lossy(100)),
        Some(Fault::Slow(Duration::from_millis(60))),
        Some(Fault::Fragile),
        Some(Fault::V1Only),
    ];
    let faults = kinds.iter().enumerate().filter_map(|(n, fault)| Some((n, (*fault)?))).collect();
    let (odd, honest) = (simulate(8, kinds.len(), faults), simulate(9, kinds.len(), Vec::new()));
    let client = Client::open(ClientConfig::default()).unwrap();
    let timing = Timing { timeout: Duration::from_secs(2), retries: 5 };
    for (n, fault) in kinds.iter().enumerate() {
        let credentials = match fault {
            Some(Fault::V1Only) => Credentials::V1 { community: "public".into() },
            _ => v2c(),
        };
        let address = SocketAddr::new(odd.printers()[n].address.into(), odd.port());
        let session = client.session(address, credentials, timing);
        let truth = self::session(&client, &honest, n, timing);
        for (entry, columns) in tables() {
            let mut cells = Vec::new();
            for column in columns {
                let walk = truth.walk(&entry.with(&[*column]), WalkLimits::default()).await.unwrap();
                cells.extend(walk.varbinds);
            }
            // Again, when it is known what the printer bears and how long its table is.
            for round in 0..2 {
                let before = odd.politeness().requests;
                let walk = session.columns(&entry, columns, WalkLimits::default()).await.unwrap();
                assert!(walk.end.is_complete(), "{fault:?}: {walk:?}");
                assert_eq!(walk.varbinds, cells, "{fault:?}");
                let requests = odd.politeness().requests - before;
                println!("{fault:?}, {entry}, round {round}: {} cells in {requests} requests", cells.len());
                let is_plain = matches!(fault, None | Some(Fault::Oversized | Fault::Flooding | Fault::Spoofed));
                assert!(!is_plain || requests <= 4, "{fault:?}: {requests}");
            }
        }
    }
    for (address, treatment) in odd.politeness().printers {
        assert!(treatment.most_at_once <= 1 && treatment.least_gap.unwrap() >= LEAST_GAP, "{address}: {treatment:?}");
    }
    odd.shutdown().await;
    honest.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn columns_of_printers_without_an_end_or_without_an_answer_say_so() {
    let kinds = [Fault::Looping, Fault::Endless, Fault::Garbage, Fault::Truncated, Fault::WrongId, Fault::Silent];
    let sim = simulate(10, kinds.len(), kinds.iter().copied().enumerate().collect());
    let client =
        Client::open(ClientConfig { gap: Duration::ZERO, packets_per_second: None, ..ClientConfig::default() });
    let client = client.unwrap();
    let (entry, columns) = &tables()[0];
    for (n, fault) in kinds.iter().enumerate() {
        let patient = matches!(fault, Fault::Looping | Fault::Endless);
        let timing = if patient { timing() } else { Timing { timeout: Duration::from_millis(300), retries: 1 } };
        let limits = WalkLimits { rows: 100, ..WalkLimits::default() };
        let walk = session(&client, &sim, n, timing).columns(entry, columns, limits).await;
        match fault {
            Fault::Looping | Fault::Endless => {
                let walk = walk.unwrap();
                let end = if *fault == Fault::Looping { WalkEnd::NotIncreasing } else { WalkEnd::RowLimit };
                assert_eq!(walk.end, end, "{fault:?}");
                // The other columns are whole.
                let levels = entry.with(&[9]);
                assert!(walk.varbinds.iter().any(|cell| cell.oid.starts_with(&levels)), "{fault:?}");
            }
            Fault::Garbage | Fault::Truncated => assert!(matches!(walk, Err(SnmpError::Garbage { .. })), "{walk:?}"),
            _ => assert!(matches!(walk, Err(SnmpError::Timeout { .. })), "{fault:?}: {walk:?}"),
        }
    }
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endless_table_ends_at_its_limit() {
    let sim = simulate(4, 1, vec![(0, Fault::Endless)]);
    let client =
        Client::open(ClientConfig { gap: Duration::ZERO, packets_per_second: None, ..ClientConfig::default() });
    let session = session(&client.unwrap(), &sim, 0, timing());
    let limits = WalkLimits { rows: 500, ..WalkLimits::default() };
    let walk = session.walk(&oid!(1, 3, 6, 1, 2, 1, 43, 11), limits).await.unwrap();
    assert_eq!((walk.varbinds.len(), walk.end), (500, WalkEnd::RowLimit));
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_loses_a_tenth_of_all_requests_is_read_whole() {
    let count = demo_fleet().len();
    let sim = simulate(5, count, (0..count).map(|n| (n, Fault::Lossy(100))).collect());
    let client = Client::open(ClientConfig::default()).unwrap();
    let readings = read_all(&client, &sim, Timing { timeout: Duration::from_secs(2), retries: 5 }).await;
    assert!(readings.iter().all(is_whole));
    let statistics = client.statistics();
    assert!(statistics.retransmitted > 0 && statistics.silences == 0, "{statistics:?}");
    for (address, treatment) in sim.politeness().printers {
        assert!(treatment.least_gap.unwrap() >= LEAST_GAP, "{address}: {treatment:?}");
        assert!(matches!(IpAddr::from(address), IpAddr::V4(_)));
    }
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_who_listens_in_locks_the_box_out_of_a_v3_printer() {
    let kinds = [Fault::ReportFlood, Fault::ClockGames, Fault::BigMsgSize];
    let faults = kinds.iter().enumerate().map(|(n, fault)| (Ipv4Addr::new(127, 91, 6, n as u8 + 1), *fault)).collect();
    let sim = start(SimConfig {
        first_address: Ipv4Addr::new(127, 91, 6, 1),
        printers: generated_fleet(kinds.len(), 5),
        users: usual_users(),
        faults,
        speed: 0.0,
        ..SimConfig::default()
    })
    .unwrap();
    let auth = Some((AuthAlgorithm::Sha256, "maplesyrup".into()));
    let user = UsmUser::new("sha256aes", auth, Some((PrivacyAlgorithm::Aes128, "maplesyrup".into())), "").unwrap();
    let client = Client::open(ClientConfig::default()).unwrap();
    for (printer, fault) in sim.printers().iter().zip(kinds) {
        let target = SocketAddr::new(printer.address.into(), sim.port());
        // More than once: what was believed the first time must not hurt the second.
        for round in 0..3 {
            let session = client.session(target, Credentials::V3(user.clone()), timing());
            let reading = read(&session, &ReadOptions::default()).await;
            assert!(is_whole(&reading), "{fault:?}, round {round}: {reading:?}");
        }
    }
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_users_the_right_one_is_found_and_the_wrong_ones_are_not_hammered() {
    let sim = start(SimConfig {
        first_address: Ipv4Addr::new(127, 91, 8, 1),
        printers: generated_fleet(1, 5),
        users: usual_users(),
        speed: 0.0,
        ..SimConfig::default()
    })
    .unwrap();
    let user = |name: &str| {
        let auth = Some((AuthAlgorithm::Sha256, "maplesyrup".into()));
        let privacy = Some((PrivacyAlgorithm::Aes128, "maplesyrup".into()));
        Credentials::V3(UsmUser::new(name, auth, privacy, "").unwrap())
    };
    let options = |credentials| SearchOptions {
        port: sim.port(),
        credentials,
        timing: timing(),
        paces: Paces::wanted(None),
        skip: std::collections::HashSet::new(),
        lockout: std::sync::Arc::<Lockout>::default(),
        read: ReadOptions::default(),
    };
    let target = SocketAddr::new(sim.printers()[0].address.into(), sim.port());
    let client = Client::open(ClientConfig::default()).unwrap();
    let all = options(["a", "b", "c", "d", "sha256aes"].map(user).to_vec());
    let found = read_with(&client, target, &[0, 1, 2, 3, 4], &all, None).await;
    assert!(is_whole(&found.reading) && found.credentials_index == 4, "{found:?}");

    let wrong = options(["a", "b", "c", "d"].map(user).to_vec());
    let first = read_with(&client, target, &[0, 1, 2, 3], &wrong, None).await.reading.unwrap_err();
    assert!(matches!(first, SnmpError::Refused { .. }), "{first}");
    let before = client.statistics().sent;
    let second = read_with(&client, target, &[0, 1, 2, 3], &wrong, None).await.reading.unwrap_err();
    assert!(matches!(second, SnmpError::LockedOut { .. }), "{second}");
    assert_eq!(client.statistics().sent, before, "nothing is asked for an hour");
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_impostor_is_not_believed_and_odd_agents_are_read_whole() {
    let sim = simulate(7, 4, vec![(0, Fault::Impostor), (1, Fault::Unordered), (2, Fault::V1Only), (3, Fault::Huge)]);
    let client = Client::open(ClientConfig::default()).unwrap();
    let short = Timing { timeout: Duration::from_millis(500), retries: 1 };
    let error = read(&session(&client, &sim, 0, short), &ReadOptions::default()).await.unwrap_err();
    assert!(matches!(error, SnmpError::Timeout { .. }), "{error}");
    assert!(is_whole(&read(&session(&client, &sim, 1, timing()), &ReadOptions::default()).await));
    let v1 = Credentials::V1 { community: "public".into() };
    let old = client.session(SocketAddr::new(sim.printers()[2].address.into(), sim.port()), v1, timing());
    assert!(is_whole(&read(&old, &ReadOptions::default()).await));
    assert!(is_whole(&read(&session(&client, &sim, 3, timing()), &ReadOptions::default()).await));
    sim.shutdown().await;
}
