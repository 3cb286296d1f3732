//! The SNMP engine against a real agent: net-snmp's `snmpd`, started here on a free loopback port with users of every
//! security level, and net-snmp's own tools as the second opinion.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // clippy.toml allows them in tests, and does not see that helpers of a test file are tests too

use platen::oid;
use platen::snmp::{
    Asks, AuthAlgorithm, Client, ClientConfig, Credentials, Oid, PrivacyAlgorithm, Secret, Session, SnmpError, Timing,
    UsmReport, UsmUser, Value, VarBind, WalkEnd, WalkLimits,
};
use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const AUTH_PASSWORD: &str = "authpassword";
const PRIV_PASSWORD: &str = "privpassword";

/// `None` when the program is not installed; then the test says so, or fails if peers are required.
fn is_installed(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        assert!(
            std::env::var("PLATEN_REQUIRE_PEERS").as_deref() != Ok("1"),
            "{program} is not installed, and PLATEN_REQUIRE_PEERS=1"
        );
        eprintln!("SKIPPED: {program} is not installed (apt install snmp snmpd)");
    }
    found
}

fn installed() -> bool {
    is_installed("/usr/sbin/snmpd") && is_installed("snmpbulkwalk")
}

/// An snmpd of our own. It ends with this value, by its process id.
struct Snmpd {
    child: Child,
    port: u16,
    folder: TempDir,
}

/// How a life of an snmpd begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Memory {
    /// Its engine id stays and its boots go up, as the standard asks.
    Kept,
    /// It makes a new engine id up, as network cards do that were reset.
    Lost,
}

/// One life of an snmpd. What it remembers lies in another folder than its configuration: both files have one name.
fn spawn(folder: &TempDir, memory: Memory, addresses: &[&str], port: u16) -> Child {
    let mut configuration = folder.path().join("snmpd.conf").into_os_string();
    if memory == Memory::Kept {
        configuration.push(",");
        configuration.push(folder.path().join("persistent/snmpd.conf"));
    }
    Command::new("/usr/sbin/snmpd")
        .args(["-f", "-Lo", "-C", "-I", "-smux", "-c"])
        .arg(configuration)
        .args(addresses.iter().map(|address| {
            let transport = if address.starts_with('[') { "udp6" } else { "udp" };
            format!("{transport}:{address}:{port}")
        }))
        .env("SNMP_PERSISTENT_DIR", folder.path().join("persistent"))
        .env("SNMPCONFPATH", folder.path())
        .env("MIBS", "")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

impl Snmpd {
    fn start() -> Self {
        Self::start_at(&["127.0.0.1"], "")
    }

    /// Listens on these addresses, with more lines of configuration, in which PORT is its port.
    fn start_at(addresses: &[&str], more: &str) -> Self {
        // A port that is free now may be taken when snmpd comes to it: then it ends at once, and another is tried.
        for _ in 0..5 {
            if let Some(agent) = Self::try_start(addresses, more) {
                return agent;
            }
        }
        panic!("snmpd does not start");
    }

    fn try_start(addresses: &[&str], more: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut configuration = String::from(
            "rocommunity public\n\
             sysLocation under the stairs\n\
             sysContact nobody\n\
             sysName platen test agent\n",
        );
        configuration += &users();
        configuration += &more.replace("PORT", &port.to_string());
        std::fs::write(folder.path().join("snmpd.conf"), configuration).unwrap();
        std::fs::create_dir(folder.path().join("persistent")).unwrap();
        let mut child = spawn(&folder, Memory::Lost, addresses, port);
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            if child.try_wait().unwrap().is_some() {
                return None;
            }
            let asked = Command::new("snmpget")
                .args(["-v2c", "-c", "public", "-t", "1", "-r", "0"])
                .arg(format!("{}:{port}", addresses[0]))
                .arg("1.3.6.1.2.1.1.3.0")
                .env("SNMP_PERSISTENT_DIR", folder.path())
                .env("MIBS", "")
                .output()
                .unwrap();
            if asked.status.success() {
                return Some(Self { child, port, folder });
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        None
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// What a net-snmp tool prints.
    fn tool(&self, program: &str, arguments: &[&str], root: &str) -> String {
        let output = Command::new(program)
            .args(arguments)
            .arg(self.address().to_string())
            .arg(root)
            .env("SNMP_PERSISTENT_DIR", self.folder.path())
            .env("MIBS", "")
            .output()
            .unwrap();
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Snmpd {
    fn drop(&mut self) {
        // Both act on this child's process id alone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// net-snmp's names of what a password makes a key for, ours, and the mark of both in the names of users.
const DIGESTS: [(&str, AuthAlgorithm, &str); 6] = [
    ("MD5", AuthAlgorithm::Md5, "md5"),
    ("SHA", AuthAlgorithm::Sha1, "sha"),
    ("SHA-224", AuthAlgorithm::Sha224, "sha224"),
    ("SHA-256", AuthAlgorithm::Sha256, "sha256"),
    ("SHA-384", AuthAlgorithm::Sha384, "sha384"),
    ("SHA-512", AuthAlgorithm::Sha512, "sha512"),
];
const CIPHERS: [(&str, PrivacyAlgorithm, &str); 4] = [
    ("DES", PrivacyAlgorithm::Des, "des"),
    ("AES", PrivacyAlgorithm::Aes128, "aes"),
    ("AES-192", PrivacyAlgorithm::Aes192, "aes192"),
    ("AES-256", PrivacyAlgorithm::Aes256, "aes256"),
];

/// The agent's lines for a user of every security level and every pair of algorithms.
fn users() -> String {
    let mut lines = String::from("createUser plainuser\nrouser plainuser noauth\n");
    for (digest, _, mark) in DIGESTS {
        lines += &format!("createUser auth{mark} {digest} {AUTH_PASSWORD}\nrouser auth{mark} auth\n");
        for (cipher, _, more) in CIPHERS {
            lines += &format!("createUser priv{mark}{more} {digest} {AUTH_PASSWORD} {cipher} {PRIV_PASSWORD}\n");
            lines += &format!("rouser priv{mark}{more} priv\n");
        }
    }
    lines
}

fn user(name: &str, auth: Option<AuthAlgorithm>, privacy: Option<PrivacyAlgorithm>) -> Credentials {
    user_with(name, auth.map(|a| (a, AUTH_PASSWORD)), privacy.map(|p| (p, PRIV_PASSWORD)))
}

fn user_with(
    name: &str,
    auth: Option<(AuthAlgorithm, &str)>,
    privacy: Option<(PrivacyAlgorithm, &str)>,
) -> Credentials {
    let auth = auth.map(|(algorithm, password)| (algorithm, Secret::from(password)));
    let privacy = privacy.map(|(algorithm, password)| (algorithm, Secret::from(password)));
    Credentials::V3(UsmUser::new(name, auth, privacy, "").unwrap())
}

fn v1() -> Credentials {
    Credentials::V1 { community: "public".into() }
}

fn v2c() -> Credentials {
    Credentials::V2c { community: "public".into() }
}

/// Every way in.
fn ways_in() -> Vec<(String, Credentials)> {
    let mut ways = vec![
        ("v1".to_owned(), v1()),
        ("v2c".to_owned(), v2c()),
        ("noAuthNoPriv".to_owned(), user("plainuser", None, None)),
    ];
    for (digest, auth, mark) in DIGESTS {
        ways.push((digest.to_owned(), user(&format!("auth{mark}"), Some(auth), None)));
        for (cipher, privacy, more) in CIPHERS {
            let credentials = user(&format!("priv{mark}{more}"), Some(auth), Some(privacy));
            ways.push((format!("{digest} {cipher}"), credentials));
        }
    }
    ways
}

fn client() -> Client {
    Client::open(ClientConfig {
        packets_per_second: None,
        gap: Duration::ZERO,
        asks: Asks::AllButDenied,
        ..ClientConfig::default()
    })
    .unwrap()
}

/// Patient, so that a slow machine fails no test.
fn patient() -> Timing {
    Timing { timeout: Duration::from_secs(5), retries: 2 }
}

fn session(agent: &Snmpd, credentials: Credentials) -> Session {
    client().session(agent.address(), credentials, patient())
}

fn system() -> Oid {
    oid!(1, 3, 6, 1, 2, 1, 1)
}

/// A value as `snmpwalk -On -Oe -OQ…` would not say it: net-snmp's own words for each type, with MIBs off and `-Oxen`.
fn as_net_snmp_prints(row: &VarBind) -> String {
    let value = match &row.value {
        Value::Integer(n) => format!("INTEGER: {n}"),
        Value::OctetString(bytes) if bytes.is_empty() => "\"\"".to_owned(),
        Value::OctetString(bytes) => {
            let hex: String = bytes.iter().map(|octet| format!("{octet:02X} ")).collect();
            format!("Hex-STRING: {hex}")
        }
        Value::ObjectId(oid) => format!("OID: .{oid}"),
        Value::IpAddress(address) => format!("IpAddress: {address}"),
        Value::Counter32(n) => format!("Counter32: {n}"),
        Value::Gauge32(n) => format!("Gauge32: {n}"),
        Value::TimeTicks(n) => format!("Timeticks: ({n})"),
        Value::Counter64(n) => format!("Counter64: {n}"),
        Value::Opaque(bytes) => format!("OPAQUE: {bytes:?}"),
        Value::Null => "NULL".to_owned(),
        exception => format!("{exception:?}"),
    };
    format!(".{} = {value}", row.oid)
}

/// The rows that a tool printed, long strings joined to one line and ticks without their human form.
fn printed_rows(output: &str) -> Vec<String> {
    let mut rows: Vec<String> = Vec::new();
    for line in output.lines() {
        if line.starts_with(".1.") {
            rows.push(line.to_owned());
        } else if let (Some(row), false) = (rows.last_mut(), line.starts_with("End of MIB")) {
            row.push_str(line);
        }
    }
    for row in &mut rows {
        if let Some((ticks, _human)) = row.clone().split_once(") ")
            && row.contains("Timeticks")
        {
            *row = format!("{ticks})");
        }
        *row = row.trim_end().to_owned();
    }
    rows
}

/// What comes and goes, or changes its value, between two walks: the date, storage in use, processes, connections.
fn stays(row: &str) -> bool {
    let restless = ["6.", "7.", "25.1.2.", "25.1.5", "25.1.6", "25.2.3.1.6.", "25.3.3.1.2.", "25.4.", "25.5."];
    // snmpEngineTime is seconds in an INTEGER.
    !row.starts_with(".1.3.6.1.6.3.10.2.1.3.0")
        && !restless.iter().any(|below| row.starts_with(&format!(".1.3.6.1.2.1.{below}")))
}

/// Some objects count on between two walks: they are compared by name and type only.
fn without_what_changes(row: &str) -> String {
    let changes = ["Timeticks:", "Counter32:", "Counter64:", "Gauge32:"];
    for kind in changes {
        if let Some((before, _)) = row.split_once(kind) {
            return format!("{before}{kind}");
        }
    }
    row.to_owned()
}

#[tokio::test]
async fn the_system_group_reads_the_same_over_every_version_level_and_algorithm() {
    if !installed() {
        return;
    }
    let agent = Snmpd::start();
    let client = client();
    let names = [system().with(&[2, 0]), system().with(&[4, 0]), system().with(&[5, 0]), system().with(&[6, 0])];
    for (way, credentials) in ways_in() {
        let session = client.session(agent.address(), credentials, patient());
        let got = session.get(&names).await.unwrap_or_else(|error| panic!("{way}: {error}"));
        assert!(got.iter().zip(&names).all(|(binding, name)| binding.oid == *name), "{way}");
        assert_eq!(got[0].value, Value::object_id(oid!(1, 3, 6, 1, 4, 1, 8072, 3, 2, 10)), "{way}");
        assert_eq!(got[1].value, Value::OctetString(b"nobody".to_vec()), "{way}");
        assert_eq!(got[2].value, Value::OctetString(b"platen test agent".to_vec()), "{way}");
        assert_eq!(got[3].value, Value::OctetString(b"under the stairs".to_vec()), "{way}");
        // What is missing is absent, and spoils nothing.
        let got = session.get(&[system().with(&[99, 0]), names[3].clone(), system().with(&[3, 7])]).await.unwrap();
        assert!(!got[0].value.is_present() && !got[2].value.is_present(), "{way}: {got:?}");
        assert_eq!(got[1].value, Value::OctetString(b"under the stairs".to_vec()), "{way}");
        let next = session.get_next(&[system()]).await.unwrap();
        assert_eq!(next[0].oid, system().with(&[1, 0]), "{way}");
    }
}

#[tokio::test]
async fn a_context_name_reaches_the_agent() {
    if !installed() {
        return;
    }
    // The agent is its own neighbour: in this context it has what it would say to a stranger about one object.
    let agent = Snmpd::start_at(
        &["127.0.0.1"],
        "view everything included .1\n\
         rouser privsha256aes priv -V everything floor2\n\
         proxy -Cn floor2 -v2c -c public 127.0.0.1:PORT .1.3.6.1.2.1.1.6\n",
    );
    let client = client();
    let names = [system().with(&[6, 0]), system().with(&[5, 0])];
    let (auth, privacy) = (AuthAlgorithm::Sha256, PrivacyAlgorithm::Aes128);
    let in_context = |context, timing| {
        let (auth, privacy) = ((auth, Secret::from(AUTH_PASSWORD)), (privacy, Secret::from(PRIV_PASSWORD)));
        let user = UsmUser::new("privsha256aes", Some(auth), Some(privacy), context).unwrap();
        client.session(agent.address(), Credentials::V3(user), timing)
    };
    let everywhere = in_context("", patient()).get(&names).await.unwrap();
    assert!(everywhere.iter().all(|binding| binding.value.is_present()), "{everywhere:?}");
    let upstairs = in_context("floor2", patient()).get(&names).await.unwrap();
    assert_eq!(upstairs[0], everywhere[0]);
    assert!(!upstairs[1].value.is_present(), "{upstairs:?}");
    let walk = in_context("floor2", patient()).walk(&system().with(&[6]), WalkLimits::default()).await.unwrap();
    assert_eq!((&walk.varbinds[..], walk.end), (&upstairs[..1], WalkEnd::EndOfMibView));
    // net-snmp says nothing to a context that it does not know; that is no wrong password.
    let timing = Timing { timeout: Duration::from_millis(700), retries: 1 };
    let nowhere = in_context("floor3", timing).get(&names).await.unwrap_err();
    assert_eq!(nowhere, SnmpError::Timeout { target: agent.address(), tries: 2 });
    assert!(nowhere.to_string().contains("context"), "{nowhere}");
}

#[tokio::test]
async fn an_ipv6_address_is_asked_as_any_other() {
    if !installed() {
        return;
    }
    if UdpSocket::bind("[::1]:0").is_err() {
        eprintln!("SKIPPED: this machine has no ::1");
        return;
    }
    let agent = Snmpd::start_at(&["127.0.0.1", "[::1]"], "rocommunity6 public\n");
    let client = client();
    let target = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, agent.port));
    let privacy = user("privsha256aes", Some(AuthAlgorithm::Sha256), Some(PrivacyAlgorithm::Aes128));
    for credentials in [v1(), v2c(), privacy] {
        let over_v4 = client.session(agent.address(), credentials.clone(), patient());
        let over_v6 = client.session(target, credentials, patient());
        let names = [system().with(&[5, 0]), system().with(&[6, 0])];
        assert_eq!(over_v4.get(&names).await.unwrap(), over_v6.get(&names).await.unwrap());
        let walk = over_v6.walk(&system(), WalkLimits::default()).await.unwrap();
        assert!(walk.end == WalkEnd::EndOfSubtree && walk.varbinds.len() > 10, "{walk:?}");
    }
}

/// A table of 3 columns and 400 rows, served by a script at which snmpd asks for one object after the other.
const TABLE: &str = r#"#!/bin/sh
base=.1.3.6.1.4.1.99999.1
while read -r command; do
    case $command in
        PING) echo PONG; continue ;;
        get | getnext) read -r oid ;;
        *) exit ;;
    esac
    rest=${oid#"$base"}; rest=${rest#.}
    column=${rest%%.*}; row=0
    case $rest in *.*) row=${rest#*.}; row=${row%%.*} ;; esac
    [ -n "$column" ] && [ "$column" -gt 0 ] || { column=1; row=0; }
    if [ "$command" = getnext ]; then
        row=$((row + 1))
        [ $row -le 400 ] || { row=1; column=$((column + 1)); }
    fi
    if [ $column -gt 3 ] || [ $row -lt 1 ] || [ $row -gt 400 ]; then echo NONE; continue; fi
    echo "$base.$column.$row"; echo integer; echo $((column * 1000 + row))
done
"#;

#[tokio::test]
async fn a_large_table_comes_whole_in_few_requests_in_every_version() {
    use std::os::unix::fs::PermissionsExt as _;
    if !installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("table");
    std::fs::write(&script, TABLE).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let line = format!("pass_persist .1.3.6.1.4.1.99999.1 /bin/sh {}\n", script.display());
    let agent = Snmpd::start_at(&["127.0.0.1"], &line);
    let root = oid!(1, 3, 6, 1, 4, 1, 99999, 1);
    let expected: Vec<VarBind> = (1..=3u32)
        .flat_map(|column| (1..=400u32).map(move |row| (column, row)))
        .map(|(column, row)| VarBind {
            oid: oid!(1, 3, 6, 1, 4, 1, 99999, 1).with(&[column, row]),
            value: Value::Integer(i64::from(column * 1000 + row)),
        })
        .collect();
    // snmpInPkts counts what the agent was asked.
    let counter = [oid!(1, 3, 6, 1, 2, 1, 11, 1, 0)];
    let privacy = user("privsha256aes", Some(AuthAlgorithm::Sha256), Some(PrivacyAlgorithm::Aes128));
    let limits = WalkLimits { time: Duration::from_secs(120), ..WalkLimits::default() };
    for (way, credentials, most) in [("v1", v1(), 85), ("v2c", v2c(), 60), ("SHA-256 AES", privacy, 60)] {
        let session = client().session(agent.address(), credentials, patient());
        let requests = async || session.get(&counter).await.unwrap()[0].value.as_i64().unwrap();
        let before = requests().await;
        let walk = session.walk(&root, limits).await.unwrap();
        let requests = requests().await - before - 1;
        assert!(walk.end.is_complete(), "{way}: {:?}", walk.end);
        assert_eq!(walk.varbinds, expected, "{way}");
        eprintln!("{way}: 1,200 rows in {requests} requests");
        assert!(requests <= most, "{way}: {requests} requests");
    }
}

#[tokio::test]
async fn walks_bring_row_by_row_what_net_snmps_tools_bring() {
    if !installed() {
        return;
    }
    let agent = Snmpd::start();
    let some = ["v1", "v2c", "noAuthNoPriv", "SHA", "MD5 DES", "SHA AES", "SHA-512 AES-256"];
    for (root, least) in [("1.3.6.1.2.1.1", 20), ("1.3.6.1.2.1", 200), ("1.3.6.1.6.3", 20)] {
        for (way, credentials) in ways_in().into_iter().filter(|(way, _)| some.contains(&way.as_str())) {
            if root == "1.3.6.1.2.1" && !["v1", "v2c", "SHA AES"].contains(&way.as_str()) {
                continue;
            }
            // The machine lives on between two walks (a process starts, a neighbour comes): a difference must stay.
            let mut rows = Err(String::new());
            for _ in 0..4 {
                rows = compare_walks(&agent, &way, credentials.clone(), root).await;
                if rows.is_ok() {
                    break;
                }
            }
            let rows = rows.unwrap_or_else(|difference| panic!("{way} {root}: {difference}"));
            assert!(rows >= least, "{way} {root}: {rows} rows");
            eprintln!("{way}: {rows} rows below {root}, as net-snmp");
        }
    }
}

/// How many rows our walk and net-snmp's have in common, or the first in which they differ.
async fn compare_walks(agent: &Snmpd, way: &str, credentials: Credentials, root: &str) -> Result<usize, String> {
    let limits = WalkLimits { rows: 100_000, time: Duration::from_secs(120), ..WalkLimits::default() };
    let walk = session(agent, credentials).walk(&root.parse().unwrap(), limits).await.unwrap();
    assert!(walk.end.is_complete(), "{way} {root}: {:?}", walk.end);
    let tool = match way {
        "v1" => agent.tool("snmpwalk", &["-v1", "-c", "public", "-Onxe", "-Cc"], root),
        "v2c" => agent.tool("snmpbulkwalk", &["-v2c", "-c", "public", "-Onxe", "-Cr20"], root),
        _ => agent.tool("snmpbulkwalk", &["-v2c", "-c", "public", "-Onxe"], root),
    };
    let ours: Vec<String> = walk.varbinds.iter().map(as_net_snmp_prints).filter(|row| stays(row)).collect();
    let theirs = printed_rows(&tool);
    let theirs: Vec<&String> =
        theirs.iter().filter(|row| stays(row) && !row.contains("No more variables left")).collect();
    for (one, other) in ours.iter().zip(&theirs) {
        let (one, other) = (without_what_changes(one.trim_end()), without_what_changes(other));
        if one != other {
            return Err(format!("{one} is {other} to net-snmp"));
        }
    }
    if ours.len() != theirs.len() {
        return Err(format!("{} rows are {} to net-snmp", ours.len(), theirs.len()));
    }
    Ok(ours.len())
}

#[tokio::test]
async fn a_wrong_user_or_password_is_named() {
    if !installed() {
        return;
    }
    use AuthAlgorithm::{Sha1, Sha256};
    use PrivacyAlgorithm::{Aes128, Aes256, Des};
    let agent = Snmpd::start();
    // Short, for the agent is silent towards what it cannot decrypt.
    let timing = Timing { timeout: Duration::from_millis(700), retries: 1 };
    let client = client();
    let right = Some((Sha1, AUTH_PASSWORD));
    for (credentials, reason) in [
        (user("stranger", Some(Sha1), Some(Aes128)), UsmReport::UnknownUser),
        (user("stranger", None, None), UsmReport::UnknownUser),
        (user_with("authsha", Some((Sha1, "wrong password")), None), UsmReport::WrongDigest),
        (user_with("authsha", Some((Sha256, AUTH_PASSWORD)), None), UsmReport::WrongDigest),
        (
            user_with("privshaaes", Some((Sha1, "wrong password")), Some((Aes128, PRIV_PASSWORD))),
            UsmReport::WrongDigest,
        ),
        (user_with("privshaaes", right, Some((Aes128, "wrong password"))), UsmReport::DecryptionError),
        (user_with("privshaaes", right, Some((Des, PRIV_PASSWORD))), UsmReport::DecryptionError),
        (
            user_with("privshaaes256", right, Some((PrivacyAlgorithm::Aes256Reeder, PRIV_PASSWORD))),
            UsmReport::DecryptionError,
        ),
        (user_with("authsha", right, Some((Aes256, PRIV_PASSWORD))), UsmReport::UnsupportedSecurityLevel),
    ] {
        let who = format!("{credentials:?}");
        let error = client.session(agent.address(), credentials, timing).get(&[system().with(&[3, 0])]).await;
        assert_eq!(error, Err(SnmpError::Refused { target: agent.address(), reason }), "{who}");
    }
    // A level that the agent's access control refuses is an error status, not a silence.
    let low = client.session(agent.address(), user("privshaaes", Some(Sha1), None), patient());
    let error = low.get(&[system().with(&[3, 0])]).await.unwrap_err();
    assert_eq!(error, SnmpError::ErrorStatus { target: agent.address(), status: 16 });
    assert!(error.to_string().contains("authorizationError"), "{error}");
}

#[tokio::test]
async fn a_wrong_community_or_a_silent_address_times_out_and_says_what_to_check() {
    if !installed() {
        return;
    }
    let agent = Snmpd::start();
    let timing = Timing { timeout: Duration::from_millis(50), retries: 1 };
    let name = [system().with(&[3, 0])];
    let wrong = Credentials::V2c { community: "private".into() };
    let error = client().session(agent.address(), wrong, timing).get(&name).await.unwrap_err();
    assert_eq!(error, SnmpError::Timeout { target: agent.address(), tries: 2 });
    assert!(error.to_string().contains("community"), "{error}");
    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for credentials in [v2c(), user("privshaaes", Some(AuthAlgorithm::Sha1), Some(PrivacyAlgorithm::Aes128))] {
        let error = client().session(nobody, credentials, timing).get(&name).await.unwrap_err();
        assert_eq!(error, SnmpError::Timeout { target: nobody, tries: 2 });
    }
}

#[tokio::test]
async fn an_agent_that_restarts_is_followed_whether_it_keeps_its_engine_id_or_not() {
    if !installed() {
        return;
    }
    let mut agent = Snmpd::start();
    let client = client();
    let sessions = [
        user("authsha", Some(AuthAlgorithm::Sha1), None),
        user("privsha256aes", Some(AuthAlgorithm::Sha256), Some(PrivacyAlgorithm::Aes128)),
    ]
    .map(|credentials| client.session(agent.address(), credentials, patient()));
    let engine = [oid!(1, 3, 6, 1, 6, 3, 10, 2, 1, 1, 0), oid!(1, 3, 6, 1, 6, 3, 10, 2, 1, 2, 0)];
    let mut before = sessions[0].get(&engine).await.unwrap();
    sessions[1].get(&engine).await.unwrap();
    for memory in [Memory::Kept, Memory::Lost, Memory::Kept] {
        agent.child.kill().unwrap();
        agent.child.wait().unwrap();
        agent.child = spawn(&agent.folder, memory, &["127.0.0.1"], agent.port);
        let after = sessions[0].get(&engine).await.unwrap();
        assert_eq!(sessions[1].get(&engine).await.unwrap(), after);
        assert_eq!(after[0].value == before[0].value, memory == Memory::Kept, "{memory:?}");
        if memory == Memory::Kept {
            assert!(after[1].value.as_i64() > before[1].value.as_i64(), "{before:?} {after:?}");
        }
        before = after;
    }
}

#[tokio::test]
async fn two_hundred_targets_are_served_by_one_socket() {
    if !installed() {
        return;
    }
    let addresses: Vec<String> = (1..=200).map(|n| format!("127.90.7.{n}")).collect();
    let listen: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let agent = Snmpd::start_at(&listen, "");
    let client = client();
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for address in &addresses {
        let target: SocketAddr = format!("{address}:{}", agent.port).parse().unwrap();
        let session = client.session(target, v2c(), patient());
        tasks.spawn(async move {
            let walk = session.walk(&system(), WalkLimits::default()).await.unwrap();
            (target, walk)
        });
    }
    let walks = tasks.join_all().await;
    assert_eq!(walks.len(), 200);
    let rows: BTreeSet<usize> = walks.iter().map(|(_, walk)| walk.varbinds.len()).collect();
    assert!(walks.iter().all(|(_, walk)| walk.end == WalkEnd::EndOfSubtree), "{rows:?}");
    assert_eq!(rows.len(), 1, "every target answers the same: {rows:?}");
    eprintln!("200 walks of {rows:?} rows took {:?}", start.elapsed());
}
