//! What the integration tests share: real programs as peers, which end when the test does.
#![allow(dead_code)] // each test uses its part

#[cfg(feature = "cloud")]
pub mod beside;
pub mod browser;
pub mod faults;
pub mod inspector;
pub mod pki;
pub mod proxies;
pub mod sshd;
#[cfg(feature = "cloud")]
pub mod stand_in;

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

/// Whether a program is on this machine. Where it is not, says that the test is skipped; with PLATEN_REQUIRE_PEERS=1, as
/// `tests/run` sets it, the test fails instead.
pub fn have(program: &str) -> bool {
    let found = std::env::var_os("PATH")
        .iter()
        .flat_map(std::env::split_paths)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|folder| folder.join(program).is_file());
    if !found {
        assert!(std::env::var_os("PLATEN_REQUIRE_PEERS").is_none(), "{program} is not installed: run tests/run");
        eprintln!("SKIPPED: {program} is not installed");
    }
    found
}

/// A program of Debian's, also when /usr/sbin is not in the path.
pub fn command(program: &str) -> Command {
    let sbin = std::path::Path::new("/usr/sbin").join(program);
    if sbin.is_file() { Command::new(sbin) } else { Command::new(program) }
}

/// A process that is killed when the test ends, whatever way.
pub struct Peer(pub Child);

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn free_udp_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub fn free_tcp_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits for something; generous, because a busy machine is no failure.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} did not happen within 30 s");
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub fn wait_for_tcp(port: u16) {
    wait_until(&format!("listening on port {port}"), || TcpStream::connect(("127.0.0.1", port)).is_ok());
}

pub fn text(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{out}{err}")
}

/// For tests that wait for something of ours.
pub async fn in_time<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future).await.unwrap_or_else(|_| panic!("{what} did not happen"))
}
