//! The agent: starts the parts of the box, joins their channels, and stops them together.
//!
//! What this room is for: `start` builds every part in order and hands each what it needs; reading it top to bottom is
//! reading the box.
//! What it promises: every part has a name; the end of one that should not have ended stops all, with its cause, so that
//! the service manager starts a whole box and never half a one. Nothing that was accepted is lost by it.
//! Who may call it: the command line and the demo.

mod anchors;
mod cloud_link;
mod config;
pub mod control;
mod convert;
mod credentials;
mod engines;
mod guard;
mod keeping;
mod lan;
mod ledger;
mod ledger_log;
pub mod local;
mod look;
mod memories;
mod outbox;
pub mod outgoing;
mod profiles;
mod rhythm;
mod search;
mod searching;
mod settings;
mod silent;
#[cfg(feature = "sim")]
pub mod simulation;
mod standby;
pub mod status;
mod tasks;
mod updates;

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use config::{
    CloudEndpoints, Config, ConfigError, DeviceSection, LanSection, ProxyText, ScheduleSection, SnmpSection, UserSection,
};
pub use convert::to_message;
pub use credentials::Lockout;
use outbox::SharedOutbox;
pub use search::{Found, SearchOptions, SearchProgress, read_with, search};
use status::Status;

use crate::discovery::{Fence, Paces, RangeError};
use crate::enroll::{EnrollError, IdentityFolder, Refusals};
use crate::printer::ReadOptions;
use crate::snmp::{Client, ClientConfig};
use crate::store::{Inventory, Limits, Outbox, Recovery, StoreError};
use crate::sys::{Clock, EntropyError, Fs, SystemClock, SystemEntropy, SystemFs};
use crate::uplink::{
    CloudKey, Dialer, GrpcCloud, LinkState, TimeKeeper, TlsSettings, UplinkError, WakeLink, WakeLinkConfig,
};

/// Version of this firmware.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Commands that may wait for the LAN part.
const COMMANDS_MAX: usize = 8;
/// Ends of tasks that may wait to be written down: one for each command.
const ENDED_MAX: usize = COMMANDS_MAX;
/// Packets per second while known printers are read: each of them gets one request at a time, so none is pressed.
const READ_PACKETS_PER_SECOND: u32 = 200;
/// Why the agent did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The configuration is not usable.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The fence is not usable.
    #[error("lan.fence in the configuration: {0}")]
    Fence(RangeError),
    /// The box has no identity, or one that cannot be used.
    #[error(transparent)]
    Identity(#[from] EnrollError),
    /// The identity does not make a TLS configuration.
    #[error(transparent)]
    Tls(UplinkError),
    /// The key of added profiles is none.
    #[error("profiles.key in the configuration: {0}")]
    Profiles(#[from] crate::printer::ProfileSetError),
    /// The outbox, or the inventory, failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system has no randomness.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// A folder or socket cannot be made.
    #[error("{what} cannot be made: {source}")]
    Make {
        /// What.
        what: String,
        /// The operating system's words.
        source: io::Error,
    },
    /// No fault: the box is to be started again as a whole.
    #[error("{0}: the box starts again")]
    Restart(String),
    /// A part ended that should not have.
    #[error("the part \"{name}\" ended: {cause}")]
    Part {
        /// Its name.
        name: &'static str,
        /// Why.
        cause: String,
    },
}

/// What is fixed for one start of the agent.
#[derive(Debug, Clone)]
pub(crate) struct BootFacts {
    /// Random identifier of this start.
    pub(crate) boot_id: String,
}

/// A started agent.
#[derive(Debug)]
pub struct RunningAgent {
    status: watch::Receiver<Status>,
    stop: CancellationToken,
    parts: JoinSet<(&'static str, Result<(), AgentError>)>,
}

impl RunningAgent {
    /// How the box is, now and whenever that changes.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Lasts until a part ends or `stop` is called through the token that [`start`] was given.
    ///
    /// # Errors
    /// The cause, when a part ended that should not have.
    pub async fn finished(mut self) -> Result<(), AgentError> {
        let mut first_error = None;
        while let Some(joined) = self.parts.join_next().await {
            let ended = match joined {
                Ok((name, Ok(()))) if self.stop.is_cancelled() => {
                    tracing::debug!(part = name, "stopped");
                    continue;
                }
                Ok((name, Ok(()))) => AgentError::Part { name, cause: "it has nothing more to do".to_owned() },
                Ok((_, Err(restart @ AgentError::Restart(_)))) => restart,
                Ok((name, Err(error))) => AgentError::Part { name, cause: error.to_string() },
                Err(panic) => AgentError::Part { name: "unknown", cause: panic.to_string() },
            };
            tracing::error!(error = %ended, "stopping the agent");
            first_error.get_or_insert(ended);
            self.stop.cancel();
        }
        first_error.map_or(Ok(()), Err)
    }
}

/// Starts the box. `stop` ends it.
///
/// # Errors
/// Everything that waiting would not mend: configuration, identity, disk. A cloud that is not there is no such thing.
pub fn start(config: &Config, stop: CancellationToken) -> Result<RunningAgent, AgentError> {
    let endpoints = config.endpoints()?;
    let credentials = config.snmp.credentials()?;
    let fence = match &config.lan.fence {
        None => Fence::default(),
        Some(items) => Fence::parse(items).map_err(AgentError::Fence)?,
    };
    let profile_key = config.profiles.key()?;
    make_folder(&config.data_dir)?;
    if let Err(error) = make_folder(&config.runtime_dir) {
        tracing::error!(%error, "the box goes on without: nobody can look at its status, and no wake-up arrives");
    }
    let identity = IdentityFolder::in_data_dir(&config.data_dir).load()?;
    let time = TimeKeeper::open(&config.data_dir, SystemClock::start(&SystemEntropy)?);
    let clock = time.clock().clone();
    let tls = TlsSettings::new(&identity.tls).map_err(AgentError::Tls)?.with_time(time);
    let dialer = Dialer::new(tls, endpoints.proxy);

    let boot = BootFacts { boot_id: clock.boot_id().to_owned() };
    let refusals = Refusals::open(&config.data_dir);
    let cloud = outgoing::Kept {
        cloud: GrpcCloud::new(dialer.clone(), endpoints.grpc.clone()),
        log: outgoing::OutgoingLog::start(&config.runtime_dir, clock.clone()),
    };
    let mut shown = Status {
        firmware_version: VERSION.to_owned(),
        box_id: identity.box_id.clone(),
        boot_id: boot.boot_id.clone(),
        state: "starting".to_owned(),
        started_unix_ms: clock.wall_unix_ms(),
        cloud: status::CloudStatus { endpoint: endpoints.grpc.to_string(), ..Default::default() },
        lan: status::LanStatus { fence: fence.items(), ..Default::default() },
        ..Status::default()
    };
    if let Some(disabled) = refusals.disabled() {
        shown.disabled = Some(format!("{}: {}", disabled.cause, disabled.detail));
        tracing::error!(cause = disabled.cause, detail = disabled.detail, "this box is disabled: nothing is read");
        let status = watch::Sender::new(shown);
        let mut parts = Parts::new(config, clock.clone(), &status, stop);
        let cloud_key = CloudKey::in_roots(&identity.tls.roots_pem);
        let guard = guard::Guard { cloud, clock, refusals, box_id: identity.box_id, cloud_key, status };
        parts.spawn("guard", |token| guard.run(token));
        return Ok(parts.running());
    }
    let outbox_dir = config.data_dir.join("outbox");
    let limits = SystemFs.partition_bytes(&config.data_dir).map_or(Limits::default(), Limits::for_partition);
    let outbox = SharedOutbox::new(move || Outbox::open(&outbox_dir, limits), Arc::new(SystemEntropy), false)?;
    let journal = tasks::TaskJournal::open(config.data_dir.join("tasks.json"));
    let settings = settings::CloudSettings::open(config.data_dir.join("cloud-settings.json"));
    let inventory_file = config.data_dir.join("inventory.json");
    let (inventory, damage) = Inventory::load(&SystemFs, &inventory_file);
    if let Some(what) = damage {
        tracing::warn!(%what, "the inventory is damaged, or cannot be read; a search finds the printers again");
    }

    shown.outbox = outbox.level().borrow().clone();
    let status = watch::Sender::new(shown);
    let (link_state, link_state_reader) = watch::channel(LinkState::Connecting);
    let (wake, wakes) = mpsc::channel(1); // a second wake-up before the poll adds nothing
    let (commands, commands_reader) = mpsc::channel(COMMANDS_MAX);
    let (ended, ended_reader) = mpsc::channel(ENDED_MAX);
    let (standby, standby_reader) = watch::channel(standby::Standby::default());

    let packets_per_second = config.snmp.packets_per_second.unwrap_or_default().max(READ_PACKETS_PER_SECOND);
    let client = Client::open(ClientConfig { packets_per_second: Some(packets_per_second), ..ClientConfig::default() })
        .map_err(|source| AgentError::Make { what: "the SNMP socket".to_owned(), source })?;
    let engine_file = engines::EngineFile::in_data_dir(&config.data_dir);
    client.remember_engines(engine_file.load(&clock));
    let timing = config.snmp.timing();
    let profiles = profiles::load(&config.data_dir, profile_key.as_ref());

    let wake_link = WakeLink::new(
        WakeLinkConfig { endpoint: endpoints.mqtt, box_id: identity.box_id, runtime_dir: config.runtime_dir.clone() },
        dialer,
        link_state,
        wake,
    );
    let lan = lan::Lan {
        client,
        clock: clock.clone(),
        boot: boot.clone(),
        options: SearchOptions {
            port: config.snmp.port,
            credentials,
            timing,
            paces: Paces::wanted(config.snmp.packets_per_second),
            skip: HashSet::new(),
            lockout: Arc::default(),
            read: ReadOptions { address: None, profiles, panel: config.lan.panel_text },
        },
        fence: fence.clone(),
        own_ranges: config.lan.ranges.clone(),
        own_read_interval: Duration::from_secs(config.schedule.read_interval_s.max(1)),
        scan_interval: Duration::from_secs(config.schedule.scan_interval_s.max(60)),
        settings: settings.clone(),
        inventory,
        inventory_file,
        outbox: outbox.clone(),
        status: status.clone(),
        commands: commands_reader,
        ended,
        health: HashMap::new(),
        memories: memories::Memories::default(),
        ledger: ledger::Ledger::open(config.data_dir.join("ledger.json")),
        own_look_interval: Duration::from_secs(config.schedule.status_interval_s.max(1)),
        inventory_kept: keeping::InventoryKept::default(),
        standby: standby_reader,
        displaced: silent::Displaced::default(),
        engine_file,
        engines_kept: 0,
    };
    let (outbox_for_anchors, anchor_boot) = (outbox.clone(), boot.clone());
    let cloud_link = cloud_link::CloudLink {
        cloud,
        clock: clock.clone(),
        boot,
        poll_interval: Duration::from_secs(config.schedule.poll_interval_s.max(5)),
        outbox,
        journal,
        settings,
        status: status.clone(),
        wake: wakes,
        link_state: link_state_reader.clone(),
        lan: commands,
        ended: ended_reader,
        standby,
        fence,
        pings: JoinSet::new(),
        refusals,
    };

    let (anchor_clock, anchor_outbox) = (clock.clone(), outbox_for_anchors);
    let mut parts = Parts::new(config, clock, &status, stop);
    parts.spawn("clock anchors", |token| anchors::keep(anchor_clock, anchor_boot, anchor_outbox, token));
    parts.spawn("lan", |token| lan.run(token));
    parts.spawn("cloud", |token| cloud_link.run(token));
    parts.spawn("wake-up link", async move |token| {
        wake_link.run(token).await;
        Ok(())
    });
    parts.spawn("wake-up state", |token| show_link_state(link_state_reader, status, token));
    Ok(parts.running())
}

/// The parts that are running, by name.
struct Parts {
    status: watch::Receiver<Status>,
    stop: CancellationToken,
    set: JoinSet<(&'static str, Result<(), AgentError>)>,
}

impl Parts {
    /// With the part that every box has, disabled or not: the status for who looks.
    fn new(config: &Config, clock: impl Clock, status: &watch::Sender<Status>, stop: CancellationToken) -> Self {
        let mut parts = Self { status: status.subscribe(), stop, set: JoinSet::new() };
        let (runtime_dir, status) = (config.runtime_dir.clone(), status.clone());
        parts.spawn("status file", async move |token| {
            status::keep_file(runtime_dir, status, clock, token).await;
            Ok(())
        });
        parts
    }

    fn spawn<F: Future<Output = Result<(), AgentError>> + Send + 'static>(
        &mut self,
        name: &'static str,
        part: impl FnOnce(CancellationToken) -> F,
    ) {
        let running = part(self.stop.clone());
        self.set.spawn(async move { (name, running.await) });
    }

    fn running(self) -> RunningAgent {
        RunningAgent { status: self.status, stop: self.stop, parts: self.set }
    }
}

/// Says what was found when the outbox was opened.
fn log(recovery: &Recovery) {
    tracing::info!(epoch = %recovery.epoch, pending = recovery.pending, torn_bytes = recovery.torn_bytes, "outbox opened");
    if !recovery.set_aside.is_empty() || recovery.given_up > 0 || recovery.tail_lost > 0 {
        let (given_up, tail_lost) = (recovery.given_up, recovery.tail_lost);
        tracing::error!(why = ?recovery.new_epoch, set_aside = ?recovery.set_aside, given_up, tail_lost, "the outbox was damaged");
    }
}

/// Copies the wake-up link's state into the status.
async fn show_link_state(
    mut link: watch::Receiver<LinkState>,
    status: watch::Sender<Status>,
    stop: CancellationToken,
) -> Result<(), AgentError> {
    loop {
        let now = link.borrow_and_update().clone();
        status.send_modify(|status| {
            status.cloud.wake_link_up = now == LinkState::Up;
            status.cloud.wake_link_error = match now {
                LinkState::Down(trouble) => Some(trouble.to_string()),
                LinkState::Up | LinkState::Connecting => None,
            };
        });
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            changed = link.changed() => if changed.is_err() { return Ok(()) },
        }
    }
}

fn make_folder(path: &PathBuf) -> Result<(), AgentError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| AgentError::Make { what: format!("the folder {}", path.display()), source })
}
