//! The box's side of enrolment, with the box's real agent and the real cloud over TLS: the three ways in, what the button alone
//! cannot do, factory reset, release, renewal, recovery, and the ways back of a disabled box.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use platen::agent::control::{Answer, Request, SOCKET};
use platen::agent::status::Status;
use platen::agent::{self, AgentError, Config, Front};
use platen::board::Gesture;
use platen::cloud::{self, CloudConfig, RunningCloud, Trial};
use platen::enroll::{IdentityFolder, RECORD};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const LABEL: &str = "0123-4567-89AB-CDEF";
/// Longest wait for anything here; only a fault takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

async fn cloud(folder: &Path, trial: Trial) -> RunningCloud {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = CloudConfig {
        data_dir: folder.join("cloud"),
        device_addr: any,
        portal_addr: any,
        server_names: vec!["localhost".to_owned()],
        poll_interval_s: 5,
    };
    let cloud = cloud::start_for_trial(config, trial).await.unwrap();
    std::fs::write(folder.join("roots.pem"), cloud.pinned_pem()).unwrap();
    cloud
}

/// A box with its start loop, as `platen run` has it.
struct TestBox {
    config: Config,
    front: Front,
    stop: CancellationToken,
    status: watch::Receiver<Option<watch::Receiver<Status>>>,
    running: JoinHandle<Result<(), AgentError>>,
}

fn config(folder: &Path, cloud: &RunningCloud, serial: &str) -> Config {
    let home = folder.join(serial);
    std::fs::create_dir_all(&home).unwrap();
    let label = home.join("label.toml");
    std::fs::write(&label, format!("serial = \"{serial}\"\nsecret = \"{LABEL}\"\n")).unwrap();
    let (port, folder) = (cloud.device_addr().port(), folder.display());
    let text = format!(
        "data_dir = \"{home}/data\"\nruntime_dir = \"{home}/run\"\n[cloud]\nroot_domain = \"localhost\"
grpc = \"https://localhost:{port}\"\nmqtt = \"wss://localhost:{port}/mqtt\"\nroots = \"{folder}/roots.pem\"
[device]\nlabel = \"{home}/label.toml\"\n[lan]\nfence = [\"127.88.0.1\"]\n",
        home = home.display()
    );
    let path = home.join("platen.toml");
    std::fs::write(&path, text).unwrap();
    Config::load(&path).unwrap()
}

impl TestBox {
    fn start(config: Config) -> Self {
        let (front, stop) = (Front::default(), CancellationToken::new());
        let (shown, status) = watch::channel(None);
        let running = tokio::spawn({
            let (config, front, stop) = (config.clone(), front.clone(), stop.clone());
            async move {
                loop {
                    let agent = agent::start_with(&config, &front, stop.child_token())?;
                    shown.send_replace(Some(agent.status()));
                    match agent.finished().await {
                        Err(AgentError::Restart(_)) if !stop.is_cancelled() => {}
                        ended => return ended,
                    }
                }
            }
        });
        Self { config, front, stop, status, running }
    }

    fn now(&self) -> Status {
        self.status.borrow().as_ref().map(|status| status.borrow().clone()).unwrap_or_default()
    }

    async fn until(&self, what: &str, is_so: impl Fn(&Status) -> bool) -> Status {
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                let now = self.now();
                if is_so(&now) {
                    return now;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        waited.await.unwrap_or_else(|_| panic!("not {what}: {:?} {:?}", self.now().enrolment, self.now().cloud))
    }

    async fn until_phase(&self, phase: &str) -> Status {
        self.until(phase, |status| status.enrolment.phase == phase).await
    }

    async fn ask(&self, request: Request) -> Answer {
        let asked = async {
            let stream = UnixStream::connect(self.config.runtime_dir.join(SOCKET)).await?;
            let mut stream = BufReader::new(stream);
            let line = serde_json::to_string(&request).unwrap() + "\n";
            stream.write_all(line.as_bytes()).await?;
            let mut answer = String::new();
            stream.read_line(&mut answer).await?;
            serde_json::from_str(&answer).map_err(std::io::Error::other)
        };
        asked.await.unwrap_or_else(|error: std::io::Error| Answer::Refused { why: error.to_string() })
    }

    /// Asks until the box is there to hear it: it may be just starting again.
    async fn agreed(&self, request: Request) {
        let mut answer = self.ask(request.clone()).await;
        for _ in 0..100 {
            match &answer {
                Answer::Refused { why } if why.contains("os error") || why.contains("starting again") => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    answer = self.ask(request.clone()).await;
                }
                _ => break,
            }
        }
        assert!(matches!(answer, Answer::Done { .. } | Answer::Challenge { .. }), "{answer:?}");
    }

    async fn end(self) -> Config {
        self.stop.cancel();
        self.running.await.unwrap().unwrap();
        self.config
    }

    /// Claims it by the code that it shows, somebody standing before it.
    async fn claim(&self, cloud: &RunningCloud) -> Status {
        self.until_phase("unclaimed").await;
        self.agreed(Request::Claim).await;
        let shown = self.until("a code", |status| code(status).is_some()).await;
        cloud.approve(&code(&shown).unwrap(), "Box", "site").await.unwrap();
        self.until("asked to be pressed", |status| status.word() == "press").await;
        self.agreed(Request::Press).await;
        self.until_well().await
    }

    async fn until_well(&self) -> Status {
        self.until("active and polled", |status| {
            status.enrolment.phase == "active" && status.cloud.last_contact_unix_ms.is_some()
        })
        .await
    }
}

fn code(status: &Status) -> Option<String> {
    status.enrolment.pairing.as_ref()?.user_code.clone()
}

async fn poll_until<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    for _ in 0..600 {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("never {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_is_claimed_by_the_code_that_it_shows_and_stays_so_over_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path(), Trial::default()).await;
    let claimed = TestBox::start(config(folder.path(), &cloud, "PL-A"));
    let status = claimed.claim(&cloud).await;
    assert!(status.box_id.starts_with("box-"), "{}", status.box_id);
    assert_eq!(status.enrolment.tenant.as_deref(), Some("default"));
    assert_eq!(status.enrolment.words.split(' ').count(), 4);
    assert!(matches!(claimed.ask(Request::Claim).await, Answer::Refused { .. }), "it is somebody's");
    let config = claimed.end().await;
    let again = TestBox::start(config);
    assert_eq!(again.until_well().await.box_id, status.box_id);
    again.end().await;
    cloud.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_is_claimed_by_its_button_an_open_window_and_the_number_that_it_blinks() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path(), Trial::default()).await;
    let claimed = TestBox::start(config(folder.path(), &cloud, "PL-B"));
    claimed.until_phase("unclaimed").await;
    let window = cloud.open_window("PL-B", LABEL, "Box", "site").await.unwrap();
    claimed.front.gestures.send(Gesture::Pair).unwrap();
    let number = |status: &Status| status.enrolment.pairing.as_ref().and_then(|pairing| pairing.number);
    let shown = claimed.until("a number", |status| number(status).is_some()).await;
    assert_eq!(shown.word(), "number");
    assert!(cloud.pick_number(&window, u32::from(number(&shown).unwrap())).await.unwrap());
    claimed.until_well().await;
    claimed.end().await;
    cloud.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_is_claimed_by_a_code_that_the_portal_made_and_once_only() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path(), Trial::default()).await;
    let (first, second) =
        (TestBox::start(config(folder.path(), &cloud, "PL-C")), TestBox::start(config(folder.path(), &cloud, "PL-D")));
    let code = cloud.make_registration_code("site", None).await.unwrap();
    first.until_phase("unclaimed").await;
    first.agreed(Request::Register { code: code.to_lowercase() }).await;
    first.until_well().await;
    second.until_phase("unclaimed").await;
    second.agreed(Request::Register { code }).await;
    let refused = second.until("refused", |status| status.enrolment.last_error.is_some()).await;
    assert_eq!(refused.enrolment.phase, "unclaimed");
    first.end().await;
    second.end().await;
    cloud.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t_32_a_held_button_without_a_window_claims_nothing_and_can_be_cancelled() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path(), Trial::default()).await;
    let pressed = TestBox::start(config(folder.path(), &cloud, "PL-E"));
    for _ in 0..3 {
        pressed.until_phase("unclaimed").await;
        pressed.front.gestures.send(Gesture::Pair).unwrap();
        pressed.until("pairing", |status| status.word() == "pairing").await;
        pressed.front.gestures.send(Gesture::Tap).unwrap();
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert_eq!(pressed.now().word(), "pairing");
        pressed.agreed(Request::Cancel).await;
    }
    pressed.until_phase("unclaimed").await;
    pressed.front.gestures.send(Gesture::Pair).unwrap();
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(pressed.now().enrolment.phase, "unclaimed", "three windows an hour");
    assert_eq!(cloud.summary().await.unwrap().boxes, 0);
    pressed.end().await;
    cloud.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p_50_a_reset_box_has_forgotten_all_but_whose_it_is_and_is_claimed_again_as_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path(), Trial::default()).await;
    let claimed = TestBox::start(config(folder.path(), &cloud, "PL-F"));
    let before = claimed.claim(&cloud).await;
    let data = claimed.config.data_dir.clone();
    let old_key = IdentityFolder::in_data_dir(&data).bound_key().unwrap().unwrap().public();
    let Answer::Done { text } = claimed.ask(Request::ResetPreview).await else { panic!("no preview") };
    assert!(text.contains("readings") && text.contains("default"), "{text}");
    claimed.agreed(Request::FactoryReset).await;
    let status = claimed.until_phase("unclaimed").await;
    assert_eq!(status.enrolment.tenant.as_deref(), Some("default"), "the tenant lock");
    let identity = IdentityFolder::in_data_dir(&data);
    assert!(identity.current().unwrap().is_none());
    assert_ne!(identity.bound_key().unwrap().unwrap().public(), old_key);
    let after = claimed.claim(&cloud).await;
    assert_eq!(after.box_id, before.box_id, "the same box for the books");
    claimed.end().await;
    cloud.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_that_the_portal_releases_is_nobodys_and_its_lock_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path(), Trial::default()).await;
    let claimed = TestBox::start(config(folder.path(), &cloud, "PL-G"));
    let status = claimed.claim(&cloud).await;
    assert!(cloud.release_box(&status.box_id).await.unwrap());
    let status = claimed.until_phase("unclaimed").await;
    assert_eq!(status.enrolment.tenant, None);
    claimed.end().await;
    cloud.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_in_its_last_third_and_the_box_goes_on_with_the_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path(), Trial { box_life: Some(Duration::from_secs(30)), ..Trial::default() }).await;
    let claimed = TestBox::start(config(folder.path(), &cloud, "PL-H"));
    claimed.claim(&cloud).await;
    let data = claimed.config.data_dir.clone();
    let generation = async || {
        let current = IdentityFolder::in_data_dir(&data).current().ok().flatten();
        current.map(|credential| credential.generation).filter(|generation| *generation >= 2)
    };
    poll_until("renewed", generation).await;
    claimed.until_well().await;
    claimed.end().await;
    cloud.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_that_slept_past_the_end_of_its_certificate_recovers_with_its_bound_key() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path(), Trial { box_life: Some(Duration::from_secs(12)), ..Trial::default() }).await;
    let claimed = TestBox::start(config(folder.path(), &cloud, "PL-I"));
    let before = claimed.claim(&cloud).await;
    let config = claimed.end().await;
    let until = IdentityFolder::in_data_dir(&config.data_dir).current().unwrap().unwrap().validity.until_unix_ms;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
    tokio::time::sleep(Duration::from_millis(until.saturating_sub(now) + 1_500)).await;
    let again = TestBox::start(config);
    let after = again.until_well().await;
    assert_eq!(after.box_id, before.box_id);
    assert!(IdentityFolder::in_data_dir(&again.config.data_dir).current().unwrap().unwrap().generation >= 2);
    again.end().await;
    cloud.shutdown().await;
}

/// Disables a claimed box: its record says so, as after five proven refusals.
fn disable(data: &Path) {
    let path = data.join(RECORD);
    let mut record: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    record["consecutive"] = 5.into();
    record["disabled"] =
        serde_json::json!({ "cause": "refused", "detail": "revoked", "at_unix_ms": 1_700_000_000_000_u64 });
    record["probed_unix_ms"] = u64::MAX.into();
    std::fs::write(&path, serde_json::to_vec(&record).unwrap()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn p_63_console_and_button_each_allow_one_try_and_nothing_that_waits_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path(), Trial::default()).await;
    let claimed = TestBox::start(config(folder.path(), &cloud, "PL-J"));
    let box_id = claimed.claim(&cloud).await.box_id;
    let config = claimed.end().await;
    let outbox = |config: &Config| {
        let mut files: Vec<_> =
            std::fs::read_dir(config.data_dir.join("outbox")).unwrap().map(|f| f.unwrap().path()).collect();
        files.sort();
        files.into_iter().map(|path| std::fs::read(path).unwrap()).collect::<Vec<_>>()
    };

    disable(&config.data_dir);
    let before = outbox(&config);
    let disabled = TestBox::start(config);
    disabled.until_phase("disabled").await;
    let Answer::Challenge { code } = disabled.ask(Request::Unlock).await else { panic!("no challenge") };
    for _ in 0..3 {
        let wrong = disabled.ask(Request::Unlocked { code: "BCDF-GHJK".to_owned() }).await;
        assert!(matches!(wrong, Answer::Refused { .. }), "{wrong:?}");
    }
    assert_eq!(outbox(&disabled.config), before, "p_65: the outbox is as it was");
    let answer = cloud.unlock_answer(&box_id, &code).await.unwrap();
    disabled.agreed(Request::Unlocked { code: answer.to_lowercase() }).await;
    disabled.until_well().await;
    let again = disabled.ask(Request::Unlocked { code: answer }).await;
    assert!(matches!(again, Answer::Refused { .. }), "once: {again:?}");

    let config = disabled.end().await;
    disable(&config.data_dir);
    let pressed = TestBox::start(config);
    pressed.until_phase("disabled").await;
    pressed.front.gestures.send(Gesture::Retry).unwrap();
    pressed.until_well().await;
    let config = pressed.end().await;
    disable(&config.data_dir);
    let pressed = TestBox::start(config);
    pressed.until_phase("disabled").await;
    pressed.front.gestures.send(Gesture::Retry).unwrap();
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(pressed.now().enrolment.phase, "disabled", "one an hour");
    pressed.end().await;
    cloud.shutdown().await;
}

/// Answers everybody with 401, in plain text or in TLS with a certificate that our cloud never issued.
async fn rogue(in_tls: bool) -> SocketAddr {
    use tokio::io::AsyncReadExt;
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let no = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n";
                if in_tls {
                    if let Ok(mut tls) = acceptor.accept(tcp).await {
                        let _ = tls.write_all(no).await;
                    }
                } else {
                    let mut asked = [0; 64];
                    let _ = tcp.read(&mut asked).await;
                    let _ = tcp.write_all(no).await;
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn p_60_ten_thousand_refusals_of_a_server_that_is_not_ours_count_nothing() {
    use platen::uplink::{Cloud, Dialer, Endpoint, GrpcCloud, TlsSettings};
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path(), Trial::default()).await;
    let claimed = TestBox::start(config(folder.path(), &cloud, "PL-K"));
    claimed.claim(&cloud).await;
    let config = claimed.end().await;
    let identity = IdentityFolder::in_data_dir(&config.data_dir);
    let credential = identity.current().unwrap().unwrap();
    let roots = std::fs::read(folder.path().join("roots.pem")).unwrap();
    let mut counted = 0;
    for (in_tls, times) in [(false, 9_000), (true, 1_000)] {
        let address = rogue(in_tls).await;
        let endpoint =
            Endpoint::parse(&format!("https://localhost:{}", address.port()), &"localhost".parse().unwrap()).unwrap();
        let dialer = Dialer::new(TlsSettings::new(&credential.tls(&roots)).unwrap(), None);
        for _ in 0..times {
            // A new one each time: it remembers which way passes.
            let error = GrpcCloud::new(dialer.clone(), endpoint.clone()).open().await.unwrap_err();
            counted += u32::from(error.proven_refusal().is_some());
        }
    }
    assert_eq!(counted, 0);
    cloud.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p_64_a_disabled_box_sends_nothing_into_the_lan_and_p_65_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path(), Trial::default()).await;
    let mut config = config(folder.path(), &cloud, "PL-L");
    // What is sent to the one address in its ranges is heard here.
    let lan = tokio::net::UdpSocket::bind("127.88.0.1:0").await.unwrap();
    config.snmp.port = lan.local_addr().unwrap().port();
    config.lan.ranges = vec!["127.88.0.1".to_owned()];
    config.schedule.read_interval_s = 1;
    let claimed = TestBox::start(config);
    claimed.claim(&cloud).await;
    let mut datagram = [0; 1_500];
    tokio::time::timeout(PATIENCE, lan.recv(&mut datagram)).await.expect("a box at work asks").unwrap();
    let config = claimed.end().await;
    let files = |config: &Config| {
        let mut files: Vec<_> =
            std::fs::read_dir(config.data_dir.join("outbox")).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        files.into_iter().map(|path| std::fs::read(path).unwrap()).collect::<Vec<_>>()
    };
    let before = files(&config);
    disable(&config.data_dir);
    while lan.try_recv(&mut datagram).is_ok() {}
    let disabled = TestBox::start(config);
    disabled.until_phase("disabled").await;
    let heard = tokio::time::timeout(Duration::from_secs(5), lan.recv(&mut datagram)).await;
    assert!(heard.is_err(), "it sent something");
    let config = disabled.end().await;
    assert_eq!(files(&config), before, "the outbox is as it was");
    cloud.shutdown().await;
}
