//! The whole thing: printers, box and cloud as `cargo demo` has them, with a press of the portal's button, a cloud that goes
//! away, and a browser that looks at the page.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed unwrap is a failed test

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use common::{Peer, command, free_tcp_port, have, wait_until};

struct Demo {
    process: Peer,
    page: String,
}

impl Demo {
    fn start(arguments: &[&str]) -> Self {
        let port = free_tcp_port();
        let mut process: Child = Command::new(env!("CARGO_BIN_EXE_platen-demo"))
            .args(["--portal-port", &port.to_string()])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let process = Peer(process);
        let done = lines.by_ref().map(Result::unwrap).find(|line| line.starts_with("6  done"));
        assert!(done.is_some(), "the demo ended early");
        // What it says later is read and forgotten, so that it never waits for us.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, page: format!("http://localhost:{port}") }
    }

    fn get(&self, path: &str) -> String {
        self.curl(&[&format!("{}{path}", self.page)])
    }

    fn curl(&self, arguments: &[&str]) -> String {
        let output = Command::new("curl").args(["--silent", "--max-time", "20"]).args(arguments).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn fleet(&self) -> serde_json::Value {
        serde_json::from_str(&self.get("/api/v1/fleet")).unwrap()
    }

    fn token(&self) -> String {
        let page = self.get("/");
        let start = page.find("name=\"token\" value=\"").unwrap() + "name=\"token\" value=\"".len();
        page[start..].split('"').next().unwrap().to_owned()
    }
}

fn totals(fleet: &serde_json::Value) -> u64 {
    let printers = fleet["printers"].as_array().unwrap();
    let total = |printer: &serde_json::Value| {
        printer["meters"].as_array().unwrap().iter().find(|meter| meter["name"] == "total").unwrap()["value"].as_u64()
    };
    printers.iter().filter_map(total).sum()
}

#[test]
fn a_press_of_the_button_brings_new_values() {
    let demo = Demo::start(&["--speed", "60"]);
    let before = demo.fleet();
    assert_eq!(before["printers"].as_array().unwrap().len(), 13);
    let box_id = before["boxes"][0]["id"].as_str().unwrap().to_owned();
    wait_until("the box listens", || demo.fleet()["boxes"][0]["listening"] == true);

    let scan = format!("{}/boxes/{box_id}/scan", demo.page);
    assert_eq!(demo.curl(&["-o", "/dev/null", "-w", "%{http_code}", "-d", "token=forged", &scan]), "403");
    let token = format!("token={}", demo.token());
    assert_eq!(demo.curl(&["-o", "/dev/null", "-w", "%{http_code}", "-d", &token, &scan]), "303");
    wait_until("the scan is done", || demo.get("/fragment").contains("Scan done: 13 printers read"));
    wait_until("new values", || totals(&demo.fleet()) > totals(&before));
    // Another name for this machine is how a foreign page would come here.
    let evil = demo.curl(&["-o", "/dev/null", "-w", "%{http_code}", "-H", "Host: evil.example", &demo.page]);
    assert_eq!(evil, "421");
}

#[test]
fn a_browser_shows_the_fleet() {
    if !have("chromium") {
        return;
    }
    let demo = Demo::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let pictures = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    for (name, size) in [("fleet.png", "1280,1600"), ("fleet-phone.png", "500,1600")] {
        let picture = pictures.join(name);
        let _ = std::fs::remove_file(&picture);
        let output = command("chromium")
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args(["--virtual-time-budget=6000", &format!("--window-size={size}")])
            .arg(format!("--user-data-dir={}", folder.path().join(name).display()))
            .arg(format!("--screenshot={}", picture.display()))
            .arg(&demo.page)
            .output()
            .unwrap();
        let size = std::fs::metadata(&picture).map(|file| file.len()).unwrap_or(0);
        assert!(size > 20_000, "no picture of the page: {}", common::text(&output));
        println!("look at {}", picture.display());
    }
    let dom = command("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--virtual-time-budget=6000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", folder.path().join("dom").display()))
        .arg(&demo.page)
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&dom.stdout);
    for expected in ["TASKalfa 4054ci", "bizhub C360i", "some left", "Scan now", "class=\"cyan\"", ">live<"] {
        assert!(dom.contains(expected), "the page lacks {expected}:\n{dom}");
    }
}

#[test]
fn it_ends_cleanly_when_it_is_told_to() {
    let mut demo = Demo::start(&[]);
    let status = Command::new("kill").args(["-INT", &demo.process.0.id().to_string()]).status().unwrap();
    assert!(status.success());
    let mut ended = None;
    wait_until("the demo's end", || {
        ended = demo.process.0.try_wait().unwrap();
        ended.is_some()
    });
    assert!(ended.unwrap().success());
}

#[test]
fn a_busy_port_is_named_with_the_option_that_changes_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output =
        Command::new(env!("CARGO_BIN_EXE_platen-demo")).args(["--once", "--portal-port", &port]).output().unwrap();
    let message = common::text(&output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains(&port) && message.contains("--portal-port"), "{message}");

    let output =
        Command::new(env!("CARGO_BIN_EXE_platen-sim")).arg("--demo").args(["--base", "10.0.0.1"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(common::text(&output).contains("not a loopback address"));
}
