//! A search of the LAN: every address is asked who it is; whoever answers is read, and found to be a printer or not. Joins
//! discovery, snmp and printer, for the agent and for the command line.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::credentials::Lockout;
use crate::discovery::{
    AddressSet, Fence, Neighbours, OnLink, Paces, ProbeError, Responder, ScopedIp, SweepOptions, sweep,
};
use crate::printer::{self, Explanation, Memory, Outcome, ReadOptions, Reading};
use crate::snmp::{Client, Credentials, SnmpError, Timing};

/// Devices that are read at once. The engine's window bounds the packets; this bounds the memory.
const READ_AT_ONCE: usize = 64;
/// How long to wait for answers after each pass of probes.
const LISTEN: Duration = Duration::from_secs(1);

/// What a search needs besides the addresses.
#[derive(Debug, Clone)]
pub struct SearchOptions {
    /// UDP port of the agents.
    pub port: u16,
    /// What may let us in.
    pub credentials: Vec<Credentials>,
    /// Patience with a device that has answered.
    pub timing: Timing,
    /// How fast addresses are asked.
    pub paces: Paces,
    /// Addresses that need not be asked.
    pub skip: HashSet<ScopedIp>,
    /// Who has refused our users of SNMPv3.
    pub lockout: Arc<Lockout>,
    /// How devices are read.
    pub read: ReadOptions,
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
    /// Where each value came from.
    pub explanation: Explanation,
    /// What makes its next reading short.
    pub memory: Option<Memory>,
}

impl Found {
    fn silent(target: SocketAddr, credentials_index: usize, error: SnmpError) -> Self {
        Self { target, credentials_index, reading: Err(error), explanation: Explanation::default(), memory: None }
    }
}

/// How far a search has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SearchProgress {
    /// Addresses in the set.
    pub addresses: u64,
    /// The pass under way, from 1; 0 before the first.
    pub pass: u32,
    /// Passes in all.
    pub passes: u32,
    /// Probes sent so far, all passes together.
    pub probes: u64,
    /// Devices that answered.
    pub answered: u32,
    /// Printers read.
    pub printers: u32,
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
    // Looked at anew for each search: the box may have been carried to another network.
    let parts = OnLink::read().parts(addresses, options.paces);
    let addresses = parts.iter().map(|part| part.addresses.len()).sum();
    progress.send_replace(SearchProgress { addresses, ..SearchProgress::default() });
    let sweep_options = SweepOptions {
        parts,
        port: options.port,
        credentials: options.credentials.clone(),
        listen: LISTEN,
        skip: options.skip.clone(),
        neighbours: Neighbours::of_the_kernel(),
    };
    let mut sweep = sweep(client.clone(), fence.clone(), sweep_options, stop.clone());
    let mut counts = sweep.progress();
    let mut readings = FuturesUnordered::new();
    let mut sweeping = true;
    while sweeping || !readings.is_empty() {
        tokio::select! {
            responder = sweep.next(), if sweeping && readings.len() < READ_AT_ONCE => match responder {
                None => sweeping = false,
                Some(responder) => {
                    progress.send_modify(|progress| progress.answered += 1);
                    readings.push(read_responder(client, responder, options));
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
            Ok(()) = counts.changed(), if sweeping => {}
        }
        let counts = *counts.borrow();
        progress.send_modify(|progress| {
            (progress.pass, progress.passes, progress.probes) = (counts.pass, counts.passes, counts.asked);
        });
    }
    sweep.finish().await
}

/// Reads a device by what it answered to; an SNMPv3 engine by the users, and by communities only if it lets none of them
/// in: a device that offers both is read by the safer one.
async fn read_responder(client: &Client, responder: Responder, options: &SearchOptions) -> Found {
    let target = responder.address;
    let candidates: Vec<usize> = match responder.credentials_index {
        Some(index) => vec![index],
        None => (0..options.credentials.len()).collect(),
    };
    read_with(client, target, &candidates, options, None).await
}

/// Reads a device with the first of these credentials that lets us in; briefly where it is remembered.
pub async fn read_with(
    client: &Client,
    target: SocketAddr,
    candidates: &[usize],
    options: &SearchOptions,
    memory: Option<&Memory>,
) -> Found {
    let first = candidates.first().copied().unwrap_or(0);
    let mut outcome = Found::silent(target, first, SnmpError::Timeout { target, tries: 0 });
    let mut refusal = None;
    // With several to try, silence about one of them must not hold up the others for long.
    let retries = if candidates.len() > 1 { options.timing.retries.min(1) } else { options.timing.retries };
    let timing = Timing { retries, ..options.timing };
    for index in candidates.iter().copied() {
        let Some(credentials) = options.credentials.get(index) else { continue };
        let is_user = matches!(credentials, Credentials::V3(_));
        if is_user && let Err(until) = options.lockout.may_try(target, index, Instant::now()) {
            refusal.get_or_insert(SnmpError::LockedOut { target, minutes: until.as_secs().div_ceil(60) });
            continue;
        }
        match read_device(client, target, credentials.clone(), timing, &options.read, memory).await {
            Ok(Outcome { reading, explanation, memory }) => {
                options.lockout.forget(target);
                return Found { target, credentials_index: index, reading: Ok(reading), explanation, memory };
            }
            Err(error) => {
                let is_silence = matches!(error, SnmpError::Timeout { .. });
                let is_refusal = error.is_wrong_credentials();
                outcome = Found::silent(target, index, error.clone());
                if is_refusal {
                    options.lockout.count(target, index, Instant::now());
                    // What the device said of a user says more than its silence about a community.
                    refusal.get_or_insert(error);
                } else if !is_silence {
                    return outcome;
                }
            }
        }
    }
    if let Some(refusal) = refusal {
        outcome.reading = Err(refusal);
    }
    outcome
}

/// Reads one device.
///
/// # Errors
/// When it does not answer, or refuses.
async fn read_device(
    client: &Client,
    target: SocketAddr,
    credentials: Credentials,
    timing: Timing,
    how: &ReadOptions,
    memory: Option<&Memory>,
) -> Result<Outcome, SnmpError> {
    let is_user = matches!(credentials, Credentials::V3(_));
    let session = client.session(target, credentials, timing);
    let options = ReadOptions { address: Some(ScopedIp::from(target).to_string()), ..how.clone() };
    let mut outcome = match memory {
        Some(memory) => printer::read_known(&session, &options, memory).await,
        None => printer::explore(&session, &options).await,
    }?;
    if is_user {
        let hexadecimal = |id: Vec<u8>| id.iter().map(|b| format!("{b:02x}")).collect();
        outcome.reading.engine_id = client.engine_id(target).map(hexadecimal);
    }
    Ok(outcome)
}
