//! `platen-cloud`: the reference cloud.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
#[cfg(feature = "sim")]
use std::time::Duration;

use clap::{Parser, Subcommand};
use platen::cloud::{self, CloudConfig, RunningCloud};

/// The reference cloud of platen boxes.
#[derive(Debug, Parser)]
#[command(name = "platen-cloud", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve boxes and the portal until stopped.
    Run {
        /// Data folder: database and certificate authority.
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// Where boxes connect: gRPC and MQTT over WebSocket.
        #[arg(long, default_value = "127.0.0.1:8443")]
        listen: SocketAddr,
        /// Where people look; this machine only.
        #[arg(long, default_value = "127.0.0.1:8080")]
        portal: SocketAddr,
        /// A name or address by which boxes call this cloud. May be repeated.
        #[arg(long = "name", value_name = "NAME", default_values_t = ["localhost".to_owned(), "127.0.0.1".to_owned()])]
        names: Vec<String>,
        /// Time between polls that boxes are told, in seconds.
        #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u32).range(5..=3600))]
        poll_interval: u32,
        /// For trials: of a hundred uploads, commit so many and break the stream off instead of acknowledging them.
        #[cfg(feature = "sim")]
        #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=99))]
        lose_acks: u8,
        /// For trials: certificates hold from now on, and not from an hour ago.
        #[cfg(feature = "sim")]
        #[arg(long)]
        certificates_from_now: bool,
        /// For trials: how long the certificates of boxes hold, in seconds, instead of 90 days.
        #[cfg(feature = "sim")]
        #[arg(long, value_name = "SECONDS")]
        box_life_s: Option<u64>,
    },
    /// Let a box go on that the cloud has stopped (an old copy of it, two of it, a conflict), because you have looked.
    Release {
        /// Data folder of the cloud; it may be running.
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// The box's id.
        #[arg(value_name = "BOX")]
        box_id: String,
    },
    /// Make a one-off code for the console of a box: for one box, within a day.
    RegistrationCode {
        /// Data folder of the cloud; it may be running.
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// Where the box will stand: boxes of one site share its printers.
        #[arg(long)]
        site: String,
        /// Only for the box with this serial number.
        #[arg(long)]
        serial: Option<String>,
    },
    /// Sign a box's request (`platen enroll request`) and take the box in.
    IssueBox {
        /// Data folder of the cloud.
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// What people call the box.
        #[arg(long)]
        name: String,
        /// Where it stands: boxes of one site share its printers, and one of them at a time reads each. Without it, the box
        /// is alone.
        #[arg(long)]
        site: Option<String>,
        /// Where the box's certificate, its id and the root are written.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// The request (PEM).
        request: PathBuf,
    },
    /// Make a key for signing vendor profiles, and print its public half for the boxes' configuration (`[profiles]` key).
    ProfileKey {
        /// Where the secret half is written. It belongs on no box and in no cloud.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Sign a vendor profile: writes FILE.sig, which goes beside it into DATA/profiles of a box.
    SignProfile {
        /// The secret half of the key.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// The profile (NAME.toml).
        profile: PathBuf,
    },
}

type Failure = (String, u8);

fn main() -> ExitCode {
    let cli = Cli::parse();
    platen::cli::log_to_stderr(0, matches!(cli.command, Command::Run { .. }));
    let outcome = tokio::runtime::Runtime::new().map_err(|e| (e.to_string(), 1)).and_then(|runtime| {
        runtime.block_on(async {
            match cli.command {
                Command::Run {
                    data,
                    listen,
                    portal,
                    names,
                    poll_interval,
                    #[cfg(feature = "sim")]
                    lose_acks,
                    #[cfg(feature = "sim")]
                    certificates_from_now,
                    #[cfg(feature = "sim")]
                    box_life_s,
                } => {
                    let config = CloudConfig {
                        data_dir: data,
                        device_addr: listen,
                        portal_addr: portal,
                        server_names: names,
                        poll_interval_s: poll_interval,
                    };
                    #[cfg(feature = "sim")]
                    let trial = cloud::Trial {
                        lose_acks_percent: lose_acks,
                        certificates_from_now,
                        box_life: box_life_s.map(Duration::from_secs),
                    };
                    #[cfg(feature = "sim")]
                    let started = cloud::start_for_trial(config, trial).await;
                    #[cfg(not(feature = "sim"))]
                    let started = cloud::start(config).await;
                    run(started.map_err(|e| (e.to_string(), 1))?).await
                }
                Command::Release { data, box_id } => release(&data, &box_id).await,
                Command::RegistrationCode { data, site, serial } => {
                    registration_code(&data, &site, serial.as_deref()).await
                }
                Command::ProfileKey { out } => profile_key(&out),
                Command::SignProfile { key, profile } => sign_profile(&key, &profile),
                Command::IssueBox { data, name, site, out, request } => {
                    issue(&data, &name, site.as_deref(), &out, &request).await
                }
            }
        })
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err((message, code)) => {
            let _nobody_reads = writeln!(std::io::stderr(), "platen-cloud: {message}");
            ExitCode::from(code)
        }
    }
}

fn say(text: &str) {
    let _nobody_reads = writeln!(std::io::stdout(), "{text}");
}

async fn run(mut cloud: RunningCloud) -> Result<(), Failure> {
    say(&format!("Boxes connect to {} · portal: http://{}/", cloud.device_addr(), cloud.portal_addr()));
    let mut terminated =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).map_err(|e| (e.to_string(), 1))?;
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated.recv() => {}
        () = cloud.finished() => return Err(("a part of the cloud ended; the log says why".to_owned(), 1)),
    }
    cloud.shutdown().await;
    Ok(())
}

async fn release(data: &Path, box_id: &str) -> Result<(), Failure> {
    match cloud::release(data, box_id).await {
        Ok(true) => {
            say(&format!("{box_id} may go on."));
            Ok(())
        }
        Ok(false) => Err((format!("{box_id} is not stopped, or no box of {}", data.display()), 1)),
        Err(error) => Err((error.to_string(), 1)),
    }
}

async fn registration_code(data: &Path, site: &str, serial: Option<&str>) -> Result<(), Failure> {
    let code = cloud::registration_code(data, site, serial).await.map_err(|e| (e.to_string(), 1))?;
    say(&format!("{code}\nAt the console of the box, within 24 hours: register {code}"));
    Ok(())
}

async fn issue(data: &Path, name: &str, site: Option<&str>, out: &Path, request: &Path) -> Result<(), Failure> {
    let file = |path: &Path, e: std::io::Error| (format!("{}: {e}", path.display()), 1);
    let request_pem = std::fs::read_to_string(request).map_err(|e| file(request, e))?;
    let issued = match site {
        Some(site) => cloud::issue_box_at(data, &request_pem, name, site).await,
        None => cloud::issue_box(data, &request_pem, name).await,
    };
    let issued = issued.map_err(|e| (e.to_string(), 1))?;
    std::fs::create_dir_all(out).map_err(|e| file(out, e))?;
    for (name, text) in
        [("box.crt", &issued.certificate_pem), ("roots.crt", &issued.root_pem), ("box.id", &issued.box_id)]
    {
        let path = out.join(name);
        std::fs::write(&path, text).map_err(|e| file(&path, e))?;
    }
    say(&format!(
        "{name} is {id}. On the box:\n  platen enroll install --box-id {id} --certificate {out}/box.crt --roots {out}/roots.crt",
        id = issued.box_id,
        out = out.display()
    ));
    Ok(())
}

fn of_file(path: &Path, problem: impl std::fmt::Display) -> Failure {
    (format!("{}: {problem}", path.display()), 1)
}

fn profile_key(out: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let (secret, public) = cloud::profile_signing::make_key().map_err(|e| (e.to_string(), 1))?;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(out)
        .map_err(|e| of_file(out, format!("{e} (a key that is there is not overwritten)")))?;
    file.write_all(&secret).and_then(|()| file.sync_all()).map_err(|e| of_file(out, e))?;
    say(&public);
    Ok(())
}

fn sign_profile(key: &Path, profile: &Path) -> Result<(), Failure> {
    let secret = std::fs::read(key).map_err(|e| of_file(key, e))?;
    let text = std::fs::read_to_string(profile).map_err(|e| of_file(profile, e))?;
    let name = profile.file_stem().unwrap_or_default().to_string_lossy();
    let signature = cloud::profile_signing::sign(&name, &text, &secret).map_err(|e| (e.to_string(), 1))?;
    let out = profile.with_extension("toml.sig");
    std::fs::write(&out, signature + "\n").map_err(|e| of_file(&out, e))?;
    say(&format!("{} is signed: {}", profile.display(), out.display()));
    Ok(())
}
