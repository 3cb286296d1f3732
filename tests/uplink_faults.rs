//! The uplink over bad lines, through proxies and past firewalls: every failure ends in time and is named right, and the cloud
//! is reached again as soon as the line lets it through.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed unwrap is a failed test

mod common;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use common::faults::{Fault, FaultProxy};
use common::pki::Ca;
use common::stand_in::{Answer, SignedBy, StandIn};
use common::{Peer, command, free_tcp_port, have, in_time, wait_for_tcp};
use platen::cause::Cause;
use platen::cloud::{self, CloudConfig, RunningCloud};
use platen::enroll::IdentityFolder;
use platen::proto::v1;
use platen::uplink::{
    Cloud, CloudSession, Dialer, Endpoint, GrpcCloud, LinkState, Proxy, RootDomain, TlsSettings, UplinkError, WakeLink,
    WakeLinkConfig,
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

const H2: &[&[u8]] = &[b"h2", b"http/1.1"];
const HTTP1: &[&[u8]] = &[b"http/1.1"];

struct World {
    ca: Ca,
    cloud: StandIn,
    line: FaultProxy,
}

impl World {
    async fn new(alpn: &[&[u8]]) -> Self {
        let ca = Ca::new("root");
        let cloud = StandIn::start(ca.server(&ca.issue("localhost", None), alpn), 0, SignedBy::new()).await;
        let line = FaultProxy::before(cloud.port).await;
        Self { ca, cloud, line }
    }

    fn dialer(&self, proxy: Option<Proxy>) -> Dialer {
        Dialer::new(TlsSettings::new(&self.ca.identity(&self.ca.root_pem())).unwrap(), proxy)
    }

    /// The cloud, over the line.
    fn cloud(&self) -> GrpcCloud {
        GrpcCloud::new(self.dialer(None), endpoint("https", self.line.port))
    }

    async fn poll(&self) -> Result<&'static str, UplinkError> {
        poll(&self.cloud()).await
    }
}

fn endpoint(scheme: &str, port: u16) -> Endpoint {
    let (root, path): (RootDomain, _) = ("localhost".parse().unwrap(), if scheme == "wss" { "/mqtt" } else { "" });
    Endpoint::parse(&format!("{scheme}://localhost:{port}{path}"), &root).unwrap()
}

/// One round; says how it travelled.
async fn poll(cloud: &GrpcCloud) -> Result<&'static str, UplinkError> {
    let mut session = cloud.open().await?;
    session.poll(v1::PollRequest::default()).await?;
    let ack = session.upload(batch(1, 100)).await?;
    assert_eq!((ack.epoch, ack.contiguous_seq), (9, 1));
    assert_eq!(session.upload(batch(2, 100)).await?.contiguous_seq, 2);
    Ok(session.transport())
}

fn batch(seq: u64, bytes: usize) -> v1::ReadingBatch {
    let reading = v1::StoredReading { seq, record: vec![7; bytes], ..v1::StoredReading::default() };
    v1::ReadingBatch { epoch: 9, readings: vec![reading], ..v1::ReadingBatch::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_of_a_line_is_named_and_the_round_after_it_gets_through() {
    for (alpn, transport) in [(H2, "h2"), (HTTP1, "grpc-web")] {
        let world = World::new(alpn).await;
        let harmless = [Fault::None, Fault::Latency(Duration::from_millis(50)), Fault::Slices];
        // Within the handshake and after it.
        let cuts = (100..=1_800).step_by(170).flat_map(|octets| [Fault::ResetAfter(octets), Fault::CloseAfter(octets)]);
        let mut seen = HashSet::new();
        for fault in harmless.into_iter().chain([Fault::Reset]).chain(cuts) {
            world.line.set(fault);
            match in_time("a round", world.poll()).await {
                // What is cut after the last octet that matters does no harm.
                Ok(travelled) => assert!(travelled == transport && fault != Fault::Reset, "{fault:?}"),
                Err(error) => {
                    assert!(!harmless.contains(&fault), "{fault:?}: {error}");
                    seen.insert(error.trouble().cause);
                    assert_eq!(error.proven_refusal(), None);
                }
            }
            world.line.set(Fault::None);
            assert_eq!(in_time("a round after it", world.poll()).await.unwrap(), transport, "{fault:?}");
        }
        assert_eq!(seen, HashSet::from([Cause::Tcp, Cause::TlsRefused]), "{transport}");
    }
}

/// Frozen in the handshake, in a poll, in an upload; over HTTP/2 and over HTTP/1.1.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_open_connection_is_noticed_within_twenty_seconds_and_the_next_round_gets_through() {
    let (h2, web) = (World::new(H2).await, World::new(HTTP1).await);
    let frozen = async |world: &World, at: &str| {
        // Others go on over this cloud's other lines.
        let line = FaultProxy::before(world.cloud.port).await;
        let cloud = GrpcCloud::new(world.dialer(None), endpoint("https", line.port));
        if at == "handshake" {
            line.set(Fault::Freeze);
        }
        let began = Instant::now();
        let error = match cloud.open().await {
            Err(error) => error,
            Ok(mut session) => {
                session.poll(v1::PollRequest::default()).await.unwrap();
                line.set(Fault::Freeze);
                match at {
                    "poll" => session.poll(v1::PollRequest::default()).await.unwrap_err(),
                    _ => session.upload(batch(1, 400_000)).await.unwrap_err(),
                }
            }
        };
        let UplinkError::Timeout { seconds, .. } = &error else { panic!("{at}: {error}") };
        // The limit of time itself, and how long it took with what a busy machine adds.
        assert!(*seconds <= 20 && began.elapsed() < Duration::from_secs(45), "{at}: {error}, {:?}", began.elapsed());
        println!("frozen in {at}: noticed after {:.1?}", began.elapsed());
        line.set(Fault::None);
        in_time("a round after it", poll(&cloud)).await.unwrap();
    };
    tokio::join!(
        frozen(&h2, "handshake"),
        frozen(&h2, "poll"),
        frozen(&h2, "upload"),
        frozen(&web, "poll"),
        frozen(&web, "upload")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cloud_that_takes_a_call_and_never_answers_it_is_given_up_after_twenty_seconds() {
    let world = World::new(H2).await;
    world.cloud.state.answer(Answer::Never);
    let error = world.poll().await.unwrap_err();
    assert_eq!(error.trouble().cause, Cause::Timeout, "{error}");
    world.cloud.state.answer(Answer::Well);
    world.poll().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_http_2_is_broken_the_same_calls_go_on_as_grpc_web_and_that_is_said() {
    let world = World::new(H2).await;
    let cloud = world.cloud();
    assert_eq!(poll(&cloud).await.unwrap(), "h2");
    world.line.set(Fault::ResetHttp2);
    let mut travelled = Vec::new();
    for _ in 0..7 {
        travelled.push(in_time("a round", poll(&cloud)).await.ok());
    }
    let (broken, web) = (None, Some("grpc-web"));
    // Three breaks, HTTP/1.1, one more look at HTTP/2, and then HTTP/1.1 for a day.
    assert_eq!(travelled, [broken, broken, broken, web, broken, web, web]);
    let troubles = cloud.troubles();
    assert_eq!(troubles.iter().map(|trouble| trouble.cause).collect::<Vec<_>>(), [Cause::Http2Blocked]);
    // A restarted box finds HTTP/2 again, when it passes again.
    world.line.set(Fault::None);
    let cloud = world.cloud();
    assert_eq!(poll(&cloud).await.unwrap(), "h2");
    assert!(cloud.troubles().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cloud_behind_something_that_speaks_http_1_only_is_reached_at_once() {
    let world = World::new(&[]).await;
    let cloud = world.cloud();
    assert_eq!(poll(&cloud).await.unwrap(), "grpc-web");
    assert_eq!(cloud.troubles().first().map(|trouble| trouble.cause), Some(Cause::Http2Blocked));
    assert_eq!(world.cloud.state.calls(), ["Poll", "UploadReadings", "UploadReadings"]);
}

/// A log-in page in the place of the proxy, and of the cloud: it is named, and sees no password.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_captive_portal_is_named_and_sees_no_password() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (seen, mut requests) = mpsc::channel(8);
    let portal = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 2_048];
            let read = stream.read(&mut request).await.unwrap_or(0);
            let _ = seen.send(String::from_utf8_lossy(&request[..read]).into_owned()).await;
            let _ = stream.write_all(b"HTTP/1.1 302 Found\r\nLocation: http://login.hotel/\r\n\r\n").await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    });
    let world = World::new(H2).await;
    let proxy = Proxy::parse(&format!("http://box:sesame@127.0.0.1:{port}")).unwrap();
    for (proxy, dialled) in [(Some(proxy), 443), (None, port)] {
        let error = CloudSession::open(&world.dialer(proxy), &endpoint("https", dialled)).await.unwrap_err();
        assert_eq!(error.trouble().cause, Cause::CaptivePortal, "{error}");
        assert!(error.trouble().detail.contains("302 Found"), "{error}");
        let request = in_time("its request", requests.recv()).await.unwrap();
        assert!(!request.contains("Authorization"), "{request}");
    }
    portal.abort();
}

/// A server of TLS 1.1, and one whose only suite has no forward secrecy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invariant_7_tls_old_versions_and_weak_suites_are_refused() {
    if !have("openssl") {
        return;
    }
    let world = World::new(H2).await;
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key.pem");
    let made = command("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "9", "-subj", "/CN=localhost", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(folder.path().join("cert.pem"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", common::text(&made));
    for version in [&["-tls1_1", "-cipher", "ALL@SECLEVEL=0"][..], &["-tls1_2", "-cipher", "AES128-SHA"]] {
        let port = free_tcp_port();
        let _server = Peer(
            command("openssl")
                .args(["s_server", "-quiet", "-accept", &format!("127.0.0.1:{port}"), "-key"])
                .arg(&key)
                .arg("-cert")
                .arg(folder.path().join("cert.pem"))
                .args(version)
                .stdin(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .spawn()
                .unwrap(),
        );
        wait_for_tcp(port);
        let error = CloudSession::open(&world.dialer(None), &endpoint("https", port)).await.unwrap_err();
        assert_eq!(error.trouble().cause, Cause::TlsRefused, "{version:?}: {error}");
        assert_eq!(error.proven_refusal(), None);
    }
}

/// A cloud with its own broker, and a box that it knows.
struct RealCloud {
    folder: tempfile::TempDir,
    config: CloudConfig,
    cloud: RunningCloud,
    box_id: String,
    dialer: Dialer,
}

impl RealCloud {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let free = ([127, 0, 0, 1], 0).into();
        let mut config = CloudConfig {
            data_dir: folder.path().join("cloud"),
            device_addr: free,
            portal_addr: free,
            server_names: vec!["localhost".to_owned()],
            poll_interval_s: 300,
        };
        let cloud = cloud::start(config.clone()).await.unwrap();
        config.device_addr = cloud.device_addr();
        let identity = IdentityFolder::in_data_dir(&folder.path().join("box"));
        let issued = cloud.issue_box(&identity.request().unwrap(), "box").await.unwrap();
        identity.install(&issued.box_id, &issued.certificate_pem, &issued.root_pem).unwrap();
        let dialer = Dialer::new(TlsSettings::new(&identity.load().unwrap().tls).unwrap(), None);
        Self { folder, config, cloud, box_id: issued.box_id, dialer }
    }

    fn port(&self) -> u16 {
        self.config.device_addr.port()
    }

    /// The wake-up link to this port; what it says of itself, and its wake-ups. Runs until it is stopped.
    fn wake_link(&self, port: u16, stop: &CancellationToken) -> (watch::Receiver<LinkState>, mpsc::Receiver<()>) {
        let (state, link) = watch::channel(LinkState::Connecting);
        let (wake, wakes) = mpsc::channel(1);
        let config = WakeLinkConfig {
            endpoint: endpoint("wss", port),
            box_id: self.box_id.clone(),
            runtime_dir: self.folder.path().to_owned(),
        };
        tokio::spawn(WakeLink::new(config, self.dialer.clone(), state, wake).run(stop.clone()));
        (link, wakes)
    }
}

async fn wait_until_up(link: &mut watch::Receiver<LinkState>, wakes: &mut mpsc::Receiver<()>) {
    in_time("the link", link.wait_for(|state| *state == LinkState::Up)).await.unwrap();
    in_time("its wake-up", wakes.recv()).await.unwrap();
}

/// The waits here are a minute at most, a fifth of the time between two polls.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clouds_broker_restarts_and_wakes_the_box_again_before_its_next_poll() {
    let mut real = RealCloud::start().await;
    let stop = CancellationToken::new();
    let (mut link, mut wakes) = real.wake_link(real.port(), &stop);
    wait_until_up(&mut link, &mut wakes).await;
    for _ in 0..2 {
        real.cloud.shutdown().await;
        in_time("losing it", link.wait_for(|state| matches!(state, LinkState::Down(_)))).await.unwrap();
        real.cloud = cloud::start(real.config.clone()).await.unwrap();
        wait_until_up(&mut link, &mut wakes).await;
        real.cloud.scan_now(&real.box_id).await.unwrap();
        in_time("a wake-up", wakes.recv()).await.unwrap();
    }
    stop.cancel();
    real.cloud.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_line_under_the_wake_up_link_is_noticed_within_a_minute_and_the_link_is_back_when_it_thaws() {
    let real = RealCloud::start().await;
    let line = FaultProxy::before(real.port()).await;

    // The real cloud also takes the calls where only HTTP/1.1 passes.
    let by_web = GrpcCloud::new(real.dialer.clone(), endpoint("https", line.port));
    line.set(Fault::ResetHttp2);
    let mut travelled = Vec::new();
    for _ in 0..4 {
        let session = by_web.open().await;
        let polled = match session {
            Ok(mut session) => session.poll(v1::PollRequest::default()).await.map(|_| session.transport()),
            Err(error) => Err(error),
        };
        travelled.push(polled.ok());
    }
    assert_eq!(travelled, [None, None, None, Some("grpc-web")]);
    line.set(Fault::None);

    let stop = CancellationToken::new();
    let (mut link, mut wakes) = real.wake_link(line.port, &stop);
    wait_until_up(&mut link, &mut wakes).await;
    line.set(Fault::Freeze);
    let began = Instant::now();
    in_time("noticing that nothing moves", link.wait_for(|state| *state != LinkState::Up)).await.unwrap();
    println!("wake-up link frozen: noticed after {:.1?}", began.elapsed());
    line.set(Fault::None);
    wait_until_up(&mut link, &mut wakes).await;
    // Through latency and slices it wakes all the same.
    line.set(Fault::Slices);
    real.cloud.scan_now(&real.box_id).await.unwrap();
    in_time("a wake-up", wakes.recv()).await.unwrap();
    stop.cancel();
    real.cloud.shutdown().await;
}
