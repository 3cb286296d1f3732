//! A search of the LAN: every address is asked with one credential after the other until it answers; whoever answers is
//! read, and found to be a printer or not. Joins discovery, snmp and printer, for the agent and for the command line.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::discovery::{AddressSet, Answer, Fence, ProbeError, Prober, SweepOptions, sweep};
use crate::oid;
use crate::printer::{self, ReadOptions, Reading};
use crate::snmp::{Client, Credentials, SnmpError, Timing, Value};

/// Devices that are read at once. The engine's window bounds the packets; this bounds the memory.
const READ_AT_ONCE: usize = 16;
/// Addresses that wait for an answer at once: the engine paces the packets, and a silent address waits for seconds.
const PROBE_AT_ONCE: usize = 512;

/// What a search needs besides the addresses.
#[derive(Debug, Clone)]
pub struct SearchOptions {
    /// The engine that asks addresses; its pace is the search's. Devices that answered are read by another one, so that
    /// they need not wait behind all the silent addresses.
    pub prober: Client,
    /// UDP port of the agents.
    pub port: u16,
    /// Tried in this order.
    pub credentials: Vec<Credentials>,
    /// Patience with a device that has answered.
    pub timing: Timing,
    /// Patience with an address that may hold nothing.
    pub probe_timing: Timing,
}

/// A device that answered, and what it said.
#[derive(Debug)]
pub struct Found {
    /// Where.
    pub target: SocketAddr,
    /// Which of the credentials it answers to.
    pub credentials_index: usize,
    /// What it is; or why it fell silent.
    pub reading: Result<Reading, SnmpError>,
}

/// How far a search has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SearchProgress {
    /// Addresses in the set.
    pub addresses: u64,
    /// Probes sent so far, all credentials together.
    pub probes: u64,
    /// Devices that answered.
    pub answered: u32,
    /// Printers read.
    pub printers: u32,
}

/// Asks a device for who it is, with the real engine.
#[derive(Clone)]
struct SnmpProber {
    client: Client,
    credentials: Credentials,
    timing: Timing,
}

impl Prober for SnmpProber {
    async fn probe(&self, target: SocketAddr) -> Result<Option<Answer>, ProbeError> {
        let session = self.client.session(target, self.credentials.clone(), self.timing);
        match session.get(&[oid!(1, 3, 6, 1, 2, 1, 1, 2, 0), oid!(1, 3, 6, 1, 2, 1, 1, 1, 0)]).await {
            Ok(answer) => {
                let sys_object_id = answer.first().and_then(|vb| vb.value.as_oid()).map(ToString::to_string);
                let sys_descr = match answer.get(1).map(|vb| &vb.value) {
                    Some(Value::OctetString(bytes)) => Some(String::from_utf8_lossy(bytes).into_owned()),
                    _ => None,
                };
                Ok(Some(Answer { sys_object_id, sys_descr }))
            }
            // An agent that answers with an error is an agent.
            Err(SnmpError::ErrorStatus { .. }) => Ok(Some(Answer { sys_object_id: None, sys_descr: None })),
            Err(SnmpError::Engine(detail)) => Err(ProbeError::Failed(detail)),
            Err(_) => Ok(None),
        }
    }
}

/// Searches `addresses`, which lie within `fence`. Devices are read while others are still searched for, and told to
/// `found` as they come; when nobody listens there any more, the search ends.
///
/// # Errors
/// When the engine takes no requests. Silent, odd and broken devices are no errors.
pub async fn search(
    client: &Client,
    fence: &Fence,
    addresses: &AddressSet,
    options: &SearchOptions,
    found: mpsc::Sender<Found>,
    progress: &watch::Sender<SearchProgress>,
    stop: &CancellationToken,
) -> Result<(), ProbeError> {
    let mut answered: HashSet<IpAddr> = HashSet::new();
    progress.send_replace(SearchProgress { addresses: addresses.len(), ..SearchProgress::default() });
    for (credentials_index, credentials) in options.credentials.iter().enumerate() {
        if stop.is_cancelled() || answered.len() as u64 == addresses.len() {
            break;
        }
        let prober = SnmpProber {
            client: options.prober.clone(),
            credentials: credentials.clone(),
            timing: options.probe_timing,
        };
        let sweep_options = SweepOptions { port: options.port, at_once: PROBE_AT_ONCE, skip: answered.clone() };
        let mut sweep = sweep(prober, fence.clone(), addresses.clone(), sweep_options, stop.clone());
        let probes_before = progress.borrow().probes;
        let counts = sweep.progress();
        let mut readings = FuturesUnordered::new();
        let mut sweeping = true;
        while sweeping || !readings.is_empty() {
            tokio::select! {
                responder = sweep.next(), if sweeping && readings.len() < READ_AT_ONCE => match responder {
                    None => sweeping = false,
                    Some(responder) => {
                        let target = responder.address;
                        answered.insert(target.ip());
                        progress.send_modify(|progress| progress.answered += 1);
                        readings.push(async move {
                            let reading = read_device(client, target, credentials.clone(), options.timing).await;
                            Found { target, credentials_index, reading }
                        });
                    }
                },
                Some(device) = readings.next() => {
                    if device.reading.as_ref().is_ok_and(|reading| reading.is_printer) {
                        progress.send_modify(|progress| progress.printers += 1);
                    }
                    if found.send(device).await.is_err() {
                        return Ok(());
                    }
                }
            }
            let asked = counts.borrow().asked;
            progress.send_modify(|progress| progress.probes = probes_before + asked);
        }
        sweep.finish().await?;
    }
    Ok(())
}

/// Reads one device.
///
/// # Errors
/// When it does not answer, or refuses.
pub async fn read_device(
    client: &Client,
    target: SocketAddr,
    credentials: Credentials,
    timing: Timing,
) -> Result<Reading, SnmpError> {
    let session = client.session(target, credentials, timing);
    let options = ReadOptions { address: Some(target.ip().to_string()) };
    printer::read(&session, &options).await
}
