//! Boxes without a clock chip against clouds with certificates of every date: who connects, who learns the time, and how the
//! others are named (the matrix of invariant 8); and the eight servers that nobody may be deceived by (invariant 7).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed unwrap is a failed test

mod common;

use std::sync::atomic::Ordering;

use common::pki::{Ca, Days, Issued};
use common::stand_in::{Answer, SignedBy, StandIn};
use platen::cause::Cause;
use platen::proto::v1::{self, ClockQuality};
use platen::sys::{BoxClock, Clock, FixedClock, KeptTime};
use platen::uplink::{CloudSession, Dialer, Endpoint, RootDomain, TimeKeeper, TlsIdentity, TlsSettings, UplinkError};

const DAY_MS: u64 = 86_400_000;
/// The day on which the tests take place, and a certificate around it.
const TODAY: Days = 20_800;
const AROUND: Option<(Days, Days)> = Some((TODAY - 30, TODAY + 60));

struct World {
    ca: Ca,
    cloud: StandIn,
    pinned_pem: String,
}

/// A box's clocks when it starts, in days since 1970: when its firmware was built, what it has written down, what the system says.
struct Clocks {
    built: Days,
    kept: Option<Days>,
    system: Days,
}

impl World {
    async fn new(days: Option<(Days, Days)>) -> Self {
        let (ca, key) = (Ca::new("platen test root"), SignedBy::new());
        let pinned_pem = format!("{}{}", ca.root_pem(), key.public_pem());
        let tls = ca.server(&ca.issue("localhost", days), &[b"h2", b"http/1.1"]);
        let cloud = StandIn::start(tls, TODAY * DAY_MS, key).await;
        Self { ca, cloud, pinned_pem }
    }

    fn show(&self, shown: &Issued) {
        self.cloud.show(self.ca.server(shown, &[b"h2", b"http/1.1"]));
    }

    fn clock(clocks: &Clocks) -> BoxClock {
        let raw = FixedClock::new(0, clocks.system * DAY_MS, "boot");
        BoxClock::with(
            Box::new(raw),
            clocks.built * DAY_MS,
            clocks.kept.map(|kept| KeptTime::certain(kept * DAY_MS)),
            Box::new(|| false),
        )
    }

    async fn connect_as(&self, identity: &TlsIdentity, clock: &BoxClock) -> Result<CloudSession, UplinkError> {
        let tls = TlsSettings::new(identity).unwrap().with_time(TimeKeeper::without_file(clock.clone()));
        let root: RootDomain = "localhost".parse().unwrap();
        let endpoint = Endpoint::parse(&format!("https://localhost:{}", self.cloud.port), &root).unwrap();
        CloudSession::open(&Dialer::new(tls, None), &endpoint).await
    }

    /// Connects with these clocks and says what came of it.
    async fn connect(&self, clocks: Clocks) -> (Result<CloudSession, UplinkError>, BoxClock) {
        let clock = Self::clock(&clocks);
        let session = self.connect_as(&self.ca.identity(&self.pinned_pem), &clock).await;
        (session, clock)
    }

    /// The box is in, and knows what day it is.
    async fn lets_in(&self, clocks: Clocks) {
        let (session, clock) = self.connect(clocks).await;
        session.unwrap().poll(v1::PollRequest::default()).await.unwrap();
        assert_eq!((clock.quality(), clock.wall_unix_ms()), (ClockQuality::Token, TODAY * DAY_MS));
    }

    /// The box is not in, this is why, and it counts for nothing.
    async fn keeps_out(&self, clocks: Clocks, cause: Cause, word: &str) {
        let (session, _) = self.connect(clocks).await;
        let error = session.unwrap_err();
        let trouble = error.trouble();
        assert_eq!(trouble.cause, cause, "{error}");
        assert!(trouble.detail.contains(word), "{error}");
        assert_eq!(error.proven_refusal(), None);
    }
}

const RIGHT: Clocks = Clocks { built: TODAY - 100, kept: Some(TODAY - 1), system: TODAY };
const NEVER_SET: Clocks = Clocks { built: TODAY - 200, kept: None, system: 0 };
const TWO_YEARS_ON_A_SHELF: Clocks = Clocks { built: TODAY - 900, kept: Some(TODAY - 730), system: 0 };
const A_YEAR_AHEAD: Clocks = Clocks { built: TODAY - 100, kept: None, system: TODAY + 365 };

#[tokio::test]
async fn invariant_8_no_rtc_a_box_connects_whatever_its_clock_says_and_knows_the_time_then() {
    let world = World::new(AROUND).await;
    world.lets_in(RIGHT).await;
    assert_eq!(world.cloud.state.calls(), ["GetTime", "Poll"], "asked once, on a normal connection");
    world.lets_in(NEVER_SET).await;
    world.lets_in(Clocks { built: 0, kept: None, system: 0 }).await;
    world.lets_in(TWO_YEARS_ON_A_SHELF).await;
    world.lets_in(A_YEAR_AHEAD).await;
}

#[tokio::test]
async fn invariant_8_no_rtc_a_clock_that_is_known_is_not_asked_about_again() {
    let world = World::new(AROUND).await;
    let clock = World::clock(&RIGHT);
    let identity = world.ca.identity(&world.pinned_pem);
    for _ in 0..3 {
        world.connect_as(&identity, &clock).await.unwrap().poll(v1::PollRequest::default()).await.unwrap();
    }
    let asked = world.cloud.state.calls().iter().filter(|call| **call == "GetTime").count();
    assert_eq!(asked, 1);
    // The cloud's clock jumps: its unsigned word is not believed, and a signed one is asked for.
    world.cloud.state.now_ms.store((TODAY + 2) * DAY_MS, Ordering::Relaxed);
    world.connect_as(&identity, &clock).await.unwrap().poll(v1::PollRequest::default()).await.unwrap();
    assert_eq!(world.cloud.state.calls(), ["Poll", "GetTime"]);
    assert_eq!(clock.wall_unix_ms(), (TODAY + 2) * DAY_MS);
}

#[tokio::test]
async fn invariant_8_no_rtc_inspection_and_wrong_names_are_named_also_while_the_clock_is_behind() {
    let world = World::new(AROUND).await;
    world.show(&Ca::new("Corp Inspection CA").issue("localhost", AROUND));
    world.keeps_out(TWO_YEARS_ON_A_SHELF, Cause::TlsInspected, "by CN=Corp Inspection CA").await;
    world.keeps_out(A_YEAR_AHEAD, Cause::TlsInspected, "by CN=Corp Inspection CA").await;
    world.show(&world.ca.issue("other.example", AROUND));
    world.keeps_out(TWO_YEARS_ON_A_SHELF, Cause::TlsWrongName, "localhost").await;
    world.keeps_out(A_YEAR_AHEAD, Cause::TlsWrongName, "localhost").await;
    // Nobody of these was asked for anything, or was shown the box's certificate.
    assert_eq!(world.cloud.state.calls(), [""; 0]);
    assert_eq!(world.cloud.state.certificates_seen.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn invariant_8_no_rtc_a_truly_expired_certificate_lets_nobody_in() {
    let world = World::new(Some((TODAY - 500, TODAY - 100))).await;
    // The clock is a guess: the cloud is asked for the time once, and then it is certain.
    world.keeps_out(RIGHT, Cause::TlsExpired, "it was valid until 2026-").await;
    assert_eq!(world.cloud.state.calls(), ["GetTime"]);
    // By a clock that is behind it looks valid; not any more when the time is known.
    world.keeps_out(Clocks { built: TODAY - 200, kept: None, system: 0 }, Cause::TlsExpired, "").await;
    assert_eq!(world.cloud.state.calls(), ["GetTime"]);
    // The time is known: nothing is asked.
    let clock = World::clock(&RIGHT);
    clock.take_signed(TODAY * DAY_MS, 10, 0).unwrap();
    clock.prove();
    let error = world.connect_as(&world.ca.identity(&world.pinned_pem), &clock).await.unwrap_err();
    assert_eq!(error.trouble().cause, Cause::TlsExpired, "{error}");
    assert_eq!(world.cloud.state.calls(), [""; 0]);
}

#[tokio::test]
async fn invariant_8_no_rtc_only_the_pinned_key_tells_the_time() {
    let world = World::new(AROUND).await;
    // Without a pinned key there is nobody to ask.
    let clock = World::clock(&NEVER_SET);
    let error = world.connect_as(&world.ca.identity(&world.ca.root_pem()), &clock).await.unwrap_err();
    assert_eq!(error.trouble().cause, Cause::Clock, "{error}");
    assert!(error.trouble().detail.contains("PUBLIC KEY"), "{error}");
    // A time that is past for certain.
    world.cloud.state.now_ms.store((TODAY - 300) * DAY_MS, Ordering::Relaxed);
    world.keeps_out(NEVER_SET, Cause::Clock, "past for certain").await;
    // Somebody who holds a key of the cloud's TLS, and not the one that is pinned.
    world.cloud.state.now_ms.store(TODAY * DAY_MS, Ordering::Relaxed);
    world.cloud.state.sign_by_another();
    world.keeps_out(NEVER_SET, Cause::Clock, "not signed by the pinned key").await;
    world.cloud.state.calls();
    // Where certificates hold, the box goes on without.
    let (session, clock) = world.connect(RIGHT).await;
    session.unwrap().poll(v1::PollRequest::default()).await.unwrap();
    assert_eq!(clock.quality(), ClockQuality::Floor);
}

/// A cloud whose own clock is wrong signs too.
#[tokio::test]
async fn invariant_8_no_rtc_a_cloud_that_told_a_wrong_time_is_believed_again_when_it_tells_the_right_one() {
    let world = World::new(AROUND).await;
    let (identity, clock) = (world.ca.identity(&world.pinned_pem), World::clock(&RIGHT));
    let tell = |day: Days| world.cloud.state.now_ms.store(day * DAY_MS, Ordering::Relaxed);
    let round = async || world.connect_as(&identity, &clock).await?.poll(v1::PollRequest::default()).await.map(drop);
    // So far off that no certificate holds: asked anew each time, and never written down.
    tell(TODAY + 4_000);
    for _ in 0..2 {
        let error = round().await.unwrap_err();
        assert_eq!(error.trouble().cause, Cause::TlsExpired, "{error}");
        assert_eq!(clock.to_keep(), None);
    }
    tell(TODAY);
    round().await.unwrap();
    assert_eq!(clock.wall_unix_ms(), TODAY * DAY_MS);
    // Less far: nothing looks wrong, until the cloud itself says otherwise.
    tell(TODAY + 30);
    for _ in 0..2 {
        round().await.unwrap();
    }
    assert_eq!(clock.to_keep().unwrap().last_unix_ms / DAY_MS, TODAY + 29);
    tell(TODAY);
    for _ in 0..2 {
        round().await.unwrap();
    }
    assert_eq!(clock.wall_unix_ms(), TODAY * DAY_MS);
    assert!(clock.to_keep().unwrap().last_unix_ms < TODAY * DAY_MS);
}

/// T-20: nobody of them gets in, each is named, none has seen more of the box's certificate than a server that is proven, and
/// none counts as a refusal.
#[tokio::test]
async fn invariant_7_tls_none_of_the_bad_servers_is_taken_and_each_is_named() {
    let world = World::new(AROUND).await;
    let own = |days| world.ca.issue("localhost", days);
    let corp = Ca::new("Corp Inspection CA");
    let self_signed = {
        let key = rcgen::KeyPair::generate().unwrap();
        let parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        Issued { certificate_pem: parameters.self_signed(&key).unwrap().pem(), key_pem: key.serialize_pem() }
    };
    let known = || {
        let clock = World::clock(&RIGHT);
        clock.take_signed(TODAY * DAY_MS, 10, 0).unwrap();
        clock.prove();
        clock
    };
    let expired = own(Some((TODAY - 90, TODAY - 1)));
    let wrong_key = Issued { key_pem: own(AROUND).key_pem, ..own(AROUND) };
    let cases = [
        ("self-signed", &self_signed, Cause::TlsInspected, "by CN=rcgen self signed cert"),
        ("an inspecting proxy", &corp.issue("localhost", AROUND), Cause::TlsInspected, "by CN=Corp Inspection CA"),
        ("a wrong name", &world.ca.issue("portal.example", AROUND), Cause::TlsWrongName, "portal.example"),
        ("expired", &expired, Cause::TlsExpired, "it was valid until"),
        (
            "a root that is pinned no more",
            &Ca::new("old root").issue("localhost", AROUND),
            Cause::TlsInspected,
            "old root",
        ),
        ("a wrong key", &wrong_key, Cause::TlsRefused, "does not hold the key"),
    ];
    for (name, shown, cause, word) in cases {
        // Names of servers are checked before anything of ours is shown, in TLS 1.3 and in 1.2.
        for versions in [&[&rustls::version::TLS13][..], &[&rustls::version::TLS12]] {
            let with_client = world.ca.server(shown, &[b"h2"]);
            let mut tls = rustls::ServerConfig::builder_with_provider(common::pki::provider())
                .with_protocol_versions(versions)
                .unwrap()
                .with_no_client_auth()
                .with_cert_resolver(with_client.cert_resolver.clone());
            tls.alpn_protocols = with_client.alpn_protocols.clone();
            world.cloud.show(tls);
            let error = world.connect_as(&world.ca.identity(&world.pinned_pem), &known()).await.unwrap_err();
            assert_eq!(error.trouble().cause, cause, "{name}: {error}");
            assert!(error.trouble().detail.contains(word), "{name}: {error}");
            assert_eq!(error.proven_refusal(), None, "{name}");
        }
        world.show(shown);
        world.connect_as(&world.ca.identity(&world.pinned_pem), &known()).await.unwrap_err();
    }
    assert_eq!(world.cloud.state.certificates_seen.load(Ordering::Relaxed), 0);
    assert_eq!(world.cloud.state.calls(), [""; 0]);
}

#[tokio::test]
async fn invariant_7_tls_a_box_with_two_roots_follows_the_cloud_from_one_to_the_next() {
    let world = World::new(AROUND).await;
    let next = Ca::new("platen test root 2");
    let both = world.ca.identity(&format!("{}{}", world.pinned_pem, next.root_pem()));
    for issuer in [&world.ca, &next] {
        world.show(&issuer.issue("localhost", AROUND));
        let clock = World::clock(&TWO_YEARS_ON_A_SHELF);
        world.connect_as(&both, &clock).await.unwrap().poll(v1::PollRequest::default()).await.unwrap();
    }
    world.show(&next.issue("localhost", AROUND));
    world.keeps_out(RIGHT, Cause::TlsInspected, "CN=platen test root 2").await;
}

#[tokio::test]
async fn only_a_typed_refusal_of_the_cloud_counts_and_what_it_says_of_coming_later_is_read() {
    use platen::proto::rich_status::{auth_rejected, come_again};
    use std::time::Duration;
    use tonic::{Code, Status};
    let world = World::new(AROUND).await;
    let reject = |cause: Cause| v1::AuthReject { cause: cause.into(), message: "no".to_owned() };
    let mut hinted = Status::unavailable("later");
    hinted.metadata_mut().insert("retry-after", "7".parse().unwrap());
    let cases: [(Answer, Cause, Option<Cause>, Option<u64>); 16] = [
        (
            Answer::Status(auth_rejected(Code::Unauthenticated, &reject(Cause::Refused))),
            Cause::Refused,
            Some(Cause::Refused),
            None,
        ),
        (
            Answer::Status(auth_rejected(Code::PermissionDenied, &reject(Cause::Suspended))),
            Cause::Suspended,
            Some(Cause::Suspended),
            None,
        ),
        // Typed, and not in one of the two places, or for a reason that is none.
        (Answer::Status(auth_rejected(Code::Internal, &reject(Cause::Refused))), Cause::CloudBusy, None, None),
        (Answer::Status(auth_rejected(Code::Unauthenticated, &reject(Cause::Dns))), Cause::Contract, None, None),
        // Untyped: anything on the way may say so.
        (Answer::Status(Status::unauthenticated("who?")), Cause::Contract, None, None),
        (Answer::Status(Status::permission_denied("no")), Cause::Contract, None, None),
        (
            Answer::Status(Status::with_details(Code::Unauthenticated, "x", vec![0xff; 9].into())),
            Cause::Contract,
            None,
            None,
        ),
        (Answer::Http(401, None), Cause::Contract, None, None),
        (Answer::Http(403, None), Cause::Contract, None, None),
        (Answer::Http(503, Some(60)), Cause::CloudBusy, None, Some(60)),
        (Answer::Http(500, None), Cause::CloudBusy, None, None),
        (Answer::Http(429, Some(99_999)), Cause::CloudBusy, None, Some(3_600)),
        (Answer::Status(hinted), Cause::CloudBusy, None, Some(7)),
        (Answer::Status(come_again("later", Duration::from_secs(30))), Cause::CloudBusy, None, Some(30)),
        (Answer::Status(Status::resource_exhausted("full")), Cause::CloudBusy, None, None),
        (Answer::Status(Status::invalid_argument("what?")), Cause::Contract, None, None),
    ];
    for alpn in [&[&b"h2"[..]][..], &[&b"http/1.1"[..]]] {
        world.cloud.show(world.ca.server(&world.ca.issue("localhost", AROUND), alpn));
        for (answer, cause, counts, retry_after) in cases.clone() {
            world.cloud.state.answer(answer);
            let error = world.connect(RIGHT).await.0.unwrap().poll(v1::PollRequest::default()).await.unwrap_err();
            assert_eq!(error.trouble().cause, cause, "{error}");
            assert_eq!(error.proven_refusal(), counts, "{error}");
            assert_eq!(error.retry_after().map(|after| after.as_secs()), retry_after, "{error}");
        }
    }
}
