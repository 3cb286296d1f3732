//! Our side of the SNMP benchmarks (`tests/bench/snmp/run`): one piece of work, and what came of it as one line of JSON.
//! The script takes CPU time and memory of the whole process from outside, as it does for the others.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed unwrap ends a measurement that means nothing

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use futures_util::StreamExt;
use platen::printer::{ReadOptions, read};
use platen::snmp::{
    AuthAlgorithm, Client, ClientConfig, Credentials, KnownEngine, Oid, Pace, PrivacyAlgorithm, Probe, SweepPlan,
    Timing, Unreachable, UsmUser, WalkLimits,
};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    work: Work,
}

#[derive(Subcommand)]
enum Work {
    /// One GET to each of many addresses.
    Sweep {
        first: Ipv4Addr,
        size: u32,
        port: u16,
        /// Passes; later ones leave out who has answered.
        #[arg(long, default_value_t = 1)]
        passes: u32,
        /// How long to wait for answers after each pass.
        #[arg(long, default_value_t = 2_000)]
        listen_ms: u64,
        #[arg(long)]
        pps: Option<u32>,
    },
    /// The Printer-MIB of many printers.
    Poll {
        first: Ipv4Addr,
        count: u32,
        port: u16,
        #[arg(long, default_value_t = 64)]
        window: usize,
        /// How many times over; the first round of v3 makes the keys.
        #[arg(long, default_value_t = 1)]
        rounds: u32,
        /// By SNMPv3, SHA-256 and AES-128.
        #[arg(long)]
        v3: bool,
        /// Most repetitions of a GETBULK; the peers are given 50.
        #[arg(long, default_value_t = 50)]
        repetitions: u32,
        /// With the pause between two requests to one printer that is kept in real networks.
        #[arg(long)]
        gap: bool,
    },
    /// Whole readings at the default pace, as the agent makes them.
    Cycle { first: Ipv4Addr, count: u32, port: u16 },
    /// Makes keys for many engines, and watches how long the reactor is held up meanwhile.
    Stall { engines: u32 },
}

fn main() {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let result = runtime.block_on(async {
        match cli.work {
            Work::Sweep { first, size, port, passes, listen_ms, pps } => {
                sweep(first, size, port, passes, Duration::from_millis(listen_ms), pps).await
            }
            Work::Poll { first, count, port, window, rounds, v3, repetitions, gap } => {
                poll(&unpaced(window, gap, repetitions), first, count, port, window, rounds, v3).await
            }
            Work::Cycle { first, count, port } => cycle(first, count, port).await,
            Work::Stall { engines } => stall(engines).await,
        }
    });
    println!("{result}");
}

fn at(first: Ipv4Addr, n: u32, port: u16) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::from_bits(first.to_bits() + n).into(), port)
}

fn v2c() -> Credentials {
    Credentials::V2c { community: "public".into() }
}

/// The user `sha256aes` of the simulator.
fn user() -> Credentials {
    let auth = Some((AuthAlgorithm::Sha256, "maplesyrup".into()));
    let privacy = Some((PrivacyAlgorithm::Aes128, "maplesyrup".into()));
    Credentials::V3(UsmUser::new("sha256aes", auth, privacy, "").unwrap())
}

/// Without a pace: what the engine can do, and not what a network may be asked to bear.
fn unpaced(window: usize, gap: bool, max_repetitions: u32) -> Client {
    let gap = if gap { ClientConfig::default().gap } else { Duration::ZERO };
    Client::open(ClientConfig { packets_per_second: None, window, gap, max_repetitions, ..ClientConfig::default() })
        .unwrap()
}

async fn sweep(
    first: Ipv4Addr,
    size: u32,
    port: u16,
    passes: u32,
    listen: Duration,
    pps: Option<u32>,
) -> serde_json::Value {
    let client = unpaced(64, false, 25);
    let start = Instant::now();
    let mut found: HashSet<SocketAddr> = HashSet::new();
    for _ in 0..passes {
        let done = found.clone();
        let targets = (0..size).map(move |n| at(first, n, port)).filter(move |target| !done.contains(target));
        let plan = SweepPlan {
            targets: Box::new(targets),
            probe: Probe::Community { credentials: v2c(), oids: vec!["1.3.6.1.2.1.1.2.0".parse().unwrap()] },
            pace: pps.map_or_else(Pace::of_the_client, Pace::per_second),
            listen,
            unreachable: Unreachable::default(),
        };
        let mut probes = client.sweep(plan).await.unwrap();
        while let Some(answer) = probes.next().await {
            found.insert(answer.target);
        }
    }
    let statistics = client.statistics();
    serde_json::json!({
        "found": found.len(), "wall_s": start.elapsed().as_secs_f64(), "sent": statistics.sent,
        "kernel_drops": statistics.kernel_drops,
    })
}

async fn poll(
    client: &Client,
    first: Ipv4Addr,
    count: u32,
    port: u16,
    window: usize,
    rounds: u32,
    v3: bool,
) -> serde_json::Value {
    let root: Oid = "1.3.6.1.2.1.43".parse().unwrap();
    let limits = WalkLimits::default();
    let credentials = if v3 { user() } else { v2c() };
    let (mut varbinds, mut failed) = (0, 0);
    let (mut cpu_of_round, mut wall_of_round, mut sent_in_round) = (Vec::new(), Vec::new(), Vec::new());
    let start = Instant::now();
    for _ in 0..rounds {
        let (before, began, sent) = (cpu_s(), Instant::now(), client.statistics().sent);
        let walks = futures_util::stream::iter(0..count).map(|n| {
            let session = client.session(at(first, n, port), credentials.clone(), Timing::default());
            let root = &root;
            // What was read is kept until the printer is done, as values and not as bytes.
            async move { session.walk(root, limits).await.map(|walk| walk.varbinds) }
        });
        let mut walks = walks.buffer_unordered(window);
        while let Some(walk) = walks.next().await {
            match walk {
                Ok(found) => varbinds += found.len(),
                Err(_) => failed += 1,
            }
        }
        cpu_of_round.push(cpu_s() - before);
        wall_of_round.push(began.elapsed().as_secs_f64());
        sent_in_round.push(client.statistics().sent - sent);
    }
    let statistics = client.statistics();
    serde_json::json!({
        "varbinds": varbinds, "failed": failed, "wall_s": start.elapsed().as_secs_f64(), "sent": statistics.sent,
        "retransmitted": statistics.retransmitted, "kernel_drops": statistics.kernel_drops,
        "cpu_of_round_s": cpu_of_round, "wall_of_round_s": wall_of_round, "sent_in_round": sent_in_round,
    })
}

async fn cycle(first: Ipv4Addr, count: u32, port: u16) -> serde_json::Value {
    let client = Client::open(ClientConfig::default()).unwrap();
    let start = Instant::now();
    let readings = futures_util::stream::iter(0..count).map(|n| {
        let timing = Timing { timeout: Duration::from_secs(2), retries: 2 };
        let session = client.session(at(first, n, port), v2c(), timing);
        async move { read(&session, &ReadOptions::default()).await }
    });
    let mut readings = readings.buffer_unordered(64);
    let (mut whole, mut incomplete, mut failed) = (0, 0, 0);
    while let Some(reading) = readings.next().await {
        match reading {
            Ok(reading) if reading.is_printer && !reading.flags.iter().any(|flag| flag == "INCOMPLETE") => whole += 1,
            Ok(_) => incomplete += 1,
            Err(_) => failed += 1,
        }
    }
    let statistics = client.statistics();
    serde_json::json!({
        "whole": whole, "incomplete": incomplete, "failed": failed, "wall_s": start.elapsed().as_secs_f64(),
        "sent": statistics.sent, "received": statistics.received,
    })
}

async fn stall(engines: u32) -> serde_json::Value {
    let client = unpaced(64, false, 25);
    // Nobody answers there: the keys are made for engines that are remembered, and then asked for in vain.
    let port = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let first = Ipv4Addr::new(127, 9, 0, 1);
    client.remember_engines((0..engines).map(|n| KnownEngine {
        target: at(first, n, port),
        engine_id: [&[0x80, 0, 0, 0, 5][..], &n.to_be_bytes()].concat(),
        boots: 1,
        time_s: 1,
    }));
    let (over, longest_us) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (watched, longest) = (Arc::clone(&over), Arc::clone(&longest_us));
    let ticker = tokio::spawn(async move {
        let mut ticks = 0_u64;
        while !watched.load(Ordering::Relaxed) {
            let before = Instant::now();
            tokio::task::yield_now().await;
            let held_up = u64::try_from(before.elapsed().as_micros()).unwrap_or(u64::MAX);
            longest.fetch_max(held_up, Ordering::Relaxed);
            ticks += 1;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        ticks
    });
    let start = Instant::now();
    let asked = futures_util::stream::iter(0..engines).map(|n| {
        let timing = Timing { timeout: Duration::from_millis(20), retries: 0 };
        let session = client.session(at(first, n, port), user(), timing);
        async move { session.get(&["1.3.6.1.2.1.1.3.0".parse().unwrap()]).await.is_err() }
    });
    let silent = asked.buffer_unordered(64).filter(|silent| std::future::ready(*silent)).count().await;
    over.store(true, Ordering::Relaxed);
    let ticks = ticker.await.unwrap();
    serde_json::json!({
        "silent": silent, "wall_s": start.elapsed().as_secs_f64(), "ticks": ticks,
        "longest_stall_ms": longest_us.load(Ordering::Relaxed) as f64 / 1_000.0,
    })
}

/// CPU time of the main thread, in seconds: on it runs everything but the making of keys (/proc/PID/schedstat, nanoseconds).
fn cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1e9
}
