//! The cloud as a box meets it: over real TLS, with good and bad certificates; readings that come twice, late, or changed;
//! tasks and wake-ups.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed unwrap is a failed test

use std::net::SocketAddr;
use std::time::Duration;

use platen::cloud::{self, CloudConfig, RunningCloud};
use platen::enroll::IdentityFolder;
use platen::proto::v1;
use platen::uplink::{
    CloudSession, Dialer, Endpoint, LinkState, RootDomain, TlsIdentity, TlsSettings, UplinkError, WakeLink,
    WakeLinkConfig,
};
use prost::Message;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

struct World {
    folder: tempfile::TempDir,
    cloud: RunningCloud,
}

struct Box {
    id: String,
    tls: TlsIdentity,
}

async fn start(folder: &tempfile::TempDir) -> RunningCloud {
    let free: SocketAddr = ([127, 0, 0, 1], 0).into();
    cloud::start(CloudConfig {
        data_dir: folder.path().join("cloud"),
        device_addr: free,
        portal_addr: free,
        server_names: vec!["localhost".to_owned()],
        poll_interval_s: 300,
    })
    .await
    .unwrap()
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cloud = start(&folder).await;
        Self { folder, cloud }
    }

    async fn enrol(&self, name: &str) -> Box {
        let identity = IdentityFolder::in_data_dir(&self.folder.path().join(name));
        let issued = self.cloud.issue_box(&identity.request().unwrap(), name).await.unwrap();
        identity.install(&issued.box_id, &issued.certificate_pem, &issued.root_pem).unwrap();
        let loaded = identity.load().unwrap();
        Box { id: loaded.box_id, tls: loaded.tls }
    }

    fn endpoint(&self, scheme: &str, path: &str) -> Endpoint {
        let root: RootDomain = "localhost".parse().unwrap();
        let port = self.cloud.device_addr().port();
        Endpoint::parse(&format!("{scheme}://localhost:{port}{path}"), &root).unwrap()
    }

    fn dialer(tls: &TlsIdentity) -> Dialer {
        Dialer::new(TlsSettings::new(tls).unwrap(), None)
    }

    async fn session(&self, tls: &TlsIdentity) -> Result<CloudSession, UplinkError> {
        CloudSession::open(&Self::dialer(tls), &self.endpoint("https", "")).await
    }
}

fn reading(serial: &str, total: u64, taken_ms: u64) -> Vec<u8> {
    let meter = v1::Meter {
        name: "total".to_owned(),
        value: total,
        unit: "impressions".to_owned(),
        oid: "1.3".to_owned(),
        ..v1::Meter::default()
    };
    let reading = v1::Reading {
        device_key: format!("serial:Test:{serial}"),
        serial: Some(serial.to_owned()),
        taken: Some(v1::Taken { wall_clock_unix_ms: taken_ms, ..v1::Taken::default() }),
        meters: vec![meter],
        ..v1::Reading::default()
    };
    v1::Record { what: Some(v1::record::What::Reading(reading)) }.encode_to_vec()
}

fn batch(epoch: u64, first: u64, payloads: &[Vec<u8>]) -> v1::ReadingBatch {
    let readings = (first..)
        .zip(payloads)
        .map(|(seq, payload)| v1::StoredReading {
            seq,
            content_sha256: ring::digest::digest(&ring::digest::SHA256, payload).as_ref().to_vec(),
            record: payload.clone(),
            thinned: false,
        })
        .collect();
    v1::ReadingBatch { epoch, readings, ..v1::ReadingBatch::default() }
}

async fn send(session: &mut CloudSession, batch: v1::ReadingBatch) -> Result<u64, UplinkError> {
    session.upload(batch).await.map(|ack| ack.contiguous_seq)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_twice_is_stored_once_and_a_gap_is_not_acknowledged() {
    let world = World::new().await;
    let a_box = world.enrol("box").await;
    let mut session = world.session(&a_box.tls).await.unwrap();
    let payloads: Vec<_> = (1..=5).map(|n| reading("A", 100 + n, n)).collect();
    assert_eq!(send(&mut session, batch(9, 1, &payloads[..2])).await.unwrap(), 2);
    assert_eq!(send(&mut session, batch(9, 1, &payloads[..2])).await.unwrap(), 2);
    assert_eq!(world.cloud.summary().await.unwrap().readings, 2);
    // 3 is missing: 4 and 5 are kept and not acknowledged, until it comes.
    assert_eq!(send(&mut session, batch(9, 4, &payloads[3..])).await.unwrap(), 2);
    assert_eq!(send(&mut session, batch(9, 3, &payloads[2..3])).await.unwrap(), 5);
    let summary = world.cloud.summary().await.unwrap();
    assert_eq!((summary.readings, summary.devices), (5, 1));
    // Another epoch counts anew.
    assert_eq!(send(&mut session, batch(u64::MAX, 1, &payloads[..1])).await.unwrap(), 1);
}

fn event(id: u8, kind: &str, device_key: &str, old_key: Option<&str>) -> Vec<u8> {
    let event = v1::Event {
        id: vec![id; 16],
        kind: kind.to_owned(),
        device_key: device_key.to_owned(),
        old_key: old_key.map(str::to_owned),
        ..v1::Event::default()
    };
    v1::Record { what: Some(v1::record::What::Event(event)) }.encode_to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_is_told_again_is_stored_once_and_a_printer_keeps_its_history_under_a_better_key() {
    let world = World::new().await;
    let a_box = world.enrol("box").await;
    let mut session = world.session(&a_box.tls).await.unwrap();
    let jam = event(1, "ALERT_STARTED", "serial:Test:A", None);
    // After a power cut the box tells it again, under another number.
    let told = [reading("A", 100, 1), jam.clone(), jam, event(2, "ALERT_ENDED", "serial:Test:A", None)];
    assert_eq!(send(&mut session, batch(9, 1, &told)).await.unwrap(), 4);
    let summary = world.cloud.summary().await.unwrap();
    assert_eq!((summary.readings, summary.events, summary.devices), (4, 2, 1));
    // The next reading comes by the new key: it is the same printer.
    let renamed = [event(3, "KEY_CHANGED", "serial:Test:B", Some("serial:Test:A")), reading("B", 101, 2)];
    assert_eq!(send(&mut session, batch(9, 5, &renamed)).await.unwrap(), 6);
    let summary = world.cloud.summary().await.unwrap();
    assert_eq!((summary.events, summary.devices), (3, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_that_comes_again_with_other_content_is_refused_whole() {
    let world = World::new().await;
    let a_box = world.enrol("box").await;
    let mut session = world.session(&a_box.tls).await.unwrap();
    send(&mut session, batch(9, 1, &[reading("A", 1, 1)])).await.unwrap();
    let error = send(&mut session, batch(9, 1, &[reading("A", 999, 1), reading("B", 1, 1)])).await.unwrap_err();
    assert!(matches!(error, UplinkError::Call { code: tonic::Code::AlreadyExists, .. }), "{error}");
    let summary = world.cloud.summary().await.unwrap();
    assert_eq!((summary.readings, summary.devices), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_breaks_the_contract_is_refused_with_the_reason() {
    let world = World::new().await;
    let a_box = world.enrol("box").await;
    let mut session = world.session(&a_box.tls).await.unwrap();
    let good = batch(9, 1, &[reading("A", 1, 1), reading("A", 2, 2)]);
    let mut wrong_hash = good.clone();
    wrong_hash.readings[0].content_sha256[0] ^= 1;
    let mut with_gap = good.clone();
    with_gap.readings[1].seq = 3;
    let no_epoch = v1::ReadingBatch { epoch: 0, ..good.clone() };
    let empty = v1::ReadingBatch { readings: vec![], ..good };
    for bad in [wrong_hash, with_gap, no_epoch, empty] {
        let error = send(&mut session, bad).await.unwrap_err();
        assert!(matches!(error, UplinkError::Call { code: tonic::Code::InvalidArgument, .. }), "{error}");
    }
    assert_eq!(world.cloud.summary().await.unwrap().readings, 0);
    // What is no Reading is kept all the same: it was accepted.
    assert_eq!(send(&mut session, batch(9, 1, &[vec![0xff; 9]])).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_a_restart_of_the_cloud() {
    let folder = tempfile::tempdir().unwrap();
    let world = World { cloud: start(&folder).await, folder };
    let a_box = world.enrol("box").await;
    let mut session = world.session(&a_box.tls).await.unwrap();
    send(&mut session, batch(9, 1, &[reading("A", 1, 1)])).await.unwrap();
    drop(session);
    world.cloud.shutdown().await;
    let world = World { cloud: start(&world.folder).await, folder: world.folder };
    // The box's certificate is still good: the authority is the same.
    let mut session = world.session(&a_box.tls).await.unwrap();
    assert_eq!(send(&mut session, batch(9, 2, &[reading("A", 2, 2)])).await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_box_of_this_cloud_is_let_in_and_the_box_believes_only_its_cloud() {
    let world = World::new().await;
    let other = World::new().await;
    let a_box = world.enrol("box").await;
    let stranger = other.enrol("stranger").await;

    // The stranger does not believe this cloud.
    let error = world.session(&stranger.tls).await.unwrap_err();
    assert!(matches!(error, UplinkError::UntrustedServer { .. }), "{error}");
    // It is made to, and this cloud does not believe the stranger.
    let deceived = TlsIdentity { roots_pem: a_box.tls.roots_pem.clone(), ..stranger.tls.clone() };
    // The cloud's words may be lost with the connection that they come on; then the box does not count it as a refusal.
    let mut is_rejected = false;
    for _ in 0..20 {
        let error = match world.session(&deceived).await {
            Ok(mut session) => session.poll(v1::PollRequest::default()).await.unwrap_err(),
            Err(error) => error,
        };
        is_rejected |= matches!(error, UplinkError::Rejected { .. });
    }
    assert!(is_rejected);
    // A box that was turned away is told so, also on a connection and in an upload that it had before.
    let mut session = world.session(&a_box.tls).await.unwrap();
    session.poll(v1::PollRequest::default()).await.unwrap();
    session.upload(batch(9, 1, &[reading("A", 1, 1)])).await.unwrap();
    world.cloud.revoke(&a_box.id).await.unwrap();
    let error = session.upload(batch(9, 2, &[reading("A", 2, 2)])).await.unwrap_err();
    assert!(matches!(error, UplinkError::Rejected { .. }), "{error}");
    let error = session.poll(v1::PollRequest::default()).await.unwrap_err();
    assert!(matches!(error, UplinkError::Rejected { .. }), "{error}");
    assert_eq!(world.cloud.summary().await.unwrap().readings, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_wakes_the_box_is_told_until_it_ended_and_ends_once() {
    let world = World::new().await;
    let a_box = world.enrol("box").await;
    let (state, mut link) = watch::channel(LinkState::Connecting);
    let (wake, mut wakes) = mpsc::channel(1);
    let config = WakeLinkConfig {
        endpoint: world.endpoint("wss", "/mqtt"),
        box_id: a_box.id.clone(),
        runtime_dir: world.folder.path().to_owned(),
    };
    let stop = CancellationToken::new();
    let running = tokio::spawn(WakeLink::new(config, World::dialer(&a_box.tls), state, wake).run(stop.clone()));
    tokio::time::timeout(Duration::from_secs(30), link.wait_for(|state| *state == LinkState::Up))
        .await
        .unwrap()
        .unwrap();
    // One wake-up for the connection itself: what was said before is asked for.
    wakes.recv().await.unwrap();

    let task = world.cloud.scan_now(&a_box.id).await.unwrap();
    tokio::time::timeout(Duration::from_secs(30), wakes.recv()).await.unwrap().unwrap();
    let mut session = world.session(&a_box.tls).await.unwrap();
    for _ in 0..2 {
        let reply = session.poll(v1::PollRequest::default()).await.unwrap();
        assert_eq!(reply.tasks.iter().map(|task| task.id.as_str()).collect::<Vec<_>>(), [task.as_str()]);
    }
    let report = |state: v1::TaskState, message: &str| v1::TaskReport {
        task_id: task.clone(),
        state: state.into(),
        message: message.to_owned(),
        ..v1::TaskReport::default()
    };
    session.report_task(report(v1::TaskState::Running, "")).await.unwrap();
    session.report_task(report(v1::TaskState::Done, "12 printers read")).await.unwrap();
    session.report_task(report(v1::TaskState::Failed, "too late")).await.unwrap();
    let ended = world.cloud.task(&task).await.unwrap();
    assert_eq!(ended, Some((i64::from(v1::TaskState::Done as i32), "12 printers read".to_owned())));
    assert!(session.poll(v1::PollRequest::default()).await.unwrap().tasks.is_empty());
    stop.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_box_cannot_speak_as_another() {
    let world = World::new().await;
    let (a, b) = (world.enrol("a").await, world.enrol("b").await);
    let (state, mut link) = watch::channel(LinkState::Connecting);
    let (wake, _wakes) = mpsc::channel(1);
    // b's certificate, a's name.
    let config = WakeLinkConfig {
        endpoint: world.endpoint("wss", "/mqtt"),
        box_id: a.id,
        runtime_dir: world.folder.path().to_owned(),
    };
    let stop = CancellationToken::new();
    let running = tokio::spawn(WakeLink::new(config, World::dialer(&b.tls), state, wake).run(stop.clone()));
    let refused = link.wait_for(|state| !matches!(state, LinkState::Connecting));
    let state = tokio::time::timeout(Duration::from_secs(30), refused).await.unwrap().unwrap().clone();
    assert!(matches!(state, LinkState::Down(_)), "{state:?}");
    stop.cancel();
    running.await.unwrap().unwrap();
}
