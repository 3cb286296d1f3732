//! `platen test`, on a network of its own in which each fault is truly made: it says which one it is, in time.
//!
//! Needs root (or a user namespace in which it may be root), ip(8) and net-snmp's snmpd; says so where it is skipped.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed unwrap is a failed test

mod common;

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::beside::{BLACK_HOLE, Beside, NAME_SERVER, at};
use common::faults::{Fault as LineFault, FaultProxy};
use common::pki::{Ca, Issued};
use common::stand_in::{SignedBy, StandIn};
use common::{Peer, have, text, wait_until};
use platen::cloud::{self, CloudConfig, RunningCloud};
use platen::enroll::IdentityFolder;
use platen::uplink::TlsIdentity;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const H2: &[&[u8]] = &[b"h2", b"http/1.1"];
/// How long a test may take, and what a busy machine adds.
const TIME_MAX: Duration = Duration::from_secs(45 + 30);

/// One fault, and how it is to be named.
#[derive(Clone, Copy)]
struct Fault {
    /// The kind that it is of.
    kind: &'static str,
    /// What was done.
    name: &'static str,
    /// The step that notices it, "fail" or "warn", and the word.
    expected: (&'static str, &'static str, &'static str),
    /// What stands in the detail, too.
    detail: &'static str,
}

const fn fault(
    kind: &'static str,
    name: &'static str,
    expected: (&'static str, &'static str, &'static str),
    detail: &'static str,
) -> Fault {
    Fault { kind, name, expected, detail }
}

/// How a box is configured.
struct Device<'a> {
    net: &'a Beside,
    folder: tempfile::TempDir,
    grpc: String,
    mqtt: Option<String>,
    relay: Option<String>,
    proxy: Option<String>,
    /// The file of pinned roots of a box that is nobody's yet.
    roots: Option<String>,
    name_server: &'static str,
    printer: Option<&'static str>,
}

impl<'a> Device<'a> {
    /// A box whose cloud is host `number` of the world.
    fn new(net: &'a Beside, number: u8) -> Self {
        Self {
            net,
            folder: tempfile::tempdir().unwrap(),
            grpc: format!("https://h{number}.cloud.test"),
            mqtt: None,
            relay: None,
            proxy: None,
            roots: None,
            name_server: NAME_SERVER,
            printer: None,
        }
    }

    fn data(&self) -> std::path::PathBuf {
        self.folder.path().join("data")
    }

    /// Gives it an identity as it lies on the disk.
    fn is(self, identity: &TlsIdentity) -> Self {
        lay_down(&self.data(), identity);
        self
    }

    fn config(&self) -> String {
        let optional = |key: &str, value: &Option<String>| {
            value.as_ref().map(|value| format!("{key} = \"{value}\"\n")).unwrap_or_default()
        };
        let mqtt = self.mqtt.clone().unwrap_or_else(|| format!("{}/mqtt", self.grpc.replace("https", "wss")));
        format!(
            "data_dir = \"{}\"\nruntime_dir = \"{}\"\n[cloud]\nroot_domain = \"cloud.test\"\ngrpc = \"{}\"\nmqtt = \"{mqtt}\"\n{}{}{}",
            self.data().display(),
            self.folder.path().join("run").display(),
            self.grpc,
            optional("relay", &self.relay),
            optional("proxy", &self.proxy),
            optional("roots", &self.roots),
        )
    }

    /// Runs the test as a person does; the exit code and what it said.
    fn test(&self, more: &[&str]) -> (Option<i32>, String) {
        let config = self.folder.path().join("platen.toml");
        std::fs::write(&config, self.config()).unwrap();
        let config = config.display().to_string();
        let mut arguments = vec!["test", "--config", &config];
        arguments.extend(self.printer.iter().flat_map(|printer| ["--printer", printer]));
        arguments.extend(more);
        let began = Instant::now();
        let output = self.net.platen(self.folder.path(), self.name_server, &arguments);
        assert!(began.elapsed() < TIME_MAX, "{:?}: {}", began.elapsed(), text(&output));
        (output.status.code(), text(&output))
    }

    /// Runs the test and looks whether the fault is named right, and nothing else is said to be wrong.
    fn names(&self, fault: Fault) -> Named {
        let (code, said) = self.test(&["--json"]);
        let report: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{}: {said}", fault.name));
        let steps = report["steps"].as_array().unwrap();
        let found: Vec<&Value> =
            steps.iter().filter(|step| step["outcome"] == "fail" || step["outcome"] == "warn").collect();
        let (step, outcome, cause) = fault.expected;
        let is_right = matches!(found[..], [one] if one["step"] == step && one["outcome"] == outcome && one["cause"] == cause
            && one["detail"].as_str().unwrap().contains(fault.detail)
            && !one["remedy"].as_str().unwrap().is_empty());
        let ended =
            if outcome == "fail" { ("failed", Value::from(cause), Some(1)) } else { ("passed", Value::Null, Some(0)) };
        let is_right = is_right && (report["verdict"].as_str().unwrap(), report["cause"].clone(), code) == ended;
        let took_ms: u64 = steps.iter().filter_map(|step| step["took_ms"].as_u64()).sum();
        let found: Vec<String> = found.iter().map(|step| step.to_string()).collect();
        Named { fault, is_right, took_ms, said: found.join(" ") }
    }
}

/// An identity as it lies on the disk.
fn lay_down(data: &Path, identity: &TlsIdentity) {
    let text = |pem: &[u8]| String::from_utf8(pem.to_vec()).unwrap();
    std::fs::create_dir_all(data.join("identity")).unwrap();
    std::fs::write(data.join("identity/request.key"), &*identity.private_key_pem).unwrap();
    let (chain, roots) = (text(&identity.certificate_chain_pem), text(&identity.roots_pem));
    IdentityFolder::in_data_dir(data).install("box-1", &chain, &roots).unwrap();
}

/// What became of a fault.
struct Named {
    fault: Fault,
    is_right: bool,
    took_ms: u64,
    said: String,
}

fn today() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 86_400
}

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// Faults of the cable, the address and names, and of TCP.
fn faults_of_the_network() -> Option<Vec<Named>> {
    let net = Beside::new("n")?;
    net.start_name_server();
    let plain = Device::new(&net, 10);
    let mut all = Vec::new();
    let mut with = |fault: Fault, make: &[&str], undo: &[&str]| {
        make.iter().for_each(|words| net.ip(words));
        all.push(plain.names(fault));
        undo.iter().for_each(|words| net.ip(words));
        net.give_address();
    };
    let (a, b) = (net.box_side(), net.world());
    let on = |side: &str, words: &str| format!("-n {side} {words}");
    // Whoever has no cable has nothing at the other end.
    with(
        fault("no link", "the cable is unplugged", ("link", "fail", "no-link"), "lan0: no carrier"),
        &[&on(&b, "link set lan0 down")],
        &[&on(&b, "link set lan0 up"), &on(&b, "addr replace 10.66.0.254/24 dev lan0")],
    );
    with(
        fault("no link", "the interface is switched off", ("link", "fail", "no-link"), "lan0: switched off"),
        &[&on(&a, "link set lan0 down")],
        &[&on(&a, "link set lan0 up")],
    );
    with(
        fault("no address", "DHCP gave none", ("address", "fail", "no-address"), ""),
        &[&on(&a, "addr flush dev lan0")],
        &[],
    );
    with(
        fault("no address", "only a link-local one", ("address", "fail", "no-address"), "169.254.7.7"),
        &[&on(&a, "addr flush dev lan0"), &on(&a, "addr add 169.254.7.7/16 dev lan0")],
        &[&on(&a, "addr flush dev lan0")],
    );
    with(
        fault("no gateway", "no default route", ("gateway", "fail", "no-gateway"), ""),
        &[&on(&a, "route del default")],
        &[],
    );
    with(
        fault("gateway silent", "it does not answer ARP", ("gateway", "fail", "gateway-silent"), "10.66.0.99"),
        &[&on(&a, "route replace default via 10.66.0.99")],
        &[],
    );

    let deaf = Device { name_server: BLACK_HOLE, ..Device::new(&net, 10) };
    all.push(deaf.names(fault("dns", "no DNS server answers", ("dns", "fail", "dns-silent"), BLACK_HOLE)));
    let unknown = Device { grpc: "https://nobody.cloud.test".to_owned(), ..Device::new(&net, 10) };
    all.push(unknown.names(fault("dns", "there is no such name", ("dns", "fail", "dns"), "nobody.cloud.test")));
    let proxy = |address: String| Device { proxy: Some(address), ..Device::new(&net, 10) };
    let nowhere = proxy(format!("{BLACK_HOLE}:3128"));
    all.push(nowhere.names(fault("proxy", "the proxy does not answer", ("proxy", "fail", "proxy"), "")));
    let closed = proxy("192.0.2.10:3128".to_owned());
    all.push(closed.names(fault("proxy", "the proxy's port is closed", ("proxy", "fail", "proxy"), "192.0.2.10:3128")));
    net.keep(answers(
        at(11, 3128),
        b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n",
    ));
    let strict = proxy("192.0.2.11:3128".to_owned());
    let wants = fault("proxy", "the proxy wants a log-in", ("proxy", "fail", "proxy-407"), "no user and password");
    wait_until("the proxy", || net.serve(async { tokio::net::TcpStream::connect(at(11, 3128)).await.is_ok() }));
    all.push(strict.names(wants));
    all.push(Device::new(&net, 99).names(fault(
        "tcp 443",
        "packets are dropped",
        ("tcp-443", "fail", "tcp"),
        "dropped",
    )));
    all.push(plain.names(fault("tcp 443", "the port is closed", ("tcp-443", "fail", "tcp"), "refused")));
    Some(all)
}

/// Says this to whoever connects.
async fn greets(address: std::net::SocketAddr, words: &'static [u8]) {
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    while let Ok((mut stream, _)) = listener.accept().await {
        let _ = stream.write_all(words).await;
    }
}

/// Answers whoever connects with this.
async fn answers(address: std::net::SocketAddr, answer: &'static [u8]) {
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut some = [0; 2_048];
            let _ = stream.read(&mut some).await;
            let _ = stream.write_all(answer).await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        });
    }
}

/// Faults of what answers in the cloud's place, or of its certificate. Behind it there is no MQTT.
fn faults_of_tls() -> Option<Vec<Named>> {
    let net = Beside::new("t")?;
    net.start_name_server();
    let (ca, inspector) = (Ca::new("root"), Ca::new("ACME TLS Inspection"));
    let mut all = Vec::new();
    let days =
        |from: i64, until: i64| Some((today().saturating_add_signed(from), today().saturating_add_signed(until)));
    let mut kept = Vec::new();
    // A cloud that shows this, at host `number`; and a box that believes our authority, and this key for the time.
    let mut cloud = |number: u8, shown: Issued, lies: bool| {
        let key = SignedBy::new();
        let identity = ca.identity(&format!("{}{}", ca.root_pem(), key.public_pem()));
        let tls = ca.server(&shown, H2);
        let stand_in = net.serve(StandIn::start_at(at(number, 443), tls, now_ms(), key));
        if lies {
            stand_in.state.sign_by_another();
        }
        kept.push(stand_in);
        Device::new(&net, number).is(&identity)
    };
    let not_yet = cloud(11, ca.issue("h11.cloud.test", days(2, 9)), true);
    all.push(not_yet.names(fault(
        "clock",
        "it is behind, and the time is not signed",
        ("grpc", "fail", "clock"),
        "not signed",
    )));
    let inspected = cloud(12, inspector.issue("h12.cloud.test", None), false);
    all.push(inspected.names(fault(
        "tls inspected",
        "by another authority",
        ("tls", "fail", "tls-inspected"),
        "CN=ACME TLS Inspection",
    )));
    let expired = cloud(13, ca.issue("h13.cloud.test", days(-9, -2)), false);
    all.push(expired.names(fault("certificate", "it has expired", ("grpc", "fail", "tls-expired"), "valid until")));
    let wrong = cloud(14, ca.issue("other.cloud.test", None), false);
    all.push(wrong.names(fault(
        "certificate",
        "for another name",
        ("tls", "fail", "tls-wrong-name"),
        "h14.cloud.test",
    )));
    net.keep(answers(at(15, 443), b"HTTP/1.1 302 Found\r\nLocation: http://login.hotel/\r\n\r\n"));
    wait_until("the portal", || net.serve(async { tokio::net::TcpStream::connect(at(15, 443)).await.is_ok() }));
    let portal = Device::new(&net, 15).is(&ca.identity(&ca.root_pem()));
    all.push(portal.names(fault("captive portal", "a page answers", ("tls", "fail", "captive-portal"), "302 Found")));
    a_clock_that_is_behind_is_set(&net, &ca);
    nobodys_box_is_tested_as_far_as_it_can_be(&net, &ca);
    Some(all)
}

/// The cloud's certificate is of tomorrow by the box's clock, and the cloud says, signed, that it is three days later.
fn a_clock_that_is_behind_is_set(net: &Beside, ca: &Ca) {
    let key = SignedBy::new();
    let identity = ca.identity(&format!("{}{}", ca.root_pem(), key.public_pem()));
    let shown = ca.issue("h16.cloud.test", Some((today() + 2, today() + 9)));
    let _cloud = net.serve(StandIn::start_at(at(16, 443), ca.server(&shown, H2), now_ms() + 3 * 86_400_000, key));
    let (code, said) = Device::new(net, 16).is(&identity).test(&[]);
    let expected = ["the clock must be set first", "(h2); the box's clock was 259", " s behind", "passed"];
    assert!(code == Some(0) && expected.iter().all(|words| said.contains(words)), "{said}");
}

fn nobodys_box_is_tested_as_far_as_it_can_be(net: &Beside, ca: &Ca) {
    let shown = ca.issue("h17.cloud.test", None);
    let tls = Ca::server_for_all(&shown, H2);
    let cloud = net.serve(StandIn::start_at(at(17, 443), tls, now_ms(), SignedBy::new()));
    let without = Device::new(net, 17);
    let (code, said) = without.test(&[]);
    let expected = ["tcp-443     ok", "tls         skip: unclaimed", "grpc        skip: unclaimed", "passed"];
    assert!(code == Some(0) && expected.iter().all(|words| said.contains(words)), "{said}");
    for (root, code, expected) in [
        (ca.root_pem(), Some(0), ["tls         ok", "grpc        skip: unclaimed", "passed"]),
        (
            Ca::new("another").root_pem(),
            Some(1),
            ["tls-inspected (by CN=root", "grpc        not tried", "failed: tls-inspected"],
        ),
    ] {
        let device = Device::new(net, 17);
        let roots = device.folder.path().join("roots.pem");
        std::fs::write(&roots, root).unwrap();
        let device = Device { roots: Some(roots.display().to_string()), ..device };
        let (exit, said) = device.test(&[]);
        assert!(exit == code && expected.iter().all(|words| said.contains(words)), "{said}");
    }
    assert_eq!(cloud.state.calls(), [""; 0]);
}

/// The reference cloud with its broker, a relay and a printer, all well; and the faults of what the box can do without.
struct Well {
    net: Beside,
    cloud: Arc<RunningCloud>,
    folder: tempfile::TempDir,
    _printer: Peer,
}

impl Well {
    fn new(name: &str) -> Option<Self> {
        if !have("snmpd") {
            return None;
        }
        let net = Beside::new(name)?;
        net.start_name_server();
        let folder = tempfile::tempdir().unwrap();
        let config = CloudConfig {
            data_dir: folder.path().join("cloud"),
            device_addr: at(10, 443),
            portal_addr: ([127, 0, 0, 1], 0).into(),
            server_names: vec!["h10.cloud.test".to_owned(), "h20.cloud.test".to_owned()],
            poll_interval_s: 300,
        };
        let cloud = Arc::new(net.serve(cloud::start(config)).unwrap());
        net.keep(greets(at(10, 22), b"SSH-2.0-relay\r\n"));
        let printer = agent(&net, folder.path());
        Some(Self { net, cloud, folder, _printer: printer })
    }

    /// A box that the cloud knows; and its id.
    fn enrolled(&self) -> (Device<'_>, String) {
        let device = Device::new(&self.net, 10);
        let identity = IdentityFolder::in_data_dir(&device.data());
        let request = identity.request().unwrap();
        let cloud = self.cloud.clone();
        let issued = self.net.serve(async move { cloud.issue_box(&request, "box").await.unwrap() });
        identity.install(&issued.box_id, &issued.certificate_pem, &issued.root_pem).unwrap();
        let relay = Some("ssh://h10.cloud.test".to_owned());
        (Device { relay, printer: Some("printer.test"), ..device }, issued.box_id)
    }
}

/// A printer at 10.66.0.20.
fn agent(net: &Beside, folder: &Path) -> Peer {
    let world = net.world();
    net.ip(&format!("-n {world} addr add 10.66.0.20/24 dev lan0"));
    let config = folder.join("snmpd.conf");
    std::fs::write(&config, "rocommunity public\nsysDescr A printer\n").unwrap();
    snmpd(net, folder, &config, "udp:10.66.0.20:161")
}

fn snmpd(net: &Beside, folder: &Path, config: &Path, listen: &str) -> Peer {
    let mut command = net.within(&net.world(), "snmpd");
    command.args(["-f", "-Lo", "-C", "-r", "-p"]).arg(config.with_extension("pid")).arg("-c").arg(config).arg(listen);
    command.env("MIBS", "").env("SNMP_PERSISTENT_DIR", folder);
    Peer(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

fn faults_behind_tls() -> Option<Vec<Named>> {
    let well = Well::new("c")?;
    let net = &well.net;
    let mut all = Vec::new();
    let (device, _) = well.enrolled();
    // First without any fault, so that each of the following is the only one.
    wait_until("the printer", || device.test(&[]).0 == Some(0));
    let (code, said) = device.test(&[]);
    println!("{said}");
    assert!(said.trim_end().ends_with("\npassed") && code == Some(0) && !said.contains("WARN"), "{said}");
    let steps: Vec<&str> = said.lines().filter_map(|line| line.split(' ').next()).collect();
    let expected = [
        "link", "address", "gateway", "dns", "time", "proxy", "tcp-443", "tcp-22", "tls", "grpc", "mqtt", "ssh", "snmp",
    ];
    assert_eq!(steps[..13], expected);
    assert!(said.contains("SSH-2.0-relay") && said.contains("A printer"), "{said}");

    let (turned_away, id) = well.enrolled();
    let cloud = well.cloud.clone();
    assert!(net.serve(async move { cloud.revoke(&id).await.unwrap() }));
    all.push(turned_away.names(fault("refused", "the box was turned away", ("grpc", "fail", "refused"), "")));

    // The cloud once more, behind a line that breaks whoever offers HTTP/2.
    let line = net.serve(FaultProxy::between(at(20, 443), at(10, 443)));
    line.set(LineFault::ResetHttp2);
    let (other, _) = well.enrolled();
    let other = Device { grpc: "https://h20.cloud.test".to_owned(), ..other };
    all.push(other.names(fault("protocols", "HTTP/2 is broken", ("http2", "warn", "http2-blocked"), "")));
    let (device, _) = well.enrolled();
    let by_port = Device { mqtt: Some("mqtts://h99.cloud.test".to_owned()), ..device };
    all.push(by_port.names(fault(
        "protocols",
        "MQTT's port is filtered",
        ("tcp-8883", "warn", "mqtt-blocked"),
        "dropped",
    )));
    let (device, _) = well.enrolled();
    let no_socket = Device { mqtt: Some("wss://h10.cloud.test/elsewhere".to_owned()), ..device };
    all.push(no_socket.names(fault("protocols", "no WebSocket passes", ("mqtt", "warn", "mqtt-blocked"), "WebSocket")));
    let ssh = |relay: &str| Device { relay: Some(relay.to_owned()), ..well.enrolled().0 };
    all.push(ssh("ssh://h99.cloud.test").names(fault(
        "protocols",
        "SSH is filtered",
        ("tcp-22", "warn", "ssh-blocked"),
        "dropped",
    )));
    all.push(ssh("ssh://h11.cloud.test").names(fault(
        "protocols",
        "SSH is closed",
        ("tcp-22", "warn", "ssh-blocked"),
        "refused",
    )));

    let other_printer = |printer| {
        let (device, _) = well.enrolled();
        Device { printer: Some(printer), ..device }
    };
    all.push(other_printer("10.66.0.77").names(fault(
        "printer",
        "nobody is there",
        ("snmp", "fail", "silent"),
        "10.66.0.77",
    )));
    let config = well.folder.path().join("other.conf");
    std::fs::write(&config, "rocommunity sesame\nsysDescr A printer\n").unwrap();
    let _strict = snmpd(net, well.folder.path(), &config, "udp:10.66.0.20:1161");
    let secret = fault("printer", "another community", ("snmp", "fail", "wrong-credentials"), "10.66.0.20:1161");
    let strict = other_printer("10.66.0.20:1161");
    // The other agent has begun to listen when it is not silent any more.
    wait_until("the strict printer", || {
        !strict.test(&[]).1.contains("silent") && !strict.test(&[]).1.contains("ping-only")
    });
    all.push(strict.names(secret));
    all.push(other_printer("192.0.2.1").names(fault(
        "printer",
        "outside of the fence",
        ("snmp", "fail", "outside-fence"),
        "192.0.2.1",
    )));
    Some(all)
}

#[test]
fn of_14_kinds_of_faults_each_is_named_right_14_of_14() {
    let groups = std::thread::scope(|scope| {
        [faults_of_the_network as fn() -> Option<Vec<Named>>, faults_of_tls, faults_behind_tls]
            .map(|group| scope.spawn(group))
            .map(|group| group.join().unwrap())
    });
    let [Some(network), Some(tls), Some(behind)] = groups else { return };
    let all: Vec<Named> = network.into_iter().chain(tls).chain(behind).collect();
    let mut kinds: Vec<&str> = Vec::new();
    for Named { fault, is_right, took_ms, said } in &all {
        let seconds = Duration::from_millis(*took_ms).as_secs_f64();
        let (_, _, word) = fault.expected;
        println!(
            "{:<16} {:<44} {} {word} {seconds:.1} s",
            fault.kind,
            fault.name,
            if *is_right { "ok   " } else { "WRONG" }
        );
        if !is_right {
            println!("    expected {:?} \"{}\", found {said}", fault.expected, fault.detail);
        }
        kinds.extend((!kinds.contains(&fault.kind)).then_some(fault.kind));
    }
    let right =
        kinds.iter().filter(|kind| all.iter().all(|named| named.fault.kind != **kind || named.is_right)).count();
    let of_all = all.iter().filter(|named| named.is_right).count();
    println!("{right} of {} kinds of faults named right ({of_all} of {} faults)", kinds.len(), all.len());
    assert_eq!((right, kinds.len(), of_all), (14, 14, all.len()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cloud_on_this_machine_needs_no_cable() {
    let (ca, key) = (Ca::new("root"), SignedBy::new());
    let identity = ca.identity(&format!("{}{}", ca.root_pem(), key.public_pem()));
    let tls = ca.server(&ca.issue("localhost", None), H2);
    let cloud = StandIn::start_at(([127, 0, 0, 1], 0).into(), tls, now_ms(), key).await;
    let folder = tempfile::tempdir().unwrap();
    lay_down(folder.path(), &identity);
    let (at, port) = (folder.path().display(), cloud.port);
    let config = format!(
        "data_dir = \"{at}\"\nruntime_dir = \"{at}\"\n[cloud]\nroot_domain = \"localhost\"\n\
         grpc = \"https://localhost:{port}\"\nmqtt = \"wss://localhost:{port}/mqtt\"\n"
    );
    let file = folder.path().join("platen.toml");
    std::fs::write(&file, config).unwrap();
    let mut test = tokio::process::Command::new(env!("CARGO_BIN_EXE_platen"));
    let output = test.args(["test", "--config"]).arg(&file).output().await.unwrap();
    let said = text(&output);
    let skipped = said.lines().filter(|line| line.ends_with("skip: the cloud is on this machine")).count();
    assert!(skipped == 3 && said.contains("WARN") && said.ends_with("passed\n") && output.status.success(), "{said}");
    // Nothing was said of the box: it may be another that polls.
    assert_eq!(cloud.state.calls(), ["GetTime", "GetTime", "UploadReadings"]);
    std::fs::write(&file, "data_dir = 7").unwrap();
    let output = test.output().await.unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
}
