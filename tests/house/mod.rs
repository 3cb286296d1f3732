//! A house for trials of the real binaries: simulated printers (`platen-sim`), a cloud (`platen-cloud`) and boxes (`platen run`),
//! each a process of its own that can be killed and started again, with their folders beside each other.
#![allow(dead_code)] // each trial uses its part

pub mod books;
pub mod dates;
pub mod disk;
pub mod proxy;

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use platen::agent::outgoing;
use platen::agent::status::Status;
use platen::proto::v1;
use platen::sim::Asked;
use prost::Message;

use crate::common::{Peer, free_tcp_port, free_udp_port, text, wait_for_tcp};

/// Longest wait for a box to be as it should: two cores may be shared with other tests.
const PATIENCE: Duration = Duration::from_secs(120);
/// What the boxes log: warnings, and each range of numbers that was accepted.
const BOX_LOG: &str = "warn,platen::agent=info,platen::agent::outbox=debug";

/// Where everything of one trial lies, and how it is reached.
pub struct House {
    folder: tempfile::TempDir,
    pub first_printer: Ipv4Addr,
    pub printers: usize,
    pub sim_port: u16,
    pub cloud_port: u16,
    portal_port: u16,
    /// What stands before the firmware's command lines: the way into a namespace of its own.
    way_in: Vec<String>,
}

impl House {
    /// Room for so many printers at 127.88.NET.1 and up. Nothing runs yet.
    pub fn new(net: u8, printers: usize) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            first_printer: Ipv4Addr::new(127, 88, net, 1),
            printers,
            sim_port: free_udp_port(),
            cloud_port: free_tcp_port(),
            portal_port: free_tcp_port(),
            way_in: Vec::new(),
        }
    }

    pub fn at(&self) -> &Path {
        self.folder.path()
    }

    pub fn cloud_folder(&self) -> PathBuf {
        self.at().join("cloud")
    }

    /// Whatever a program says on standard error, over all its lives.
    pub fn log_of(&self, name: &str) -> PathBuf {
        self.at().join(format!("{name}.log"))
    }

    fn log(&self, name: &str) -> File {
        let mut log = OpenOptions::new().create(true).append(true).open(self.log_of(name)).unwrap();
        // The line before may have been cut by a kill.
        log.write_all(b"\n").unwrap();
        log
    }

    fn spawn(&self, name: &str, command: &mut Command) -> Peer {
        Peer(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(self.log(name)).spawn().unwrap())
    }

    fn printers_command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_platen-sim"));
        command.args(["--base", &self.first_printer.to_string(), "--port", &self.sim_port.to_string()]);
        command
    }

    /// Printers that live, at two hundred times the pace of life.
    pub fn start_printers(&self) -> Peer {
        let mut command = self.printers_command();
        self.spawn("sim", command.args(["--fleet", &self.printers.to_string(), "--speed", "200"]))
    }

    /// Printers with a handful of objects, which are read several times as quickly as whole ones.
    pub fn start_small_printers(&self) -> Peer {
        let folder = self.at().join("recordings");
        std::fs::create_dir_all(&folder).unwrap();
        for n in 0..self.printers {
            std::fs::write(folder.join(format!("{n:04}.snmprec")), small_printer(n)).unwrap();
        }
        self.spawn("sim", self.printers_command().arg("--corpus").arg(folder).arg("--counts").arg(self.counts()))
    }

    fn counts(&self) -> PathBuf {
        self.at().join("counts.json")
    }

    /// How many requests each [small printer](Self::start_small_printers) has got until now, by printer and by who asked.
    pub fn asked(&self) -> Asked {
        serde_json::from_slice(&std::fs::read(self.counts()).unwrap()).unwrap()
    }

    /// When a box polled, as it says itself: milliseconds since 1970.
    pub fn polls(&self, name: &str) -> Vec<u64> {
        let sent = outgoing::read(&self.runtime_folder(name)).unwrap();
        sent.iter().filter(|sent| sent.call == "Poll").map(|poll| poll.sent_unix_ms).collect()
    }

    /// `more` are further options of `platen-cloud run`.
    pub fn start_cloud(&self, more: &[&str]) -> Peer {
        let mut command = Command::new(env!("CARGO_BIN_EXE_platen-cloud"));
        command.arg("run").arg("--data").arg(self.cloud_folder());
        command.args(["--listen", &format!("127.0.0.1:{}", self.cloud_port), "--name", "localhost"]);
        command.args(["--portal", &format!("127.0.0.1:{}", self.portal_port), "--poll-interval", "5"]).args(more);
        self.spawn("cloud", &mut command)
    }

    pub fn wait_for_cloud(&self) {
        wait_for_tcp(self.cloud_port);
    }

    /// From now on the firmware runs where this command leads to.
    pub fn enter(&mut self, way_in: Vec<String>) {
        self.way_in = way_in;
    }

    /// The firmware, where it is to run; no shell between, so that a kill hits it.
    fn firmware(&self) -> Command {
        let Some((program, arguments)) = self.way_in.split_first() else { return Command::new(platen()) };
        let mut command = Command::new(program);
        command.args(arguments).arg(platen());
        command
    }

    /// What a box told the cloud last about itself.
    pub fn told(&self, box_id: &str) -> v1::BoxStatus {
        let bytes: Vec<u8> = books::query(&self.cloud_folder(), async |pool| {
            let sql = "SELECT status FROM boxes WHERE id = $1";
            sqlx::query_scalar(sql).bind(box_id.to_owned()).fetch_one(&pool).await.unwrap()
        });
        v1::BoxStatus::decode(bytes.as_slice()).unwrap()
    }

    /// What the portal shows at this path: the body.
    pub fn portal(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.portal_port)).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{path}: {head}");
        body.to_owned()
    }

    /// Gives a box its key and certificate, by the command lines of both. It stands at a site of its own. Returns its id.
    pub fn enrol(&self, name: &str) -> String {
        self.enrol_at(name, &format!("{name}'s"))
    }

    /// As [`enrol`](Self::enrol), at a site.
    pub fn enrol_at(&self, name: &str, site: &str) -> String {
        let (data, request, papers) = (self.box_folder(name), self.at().join("request.pem"), self.at().join("papers"));
        std::fs::create_dir_all(&data).unwrap();
        let asked = run(self.firmware().args(["enroll", "request", "--data"]).arg(&data));
        std::fs::write(&request, asked).unwrap();
        let mut issue = Command::new(env!("CARGO_BIN_EXE_platen-cloud"));
        issue.args(["issue-box", "--name", name, "--site", site, "--data"]).arg(self.cloud_folder());
        run(issue.arg("--out").arg(&papers).arg(&request));
        let id = std::fs::read_to_string(papers.join("box.id")).unwrap().trim().to_owned();
        let mut install = self.firmware();
        install.args(["enroll", "install", "--box-id", &id, "--data"]).arg(&data);
        run(install.arg("--certificate").arg(papers.join("box.crt")).arg("--roots").arg(papers.join("roots.crt")));
        id
    }

    pub fn box_folder(&self, name: &str) -> PathBuf {
        self.at().join(name)
    }

    pub fn runtime_folder(&self, name: &str) -> PathBuf {
        self.at().join(format!("{name}-run"))
    }

    fn config_of(&self, name: &str) -> PathBuf {
        self.at().join(format!("{name}.toml"))
    }

    /// A box that reads every printer each second, and finds its cloud at this port. `schedule` are further lines of that
    /// section.
    pub fn configure(&self, name: &str, cloud_port: u16, schedule: &str) {
        let last = Ipv4Addr::from_bits(self.first_printer.to_bits() + self.printers as u32 - 1);
        let range = format!("{}-{last}", self.first_printer);
        let text = format!(
            "data_dir = \"{data}\"\nruntime_dir = \"{run}\"\n\
             [cloud]\nroot_domain = \"localhost\"\ngrpc = \"https://localhost:{cloud_port}\"\nmqtt = \"wss://localhost:{cloud_port}/mqtt\"\n\
             [lan]\nranges = [\"{range}\"]\nfence = [\"{range}\"]\n\
             [snmp]\nport = {port}\ntimeout_ms = 1000\npackets_per_second = 5000\n\
             [schedule]\nread_interval_s = 1\n{schedule}",
            data = self.box_folder(name).display(),
            run = self.runtime_folder(name).display(),
            port = self.sim_port,
        );
        std::fs::write(self.config_of(name), text).unwrap();
    }

    /// The command that runs a box.
    pub fn box_command(&self, name: &str) -> Command {
        let mut command = self.firmware();
        command.arg("run").arg("--config").arg(self.config_of(name)).env("PLATEN_LOG", BOX_LOG);
        command
    }

    pub fn start_box(&self, name: &str) -> Peer {
        self.spawn(name, &mut self.box_command(name))
    }

    /// Runs a box by a command that was altered.
    pub fn start_box_by(&self, name: &str, command: &mut Command) -> Peer {
        self.spawn(name, command)
    }

    /// What `platen status --json` says, also of a box that is dead.
    pub fn status(&self, name: &str) -> Option<Status> {
        let output = self
            .firmware()
            .args(["status", "--json", "--runtime-dir"])
            .arg(self.runtime_folder(name))
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).ok()
    }

    /// Waits until the status is as it should be; says how it is instead.
    pub fn wait_for_status(&self, name: &str, what: &str, is_so: impl Fn(&Status) -> bool) -> Status {
        let reached = self.reaches_status(name, PATIENCE, is_so);
        reached.unwrap_or_else(|| panic!("{what} did not happen within {PATIENCE:?}: {:#?}", self.status(name)))
    }

    /// Waits at most so long for the status to be as it should be.
    pub fn reaches_status(&self, name: &str, at_most: Duration, is_so: impl Fn(&Status) -> bool) -> Option<Status> {
        let deadline = Instant::now() + at_most;
        loop {
            let status = self.status(name).filter(|status| is_so(status));
            if status.is_some() || Instant::now() >= deadline {
                return status;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// No printer answers any more: waits until the box has noticed, and has delivered all that it accepted.
    pub fn wait_for_all_delivered(&self, name: &str) {
        self.wait_for_status(name, "delivering all", |status| {
            let outbox = &status.outbox;
            let last = books::Accepted::of_log(&self.log_text(name)).last_of(outbox.epoch);
            // Printers that another box is to read are not asked, and not told as silent.
            status.lan.printers_answering == 0 && outbox.pending == 0 && outbox.acknowledged >= last
        });
    }

    pub fn log_text(&self, name: &str) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log_of(name)).unwrap_or_default()).into_owned()
    }
}

/// A recording of what every printer has, and nothing else.
fn small_printer(n: usize) -> String {
    format!(
        "1.3.6.1.2.1.1.1.0|4|ACME 300\n1.3.6.1.2.1.1.2.0|6|1.3.6.1.4.1.99999.1\n1.3.6.1.2.1.1.3.0|67|360000\n\
         1.3.6.1.2.1.25.3.2.1.2.1|6|1.3.6.1.2.1.25.3.1.5\n1.3.6.1.2.1.43.5.1.1.17.1|4|ACM-{n:07}\n\
         1.3.6.1.2.1.43.10.2.1.3.1.1|2|7\n1.3.6.1.2.1.43.10.2.1.4.1.1|65|{}\n",
        4_711 + n
    )
}

/// The firmware.
pub fn platen() -> &'static str {
    env!("CARGO_BIN_EXE_platen")
}

/// Runs a command to its end; returns what it printed.
pub fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", text(&output));
    output.stdout
}
