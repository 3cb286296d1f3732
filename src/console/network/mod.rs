//! The console's `network` command: how the box is in its network, and changes of it that undo themselves.
//!
//! What this room is for: a technician who sets a wrong address must not have to come back with a screwdriver. A change is a trial: it
//! is kept when the self-test passes within [`TRIAL_LIMIT`], or when the technician types `keep`; else everything is as before.
//! What it promises: so it is also when the power fails in the middle, because the intent is durable before anything is changed, and
//! the next start undoes what was not kept ([`recover_at_start`]). What is typed is read strictly; no shell is ever started.
//! Who may call it: the console; the start of the box.

mod backend;
mod network_manager;
mod networkd;
mod settings;
mod trial;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

pub use self::backend::{Backend, BackendError, choose};
pub use self::network_manager::NetworkManager;
pub use self::networkd::Networkd;
pub use self::settings::{Ask, AskError, Change, Ipv4, Settings};
use self::trial::{Effect, End, Intent, Kept};
use crate::console::selftest::system::{Linux, System};
use crate::store::{read_bounded_on, write_atomically_on};
use crate::sys::{Fs, SystemFs};

/// How long a change is tried.
pub const TRIAL_LIMIT: Duration = Duration::from_secs(120);
/// Between two self-tests of a trial.
const AGAIN_AFTER: Duration = Duration::from_secs(3);
/// The files in the data folder: the kept settings, and the intent of a trial.
const KEPT_FILE: &str = "network.json";
const INTENT_FILE: &str = "network-trial.json";
/// Largest of them, in bytes.
const FILE_MAX_BYTES: usize = 4 * 1024;
/// How the names of interfaces begin that are made here.
const OWN_PREFIX: &str = "platen-";

/// Why a change was not tried, or not undone.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The network cannot be made so.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The box's own files.
    #[error(
        "{path} cannot be {act}: {source}; the network is left as it is, and made as it was kept at the next start"
    )]
    File {
        /// Which.
        path: PathBuf,
        /// "read", "written" or "removed".
        act: &'static str,
        /// The operating system's words.
        source: io::Error,
    },
    /// A part of this program has ended.
    #[error("the network was not changed: {0}")]
    Ended(String),
}

/// How a trial ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrialEnd {
    /// The self-test has passed: kept.
    Passed,
    /// The technician has typed `keep`: kept.
    Kept,
    /// Time was up: all is as before.
    TimeUp,
}

/// The network of the box.
#[derive(Debug)]
pub struct Network<B> {
    data_dir: PathBuf,
    disk: Disk,
    backend: Arc<B>,
}

impl<B: Backend> Network<B> {
    /// With the box's data folder, and who makes the network.
    #[must_use]
    pub fn new(data_dir: &Path, backend: B) -> Self {
        Self::on(Arc::new(SystemFs), data_dir, backend)
    }

    /// As [`new`](Self::new), on a given file system.
    #[must_use]
    pub fn on(fs: Arc<dyn Fs>, data_dir: &Path, backend: B) -> Self {
        Self { data_dir: data_dir.to_owned(), disk: Disk(fs), backend: Arc::new(backend) }
    }

    /// What is configured here, for a person.
    #[must_use]
    pub fn show(&self) -> String {
        match self.kept_or_none() {
            Some(settings) => format!("{settings} (by {})", self.backend.name()),
            None => format!("never set here: as {} does it by itself", self.backend.name()),
        }
    }

    /// The settings that a change starts from.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.kept_or_none().unwrap_or_default()
    }

    /// A file that is damaged is set aside: otherwise nothing could be changed any more.
    fn kept_or_none(&self) -> Option<Settings> {
        let path = self.data_dir.join(KEPT_FILE);
        self.disk.read(&path).unwrap_or_else(|error| {
            let set_aside = self.disk.0.rename(&path, &path.with_extension("json.corrupt")).is_ok();
            tracing::error!(%error, set_aside, "the kept settings of the network are damaged");
            None
        })
    }

    /// Tries new settings. `passes` runs a self-test and says whether it has passed; `keep` ends when the technician has typed
    /// `keep`. What is still under way when the trial ends is dropped. Whoever drops the trial itself leaves the new settings in
    /// force until [`recover`](Self::recover), or the next start: so it runs in a task that outlives the console's session.
    ///
    /// # Errors
    /// When the settings cannot be applied; all is as before then, or is made so at the next start.
    pub async fn try_out(
        &self,
        new: Settings,
        mut passes: impl AsyncFnMut() -> bool,
        keep: impl Future<Output = ()>,
    ) -> Result<TrialEnd, NetworkError> {
        let deadline = Instant::now() + TRIAL_LIMIT;
        let intent = Intent { old: self.kept_or_none(), new };
        let [write, apply] = trial::begin(&intent);
        self.does(write).await?;
        if let Err(error) = self.does(apply).await {
            self.end(&intent, End::RollBack).await?;
            return Err(error);
        }
        let passed = async {
            while !passes().await {
                sleep(AGAIN_AFTER).await;
            }
        };
        let verdict = async {
            tokio::select! {
                biased;
                () = keep => TrialEnd::Kept,
                () = passed => TrialEnd::Passed,
            }
        };
        let ended = timeout_at(deadline, verdict).await.unwrap_or(TrialEnd::TimeUp);
        self.end(&intent, if ended == TrialEnd::TimeUp { End::RollBack } else { End::Keep }).await?;
        Ok(ended)
    }

    /// Undoes what a power cut has interrupted. Says whether there was something to undo.
    ///
    /// # Errors
    /// When it could not be undone: it is tried again at the next start.
    pub async fn recover(&self) -> Result<bool, NetworkError> {
        let intent = match self.disk.read(&self.data_dir.join(INTENT_FILE)) {
            Ok(None) => return Ok(false),
            Ok(intent) => intent,
            // That there is one says enough.
            Err(error) => {
                tracing::error!(%error, "what was tried with the network cannot be read");
                None
            }
        };
        let kept = match self.disk.read(&self.data_dir.join(KEPT_FILE)) {
            Ok(settings) => Kept::Known(settings),
            Err(error) => {
                tracing::error!(%error, "the kept settings of the network cannot be read");
                Kept::Unreadable
            }
        };
        for effect in trial::recover(intent.as_ref(), kept) {
            self.does(effect).await?;
        }
        Ok(true)
    }

    async fn end(&self, intent: &Intent, end: End) -> Result<(), NetworkError> {
        for effect in trial::end(intent, end) {
            self.does(effect).await?;
        }
        Ok(())
    }

    /// Does one thing. What blocks must not hold up the console.
    async fn does(&self, effect: Effect) -> Result<(), NetworkError> {
        let (data_dir, disk, backend) = (self.data_dir.clone(), self.disk.clone(), self.backend.clone());
        let done = tokio::task::spawn_blocking(move || match effect {
            Effect::WriteIntent(intent) => disk.write(&data_dir.join(INTENT_FILE), &intent),
            Effect::Apply(settings) => Ok(backend.apply(settings.as_ref())?),
            Effect::WriteKept(settings) => disk.write(&data_dir.join(KEPT_FILE), &settings),
            Effect::RemoveIntent => disk.remove(&data_dir, INTENT_FILE),
        });
        done.await.map_err(|e| NetworkError::Ended(e.to_string()))?
    }
}

/// The interface that the box is in its network by: that of the default route, else the first with a cable in it, else the first.
#[must_use]
pub fn usual_interface() -> Option<String> {
    let routed = Linux.default_routes().ok().and_then(|routes| routes.into_iter().next()).map(|route| route.interface);
    let all = Linux.interfaces().unwrap_or_default();
    let others = || all.iter().filter(|interface| !interface.name.starts_with(OWN_PREFIX));
    let cabled = || others().find(|interface| interface.has_carrier).or_else(|| others().next());
    // The VLAN that was made here stands upon the interface that is meant.
    routed.filter(|name| !name.starts_with(OWN_PREFIX)).or_else(|| cabled().map(|interface| interface.name.clone()))
}

/// Undoes, at the start of the box, a change of the network that a power cut has interrupted. Says whether there was one; does nothing
/// where there was none, not even look who makes the network.
///
/// # Errors
/// When it could not be undone: it is tried again at the next start.
pub async fn recover_at_start(data_dir: &Path, interface: &str) -> Result<bool, NetworkError> {
    if !data_dir.join(INTENT_FILE).exists() {
        return Ok(false);
    }
    Network::new(data_dir, choose(interface)?).recover().await
}

/// Where the files lie.
#[derive(Clone)]
struct Disk(Arc<dyn Fs>);

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Disk")
    }
}

impl Disk {
    fn read<T: serde::de::DeserializeOwned>(&self, path: &Path) -> Result<Option<T>, NetworkError> {
        let failed = |source| NetworkError::File { path: path.to_owned(), act: "read", source };
        match read_bounded_on(&*self.0, path, FILE_MAX_BYTES) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| failed(e.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    fn write(&self, path: &Path, value: &impl serde::Serialize) -> Result<(), NetworkError> {
        let failed = |source| NetworkError::File { path: path.to_owned(), act: "written", source };
        let bytes = serde_json::to_vec(value).map_err(|e| failed(e.into()))?;
        write_atomically_on(&*self.0, path, &bytes).map_err(failed)
    }

    fn remove(&self, folder: &Path, name: &str) -> Result<(), NetworkError> {
        let path = folder.join(name);
        let removed = match self.0.remove(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        };
        let failed = |source| NetworkError::File { path, act: "removed", source };
        removed.and_then(|()| self.0.sync_dir(folder)).map_err(failed)
    }
}

#[cfg(test)]
mod tests;
