//! The agent: starts the parts of the box, joins their channels, and stops them together.
//!
//! What this room is for: `start` builds every part in order and hands each what it needs; reading it top to bottom is
//! reading the box.
//! What it promises: every part has a name; the end of one that should not have ended stops all, with its cause, so that
//! the service manager starts a whole box and never half a one. Nothing that was accepted is lost by it.
//! Who may call it: the command line and the demo.

mod anchors;
mod certificates;
mod cloud_link;
mod config;
pub mod control;
mod control_server;
mod convert;
mod credentials;
mod engines;
mod guard;
mod keeping;
mod lan;
mod ledger;
mod ledger_log;
pub mod local;
pub mod log_ring;
mod look;
mod memories;
mod outbox;
pub mod outgoing;
mod owner;
pub mod panel;
mod profiles;
mod rhythm;
mod search;
mod searching;
mod settings;
mod silent;
#[cfg(feature = "sim")]
pub mod simulation;
mod standby;
mod start;
pub mod status;
mod tasks;
mod updates;

use std::io;
use std::path::PathBuf;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use config::{
    CloudEndpoints, Config, ConfigError, DeviceSection, LanSection, ProxyText, ScheduleSection, SnmpSection,
    UserSection,
};
pub use convert::to_message;
pub use credentials::Lockout;
pub use search::{Found, SearchOptions, SearchProgress, read_with, search};
pub use start::{Front, start, start_with};
use status::Status;

use crate::discovery::RangeError;
use crate::enroll::EnrollError;
use crate::store::{Recovery, StoreError};
use crate::sys::{Clock, EntropyError};
use crate::uplink::{LinkState, UplinkError};

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
    /// The label cannot be used.
    #[error("device.label in the configuration: {0}")]
    Label(String),
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
            if matches!(ended, AgentError::Restart(_)) {
                tracing::info!(why = %ended, "stopping the agent");
            } else {
                tracing::error!(error = %ended, "stopping the agent");
            }
            first_error.get_or_insert(ended);
            self.stop.cancel();
        }
        first_error.map_or(Ok(()), Err)
    }
}

/// The parts that are running, by name.
struct Parts {
    status: watch::Receiver<Status>,
    stop: CancellationToken,
    set: JoinSet<(&'static str, Result<(), AgentError>)>,
}

impl Parts {
    /// With the part that every box has, disabled or not: the status for who looks.
    fn new(
        config: &Config,
        clock: impl Clock,
        status: &watch::Sender<Status>,
        asked: mpsc::Sender<owner::Asked>,
        stop: CancellationToken,
    ) -> Self {
        let mut parts = Self { status: status.subscribe(), stop, set: JoinSet::new() };
        let (runtime_dir, status) = (config.runtime_dir.clone(), status.clone());
        parts.spawn("status file", async move |token| {
            status::keep_file(runtime_dir, status, clock, token).await;
            Ok(())
        });
        let runtime_dir = config.runtime_dir.clone();
        parts.spawn("console's socket", async move |token| {
            control_server::serve(runtime_dir, asked, token).await;
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
