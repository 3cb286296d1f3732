//! The simulated printers against net-snmp's tools, so that they are not only right for us; and recordings served by them,
//! read back over UDP with the same result as from the file.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed unwrap is a failed test

mod common;

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use common::{command, have, text};
use platen::printer::{ReadOptions, read};
use platen::sim::{Fault, RunningSim, SimConfig, SimUser, Simulated, demo_fleet, recordings_in, start, usual_users};
use platen::snmp::{
    Asks, AuthAlgorithm, Client, ClientConfig, Credentials, PrivacyAlgorithm, Recording, SnmpError, Timing, UsmUser,
    WalkEnd, WalkLimits,
};

const OBJECTS: &[u8] = b"1.3.6.1.2.1.1.1.0|4|Test Printer 9\n1.3.6.1.2.1.1.2.0|6|1.3.6.1.4.1.367.1.1\n\
1.3.6.1.2.1.1.3.0|67|4242\n1.3.6.1.2.1.43.10.2.1.4.1.1|65|3000000000\n1.3.6.1.2.1.43.11.1.1.9.1.1|2|-3\n\
1.3.6.1.2.1.43.11.1.1.9.1.2|2|-128\n1.3.6.1.2.1.43.11.1.1.9.1.3|2|128\n1.3.6.1.2.1.99.1|70|18446744073709551615\n\
1.3.6.1.2.1.99.2|64|10.1.2.3\n1.3.6.1.2.1.99.3|66|4294967295\n";

fn simulate(base: Ipv4Addr, printers: Vec<Simulated>, faults: Vec<(Ipv4Addr, Fault)>) -> RunningSim {
    start(SimConfig { first_address: base, users: usual_users(), printers, faults, speed: 0.0, ..SimConfig::default() })
        .unwrap()
}

fn test_printer() -> Simulated {
    Simulated::Recording { name: "test".to_owned(), objects: Recording::parse(OBJECTS).unwrap() }
}

fn net_snmp(tool: &str, arguments: &[&str]) -> (bool, String) {
    let output =
        command(tool).args(["-On", "-Oe", "-Ot", "-r1", "-t2"]).args(arguments).env("MIBS", "").output().unwrap();
    (output.status.success(), text(&output))
}

/// Runs the blocking tools while the simulation answers.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn net_snmp_reads_every_object_over_every_version() {
    if !have("snmpwalk") {
        return;
    }
    let sim = simulate(Ipv4Addr::new(127, 81, 0, 1), vec![test_printer()], vec![]);
    let target = format!("127.81.0.1:{}", sim.port());
    let levels: Vec<Vec<&'static str>> = vec![
        vec!["-v1", "-c", "public"],
        vec!["-v2c", "-c", "public"],
        vec!["-v3", "-l", "noAuthNoPriv", "-u", "open"],
        vec!["-v3", "-l", "authNoPriv", "-u", "sha1", "-a", "SHA", "-A", "maplesyrup"],
        vec![
            "-v3",
            "-l",
            "authPriv",
            "-u",
            "sha1aes",
            "-a",
            "SHA",
            "-A",
            "maplesyrup",
            "-x",
            "AES",
            "-X",
            "maplesyrup",
        ],
        vec![
            "-v3",
            "-l",
            "authPriv",
            "-u",
            "sha256aes",
            "-a",
            "SHA-256",
            "-A",
            "maplesyrup",
            "-x",
            "AES",
            "-X",
            "maplesyrup",
        ],
    ];
    blocking(move || {
        for level in levels {
            let is_v1 = level[0] == "-v1";
            for tool in ["snmpwalk", "snmpbulkwalk"] {
                if is_v1 && tool == "snmpbulkwalk" {
                    continue;
                }
                let arguments: Vec<&str> = level.iter().copied().chain([target.as_str(), "1.3.6.1.2.1"]).collect();
                let (ok, out) = net_snmp(tool, &arguments);
                assert!(ok, "{tool} {level:?}: {out}");
                for expected in [
                    ".1.3.6.1.2.1.1.1.0 = STRING: \"Test Printer 9\"",
                    ".1.3.6.1.2.1.1.2.0 = OID: .1.3.6.1.4.1.367.1.1",
                    ".1.3.6.1.2.1.1.3.0 = 4242",
                    ".1.3.6.1.2.1.43.10.2.1.4.1.1 = Counter32: 3000000000",
                    ".1.3.6.1.2.1.43.11.1.1.9.1.1 = INTEGER: -3",
                    ".1.3.6.1.2.1.43.11.1.1.9.1.2 = INTEGER: -128",
                    ".1.3.6.1.2.1.43.11.1.1.9.1.3 = INTEGER: 128",
                    ".1.3.6.1.2.1.99.2 = IpAddress: 10.1.2.3",
                    ".1.3.6.1.2.1.99.3 = Gauge32: 4294967295",
                ] {
                    assert!(out.contains(expected), "{tool} {level:?} lacks {expected}:\n{out}");
                }
                // v1 has no Counter64.
                assert_eq!(out.contains("Counter64: 18446744073709551615"), !is_v1, "{tool} {level:?}:\n{out}");
            }
        }
    })
    .await;
}

const AUTHS: [AuthAlgorithm; 6] = [
    AuthAlgorithm::Md5,
    AuthAlgorithm::Sha1,
    AuthAlgorithm::Sha224,
    AuthAlgorithm::Sha256,
    AuthAlgorithm::Sha384,
    AuthAlgorithm::Sha512,
];

/// A printer with a user for each pair of algorithms, named after it, who sees the context of its name only.
fn with_all_users(base: Ipv4Addr, ciphers: &[PrivacyAlgorithm]) -> RunningSim {
    let users = AUTHS.iter().flat_map(|auth| {
        ciphers.iter().map(move |cipher| SimUser {
            name: format!("{auth}.{cipher}"),
            auth: Some((*auth, "maplesyrup".to_owned())),
            privacy: Some((*cipher, "another secret".to_owned())),
            context_name: format!("of {cipher}"),
        })
    });
    let printers = vec![test_printer()];
    start(SimConfig { first_address: base, users: users.collect(), printers, speed: 0.0, ..SimConfig::default() })
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn net_snmp_reads_by_every_pair_of_algorithms_it_knows_in_a_context() {
    if !have("snmpbulkwalk") {
        return;
    }
    // What net-snmp calls each; of the longer keys it knows Blumenthal's only.
    let ciphers = [
        (PrivacyAlgorithm::Des, "DES"),
        (PrivacyAlgorithm::Aes128, "AES"),
        (PrivacyAlgorithm::Aes192, "AES-192"),
        (PrivacyAlgorithm::Aes256, "AES-256"),
    ];
    let sim = with_all_users(Ipv4Addr::new(127, 92, 0, 1), &ciphers.map(|(cipher, _)| cipher));
    let target = format!("127.92.0.1:{}", sim.port());
    blocking(move || {
        for auth in AUTHS {
            for (cipher, name) in ciphers {
                let hash = if auth == AuthAlgorithm::Sha1 { "SHA".to_owned() } else { auth.to_string() };
                let (user, context) = (format!("{auth}.{cipher}"), format!("of {cipher}"));
                let walk = |context: &str, privacy_password: &str| {
                    let user = ["-v3", "-l", "authPriv", "-u", &user, "-n", context, "-a", &hash, "-A", "maplesyrup"];
                    let rest = ["-x", name, "-X", privacy_password, &target, "1.3.6.1.2.1"];
                    net_snmp("snmpbulkwalk", &[&user[..], &rest].concat())
                };
                let (ok, out) = walk(&context, "another secret");
                assert!(ok && out.contains("Counter64: 18446744073709551615"), "{user}: {out}");
                assert!(out.contains(".1.3.6.1.2.1.99.2 = IpAddress: 10.1.2.3"), "{user}: {out}");
            }
        }
        let (user, target) = ("SHA-1.AES-128", target.as_str());
        let keys = ["-v3", "-l", "authPriv", "-u", user, "-a", "SHA", "-A", "maplesyrup", "-x", "AES"];
        let object = "1.3.6.1.2.1.1.1.0";
        for (rest, word) in [
            (["-X", "another secret", "-n", "elsewhere", target, object], "Bad context"),
            (["-X", "maplesyrup", "-n", "of AES-128", target, object], "Decryption error"),
        ] {
            let (ok, out) = net_snmp("snmpget", &[&keys[..], &rest].concat());
            assert!(!ok && out.to_lowercase().contains(&word.to_lowercase()), "{rest:?}: {out}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_engine_reads_by_keys_made_as_reeder_wrote() {
    let ciphers = [PrivacyAlgorithm::Aes192Reeder, PrivacyAlgorithm::Aes256Reeder];
    let sim = with_all_users(Ipv4Addr::new(127, 93, 0, 1), &ciphers);
    let client = client();
    for auth in AUTHS {
        for cipher in ciphers {
            let (hash, privacy) = (Some((auth, "maplesyrup".into())), Some((cipher, "another secret".into())));
            let user = UsmUser::new(format!("{auth}.{cipher}"), hash, privacy, format!("of {cipher}")).unwrap();
            let target = (Ipv4Addr::new(127, 93, 0, 1), sim.port()).into();
            let session = client.session(target, Credentials::V3(user), timing());
            let walk = session.walk(&"1.3.6.1.2.1".parse().unwrap(), WalkLimits::default()).await.unwrap();
            assert_eq!(walk.varbinds.len(), 10, "{auth} {cipher}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn net_snmp_is_told_what_is_wrong() {
    if !have("snmpget") || !have("snmpset") {
        return;
    }
    let sim = simulate(Ipv4Addr::new(127, 82, 0, 1), vec![test_printer()], vec![]);
    let target = format!("127.82.0.1:{}", sim.port());
    blocking(move || {
        let object = "1.3.6.1.2.1.1.1.0";
        for (tool, arguments, word) in [
            ("snmpget", vec!["-v2c", "-c", "wrong", &target, object], "Timeout"),
            ("snmpget", vec!["-v1", "-c", "public", &target, "1.3.6.1.2.1.77.0"], "noSuchName"),
            ("snmpget", vec!["-v2c", "-c", "public", &target, "1.3.6.1.2.1.77.0"], "No Such"),
            ("snmpget", vec!["-v3", "-l", "noAuthNoPriv", "-u", "nobody", &target, object], "Unknown user name"),
            (
                "snmpget",
                vec!["-v3", "-l", "authNoPriv", "-u", "sha1", "-a", "SHA", "-A", "wrong password", &target, object],
                "Authentication failure",
            ),
            ("snmpset", vec!["-v2c", "-c", "public", &target, object, "s", "changed"], "notWritable"),
        ] {
            let (_, out) = net_snmp(tool, &arguments);
            assert!(out.contains(word), "{tool} {arguments:?}: {out}");
        }
        assert!(net_snmp("snmpget", &["-v2c", "-c", "public", &target, object]).1.contains("Test Printer 9"));
    })
    .await;
}

fn client_that_asks_anything() -> Client {
    client()
}

fn client() -> Client {
    Client::open(ClientConfig {
        packets_per_second: Some(20_000),
        gap: Duration::ZERO,
        asks: Asks::AllButDenied,
        ..ClientConfig::default()
    })
    .unwrap()
}

fn timing() -> Timing {
    Timing { timeout: Duration::from_secs(2), retries: 3 }
}

fn v2c() -> Credentials {
    Credentials::V2c { community: "public".into() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_reads_the_same_over_the_network_as_from_its_file() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut folders = vec![own];
    if corpus.is_dir() {
        folders.extend(["printers", "identify", "negatives"].map(|folder| corpus.join(folder)));
    } else {
        eprintln!("SKIPPED: there are no recordings in {}", corpus.display());
    }
    for (n, folder) in (0u8..).zip(folders) {
        let base = Ipv4Addr::new(127, 83, n, 1);
        let files = recordings_in(&folder).unwrap();
        let recordings: Vec<Recording> = files
            .iter()
            .map(|file| match file {
                Simulated::Recording { objects, .. } => objects.clone(),
                Simulated::Living(_) => unreachable!(),
            })
            .collect();
        let sim = simulate(base, files, vec![]);
        let client = client();
        for (printer, recording) in sim.printers().iter().zip(&recordings) {
            let target = (printer.address, sim.port()).into();
            let replayed = read(recording, &ReadOptions::default()).await.unwrap().without_ages();
            for credentials in [v2c(), Credentials::V1 { community: "public".into() }] {
                let session = client.session(target, credentials, timing());
                match read(&session, &ReadOptions::default()).await {
                    Ok(over_the_network) => assert_eq!(over_the_network.without_ages(), replayed, "{}", printer.name),
                    // An agent without a system group answers nothing to build on; the same file says so too.
                    Err(error) => panic!("{}: {error}", printer.name),
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_printers_are_read_at_once_over_one_socket_and_each_is_itself() {
    let sim = simulate(Ipv4Addr::new(127, 84, 0, 1), platen::sim::generated_fleet(200, 5), vec![]);
    let client = client();
    let mut reads = tokio::task::JoinSet::new();
    for printer in sim.printers().to_vec() {
        let session = client.session((printer.address, sim.port()).into(), v2c(), timing());
        reads.spawn(async move { (printer, read(&session, &ReadOptions::default()).await) });
    }
    let mut count = 0;
    while let Some(done) = reads.join_next().await {
        let (printer, reading) = done.unwrap();
        assert_eq!(reading.unwrap().serial, printer.serial, "{}", printer.address);
        count += 1;
    }
    assert_eq!(count, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_demo_printer_is_read_as_what_it_is() {
    let sim = simulate(Ipv4Addr::new(127, 85, 0, 1), demo_fleet(), vec![]);
    let client = client();
    for printer in sim.printers() {
        let session = client.session((printer.address, sim.port()).into(), v2c(), timing());
        let reading = read(&session, &ReadOptions::default()).await.unwrap();
        assert!(reading.is_printer);
        assert_eq!(reading.serial, printer.serial);
        let vendor = reading.vendor.unwrap();
        assert!(printer.name.starts_with(&vendor), "{} is read as {vendor}", printer.name);
        let total = reading.meters.iter().find(|meter| meter.name == "total").map(|meter| meter.value);
        assert_eq!(total, sim.total(printer.address), "{}", printer.name);
        assert!(!reading.supplies.is_empty() && reading.mac.is_some(), "{}", printer.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_printers_end_as_named_errors_or_cut_walks_and_hold_nobody_up() {
    let at = |n: u8| Ipv4Addr::new(127, 86, 0, n);
    let faults = vec![
        (at(1), Fault::Looping),
        (at(2), Fault::Endless),
        (at(3), Fault::Garbage),
        (at(4), Fault::Lossy(100)),
        (at(5), Fault::Slow(Duration::from_millis(100))),
        (at(6), Fault::Silent),
    ];
    let sim = simulate(at(1), demo_fleet(), faults);
    let client = client();
    let quick = Timing { timeout: Duration::from_millis(300), retries: 5 };
    let session = |n: u8| client.session((at(n), sim.port()).into(), v2c(), quick);
    let descriptions = "1.3.6.1.2.1.43.11.1.1.6".parse().unwrap();

    let looping = session(1).walk(&descriptions, WalkLimits::default()).await.unwrap();
    assert_eq!(looping.end, WalkEnd::NotIncreasing);
    let limits = WalkLimits { rows: 500, ..WalkLimits::default() };
    let endless = session(2).walk(&descriptions, limits).await.unwrap();
    assert_eq!((endless.varbinds.len(), endless.end), (500, WalkEnd::RowLimit));
    let reading = read(&session(1), &ReadOptions::default()).await.unwrap();
    assert!(reading.flags.contains(&"INCOMPLETE".to_owned()), "{:?}", reading.flags);

    let garbage = read(&session(3), &ReadOptions::default()).await.unwrap_err();
    assert!(!matches!(garbage, SnmpError::Engine(_) | SnmpError::Refused { .. }), "{garbage}");
    assert!(read(&session(4), &ReadOptions::default()).await.unwrap().is_printer);
    assert!(read(&session(5), &ReadOptions::default()).await.unwrap().is_printer);
    let silent = client.session((at(6), sim.port()).into(), v2c(), Timing { retries: 0, ..quick });
    assert!(matches!(read(&silent, &ReadOptions::default()).await, Err(SnmpError::Timeout { .. })));
}

#[tokio::test]
async fn a_reading_costs_few_requests() {
    // At the default 200 packets a second, 1,000 known printers are read again in 40 s. In v1 each object that a printer does
    // not have costs a request, once a day; Epson's are walked a step at a time.
    const MOST_BY_V2C: (u64, u64) = (25, 8);
    const MOST_BY_V1: (u64, u64) = (100, 10);
    const MOST_BY_STEPS: (u64, u64) = (350, 30);
    let sim = simulate(Ipv4Addr::new(127, 89, 0, 1), demo_fleet(), vec![]);
    let community = || "public".into();
    let options = ReadOptions::default();
    for (way, credentials, most) in [
        ("v2c", Credentials::V2c { community: community() }, MOST_BY_V2C),
        ("v1", Credentials::V1 { community: community() }, MOST_BY_V1),
    ] {
        for printer in sim.printers() {
            let client = client();
            let session = client.session((printer.address, sim.port()).into(), credentials.clone(), timing());
            let outcome = platen::printer::explore(&session, &options).await.unwrap();
            let first = client.statistics().sent;
            let memory = outcome.memory.unwrap();
            let again = platen::printer::read_known(&session, &options, &memory).await.unwrap();
            let second = client.statistics().sent - first;
            println!("{way:<4} {:<34} {first:>3} requests to explore it, {second:>2} to read it again", printer.name);
            let most = if printer.name.starts_with("Epson") { MOST_BY_STEPS } else { most };
            assert!(!outcome.reading.meters.is_empty() && first <= most.0 && second <= most.1, "{}", printer.name);
            assert_eq!(again.reading.serial, printer.serial, "{}", printer.name);
        }
    }
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn net_snmp_meets_the_faults_as_they_are_meant() {
    if !have("snmpbulkget") {
        return;
    }
    let faults = [Fault::Huge, Fault::Unordered, Fault::V1Only, Fault::BigMsgSize, Fault::NoBulk, Fault::TinyBulk];
    let at = |n: usize| Ipv4Addr::new(127, 94, 0, u8::try_from(n + 1).unwrap());
    let printers = faults.iter().map(|_| test_printer()).collect();
    let sim = simulate(at(0), printers, faults.iter().enumerate().map(|(n, fault)| (at(n), *fault)).collect());
    let port = sim.port();
    let target = move |fault: Fault| format!("{}:{port}", at(faults.iter().position(|known| *known == fault).unwrap()));
    blocking(move || {
        let system = "1.3.6.1.2.1";
        let ask = |tool: &str, version: &str, fault, more: &[&str]| {
            net_snmp(tool, &[more, &[version, "-c", "public", &target(fault), system]].concat())
        };
        let (ok, out) = ask("snmpbulkget", "-v2c", Fault::Huge, &["-Cr1"]);
        assert!(ok && out.lines().count() > 2_000, "{}", out.lines().count());
        let (_, out) = ask("snmpbulkget", "-v2c", Fault::Unordered, &["-Cr10"]);
        assert!(out.find(".1.1.3.0 =").unwrap() < out.find(".1.1.2.0 =").unwrap(), "{out}");
        let (ok, out) = ask("snmpwalk", "-v2c", Fault::Unordered, &[]);
        assert!(ok && out.contains("Gauge32: 4294967295"), "{out}");
        let (ok, out) = ask("snmpwalk", "-v1", Fault::V1Only, &[]);
        assert!(ok && out.contains("Gauge32: 4294967295"), "{out}");
        let (ok, out) = ask("snmpwalk", "-v2c", Fault::V1Only, &[]);
        assert!(!ok && out.contains("Timeout"), "{out}");
        let (ok, out) = ask("snmpbulkget", "-v2c", Fault::NoBulk, &[]);
        assert!(!ok && out.contains("genError"), "{out}");
        let (ok, out) = ask("snmpbulkget", "-v2c", Fault::TinyBulk, &["-Cr6"]);
        assert!(!ok && out.contains("tooBig"), "{out}");
        let user = ["-v3", "-l", "authPriv", "-u", "sha1aes", "-a", "SHA", "-A", "maplesyrup", "-x", "AES"];
        let target = target(Fault::BigMsgSize);
        let (ok, out) = net_snmp("snmpbulkwalk", &[&user[..], &["-X", "maplesyrup", &target, system]].concat());
        assert!(ok && out.contains("Gauge32: 4294967295"), "{out}");
    })
    .await;
}

/// A printer of tests/data that has, beside the objects of its profile, what must not be touched: its maker's, and jobs.
///
/// GETBULK may run past the end of a table by as many objects as it asks for, and agents have no way to be told where to
/// stop; what comes from there is dropped unread. So in front of private objects stand others, as on real devices. In front
/// of commands stands a single one: the last step of a careful walk comes to it, and no further.
fn with_secrets(fixture: &Path) -> Simulated {
    const BETWEEN: u32 = 64;
    let mut objects = Recording::parse(&std::fs::read(fixture).unwrap()).unwrap();
    let text = || platen::snmp::Value::OctetString(b"Jane Doe".to_vec());
    let maker = |oid: &platen::snmp::Oid| oid.arcs().get(6).copied();
    let own = objects.value(&"1.3.6.1.2.1.1.2.0".parse().unwrap()).and_then(|value| maker(value.as_oid()?));
    let commands: platen::snmp::Oid = "1.3.6.1.4.1.1248.1.2.2.44".parse().unwrap();
    for subtree in platen::snmp::denied_subtrees() {
        if maker(&subtree) != own && maker(&subtree) != Some(2699) {
            continue;
        }
        let (last, parent) = subtree.arcs().split_last().unwrap();
        let before = platen::snmp::Oid::new(parent).unwrap().with(&[last - 1]);
        for n in 0..BETWEEN {
            objects.set(subtree.with(&[1, n]), text());
            if subtree != commands || n == 0 {
                objects.set(before.with(&[9_999, n]), platen::snmp::Value::Integer(0));
            }
        }
    }
    Simulated::Recording { name: fixture.file_stem().unwrap().to_string_lossy().into_owned(), objects }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_reading_and_no_recording_touches_a_command_or_what_is_private() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|item| item.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "snmprec"));
    files.sort();
    let printers: Vec<Simulated> = files.iter().map(|file| with_secrets(file)).collect();
    let config = SimConfig {
        first_address: Ipv4Addr::new(127, 90, 0, 1),
        printers,
        tripwires: platen::snmp::denied_subtrees(),
        speed: 0.0,
        ..SimConfig::default()
    };
    let sim = start(config).unwrap();
    let client =
        Client::open(ClientConfig { packets_per_second: None, gap: Duration::ZERO, ..ClientConfig::default() });
    let client = client.unwrap();
    let options = ReadOptions { panel: true, ..ReadOptions::default() };
    for credentials in [v2c(), Credentials::V1 { community: "public".into() }] {
        for printer in sim.printers() {
            let session = client.session((printer.address, sim.port()).into(), credentials.clone(), timing());
            let outcome = platen::printer::explore(&session, &options).await.unwrap();
            if let Some(memory) = &outcome.memory {
                platen::printer::read_known(&session, &options, memory).await.unwrap();
            }
            assert_eq!(sim.tripped(printer.address), Some(0), "{} by {credentials:?}", printer.name);
        }
    }
    // The wires do work, and the engine does not let anybody near them, whatever he may ask for.
    let curious = client_that_asks_anything();
    let first = sim.printers().first().unwrap();
    let session = curious.session((first.address, sim.port()).into(), v2c(), timing());
    for subtree in platen::snmp::denied_subtrees() {
        assert!(session.get(&[subtree.with(&[1, 1])]).await.is_err(), "{subtree}");
        assert!(session.walk(&subtree, WalkLimits::default()).await.is_err(), "{subtree}");
    }
    assert_eq!(sim.tripped(first.address), Some(0));
    if have("snmpget") {
        let target = format!("{}:{}", first.address, sim.port());
        blocking(move || net_snmp("snmpget", &["-v2c", "-c", "public", &target, "1.3.6.1.4.1.2699.1.1.1.1"])).await;
        assert_eq!(sim.tripped(first.address), Some(1));
    }
    sim.shutdown().await;
}
