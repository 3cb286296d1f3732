//! The last step: one SNMP GET to a printer, within the fence, and with the credentials of the configuration.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{sleep, timeout};

use super::report::{Finding, Outcome};
use super::words;
use crate::agent::Config;
use crate::cause::Cause;
use crate::discovery::{AddressError, DnsResolver, Fence, RangeError, ScopedIp, ping};
use crate::snmp::{Client, ClientConfig, Credentials, Oid, SnmpError, Timing, UsmUser, Value, VarBind};

/// Longest time for the printer's name.
pub(super) const RESOLVE_LIMIT_MS: u64 = 500;
/// Longest time for its answer: two tries, and what else is tried beside them.
pub(super) const ASK_LIMIT_MS: u64 = 2_500;
const TIMING: Timing = Timing { timeout: Duration::from_millis(750), retries: 1 };
/// Whether it answers at all is asked when it has not answered at once.
const BESIDE_AFTER: Duration = Duration::from_millis(600);
const PING_TIMEOUT: Duration = Duration::from_millis(1_500);
const BESIDE_TIMING: Timing = Timing { timeout: PING_TIMEOUT, retries: 0 };
/// sysDescr.0 (RFC 3418).
const SYS_DESCR: [u32; 9] = [1, 3, 6, 1, 2, 1, 1, 1, 0];
/// A user whom no printer has: what it answers to him says that SNMP is switched on.
const NOBODY: &str = "platen-test";

/// Whether the printer answers SNMP, where one was given.
pub(super) async fn snmp(config: &Config, printer: Option<&str>) -> Outcome {
    let Some(printer) = printer else { return Outcome::Skip("no printer was given".to_owned()) };
    let fence = match fence(config) {
        Ok(fence) => fence,
        Err(error) => return Outcome::Fail(Finding::local(words::CONFIG, format!("lan.fence: {error}"))),
    };
    let credentials = match config.snmp.credentials() {
        Ok(credentials) => credentials,
        Err(error) => return Outcome::Fail(Finding::local(words::CONFIG, error.to_string())),
    };
    let (host, port) = split_port(printer, config.snmp.port);
    let addresses = match resolve(host, port).await {
        Ok(addresses) => addresses,
        Err(finding) => return Outcome::Fail(finding),
    };
    let Some(address) = addresses.iter().copied().find(|address| fence.allows(*address)) else {
        let all: Vec<String> = addresses.iter().take(4).map(ToString::to_string).collect();
        return Outcome::Fail(Finding::new(Cause::OutsideFence, format!("{} (fence: {fence})", all.join(", "))));
    };
    ask(address, port, credentials).await
}

/// As the agent's.
fn fence(config: &Config) -> Result<Fence, RangeError> {
    match &config.lan.fence {
        None => Ok(Fence::default()),
        Some(items) => Fence::parse(items),
    }
}

/// `HOST`, `HOST:PORT`, `IPV6`, `[IPV6]` or `[IPV6]:PORT`. What is none of these is no name either.
fn split_port(text: &str, usual: u16) -> (&str, u16) {
    if let Some((address, rest)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (address, rest.strip_prefix(':').and_then(|port| port.parse().ok()).unwrap_or(usual));
    }
    match text.split_once(':') {
        Some((name, port)) if !port.contains(':') => port.parse().map_or((text, usual), |port| (name, port)),
        _ => (text, usual),
    }
}

async fn resolve(host: &str, port: u16) -> Result<Vec<ScopedIp>, Finding> {
    match host.parse::<ScopedIp>() {
        Ok(address) => return Ok(vec![address]),
        Err(AddressError::Malformed(_)) => {}
        Err(error) => return Err(Finding::new(Cause::Silent, error.to_string())),
    }
    let found = timeout(Duration::from_millis(RESOLVE_LIMIT_MS), DnsResolver.lookup(host, port)).await;
    let why = match found {
        Ok(Ok(found)) if !found.is_empty() => return Ok(found.into_iter().map(ScopedIp::from).collect()),
        Ok(Ok(_)) => "it has no address".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "nobody says where it is".to_owned(),
    };
    Err(Finding::new(Cause::Silent, format!("the name {host} cannot be resolved: {why}")))
}

async fn ask(address: ScopedIp, port: u16, credentials: Vec<Credentials>) -> Outcome {
    let target = address.with_port(port);
    let ended = timeout(Duration::from_millis(ASK_LIMIT_MS), first_answer(address, port, credentials)).await;
    let (refused, speaks_snmp, answers_pings) = match ended {
        Ok(Ok(found)) => return Outcome::Ok(format!("{target} {found}")),
        Ok(Err(silence)) => silence,
        Err(_) => (None, false, false),
    };
    Outcome::Fail(match (refused, speaks_snmp, answers_pings) {
        (Some(why), ..) => Finding::new(Cause::WrongCredentials, why),
        (None, true, _) => Finding::new(Cause::WrongCredentials, format!("{target} speaks SNMP, and not with us")),
        (None, false, true) => Finding::new(Cause::PingOnly, target.to_string()),
        (None, false, false) => Finding::new(Cause::Silent, target.to_string()),
    })
}

/// What is known of a printer that has not answered: how it refused, whether it speaks SNMP, whether it answers pings.
type Silence = (Option<String>, bool, bool);

/// Tries all credentials at the same time; the first answer ends it.
async fn first_answer(address: ScopedIp, port: u16, credentials: Vec<Credentials>) -> Result<String, Silence> {
    let target = address.with_port(port);
    let mut tries: FuturesUnordered<_> = credentials
        .into_iter()
        .map(async |credentials| (described(&credentials), get(target, credentials, TIMING).await))
        .collect();
    let mut beside = std::pin::pin!(beside(address, port));
    let (mut refused, mut heard) = (None, None);
    loop {
        tokio::select! {
            biased;
            Some((words, answer)) = tries.next() => match answer {
                Ok(found) => return Ok(format!("by {words}: {}", told(&found))),
                Err(error) if is_refusal(&error) => refused = Some(error.to_string()),
                Err(_) => {}
            },
            found = &mut beside, if heard.is_none() => heard = Some(found),
            else => {
                let (speaks_snmp, answers_pings) = heard.unwrap_or_default();
                return Err((refused, speaks_snmp, answers_pings));
            }
        }
    }
}

/// An agent that refuses a user says so; error status 16 is authorizationError (RFC 3416 §3).
fn is_refusal(error: &SnmpError) -> bool {
    error.is_wrong_credentials() || matches!(error, SnmpError::ErrorStatus { status: 16, .. })
}

/// By a client of its own: one client asks a device one thing at a time, and here they must not wait for each other.
async fn get(target: SocketAddr, credentials: Credentials, timing: Timing) -> Result<Vec<VarBind>, SnmpError> {
    let client = Client::open(ClientConfig::default()).map_err(|e| SnmpError::Engine(e.to_string()))?;
    let too_long = || SnmpError::BadRequest { target, detail: "the object identifier".to_owned() };
    let oid = Oid::new(&SYS_DESCR).ok_or_else(too_long)?;
    client.session(target, credentials, timing).get(&[oid]).await
}

/// Whether it answers something other than what it was asked for: a user whom it does not know, and a ping.
async fn beside(address: ScopedIp, port: u16) -> (bool, bool) {
    sleep(BESIDE_AFTER).await;
    let speaks_snmp = async {
        let Ok(nobody) = UsmUser::new(NOBODY, None, None, "") else { return false };
        let answer = get(address.with_port(port), Credentials::V3(nobody), BESIDE_TIMING).await;
        matches!(answer, Ok(_) | Err(SnmpError::Refused { .. } | SnmpError::ErrorStatus { .. }))
    };
    let answers_pings = async { ping(address, 1, PING_TIMEOUT).await.is_ok_and(|report| report.received > 0) };
    tokio::join!(speaks_snmp, answers_pings)
}

fn described(credentials: &Credentials) -> &'static str {
    match credentials {
        Credentials::V1 { .. } => "SNMPv1",
        Credentials::V2c { .. } => "SNMPv2c",
        Credentials::V3(_) => "SNMPv3",
    }
}

/// What the printer says that it is.
fn told(found: &[VarBind]) -> String {
    match found.first().map(|bind| &bind.value) {
        Some(Value::OctetString(text)) => String::from_utf8_lossy(text).into_owned(),
        _ => "it answers, and says nothing of itself".to_owned(),
    }
}
