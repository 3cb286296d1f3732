//! `platen-sim`: simulated printers on this machine's loopback addresses.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use platen::sim::{
    Crowd, CrowdConfig, Fault, RunningSim, SimConfig, SimUser, Simulated, demo_fleet, generated_fleet, recordings_in,
    start, usual_users,
};

/// Simulated printers on loopback addresses, for SNMP v1, v2c and v3.
#[derive(Debug, Parser)]
#[command(
    name = "platen-sim",
    version,
    after_help = "Examples:
  platen-sim --demo                                  the demo's printers, living
  platen-sim --corpus recordings/                    every recording of a folder
  platen-sim --fleet 500 --port 1161                 five hundred printers
  platen-sim --crowd 65536 --alive 500 --base 127.1.0.0   for benchmarks
  platen-sim --demo --fault 127.77.0.3=slow:800      one of them slow"
)]
struct Cli {
    /// The printers of the demo.
    #[arg(long, group = "what")]
    demo: bool,
    /// So many generated printers.
    #[arg(long, value_name = "N", group = "what")]
    fleet: Option<usize>,
    /// Every recording (.snmprec) of a folder.
    #[arg(long, value_name = "DIR", group = "what")]
    corpus: Option<PathBuf>,
    /// So many addresses with equal agents, for benchmarks (v1 and v2c; see the options of a crowd).
    #[arg(long, value_name = "SIZE", group = "what")]
    crowd: Option<u32>,
    /// Of a crowd: how many of its addresses answer; all of them when absent.
    #[arg(long, value_name = "N", requires = "crowd")]
    alive: Option<u32>,
    /// Of a crowd: objects of the Printer-MIB that each has.
    #[arg(long, value_name = "N", requires = "crowd", default_value_t = 300)]
    rows: u32,
    /// Of a crowd: how long each answer is held back.
    #[arg(long, value_name = "MS", requires = "crowd", default_value_t = 0)]
    delay_ms: u64,
    /// Of a crowd: how many of a thousand requests are lost.
    #[arg(long, value_name = "N", requires = "crowd", default_value_t = 0)]
    loss_permille: u32,
    /// Of a crowd: largest answer, in bytes.
    #[arg(long, value_name = "BYTES", requires = "crowd", default_value_t = 1_400)]
    max_bytes: usize,
    /// Address of the first printer; the others follow.
    #[arg(long, value_name = "ADDRESS", default_value = "127.77.0.1")]
    base: Ipv4Addr,
    /// UDP port; 0 takes a free one.
    #[arg(long, default_value_t = 1161)]
    port: u16,
    /// Read community.
    #[arg(long, default_value = "public")]
    community: String,
    /// An SNMPv3 user: NAME, NAME,AUTH,PASSWORD or NAME,AUTH,PASSWORD,PRIVACY,PASSWORD; NAME@CONTEXT when it sees only
    /// one context. May be repeated.
    #[arg(long, value_name = "USER")]
    user: Vec<String>,
    #[arg(long, value_name = "FAULT", help = format!("ADDRESS=FAULT; may be repeated. FAULT is one of {}", Fault::names()))]
    fault: Vec<String>,
    /// Seed of everything that is random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many times faster than life; 0 stands still.
    #[arg(long, default_value_t = 1.0)]
    speed: f64,
    /// Keep in this file (JSON) how many requests each printer has got, by the address and port that they came from.
    #[arg(long, value_name = "FILE", conflicts_with = "crowd")]
    counts: Option<PathBuf>,
}

/// The file of counts is renewed so often.
const COUNTS_EVERY: Duration = Duration::from_millis(250);

fn main() -> ExitCode {
    let cli = Cli::parse();
    platen::cli::log_to_stderr(0, false);
    let ended = match crowd_of(&cli) {
        Some(crowd) => run_crowd(crowd),
        None => {
            let counts = cli.counts.clone();
            config_of(cli).and_then(|config| run(config, counts.as_deref()))
        }
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err((message, code)) => {
            let _nobody_reads = writeln!(std::io::stderr(), "platen-sim: {message}");
            ExitCode::from(code)
        }
    }
}

/// A message, and 1 for what did not work or 2 for what was asked wrongly.
type Failure = (String, u8);

fn crowd_of(cli: &Cli) -> Option<CrowdConfig> {
    let size = cli.crowd?;
    Some(CrowdConfig {
        first_address: cli.base,
        size,
        alive: cli.alive.unwrap_or(size),
        port: cli.port,
        rows: cli.rows,
        delay: Duration::from_millis(cli.delay_ms),
        loss_permille: cli.loss_permille,
        answer_max_bytes: cli.max_bytes,
    })
}

fn run_crowd(config: CrowdConfig) -> Result<(), Failure> {
    let failed = |e: &dyn std::fmt::Display| (e.to_string(), 1);
    let text = format!(
        "{} of {} addresses from {} on answer at UDP port {}. End with Ctrl-C.",
        config.alive, config.size, config.first_address, config.port
    );
    let _crowd = Crowd::start(config).map_err(|e| failed(&e))?;
    let _nobody_reads = writeln!(std::io::stdout(), "{text}");
    let runtime = tokio::runtime::Runtime::new().map_err(|e| failed(&e))?;
    runtime.block_on(tokio::signal::ctrl_c()).map_err(|e| failed(&e))
}

fn config_of(cli: Cli) -> Result<SimConfig, Failure> {
    let usage = |message: String| (message, 2);
    let printers: Vec<Simulated> = if let Some(folder) = &cli.corpus {
        recordings_in(folder).map_err(|e| (e.to_string(), 1))?
    } else if let Some(count) = cli.fleet {
        generated_fleet(count, cli.seed)
    } else if cli.demo {
        demo_fleet()
    } else {
        return Err(usage("say what to simulate: --demo, --fleet N, --crowd SIZE or --corpus DIR".to_owned()));
    };
    let mut users = usual_users();
    for text in &cli.user {
        users.push(parse_user(text).map_err(usage)?);
    }
    let mut faults = Vec::new();
    for text in &cli.fault {
        let (address, fault) = text
            .split_once('=')
            .ok_or_else(|| usage(format!("\"{text}\" is not ADDRESS=FAULT, for example 127.77.0.3=silent")))?;
        let address = address.parse().map_err(|_| usage(format!("\"{address}\" is not an IPv4 address")))?;
        faults.push((address, fault.parse::<Fault>().map_err(|e| usage(e.to_string()))?));
    }
    Ok(SimConfig {
        first_address: cli.base,
        port: cli.port,
        community: cli.community,
        users,
        printers,
        faults,
        tripwires: Vec::new(),
        seed: cli.seed,
        speed: cli.speed,
    })
}

fn parse_user(text: &str) -> Result<SimUser, String> {
    let malformed = || format!("\"{text}\" is not NAME[@CONTEXT][,AUTH,PASSWORD[,PRIVACY,PASSWORD]]");
    let parts: Vec<&str> = text.split(',').collect();
    let (name, auth, privacy) = match parts.as_slice() {
        [name] => (name, None, None),
        [name, auth, password] => (name, Some((*auth, *password)), None),
        [name, auth, password, privacy, privacy_password] => {
            (name, Some((*auth, *password)), Some((*privacy, *privacy_password)))
        }
        _ => return Err(malformed()),
    };
    let auth = auth.map(|(a, p)| a.parse().map(|a| (a, p.to_owned()))).transpose();
    let privacy = privacy.map(|(a, p)| a.parse().map(|a| (a, p.to_owned()))).transpose();
    let (name, context_name) = name.split_once('@').unwrap_or((name, ""));
    Ok(SimUser {
        name: name.to_owned(),
        auth: auth.map_err(|e: platen::snmp::CredentialsError| e.to_string())?,
        privacy: privacy.map_err(|e: platen::snmp::CredentialsError| e.to_string())?,
        context_name: context_name.to_owned(),
    })
}

fn run(config: SimConfig, counts: Option<&Path>) -> Result<(), Failure> {
    let failed = |e: &dyn std::fmt::Display| (e.to_string(), 1);
    let runtime = tokio::runtime::Runtime::new().map_err(|e| failed(&e))?;
    runtime.block_on(async {
        let sim = start(config).map_err(|e| failed(&e))?;
        let mut text = String::new();
        for printer in sim.printers() {
            let serial = printer.serial.as_deref().unwrap_or("");
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{:<15} {:<36} {serial}", printer.address, printer.name);
        }
        if let Some(first) = sim.printers().first() {
            let (address, port) = (first.address, sim.port());
            let _ = write!(
                text,
                "{} printers on UDP port {port}. Ask one:\n  snmpwalk -v2c -c public {address}:{port} 1.3.6.1.2.1.43\n  platen read {address}:{port}\nEnd with Ctrl-C.",
                sim.printers().len()
            );
        }
        let _nobody_reads = writeln!(std::io::stdout(), "{text}");
        tokio::select! {
            ended = tokio::signal::ctrl_c() => ended.map_err(|e| failed(&e))?,
            Err(error) = keep_counts(&sim, counts) => return Err(error),
        }
        sim.shutdown().await;
        Ok(())
    })
}

/// Keeps the file of counts, where one is wanted, until that fails.
async fn keep_counts(sim: &RunningSim, counts: Option<&Path>) -> Result<(), Failure> {
    let Some(file) = counts else { return std::future::pending().await };
    loop {
        let text = serde_json::to_vec(&sim.asked()).map_err(|e| (e.to_string(), 1))?;
        platen::store::write_atomically(file, &text).map_err(|e| (format!("{}: {e}", file.display()), 1))?;
        tokio::time::sleep(COUNTS_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a failed unwrap is a failed test
    use super::*;

    #[test]
    fn a_user_is_a_name_perhaps_with_a_context_and_passwords() {
        let user = parse_user("reader@floor 2,SHA-256,maplesyrup,AES-256-C,maplesyrup").unwrap();
        assert_eq!((user.name.as_str(), user.context_name.as_str()), ("reader", "floor 2"));
        assert_eq!(user.privacy.unwrap().0, platen::snmp::PrivacyAlgorithm::Aes256Reeder);
        assert_eq!(parse_user("open").unwrap().auth, None);
        assert!(parse_user("reader,SHA").unwrap_err().contains("NAME"));
    }
}
