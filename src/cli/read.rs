//! `platen read`, `scan` and `replay`: readings from a device, from ranges, from a recording.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{Failure, FenceArgs, HowArgs, SnmpArgs, block_on, print, print_json, resolve, show};
use crate::agent::{Found, Lockout, SearchOptions, SearchProgress, read_with, search};
use crate::discovery::{DnsResolver, Fence, Paces, Ranges, ScopedIp};
use crate::printer::{self, Explanation, Profiles, ReadOptions, Reading};
use crate::snmp::{Asks, Client, ClientConfig, Credentials, Recording, Timing, UsmUser};

/// Largest recording that is read, in bytes.
const RECORDING_MAX_BYTES: usize = 256 * 1024 * 1024;
/// Largest profile that is read, in bytes.
const PROFILE_MAX_BYTES: usize = 256 * 1024;
/// Devices that are handed over at once.
const FOUND_AT_ONCE: usize = 64;
/// Packets per second when one device is read: the engine's own limits for one device are what matters.
const READ_PACKETS_PER_SECOND: u32 = 200;

impl SnmpArgs {
    /// What is tried, in this order.
    pub(super) fn credentials(&self) -> Result<Vec<Credentials>, Failure> {
        let v1 = || Credentials::V1 { community: self.community.as_str().into() };
        let v2c = || Credentials::V2c { community: self.community.as_str().into() };
        match (self.version.as_deref(), &self.user) {
            (Some("1"), None) => Ok(vec![v1()]),
            (Some("2c"), None) => Ok(vec![v2c()]),
            (None, None) => Ok(vec![v2c(), v1()]),
            (Some("3") | None, Some(user)) => Ok(vec![Credentials::V3(self.usm_user(user)?)]),
            (_, None) => Err(Failure::usage("SNMP version 3 needs --user NAME")),
            (Some(version), Some(_)) => Err(Failure::usage(format!("--user goes with SNMP version 3, not {version}"))),
        }
    }

    fn usm_user(&self, name: &str) -> Result<UsmUser, Failure> {
        let auth = match (&self.auth, &self.auth_password) {
            (Some(algorithm), Some(password)) => {
                Some((algorithm.parse().map_err(Failure::usage)?, password.as_str().into()))
            }
            _ => None,
        };
        let privacy = match (&self.privacy, &self.privacy_password) {
            (Some(algorithm), Some(password)) => {
                Some((algorithm.parse().map_err(Failure::usage)?, password.as_str().into()))
            }
            _ => None,
        };
        UsmUser::new(name, auth, privacy, &self.context).map_err(Failure::usage)
    }

    pub(super) fn timing(&self) -> Timing {
        Timing { timeout: Duration::from_millis(self.timeout_ms), retries: self.retries }
    }
}

impl FenceArgs {
    pub(super) fn fence(&self) -> Result<Fence, Failure> {
        if self.fence.is_empty() {
            return Fence::private_and_loopback().map_err(Failure::failed);
        }
        Fence::parse(&self.fence).map_err(Failure::usage)
    }
}

/// Says which address may not be asked, and how to allow it.
pub(super) fn check_fence(fence: &Fence, address: ScopedIp) -> Result<(), Failure> {
    if fence.allows(address) {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "{address} lies outside of the fence ({fence}): nothing was sent; --fence {address} would allow it"
    )))
}

pub(super) fn open_client(packets_per_second: u32, asks: Asks) -> Result<Client, Failure> {
    let config = ClientConfig { packets_per_second: Some(packets_per_second), asks, ..ClientConfig::default() };
    Client::open(config).map_err(|e| Failure::failed(format!("the SNMP socket cannot be opened: {e}")))
}

impl HowArgs {
    fn options(&self) -> Result<ReadOptions, Failure> {
        let mut profiles = Profiles::built_in();
        for file in &self.profile {
            let bytes = crate::store::read_bounded(file, PROFILE_MAX_BYTES)
                .map_err(|e| Failure::failed(format!("{}: the profile cannot be read: {e}", file.display())))?;
            let text = String::from_utf8(bytes)
                .map_err(|_| Failure::failed(format!("{}: a profile is UTF-8 text", file.display())))?;
            let name = file.file_stem().unwrap_or_default().to_string_lossy();
            profiles = profiles.with(&name, &text).map_err(Failure::failed)?;
        }
        Ok(ReadOptions { address: None, profiles, panel: self.panel })
    }

    fn show(&self, reading: &Reading, explanation: &Explanation) -> Result<(), Failure> {
        match (self.json, self.explain) {
            (true, true) => print_json(&serde_json::json!({ "reading": reading, "explanation": explanation })),
            (true, false) => print_json(reading),
            (false, true) => print(&format!("{}\n{}", show::reading(reading), show::explanation(explanation))),
            (false, false) => print(&show::reading(reading)),
        }
    }
}

pub(super) fn read(host: &str, snmp: &SnmpArgs, fence: &FenceArgs, how: &HowArgs) -> Result<(), Failure> {
    let credentials = snmp.credentials()?;
    let fence = fence.fence()?;
    let options = how.options()?;
    let (reading, mut explanation, traffic) = block_on(async {
        let target = resolve(host, &fence).await?;
        let client = open_client(READ_PACKETS_PER_SECOND, Asks::Listed)?;
        let candidates: Vec<usize> = (0..credentials.len()).collect();
        let options = SearchOptions { read: options, ..search_options(target.port(), credentials, snmp, None) };
        let found = read_with(&client, target, &candidates, &options, None).await;
        Ok((found.reading.map_err(Failure::failed)?, found.explanation, client.statistics()))
    })?;
    explanation.traffic = Some(format!("{} packets sent, {} received", traffic.sent, traffic.received));
    how.show(&reading, &explanation)
}

pub(super) fn search_options(
    port: u16,
    credentials: Vec<Credentials>,
    snmp: &SnmpArgs,
    rate: Option<u32>,
) -> SearchOptions {
    SearchOptions {
        port,
        credentials,
        timing: snmp.timing(),
        paces: Paces::wanted(rate),
        skip: HashSet::new(),
        lockout: Arc::<Lockout>::default(),
        read: ReadOptions::default(),
    }
}

pub(super) fn scan(
    ranges: &[String],
    port: u16,
    rate: Option<u32>,
    snmp: &SnmpArgs,
    fence: &FenceArgs,
    json: bool,
) -> Result<(), Failure> {
    let ranges = Ranges::parse(ranges).map_err(Failure::usage)?;
    let fence = fence.fence()?;
    let credentials = snmp.credentials()?;
    let found = block_on(async {
        let addresses = ranges.resolve(&fence, &DnsResolver).await.map_err(Failure::failed)?;
        if addresses.is_empty() {
            return Err(Failure::usage(format!(
                "none of these addresses lies within the fence ({fence}): nothing was sent; --fence allows others"
            )));
        }
        let options = search_options(port, credentials, snmp, rate);
        let client = open_client(rate.unwrap_or_default().max(READ_PACKETS_PER_SECOND), Asks::Listed)?;
        let (progress, shown) = watch::channel(SearchProgress::default());
        let showing = tokio::spawn(show::progress(shown));
        let stop = CancellationToken::new();
        let (sender, mut receiver) = mpsc::channel(FOUND_AT_ONCE);
        let collect = async {
            let mut found = Vec::new();
            while receiver.recv_many(&mut found, FOUND_AT_ONCE).await > 0 {}
            found
        };
        let (searched, found) =
            tokio::join!(search(&client, &fence, &addresses, &options, sender, &progress, &stop), collect);
        drop(progress);
        // It ends with the sender; a panic in a progress line is nothing to fail for.
        let _shown = showing.await;
        searched.map_err(Failure::failed)?;
        Ok(found)
    })?;
    show_found(found, json)
}

fn show_found(found: Vec<Found>, json: bool) -> Result<(), Failure> {
    let answered = found.len();
    let mut printers = Vec::new();
    for device in found {
        match device.reading {
            Ok(reading) if reading.is_printer => printers.push((ScopedIp::from(device.target), reading)),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "a device answered and then could not be read"),
        }
    }
    printers.sort_by_key(|(address, _)| *address);
    let readings: Vec<Reading> = printers.into_iter().map(|(_, reading)| reading).collect();
    if json {
        print_json(&readings)?
    } else {
        print(&show::table(&readings, answered))?
    }
    if readings.is_empty() {
        let remedy = "are they switched on, is SNMP enabled on them, and is the community right?";
        return Err(Failure::failed(format!("no printers found ({answered} devices answered): {remedy}")));
    }
    Ok(())
}

pub(super) fn replay(file: &Path, how: &HowArgs) -> Result<(), Failure> {
    let options = how.options()?;
    let unreadable = |problem: String| Failure::failed(format!("{}: {problem}", file.display()));
    let bytes = crate::store::read_bounded(file, RECORDING_MAX_BYTES)
        .map_err(|e| unreadable(format!("the recording cannot be read: {e}")))?;
    let recording = Recording::parse(&bytes).map_err(|e| unreadable(e.to_string()))?;
    for skipped in recording.skipped() {
        tracing::warn!("{}: {skipped}; left out", file.display());
    }
    let outcome =
        block_on(async { printer::explore(&recording, &options).await.map_err(|e| unreadable(e.to_string())) })?;
    how.show(&outcome.reading, &outcome.explanation)
}
