//! All that leaves the box (calls, MQTT over WebSocket, SSH) through the proxies that customers have, with and without a log-in;
//! and past those that inspect TLS, which are named and get nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed unwrap is a failed test

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use common::inspector::Inspector;
use common::pki::Ca;
use common::proxies::{HttpProxy, Kind};
use common::sshd::Sshd;
use common::stand_in::{SignedBy, StandIn};
use common::{free_tcp_port, in_time};
use platen::cause::{Cause, Trouble};
use platen::cloud::{self, CloudConfig, RunningCloud};
use platen::enroll::IdentityFolder;
use platen::proto::v1;
use platen::uplink::{
    Cloud, Dialer, Endpoint, GrpcCloud, HostKeys, KeepAlive, LinkState, Proxy, Relay, RelaySettings, RootDomain,
    Scheme, SshKey, TlsIdentity, TlsSettings, WakeLink, WakeLinkConfig,
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

fn endpoint(scheme: &str, port: u16) -> Endpoint {
    let (root, path): (RootDomain, _) = ("localhost".parse().unwrap(), if scheme == "wss" { "/mqtt" } else { "" });
    Endpoint::parse(&format!("{scheme}://localhost:{port}{path}"), &root).unwrap()
}

fn dialer(identity: &TlsIdentity, proxy: &str) -> Dialer {
    Dialer::new(TlsSettings::new(identity).unwrap(), Some(Proxy::parse(proxy).unwrap()))
}

/// One poll; says how it travelled.
async fn poll(dialer: &Dialer, port: u16) -> Result<&'static str, Trouble> {
    let cloud = GrpcCloud::new(dialer.clone(), endpoint("https", port));
    let round = async {
        let mut session = cloud.open().await?;
        session.poll(v1::PollRequest::default()).await.map(|_| session.transport())
    };
    in_time("a poll", round).await.map_err(|error| error.trouble())
}

/// Whether the wake-up link comes about, at its first try.
async fn wake_link(dialer: &Dialer, port: u16, box_id: &str) -> Result<(), Trouble> {
    let folder = tempfile::tempdir().unwrap();
    let (state, mut link) = watch::channel(LinkState::Connecting);
    let (wake, _wakes) = mpsc::channel(1);
    let config = WakeLinkConfig {
        endpoint: endpoint("wss", port),
        box_id: box_id.to_owned(),
        runtime_dir: folder.path().to_owned(),
    };
    let stop = CancellationToken::new();
    let running = tokio::spawn(WakeLink::new(config, dialer.clone(), state, wake).run(stop.clone()));
    let ended = in_time("an end", link.wait_for(|state| *state != LinkState::Connecting)).await.unwrap().clone();
    stop.cancel();
    running.await.unwrap();
    match ended {
        LinkState::Down(why) => Err(why),
        _ => Ok(()),
    }
}

/// The reference cloud and a relay, and a box that both know.
struct World {
    cloud: RunningCloud,
    box_id: String,
    identity: TlsIdentity,
    sshd: Sshd,
    ssh: RelaySettings,
    _folder: tempfile::TempDir,
}

impl World {
    async fn new() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let identity = IdentityFolder::in_data_dir(&folder.path().join("box"));
        let request = identity.request().unwrap();
        let free = ([127, 0, 0, 1], 0).into();
        let cloud = cloud::start(CloudConfig {
            data_dir: folder.path().join("cloud"),
            device_addr: free,
            portal_addr: free,
            server_names: vec!["localhost".to_owned()],
            poll_interval_s: 300,
        })
        .await
        .unwrap();
        let issued = cloud.issue_box(&request, "box").await.unwrap();
        identity.install(&issued.box_id, &issued.certificate_pem, &issued.root_pem).unwrap();
        let identity = identity.load().unwrap().tls;
        // The key of the box's certificate, as it lies on its disk.
        let key = SshKey::from_pem(&identity.private_key_pem).unwrap();
        let sshd = Sshd::start(&key.public_line().unwrap())?;
        let host_keys = HostKeys::parse(&sshd.host_key).unwrap();
        let ssh = RelaySettings { user: sshd.user.clone(), key, host_keys, keep_alive: KeepAlive::default() };
        Some(Self { cloud, box_id: issued.box_id, identity, sshd, ssh, _folder: folder })
    }

    fn ports(&self) -> [u16; 2] {
        [self.cloud.device_addr().port(), self.sshd.port]
    }

    async fn ssh(&self, dialer: Dialer) -> Result<(), Trouble> {
        let relay = Relay::new(dialer, endpoint("ssh", self.sshd.port), self.ssh.clone()).unwrap();
        let connection = in_time("the relay", relay.open()).await.map_err(|error| error.trouble())?;
        connection.close().await;
        Ok(())
    }

    /// What becomes of the calls, of MQTT and of SSH.
    async fn all_three(&self, proxy: &str) -> [Result<(), Trouble>; 3] {
        let (dialer, port) = (dialer(&self.identity, proxy), self.cloud.device_addr().port());
        [
            poll(&dialer, port).await.map(|travelled| assert_eq!(travelled, "h2")),
            wake_link(&dialer, port, &self.box_id).await,
            self.ssh(dialer).await,
        ]
    }

    async fn pass(&self, proxy: &str) {
        assert_eq!(self.all_three(proxy).await, [Ok(()), Ok(()), Ok(())], "{proxy}");
    }

    async fn are_kept_out(&self, proxy: &str, cause: Cause) {
        for (way, result) in [Scheme::Https, Scheme::Wss, Scheme::Ssh].into_iter().zip(self.all_three(proxy).await) {
            let trouble = result.unwrap_err();
            assert_eq!(trouble.cause, cause, "{way:?} through {proxy}: {trouble}");
            assert!(!trouble.detail.contains("wrong"), "{trouble}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_mqtt_and_ssh_pass_tinyproxy_and_squid_with_and_without_a_log_in_or_say_why_not() {
    let Some(world) = World::new().await else { return };
    let who = Some(("box", "sesame"));
    for kind in [Kind::TinyProxy, Kind::Squid] {
        let start = |ports: &[u16], log_in| HttpProxy::start(kind, ports, log_in);
        let Some(open) = start(&world.ports(), None) else { return };
        world.pass(&open.address(None)).await;
        // A log-in that nobody asks for is not sent, and does no harm.
        world.pass(&open.address(who)).await;
        let log = open.log();
        assert!(world.ports().iter().all(|port| log.contains(&format!("localhost:{port}"))), "{kind:?}: {log}");

        let guarded = start(&world.ports(), who).unwrap();
        world.pass(&guarded.address(who)).await;
        world.are_kept_out(&guarded.address(None), Cause::Proxy407).await;
        world.are_kept_out(&guarded.address(Some(("box", "wrong"))), Cause::Proxy407).await;
        assert!(!guarded.log().contains("sesame"));

        let closed = start(&[443], None).unwrap();
        world.are_kept_out(&closed.address(None), Cause::Proxy).await;
        drop(closed);
    }
    world.are_kept_out(&format!("127.0.0.1:{}", free_tcp_port()), Cause::Proxy).await;
    world.cloud.shutdown().await;
}

/// What a box does that is inspected: it names who does it, shows no certificate, and delivers nothing. `inspector` lets whoever
/// believes its authority reach the cloud, or nothing would be proven.
async fn is_named_and_gets_nothing(proxy: &str, authority: &Ca, own: &Ca, stand_in: &StandIn, transport: &str) {
    let credulous = dialer(&own.identity(&authority.root_pem()), proxy);
    assert_eq!(poll(&credulous, stand_in.port).await, Ok(transport), "it does not forward");
    assert_eq!(stand_in.state.calls(), ["Poll"]);
    let inspected = dialer(&own.identity(&own.root_pem()), proxy);
    // More than it takes to try HTTP/1.1.
    for _ in 0..5 {
        let trouble = poll(&inspected, stand_in.port).await.unwrap_err();
        assert_eq!(trouble.cause, Cause::TlsInspected, "{trouble}");
        assert!(trouble.to_string().starts_with("tls-inspected: by CN=ACME TLS Inspection ("), "{trouble}");
    }
    let trouble = wake_link(&inspected, stand_in.port, "box").await.unwrap_err();
    assert_eq!(trouble.cause, Cause::TlsInspected, "{trouble}");
    let told = LinkState::Down(trouble).trouble().unwrap();
    assert_eq!(told.cause, Cause::MqttBlocked);
    assert!(told.detail.contains("CN=ACME TLS Inspection"), "{told}");
    assert_eq!(stand_in.state.calls(), [""; 0]);
    assert_eq!(stand_in.state.certificates_seen.load(Ordering::Relaxed), 0);
}

/// A cloud that lets everybody in, also a proxy without a certificate.
async fn open_cloud(own: &Ca) -> StandIn {
    let tls = Ca::server_for_all(&own.issue("localhost", None), &[b"h2", b"http/1.1"]);
    StandIn::start(tls, 0, SignedBy::new()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invariant_7_tls_a_proxy_that_inspects_and_forwards_is_named_and_gets_nothing() {
    let (own, authority) = (Ca::new("root"), Arc::new(Ca::new("ACME TLS Inspection")));
    let stand_in = open_cloud(&own).await;
    let inspector = Inspector::start(authority.clone()).await;
    let address = format!("127.0.0.1:{}", inspector.port);
    is_named_and_gets_nothing(&address, &authority, &own, &stand_in, "h2").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invariant_7_tls_squid_that_inspects_and_forwards_is_named_and_gets_nothing() {
    let (own, authority) = (Ca::new("root"), Ca::new("ACME TLS Inspection"));
    let stand_in = open_cloud(&own).await;
    let Some(squid) = HttpProxy::inspecting(stand_in.port, &authority.pem()) else { return };
    // It speaks HTTP/1.1 only.
    is_named_and_gets_nothing(&squid.address(None), &authority, &own, &stand_in, "grpc-web").await;
}
