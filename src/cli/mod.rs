//! The command line of the firmware: what each command takes and prints. Everything it does is done by the rooms.

mod console;
mod enroll;
mod mask;
mod outgoing;
mod ping;
mod read;
mod record;
mod run;
mod selftest;
mod show;

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::discovery::{AddressError, DnsResolver, Fence, PING_COUNT_MAX, ScopedIp};

/// Where agents listen (RFC 3417 §3.2).
const SNMP_PORT: u16 = 161;

/// Reads printers over SNMP and brings their meters to the cloud.
#[derive(Debug, Parser)]
#[command(name = "platen", version, arg_required_else_help = true, after_help = EXAMPLES)]
struct Cli {
    /// More words on standard error; twice for all of them.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  platen read 192.168.1.20                     one printer, as a person reads it
  platen read 192.168.1.20 --json              the same for a program
  platen scan 192.168.1.0/24 '!192.168.1.7'    all printers of a network but one address
  platen ping 192.168.1.20                     whether it is there at all
  platen replay printer.snmprec --json         a recording, read as the device would be
  platen record 192.168.1.20 >new.snmprec      a recording to share, names and serial numbers masked
  platen run --config /etc/platen/platen.toml  be the box
  platen test --config /etc/platen/platen.toml what keeps the box from its cloud, from the cable on
  platen show-outgoing                         what the box that runs here tells its cloud";

#[derive(Debug, Subcommand)]
enum Command {
    /// Be the box: find printers, read them, deliver to the cloud, until stopped.
    Run {
        /// The configuration (TOML).
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Be the console of the box: on its serial line, or in this terminal.
    ///
    /// A closed set of commands, no shell; `help` lists them. It asks the box that runs here over a socket in its runtime folder,
    /// and is a process of its own, so that it answers also when the box's program does not run.
    Console {
        /// The configuration (TOML), the same as of `run`.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// The serial line (115200 baud, 8N1); left out: this terminal.
        #[arg(long, value_name = "DEVICE")]
        tty: Option<PathBuf>,
    },
    /// Show how the box that runs here is.
    Status {
        /// Runtime folder of the box.
        #[arg(long, value_name = "DIR", default_value = "/run/platen")]
        runtime_dir: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print what the box that runs here sends to the cloud about the printers and itself.
    ///
    /// All of it goes by the contract (proto/platen/v1): polls, readings and events in batches, results of tasks. The contract
    /// has no field for documents, their names, users, communities or passwords.
    ShowOutgoing {
        #[command(flatten)]
        outgoing: OutgoingArgs,
    },
    /// Read one device over SNMP.
    Read {
        /// HOST or HOST:PORT ([ADDRESS]:PORT for IPv6; fe80::20%eth0 for a link-local address behind this interface).
        host: String,
        #[command(flatten)]
        snmp: SnmpArgs,
        #[command(flatten)]
        fence: FenceArgs,
        #[command(flatten)]
        how: HowArgs,
    },
    /// Find the printers in ranges and read them.
    Scan {
        /// 10.0.0.0/24, 10.0.0.1-10.0.0.99, 10.0.0.7, fe80::7%eth0, printer.example; !10.0.0.5 leaves out.
        #[arg(required = true)]
        ranges: Vec<String>,
        /// UDP port of the agents.
        #[arg(long, default_value_t = 161)]
        port: u16,
        /// Probes per second. Left out: 64 in attached networks and 200 behind routers. Attached networks are never asked
        /// faster than the kernel bears (a quarter of gc_thresh3, so usually 256).
        #[arg(long, value_name = "PPS", value_parser = clap::value_parser!(u32).range(1..=10_000))]
        rate: Option<u32>,
        #[command(flatten)]
        snmp: SnmpArgs,
        #[command(flatten)]
        fence: FenceArgs,
        /// Print JSON: an array of readings.
        #[arg(long)]
        json: bool,
    },
    /// Ask one address for echoes (ICMP): whether a device that does not answer SNMP is there at all.
    Ping {
        /// 192.168.1.20, fd00::20, or fe80::20%eth0 for a link-local address behind this interface.
        address: ScopedIp,
        /// Requests.
        #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=i64::from(PING_COUNT_MAX)))]
        count: u32,
        /// Wait for each answer, in milliseconds.
        #[arg(long, value_name = "MS", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(10..=10_000))]
        timeout_ms: u64,
        #[command(flatten)]
        fence: FenceArgs,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Read a recording (.snmprec) exactly as the device would be read.
    Replay {
        /// The recording.
        file: PathBuf,
        #[command(flatten)]
        how: HowArgs,
    },
    /// Record a device for whoever writes profiles; to standard output, with names, addresses and serial numbers masked.
    Record {
        /// HOST or HOST:PORT ([ADDRESS]:PORT for IPv6).
        host: String,
        /// A maker's subtree to record too, as 1.3.6.1.4.1.99999. Its objects are yours to look through before you share
        /// them. May be repeated.
        #[arg(long, value_name = "OID")]
        also: Vec<String>,
        #[command(flatten)]
        snmp: SnmpArgs,
        #[command(flatten)]
        fence: FenceArgs,
    },
    /// Make the box known to a cloud.
    #[command(subcommand)]
    Enroll(EnrollCommand),
    /// Test the network from the cable to the cloud, and say what keeps the box from working.
    ///
    /// It stops at the first cause and takes 45 seconds at most. Nothing is changed; it may run beside the box. Ends with
    /// `passed`, or `failed:` and the word of the cause; exit code 0 or 1.
    Test {
        /// The configuration (TOML).
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// A printer that is asked once over SNMP, too: HOST or HOST:PORT.
        #[arg(long, value_name = "HOST")]
        printer: Option<String>,
        /// Print JSON, when all is done.
        #[arg(long)]
        json: bool,
    },
    /// Print the version.
    Version {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Whose outgoing messages are shown, and how.
#[derive(Debug, Args)]
struct OutgoingArgs {
    /// Data folder of the box.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/platen")]
    data: PathBuf,
    /// Runtime folder of the box.
    #[arg(long, value_name = "DIR", default_value = "/run/platen")]
    runtime_dir: PathBuf,
    /// Only readings and events of printers whose key or address contains this.
    #[arg(long, value_name = "TEXT")]
    printer: Option<String>,
    /// Every reading and event that waits, or was delivered in the last seven days, and not only the newest.
    #[arg(long, conflicts_with = "messages")]
    all: bool,
    /// The messages themselves, one after the other as they were sent since the box started (the last megabyte or two).
    #[arg(long, conflicts_with = "printer")]
    messages: bool,
    /// Print JSON, an object on each line; of messages with their octets (base64).
    #[arg(long)]
    json: bool,
}

/// How one device is read and shown.
#[derive(Debug, Args)]
struct HowArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Say of each value where it came from, and what was asked and not answered.
    #[arg(long)]
    explain: bool,
    /// Read by this profile too (TOML, as in src/printer/profiles); it goes before the built-in ones. May be repeated.
    #[arg(long, value_name = "FILE")]
    profile: Vec<PathBuf>,
    /// Read the text on the panel too, which may show a person's name.
    #[arg(long)]
    panel: bool,
}

#[derive(Debug, Subcommand)]
enum EnrollCommand {
    /// Make the box's key, where there is none, and print a request for a certificate (PEM).
    Request {
        /// Data folder of the box.
        #[arg(long, value_name = "DIR", default_value = "/var/lib/platen")]
        data: PathBuf,
    },
    /// Take the cloud's answer to the request.
    Install {
        /// Data folder of the box.
        #[arg(long, value_name = "DIR", default_value = "/var/lib/platen")]
        data: PathBuf,
        /// The id that the cloud gave the box.
        #[arg(long, value_name = "ID")]
        box_id: String,
        /// The box's certificate and those that lead to its authority (PEM).
        #[arg(long, value_name = "FILE")]
        certificate: PathBuf,
        /// The cloud's root certificates (PEM).
        #[arg(long, value_name = "FILE")]
        roots: PathBuf,
    },
}

/// How devices are asked.
#[derive(Debug, Args)]
struct SnmpArgs {
    /// SNMP version. Left out: 3 where --user is given, else 2c, and 1 for who does not answer that.
    #[arg(long = "snmp-version", visible_alias = "version", value_name = "1|2c|3", value_parser = ["1", "2c", "3"])]
    version: Option<String>,
    /// Community for versions 1 and 2c.
    #[arg(long, default_value = "public")]
    community: String,
    /// User name for version 3.
    #[arg(long)]
    user: Option<String>,
    /// Authentication: MD5, SHA-1, SHA-224, SHA-256, SHA-384, SHA-512.
    #[arg(long, value_name = "ALGORITHM", requires_all = ["user", "auth_password"])]
    auth: Option<String>,
    /// Authentication password, at least 8 characters. Better in the environment: a command line is seen by others.
    #[arg(long, value_name = "PASSWORD", env = "PLATEN_AUTH_PASSWORD", hide_env_values = true)]
    auth_password: Option<String>,
    /// Privacy: DES, AES-128, AES-192, AES-256; AES-192-C and AES-256-C where the device extends its keys as Cisco does.
    #[arg(long, value_name = "ALGORITHM", requires_all = ["auth", "privacy_password"])]
    privacy: Option<String>,
    /// Privacy password, at least 8 characters.
    #[arg(long, value_name = "PASSWORD", env = "PLATEN_PRIVACY_PASSWORD", hide_env_values = true)]
    privacy_password: Option<String>,
    /// Context of the user, for devices that keep their objects in one.
    #[arg(long, value_name = "NAME", requires = "user", default_value = "")]
    context: String,
    /// First wait for an answer, in milliseconds; doubled with each try.
    #[arg(long, value_name = "MS", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(50..=10_000))]
    timeout_ms: u64,
    /// Further tries.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=5))]
    retries: u32,
}

/// What may be asked at all.
#[derive(Debug, Args)]
struct FenceArgs {
    /// Only addresses within these ranges are asked, whatever else is said.
    /// Left out: private addresses and this machine's own (127.0.0.0/8, ::1).
    #[arg(long, value_name = "RANGE")]
    fence: Vec<String>,
}

/// What went wrong, and the exit code for it.
struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    /// It was tried and did not work.
    fn failed(message: impl std::fmt::Display) -> Self {
        Self { message: message.to_string(), code: 1 }
    }

    /// It was asked wrongly.
    fn usage(message: impl std::fmt::Display) -> Self {
        Self { message: message.to_string(), code: 2 }
    }
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr(cli.verbose, matches!(cli.command, Command::Run { .. }));
    let outcome = match cli.command {
        Command::Run { config } => run::run(&config),
        Command::Console { config, tty } => console::console(&config, tty.as_deref()),
        Command::Status { runtime_dir, json } => run::status(&runtime_dir, json),
        Command::ShowOutgoing { outgoing } => outgoing::outgoing(&outgoing),
        Command::Read { host, snmp, fence, how } => read::read(&host, &snmp, &fence, &how),
        Command::Scan { ranges, port, rate, snmp, fence, json } => read::scan(&ranges, port, rate, &snmp, &fence, json),
        Command::Ping { address, count, timeout_ms, fence, json } => {
            ping::ping(address, count, Duration::from_millis(timeout_ms), &fence, json)
        }
        Command::Replay { file, how } => read::replay(&file, &how),
        Command::Record { host, also, snmp, fence } => record::record(&host, &also, &snmp, &fence),
        Command::Enroll(EnrollCommand::Request { data }) => enroll::request(&data),
        Command::Enroll(EnrollCommand::Install { data, box_id, certificate, roots }) => {
            enroll::install(&data, &box_id, &certificate, &roots)
        }
        Command::Test { config, printer, json } => match selftest::test(&config, printer.as_deref(), json) {
            // A test that found something has said all there is to say.
            Ok(code) => return code,
            Err(failure) => Err(failure),
        },
        Command::Version { json } => run::version(json),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _nobody_reads = writeln!(std::io::stderr(), "platen: {}", failure.message);
            ExitCode::from(failure.code)
        }
    }
}

/// Log lines for a person on standard error; the filter of `PLATEN_LOG` (as `platen=debug`) has the last word.
pub fn log_to_stderr(verbose: u8, is_service: bool) {
    use tracing_subscriber::fmt::writer::MakeWriterExt as _;

    let level = match (verbose, is_service) {
        (0, false) => "warn",
        (0, true) | (1, _) => "info",
        _ => "debug",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("PLATEN_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(format!("warn,platen={level}")));
    let logger = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // And in memory, for the console, which sees no journal.
        .with_writer(std::io::stderr.and(|| crate::agent::log_ring::LogRing))
        .with_ansi(std::io::stderr().is_terminal())
        .finish();
    // Fails only when a logger is set already: then that one serves.
    let _already_set = tracing::subscriber::set_global_default(logger);
}

/// Prints to standard output. A reader that went away (`| head`) is no error.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::failed(error)),
        _ => Ok(()),
    }
}

fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    print(&serde_json::to_string_pretty(value).map_err(Failure::failed)?)
}

/// Does one thing to its end. What the system's resolver still tries then (a name that was given up on) is not waited for.
fn block_on<T>(act: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| Failure::failed(format!("the runtime cannot be started: {e}")))?;
    let outcome = runtime.block_on(act);
    runtime.shutdown_timeout(Duration::from_millis(500));
    outcome
}

/// Splits HOST[:PORT] and finds the first of the host's addresses that may be asked.
async fn resolve(host: &str, fence: &Fence) -> Result<SocketAddr, Failure> {
    let (name, port) = split_port(host)?;
    let addresses: Vec<ScopedIp> = match name.parse::<ScopedIp>() {
        Ok(address) => vec![address],
        Err(AddressError::Malformed(_)) => {
            let found = DnsResolver.lookup(name, port).await.map_err(|e| {
                Failure::failed(format!("the name {name} cannot be resolved ({e}): is it spelled right?"))
            })?;
            found.into_iter().map(ScopedIp::from).collect()
        }
        Err(error) => return Err(Failure::usage(error)),
    };
    let first = addresses.first().ok_or_else(|| Failure::failed(format!("the name {name} has no address")))?;
    let address = addresses.iter().find(|address| fence.allows(**address)).unwrap_or(first);
    read::check_fence(fence, *address)?;
    Ok(address.with_port(port))
}

/// `HOST`, `HOST:PORT`, `IPV6`, `[IPV6]` or `[IPV6]:PORT`.
fn split_port(host: &str) -> Result<(&str, u16), Failure> {
    let number = |port: &str| port.parse().map_err(|_| Failure::usage(format!("\"{host}\": \"{port}\" is not a port")));
    if let Some((address, rest)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return match rest.strip_prefix(':') {
            Some(port) => Ok((address, number(port)?)),
            None if rest.is_empty() => Ok((address, SNMP_PORT)),
            None => Err(Failure::usage(format!("\"{host}\": write [ADDRESS]:PORT"))),
        };
    }
    match host.split_once(':') {
        // Several colons are an IPv6 address.
        Some((name, port)) if !port.contains(':') => Ok((name, number(port)?)),
        _ => Ok((host, SNMP_PORT)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block<T>(act: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(act)
    }

    #[test]
    fn a_host_is_taken_apart_however_it_is_written() {
        let fence = Fence::parse(&["10.0.0.0/8", "fd00::/8", "fe80::/10", "::1"]).unwrap();
        let resolved =
            |host: &str| block(resolve(host, &fence)).map(|target| (ScopedIp::from(target).to_string(), target.port()));
        for (host, address, port) in [
            ("10.0.0.1", "10.0.0.1", 161),
            ("10.0.0.1:1161", "10.0.0.1", 1161),
            ("fd00::1", "fd00::1", 161),
            ("[fd00::1]", "fd00::1", 161),
            ("[fd00::1]:1161", "fd00::1", 1161),
            ("fe80::1%lo", "fe80::1%lo", 161),
            ("[fe80::1%lo]:1161", "fe80::1%lo", 1161),
        ] {
            let found = resolved(host).unwrap_or_else(|failure| panic!("{host}: {}", failure.message));
            assert_eq!(found, (address.to_owned(), port), "{host}");
        }
        for (host, remedy) in [
            ("10.0.0.1:x", "\"x\" is not a port"),
            ("[fd00::1]x", "write [ADDRESS]:PORT"),
            ("fe80::1", "write the interface behind it"),
            ("[fe80::1]:161", "write the interface behind it"),
            ("fe80::1%nosuch0", "no network interface \"nosuch0\"; it has "),
            ("192.0.2.1", "lies outside of the fence"),
        ] {
            let Err(failure) = resolved(host) else { panic!("{host} is taken") };
            assert!(failure.message.contains(remedy) && failure.code == 2, "{host}: {}", failure.message);
        }
    }

    #[test]
    fn of_a_names_addresses_the_first_within_the_fence_is_asked() {
        // Both addresses of this machine, whichever comes first and wherever the hosts file has both.
        for allowed in ["127.0.0.1", "::1"] {
            let fence = Fence::parse(&[allowed]).unwrap();
            match block(resolve("localhost", &fence)) {
                Ok(target) => assert_eq!(target.ip().to_string(), allowed),
                Err(failure) => assert!(failure.message.contains("outside of the fence"), "{}", failure.message),
            }
        }
    }
}
