//! The box without its LAN and without an operating system, for simulated worlds (`tests/sim`): the same outbox, conversation
//! with the cloud and journal of tasks as in [`start`](super::start), on a file system, clock, randomness and cloud that the
//! world gives. Nothing in it waits for a thread, so a world of one thread is the same from the same seed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use super::outbox::{Draft, SharedOutbox};
pub use super::tasks::Outcome;

use super::cloud_link::CloudLink;
use super::lan::LanCommand;
use super::settings::CloudSettings;
use super::standby::Standby;
use super::status::Status;
use super::tasks::TaskJournal;
use super::{AgentError, BootFacts, COMMANDS_MAX, ENDED_MAX};
use crate::discovery::Fence;
use crate::enroll::Enrolment;
use crate::enroll::machine::{Found, Now, Validity};
use crate::store::{Limits, Outbox};
use crate::sys::{Clock, Entropy, Fs};
use crate::uplink::{Cloud, LinkState};

/// The folder of the outbox on the world's file system.
pub const OUTBOX_DIR: &str = "/data/outbox";
/// The journal of tasks, likewise.
const JOURNAL: &str = "/data/tasks.json";
/// A folder that no system has: settings and refusals are read from it and not found. A world that makes the cloud send
/// either would see that they cannot be kept.
const NOWHERE: &str = "/proc/platen-simulation";

/// What the world gives to a box that starts.
pub struct World<C, L> {
    /// The cloud as the box reaches it.
    pub cloud: L,
    /// Its clocks; a start of the box has its own.
    pub clock: C,
    /// Its disk.
    pub fs: Arc<dyn Fs>,
    /// Its randomness.
    pub entropy: Arc<dyn Entropy>,
    /// The bounds of its outbox.
    pub limits: Limits,
    /// The time between two polls, until the cloud says otherwise.
    pub poll_interval: Duration,
}

/// What the cloud wants of the side that talks with printers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// Search now.
    Scan {
        /// For which task.
        task_id: Option<String>,
    },
    /// Read one printer.
    Read {
        /// For which task.
        task_id: String,
        /// Which.
        device_key: String,
    },
    /// There are other settings.
    Settings,
}

/// What the world holds of a box that runs.
pub struct SimulatedBox {
    /// Where readings are accepted.
    pub outbox: SharedOutbox,
    /// Ends of tasks.
    pub ended: mpsc::Sender<(String, Outcome)>,
    /// A wake-up, as one that the MQTT link hears.
    pub wake: mpsc::Sender<()>,
    /// How the box is.
    pub status: watch::Receiver<Status>,
    asked: mpsc::Receiver<LanCommand>,
    _link_state: watch::Sender<LinkState>,
    _standby: watch::Receiver<Standby>,
}

impl SimulatedBox {
    /// What the cloud wants next of the printers' side; `None` when the conversation with the cloud has ended.
    pub async fn asked(&mut self) -> Option<Asked> {
        Some(match self.asked.recv().await? {
            LanCommand::Scan { task_id } => Asked::Scan { task_id },
            LanCommand::Read { task_id, device_key } => Asked::Read { task_id, device_key },
            LanCommand::Settings(_) => Asked::Settings,
        })
    }
}

/// Starts a box: what the world holds of it, and the conversation with the cloud, to be run beside.
///
/// # Errors
/// As [`start`](super::start): when the outbox is open elsewhere.
pub fn start<C: Clock + Clone, L: Cloud>(
    world: World<C, L>,
) -> Result<(SimulatedBox, impl Future<Output = Result<(), AgentError>> + Send), AgentError> {
    let World { cloud, clock, fs, entropy, limits, poll_interval } = world;
    let (disk, random) = (fs.clone(), entropy.clone());
    let open = move || Outbox::open_on(disk.clone(), &*entropy, Path::new(OUTBOX_DIR), limits);
    let outbox = SharedOutbox::new(open, random, true)?;
    let journal = TaskJournal::open_on(fs, PathBuf::from(JOURNAL));
    let settings = CloudSettings::open(Path::new(NOWHERE).join("cloud-settings.json"));

    let boot = BootFacts { boot_id: clock.boot_id().to_owned() };
    let shown = Status { outbox: outbox.level().borrow().clone(), ..Status::default() };
    let (status, status_reader) = watch::channel(shown);
    let (link_state, link_state_reader) = watch::channel(LinkState::Connecting);
    let (wake, wakes) = mpsc::channel(1);
    let (commands, asked) = mpsc::channel(COMMANDS_MAX);
    let (ended, ended_reader) = mpsc::channel(ENDED_MAX);
    let (standby, standby_reader) = watch::channel(Standby::default());
    let for_ever = Validity { until_unix_ms: u64::MAX, ..Validity::default() };
    let found = Found { bound: true, current: Some(for_ever), generation: 1, next: None };
    let (enrolment, _nothing) = Enrolment::open(Path::new(NOWHERE), found, Now::default())
        .map_err(|source| AgentError::Make { what: "the record of enrolment".to_owned(), source })?;
    let link = CloudLink {
        cloud,
        clock,
        boot,
        poll_interval,
        outbox: outbox.clone(),
        journal,
        settings,
        status,
        wake: wakes,
        link_state: link_state_reader,
        lan: commands,
        ended: ended_reader,
        standby,
        fence: Fence::default(),
        pings: JoinSet::new(),
        enrolment,
        certificates: None,
        shown: None,
    };
    let seen = SimulatedBox {
        outbox,
        ended,
        wake,
        status: status_reader,
        asked,
        _link_state: link_state,
        _standby: standby_reader,
    };
    Ok((seen, link.run(CancellationToken::new())))
}
