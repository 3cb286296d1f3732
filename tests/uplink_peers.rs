//! The wake-up link against mosquitto, over TLS and over WebSocket with TLS, with client certificates: it subscribes, wakes,
//! tells its presence, and comes back after the broker was restarted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed unwrap is a failed test

mod common;

use std::path::Path;

use common::pki::Ca;
use common::{Peer, command, free_tcp_port, have, in_time, wait_for_tcp};
use platen::uplink::{Dialer, Endpoint, LinkState, RootDomain, TlsIdentity, TlsSettings, WakeLink, WakeLinkConfig};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

const BOX: &str = "box-under-test";

/// A root, a server certificate for localhost, and a client certificate for each name; all as files in `folder`.
fn make_certificates(folder: &Path, clients: &[&str]) {
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    let ca = Ca::new("root for a test");
    write("root.crt", &ca.root_pem());
    for name in clients.iter().chain(&["localhost"]) {
        let issued = ca.issue(name, None);
        write(&format!("{name}.crt"), &issued.certificate_pem);
        write(&format!("{name}.key"), &issued.key_pem);
    }
}

struct Broker {
    folder: tempfile::TempDir,
    tls_port: u16,
    wss_port: u16,
    process: Option<Peer>,
}

impl Broker {
    fn new() -> Option<Self> {
        if !have("mosquitto") || !have("mosquitto_pub") {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        make_certificates(folder.path(), &[BOX, "portal"]);
        let (tls_port, wss_port) = (free_tcp_port(), free_tcp_port());
        let at = folder.path().display();
        let tls = format!(
            "cafile {at}/root.crt\ncertfile {at}/localhost.crt\nkeyfile {at}/localhost.key\n\
             require_certificate true\nuse_identity_as_username true\nallow_anonymous false\n"
        );
        let user = "user root\n";
        std::fs::write(
            folder.path().join("mosquitto.conf"),
            format!(
                "{user}per_listener_settings true\nlistener {tls_port} 127.0.0.1\n{tls}\
                 listener {wss_port} 127.0.0.1\nprotocol websockets\n{tls}"
            ),
        )
        .unwrap();
        let mut broker = Self { folder, tls_port, wss_port, process: None };
        broker.start();
        Some(broker)
    }

    fn start(&mut self) {
        let log = std::fs::File::create(self.folder.path().join("log")).unwrap();
        let process = command("mosquitto")
            .arg("-c")
            .arg(self.folder.path().join("mosquitto.conf"))
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.process = Some(Peer(process));
        wait_for_tcp(self.tls_port);
        wait_for_tcp(self.wss_port);
    }

    fn stop(&mut self) {
        self.process = None;
    }

    /// mosquitto's own client, as the portal would.
    fn client(&self, tool: &str, arguments: &[&str]) -> std::process::Output {
        let at = self.folder.path();
        command(tool)
            .args(["-h", "localhost", "-p", &self.tls_port.to_string(), "-q", "1"])
            .arg("--cafile")
            .arg(at.join("root.crt"))
            .arg("--cert")
            .arg(at.join("portal.crt"))
            .arg("--key")
            .arg(at.join("portal.key"))
            .args(arguments)
            .output()
            .unwrap()
    }

    fn wake(&self) {
        let topic = format!("platen/v1/boxes/{BOX}/wake");
        let sent = self.client("mosquitto_pub", &["-t", &topic, "-n"]);
        assert!(sent.status.success(), "{}", common::text(&sent));
    }

    fn presence(&self) -> String {
        let topic = format!("platen/v1/boxes/{BOX}/presence");
        let seen = self.client("mosquitto_sub", &["-t", &topic, "-C", "1", "-W", "10"]);
        String::from_utf8_lossy(&seen.stdout).trim().to_owned()
    }

    fn dialer(&self) -> Dialer {
        let read = |name: &str| std::fs::read(self.folder.path().join(name)).unwrap();
        let identity = TlsIdentity {
            certificate_chain_pem: read(&format!("{BOX}.crt")),
            private_key_pem: read(&format!("{BOX}.key")).into(),
            roots_pem: read("root.crt"),
        };
        Dialer::new(TlsSettings::new(&identity).unwrap(), None)
    }
}

async fn a_box_is_woken(broker: &mut Broker, endpoint: &str) {
    let root: RootDomain = "localhost".parse().unwrap();
    let (state, mut link) = watch::channel(LinkState::Connecting);
    let (wake, mut wakes) = mpsc::channel(1);
    let config = WakeLinkConfig {
        endpoint: Endpoint::parse(endpoint, &root).unwrap(),
        box_id: BOX.to_owned(),
        runtime_dir: broker.folder.path().to_owned(),
    };
    let stop = CancellationToken::new();
    let running = tokio::spawn(WakeLink::new(config, broker.dialer(), state, wake).run(stop.clone()));
    in_time("connecting", link.wait_for(|state| *state == LinkState::Up)).await.unwrap();
    in_time("the first wake-up", wakes.recv()).await.unwrap();
    assert_eq!(broker.presence(), "online");
    broker.wake();
    in_time("a wake-up", wakes.recv()).await.unwrap();

    broker.stop();
    in_time("losing the broker", link.wait_for(|state| *state != LinkState::Up)).await.unwrap();
    broker.start();
    in_time("coming back", link.wait_for(|state| *state == LinkState::Up)).await.unwrap();
    in_time("the wake-up for coming back", wakes.recv()).await.unwrap();
    broker.wake();
    in_time("a wake-up after the restart", wakes.recv()).await.unwrap();
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mosquitto_wakes_a_box_over_websocket_and_tls_also_after_its_restart() {
    let Some(mut broker) = Broker::new() else { return };
    let endpoint = format!("wss://localhost:{}/mqtt", broker.wss_port);
    a_box_is_woken(&mut broker, &endpoint).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mosquitto_wakes_a_box_over_tls_also_after_its_restart() {
    let Some(mut broker) = Broker::new() else { return };
    let endpoint = format!("mqtts://localhost:{}", broker.tls_port);
    a_box_is_woken(&mut broker, &endpoint).await;
}
