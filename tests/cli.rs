//! The command line with bad input: each a message that says what was wrong and what to do, and the proper exit code
//! (1: it did not work, 2: it was asked wrongly).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed unwrap is a failed test

use std::net::UdpSocket;
use std::path::Path;
use std::process::{Command, Output};

fn platen(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_platen")).args(arguments).output().unwrap()
}

/// Runs, and checks the exit code and words of the message.
fn fails(arguments: &[&str], code: i32, words: &[&str]) {
    let output = platen(arguments);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
    for word in words {
        assert!(message.contains(word), "{arguments:?} does not say \"{word}\": {message}");
    }
    assert!(!message.contains("panicked"), "{message}");
}

fn file(folder: &tempfile::TempDir, name: &str, text: &str) -> String {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn malformed_ranges_are_quoted_and_nothing_is_sent() {
    for bad in ["10.0.0.300", "10.0.0.0/40", "10.0.0.9-10.0.0.1", "10.0.0.0/8"] {
        fails(&["scan", bad], if bad == "10.0.0.0/8" { 1 } else { 2 }, &[]);
    }
    fails(&["scan", "10.0.0.0/40"], 2, &["10.0.0.0/40"]);
    fails(&["scan", "8.8.8.0/24"], 2, &["fence", "nothing was sent"]);
    fails(&["read", "8.8.8.8"], 2, &["8.8.8.8", "fence", "nothing was sent"]);
    fails(&["scan"], 2, &["RANGES"]);
}

#[test]
fn no_printers_and_no_answer_say_what_to_look_at() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let quick = ["--timeout-ms", "50", "--retries", "0"];
    fails(&[&["scan", "127.0.0.1", "--port", &silent], &quick[..]].concat(), 1, &["no printers found", "community"]);
    let target = format!("127.0.0.1:{silent}");
    fails(&[&["read", &target], &quick[..]].concat(), 1, &["did not answer", &target]);
    fails(&["read", "no-such-host.invalid"], 1, &["no-such-host.invalid", "resolved"]);
    fails(&["read", "127.0.0.1:x"], 2, &["not a port"]);
}

#[test]
fn unusable_recordings_are_named_with_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let half = file(&folder, "half.snmprec", "1.3.6.1.2.1.1.1.0|4|A printer\n1.3.6.1.2.1.1.2.0|6");
    fails(&["replay", &half], 1, &["half.snmprec", "line 2", "cut short"]);
    fails(&["replay", &file(&folder, "empty.snmprec", "")], 1, &["no objects"]);
    fails(&["replay", &file(&folder, "no.snmprec", "this is a letter\n")], 1, &["line 1", "OID|TAG|VALUE"]);
    fails(&["replay", "/no/such/file"], 1, &["/no/such/file", "cannot be read"]);
}

#[test]
fn credentials_that_cannot_work_are_refused_before_anything_is_sent() {
    fails(&["read", "127.0.0.1", "--version", "3"], 2, &["--user"]);
    fails(&["read", "127.0.0.1", "--user", "u", "--auth", "ROT13", "--auth-password", "longenough"], 2, &["ROT13"]);
    fails(&["read", "127.0.0.1", "--user", "u", "--auth", "SHA-256", "--auth-password", "short"], 2, &["8"]);
    let long = "c".repeat(33);
    fails(&["read", "127.0.0.1", "--user", "u", "--context", &long], 2, &["context", "32"]);
    fails(&["read", "127.0.0.1", "--context", "c"], 2, &["--user"]);
}

const GOOD: &str = r#"
data_dir = "DIR/data"
runtime_dir = "DIR/run"
[cloud]
root_domain = "localhost"
grpc = "https://localhost:1"
mqtt = "wss://localhost:1/mqtt"
"#;

#[test]
fn a_configuration_that_cannot_work_names_file_key_and_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let good = GOOD.replace("DIR", &folder.path().display().to_string());
    let run = |name: &str, text: &str, code: i32, words: &[&str]| {
        fails(&["run", "--config", &file(&folder, name, text)], code, words);
    };
    run("typo.toml", &format!("{good}\nrangess = []"), 2, &["typo.toml", "rangess"]);
    run("outside.toml", &good.replace("https://localhost", "https://evil.example"), 2, &["cloud.grpc", "evil.example"]);
    run("plain.toml", &good.replace("https://", "http://"), 2, &["cloud.grpc", "https://"]);
    run("fence.toml", &format!("{good}\n[lan]\nfence = [\"10.0.0.0/99\"]"), 2, &["fence", "10.0.0.0/99"]);
    run("none.toml", &format!("{good}\n[snmp]\ncommunities = []"), 2, &["community"]);
    fails(&["run", "--config", "/no/such/file"], 2, &["/no/such/file"]);
    // The configuration is good and the box has no identity.
    run("good.toml", &good, 1, &["not enrolled", "platen enroll request"]);
    let nowhere = folder.path().join("nowhere").display().to_string();
    fails(&["status", "--runtime-dir", &nowhere], 1, &["no box runs here", "platen run"]);
}

#[test]
fn results_are_json_where_json_is_asked_for() {
    let recording = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/acme-label.snmprec");
    let output = platen(&["replay", &recording.display().to_string(), "--json"]);
    assert!(output.status.success());
    let reading: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for key in [
        "is_printer",
        "vendor",
        "model",
        "serial",
        "firmware",
        "name",
        "mac",
        "address",
        "status",
        "alerts",
        "meters",
        "supplies",
        "input_trays",
        "flags",
    ] {
        assert!(reading.get(key).is_some(), "{key} is missing");
    }
    let version: serde_json::Value = serde_json::from_slice(&platen(&["version", "--json"]).stdout).unwrap();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn help_is_there_for_every_command() {
    for command in ["run", "status", "read", "scan", "ping", "replay", "enroll", "version"] {
        let output = platen(&[command, "--help"]);
        assert!(output.status.success() && output.stdout.len() > 100, "{command}");
    }
    assert_eq!(platen(&["dance"]).status.code(), Some(2));
}

#[test]
fn ping_tells_wrong_addresses_from_silent_ones() {
    fails(&["ping", "printer.example"], 2, &["printer.example", "ADDRESS"]);
    fails(&["ping", "8.8.8.8"], 2, &["8.8.8.8", "fence", "nothing was sent"]);
    fails(&["ping", "127.0.0.1", "--fence", "10.0.0.0/8"], 2, &["127.0.0.1", "--fence 127.0.0.1", "nothing was sent"]);
    fails(&["ping", "127.0.0.1", "--count", "11"], 2, &["--count", "1..=10"]);
}

#[test]
fn this_machine_answers_pings() {
    for address in ["127.0.0.1", "::1"] {
        let output = platen(&["ping", address, "--count", "2", "--timeout-ms", "10000", "--json"]);
        let message = String::from_utf8_lossy(&output.stderr);
        // Not every machine allows it, and not every one has IPv6: then what is wrong must be said.
        let has_no_ipv6 = address == "::1" && !Path::new("/proc/sys/net/ipv6").exists();
        if output.status.code() == Some(1) && (message.contains("net.ipv4.ping_group_range") || has_no_ipv6) {
            eprintln!("SKIPPED {address}: {message}");
            continue;
        }
        assert!(output.status.success(), "{address}: {message}");
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&report["sent"], &report["received"]), (&2.into(), &2.into()), "{address}: {report}");
        let times = &report["round_trips"];
        assert!(times["min_us"].as_u64().unwrap() <= times["max_us"].as_u64().unwrap(), "{report}");
    }
}

#[test]
fn where_no_box_has_run_nothing_is_shown_as_sent() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().display().to_string();
    let folders = ["show-outgoing", "--data", &at, "--runtime-dir", &at];
    fails(&folders, 1, &["no box has run here", "--data", "--runtime-dir"]);
    fails(&[&folders[..], &["--messages"]].concat(), 1, &["nothing was sent", "--runtime-dir"]);
    fails(&[&folders[..], &["--messages", "--all"]].concat(), 2, &["--messages"]);
}
