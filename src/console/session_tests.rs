//! Whole conversations, typed into a line in memory, with an agent and a machine that do as they are told.

use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::super::{AgentLink, Console, Host, LinkError, Lock, Moment, serve};
use super::*;
use crate::agent::status::{EnrolmentStatus, PairingStatus};
use crate::enroll::LabelSecret;
use crate::sys::FaultFs;

#[derive(Default)]
struct Agent {
    /// `None`: it does not run.
    status: Mutex<Option<Status>>,
    last: Mutex<Option<Status>>,
    asked: Mutex<Vec<Request>>,
}

impl AgentLink for Arc<Agent> {
    async fn ask(&self, request: Request) -> Result<Answer, LinkError> {
        let status = self.status.lock().unwrap().clone().ok_or(LinkError::NotRunning)?;
        let done = |text: &str| Answer::Done { text: text.to_owned() };
        let answer = match &request {
            Request::Status => return Ok(Answer::Status { status: Box::new(status) }),
            Request::Log { .. } => Answer::Log { lines: vec!["a \u{1b}[31mred printer\u{202e}".to_owned()] },
            Request::ResetPreview => done("3 readings\n2 printers"),
            Request::Unlock => Answer::Challenge { code: "AB12-CD34".to_owned() },
            Request::Register { .. } => {
                Answer::Refused { why: "that code was used already: ask for another one".to_owned() }
            }
            _ => done(""),
        };
        self.asked.lock().unwrap().push(request);
        Ok(answer)
    }

    fn last_status(&self) -> Option<Status> {
        self.last.lock().unwrap().clone()
    }
}

#[derive(Default)]
struct Machine {
    fails: bool,
    hangs: bool,
}

impl Host for Machine {
    async fn selftest(&self, printer: Option<&str>, line: &mut (dyn FnMut(String) + Send)) -> Result<(), String> {
        line("ok   0.01 s  link".to_owned());
        if self.hangs {
            std::future::pending::<()>().await;
        }
        line(format!("ok   0.02 s  printer {printer:?}"));
        if self.fails { Err("dns: \u{1b}the name cannot be resolved; set another server".to_owned()) } else { Ok(()) }
    }

    async fn network(&self, words: &[&str]) -> Result<String, String> {
        Ok(format!("network words: {words:?}"))
    }

    async fn reboot(&self) -> Result<String, String> {
        Ok("The box starts anew.".to_owned())
    }
}

/// A console with its agent, and the far end of its line.
struct Bench {
    agent: Arc<Agent>,
    line: DuplexStream,
    /// What was printed and not waited for yet.
    rest: String,
    folder: tempfile::TempDir,
    _serving: tokio::task::JoinHandle<()>,
}

const LABEL: [u8; 10] = [9; 10];

fn label_code() -> String {
    LabelSecret::from_bytes(LABEL).text().to_string()
}

fn in_phase(phase: &str) -> Status {
    let enrolment = EnrolmentStatus {
        phase: phase.to_owned(),
        serial: "PL26-7".to_owned(),
        tenant: Some("Customer Ltd".to_owned()),
        ..EnrolmentStatus::default()
    };
    Status { enrolment, ..Status::default() }
}

fn bench(status: Option<Status>, host: Machine) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let agent = Arc::new(Agent { status: Mutex::new(status), ..Agent::default() });
    let now = || Moment { boot: "a".to_owned(), uptime_ms: 1 };
    let lock =
        Lock::new(Arc::new(FaultFs::default()), std::path::Path::new("/d"), Some(LabelSecret::from_bytes(LABEL)), now);
    let console = Console {
        host,
        agent: agent.clone(),
        lock: Arc::new(lock),
        data_dir: folder.path().to_owned(),
        idle_max: super::super::IDLE_MAX,
    };
    let (line, far) = tokio::io::duplex(64 * 1024);
    let serving = tokio::spawn(async move { drop(serve(far, &console).await) });
    Bench { agent, line, rest: String::new(), folder, _serving: serving }
}

impl Bench {
    /// What the console prints until this has come.
    async fn until(&mut self, wanted: &str) -> String {
        let mut seen = std::mem::take(&mut self.rest);
        loop {
            if let Some(at) = seen.find(wanted) {
                self.rest = seen.split_off(at + wanted.len());
                return seen;
            }
            let mut chunk = [0; 4_096];
            // Long enough for any machine; where the clock is the test's own, it is only moved when nothing else is left.
            let reading = tokio::time::timeout(Duration::from_secs(600), self.line.read(&mut chunk));
            let read = reading.await.unwrap_or_else(|_| panic!("no \"{wanted}\" in {seen}")).unwrap();
            assert!(read > 0, "the line ended without \"{wanted}\": {seen}");
            seen.push_str(&String::from_utf8_lossy(&chunk[..read]));
        }
    }

    /// Types a line, and returns what is printed from then on until this has come.
    async fn types(&mut self, line: &str, wanted: &str) -> String {
        self.rest.clear();
        self.line.write_all(format!("{line}\r").as_bytes()).await.unwrap();
        self.until(wanted).await
    }

    fn asked(&self) -> Vec<Request> {
        self.agent.asked.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn a_new_box_leads_whoever_comes_and_wants_no_code() {
    let mut bench = bench(Some(in_phase("unclaimed")), Machine::default());
    bench.until("type setup").await;
    bench.types("hlep", "Did you mean help?").await;
    bench.types("rm -rf /", "Type help for what there is").await;
    bench.types("network static 10.0.0.9/24 10.0.0.1", "[\"static\", \"10.0.0.9/24\", \"10.0.0.1\"]").await;
    bench.types("dns auto", "[\"dns\", \"auto\"]").await;
    bench.types("claim now please", "Write: claim [ascii]").await;
    bench.types("test 10.0.0.7", "All is well.").await;
    bench.types("ranges set 10.0.0.0/40", "Not done: ranges: ").await;
    bench.types("ranges set 10.0.0.0/24, 10.0.1.7", "goes on with it").await;
    bench.types("fence set printer.example", "Not done: fence: ").await;
    bench.types("proxy set http://jane:S3CRET@proxy:80", "a password is not typed here").await;
    let seen = bench.types("proxy set proxy.example:3128 jane", "(not shown)").await;
    assert!(!seen.contains("S3CRET"));
    let seen = bench.types("S3C:RET", "goes on with it").await;
    assert!(!seen.contains("S3C"), "{seen}");
    let seen = bench.types("proxy", "set here").await;
    assert!(seen.contains("proxy.example:3128") && !seen.contains("jane"), "{seen}");
    assert_eq!(bench.asked(), [Request::Restart, Request::Restart]);
    let kept = std::fs::read_to_string(bench.folder.path().join("local.toml")).unwrap();
    assert!(kept.contains("ranges = [\"10.0.0.0/24\", \"10.0.1.7\"]") && kept.contains("jane:S3C%3ARET@"), "{kept}");
}

#[tokio::test]
async fn of_a_claimed_box_only_little_is_shown_without_the_code() {
    let mut bench = bench(Some(in_phase("active")), Machine::default());
    let seen = bench.types("status", "More of it after the code").await;
    assert!(seen.contains("PL26-7") && !seen.contains("Customer"), "{seen}");
    for command in commands::COMMANDS.iter().filter(|command| command.who == Who::Holder) {
        let usage = if command.verb == Verb::Register { "register X" } else { command.name };
        bench.types(usage, "Code on its label").await;
        bench.types("", "no code was typed").await;
    }
    bench.types("led mute", "Code on its label").await;
    bench.types("", "no code was typed").await;
    bench.types("log", "Code on its label").await;
    let code = label_code();
    let seen = bench.types(&code, "\\x1b[31mred printer\\u{202e}").await;
    assert!(!seen.contains(&code), "{seen}");
    let seen = bench.types("status", "fence").await;
    assert!(seen.contains("Customer Ltd"), "{seen}");
    bench.types("lock", "Locked.").await;
    bench.types("log", "Code on its label").await;
    assert_eq!(bench.asked(), [Request::Log { lines: 20 }]);
}

#[tokio::test]
async fn five_wrong_codes_close_the_console() {
    let mut bench = bench(Some(in_phase("active")), Machine::default());
    bench.types("log", "Code on its label").await;
    for left in ["4 more times", "3 more times", "2 more times", "once more"] {
        bench.types("0000-0000-0000-0000", left).await;
    }
    bench.types("0000-0000-0000-0000", "no code is taken for 15 min 00 s").await;
    bench.types("reboot", "no code is taken for 15 min").await;
    assert!(bench.asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn five_minutes_without_a_key_lock_it_and_forget_what_was_typed() {
    let mut bench = bench(Some(in_phase("active")), Machine::default());
    bench.types("log", "Code on its label").await;
    bench.types(&label_code(), "platen> ").await;
    tokio::time::sleep(Duration::from_secs(299)).await;
    // Noise on the line is no key.
    bench.line.write_all(&[0, 0, 0xff]).await.unwrap();
    let seen = bench.until("Locked: no key was pressed for 5 min 00 s").await;
    assert!(!seen.contains("log"));
    bench.line.write_all(b"\x1b[A\r").await.unwrap();
    bench.types("reboot", "Code on its label").await;
}

#[tokio::test]
async fn a_factory_reset_wants_the_word_and_the_code() {
    let mut bench = bench(Some(in_phase("active")), Machine::default());
    bench.types("factory-reset", "Code on its label").await;
    bench.types(&label_code(), "Type RESET").await;
    bench.types("reset", "nothing was lost").await;
    let seen = bench.types("factory-reset", "Type RESET").await;
    assert!(seen.contains("3 readings\r\n2 printers"), "{seen}");
    bench.types("RESET", "the code once more").await;
    bench.types("", "nothing was lost").await;
    assert!(!bench.asked().contains(&Request::FactoryReset));
    bench.types("factory-reset", "Type RESET").await;
    bench.types("RESET", "the code once more").await;
    bench.types(&label_code(), "Done.").await;
    assert_eq!(bench.asked().last(), Some(&Request::FactoryReset));
}

#[tokio::test(start_paused = true)]
async fn a_claim_is_shown_large_followed_and_then_the_console_locks() {
    let mut bench = bench(Some(in_phase("unclaimed")), Machine::default());
    bench.types("claim", "It has begun").await;
    let set = |bench: &Bench, phase: &str, pairing: Option<PairingStatus>, words: &str| {
        let mut status = in_phase(phase);
        (status.enrolment.pairing, status.enrolment.words) = (pairing, words.to_owned());
        *bench.agent.status.lock().unwrap() = Some(status);
    };
    let mut pairing = PairingStatus {
        way: "code".to_owned(),
        user_code: Some("WDJB-MJHT".to_owned()),
        url: Some("https://portal.example/claim?code=WDJB-MJHT".to_owned()),
        seconds_left: 899,
        ..PairingStatus::default()
    };
    set(&bench, "pairing", Some(pairing.clone()), "oak river lamp seven");
    let seen = bench.until("14 min 59 s left").await;
    assert!(seen.contains("█   █  ████") && seen.contains("at https://portal.example/claim"), "{seen}");
    assert!(seen.contains("oak river lamp seven") && seen.contains('▀'), "{seen}");
    pairing.wants_press = true;
    set(&bench, "pairing", Some(pairing), "oak river lamp seven");
    bench.until("PRESS THE BUTTON").await;
    bench.types("confrim", "type confirm or cancel").await;
    bench.types("confirm", "Done.").await;
    assert_eq!(bench.asked(), [Request::Claim, Request::Press]);
    set(&bench, "active", None, "oak river lamp seven");
    bench.until("Done: the box is claimed. It belongs to Customer Ltd.").await;
    bench.types("log", "Code on its label").await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_is_ended_by_ctrl_c_and_a_refusal_says_why() {
    let mut bench = bench(Some(in_phase("unclaimed")), Machine::default());
    bench.types("claim", "It has begun").await;
    bench.line.write_all(b"\x03").await.unwrap();
    bench.until("Done.").await;
    assert_eq!(bench.asked(), [Request::Claim, Request::Cancel]);
    bench.types("register ABCD-EFGH", "Not done: that code was used already").await;
    bench.line.write_all(b"\x1b[A\x1b[A\r").await.unwrap();
    let seen = bench.types("", "platen> ").await;
    assert!(!seen.contains("ABCD"), "a code is not brought back: {seen}");
}

#[tokio::test]
async fn a_test_is_ended_by_ctrl_c_and_what_it_finds_is_harmless() {
    let mut hanging = bench(Some(in_phase("unclaimed")), Machine { hangs: true, ..Machine::default() });
    hanging.types("test", "link").await;
    hanging.line.write_all(b"rubbish\x03").await.unwrap();
    hanging.until("The test was ended").await;
    let mut failing = bench(Some(in_phase("unclaimed")), Machine { fails: true, ..Machine::default() });
    failing.types("test", "Not well: dns: \\x1bthe name").await;
}

#[tokio::test]
async fn setup_leads_through_network_test_and_claim() {
    let mut bench = bench(Some(in_phase("unclaimed")), Machine::default());
    bench.types("setup", "Enter to go on").await;
    bench.types("reboot", "Here only network").await;
    bench.types("network dhcp", "[\"dhcp\"]").await;
    bench.types("", "3. The claim").await;
    bench.until("It has begun").await;
    bench.line.write_all(b"\x03").await.unwrap();
    bench.until("platen> ").await;
}

#[tokio::test]
async fn without_an_agent_the_last_status_is_shown_and_what_to_do_is_said() {
    let mut bench = bench(None, Machine::default());
    let seen = bench.types("status", "type reboot").await;
    assert!(seen.contains("program does not run"), "{seen}");
    // Whose box it is, is not known: it is taken for somebody's.
    bench.types("log", "Code on its label").await;
    bench.types("", "no code was typed").await;
    *bench.agent.last.lock().unwrap() = Some(in_phase("unclaimed"));
    bench.types("tunnel off", "holds from the next start on").await;
    bench.types("claim", "Not done: the box's program does not run").await;
}

#[tokio::test]
async fn the_code_can_be_changed_and_the_answer_to_a_challenge_typed() {
    let mut bench = bench(Some(in_phase("disabled")), Machine::default());
    bench.types("unlock", "Code on its label").await;
    bench.types(&label_code(), "The portal's answer").await;
    bench.types("12345678", "Done.").await;
    assert_eq!(bench.asked(), [Request::Unlock, Request::Unlocked { code: "12345678".to_owned() }]);
    bench.types("code change", "Code on its label").await;
    bench.types(&label_code(), "New code").await;
    bench.types("Rohrpost 17", "again").await;
    bench.types("Rohrpost 18", "the two differ").await;
    bench.types("code change", "Code on its label").await;
    bench.types(&label_code(), "New code").await;
    bench.types("Rohrpost 17", "again").await;
    bench.types("Rohrpost 17", "from now on the new code").await;
    bench.types("lock", "Locked.").await;
    bench.types("log", "Code of its console").await;
    bench.types(&label_code(), "That is not the code").await;
    bench.types("Rohrpost 17", "red printer").await;
}

#[tokio::test]
async fn diagnostics_stand_between_marks() {
    let mut bench = bench(Some(in_phase("unclaimed")), Machine::default());
    let seen = bench.types("export-diag", diag::END).await;
    assert!(seen.contains(diag::BEGIN) && !seen.contains("PL26-7") && !seen.contains("Customer"), "{seen}");
}

#[tokio::test]
async fn the_tabulator_lists_and_completes() {
    let mut bench = bench(Some(in_phase("unclaimed")), Machine::default());
    bench.line.write_all(b"re\x09").await.unwrap();
    let seen = bench.until("platen> re").await;
    assert!(seen.contains("register  reboot"), "{seen}");
    bench.types("b\x09", "The box starts anew.").await;
}
