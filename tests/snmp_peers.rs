//! The SNMP engine against net-snmp's agent, over every version and security level.

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::{Peer, command, free_udp_port, have};
use platen::oid;
use platen::snmp::{
    AuthAlgorithm, Client, ClientConfig, Credentials, ObjectSource, Oid, PrivacyAlgorithm, SnmpError, Timing,
    UsmReport, UsmUser, Value, VarBind, WalkEnd, WalkLimits,
};

struct Agent {
    _process: Peer,
    _folder: tempfile::TempDir,
    address: SocketAddr,
}

/// Starts an agent of its own: its configuration, its state and its port are this test's.
fn start() -> Option<Agent> {
    if !have("snmpd") || !have("snmpwalk") {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let configuration = folder.path().join("snmpd.conf");
    std::fs::write(
        &configuration,
        "rocommunity public\nsysDescr a printer for tests\nsysContact nobody\nsysLocation here\n\
         createUser open\ncreateUser sha1 SHA maplesyrup\ncreateUser sha1aes SHA maplesyrup AES maplesyrup\n\
         createUser sha256aes SHA-256 maplesyrup AES maplesyrup\ncreateUser sha512aes SHA-512 maplesyrup AES maplesyrup\n\
         createUser md5des MD5 maplesyrup DES maplesyrup\n\
         rouser open noauth\nrouser sha1 auth\nrouser sha1aes priv\nrouser sha256aes priv\nrouser sha512aes priv\nrouser md5des priv\n",
    )
    .unwrap();
    let address: SocketAddr = ([127, 0, 0, 1], free_udp_port()).into();
    let log = std::fs::File::create(folder.path().join("log")).unwrap();
    let process = command("snmpd")
        .args(["-f", "-Lo", "-C", "-c"])
        .arg(&configuration)
        .arg("-p")
        .arg(folder.path().join("pid"))
        .arg(format!("udp:{address}"))
        .env("SNMP_PERSISTENT_DIR", folder.path())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    let agent = Agent { _process: Peer(process), _folder: folder, address };
    common::wait_until("snmpd answers", || !net_snmp(&agent, &["-v2c", "-c", "public"], "1.3.6.1.2.1.1.3").is_empty());
    Some(agent)
}

/// What snmpwalk prints, row by row: object and value.
fn net_snmp(agent: &Agent, arguments: &[&str], root: &str) -> Vec<String> {
    let output = command("snmpwalk")
        .args(arguments)
        .args(["-On", "-Oe", "-Ot", "-r1", "-t2", &agent.address.to_string(), root])
        .env("MIBS", "")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().filter(|line| line.starts_with('.')).map(str::to_owned).collect()
}

fn timing() -> Timing {
    Timing { timeout: Duration::from_secs(2), retries: 2 }
}

fn client() -> Client {
    Client::open(ClientConfig { packets_per_second: 5_000, ..ClientConfig::default() }).unwrap()
}

fn user(name: &str, auth: Option<AuthAlgorithm>, privacy: Option<PrivacyAlgorithm>) -> Credentials {
    let password = "maplesyrup";
    Credentials::V3(UsmUser::new(name, auth.map(|a| (a, password)), privacy.map(|p| (p, password))).unwrap())
}

fn every_kind() -> Vec<Credentials> {
    vec![
        Credentials::V1 { community: "public".into() },
        Credentials::V2c { community: "public".into() },
        user("open", None, None),
        user("sha1", Some(AuthAlgorithm::Sha1), None),
        user("sha1aes", Some(AuthAlgorithm::Sha1), Some(PrivacyAlgorithm::Aes128)),
        user("sha256aes", Some(AuthAlgorithm::Sha256), Some(PrivacyAlgorithm::Aes128)),
        user("sha512aes", Some(AuthAlgorithm::Sha512), Some(PrivacyAlgorithm::Aes128)),
        user("md5des", Some(AuthAlgorithm::Md5), Some(PrivacyAlgorithm::Des)),
    ]
}

#[tokio::test]
async fn every_version_and_level_reads_the_same() {
    let Some(agent) = start() else { return };
    let client = client();
    let asked = [oid!(1, 3, 6, 1, 2, 1, 1, 1, 0), oid!(1, 3, 6, 1, 2, 1, 99, 0), oid!(1, 3, 6, 1, 2, 1, 1, 6, 0)];
    let root = oid!(1, 3, 6, 1, 2, 1, 1);
    let mut first: Option<Vec<Oid>> = None;
    for credentials in every_kind() {
        let session = client.session(agent.address, credentials.clone(), timing());
        let answer = session.get(&asked).await.unwrap_or_else(|error| panic!("{credentials:?}: {error}"));
        assert_eq!(answer[0].value, Value::OctetString(b"a printer for tests".to_vec()), "{credentials:?}");
        assert!(!answer[1].value.is_present(), "{credentials:?}");
        assert_eq!(answer[2].value, Value::OctetString(b"here".to_vec()), "{credentials:?}");
        let walk = session.walk(&root, WalkLimits::default()).await.unwrap();
        assert!(walk.end.is_complete(), "{credentials:?}: {:?}", walk.end);
        let oids: Vec<Oid> = walk.varbinds.into_iter().map(|vb| vb.oid).collect();
        assert_eq!(first.get_or_insert_with(|| oids.clone()), &oids, "{credentials:?}");
    }
}

#[tokio::test]
async fn a_walk_finds_what_snmpwalk_finds_row_by_row() {
    let Some(agent) = start() else { return };
    // What stands still while it is read: the tables of the agent itself and its file systems' names.
    for root in ["1.3.6.1.2.1.1.9", "1.3.6.1.2.1.2.2.1.2", "1.3.6.1.6.3.10", "1.3.6.1.6.3.16"] {
        let theirs = net_snmp(&agent, &["-v2c", "-c", "public"], root);
        let session = client().session(agent.address, Credentials::V2c { community: "public".into() }, timing());
        let walk = session.walk(&root.parse().unwrap(), WalkLimits::default()).await.unwrap();
        let ours: Vec<String> = walk.varbinds.iter().map(|vb| format!(".{} =", vb.oid)).collect();
        assert_eq!(ours.len(), theirs.len(), "{root}");
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert!(theirs.starts_with(ours.as_str()), "{ours} and {theirs}");
        }
    }
}

#[tokio::test]
async fn getnext_and_getbulk_do_what_they_are_named_for() {
    let Some(agent) = start() else { return };
    let session = client().session(agent.address, Credentials::V2c { community: "public".into() }, timing());
    let system = oid!(1, 3, 6, 1, 2, 1, 1);
    let next = session.get_next(std::slice::from_ref(&system)).await.unwrap();
    assert_eq!(next[0].oid, system.with(&[1, 0]));
    let bulk: Vec<VarBind> = session.get_bulk(0, 4, std::slice::from_ref(&system)).await.unwrap();
    assert_eq!(bulk.len(), 4);
    assert_eq!(bulk[0], next[0]);
    let limits = WalkLimits { rows: 3, ..WalkLimits::default() };
    let walk = session.walk(&system, limits).await.unwrap();
    assert_eq!((walk.varbinds.len(), walk.end), (3, WalkEnd::RowLimit));
}

#[tokio::test]
async fn what_is_wrong_with_a_user_is_named() {
    let Some(agent) = start() else { return };
    let asked = [oid!(1, 3, 6, 1, 2, 1, 1, 1, 0)];
    let wrong = UsmUser::new("sha1", Some((AuthAlgorithm::Sha1, "not the password")), None).unwrap();
    for (credentials, expected) in [
        (user("nobody", Some(AuthAlgorithm::Sha1), None), UsmReport::UnknownUser),
        (Credentials::V3(wrong), UsmReport::WrongDigest),
        (user("open", Some(AuthAlgorithm::Sha1), None), UsmReport::UnsupportedSecurityLevel),
    ] {
        let session = client().session(agent.address, credentials, timing());
        match session.get(&asked).await {
            Err(SnmpError::Refused { reason, .. }) => assert_eq!(reason, expected),
            other => panic!("expected {expected:?}, got {other:?}"),
        }
    }
}

#[tokio::test]
async fn silence_is_a_timeout_that_says_how_often_it_was_tried() {
    let target: SocketAddr = ([127, 0, 0, 1], free_udp_port()).into();
    let timing = Timing { timeout: Duration::from_millis(50), retries: 2 };
    let session = client().session(target, Credentials::V2c { community: "public".into() }, timing);
    let error = session.get(&[oid!(1, 3, 6, 1, 2, 1, 1, 1, 0)]).await.unwrap_err();
    assert_eq!(error, SnmpError::Timeout { target, tries: 3 });
}

#[tokio::test]
async fn a_stranger_who_answers_is_not_believed() {
    // The device that is asked never answers; another socket answers to the right port with the right id.
    let device = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let stranger = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let target = device.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 1_500];
        while let Ok((length, from)) = device.recv_from(&mut buffer).await {
            let mut answer = buffer[..length].to_vec();
            let tag = answer.iter().position(|&byte| byte == 0xa0).unwrap();
            answer[tag] = 0xa2;
            stranger.send_to(&answer, from).await.unwrap();
        }
    });
    let timing = Timing { timeout: Duration::from_millis(100), retries: 1 };
    let session = client().session(target, Credentials::V2c { community: "public".into() }, timing);
    let error = session.get(&[oid!(1, 3, 6, 1, 2, 1, 1, 1, 0)]).await.unwrap_err();
    assert!(matches!(error, SnmpError::Timeout { .. }), "{error}");
}
