//! A box's network and the world beside it: two network namespaces and a cable between them. Servers of the test's own run in the
//! world; programs run on the box's side with a resolver of their own.
//!
//! Needs root (or a user namespace in which it may be root) and ip(8).

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use nix::sched::{CloneFlags, setns};
use tokio::runtime::Runtime;

use super::{have, text};

/// Where the world's name server listens.
pub const NAME_SERVER: &str = "192.0.2.53";
/// An address to which every packet is dropped without a word.
pub const BLACK_HOLE: &str = "192.0.2.99";

/// The two sides, deleted at the end.
pub struct Beside {
    name: String,
    runtime: Option<Runtime>,
}

impl Beside {
    /// The box at 10.66.0.1 behind `lan0`; the world at 10.66.0.254, which is the gateway, and at all of 192.0.2.0/26. `None` where
    /// no namespace can be made, which is said.
    pub fn new(test: &str) -> Option<Self> {
        if !have("ip") {
            return None;
        }
        let name = format!("pl{}{test}", std::process::id());
        if !command(&["netns", "add", &format!("{name}a")]).status.success() {
            let is_root = text(&Command::new("id").arg("-u").output().unwrap()).trim() == "0";
            assert!(
                std::env::var_os("PLATEN_REQUIRE_PEERS").is_none() || !is_root,
                "no network namespace can be made, although this is root"
            );
            eprintln!("SKIPPED: no network namespace can be made here (not root?)");
            return None;
        }
        let mut beside = Self { name, runtime: None };
        let (a, b) = (beside.box_side(), beside.world());
        beside.ip(&format!("netns add {b}"));
        beside.ip(&format!("link add lan0 netns {a} type veth peer name lan0 netns {b}"));
        for side in [&a, &b] {
            beside.ip(&format!("-n {side} link set lo up"));
            beside.ip(&format!("-n {side} link set lan0 up"));
        }
        beside.ip(&format!("-n {b} addr add 10.66.0.254/24 dev lan0"));
        beside.ip(&format!("-n {b} route add local 192.0.2.0/26 dev lo"));
        beside.ip(&format!("-n {b} route add blackhole {BLACK_HOLE}"));
        let forward = beside.within(&b, "sysctl").args(["-qw", "net.ipv4.ip_forward=1"]).output().unwrap();
        assert!(forward.status.success(), "{}", text(&forward));
        beside.give_address();
        beside.runtime = Some(beside.runtime_in(&b));
        Some(beside)
    }

    /// The box's address and its default route.
    pub fn give_address(&self) {
        let a = self.box_side();
        self.ip(&format!("-n {a} addr replace 10.66.0.1/24 dev lan0"));
        self.ip(&format!("-n {a} route replace default via 10.66.0.254"));
    }

    pub fn box_side(&self) -> String {
        format!("{}a", self.name)
    }

    pub fn world(&self) -> String {
        format!("{}b", self.name)
    }

    /// Runs ip(8) with these words.
    pub fn ip(&self, words: &str) {
        let output = command(&words.split(' ').collect::<Vec<_>>());
        assert!(output.status.success(), "ip {words}: {}", text(&output));
    }

    /// Runs ip(8) on the box's side.
    pub fn ip_on_box(&self, words: &str) {
        self.ip(&format!("-n {} {words}", self.box_side()));
    }

    /// A program on one side.
    pub fn within(&self, side: &str, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", side, program]);
        command
    }

    /// The firmware on the box's side, which asks this name server and knows no hosts. As everything that `ip netns exec` runs, it
    /// has mounts of its own.
    pub fn platen(&self, folder: &Path, name_server: &str, arguments: &[&str]) -> Output {
        let (resolv, hosts) = (folder.join("resolv.conf"), folder.join("hosts"));
        std::fs::write(&resolv, format!("nameserver {name_server}\n")).unwrap();
        std::fs::write(&hosts, "127.0.0.1 localhost\n").unwrap();
        self.within(&self.box_side(), "sh")
            .args(["-c", r#"mount --bind "$0" /etc/resolv.conf && mount --bind "$1" /etc/hosts && shift && exec "$@""#])
            .args([&resolv, &hosts])
            .arg(env!("CARGO_BIN_EXE_platen"))
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn runtime_in(&self, side: &str) -> Runtime {
        let namespace = std::fs::File::open(format!("/run/netns/{side}")).unwrap();
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .on_thread_start(move || setns(&namespace, CloneFlags::CLONE_NEWNET).unwrap())
            .build()
            .unwrap()
    }

    /// Does something in the world: sockets that are made there stay there.
    pub fn serve<F>(&self, future: F) -> F::Output
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let runtime = self.runtime.as_ref().unwrap();
        runtime.block_on(runtime.spawn(future)).unwrap()
    }

    /// Runs something in the world for as long as it lasts.
    pub fn keep<F: Future<Output: Send> + Send + 'static>(&self, future: F) {
        drop(self.runtime.as_ref().unwrap().spawn(future));
    }

    /// A name server that knows `hN.cloud.test` as 192.0.2.N and `printer.test` as 10.66.0.20, and nobody else.
    pub fn start_name_server(&self) {
        let socket = self.serve(async {
            let socket = UdpSocket::bind((NAME_SERVER, 53)).unwrap();
            socket.set_nonblocking(true).unwrap();
            tokio::net::UdpSocket::from_std(socket).unwrap()
        });
        self.keep(async move {
            let mut question = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut question).await {
                if let Some(answer) = answer(&question[..length]) {
                    let _gone = socket.send_to(&answer, from).await;
                }
            }
        });
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(std::time::Duration::from_secs(1));
        }
        for side in [self.box_side(), self.world()] {
            let _gone = command(&["netns", "del", &side]);
        }
    }
}

/// An address of the world.
pub fn at(last: u8, port: u16) -> SocketAddr {
    (Ipv4Addr::new(192, 0, 2, last), port).into()
}

fn command(arguments: &[&str]) -> Output {
    Command::new("ip").args(arguments).output().unwrap()
}

/// Answers one question (RFC 1035 §4.1).
fn answer(question: &[u8]) -> Option<Vec<u8>> {
    let mut labels = Vec::new();
    let mut at = 12;
    loop {
        let length = usize::from(*question.get(at)?);
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(question.get(at + 1..at + 1 + length)?).into_owned());
        at += 1 + length;
    }
    let end = at + 5;
    let is_a = question.get(at + 1..at + 3)? == [0, 1];
    let ip = match labels.join(".").as_str() {
        "printer.test" => Some([10, 66, 0, 20]),
        name => name
            .strip_prefix('h')
            .and_then(|name| name.strip_suffix(".cloud.test")?.parse().ok())
            .map(|n| [192, 0, 2, n]),
    };
    let mut packet = question.get(..end)?.to_vec();
    packet[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0]);
    match ip {
        None => packet[3] = 0x83,
        Some(ip) if is_a => {
            packet[7] = 1;
            packet.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
            packet.extend(ip);
        }
        Some(_) => {}
    }
    Some(packet)
}
