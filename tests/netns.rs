//! On a network of its own: two network namespaces and a cable between them. What the box's search puts on the wire is
//! captured and counted: no packet leaves the fence, whatever ranges, exclusions and names say; an address at which nobody
//! lives costs three ARP broadcasts and no more; and the kernel's neighbour table does not overflow, whatever pace is asked
//! for. What routers say of networks and hosts that cannot be reached is heeded.
//!
//! Needs root (or a user namespace in which it may be root), ip(8) and net-snmp's snmpd; says so where it is skipped.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed unwrap is a failed test

mod common;

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::{Peer, have, text};

/// Captures every frame that the box sends, one line each: `arp ADDRESS`, `udp ADDRESS PORT`, `icmp ADDRESS`, `other …`.
const CAPTURE: &str = r#"
import socket, struct, sys
frames = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
frames.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
frames.bind((sys.argv[1], 0))
own = frames.getsockname()[4]
print("ready", flush=True)
while True:
    frame = frames.recv(65536)
    if frame[6:12] != own:
        continue
    kind = struct.unpack("!H", frame[12:14])[0]
    body = frame[14:]
    if kind == 0x0806 and struct.unpack("!H", body[6:8])[0] == 1:
        print("arp", socket.inet_ntoa(body[24:28]), flush=True)
    elif kind == 0x0806:
        print("arp-answer", flush=True)
    elif kind == 0x0800:
        to, head = socket.inet_ntoa(body[16:20]), (body[0] & 15) * 4
        port = struct.unpack("!H", body[head + 2:head + 4])[0] if body[9] == 17 else 0
        print({17: "udp", 1: "icmp", 2: "igmp", 6: "tcp"}.get(body[9], "ip"), to, port, flush=True)
    elif kind == 0x86dd:
        print("ipv6", body[6], socket.inet_ntop(socket.AF_INET6, body[24:40]), flush=True)
    else:
        print("other", hex(kind), flush=True)
"#;

/// The kernel has one table of neighbours for all namespaces, so the tests of this file go one after the other.
static TABLE: Mutex<()> = Mutex::new(());

/// Names of a printer within the fence, of one that is left out, and of what lies outside of the fence.
const HOSTS: &str = "10.66.0.200 printer.example\n10.66.0.77 private.example\n192.0.2.77 outside.example\n\
                     10.66.0.9 two.example\n10.67.0.9 two.example\n";

/// Two namespaces, deleted at the end.
struct Net {
    name: String,
    _table: MutexGuard<'static, ()>,
}

impl Net {
    /// The box at 10.66.0.1, the printers' side at whatever is added. Everything else goes to a router at 10.66.0.254, so
    /// that what must not leave the fence could leave it.
    fn new(test: &str, prefix: u8) -> Option<Self> {
        if !have("ip") || !have("snmpd") || !have("python3") {
            return None;
        }
        let name = format!("pl{}{test}", std::process::id());
        if !command("ip", &["netns", "add", &format!("{name}a")]).status.success() {
            assert!(
                std::env::var_os("PLATEN_REQUIRE_PEERS").is_none() || text(&command("id", &["-u"])).trim() != "0",
                "no network namespace can be made, although this is root"
            );
            eprintln!("SKIPPED: no network namespace can be made here (not root?)");
            return None;
        }
        let net = Self { name, _table: TABLE.lock().unwrap_or_else(PoisonError::into_inner) };
        let (a, b) = (net.box_side(), net.printers_side());
        net.ip(&["netns", "add", &b]);
        for side in [&a, &b] {
            net.ip(&["-n", side, "link", "set", "lo", "up"]);
        }
        net.cable("lan0");
        net.ip(&["-n", &a, "addr", "add", &format!("10.66.0.1/{prefix}"), "dev", "lan0"]);
        net.ip(&["-n", &b, "addr", "add", &format!("10.66.0.254/{prefix}"), "dev", "lan0"]);
        net.ip(&["-n", &a, "route", "add", "default", "via", "10.66.0.254"]);
        Some(net)
    }

    /// A cable between both sides.
    fn cable(&self, interface: &str) {
        let (a, b) = (self.box_side(), self.printers_side());
        self.ip(&["link", "add", interface, "netns", &a, "type", "veth", "peer", "name", interface, "netns", &b]);
        for side in [&a, &b] {
            self.ip(&["-n", side, "link", "set", interface, "up"]);
        }
    }

    fn box_side(&self) -> String {
        format!("{}a", self.name)
    }

    fn printers_side(&self) -> String {
        format!("{}b", self.name)
    }

    fn ip(&self, arguments: &[&str]) {
        let output = command("ip", arguments);
        assert!(output.status.success(), "ip {arguments:?}: {}", text(&output));
    }

    fn within(&self, side: &str, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", side, program]);
        command
    }

    /// An agent of net-snmp at an address of the printers' side: of IPv4, or a link-local one behind an interface
    /// (`fe80::77%lan0`). Its sysObjectID says which.
    fn agent(&self, folder: &Path, address: &str) -> Peer {
        let (ip, interface) = address.split_once('%').unwrap_or((address, "lan0"));
        let (listen, prefix) =
            if ip.contains(':') { (format!("udp6:[{address}]:161"), 64) } else { (format!("udp:{address}:161"), 24) };
        let side = self.printers_side();
        let mut add = vec!["-n", &side, "addr", "add"];
        let network = format!("{ip}/{prefix}");
        add.extend([&network, "dev", interface]);
        // Otherwise the kernel first asks for a second whether somebody has it.
        add.extend(ip.contains(':').then_some("nodad"));
        self.ip(&add);
        let config = folder.join(format!("snmpd-{}.conf", address.replace([':', '.', '%'], "-")));
        let options =
            format!("rocommunity public\nrocommunity6 public\nsysDescr agent\nsysObjectID .{}\n", sign(address));
        std::fs::write(&config, options).unwrap();
        let snmpd = self
            .within(&self.printers_side(), "snmpd")
            .args(["-f", "-Lo", "-C", "-r", "-p"])
            .arg(folder.join("snmpd.pid"))
            .arg("-c")
            .arg(&config)
            .arg(&listen)
            .env("MIBS", "")
            .env("SNMP_PERSISTENT_DIR", folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Peer(snmpd)
    }

    /// Runs the firmware on the box's side, where these names are known: as everything that `ip netns exec` runs, it has
    /// mounts of its own.
    fn platen(&self, folder: &Path, arguments: &[&str]) -> Output {
        let hosts = folder.join("hosts");
        std::fs::write(&hosts, HOSTS).unwrap();
        self.within(&self.box_side(), "sh")
            .args(["-c", r#"mount --bind "$0" /etc/hosts && exec "$@""#])
            .arg(&hosts)
            .arg(env!("CARGO_BIN_EXE_platen"))
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Runs something while every frame of the box is captured.
    fn captured(&self, folder: &Path, act: impl FnOnce()) -> Vec<String> {
        let script = folder.join("capture.py");
        std::fs::File::create(&script).unwrap().write_all(CAPTURE.as_bytes()).unwrap();
        let lines = folder.join("frames.txt");
        let capture = self
            .within(&self.box_side(), "python3")
            .arg(&script)
            .arg("lan0")
            .stdout(std::fs::File::create(&lines).unwrap())
            .spawn()
            .unwrap();
        let capture = Peer(capture);
        let read = || std::fs::read_to_string(&lines).unwrap();
        common::wait_until("capturing", || read().starts_with("ready"));
        act();
        // The kernel asks for an address three times, a second apart.
        std::thread::sleep(std::time::Duration::from_secs(4));
        drop(capture);
        read().lines().skip(1).map(str::to_owned).collect()
    }
}

/// An address as the sysObjectID of the agent there.
fn sign(address: &str) -> String {
    let arcs: Vec<String> = address.bytes().map(|byte| byte.to_string()).collect();
    format!("1.3.6.1.4.1.8072.{}", arcs.join("."))
}

/// How often the kernel's neighbour table was full (table_fulls of all processors; all namespaces share it). `None` where
/// the kernel does not show it.
fn overflows() -> Option<u64> {
    let table = std::fs::read_to_string("/proc/net/stat/arp_cache").ok()?;
    let mut lines = table.lines();
    let column = lines.next()?.split_whitespace().position(|name| name == "table_fulls")?;
    lines.map(|line| u64::from_str_radix(line.split_whitespace().nth(column)?, 16).ok()).sum()
}

impl Drop for Net {
    fn drop(&mut self) {
        for side in [self.box_side(), self.printers_side()] {
            let _gone = command("ip", &["netns", "del", &side]);
        }
    }
}

fn command(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).output().unwrap()
}

fn count(frames: &[String], kind: &str) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for frame in frames.iter().filter_map(|frame| frame.strip_prefix(kind)) {
        let address = frame.split_whitespace().next().unwrap_or_default().to_owned();
        *counts.entry(address).or_default() += 1;
    }
    counts
}

#[test]
fn a_search_costs_three_broadcasts_for_each_dead_address_and_stays_within_the_fence() {
    let Some(net) = Net::new("s", 24) else { return };
    let folder = tempfile::tempdir().unwrap();
    let agents = ["10.66.0.7", "10.66.0.77", "10.66.0.200", "10.99.0.5"];
    let _agents: Vec<Peer> = agents.iter().map(|address| net.agent(folder.path(), address)).collect();
    // Ranges far wider than the fence, the first and the last address of the network, an exclusion by its name, neighbours
    // of the fence, names that lead out of it, and a network behind the router.
    let arguments = [
        "scan",
        "10.66.0.0-10.66.0.255",
        "10.66.1.0/28",
        "192.0.2.0/28",
        "127.5.0.0/30",
        "printer.example",
        "outside.example",
        "two.example",
        "!private.example",
        "10.99.0.0/28",
        "--fence",
        "10.66.0.0-10.66.0.255",
        "--fence",
        "10.99.0.0/29",
        "--json",
    ];
    let (before, mut said) = (overflows(), String::new());
    let mut took = std::time::Duration::ZERO;
    let frames = net.captured(folder.path(), || {
        let begin = std::time::Instant::now();
        said = text(&net.platen(folder.path(), &arguments));
        took = begin.elapsed();
    });
    let (arp, udp) = (count(&frames, "arp "), count(&frames, "udp "));

    // Only the fence, without the exclusion, without the network's and everybody's address, and without the box itself.
    for address in arp.keys().chain(udp.keys()) {
        let is_attached = address.strip_prefix("10.66.0.").is_some_and(|last| !["0", "1", "255", "77"].contains(&last));
        let is_routed = address.strip_prefix("10.99.0.").is_some_and(|last| ("1"..="6").contains(&last));
        assert!(is_attached || is_routed, "{address} was asked ({said})");
        assert!(
            is_attached || !arp.contains_key(address),
            "{address} lies behind a router: nobody asks for its hardware"
        );
    }
    let others: Vec<_> = frames
        .iter()
        .filter(|frame| !["arp ", "udp ", "arp-answer", "ipv6 ", "igmp "].iter().any(|kind| frame.starts_with(kind)))
        .collect();
    assert!(others.is_empty(), "{others:?}");
    // IPv6 is the kernel's own: neighbour discovery and multicast listeners (58 and 0), to multicast addresses.
    for frame in frames.iter().filter_map(|frame| frame.strip_prefix("ipv6 ")) {
        assert!(["58 ff02:", "0 ff02:"].iter().any(|own| frame.starts_with(own)), "{frame}");
    }

    // Every address was asked; the dead by three broadcasts and never by a datagram, the living by datagrams.
    let dead: Vec<_> = (1..255).filter(|last| ![1, 7, 77, 200, 254].contains(last)).collect();
    for last in &dead {
        let address = format!("10.66.0.{last}");
        let broadcasts = arp.get(&address).copied().unwrap_or(0);
        assert!((1..=3).contains(&broadcasts), "{address}: {broadcasts} ARP broadcasts");
        assert!(!udp.contains_key(&address));
    }
    let in_all: usize = dead.iter().filter_map(|last| arp.get(&format!("10.66.0.{last}"))).sum();
    assert!(in_all >= dead.len() * 3 - 6, "{in_all} broadcasts for {} dead addresses", dead.len());
    // Somebody behind the router whom nobody knows to be absent is asked in every pass: v2c, v1 and once more.
    let behind: Vec<usize> = (1..7).map(|last| udp.get(&format!("10.99.0.{last}")).copied().unwrap_or(0)).collect();
    assert_eq!(behind, [4, 4, 4, 4, behind[4], 4]);
    assert!(["10.66.0.7", "10.66.0.200", "10.99.0.5"].iter().all(|alive| udp[*alive] >= 1), "{udp:?}");
    assert_eq!(overflows(), before, "the neighbour table was full");
    eprintln!(
        "{} dead addresses, {in_all} ARP broadcasts, {} addresses got datagrams; the search took {:.1} s",
        dead.len(),
        udp.len(),
        took.as_secs_f64()
    );
}

#[test]
fn a_pace_that_the_kernel_cannot_bear_is_not_kept() {
    let Some(net) = Net::new("p", 22) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (before, mut said) = (overflows(), String::new());
    // With the kernel's usual table, of 1,024 places, ten thousand a second would ask a third of them at most.
    let arguments = ["scan", "10.66.0.0/22", "--rate", "10000", "--community", "public", "--snmp-version", "2c"];
    let frames = net.captured(folder.path(), || said = text(&net.platen(folder.path(), &arguments)));
    let arp = count(&frames, "arp ");
    // Without the box itself and the router, which answers.
    let dead = 1_022 - 2;
    let asked = arp.iter().filter(|(address, _)| address.as_str() != "10.66.0.254");
    let (asked, broadcasts) = asked.fold((0, 0), |(asked, sum), (_, count)| (asked + 1, sum + count));
    eprintln!("{dead} dead addresses at the highest pace: {asked} of them asked for, {broadcasts} ARP broadcasts");
    assert_eq!(asked, dead, "addresses were never asked");
    assert!(said.contains("gc_thresh3"), "{said}");
    assert!(arp.values().all(|count| *count <= 3), "{arp:?}");
    assert_eq!(overflows(), before, "the neighbour table was full");
}

#[test]
fn a_link_local_address_is_another_device_behind_each_interface() {
    let Some(net) = Net::new("l", 24) else { return };
    net.cable("lan-1");
    let folder = tempfile::tempdir().unwrap();
    // The same address twice, which is allowed on two links, and a neighbour of it.
    let agents = ["fe80::77%lan0", "fe80::77%lan-1", "fe80::78%lan-1"];
    let _agents: Vec<Peer> = agents.iter().map(|address| net.agent(folder.path(), address)).collect();
    let fence = ["--fence", "fe80::/10"];
    let read = |host: &str| net.platen(folder.path(), &[&["read", host, "--json"], &fence[..]].concat());
    for (host, address) in [
        ("fe80::77%lan0", "fe80::77%lan0"),
        ("fe80::77%lan-1", "fe80::77%lan-1"),
        ("[fe80::78%lan-1]:161", "fe80::78%lan-1"),
    ] {
        // A moment ago the kernel may not have been done with the new interface.
        common::wait_until(host, || read(host).status.success());
        let reading: serde_json::Value = serde_json::from_slice(&read(host).stdout).unwrap();
        let expected = (&sign(address).into(), &address.into());
        assert_eq!((&reading["sys_object_id"], &reading["address"]), expected, "{reading}");
    }
    let ping = text(&net.platen(folder.path(), &[&["ping", "fe80::78%lan-1", "--count", "1"], &fence[..]].concat()));
    assert!(ping.contains("fe80::78%lan-1: 1 of 1 answered") || ping.contains("ping_group_range"), "{ping}");
    let ping = text(&net.platen(folder.path(), &[&["ping", "fe80::78%lan0", "--count", "1"], &fence[..]].concat()));
    assert!(ping.contains("fe80::78%lan0 did not answer") || ping.contains("ping_group_range"), "{ping}");

    // All at once, over one socket, told apart by the interface; and nobody outside of a fence of one interface.
    let scan = |ranges: &[&str], fence: &str| {
        text(&net.platen(folder.path(), &[&["scan"], ranges, &["--fence", fence]].concat()))
    };
    let both = ["fe80::77%lan0-fe80::78%lan0", "fe80::%lan-1/121"];
    let said = scan(&both, "fe80::/10");
    assert!(said.contains("(3 devices answered)"), "{said}");
    let mut said = String::new();
    let frames = net.captured(folder.path(), || said = scan(&both, "fe80::%lan-1/64"));
    assert!(said.contains("(2 devices answered)"), "{said}");
    let asked = |frame: &&String| frame.starts_with("ipv6 17 ") || frame.contains("ff02::1:ff00:7");
    assert_eq!(frames.iter().find(asked), None, "somebody was asked on lan0");

    // What cannot be asked says what to write.
    let missing = text(&read("fe80::77%lan7"));
    assert!(missing.contains("no network interface \"lan7\"; it has lo, "), "{missing}");
    let lonely = text(&read("fe80::77"));
    assert!(lonely.contains("write the interface behind it, as fe80::77%lan"), "{lonely}");
    let outside = text(&net.platen(folder.path(), &["read", "fe80::77%lan0"]));
    assert!(outside.contains("--fence fe80::77%lan0 would allow it"), "{outside}");
}

#[test]
fn what_a_router_keeps_from_the_box_is_soon_left_alone() {
    let Some(net) = Net::new("r", 24) else { return };
    let folder = tempfile::tempdir().unwrap();
    let side = net.printers_side();
    let _agent = net.agent(folder.path(), "10.99.0.5");
    let forward = net.within(&side, "sysctl").args(["-qw", "net.ipv4.ip_forward=1"]).output().unwrap();
    assert!(forward.status.success(), "{}", text(&forward));
    for [kind, network] in [["prohibit", "10.98.0.0/24"], ["unreachable", "10.98.1.0/24"]] {
        net.ip(&["-n", &side, "route", "add", kind, network]);
    }
    let scan = |ranges: &[&str]| {
        let mut said = String::new();
        let arguments = [&["scan"], ranges, &["--fence", "10.0.0.0/8"]].concat();
        let frames = net.captured(folder.path(), || said = text(&net.platen(folder.path(), &arguments)));
        let mut udp = count(&frames, "udp ");
        udp.remove("10.99.0.5");
        (udp, said)
    };
    // A router says so a few times, or once a second, so that more are on their way before it is clear; without a word of
    // it each address would get four.
    let (closed, said) = scan(&["10.98.0.0/24", "10.99.0.5"]);
    let datagrams: usize = closed.values().sum();
    eprintln!("{datagrams} datagrams to {} of 254 addresses of a closed network", closed.len());
    assert!((2..=508).contains(&datagrams), "{datagrams} datagrams");

    assert!(said.contains("10.66.0.254 lets nothing through to 10.98.0."), "{said}");
    assert!(said.contains("(1 devices answered)"), "{said}");
    // Those who are not there are asked one by one, and each of them once.
    let (absent, _) = scan(&["10.98.1.1-10.98.1.2"]);
    assert_eq!((absent.len(), absent.values().sum::<usize>()), (2, 2), "{absent:?}");
}
