//! The SSH connection to the relay, against OpenSSH's sshd over bad lines, and against relays that are none or that want too much:
//! every failure ends in time and is named right, and the relay is reached again as soon as the line lets it through.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed unwrap is a failed test

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::faults::{Fault, FaultProxy};
use common::pki::Ca;
use common::sshd::Sshd;
use common::{in_time, wait_until};
use platen::cause::{Cause, Trouble};
use platen::uplink::{
    Dialer, Endpoint, HostKeys, KeepAlive, Relay, RelaySettings, RootDomain, SshConnection, SshKey, TlsSettings,
    UplinkError,
};
use rcgen::KeyPair;
use russh::server;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

fn key() -> SshKey {
    SshKey::from_pem(KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem().as_bytes()).unwrap()
}

fn dialer() -> Dialer {
    let ca = Ca::new("root");
    Dialer::new(TlsSettings::new(&ca.identity(&ca.root_pem())).unwrap(), None)
}

fn endpoint(scheme: &str, port: u16) -> Endpoint {
    let root: RootDomain = "localhost".parse().unwrap();
    Endpoint::parse(&format!("{scheme}://localhost:{port}"), &root).unwrap()
}

fn relay_at(port: u16, settings: RelaySettings) -> Relay {
    Relay::new(dialer(), endpoint("ssh", port), settings).unwrap()
}

/// A relay that knows a key, and the line to it.
struct World {
    sshd: Sshd,
    line: FaultProxy,
    key: SshKey,
}

impl World {
    async fn new() -> Option<Self> {
        let key = key();
        let sshd = Sshd::start(&key.public_line().unwrap())?;
        let line = FaultProxy::before(sshd.port).await;
        Some(Self { sshd, line, key })
    }

    fn settings(&self) -> RelaySettings {
        RelaySettings {
            user: self.sshd.user.clone(),
            key: self.key.clone(),
            host_keys: HostKeys::parse(&self.sshd.host_key).unwrap(),
            keep_alive: KeepAlive::default(),
        }
    }

    /// The relay, over the line.
    async fn open(&self) -> Result<SshConnection, UplinkError> {
        in_time("opening", relay_at(self.line.port, self.settings()).open()).await
    }
}

async fn why(connection: &mut SshConnection) -> Trouble {
    in_time("the end", connection.closed()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_box_gets_in_with_its_own_key_lives_and_says_goodbye() {
    let Some(mut world) = World::new().await else { return };
    let mut connection = world.open().await.unwrap();
    // Alive over some questions, of which none stays unanswered.
    let brisk = KeepAlive { interval: Duration::from_millis(100), unanswered_max: 50 };
    let keep_alive = RelaySettings { keep_alive: brisk, ..world.settings() };
    let mut asking = relay_at(world.line.port, keep_alive).open().await.unwrap();
    tokio::time::timeout(Duration::from_secs(7), asking.closed()).await.unwrap_err();
    assert!(asking.is_open() && connection.is_open());
    asking.close().await;
    connection.close().await;
    world.sshd.wait_for_log("Received disconnect from 127.0.0.1");
    wait_until("the lines' end", || world.line.open() == 0);
    // The key of a box's certificate (P-256) serves as well.
    let pem = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap().serialize_pem();
    world.key = SshKey::from_pem(pem.as_bytes()).unwrap();
    let error = world.open().await.unwrap_err();
    assert_eq!(error.trouble().cause, Cause::Refused, "{error}");
    let known = Sshd::start(&world.key.public_line().unwrap()).unwrap();
    let host_keys = HostKeys::parse(&known.host_key).unwrap();
    connection = relay_at(known.port, RelaySettings { host_keys, ..world.settings() }).open().await.unwrap();
    // Dropped without a word, it is cut.
    drop(connection);
    known.wait_for_log("Connection closed by");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_of_a_line_is_named_and_the_connection_after_it_comes_about() {
    let Some(world) = World::new().await else { return };
    for fault in [Fault::None, Fault::Latency(Duration::from_millis(50)), Fault::Slices] {
        world.line.set(fault);
        world.open().await.unwrap_or_else(|error| panic!("{fault:?}: {error}")).close().await;
    }
    // In the versions, the key exchange, the authentication and after it; cut in order, or reset.
    let cuts = (0..=4_500).step_by(180).flat_map(|octets| [Fault::ResetAfter(octets), Fault::CloseAfter(octets)]);
    let (mut in_opening, mut after_it) = (0, 0);
    for fault in cuts.chain([Fault::Reset]) {
        world.line.set(fault);
        let trouble = match world.open().await {
            Err(error) => {
                in_opening += 1;
                assert_eq!(error.proven_refusal(), None);
                error.trouble()
            }
            Ok(mut connection) => {
                after_it += 1;
                // What did not reach the octet at which the line breaks breaks now.
                world.line.set(Fault::Reset);
                why(&mut connection).await
            }
        };
        assert_eq!(trouble.cause, Cause::Tcp, "{fault:?}: {trouble}");
        world.line.set(Fault::None);
        world.open().await.unwrap_or_else(|error| panic!("after {fault:?}: {error}")).close().await;
    }
    assert!(in_opening > 10 && after_it > 2, "cut while it was opened {in_opening} times, afterwards {after_it} times");
    wait_until("the lines' end", || world.line.open() == 0);
}

/// Frozen from the start, in the key exchange, in the authentication, and when it was open: with the shortened keep-alive, and
/// with the one that boxes have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_open_connection_is_noticed_within_forty_five_seconds_and_leaves_nothing_behind() {
    let Some(world) = World::new().await else { return };
    let short = KeepAlive { interval: Duration::from_millis(500), unanswered_max: 3 };
    // The relay's answer to the box's key begins where this one's ended, but for a refusal's 44 octets.
    let stranger = RelaySettings { key: key(), ..world.settings() };
    relay_at(world.line.port, stranger).open().await.unwrap_err();
    let before_the_answer = world.line.octets_down() - 30;
    let frozen = async |fault: Option<(Fault, &str)>, keep_alive: KeepAlive| {
        let line = FaultProxy::before(world.sshd.port).await;
        let relay = relay_at(line.port, RelaySettings { keep_alive, ..world.settings() });
        line.set(fault.map_or(Fault::None, |(fault, _)| fault));
        let (began, trouble) = match relay.open().await {
            Err(error) => {
                let UplinkError::Timeout { seconds, act, .. } = &error else { panic!("{fault:?}: {error}") };
                assert!(fault.is_some_and(|(_, in_act)| *act == in_act) && *seconds <= 45, "{fault:?}: {error}");
                (None, error.trouble())
            }
            Ok(mut connection) => {
                assert_eq!(fault, None, "it is frozen while it is opened");
                line.set(Fault::Freeze);
                let began = Instant::now();
                let trouble = tokio::time::timeout(Duration::from_secs(90), connection.closed()).await.unwrap();
                assert!(!connection.is_open());
                assert_eq!(connection.closed().await, trouble, "said again");
                (Some(began.elapsed()), trouble)
            }
        };
        assert_eq!(trouble.cause, Cause::Timeout, "{fault:?}: {trouble}");
        if let Some((Fault::FreezeAfter(_), _)) = fault {
            // The box has closed it, though nothing moves: long before the library's own limit.
            let closed = async {
                while line.open() > 0 {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(10), closed).await.expect("it is left open");
        }
        line.set(Fault::None);
        wait_until("the end of the line", || line.open() == 0);
        in_time("opening after it", relay.open()).await.unwrap().close().await;
        began
    };
    let exchange = "exchange keys over SSH";
    let (hello, exchange) = ((Fault::Freeze, exchange), (Fault::FreezeAfter(600), exchange));
    let login = (Fault::FreezeAfter(before_the_answer), "take the box's key for SSH");
    let default = KeepAlive::default();
    let (_, _, _, quick, usual) = tokio::join!(
        frozen(Some(hello), default),
        frozen(Some(exchange), default),
        frozen(Some(login), default),
        frozen(None, short),
        frozen(None, default),
    );
    let (quick, usual) = (quick.unwrap(), usual.unwrap());
    // No sooner than the questions were asked, and with what a busy machine adds.
    assert!(quick >= Duration::from_millis(1_400) && quick < Duration::from_secs(30), "{quick:?}");
    assert!(usual < Duration::from_secs(60), "{usual:?}");
    println!("noticed after {quick:.1?} of 2 s, and after {usual:.1?} of 40 s");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_with_another_host_key_is_named_and_learns_nothing_of_the_boxs_key() {
    let Some(world) = World::new().await else { return };
    let stranger = Sshd::start(&world.key.public_line().unwrap()).unwrap();
    let error = relay_at(stranger.port, world.settings()).open().await.unwrap_err();
    assert_eq!(error.trouble().cause, Cause::TlsInspected, "{error}");
    assert!(matches!(&error, UplinkError::WrongHostKey { shown, .. } if shown.starts_with("SHA256:")), "{error}");
    // The pinned key may be of another kind than those that the relay has.
    let pem = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap().serialize_pem();
    let p256 = SshKey::from_pem(pem.as_bytes()).unwrap().public_line().unwrap();
    let settings = RelaySettings { host_keys: HostKeys::parse(&p256).unwrap(), ..world.settings() };
    let error = relay_at(stranger.port, settings).open().await.unwrap_err();
    assert!(matches!(&error, UplinkError::WrongHostKey { shown, .. } if shown.contains("ssh-ed25519")), "{error}");
    let log = stranger.log();
    assert!(!log.contains("publickey") && !log.contains("Accepted"), "{log}");
    // Ahead of a change, two are pinned.
    let both = format!("{}\n{}", world.sshd.host_key, stranger.host_key);
    let settings = RelaySettings { host_keys: HostKeys::parse(&both).unwrap(), ..world.settings() };
    for port in [world.sshd.port, stranger.port] {
        relay_at(port, settings.clone()).open().await.unwrap().close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_not_authorised_is_a_refusal_that_disables_no_box() {
    let Some(world) = World::new().await else { return };
    for settings in [
        RelaySettings { key: key(), ..world.settings() },
        RelaySettings { user: "nobody-of-that-name".to_owned(), ..world.settings() },
    ] {
        let error = relay_at(world.line.port, settings).open().await.unwrap_err();
        assert!(matches!(error, UplinkError::KeyRefused { .. }), "{error}");
        assert_eq!((error.trouble().cause, error.proven_refusal()), (Cause::Refused, None), "{error}");
    }
    wait_until("the lines' end", || world.line.open() == 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_relays_restart_the_box_is_back() {
    let Some(mut world) = World::new().await else { return };
    let mut connection = world.open().await.unwrap();
    world.sshd.stop();
    let trouble = why(&mut connection).await;
    assert_eq!(trouble.cause, Cause::Tcp, "{trouble}");
    let error = world.open().await.unwrap_err();
    assert_eq!(error.trouble().cause, Cause::Tcp, "{error}");
    world.sshd.run();
    world.open().await.unwrap().close().await;
}

/// A server that says this first and nothing after it.
async fn saying(words: &'static [u8]) -> u16 {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 256]).await;
                let _ = stream.write_all(words).await;
            });
        }
    });
    port
}

#[tokio::test]
async fn what_is_no_relay_is_named_by_what_it_says() {
    let host_keys = HostKeys::parse(&key().public_line().unwrap()).unwrap();
    let settings = RelaySettings { user: "box".to_owned(), key: key(), host_keys, keep_alive: KeepAlive::default() };
    for (words, cause, word) in [
        (&b"HTTP/1.1 302 Found\r\nLocation: http://hotel/\r\n\r\n"[..], Cause::CaptivePortal, "302 Found"),
        (b"<html>Welcome</html>\n", Cause::CaptivePortal, "Welcome"),
        (b"Exceeded MaxStartups\r\n", Cause::CloudBusy, "MaxStartups"),
        (b"220 mail.example \x1b[31m\r\n", Cause::Contract, "220 mail"),
        (b"SSH-1.5-old\r\n", Cause::Contract, "SSH-1.5-old"),
        (b"Welcome\r\nSSH-2.0-x\r\n", Cause::Tcp, "closed"),
        (b"SSH-2.0-x\r\n", Cause::Tcp, "closed"),
        (b"SSH-2.0-x\r\nnonsense nonsense nonsense nonsense", Cause::Contract, ""),
        (b"SS", Cause::Tcp, ""),
        (b"", Cause::Tcp, ""),
    ] {
        let error = relay_at(saying(words).await, settings.clone()).open().await.unwrap_err();
        let trouble = error.trouble();
        assert_eq!(trouble.cause, cause, "{}: {error}", words.escape_ascii());
        assert!(trouble.detail.contains(word) && !error.to_string().contains('\x1b'), "{error}");
    }
    let no_ssh = Relay::new(dialer(), endpoint("https", 443), settings);
    assert!(no_ssh.is_err());
}

/// A relay that lets everybody in, and then wants to open every kind of channel.
struct Greedy(Option<oneshot::Sender<()>>);

impl server::Handler for Greedy {
    type Error = russh::Error;

    async fn auth_publickey(
        &mut self,
        _: &str,
        _: server::VerifiedPublicKey<'_>,
    ) -> Result<server::Auth, russh::Error> {
        Ok(server::Auth::Accept)
    }

    async fn auth_succeeded(&mut self, _: &mut server::Session) -> Result<(), russh::Error> {
        let _ = self.0.take().unwrap().send(());
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_wants_to_open_something_at_the_box_is_refused_whatever_it_is() {
    let pem = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem();
    let host_keys = HostKeys::parse(&SshKey::from_pem(pem.as_bytes()).unwrap().public_line().unwrap()).unwrap();
    let keys = vec![russh::keys::decode_secret_key(&pem, None).unwrap()];
    let config = Arc::new(server::Config { keys, ..server::Config::default() });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let greedy = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let (is_in, in_now) = oneshot::channel();
        let session = server::run_stream(config, tcp, Greedy(Some(is_in))).await.unwrap();
        let wants = session.handle();
        let ended = tokio::spawn(session);
        in_now.await.unwrap();
        let printer = || ("127.0.0.1".to_owned(), 80);
        let ((host, port), (from, from_port)) = (printer(), printer());
        let answers = [
            ("session", wants.channel_open_session().await.err()),
            ("direct-tcpip", wants.channel_open_direct_tcpip(&host, port, &from, from_port).await.err()),
            ("direct-streamlocal", wants.channel_open_direct_streamlocal("/run/platen/x").await.err()),
            ("forwarded-tcpip", wants.channel_open_forwarded_tcpip(&host, port, &from, from_port).await.err()),
            ("forwarded-streamlocal", wants.channel_open_forwarded_streamlocal("/x").await.err()),
            ("x11", wants.channel_open_x11(&from, from_port).await.err()),
            ("auth-agent", wants.channel_open_agent().await.err()),
        ];
        drop(ended);
        answers
    });
    let settings = RelaySettings { user: "box".to_owned(), key: key(), host_keys, keep_alive: KeepAlive::default() };
    let connection = relay_at(port, settings).open().await.unwrap();
    for (kind, refused) in in_time("its answers", greedy).await.unwrap() {
        assert!(matches!(refused, Some(russh::Error::ChannelOpenFailure(_))), "{kind}: {refused:?}");
    }
    drop(connection);
}
