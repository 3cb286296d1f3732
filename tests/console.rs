//! `platen console` as a technician has it: the real program at the far end of a pseudo terminal, an agent that answers what it
//! is told to on the socket, and hands that type commands, codes and noise. Also inside tmux and screen, which are terminals of
//! other people's making: what they show is what a technician sees.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed unwrap is a failed test

mod common;
#[path = "console/picture.rs"]
mod picture;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use picture::{cells, modules, picture};
use platen::agent::control::{Answer, Request};
use platen::agent::status::{CloudStatus, EnrolmentStatus, PairingStatus, Status};

/// Long enough for any machine.
const PATIENCE: Duration = Duration::from_secs(120);
const LABEL: &str = "0123-4567-89AB-CDEF";
const CLAIM_URL: &str = "https://portal.example/claim?code=WDJB-MJHT";

/// Kills the program when the test ends, however it does.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

/// A box's folders, and the agent that answers there.
struct House {
    folder: tempfile::TempDir,
    status: Arc<Mutex<Status>>,
    asked: Arc<Mutex<Vec<Request>>>,
}

/// A box, and the far end of its serial line.
struct Bench {
    house: House,
    master: File,
    _slave: OwnedFd,
    seen: Arc<Mutex<Vec<u8>>>,
    program: Running,
}

fn in_phase(phase: &str) -> Status {
    let enrolment =
        EnrolmentStatus { phase: phase.to_owned(), serial: "PL26-000017".to_owned(), ..EnrolmentStatus::default() };
    Status { firmware_version: "0.1.0".to_owned(), enrolment, ..Status::default() }
}

fn start(folder: &tempfile::TempDir, tty: &PathBuf) -> Running {
    let program = Command::new(env!("CARGO_BIN_EXE_platen"))
        .args(["console", "--config"])
        .arg(folder.path().join("platen.toml"))
        .arg("--tty")
        .arg(tty)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    Running(program)
}

/// Answers on the socket as an agent does.
fn answer(listener: &UnixListener, status: &Mutex<Status>, asked: &Mutex<Vec<Request>>) {
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { return };
        let mut line = String::new();
        if BufReader::new(&mut stream).read_line(&mut line).is_err() {
            continue;
        }
        let Ok(request) = serde_json::from_str::<Request>(&line) else { continue };
        let done = |text: &str| Answer::Done { text: text.to_owned() };
        let answer = match &request {
            Request::Status => Answer::Status { status: Box::new(status.lock().unwrap().clone()) },
            Request::Log { .. } => Answer::Log { lines: vec!["INFO platen: a line of the log".to_owned()] },
            Request::ResetPreview => done("12 readings that the cloud has not got yet"),
            _ => done("It has begun."),
        };
        if request != Request::Status {
            asked.lock().unwrap().push(request);
        }
        let _gone = writeln!(stream, "{}", serde_json::to_string(&answer).unwrap());
    }
}

impl House {
    fn new(phase: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().display();
        let config = format!(
            "data_dir = \"{dir}/data\"\nruntime_dir = \"{dir}/run\"\n[cloud]\nroot_domain = \"localhost\"\n\
             grpc = \"https://localhost:1\"\nmqtt = \"wss://localhost:1/mqtt\"\n[device]\nlabel = \"{dir}/label.toml\"\n"
        );
        std::fs::write(folder.path().join("platen.toml"), config).unwrap();
        std::fs::write(folder.path().join("label.toml"), format!("serial = \"PL26-000017\"\nsecret = \"{LABEL}\"\n"))
            .unwrap();
        std::fs::create_dir(folder.path().join("run")).unwrap();
        let (status, asked) = (Arc::new(Mutex::new(in_phase(phase))), Arc::new(Mutex::new(Vec::new())));
        let listener = UnixListener::bind(folder.path().join("run/control.sock")).unwrap();
        let (its_status, its_asked) = (status.clone(), asked.clone());
        std::thread::spawn(move || answer(&listener, &its_status, &its_asked));
        Self { folder, status, asked }
    }

    /// A claim is under way, and its code is there.
    fn pairs(&self) {
        let mut status = in_phase("pairing");
        status.enrolment.words = "oak river lamp seven".to_owned();
        status.enrolment.pairing = Some(PairingStatus {
            way: "code".to_owned(),
            user_code: Some("WDJB-MJHT".to_owned()),
            url: Some(CLAIM_URL.to_owned()),
            wants_press: true,
            seconds_left: 899,
            ..PairingStatus::default()
        });
        *self.status.lock().unwrap() = status;
    }
}

impl Bench {
    fn new(phase: &str) -> Self {
        let house = House::new(phase);
        let pty = nix::pty::openpty(None, None).unwrap();
        let tty = std::fs::read_link(format!("/proc/self/fd/{}", pty.slave.as_raw_fd())).unwrap();
        let master = File::from(pty.master);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, its_seen) = (master.try_clone().unwrap(), seen.clone());
        std::thread::spawn(move || {
            let mut chunk = [0; 65_536];
            while let Ok(read @ 1..) = reader.read(&mut chunk) {
                let mut seen = its_seen.lock().unwrap();
                // A terminal does not keep everything either.
                if seen.len() > 1 << 20 {
                    seen.clear();
                }
                seen.extend_from_slice(&chunk[..read]);
            }
        });
        let program = start(&house.folder, &tty);
        let bench = Self { house, master, _slave: pty.slave, seen, program };
        bench.until("platen> ");
        bench
    }

    /// What has come since the last time, when this is in it.
    fn until(&self, wanted: &str) -> String {
        let start = Instant::now();
        loop {
            {
                let mut seen = self.seen.lock().unwrap();
                let text = String::from_utf8_lossy(&seen).into_owned();
                if let Some(at) = text.find(wanted) {
                    *seen = text.as_bytes()[at + wanted.len()..].to_vec();
                    return text[..at + wanted.len()].to_owned();
                }
                assert!(start.elapsed() < PATIENCE, "no \"{wanted}\" in {text:?}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn send(&mut self, octets: &[u8]) {
        self.master.write_all(octets).unwrap();
    }

    fn types(&mut self, line: &str, wanted: &str) -> String {
        self.seen.lock().unwrap().clear();
        self.send(format!("{line}\r").as_bytes());
        self.until(wanted)
    }

    fn memory_kib(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.program.0.id())).unwrap();
        let line = text.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    fn children(&self) -> String {
        let id = self.program.0.id();
        std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default()
    }
}

#[test]
fn t_30_random_bytes_breaks_long_lines_and_escape_storms_leave_no_shell_and_no_memory() {
    const OCTETS: usize = 10_000_000;
    const SHELLS: &[u8] = b"$(sh)\r`sh`\n;/bin/sh\r|sh\x03!sh\n";
    let mut bench = Bench::new("active");
    // A first line of each kind, so that what is made once is made.
    bench.types("help", "platen> ");
    bench.types("status", "platen> ");
    bench.types("no-such-command", "platen> ");
    let mut random = fastrand::Rng::with_seed(30);
    // The first tenth warms everything up that grows once (buffers, the allocator's own).
    let mut before = 0;
    let (mut sent, mut chunk) = (0, vec![0; 10_000]);
    while sent < OCTETS {
        match random.u8(0..8) {
            0..4 => random.fill(&mut chunk),
            4 => chunk.fill(0),
            5 => chunk.fill(b'x'),
            6 => chunk
                .iter_mut()
                .for_each(|b| *b = random.choice(b"\x1b[[]OPX^_;?0123456789ABCDHFmhJK~").copied().unwrap()),
            _ => chunk.iter_mut().enumerate().for_each(|(n, b)| *b = SHELLS[n % SHELLS.len()]),
        }
        bench.send(&chunk);
        sent += chunk.len();
        if before == 0 && sent >= OCTETS / 10 {
            before = bench.memory_kib();
        }
    }
    // Whatever state the noise has left, the end of a line ends it; a prompt for a code is left by an empty one.
    bench.send(b"\x03\r\x03\r");
    bench.types("help", "A new box? Type `setup`.");
    let seen = bench.types("status", "More of it after the code");
    assert!(seen.contains("PL26-000017"), "{seen}");
    let after = bench.memory_kib();
    println!("{sent} octets of noise: {before} KiB before, {after} KiB after");
    assert!(after <= before + 1_024, "{before} KiB before, {after} KiB after");
    assert_eq!(bench.children(), "", "there is no shell");
    assert!(bench.program.0.try_wait().unwrap().is_none());
    assert!(bench.house.asked.lock().unwrap().is_empty(), "nothing was asked of the agent");
}

#[test]
fn wrong_codes_close_the_console_and_the_count_survives_a_kill() {
    let mut bench = Bench::new("active");
    bench.types("log", "Code on its label");
    bench.types("0000-0000-0000-0000", "4 more times");
    bench.types("0000-0000-0000-0000", "3 more times");
    // Killed, and started again on the same line.
    let tty = std::fs::read_link(format!("/proc/self/fd/{}", bench._slave.as_raw_fd())).unwrap();
    bench.program.0.kill().unwrap();
    bench.program.0.wait().unwrap();
    bench.program = start(&bench.house.folder, &tty);
    bench.until("platen> ");
    bench.types("log", "Code on its label");
    bench.types("0000-0000-0000-0000", "2 more times");
    bench.types("0000-0000-0000-0000", "once more");
    bench.types("0000-0000-0000-0000", "no code is taken for 15 min 00 s");
    bench.program.0.kill().unwrap();
    bench.program.0.wait().unwrap();
    bench.program = start(&bench.house.folder, &tty);
    bench.until("platen> ");
    bench.types("log", "no code is taken for 1");
    let kept = bench.house.folder.path().join("data/console.json");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(kept).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert!(bench.house.asked.lock().unwrap().is_empty());
}

#[test]
fn the_right_code_opens_and_is_not_shown() {
    let mut bench = Bench::new("active");
    bench.types("log", "Code on its label");
    let seen = bench.types(&LABEL.to_lowercase(), "a line of the log");
    assert!(!seen.to_uppercase().contains(LABEL), "{seen}");
    bench.types("lock", "Locked.");
    bench.types("log", "Code on its label");
}

#[test]
fn a_claim_is_shown_with_code_address_and_words_until_the_box_is_somebodys() {
    let mut bench = Bench::new("unclaimed");
    bench.types("claim", "It has begun.");
    bench.house.pairs();
    let seen = bench.until("14 min 59 s left");
    for part in ["█   █  ████", "https://portal.example/claim", "oak river lamp seven", "PRESS THE BUTTON", "▀"]
    {
        assert!(seen.contains(part), "{part}: {seen}");
    }
    bench.types("confirm", "It has begun.");
    *bench.house.status.lock().unwrap() = in_phase("active");
    bench.until("Done: the box is claimed.");
    assert_eq!(*bench.house.asked.lock().unwrap(), [Request::Claim, Request::Press]);
}

#[test]
fn a_factory_reset_needs_the_word_and_the_code() {
    let mut bench = Bench::new("active");
    bench.types("factory-reset", "Code on its label");
    let seen = bench.types(LABEL, "Type RESET");
    assert!(seen.contains("12 readings"), "{seen}");
    bench.types("yes", "nothing was lost");
    bench.types("factory-reset", "Type RESET");
    bench.types("RESET", "the code once more");
    bench.types(LABEL, "It has begun.");
    assert_eq!(bench.house.asked.lock().unwrap().last(), Some(&Request::FactoryReset));
}

/// The console inside a terminal of 80 columns and 24 lines that somebody else wrote.
struct Terminal<'a> {
    house: &'a House,
    /// tmux or screen.
    program: &'static str,
}

impl<'a> Terminal<'a> {
    fn new(house: &'a House, program: &'static str) -> Self {
        let folder = house.folder.path();
        let terminal = Self { house, program };
        let options = match program {
            "tmux" => "set -g status off\nset -g history-limit 1000\n",
            _ => "defutf8 on\nstartup_message off\ndefscrollback 0\n",
        };
        std::fs::write(folder.join("terminal.conf"), options).unwrap();
        terminal.asks(match program {
            "tmux" => &["new-session", "-d", "-x", "80", "-y", "24"],
            _ => &["-d", "-m"],
        });
        if program == "screen" {
            // It returns before its session is there.
            common::wait_until("screen", || {
                terminal.command().args(["-X", "version"]).output().unwrap().status.success()
            });
        }
        terminal
    }

    /// Runs tmux or screen, with a socket of its own in the box's folder.
    fn command(&self) -> Command {
        let folder = self.house.folder.path();
        let mut command = Command::new(self.program);
        command.env_remove("TMUX").env_remove("STY").env("TMUX_TMPDIR", folder).env("SCREENDIR", folder.join("screen"));
        command.env("LC_ALL", "C.UTF-8").env("TERM", "xterm-256color").stdin(Stdio::null());
        let config = folder.join("terminal.conf");
        match self.program {
            "tmux" => command.args(["-u", "-L", "console", "-f"]).arg(config),
            _ => command.args(["-U", "-S", "console", "-c"]).arg(config),
        };
        command
    }

    /// Asks it to do something; the console is what a new one runs.
    fn asks(&self, words: &[&str]) -> String {
        let mut command = self.command();
        command.args(words);
        if words.contains(&"-d") {
            let config = self.house.folder.path().join("platen.toml");
            command.args([env!("CARGO_BIN_EXE_platen"), "console", "--config"]).arg(config);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{} {words:?}: {output:?}", self.program);
        String::from_utf8(output.stdout).unwrap()
    }

    /// What is on the screen; lines that tmux had to break are whole again, and what has left its top is there.
    fn text(&self) -> String {
        if self.program == "tmux" {
            return self.asks(&["capture-pane", "-p", "-J", "-S", "-"]);
        }
        let file = self.house.folder.path().join("hardcopy");
        let _none = std::fs::remove_file(&file);
        self.asks(&["-X", "hardcopy", file.to_str().unwrap()]);
        // It is written by another process, a moment later.
        common::wait_until("the hardcopy", || std::fs::read(&file).is_ok_and(|text| text.len() >= 24));
        // It holds the lowest octet of each character: of the blocks, which are U+2580 to U+2588, enough to tell them.
        let octets = std::fs::read(file).unwrap();
        octets
            .iter()
            .map(|octet| char::from_u32(u32::from(*octet) + if *octet < 0x80 { 0 } else { 0x2500 }).unwrap())
            .collect()
    }

    fn until(&self, wanted: &str) -> String {
        let start = Instant::now();
        loop {
            let text = self.text();
            if text.contains(wanted) {
                assert_whole(&text);
                return text;
            }
            assert!(start.elapsed() < PATIENCE, "no \"{wanted}\" in\n{text}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn types(&self, line: &str, wanted: &str) -> String {
        match self.program {
            "tmux" => self.asks(&["send-keys", line, "Enter"]),
            _ => self.asks(&["-X", "stuff", &format!("{line}\r")]),
        };
        self.until(wanted)
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        let end: &[&str] = if self.program == "tmux" { &["kill-server"] } else { &["-X", "quit"] };
        let _gone = self.command().args(end).output();
    }
}

/// Nothing but letters and what is drawn of blocks, nothing wider than the screen, no line that began where another ended.
fn assert_whole(text: &str) {
    for line in text.lines() {
        let line = line.trim_end();
        assert!(line.chars().count() <= 80, "wider than the screen: {line:?}");
        assert!(line.chars().all(|c| matches!(c, ' '..='~' | '▀' | '▄' | '█' | '…')), "garbage: {line:?}");
        assert!(!line.contains("platen> ") || line.starts_with("platen> "), "a prompt amid a line: {line:?}");
    }
}

#[test]
fn inside_tmux_every_screen_is_whole_and_a_claim_fits_on_one() {
    if !common::have("tmux") {
        return;
    }
    let house = House::new("unclaimed");
    let terminal = Terminal::new(&house, "tmux");
    terminal.until("This box is new: type setup to be led, or help.");
    let seen = terminal.types("help", "A new box? Type `setup`.");
    assert!(seen.contains("platen> help\nCommands (TAB") && seen.contains("\n  help          what there is"), "{seen}");
    terminal.types("help network", "\nExample: network");
    terminal.types("led all", "\nrefused     red");
    house.status.lock().unwrap().cloud = CloudStatus {
        endpoint: "https://cloud.example".to_owned(),
        last_error: Some(
            "the certificate is signed by somebody whom this box does not know, \"CN=Inspector\"".to_owned(),
        ),
        cause: Some("tls-inspected".to_owned()),
        ..CloudStatus::default()
    };
    let seen = terminal.types("status", "\nfence     none\n");
    assert!(seen.contains("\n          What to do: "), "{seen}");
    terminal.types("stauts", "There is no command \"stauts\". Did you mean status?");
    terminal.types("claim", "It has begun.");
    house.pairs();
    terminal.until("14 min 59 s left (press, or confirm)");
    let screen = cells(&terminal.asks(&["capture-pane", "-p", "-e", "-N"]));
    let text: Vec<String> = screen.iter().map(|row| row.iter().map(|cell| cell.0).collect()).collect();
    for part in ["█   █  ████", CLAIM_URL, "oak river lamp seven", "PRESS THE BUTTON", "14 min 59 s left"] {
        assert!(text.iter().any(|line| line.contains(part)), "{part}: {text:#?}");
    }
    let code = qrcodegen::QrCode::encode_text(CLAIM_URL, qrcodegen::QrCodeEcc::Low).unwrap();
    let dark: Vec<bool> =
        screen.iter().filter(|row| row.iter().any(|cell| cell.1)).flat_map(|row| modules(row)).collect();
    let range = || -4..code.size() + 4;
    let wanted = range().chain([code.size() + 4]).flat_map(|y| range().map(move |x| (x, y)));
    assert_eq!(dark, wanted.map(|(x, y)| code.get_module(x, y)).collect::<Vec<bool>>(), "the QR code is whole");
    let drawing = picture(&cells(&terminal.asks(&["capture-pane", "-p", "-e", "-N", "-S", "-"])));
    assert!(drawing.len() < 40_000, "{} octets", drawing.len());
    if std::env::var_os("PLATEN_WRITE_PICTURE").is_some() {
        std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/console/console.svg"), drawing).unwrap();
    }
    terminal.types("confirm", "\nIt has begun.\n");
    *house.status.lock().unwrap() = in_phase("active");
    terminal.until("Done: the box is claimed.");
    assert_eq!(*house.asked.lock().unwrap(), [Request::Claim, Request::Press]);
}

#[test]
fn inside_screen_every_screen_is_whole() {
    if !common::have("screen") {
        return;
    }
    let house = House::new("unclaimed");
    std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700)
        .create(house.folder.path().join("screen"))
        .unwrap();
    let terminal = Terminal::new(&house, "screen");
    terminal.until("This box is new: type setup to be led, or help.");
    terminal.types("help", "A new box? Type `setup`.");
    terminal.types("stauts", "Did you mean status?");
    terminal.types("claim", "It has begun.");
    house.pairs();
    let seen = terminal.until("14 min 59 s left");
    for part in ["█   █  ████", CLAIM_URL, "oak river lamp seven", "PRESS THE BUTTON"] {
        assert!(seen.contains(part), "{part}: {seen}");
    }
}
