//! Simulated printers: SNMP agents over recordings and over printers that live.
//!
//! What this room is for: the demo, and tests that want many printers, odd printers, or printers of a known state.
//! What it promises: an agent like those of RFC 1157, 3416 and 3414, on loopback addresses only; its codec is not the
//! client's, so that the two check each other (and it can lie, which a typed codec would not let it).
//! Who may call it: platen-sim, platen-demo, tests. Never in the firmware.

mod agent;
mod ber;
mod crowd;
mod device;
mod faults;
mod life;
mod model;
mod net;
mod politeness;
mod usm;

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use crowd::{Crowd, CrowdConfig};
use device::Device;
pub use faults::{Fault, FaultError};
pub use life::Printer;
pub use model::{Description, demo_fleet, generated_fleet};
pub use politeness::{Asked, Politeness, Treatment};
use tokio_util::sync::CancellationToken;
pub use usm::SimUser;
use usm::Users;

use crate::snmp::{AuthAlgorithm, Oid, PrivacyAlgorithm, Recording};

/// Most simulated printers on one socket.
pub const PRINTERS_MAX: usize = 65_000;
/// How often the lives of printers move on.
const TICK: Duration = Duration::from_millis(250);

/// What is simulated.
#[derive(Debug)]
pub struct SimConfig {
    /// The first printer's address; the others follow. Within 127.0.0.0/8.
    pub first_address: Ipv4Addr,
    /// UDP port; 0 takes a free one.
    pub port: u16,
    /// Read community of all of them.
    pub community: String,
    /// SNMPv3 users of all of them.
    pub users: Vec<SimUser>,
    /// The printers.
    pub printers: Vec<Simulated>,
    /// Faults by address.
    pub faults: Vec<(Ipv4Addr, Fault)>,
    /// Subtrees whose objects nobody should touch: [`RunningSim::tripped`] counts who does.
    pub tripwires: Vec<Oid>,
    /// Seed of everything that is random.
    pub seed: u64,
    /// How many times faster than life; 0 stands still.
    pub speed: f64,
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            first_address: Ipv4Addr::new(127, 77, 0, 1),
            port: 0,
            community: "public".to_owned(),
            users: Vec::new(),
            printers: Vec::new(),
            faults: Vec::new(),
            tripwires: Vec::new(),
            seed: 1,
            speed: 1.0,
        }
    }
}

/// One simulated device.
#[derive(Debug)]
pub enum Simulated {
    /// A recording, which stands still.
    Recording {
        /// What to show for it.
        name: String,
        /// Its objects.
        objects: Recording,
    },
    /// A printer that prints.
    Living(Box<Description>),
}

/// Why nothing is simulated.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// The address does not lie on this machine.
    #[error("{0} is not a loopback address: simulated printers live in 127.0.0.0/8 and answer nobody else")]
    NotLoopback(Ipv4Addr),
    /// Too many.
    #[error("{0} printers are more than the {PRINTERS_MAX} that fit")]
    TooMany(usize),
    /// The port cannot be had.
    #[error(
        "UDP port {port} cannot be used ({source}): is another simulator running? Choose another with --port, or 0 for a free one"
    )]
    Port {
        /// The port.
        port: u16,
        /// The operating system's words.
        source: std::io::Error,
    },
    /// A file of the corpus cannot be used.
    #[error("{file}: {problem}")]
    Recording {
        /// The file.
        file: String,
        /// What is wrong.
        problem: String,
    },
    /// A fault for an address that holds no printer.
    #[error("there is no simulated printer at {0} to have a fault")]
    NobodyThere(Ipv4Addr),
    /// A user's keys cannot be made.
    #[error("user {0}: a password has at least 8 characters, and privacy needs authentication")]
    User(String),
}

/// Who is simulated where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Address.
    pub address: Ipv4Addr,
    /// Vendor and model, or the recording's name.
    pub name: String,
    /// Serial number, for printers that live.
    pub serial: Option<String>,
}

type Devices = Arc<Mutex<HashMap<Ipv4Addr, Device>>>;

/// Simulated printers that answer.
#[derive(Debug)]
pub struct RunningSim {
    port: u16,
    listed: Vec<Listed>,
    devices: Devices,
    judge: net::Judges,
    stop: CancellationToken,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl RunningSim {
    /// The UDP port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Who is where, in order of addresses.
    #[must_use]
    pub fn printers(&self) -> &[Listed] {
        &self.listed
    }

    /// What a printer that lives has printed in its life.
    #[must_use]
    pub fn total(&self, address: Ipv4Addr) -> Option<u64> {
        let devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        devices.get(&address)?.printer.as_ref().map(Printer::total)
    }

    /// How often a printer's trip-wires were touched.
    #[must_use]
    pub fn tripped(&self, address: Ipv4Addr) -> Option<u64> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner).get(&address).map(Device::tripped)
    }

    /// How the printers have been treated until now.
    #[must_use]
    pub fn politeness(&self) -> Politeness {
        self.judge.lock().unwrap_or_else(PoisonError::into_inner).verdict()
    }

    /// Who has asked which printer how often until now.
    #[must_use]
    pub fn asked(&self) -> Asked {
        self.judge.lock().unwrap_or_else(PoisonError::into_inner).asked()
    }

    /// Ends the simulation.
    pub async fn shutdown(self) {
        self.stop.cancel();
        for task in self.tasks {
            // A task that panicked has ended too.
            let _ended = task.await;
        }
    }
}

/// Starts the simulation. To be called within a tokio runtime.
///
/// # Errors
/// When the addresses, the port, a fault or a user cannot be used.
pub fn start(config: SimConfig) -> Result<RunningSim, SimError> {
    if config.printers.len() > PRINTERS_MAX {
        return Err(SimError::TooMany(config.printers.len()));
    }
    if let Some(user) = config.users.iter().find(|user| !user.is_usable()) {
        return Err(SimError::User(user.name.clone()));
    }
    let users = Arc::new(Users::new(config.users));
    let mut devices = HashMap::new();
    let mut listed = Vec::new();
    for (n, simulated) in (0u32..).zip(config.printers) {
        let address = Ipv4Addr::from_bits(config.first_address.to_bits().saturating_add(n));
        if !address.is_loopback() {
            return Err(SimError::NotLoopback(address));
        }
        let (name, serial, objects, printer) = match simulated {
            Simulated::Recording { name, objects } => (name, None, objects, None),
            Simulated::Living(description) => {
                let printer = Printer::new(*description, config.seed ^ u64::from(n));
                let name = format!("{} {}", printer.description().vendor, printer.description().model);
                (name, Some(printer.description().serial.clone()), printer.objects(), Some(printer))
            }
        };
        listed.push(Listed { address, name, serial });
        devices.insert(address, Device::new(address, objects, printer, config.community.clone(), users.clone()));
    }
    for (address, fault) in config.faults {
        devices.get_mut(&address).ok_or(SimError::NobodyThere(address))?.fault = Some(fault);
    }
    let tripwires: Arc<[Oid]> = config.tripwires.into();
    devices.values_mut().for_each(|device: &mut Device| device.lay_tripwires(Arc::clone(&tripwires)));
    let socket = net::open(config.port).map_err(|source| SimError::Port { port: config.port, source })?;
    let port = socket.local_addr().map_err(|source| SimError::Port { port: config.port, source })?.port();
    let devices: Devices = Arc::new(Mutex::new(devices));
    let stop = CancellationToken::new();
    let judge = net::Judges::default();
    let serving = tokio::spawn(net::serve(socket, devices.clone(), judge.clone(), stop.clone()));
    let living = tokio::spawn(live(devices.clone(), config.speed, stop.clone()));
    Ok(RunningSim { port, listed, devices, judge, stop, tasks: vec![serving, living] })
}

async fn live(devices: Devices, speed: f64, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(TICK);
    let mut last = tokio::time::Instant::now();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let elapsed = last.elapsed().mul_f64(speed.max(0.0));
        last = tokio::time::Instant::now();
        let mut devices = devices.lock().unwrap_or_else(PoisonError::into_inner);
        devices.values_mut().for_each(|device| device.live(elapsed));
    }
}

/// All recordings of a folder, by name.
///
/// # Errors
/// Names the file that cannot be read.
pub fn recordings_in(folder: &Path) -> Result<Vec<Simulated>, SimError> {
    let failed = |file: &Path, problem: String| SimError::Recording { file: file.display().to_string(), problem };
    let items = std::fs::read_dir(folder).map_err(|e| failed(folder, e.to_string()))?;
    let mut files: Vec<_> = items
        .filter_map(|item| Some(item.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "snmprec"))
        .collect();
    files.sort();
    if files.is_empty() {
        return Err(failed(folder, "there are no .snmprec files in it".to_owned()));
    }
    files
        .iter()
        .map(|file| {
            let bytes = std::fs::read(file).map_err(|e| failed(file, e.to_string()))?;
            let objects = Recording::parse(&bytes).map_err(|e| failed(file, e.to_string()))?;
            let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            Ok(Simulated::Recording { name, objects })
        })
        .collect()
}

/// The users that the demo's and the tests' printers know: every security level.
#[must_use]
pub fn usual_users() -> Vec<SimUser> {
    let password = || "maplesyrup".to_owned();
    let user = |name: &str, auth: Option<AuthAlgorithm>, privacy: Option<PrivacyAlgorithm>| SimUser {
        name: name.to_owned(),
        auth: auth.map(|algorithm| (algorithm, password())),
        privacy: privacy.map(|algorithm| (algorithm, password())),
        context_name: String::new(),
    };
    vec![
        user("open", None, None),
        user("sha1", Some(AuthAlgorithm::Sha1), None),
        user("md5des", Some(AuthAlgorithm::Md5), Some(PrivacyAlgorithm::Des)),
        user("sha1aes", Some(AuthAlgorithm::Sha1), Some(PrivacyAlgorithm::Aes128)),
        user("sha256aes", Some(AuthAlgorithm::Sha256), Some(PrivacyAlgorithm::Aes128)),
        user("sha512aes256", Some(AuthAlgorithm::Sha512), Some(PrivacyAlgorithm::Aes256)),
    ]
}
