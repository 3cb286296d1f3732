//! Recordings of real devices, served over UDP by a simulator that is not ours (snmpsim), and read by the engine in every
//! version: the reading is the one that the file itself gives. `tests/run peers` installs snmpsim.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed unwrap is a failed test

mod common;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Peer, free_udp_port};
use platen::oid;
use platen::printer::{ReadOptions, read};
use platen::snmp::{
    AuthAlgorithm, Client, ClientConfig, Credentials, Oid, PrivacyAlgorithm, Recording, Session, Timing, UsmUser,
};
use tempfile::TempDir;
use tokio::task::JoinSet;

/// The simulator that `tests/run` has installed.
fn simulator() -> Option<PathBuf> {
    let tools = std::env::var_os("PLATEN_TOOLS").map(PathBuf::from).or_else(|| {
        let home = std::env::var_os("HOME")?;
        Some(Path::new(&home).join(".cache/platen-tools"))
    })?;
    let program = tools.join("snmpsim/bin/snmpsim-command-responder");
    if program.is_file() {
        return Some(program);
    }
    assert!(
        std::env::var_os("PLATEN_REQUIRE_PEERS").is_none(),
        "snmpsim is not in {}: run tests/run peers",
        tools.display()
    );
    eprintln!("SKIPPED: snmpsim is not in {} (tests/run peers installs it)", tools.display());
    None
}

/// A recording at the simulator.
struct Served {
    name: String,
    /// Its community, and its context.
    community: String,
    address: SocketAddr,
    recording: Recording,
}

/// A running simulator, each recording at an address of its own. It ends with this value.
struct Simulator {
    served: Vec<Served>,
    _process: Peer,
    _folder: TempDir,
}

fn recordings(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|item| item.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "snmprec"))
        .collect();
    files.sort();
    files
}

/// Its own recordings, and those of real devices where they are.
fn folders() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let corpus = root.join("../shared/corpus");
    let mut folders = vec![root.join("tests/data")];
    if corpus.is_dir() {
        folders.extend(["printers", "identify", "negatives"].map(|folder| corpus.join(folder)));
    } else {
        eprintln!("SKIPPED: there are no recordings in {}", corpus.display());
    }
    folders
}

/// The same recording as snmpsim can serve it: in order, without remarks, text outside of ASCII in hexadecimal, and no
/// value that is an object identifier of one arc (it falls silent over them).
fn for_snmpsim(recording: &[u8]) -> Vec<u8> {
    let mut lines: Vec<(Oid, Vec<u8>)> = recording
        .split(|byte| *byte == b'\n')
        .filter_map(|line| match line.splitn(3, |byte| *byte == b'|').collect::<Vec<_>>()[..] {
            [oid, b"4", text] if !text.is_ascii() => {
                let hexadecimal: String = text.iter().map(|byte| format!("{byte:02x}")).collect();
                Some((oid, [oid, b"4x", hexadecimal.as_bytes()].join(&b'|')))
            }
            [oid, b"6", b"0"] => Some((oid, [oid, b"6", b"0.0"].join(&b'|'))),
            [oid, _, _] => Some((oid, line.to_vec())),
            _ => None,
        })
        .map(|(oid, line)| (std::str::from_utf8(oid).unwrap().parse().unwrap(), [&line[..], b"\n"].concat()))
        .collect();
    lines.sort();
    lines.into_iter().flat_map(|(_, line)| line).collect()
}

fn output_of(program: &str, argument: &str) -> String {
    let output = Command::new(program).arg(argument).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

impl Simulator {
    fn start(program: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (data, cache) = (folder.path().join("data"), folder.path().join("cache"));
        std::fs::create_dir(&data).unwrap();
        std::fs::create_dir(&cache).unwrap();
        let port = free_udp_port();
        let mut served = Vec::new();
        for file in folders().iter().flat_map(|folder| recordings(folder)) {
            let bytes = std::fs::read(&file).unwrap();
            let group = file.parent().unwrap().file_name().unwrap().to_string_lossy().into_owned();
            let name = format!("{group}/{}", file.file_stem().unwrap().to_string_lossy());
            let community = format!("printer-{}", served.len());
            std::fs::write(data.join(format!("{community}.snmprec")), for_snmpsim(&bytes)).unwrap();
            let address = SocketAddr::from((Ipv4Addr::new(127, 97, 0, u8::try_from(served.len() + 1).unwrap()), port));
            served.push(Served { name, community, address, recording: Recording::parse(&bytes).unwrap() });
        }
        let mut command = Command::new(program);
        command
            .args(["--v3-engine-id=auto", "--v3-user=reader", "--v3-auth-proto=SHA256", "--v3-auth-key=authpassword"])
            .args(["--v3-priv-proto=AES128", "--v3-priv-key=privpassword", "--logging-method=null"])
            .arg(format!("--data-dir={}", data.display()))
            .arg(format!("--cache-dir={}", cache.display()))
            .args(served.iter().map(|served| format!("--agent-udpv4-endpoint={}", served.address)));
        if output_of("id", "-u") == "0" {
            // It does not run as root without being told so; another user may not reach the folders.
            command.args(["--process-user=root", "--process-group=root"]);
        }
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Self { served, _process: Peer(child), _folder: folder }
    }
}

fn v1(community: &str) -> Credentials {
    Credentials::V1 { community: community.into() }
}

fn v2c(community: &str) -> Credentials {
    Credentials::V2c { community: community.into() }
}

fn v3(context: &str) -> Credentials {
    let auth = Some((AuthAlgorithm::Sha256, "authpassword".into()));
    let privacy = Some((PrivacyAlgorithm::Aes128, "privpassword".into()));
    Credentials::V3(UsmUser::new("reader", auth, privacy, context).unwrap())
}

async fn reading(session: Session) -> serde_json::Value {
    serde_json::to_value(read(&session, &ReadOptions::default()).await.unwrap().without_ages()).unwrap()
}

/// Where two readings differ.
fn differences(one: &serde_json::Value, other: &serde_json::Value) -> Vec<String> {
    let (one, other) = (one.as_object().unwrap(), other.as_object().unwrap());
    one.iter()
        .filter(|(key, value)| other.get(*key) != Some(value))
        .map(|(key, value)| format!("{key}: {value} over the network, {} in the file", other[key]))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_recording_reads_the_same_from_another_simulator_in_every_version() {
    let Some(program) = simulator() else { return };
    let simulator = tokio::task::spawn_blocking(move || Simulator::start(&program)).await.unwrap();
    let client = Client::open(ClientConfig { packets_per_second: None, window: 8, ..ClientConfig::default() }).unwrap();
    let patient = Timing { timeout: Duration::from_secs(5), retries: 2 };
    let start = Instant::now();
    let last = simulator.served.last().unwrap();
    let is_there = Timing { timeout: Duration::from_millis(200), retries: 0 };
    let session = client.session(last.address, v2c(&last.community), is_there);
    while session.get(&[oid!(1, 3, 6, 1, 2, 1, 1, 1, 0)]).await.is_err() {
        assert!(start.elapsed() < Duration::from_secs(60), "snmpsim does not start");
    }
    println!("snmpsim serves {} recordings after {:?}", simulator.served.len(), start.elapsed());

    for (version, credentials) in [("v1", v1 as fn(&str) -> Credentials), ("v2c", v2c), ("v3", v3)] {
        let start = Instant::now();
        let mut readings = JoinSet::new();
        for served in &simulator.served {
            let session = client.session(served.address, credentials(&served.community), patient);
            let (name, recording) = (served.name.clone(), served.recording.clone());
            readings.spawn(async move {
                let expected = read(&recording, &ReadOptions::default()).await.unwrap().without_ages();
                let expected = serde_json::to_value(expected).unwrap();
                (name, differences(&reading(session).await, &expected))
            });
        }
        let wrong: Vec<String> = readings
            .join_all()
            .await
            .into_iter()
            .flat_map(|(name, wrong)| wrong.into_iter().map(move |what| format!("{name}: {what}")))
            .collect();
        println!("{version}: {} readings in {:?}", simulator.served.len(), start.elapsed());
        assert!(wrong.is_empty(), "{version}:\n{}", wrong.join("\n"));
    }
}
