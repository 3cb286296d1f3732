//! The reference cloud: what a box talks to, small enough to read, real enough to run.
//!
//! What this room is for: the certificate authority of its boxes, the gRPC service of `proto/platen/v1`, an MQTT broker
//! for wake-ups, a database, and a portal page of the fleet.
//! What it promises: a reading that was acknowledged is committed; one that came twice is stored once; a box is known by
//! its certificate and by nothing that it says. The portal has no log-in yet, so it serves this machine only.
//! Who may call it: platen-cloud, platen-demo, tests. Never in the firmware.

mod authority;
mod broker;
mod db;
mod device_port;
mod enrolment;
pub mod intake;
mod portal;
pub mod profile_signing;
mod service;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use authority::Authority;
pub use authority::IssuedBox;
use broker::Broker;
use db::Database;
pub use db::Summary;
pub use enrolment::registration_code;

use crate::sys::random_hex;

/// A task that was not fetched after so long is not done any more.
const TASK_LIFE: Duration = Duration::from_secs(15 * 60);

/// Silent boxes are looked for this often.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// How the cloud runs.
#[derive(Debug, Clone)]
pub struct CloudConfig {
    /// Database and certificate authority.
    pub data_dir: PathBuf,
    /// Where boxes connect: gRPC and MQTT over WebSocket, one port.
    pub device_addr: SocketAddr,
    /// Where people look; a loopback address.
    pub portal_addr: SocketAddr,
    /// Names and addresses by which boxes call this cloud.
    pub server_names: Vec<String>,
    /// What boxes are told about the time between polls, in seconds.
    pub poll_interval_s: u32,
}

/// Why the cloud does not run.
#[derive(Debug, thiserror::Error)]
pub enum CloudError {
    /// A port cannot be had.
    #[error(
        "{what} cannot listen on {address} ({source}): is another cloud running there? Choose another with --{option}"
    )]
    Port {
        /// What wanted it.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// The option that changes it.
        option: &'static str,
        /// The operating system's words.
        source: std::io::Error,
    },
    /// A portal for everybody.
    #[error("the portal has no log-in yet, so it serves this machine only: {0} is not a loopback address")]
    PortalNotLoopback(SocketAddr),
    /// Certificate authority.
    #[error("the certificate authority: {0}")]
    Authority(String),
    /// Database.
    #[error("the database {path}: {source}")]
    Database {
        /// The file.
        path: PathBuf,
        /// The database's words.
        source: sqlx::Error,
    },
    /// A query.
    #[error("the database: {0}")]
    Query(#[from] sqlx::Error),
    /// It may not be.
    #[error("{0}")]
    Refused(String),
    /// Files.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// The operating system's words.
        source: std::io::Error,
    },
}

/// What the parts share.
#[derive(Debug, Clone)]
struct Shared {
    database: Database,
    broker: Broker,
    authority: Arc<Authority>,
    poll_interval_s: u32,
    /// The page on which the code of a box is typed.
    portal_url: String,
    /// For trials: how far this cloud's idea of the time is ahead, in milliseconds.
    ahead_ms: Arc<AtomicI64>,
    trial: Trial,
}

/// What a cloud does in trials only.
#[derive(Debug, Clone, Copy, Default)]
pub struct Trial {
    /// Of a hundred uploads, so many (at random) are committed and not acknowledged; their stream is broken off instead.
    pub lose_acks_percent: u8,
    /// Certificates that it makes hold from now on, and not from an hour ago: before that is the past, also for a box whose
    /// firmware was built within that hour.
    pub certificates_from_now: bool,
    /// How long the certificates of boxes hold, instead of 90 days.
    pub box_life: Option<Duration>,
}

impl Shared {
    fn now_ms(&self) -> i64 {
        now_ms().saturating_add(self.ahead_ms.load(Ordering::Relaxed))
    }

    /// Makes a task for a box and wakes it. Returns the task's id.
    async fn task(&self, box_id: &str, kind: &str) -> Result<String, sqlx::Error> {
        let id = random_hex(16);
        self.database.add_task(&id, box_id, kind, TASK_LIFE).await?;
        self.broker.wake(box_id);
        Ok(id)
    }

    async fn scan_now(&self, box_id: &str) -> Result<String, sqlx::Error> {
        self.task(box_id, "scan_now").await
    }

    /// Takes a box's right to connect away, and its link. Whether it had the right.
    async fn revoke(&self, box_id: &str) -> Result<bool, sqlx::Error> {
        let had = self.database.revoke(box_id).await?;
        self.broker.drop_session(box_id);
        Ok(had)
    }

    async fn ping_now(&self, box_id: &str, address: IpAddr) -> Result<String, sqlx::Error> {
        self.task(box_id, &format!("ping {address}")).await
    }
}

/// A cloud that runs.
#[derive(Debug)]
pub struct RunningCloud {
    device_addr: SocketAddr,
    portal_addr: SocketAddr,
    authority: Arc<Authority>,
    shared: Shared,
    stop: CancellationToken,
    parts: JoinSet<()>,
}

impl RunningCloud {
    /// Where boxes connect.
    #[must_use]
    pub fn device_addr(&self) -> SocketAddr {
        self.device_addr
    }

    /// Where people look.
    #[must_use]
    pub fn portal_addr(&self) -> SocketAddr {
        self.portal_addr
    }

    /// Signs a box's request and takes the box in.
    ///
    /// # Errors
    /// When the request cannot be read, or the box cannot be written down.
    pub async fn issue_box(&self, request_pem: &str, name: &str) -> Result<IssuedBox, CloudError> {
        issue(&self.authority, &self.shared.database, request_pem, name, None).await
    }

    /// As [`Self::issue_box`], for a box that shares the printers of a site with others.
    ///
    /// # Errors
    /// As [`Self::issue_box`].
    pub async fn issue_box_at(&self, request_pem: &str, name: &str, site: &str) -> Result<IssuedBox, CloudError> {
        issue(&self.authority, &self.shared.database, request_pem, name, Some(site)).await
    }

    /// How much there is.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn summary(&self) -> Result<Summary, CloudError> {
        Ok(self.shared.database.summary().await?)
    }

    /// Serial numbers of all devices that were read.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn serials(&self) -> Result<Vec<String>, CloudError> {
        let devices = self.shared.database.devices(&[], now_ms()).await?;
        Ok(devices.into_iter().filter_map(|device| device.reading.serial).collect())
    }

    /// Asks a box to search and read now; returns the task's id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn scan_now(&self, box_id: &str) -> Result<String, CloudError> {
        Ok(self.shared.scan_now(box_id).await?)
    }

    /// Asks a box to ping an address; returns the task's id. The box refuses what lies outside of its fence.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn ping_now(&self, box_id: &str, address: IpAddr) -> Result<String, CloudError> {
        Ok(self.shared.ping_now(box_id, address).await?)
    }

    /// Gives a box that was turned away its right to connect back. One that has disabled itself meanwhile learns it the next
    /// time it asks, within about a day. Whether it was turned away.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn enable(&self, box_id: &str) -> Result<bool, CloudError> {
        Ok(self.shared.database.enable(box_id).await?)
    }

    /// Takes a box's right to connect away. Whether it had it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn revoke(&self, box_id: &str) -> Result<bool, CloudError> {
        Ok(self.shared.revoke(box_id).await?)
    }

    /// Lets a box go on that was stopped, because somebody has looked. Whether it was stopped.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn release(&self, box_id: &str) -> Result<bool, CloudError> {
        Ok(intake::release(&self.shared.database, box_id, now_ms()).await?)
    }

    /// State and message of a task: the contract's `TaskState` as a number, 0 while it was not fetched.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn task(&self, id: &str) -> Result<Option<(i64, String)>, CloudError> {
        Ok(self.shared.database.task(id).await?)
    }

    /// Ends the cloud. What was acknowledged is in the database.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        while self.parts.join_next().await.is_some() {}
        self.shared.database.close().await;
    }

    /// Lasts until a part ends, which only happens when something is wrong.
    pub async fn finished(&mut self) {
        self.parts.join_next().await;
    }
}

async fn issue(
    authority: &Authority,
    database: &Database,
    request_pem: &str,
    name: &str,
    site: Option<&str>,
) -> Result<IssuedBox, CloudError> {
    let issued = authority.sign(request_pem)?;
    let site = site.unwrap_or(&issued.box_id);
    database.add_box(&issued.box_id, name, site, &issued.fingerprint, issued.ends_ms).await?;
    Ok(issued)
}

/// Signs a box's request with the cloud of a data folder that need not run.
///
/// # Errors
/// As [`RunningCloud::issue_box`].
pub async fn issue_box(data_dir: &Path, request_pem: &str, name: &str) -> Result<IssuedBox, CloudError> {
    issue_in(data_dir, request_pem, name, None).await
}

/// As [`issue_box`], for a box that shares the printers of a site with others.
///
/// # Errors
/// As [`RunningCloud::issue_box`].
pub async fn issue_box_at(data_dir: &Path, request_pem: &str, name: &str, site: &str) -> Result<IssuedBox, CloudError> {
    issue_in(data_dir, request_pem, name, Some(site)).await
}

async fn issue_in(data_dir: &Path, request_pem: &str, name: &str, site: Option<&str>) -> Result<IssuedBox, CloudError> {
    let authority = Authority::open(data_dir)?;
    let database = Database::open(data_dir).await?;
    let issued = issue(&authority, &database, request_pem, name, site).await;
    database.close().await;
    issued
}

/// Lets a box of a data folder go on that was stopped; the cloud may run meanwhile. Whether it was stopped.
///
/// # Errors
/// When the database cannot be used.
pub async fn release(data_dir: &Path, box_id: &str) -> Result<bool, CloudError> {
    let database = Database::open(data_dir).await?;
    let released = intake::release(&database, box_id, now_ms()).await;
    database.close().await;
    Ok(released?)
}

/// Starts the cloud. To be called within a tokio runtime.
///
/// # Errors
/// When ports, folder, database or certificates cannot be used.
pub async fn start(config: CloudConfig) -> Result<RunningCloud, CloudError> {
    start_with(config, Trial::default()).await
}

/// As [`start`], for trials.
///
/// # Errors
/// As [`start`].
#[cfg(feature = "sim")]
pub async fn start_for_trial(config: CloudConfig, trial: Trial) -> Result<RunningCloud, CloudError> {
    start_with(config, trial).await
}

async fn start_with(config: CloudConfig, trial: Trial) -> Result<RunningCloud, CloudError> {
    if !config.portal_addr.ip().is_loopback() {
        return Err(CloudError::PortalNotLoopback(config.portal_addr));
    }
    let authority = Arc::new(Authority::open_for(&config.data_dir, trial)?);
    let tls = authority.server_config(&config.server_names)?;
    let database = Database::open(&config.data_dir).await?;
    let listen = async |what, address: SocketAddr, option| {
        TcpListener::bind(address).await.map_err(|source| CloudError::Port { what, address, option, source })
    };
    let devices = listen("the device port", config.device_addr, "listen").await?;
    let people = listen("the portal", config.portal_addr, "portal").await?;
    let local = |listener: &TcpListener, wanted: SocketAddr| listener.local_addr().unwrap_or(wanted);
    let (device_addr, portal_addr) = (local(&devices, config.device_addr), local(&people, config.portal_addr));

    let shared = Shared {
        database,
        broker: Broker::default(),
        authority: authority.clone(),
        poll_interval_s: config.poll_interval_s,
        portal_url: format!("http://localhost:{}/add", portal_addr.port()),
        ahead_ms: Arc::default(),
        trial,
    };
    let stop = CancellationToken::new();
    let mut parts = JoinSet::new();
    parts.spawn(device_port::serve(devices, tls, shared.clone(), stop.clone()));
    parts.spawn(portal::serve(people, shared.clone(), stop.clone()));
    parts.spawn(sweep(shared.clone(), stop.clone()));
    Ok(RunningCloud { device_addr, portal_addr, authority, shared, stop, parts })
}

/// Looks for silent boxes, and for released ones that have gone, until `stop`.
async fn sweep(shared: Shared, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SWEEP_EVERY) => {}
        }
        if let Err(error) = shared.database.flag_silent(now_ms()).await {
            tracing::error!(%error, "the database failed; silent boxes are looked for again in a minute");
        }
        if let Err(error) = enrolment::finish_releases(&shared.database, shared.now_ms()).await {
            tracing::error!(?error, "the database failed; released boxes are looked for again in a minute");
        }
    }
}

/// Milliseconds since 1970, by this machine's clock.
fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
