//! The box's agent with real parts around it: simulated printers, the cloud, and a cloud that is not there. Nothing that was
//! accepted is lost, nothing is stored twice, and the status says what is wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed unwrap is a failed test

mod common;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use platen::agent::status::Status;
use platen::agent::{self, AgentError, Config, RunningAgent};
use platen::cloud::{self, CloudConfig, RunningCloud};
use platen::enroll::IdentityFolder;
use platen::proto::v1;
use platen::sim::{self, RunningSim, SimConfig, generated_fleet};
use prost::Message;
use tokio_util::sync::CancellationToken;

const PRINTERS: usize = 20;

async fn start_cloud(folder: &Path, port: u16) -> RunningCloud {
    let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    cloud::start(CloudConfig {
        data_dir: folder.join("cloud"),
        device_addr: address(port),
        portal_addr: address(0),
        server_names: vec!["localhost".to_owned()],
        poll_interval_s: 300,
    })
    .await
    .unwrap()
}

fn printers(net: u8) -> RunningSim {
    let first_address = Ipv4Addr::new(127, 87, net, 1);
    sim::start(SimConfig { first_address, printers: generated_fleet(PRINTERS, 3), speed: 20.0, ..SimConfig::default() })
        .unwrap()
}

async fn enrol(folder: &Path, cloud: &RunningCloud) -> String {
    let identity = IdentityFolder::in_data_dir(&folder.join("box"));
    let issued = cloud.issue_box(&identity.request().unwrap(), "box").await.unwrap();
    identity.install(&issued.box_id, &issued.certificate_pem, &issued.root_pem).unwrap();
    issued.box_id
}

fn config(folder: &Path, sim: &RunningSim, cloud_port: u16) -> Config {
    config_with(folder, sim, cloud_port, "")
}

/// With more lines of the configuration behind.
fn config_with(folder: &Path, sim: &RunningSim, cloud_port: u16, more: &str) -> Config {
    let (first, last) = (sim.printers()[0].address, sim.printers()[PRINTERS - 1].address);
    let text = format!(
        "data_dir = \"{at}/box\"\nruntime_dir = \"{at}/run\"\n\
         [cloud]\nroot_domain = \"localhost\"\ngrpc = \"https://localhost:{cloud_port}\"\nmqtt = \"wss://localhost:{cloud_port}/mqtt\"\n\
         [lan]\nranges = [\"{first}-{last}\"]\nfence = [\"{first}-{last}\"]\n\
         [snmp]\nport = {port}\ntimeout_ms = 500\npackets_per_second = 5000\n[schedule]\nread_interval_s = 1\n{more}",
        at = folder.display(),
        port = sim.port(),
    );
    let path = folder.join("platen.toml");
    std::fs::write(&path, text).unwrap();
    Config::load(&path).unwrap()
}

async fn until(agent: &RunningAgent, what: &str, is_so: impl Fn(&Status) -> bool) -> Status {
    let mut status = agent.status();
    let found = status.wait_for(|status| is_so(status));
    tokio::time::timeout(Duration::from_secs(60), found)
        .await
        .unwrap_or_else(|_| panic!("{what} did not happen"))
        .unwrap()
        .clone()
}

async fn end(agent: RunningAgent, stop: CancellationToken) {
    stop.cancel();
    agent.finished().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_read_while_the_cloud_is_away_is_delivered_once_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let sim = printers(0);
    let cloud = start_cloud(at, 0).await;
    let port = cloud.device_addr().port();
    enrol(at, &cloud).await;
    cloud.shutdown().await;

    // No cloud: the printers are read all the same, and the status names the cause.
    let config = config(at, &sim, port);
    let stop = CancellationToken::new();
    let agent = agent::start(&config, stop.clone()).unwrap();
    let status = until(&agent, "reading without a cloud", |status| {
        let all_known = status.lan.printers_known as usize == PRINTERS;
        status.outbox.pending >= 4 * PRINTERS as u64 && all_known && status.cloud.last_error.is_some()
    })
    .await;
    assert!(status.cloud.last_error.unwrap().starts_with("tcp:"));
    assert_eq!(status.lan.printers_known as usize, PRINTERS);
    let epoch = status.outbox.epoch;
    end(agent, stop).await;

    // After a restart of the box nothing is forgotten, and the numbers go on.
    let stop = CancellationToken::new();
    let agent = agent::start(&config, stop.clone()).unwrap();
    let status = agent.status().borrow().clone();
    assert_eq!(status.outbox.epoch, epoch);
    assert!(status.outbox.pending >= 2 * PRINTERS as u64);

    let cloud = start_cloud(at, port).await;
    let mut delivered = 0;
    for _ in 0..600 {
        let summary = cloud.summary().await.unwrap();
        delivered = summary.readings;
        if summary.devices as usize == PRINTERS && agent.status().borrow().outbox.pending < PRINTERS as u64 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(delivered >= 2 * PRINTERS as i64, "{delivered} delivered");
    end(agent, stop).await;

    // What the cloud has, and what still waits, together are what was accepted: none lost, none twice.
    let (outbox, recovery) =
        platen::store::Outbox::open(at.join("box/outbox"), platen::store::Limits::default()).unwrap();
    let summary = cloud.summary().await.unwrap();
    let accepted = outbox.last_seq().0 as i64;
    let (stored, waiting) = (summary.readings, recovery.pending as i64);
    // A batch may have been stored whose acknowledgement the stopped box did not hear.
    assert!(stored <= accepted && stored + waiting >= accepted, "{stored} stored, {waiting} wait, {accepted} accepted");
    cloud.shutdown().await;
    sim.shutdown().await;
}

/// How a task ended: its state's number and its message.
async fn end_of(cloud: &RunningCloud, task: &str) -> (i64, String) {
    for _ in 0..600 {
        if let Some(ended) = cloud.task(task).await.unwrap().filter(|(state, _)| *state >= 2) {
            return ended;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the task did not end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scan_now_is_done_within_seconds_and_status_shows_how_the_box_is() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let sim = printers(1);
    let cloud = start_cloud(at, 0).await;
    enrol(at, &cloud).await;
    let config = config(at, &sim, cloud.device_addr().port());
    let stop = CancellationToken::new();
    let agent = agent::start(&config, stop.clone()).unwrap();
    let status = until(&agent, "being well", |status| {
        status.word() == "ok" && status.cloud.wake_link_up && status.lan.last_scan_unix_ms.is_some()
    })
    .await;

    let snmp = status.lan.snmp;
    assert!(snmp.sent > 20 && snmp.taken > 20 && snmp.kernel_drops == 0, "{snmp:?}");

    let task = cloud.scan_now(&status.box_id).await.unwrap();
    let (state, message) = end_of(&cloud, &task).await;
    assert_eq!((state, message.starts_with("20 printers read")), (2, true), "{message}");

    let run = at.join("run");
    common::wait_until("the status file", || run.join("status.json").exists());
    let output = tokio::task::spawn_blocking(move || {
        Command::new(env!("CARGO_BIN_EXE_platen"))
            .args(["status", "--json", "--runtime-dir"])
            .arg(run)
            .output()
            .unwrap()
    })
    .await
    .unwrap();
    assert!(output.status.success(), "{}", common::text(&output));
    let shown: Status = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown.box_id, status.box_id);
    end(agent, stop).await;
    assert!(!at.join("run/status.json").exists(), "a stopped box leaves no status that could be believed");
    cloud.shutdown().await;
    sim.shutdown().await;
}

/// `platen show-outgoing` with these options, its standard output.
async fn show_outgoing(at: &Path, options: &'static [&'static str]) -> String {
    let at = at.to_owned();
    let run = move || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_platen"));
        command.arg("show-outgoing").arg("--data").arg(at.join("box")).arg("--runtime-dir").arg(at.join("run"));
        command.args(options).output().unwrap()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    assert!(output.status.success(), "{}", common::text(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn show_outgoing_prints_octet_for_octet_what_the_cloud_gets() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let sim = printers(11);
    let cloud = start_cloud(at, 0).await;
    let box_id = enrol(at, &cloud).await;
    let config = config(at, &sim, cloud.device_addr().port());
    let stop = CancellationToken::new();
    let agent = agent::start(&config, stop.clone()).unwrap();
    let enough = |status: &Status| status.outbox.acknowledged >= 4 * PRINTERS as u64;
    until(&agent, "delivering", enough).await;
    // While the box goes on writing.
    let text = show_outgoing(at, &[]).await;
    for words in ["the last poll: PollRequest", "outbox_epoch: ", "firmware_version: ", "as what differs from number"] {
        assert!(text.contains(words), "\"{words}\" is not in\n{text}");
    }
    end(agent, stop).await;

    // Each record that was sent, by the messages and by the cloud's database.
    let mut sent = std::collections::BTreeMap::new();
    for line in show_outgoing(at, &["--messages", "--json"]).await.lines() {
        let message: serde_json::Value = serde_json::from_str(line).unwrap();
        if message["call"] == "UploadReadings" {
            let encoded = BASE64.decode(message["base64"].as_str().unwrap()).unwrap();
            let batch = v1::ReadingBatch::decode(encoded.as_slice()).unwrap();
            sent.extend(batch.readings.into_iter().map(|reading| (reading.seq as i64, reading.record)));
        }
    }
    let database = sqlx::sqlite::SqliteConnectOptions::new().filename(at.join("cloud/cloud.sqlite")).read_only(true);
    let database = sqlx::SqlitePool::connect_with(database).await.unwrap();
    let stored: Vec<(i64, Vec<u8>)> = sqlx::query_as("SELECT seq, payload FROM readings WHERE box_id = $1")
        .bind(box_id)
        .fetch_all(&database)
        .await
        .unwrap();
    database.close().await;
    assert!(stored.len() >= 4 * PRINTERS, "{}", stored.len());
    for (seq, record) in &stored {
        assert_eq!(sent.get(seq), Some(record), "number {seq}");
    }

    // The newest reading of each printer is whole, though most are sent as what differs.
    let newest = show_outgoing(at, &["--json"]).await;
    for serial in cloud.serials().await.unwrap() {
        let line = newest.lines().find(|line| line.contains(&serial)).unwrap_or_else(|| panic!("{serial} is missing"));
        let told: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(told["record"]["reading"]["serial"], serial.as_str());
        assert!(told["record"]["reading"]["meters"].as_array().is_some_and(|meters| !meters.is_empty()), "{line}");
    }
    cloud.shutdown().await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ping_is_answered_within_the_fence_and_refused_outside() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let sim = printers(9);
    let cloud = start_cloud(at, 0).await;
    enrol(at, &cloud).await;
    let config = config(at, &sim, cloud.device_addr().port());
    let stop = CancellationToken::new();
    let agent = agent::start(&config, stop.clone()).unwrap();
    let status = until(&agent, "a wake-up link", |status| status.cloud.wake_link_up).await;

    let task = cloud.ping_now(&status.box_id, Ipv4Addr::new(127, 86, 0, 1).into()).await.unwrap();
    let (state, message) = end_of(&cloud, &task).await;
    assert_eq!((state, message.contains("127.86.0.1 lies outside of the fence")), (4, true), "{message}");

    let task = cloud.ping_now(&status.box_id, sim.printers()[0].address.into()).await.unwrap();
    let (state, message) = end_of(&cloud, &task).await;
    if message.contains("net.ipv4.ping_group_range") {
        // This machine allows no ping sockets: then the task must have failed with that message.
        eprintln!("SKIPPED the answer: {message}");
        assert_eq!(state, 3, "{message}");
    } else {
        assert_eq!((state, message.contains(" of 4 answered, ")), (2, true), "{message}");
    }
    end(agent, stop).await;
    cloud.shutdown().await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cloud_cannot_lead_the_box_out_of_its_fence() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let sim = printers(2);
    let cloud = start_cloud(at, 0).await;
    enrol(at, &cloud).await;
    let mut config = config(at, &sim, cloud.device_addr().port());
    // The fence lets three printers in; the ranges name all.
    let fence = format!("{}-{}", sim.printers()[0].address, sim.printers()[2].address);
    config.lan.fence = Some(vec![fence]);
    let stop = CancellationToken::new();
    let agent = agent::start(&config, stop.clone()).unwrap();
    let status = until(&agent, "a search", |status| status.lan.last_scan_unix_ms.is_some()).await;
    assert_eq!(status.lan.printers_known, 3);
    end(agent, stop).await;
    cloud.shutdown().await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_box_without_an_identity_does_not_start_and_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let sim = printers(3);
    let config = config(folder.path(), &sim, 1);
    let error = agent::start(&config, CancellationToken::new()).unwrap_err();
    assert!(matches!(error, AgentError::Identity(_)) && error.to_string().contains("platen enroll request"), "{error}");
    sim.shutdown().await;
}

/// The inventory as it lies on the disk: what each printer answered to.
fn credentials_in_inventory(folder: &Path) -> Vec<String> {
    let Ok(bytes) = std::fs::read(folder.join("box/inventory.json")) else { return Vec::new() };
    let inventory: platen::store::Inventory = serde_json::from_slice(&bytes).unwrap();
    inventory.printers.into_iter().map(|printer| printer.credentials).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_printer_that_spoke_v3_is_read_by_nothing_less() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let cloud = start_cloud(at, 0).await;
    let port = cloud.device_addr().port();
    let box_id = enrol(at, &cloud).await;
    let fleet = |users, port| SimConfig {
        first_address: Ipv4Addr::new(127, 87, 9, 1),
        printers: generated_fleet(PRINTERS, 3),
        users,
        port,
        ..SimConfig::default()
    };
    // The printers offer v2c by "public" and v3 alike; the safer one is taken.
    let sim = sim::start(fleet(sim::usual_users(), 0)).unwrap();
    let user = "[[snmp.users]]\nname = \"sha256aes\"\nauth = \"SHA-256\"\nauth_password = \"maplesyrup\"\n\
                privacy = \"AES-128\"\nprivacy_password = \"maplesyrup\"\n";
    let config = config_with(at, &sim, port, user);
    let stop = CancellationToken::new();
    let agent = agent::start(&config, stop.clone()).unwrap();
    until(&agent, "reading by v3", |status| status.lan.printers_answering as usize == PRINTERS).await;
    common::wait_until("an inventory of v3", || {
        let all = credentials_in_inventory(at);
        all.len() == PRINTERS && all.iter().all(|credentials| credentials == "v3/sha256aes")
    });
    end(agent, stop).await;

    // The same serial numbers at the same addresses, and no v3 any more: somebody else may be answering.
    let sim_port = sim.port();
    sim.shutdown().await;
    let sim = sim::start(fleet(Vec::new(), sim_port)).unwrap();
    let stop = CancellationToken::new();
    let agent = agent::start(&config, stop.clone()).unwrap();
    let accepted = agent.status().borrow().outbox.last_seq;
    cloud.scan_now(&box_id).await.unwrap();
    let status = until(&agent, "a word about the downgrade", |status| {
        status.lan.last_error.as_ref().is_some_and(|error| error.contains("SNMPv3 before"))
    })
    .await;
    assert_eq!(status.lan.printers_answering, 0);
    // One record may be new: when it is, by the cloud's clock.
    assert!(status.outbox.last_seq <= accepted + 1, "nothing that they said was taken");
    assert!(credentials_in_inventory(at).iter().all(|credentials| credentials == "v3/sha256aes"));
    end(agent, stop).await;
    sim.shutdown().await;
    cloud.shutdown().await;
}

/// A printer, with an alert or without.
fn with_alert(is_jammed: bool) -> sim::Simulated {
    let mut text = String::from(
        "1.3.6.1.2.1.1.1.0|4|ACME 300\n1.3.6.1.2.1.1.2.0|6|1.3.6.1.4.1.99999.1\n1.3.6.1.2.1.1.3.0|67|360000\n\
         1.3.6.1.2.1.25.3.2.1.2.1|6|1.3.6.1.2.1.25.3.1.5\n1.3.6.1.2.1.43.5.1.1.17.1|4|ACM-0012345\n\
         1.3.6.1.2.1.43.10.2.1.3.1.1|2|7\n1.3.6.1.2.1.43.10.2.1.4.1.1|65|4711\n",
    );
    if is_jammed {
        text.push_str(
            "1.3.6.1.2.1.43.18.1.1.2.1.9|2|3\n1.3.6.1.2.1.43.18.1.1.4.1.9|2|13\n1.3.6.1.2.1.43.18.1.1.5.1.9|2|1\n\
             1.3.6.1.2.1.43.18.1.1.7.1.9|2|8\n1.3.6.1.2.1.43.18.1.1.8.1.9|4|Paper jam\n",
        );
    }
    let objects = platen::snmp::Recording::parse(text.as_bytes()).unwrap();
    sim::Simulated::Recording { name: "ACME 300".to_owned(), objects }
}

fn acme(port: u16, is_jammed: bool) -> RunningSim {
    let first_address = Ipv4Addr::new(127, 87, 9, 1);
    let printers = vec![with_alert(is_jammed)];
    sim::start(SimConfig { first_address, port, printers, speed: 0.0, ..SimConfig::default() }).unwrap()
}

async fn until_events(cloud: &RunningCloud, count: i64) -> (i64, i64) {
    for _ in 0..600 {
        let summary = cloud.summary().await.unwrap();
        if summary.events >= count {
            return (summary.events, summary.readings - summary.events);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{count} events did not come");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alert_that_comes_between_two_readings_is_told_and_so_is_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let printer = acme(0, false);
    let port = printer.port();
    let cloud = start_cloud(at, 0).await;
    enrol(at, &cloud).await;
    let text = format!(
        "data_dir = \"{at}/box\"\nruntime_dir = \"{at}/run\"\n\
         [cloud]\nroot_domain = \"localhost\"\ngrpc = \"https://localhost:{cloud}\"\nmqtt = \"wss://localhost:{cloud}/mqtt\"\n\
         [lan]\nranges = [\"127.87.9.1\"]\nfence = [\"127.87.9.1\"]\n\
         [snmp]\nport = {port}\ntimeout_ms = 500\npackets_per_second = 5000\n\
         [schedule]\nread_interval_s = 3600\nstatus_interval_s = 1\n",
        at = at.display(),
        cloud = cloud.device_addr().port(),
    );
    let path = at.join("platen.toml");
    std::fs::write(&path, text).unwrap();
    let stop = CancellationToken::new();
    let agent = agent::start(&Config::load(&path).unwrap(), stop.clone()).unwrap();
    // It is new.
    let (events, readings) = until_events(&cloud, 1).await;
    printer.shutdown().await;
    let printer = acme(port, true);
    assert_eq!(until_events(&cloud, events + 1).await, (events + 1, readings), "it began, and nothing was read whole");
    printer.shutdown().await;
    let printer = acme(port, false);
    assert_eq!(until_events(&cloud, events + 2).await, (events + 2, readings), "it ended");
    end(agent, stop).await;
    printer.shutdown().await;
    cloud.shutdown().await;
}
