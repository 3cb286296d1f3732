//! The steps that lead to the cloud, one layer after the other: clock, proxy, TCP, TLS, the first calls, MQTT, SSH.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::report::{Finding, Outcome};
use super::{Said, Told};
use crate::agent::{CloudEndpoints, Config};
use crate::cause::{Cause, Trouble};
use crate::enroll::{EnrollError, Identity, IdentityFolder};
use crate::proto::v1::ClockQuality;
use crate::store::read_bounded;
use crate::sys::{BoxClock, Clock, SystemClock, SystemEntropy};
use crate::uplink::{Dialer, Endpoint, Hello, Probe, TimeKeeper, TlsFacts, TlsSettings, UplinkError};

/// Longest time for one try of TLS, or of the first calls: there are two of each, with HTTP/2 and without.
pub(super) const TRY_LIMIT_MS: u64 = 2_800;
/// Longest time for each TCP connection; they are tried at the same time.
const TCP_LIMIT: Duration = Duration::from_millis(3_800);
/// A clock that was moved by less was right.
const CLOCK_RIGHT_MS: u64 = 5_000;
/// Largest file of pinned roots, in bytes.
const ROOTS_MAX_BYTES: usize = 64 * 1024;

/// Who the box is, as far as the test goes.
#[derive(Debug)]
enum Who {
    /// It has this id, and a certificate.
    Enrolled(String),
    /// It is nobody's yet; whether it knows whom to believe.
    Unclaimed { has_roots: bool },
    /// Its identity cannot be used.
    Unusable(String),
}

/// The way to the cloud.
#[derive(Debug)]
pub(super) struct CloudSide {
    probe: Probe,
    endpoints: CloudEndpoints,
    who: Who,
    /// Whether HTTP/2 passes, as far as is known.
    http2: bool,
    /// The ports that did not open: their protocols are not tried again.
    mqtt_is_shut: bool,
    ssh_is_shut: bool,
}

impl CloudSide {
    /// Reads who the box is and what time it believes that it is.
    pub(super) fn prepare(config: &Config, endpoints: &CloudEndpoints) -> Result<(Self, Outcome), Finding> {
        let unknown = |detail: String| Finding::new(Cause::Unspecified, detail);
        let system = SystemClock::start(&SystemEntropy).map_err(|e| unknown(e.to_string()))?;
        let time = TimeKeeper::open(&config.data_dir, system);
        time.clock().look_at_system();
        let clock = Outcome::Ok(described(time.clock()));
        let (who, tls) = tls_of(config);
        let tls = match tls {
            Some(tls) => tls,
            None => nobody().map_err(unknown)?,
        };
        let probe = Probe::new(Dialer::new(tls.with_time(time), endpoints.proxy.clone()));
        let endpoints = endpoints.clone();
        Ok((Self { probe, endpoints, who, http2: true, mqtt_is_shut: false, ssh_is_shut: false }, clock))
    }

    /// Whether the proxy opens the way to the cloud.
    pub(super) async fn proxy(&self) -> Outcome {
        let Some(proxy) = &self.endpoints.proxy else { return Outcome::Skip("none is configured".to_owned()) };
        match self.probe.tcp(&self.endpoints.grpc).await {
            Ok(_) => Outcome::Ok(format!("{} opens the way", proxy.authority())),
            Err(error) => Outcome::Fail(error.trouble().into()),
        }
    }

    /// Whether the ports open that the configuration uses: all at once.
    pub(super) async fn tcp(&mut self) -> Said {
        let (grpc, mqtt, relay) = (&self.endpoints.grpc, &self.endpoints.mqtt, self.endpoints.relay.as_ref());
        let other_mqtt = Some(mqtt).filter(|mqtt| mqtt.authority() != grpc.authority());
        let open = async |endpoint: Option<&Endpoint>| match endpoint {
            Some(endpoint) => {
                let began = Instant::now();
                let result = self.open(endpoint).await;
                Some((format!("tcp-{}", endpoint.port()), began.elapsed(), result))
            }
            None => None,
        };
        let (grpc, mqtt, ssh) = tokio::join!(open(Some(grpc)), open(other_mqtt), open(relay));
        let is_shut = |opened: &Option<Opened>| matches!(opened, Some((_, _, Err(_))));
        (self.mqtt_is_shut, self.ssh_is_shut) = (is_shut(&mqtt), is_shut(&ssh));
        let told = |opened: Option<Opened>, otherwise: &dyn Fn(Trouble) -> Outcome| {
            opened.map(|(step, took, result)| {
                let outcome = result.map_or_else(otherwise, Outcome::Ok);
                Told { step, outcome, took: Some(took) }
            })
        };
        let blocked = |cause| move |why: Trouble| Outcome::Warn(Finding::blocked(cause, &why));
        let grpc = told(grpc, &|why| Outcome::Fail(why.into()));
        let (mqtt, ssh) = (told(mqtt, &blocked(Cause::MqttBlocked)), told(ssh, &blocked(Cause::SshBlocked)));
        [grpc, mqtt, ssh].into_iter().flatten().collect()
    }

    async fn open(&self, endpoint: &Endpoint) -> Result<String, Trouble> {
        let dropped = "nothing answers: packets may be dropped on the way";
        match timeout(TCP_LIMIT, self.probe.tcp(endpoint)).await {
            Ok(Ok(_)) if self.endpoints.proxy.is_some() => Ok(format!("{} through the proxy", endpoint.authority())),
            Ok(Ok(Some(with))) => Ok(format!("{} ({})", endpoint.authority(), with.ip())),
            Ok(Ok(None)) => Ok(endpoint.authority()),
            Ok(Err(error)) => Err(error.trouble()),
            Err(_) => Err(Trouble::new(Cause::Tcp, &format!("{}: {dropped}", endpoint.authority()))),
        }
    }

    /// Whether it is the cloud that answers.
    pub(super) async fn tls(&mut self) -> Said {
        match &self.who {
            Who::Unusable(why) => {
                return vec![Told::new("tls", Outcome::Fail(Finding::new(Cause::Refused, why.clone())))];
            }
            Who::Unclaimed { has_roots: false } => {
                return vec![Told::new(
                    "tls",
                    Outcome::Skip("unclaimed, and the configuration names no cloud.roots".to_owned()),
                )];
            }
            Who::Unclaimed { has_roots: true } | Who::Enrolled(_) => {}
        }
        let first = limited("do the TLS handshake", self.probe.tls(&self.endpoints.grpc, true)).await;
        let (facts, why_not_http2) = match first {
            Ok(facts) => {
                let why = (!facts.is_http2).then(|| "something chose HTTP/1.1".to_owned());
                (facts, why)
            }
            // A handshake that was broken off, or swallowed, may have been for what it offered.
            Err(first) if matches!(first.cause, Cause::TlsRefused | Cause::Timeout) => {
                match limited("do the TLS handshake", self.probe.tls(&self.endpoints.grpc, false)).await {
                    Ok(facts) => (facts, Some(first.to_string())),
                    Err(_) => return vec![Told::new("tls", Outcome::Fail(first.into()))],
                }
            }
            Err(other) => return vec![Told::new("tls", Outcome::Fail(other.into()))],
        };
        self.http2 = why_not_http2.is_none();
        [Told::new("tls", Outcome::Ok(self.told(&facts)))].into_iter().chain(why_not_http2.map(http2_blocked)).collect()
    }

    fn told(&self, facts: &TlsFacts) -> String {
        let clock = facts.clock_in_question.as_ref().map(|why| format!("; the clock must be set first: {why}"));
        format!("{}, a certificate of the cloud's{}", facts.version, clock.unwrap_or_default())
    }

    /// Whether the cloud lets the box in.
    pub(super) async fn grpc(&mut self) -> Said {
        if !matches!(self.who, Who::Enrolled(_)) {
            return vec![Told::new("grpc", unclaimed())];
        }
        let hello = async |http2| limited("answer the first call", self.probe.hello(&self.endpoints.grpc, http2)).await;
        let (hello, why_not_http2) = match hello(self.http2).await {
            Ok(hello) => (hello, None),
            // What lies between may have let the handshake pass, and nothing after it.
            Err(first) if self.http2 && matches!(first.cause, Cause::TlsRefused | Cause::Tcp | Cause::Timeout) => {
                match hello(false).await {
                    Ok(hello) => (hello, Some(first.to_string())),
                    Err(Trouble { cause: Cause::TlsRefused | Cause::Tcp | Cause::Timeout, .. }) => {
                        return vec![Told::new("grpc", Outcome::Fail(first.into()))];
                    }
                    Err(second) => return vec![Told::new("grpc", Outcome::Fail(second.into()))],
                }
            }
            Err(other) => return vec![Told::new("grpc", Outcome::Fail(other.into()))],
        };
        self.http2 &= why_not_http2.is_none();
        let Hello { transport, time_doubt, clock_moved_ms } = hello;
        let doubt = time_doubt.map(|why| Told::new("clock", Outcome::Warn(Finding::new(Cause::Clock, why))));
        let found = format!("the cloud lets this box in ({transport}){}", moved(clock_moved_ms));
        let lines = [Told::new("grpc", Outcome::Ok(found))];
        lines.into_iter().chain(why_not_http2.map(http2_blocked)).chain(doubt).collect()
    }

    /// Whether wake-ups would arrive.
    pub(super) async fn mqtt(&self) -> Outcome {
        let Who::Enrolled(box_id) = &self.who else { return unclaimed() };
        if self.mqtt_is_shut {
            return Outcome::Skip("its port does not open".to_owned());
        }
        match self.probe.mqtt(&self.endpoints.mqtt, box_id).await {
            Ok(()) => Outcome::Ok(format!("{} answers a ping", self.endpoints.mqtt)),
            Err(why) => Outcome::Warn(match why.cause {
                // The broker itself says so.
                Cause::Refused | Cause::Suspended | Cause::CloudBusy | Cause::Clock => why.into(),
                // The calls have passed by the same name, so it is this protocol that does not.
                _ => Finding::blocked(Cause::MqttBlocked, &why),
            }),
        }
    }

    /// Whether the relay is there.
    pub(super) async fn ssh(&self) -> Outcome {
        let Some(relay) = &self.endpoints.relay else { return Outcome::Skip("no relay is configured".to_owned()) };
        if self.ssh_is_shut {
            return Outcome::Skip("its port does not open".to_owned());
        }
        match self.probe.ssh_banner(relay).await {
            Ok(banner) => Outcome::Ok(banner),
            Err(error) => Outcome::Warn(Finding::blocked(Cause::SshBlocked, &error.trouble())),
        }
    }
}

fn http2_blocked(why: String) -> Told {
    Told::new("http2", Outcome::Warn(Finding::new(Cause::Http2Blocked, why)))
}

fn unclaimed() -> Outcome {
    Outcome::Skip("unclaimed: the box has no certificate yet; claim it, and test again".to_owned())
}

/// The name of the line, how long it took, and what was found.
type Opened = (String, Duration, Result<String, Trouble>);

async fn limited<T>(act: &str, tried: impl Future<Output = Result<T, UplinkError>>) -> Result<T, Trouble> {
    let late = || format!("it took longer than {:.1} s to {act}", Duration::from_millis(TRY_LIMIT_MS).as_secs_f64());
    match timeout(Duration::from_millis(TRY_LIMIT_MS), tried).await {
        Ok(result) => result.map_err(|error| error.trouble()),
        Err(_) => Err(Trouble::new(Cause::Timeout, &late())),
    }
}

/// How far the cloud's word moved the clock, where that is worth a word.
fn moved(by_ms: i64) -> String {
    let seconds = by_ms.unsigned_abs() / 1_000;
    if by_ms.unsigned_abs() < CLOCK_RIGHT_MS {
        return String::new();
    }
    format!("; the box's clock was {seconds} s {}", if by_ms > 0 { "behind" } else { "ahead" })
}

fn described(clock: &BoxClock) -> String {
    let seconds = i64::try_from(clock.wall_unix_ms() / 1_000).unwrap_or(i64::MAX);
    let date = time::OffsetDateTime::from_unix_timestamp(seconds).ok();
    let date = date.map(|at| format!("{} {:02}:{:02} UTC", at.date(), at.hour(), at.minute())).unwrap_or_default();
    match clock.quality() {
        ClockQuality::Ntp => format!("{date}, kept by a time server"),
        _ => format!("{date}, by the box's own clock; the cloud is asked below"),
    }
}

/// Who the box is, and whom it believes.
fn tls_of(config: &Config) -> (Who, Option<TlsSettings>) {
    let folder = IdentityFolder::in_data_dir(&config.data_dir).sealed_by(config.device.seal.as_deref());
    match folder.and_then(|folder| folder.load()) {
        Ok(Identity { box_id, tls }) => match TlsSettings::new(&tls) {
            Ok(tls) => (Who::Enrolled(box_id), Some(tls)),
            Err(error) => (Who::Unusable(error.trouble().detail), None),
        },
        Err(EnrollError::NotEnrolled { .. }) => match config.cloud.roots.as_ref().map(|path| roots(path)) {
            None => (Who::Unclaimed { has_roots: false }, None),
            Some(Ok(tls)) => (Who::Unclaimed { has_roots: true }, Some(tls)),
            Some(Err(why)) => (Who::Unusable(why), None),
        },
        Err(other) => (Who::Unusable(other.to_string()), None),
    }
}

fn roots(path: &std::path::Path) -> Result<TlsSettings, String> {
    let pem = read_bounded(path, ROOTS_MAX_BYTES).map_err(|e| format!("cloud.roots, {}: {e}", path.display()))?;
    TlsSettings::without_certificate(&pem).map_err(|error| error.trouble().detail)
}

/// Settings that believe nobody: a certificate of which the key is thrown away. For the steps below TLS.
fn nobody() -> Result<TlsSettings, String> {
    let key = rcgen::KeyPair::generate().map_err(|e| e.to_string())?;
    let root = rcgen::CertificateParams::default().self_signed(&key).map_err(|e| e.to_string())?;
    TlsSettings::without_certificate(root.pem().as_bytes()).map_err(|error| error.to_string())
}
