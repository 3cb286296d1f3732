//! The cloud as a box meets it: over real TLS, with good and bad certificates; readings that come twice, late, or changed;
//! tasks and wake-ups.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed unwrap is a failed test

use std::net::SocketAddr;
use std::time::Duration;

use platen::cloud::{self, CloudConfig, RunningCloud, Trial};
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

fn config(folder: &tempfile::TempDir) -> CloudConfig {
    let free: SocketAddr = ([127, 0, 0, 1], 0).into();
    CloudConfig {
        data_dir: folder.path().join("cloud"),
        device_addr: free,
        portal_addr: free,
        server_names: vec!["localhost".to_owned()],
        poll_interval_s: 300,
    }
}

async fn start(folder: &tempfile::TempDir) -> RunningCloud {
    cloud::start(config(folder)).await.unwrap()
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cloud = start(&folder).await;
        Self { folder, cloud }
    }

    async fn enrol(&self, name: &str) -> Box {
        self.enrol_at(name, None).await
    }

    async fn enrol_at(&self, name: &str, site: Option<&str>) -> Box {
        let identity = IdentityFolder::in_data_dir(&self.folder.path().join(name));
        let request = identity.request().unwrap();
        let issued = match site {
            Some(site) => self.cloud.issue_box_at(&request, name, site).await.unwrap(),
            None => self.cloud.issue_box(&request, name).await.unwrap(),
        };
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
async fn a_box_is_turned_away_and_enabled_again_in_the_portal_and_stays_in_its_list() {
    let world = World::new().await;
    let a_box = world.enrol("box-8").await;
    let mut session = world.session(&a_box.tls).await.unwrap();
    session.poll(poll("x", 1_000, 0)).await.unwrap();
    send(&mut session, batch(9, 1, &[reading("A", 1, 1)])).await.unwrap();
    let form = format!("token={}", token(&world).await);
    let (revoke, enable) = (format!("/boxes/{}/revoke", a_box.id), format!("/boxes/{}/enable", a_box.id));
    assert!(post(&world, &revoke, "token=forged").await.starts_with("HTTP/1.1 403"));
    assert!(post(&world, &enable, &form).await.starts_with("HTTP/1.1 404"), "it is not turned away yet");
    assert!(post(&world, &revoke, &form).await.starts_with("HTTP/1.1 303"));
    assert!(post(&world, &revoke, &form).await.starts_with("HTTP/1.1 404"));

    let error = session.poll(poll("x", 2_000, 1)).await.unwrap_err();
    assert!(matches!(error, UplinkError::Rejected { .. }), "{error}");
    let shown = fleet(&world).await;
    assert_eq!(
        (&shown["boxes"][0]["turned_away"], &shown["alarms"]),
        (&true.into(), &serde_json::json!([])),
        "{shown:#}"
    );
    assert_eq!(shown["printers"][0]["serial"], "A", "no printer vanishes");
    assert!(get(&world, "/").await.contains("/enable"));

    assert!(post(&world, &enable, &form).await.starts_with("HTTP/1.1 303"));
    let mut session = world.session(&a_box.tls).await.unwrap();
    session.poll(poll("x", 3_000, 1)).await.unwrap();
    assert_eq!(fleet(&world).await["boxes"][0]["turned_away"], false);
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
    running.await.unwrap();
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
    running.await.unwrap();
}

/// Asks the portal as a program does; the answer's body.
async fn get(world: &World, path: &str) -> String {
    http(world, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")).await
}

async fn post(world: &World, path: &str, form: &str) -> String {
    let length = form.len();
    http(
        world,
        &format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n{form}"
        ),
    )
    .await
}

async fn http(world: &World, request: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(world.cloud.portal_addr()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn fleet(world: &World) -> serde_json::Value {
    let answer = get(world, "/api/v1/fleet").await;
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    // The answer may come in chunks.
    let start = body.find('{').unwrap();
    serde_json::Deserializer::from_str(&body[start..]).into_iter().next().unwrap().unwrap()
}

async fn token(world: &World) -> String {
    let page = get(world, "/").await;
    let start = page.find("name=\"token\" value=\"").unwrap() + "name=\"token\" value=\"".len();
    page[start..].split('"').next().unwrap().to_owned()
}

fn now_ms() -> u64 {
    u64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// A poll of a start of the box.
fn poll(boot_id: &str, uptime_ms: u64, last_seq: u64) -> v1::PollRequest {
    let status = v1::BoxStatus {
        boot_id: boot_id.to_owned(),
        uptime_ms,
        outbox_epoch: 9,
        outbox_last_seq: last_seq,
        ..v1::BoxStatus::default()
    };
    v1::PollRequest { status: Some(status), ..Default::default() }
}

fn is_suspended(error: &UplinkError) -> bool {
    matches!(error, UplinkError::Rejected { .. } | UplinkError::Call { code: tonic::Code::PermissionDenied, .. })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_box_that_contradicts_itself_is_stopped_and_shown_until_somebody_releases_it() {
    let world = World::new().await;
    let a_box = world.enrol("box-7").await;
    let mut session = world.session(&a_box.tls).await.unwrap();
    send(&mut session, batch(9, 1, &[reading("A", 1, 1)])).await.unwrap();
    send(&mut session, batch(9, 1, &[reading("A", 2, 1)])).await.unwrap_err();
    let mut session = world.session(&a_box.tls).await.unwrap();
    assert!(is_suspended(&session.poll(poll("x", 1, 1)).await.unwrap_err()));
    let mut session = world.session(&a_box.tls).await.unwrap();
    assert!(is_suspended(&send(&mut session, batch(9, 2, &[reading("A", 2, 2)])).await.unwrap_err()));

    let shown = fleet(&world).await;
    assert_eq!(shown["boxes"][0]["suspended"]["reason"], "seq_conflict");
    let alarm = shown["alarms"][0]["text"].as_str().unwrap();
    assert!(alarm.starts_with("box-7 is stopped") && alarm.contains("record 1"), "{alarm}");
    assert!(get(&world, "/").await.contains("/release"));
    let release = format!("/boxes/{}/release", a_box.id);
    assert!(post(&world, &release, "token=forged").await.starts_with("HTTP/1.1 403"));
    let form = format!("token={}", token(&world).await);
    assert!(post(&world, &release, &form).await.starts_with("HTTP/1.1 303"));
    assert!(post(&world, &release, &form).await.starts_with("HTTP/1.1 404"));
    let mut session = world.session(&a_box.tls).await.unwrap();
    assert_eq!(send(&mut session, batch(9, 2, &[reading("A", 2, 2)])).await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_copy_of_a_box_is_noticed_at_its_first_poll_and_a_second_one_when_both_poll() {
    let world = World::new().await;
    let (old, twin) = (world.enrol("old").await, world.enrol("twin").await);
    let mut session = world.session(&old.tls).await.unwrap();
    session.poll(poll("x", 1_000, 0)).await.unwrap();
    send(&mut session, batch(9, 1, &[reading("A", 1, 1), reading("A", 2, 2)])).await.unwrap();
    session.poll(poll("y", 1_000, 2)).await.unwrap();
    assert!(is_suspended(&session.poll(poll("z", 1_000, 1)).await.unwrap_err()));

    let mut session = world.session(&twin.tls).await.unwrap();
    session.poll(poll("x", 1_000_000, 0)).await.unwrap();
    session.poll(poll("y", 1_000, 0)).await.unwrap();
    assert!(is_suspended(&session.poll(poll("x", 1_300_000, 0)).await.unwrap_err()));
    let reasons: Vec<_> =
        fleet(&world).await["boxes"].as_array().unwrap().iter().map(|it| it["suspended"]["reason"].clone()).collect();
    assert_eq!(reasons, ["box_restored", "box_cloned"]);
    assert!(world.cloud.release(&twin.id).await.unwrap());
    let mut session = world.session(&twin.tls).await.unwrap();
    session.poll(poll("x", 1_400_000, 0)).await.unwrap();

    // The old copy is let go on, and gives a number again: it is asked to begin a new epoch after what both have.
    assert!(world.cloud.release(&old.id).await.unwrap());
    let mut session = world.session(&old.tls).await.unwrap();
    assert_eq!(session.poll(poll("z", 2_000, 1)).await.unwrap().end_epoch, None);
    assert_eq!(send(&mut session, batch(9, 2, &[reading("A", 9, 2)])).await.unwrap(), 1);
    let asked = session.poll(poll("z", 3_000, 2)).await.unwrap().end_epoch;
    assert_eq!(asked, Some(v1::EndEpoch { epoch: 9, after_seq: 1 }));
    let mut begun = poll("z", 4_000, 1);
    begun.status.as_mut().unwrap().outbox_epoch = 10;
    assert_eq!(session.poll(begun).await.unwrap().end_epoch, None);
    assert_eq!(send(&mut session, batch(10, 1, &[reading("A", 9, 2)])).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_travels_with_the_interval_that_holds_its_time_and_the_latest_is_the_latest_taken() {
    let world = World::new().await;
    let a_box = world.enrol("box").await;
    let mut session = world.session(&a_box.tls).await.unwrap();
    let now = now_ms();
    let record = |total: u64, taken: v1::Taken| {
        let mut record = v1::Record::decode(reading("A", total, 0).as_slice()).unwrap();
        if let Some(v1::record::What::Reading(reading)) = &mut record.what {
            reading.taken = Some(taken);
        }
        record.encode_to_vec()
    };
    let exact = |ago_ms: u64| v1::Taken {
        boot_id: "two".to_owned(),
        monotonic_ms: 10_000_000 - ago_ms,
        wall_clock_unix_ms: now - ago_ms,
        quality: v1::ClockQuality::Token.into(),
        radius_ms: 200,
    };
    let floor = v1::Taken {
        boot_id: "one".to_owned(),
        monotonic_ms: 5_000,
        wall_clock_unix_ms: now - 86_400_000,
        quality: v1::ClockQuality::Floor.into(),
        radius_ms: 0,
    };
    // The newest arrives in the middle; the first was taken before the box knew the time.
    let told = [record(100, floor), record(300, exact(60_000)), record(200, exact(120_000))];
    assert_eq!(send(&mut session, batch(9, 1, &told)).await.unwrap(), 3);
    let shown = fleet(&world).await;
    let printer = &shown["printers"][0];
    assert_eq!(printer["meters"][0]["value"], 300);
    let taken = &printer["meters"][0]["taken"];
    let number = |value: &serde_json::Value| value.as_u64().unwrap();
    assert!(
        number(&taken["not_before_unix_ms"]) <= now - 60_000 && number(&taken["not_after_unix_ms"]) >= now - 60_000
    );
    assert!(number(&taken["radius_ms"]) <= 201 && number(&taken["age_ms"]) >= 59_000, "{taken}");
    // What was read before the box knew the time lies between its floor and the start that came after it.
    let answer = get(&world, &format!("/api/v1/printers/{}", printer["id"])).await;
    let start = answer.find("{\"").unwrap();
    let one: serde_json::Value =
        serde_json::Deserializer::from_str(&answer[start..]).into_iter().next().unwrap().unwrap();
    let values: Vec<_> = one["total_history"].as_array().unwrap().iter().map(|point| number(&point["value"])).collect();
    assert_eq!(values, [100, 200, 300]);
    let first = &one["total_history"][0];
    assert!(number(&first["unix_ms"]) < now - 120_000 && number(&first["radius_ms"]) > 30_000_000, "{first}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_printer_that_is_not_read_stays_in_the_list_with_its_cause_and_remedy() {
    let world = World::new().await;
    let a_box = world.enrol("box").await;
    let mut session = world.session(&a_box.tls).await.unwrap();
    send(&mut session, batch(9, 1, &[reading("A", 1, now_ms())])).await.unwrap();
    assert!(fleet(&world).await["printers"][0]["not_read"].is_null());
    let silent = |key: &str, cause: v1::Cause, missed| v1::SilentPrinter {
        device_key: key.to_owned(),
        cause: cause.into(),
        missed,
        detail: "no answer".to_owned(),
    };
    let trouble = v1::Trouble { cause: v1::Cause::MqttBlocked.into(), detail: String::new() };
    let status = v1::BoxStatus { troubles: vec![trouble], ..v1::BoxStatus::default() };
    let silent = vec![
        silent("serial:Test:A", v1::Cause::PingOnly, 3),
        // One of which the cloud has never had a reading.
        silent("mac:00:17:c8:01:02:03", v1::Cause::WrongCredentials, 7),
    ];
    session.poll(v1::PollRequest { status: Some(status), silent, contact: None }).await.unwrap();
    let shown = fleet(&world).await;
    let printers = shown["printers"].as_array().unwrap();
    assert_eq!(printers.len(), 2);
    let of = |key: &str| printers.iter().find(|printer| printer["device_key"] == key).unwrap();
    let trouble = &of("serial:Test:A")["not_read"]["trouble"];
    assert_eq!((trouble["cause"].as_str(), trouble["detail"].as_str()), (Some("ping-only"), Some("no answer")));
    assert!(trouble["remedy"].as_str().unwrap().contains("Switch SNMP on"));
    let never = of("mac:00:17:c8:01:02:03");
    assert!(never["not_read"]["since"].is_null() && never["taken"].is_null());
    assert_eq!(never["not_read"]["trouble"]["cause"], "wrong-credentials");
    let page = get(&world, "/").await;
    for words in
        ["mqtt-blocked", "ping-only: no answer", "Switch SNMP on in the printer", "not read since", "never read"]
    {
        assert!(page.contains(words), "the page lacks {words}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boxes_of_one_site_share_a_printer_and_one_of_them_reads_it() {
    let world = World::new().await;
    let (a, b) = (world.enrol_at("a", Some("office")).await, world.enrol_at("b", Some("office")).await);
    let (mut of_a, mut of_b) = (world.session(&a.tls).await.unwrap(), world.session(&b.tls).await.unwrap());
    for session in [&mut of_a, &mut of_b] {
        session.poll(v1::PollRequest::default()).await.unwrap();
    }
    let now = now_ms();
    assert_eq!(send(&mut of_a, batch(9, 1, &[reading("A", 100, now - 1_000)])).await.unwrap(), 1);
    assert_eq!(send(&mut of_b, batch(9, 1, &[reading("A", 101, now)])).await.unwrap(), 1);
    assert!(of_a.poll(v1::PollRequest::default()).await.unwrap().standby.is_empty());
    assert_eq!(of_b.poll(v1::PollRequest::default()).await.unwrap().standby, ["serial:Test:A"]);
    let shown = fleet(&world).await;
    assert_eq!(shown["printers"].as_array().unwrap().len(), 1);
    assert_eq!(world.cloud.summary().await.unwrap().readings, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_set_in_the_portal_reach_the_box_and_nonsense_is_refused_with_the_reason() {
    let world = World::new().await;
    let a_box = world.enrol("box").await;
    let path = format!("/boxes/{}/schedule", a_box.id);
    let token = token(&world).await;
    let form = |times: &str| format!("token={token}&read_minutes=30&look_seconds=120&read_times={times}");
    let refused = post(&world, &path, &form("25%3A00")).await;
    assert!(refused.starts_with("HTTP/1.1 400") && refused.contains("no time of the day"), "{refused}");
    assert!(post(&world, &path, &form("18%3A30+06%3A00")).await.starts_with("HTTP/1.1 303"));
    let mut session = world.session(&a_box.tls).await.unwrap();
    let config = session.poll(v1::PollRequest::default()).await.unwrap().config.unwrap();
    assert_eq!((config.read_interval_s, config.look_interval_s), (1_800, 120));
    assert_eq!(config.read_times_utc, ["06:00", "18:30"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledgements_that_are_lost_for_a_trial_lose_and_double_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let cloud =
        cloud::start_for_trial(config(&folder), Trial { lose_acks_percent: 60, ..Trial::default() }).await.unwrap();
    let world = World { cloud, folder };
    let a_box = world.enrol("box").await;
    let mut lost = 0;
    for seq in 1..=20 {
        for attempt in 0.. {
            assert!(attempt < 100, "no acknowledgement came through");
            let mut session = world.session(&a_box.tls).await.unwrap();
            match send(&mut session, batch(9, seq, &[reading("A", seq, seq)])).await {
                Ok(up_to) => {
                    assert_eq!(up_to, seq);
                    break;
                }
                Err(_) => lost += 1,
            }
        }
    }
    assert!(lost > 0);
    assert_eq!(world.cloud.summary().await.unwrap().readings, 20);
}
