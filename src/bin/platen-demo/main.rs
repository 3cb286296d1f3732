//! `platen-demo` (`cargo demo`): everything on one machine. Simulated printers, the reference cloud and the box's own agent
//! with a fresh identity, on loopback addresses and free ports, in a folder that vanishes at the end. With `--unclaimed`, two boxes
//! that belong to nobody yet, to be claimed by hand.

// The futures of a whole box, a cloud and a console nest deeply.
#![recursion_limit = "256"]

mod unclaimed;

use std::collections::HashSet;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use platen::agent::{self, Config, RunningAgent};
use platen::cloud::{self, CloudConfig, RunningCloud};
use platen::enroll::IdentityFolder;
use platen::sim::{self, RunningSim, SimConfig};
use tokio_util::sync::CancellationToken;

/// Everything on one machine: simulated printers, the cloud, and a box between them.
#[derive(Debug, Parser)]
#[command(name = "platen-demo", version)]
struct Cli {
    /// End as soon as every printer's reading is in the cloud: exit code 0, or 1 after --limit.
    #[arg(long)]
    once: bool,
    /// Port of the portal page; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    portal_port: u16,
    /// Two boxes that belong to nobody yet: one to be claimed by its console, here in this terminal, one by its button. With --once
    /// both claim themselves.
    #[arg(long)]
    unclaimed: bool,
    /// How many times faster than life the printers live.
    #[arg(long, default_value_t = 8.0)]
    speed: f64,
    /// So many generated printers instead of the demo's own.
    #[arg(long, value_name = "N")]
    printers: Option<usize>,
    /// Longest time for --once, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    limit: u64,
}

/// First address of the simulated printers.
const FIRST_PRINTER: Ipv4Addr = Ipv4Addr::new(127, 77, 0, 1);

fn say(text: &str) {
    let mut out = std::io::stdout();
    let _nobody_reads = writeln!(out, "{text}").and_then(|()| out.flush());
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    platen::cli::log_to_stderr(0, false);
    let outcome =
        tokio::runtime::Runtime::new().map_err(|e| e.to_string()).and_then(|runtime| runtime.block_on(run(cli)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            let _nobody_reads = writeln!(std::io::stderr(), "platen-demo: {message}");
            ExitCode::FAILURE
        }
    }
}

/// A folder that goes when this does.
struct Folder(std::path::PathBuf);

impl Folder {
    fn make() -> Result<Self, String> {
        let path = std::env::temp_dir().join(format!("platen-demo-{}", platen::sys::random_hex(6)));
        std::fs::create_dir(&path).map_err(|e| format!("the folder {} cannot be made: {e}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            let _nobody_reads = writeln!(std::io::stderr(), "{} is left behind: {error}", self.0.display());
        }
    }
}

async fn run(cli: Cli) -> Result<(), String> {
    let began = Instant::now();
    let folder = Folder::make()?;
    let printers = match cli.printers {
        Some(count) => sim::generated_fleet(count, 1),
        None => sim::demo_fleet(),
    };
    let sim = sim::start(SimConfig {
        first_address: FIRST_PRINTER,
        users: sim::usual_users(),
        printers,
        seed: began_seed(),
        speed: cli.speed,
        ..SimConfig::default()
    })
    .map_err(|e| e.to_string())?;
    say(&format!("1  {} simulated printers from {FIRST_PRINTER} on, UDP port {}", sim.printers().len(), sim.port()));

    let cloud = cloud::start(CloudConfig {
        data_dir: folder.0.join("cloud"),
        device_addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        portal_addr: SocketAddr::from((Ipv4Addr::LOCALHOST, cli.portal_port)),
        server_names: vec!["localhost".to_owned()],
        poll_interval_s: 30,
    })
    .await
    .map_err(|e| e.to_string().replace("--portal", "--portal-port"))?;
    let page = format!("http://localhost:{}/", cloud.portal_addr().port());
    say(&format!("2  the cloud waits for boxes on {}; its page is {page}", cloud.device_addr()));

    if cli.unclaimed {
        let outcome = tokio::select! {
            outcome = unclaimed::run(&cli, &folder.0, &sim, &cloud, &page) => outcome,
            () = interrupted() => {
                say("\nending");
                Ok(())
            }
        };
        cloud.shutdown().await;
        sim.shutdown().await;
        return outcome;
    }

    let data_dir = folder.0.join("box");
    let box_id = enrol(&data_dir, &cloud).await?;
    say(&format!("3  the box made its key; the cloud signed its request and calls it {box_id}"));

    let stop = CancellationToken::new();
    let config = config(&folder.0, &sim, &cloud)?;
    let agent = agent::start(&config, stop.clone()).map_err(|e| e.to_string())?;
    say("4  the box is running: it searches, reads, and delivers over gRPC with mutual TLS");

    let outcome = tokio::select! {
        outcome = follow(&cli, began, &sim, &cloud, &agent, &page) => outcome,
        () = interrupted() => {
            say("\nending");
            Ok(())
        }
    };
    stop.cancel();
    let ended = agent.finished().await.map_err(|e| e.to_string());
    cloud.shutdown().await;
    sim.shutdown().await;
    outcome.and(ended)
}

/// Another life for the printers each time.
fn began_seed() -> u64 {
    u64::from_str_radix(&platen::sys::random_hex(8), 16).unwrap_or(1)
}

async fn interrupted() {
    let terminated = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}

/// The enrolment of a box as a technician does it with files, here within one process.
async fn enrol(data_dir: &Path, cloud: &RunningCloud) -> Result<String, String> {
    let identity = IdentityFolder::in_data_dir(data_dir);
    let request = identity.request().map_err(|e| e.to_string())?;
    let issued = cloud.issue_box(&request, "Demo box").await.map_err(|e| e.to_string())?;
    identity.install(&issued.box_id, &issued.certificate_pem, &issued.root_pem).map_err(|e| e.to_string())?;
    Ok(issued.box_id)
}

/// The box's configuration, written and read back as the firmware reads it.
fn config(folder: &Path, sim: &RunningSim, cloud: &RunningCloud) -> Result<Config, String> {
    let port = cloud.device_addr().port();
    let last = sim.printers().last().map_or(FIRST_PRINTER, |printer| printer.address);
    let text = format!(
        r#"
data_dir = "{folder}/box"
runtime_dir = "{folder}/run"

[cloud]
root_domain = "localhost"
grpc = "https://localhost:{port}"
mqtt = "wss://localhost:{port}/mqtt"

[lan]
ranges = ["{FIRST_PRINTER}-{last}"]
fence = ["{FIRST_PRINTER}-{last}"]

[snmp]
port = {snmp_port}
timeout_ms = 500
packets_per_second = 2000

[schedule]
read_interval_s = 10
"#,
        folder = folder.display(),
        snmp_port = sim.port(),
    );
    let path = folder.join("platen.toml");
    std::fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
    Config::load(&path).map_err(|e| e.to_string())
}

/// Tells what happens, until all is delivered (`--once`) or for ever.
async fn follow(
    cli: &Cli,
    began: Instant,
    sim: &RunningSim,
    cloud: &RunningCloud,
    agent: &RunningAgent,
    page: &str,
) -> Result<(), String> {
    let expected: HashSet<&str> = sim.printers().iter().filter_map(|printer| printer.serial.as_deref()).collect();
    let mut woken = false;
    let mut delivered = 0;
    loop {
        let status = agent.status().borrow().clone();
        if status.cloud.wake_link_up && !woken {
            woken = true;
            say("5  the wake-up link stands: MQTT over WebSocket with the box's certificate");
        }
        let serials = cloud.serials().await.map_err(|e| e.to_string())?;
        let found = serials.iter().filter(|serial| expected.contains(serial.as_str())).count();
        if found != delivered {
            delivered = found;
            say(&format!("   {delivered} of {} printers are in the cloud", expected.len()));
        }
        if delivered == expected.len() && (woken || !cli.once) {
            break;
        }
        if cli.once && began.elapsed() > Duration::from_secs(cli.limit) {
            let why =
                status.cloud.last_error.or(status.lan.last_error).unwrap_or_else(|| "no error is known".to_owned());
            return Err(format!("only {delivered} of {} printers after {} s: {why}", expected.len(), cli.limit));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let summary = cloud.summary().await.map_err(|e| e.to_string())?;
    say(&format!(
        "6  done: {} devices, {} readings in the cloud, {:.1} s",
        summary.devices,
        summary.readings,
        began.elapsed().as_secs_f64()
    ));
    if !cli.once {
        say(&format!("\n   Look at {page}  and press \"Scan now\". End with Ctrl-C."));
        std::future::pending::<()>().await;
    }
    Ok(())
}
