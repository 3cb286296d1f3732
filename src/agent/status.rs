//! How the box is, in one structure: shown by `platen status`, told to the cloud at each poll. It is kept as a file in the
//! runtime folder, replaced whole, so that looking at it needs no socket and disturbs nothing.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::silent::SilentPrinter;
use crate::cause;
use crate::snmp::Statistics;
use crate::store::{read_bounded, write_atomically};
use crate::sys::{Clock, uptime_ms};

/// Name of the file in the runtime folder.
const FILE: &str = "status.json";
/// Largest such file, in bytes.
const FILE_MAX_BYTES: usize = 256 * 1024;
/// The file is written at most this often…
const SETTLE: Duration = Duration::from_secs(1);
/// …and at least this often, so that its age shows a dead agent.
const REFRESH: Duration = Duration::from_secs(10);
/// A status older than this is not believed.
pub const STALE_AFTER: Duration = Duration::from_secs(30);

/// How the box is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the firmware.
    pub firmware_version: String,
    /// The box's id in the cloud.
    pub box_id: String,
    /// Identifier of this start.
    pub boot_id: String,
    /// The word of the LED table: `ok`, `no-cloud`, `no-network`, `clock/tls`, `no-printers`, `starting`, `fault`, `disabled`.
    pub state: String,
    /// When the agent started, by the wall clock, milliseconds since 1970.
    pub started_unix_ms: u64,
    /// When this was written, likewise.
    pub updated_unix_ms: u64,
    /// When this was written, milliseconds since the system was started: that of whoever looks at it may show another date.
    #[serde(default)]
    pub updated_uptime_ms: Option<u64>,
    /// The cloud.
    pub cloud: CloudStatus,
    /// The readings that wait.
    pub outbox: OutboxStatus,
    /// The LAN.
    pub lan: LanStatus,
    /// Why tasks or settings cannot be written down, where they cannot.
    #[serde(default)]
    pub storage_error: Option<String>,
    /// Why this file cannot be written, where it could not: the runtime folder is gone or full.
    #[serde(default)]
    pub runtime_error: Option<String>,
    /// Why the box is disabled, where it is.
    #[serde(default)]
    pub disabled: Option<String>,
    /// Whose box it is, and what is under way about that.
    #[serde(default)]
    pub enrolment: EnrolmentStatus,
}

/// Whose box this is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolmentStatus {
    /// `unclaimed`, `pairing`, `enrolling`, `active`, `renewing`, `expired`, `disabled`, `suspended`.
    pub phase: String,
    /// The serial number on the label.
    pub serial: String,
    /// Four words by which the box's key is recognised in the portal.
    pub words: String,
    /// While it is paired.
    #[serde(default)]
    pub pairing: Option<PairingStatus>,
    /// Why the last attempt came to nothing.
    #[serde(default)]
    pub last_error: Option<String>,
    /// The tenant that the box belongs to; kept over a factory reset.
    #[serde(default)]
    pub tenant: Option<String>,
    /// End of the certificate, milliseconds since 1970.
    #[serde(default)]
    pub certificate_until_unix_ms: Option<u64>,
}

/// A pairing that is under way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairingStatus {
    /// `code`, `button` or `registration`.
    pub way: String,
    /// What is typed in the portal, as `WDJB-MJHT`.
    #[serde(default)]
    pub user_code: Option<String>,
    /// Where.
    #[serde(default)]
    pub url: Option<String>,
    /// The number that the LED blinks.
    #[serde(default)]
    pub number: Option<u8>,
    /// Somebody is to press the button now.
    #[serde(default)]
    pub wants_press: bool,
    /// Seconds that are left.
    #[serde(default)]
    pub seconds_left: u32,
}

/// How the cloud is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloudStatus {
    /// The gRPC endpoint.
    pub endpoint: String,
    /// Last answered poll, milliseconds since 1970.
    pub last_contact_unix_ms: Option<u64>,
    /// Why the last round failed; absent after a good one.
    pub last_error: Option<String>,
    /// The word of its cause.
    #[serde(default)]
    pub cause: Option<String>,
    /// Whether a wake-up would arrive.
    pub wake_link_up: bool,
    /// Why not.
    pub wake_link_error: Option<String>,
}

/// What the outbox holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxStatus {
    /// Epoch of the sequence numbers.
    pub epoch: u64,
    /// Highest sequence number given.
    pub last_seq: u64,
    /// Readings accepted and not yet acknowledged.
    pub pending: u64,
    /// Up to where the cloud has everything of this epoch, as far as the box knows.
    #[serde(default)]
    pub acknowledged: u64,
    /// Readings of which only the number is left, because the outbox was full; counted since the epoch began.
    #[serde(default)]
    pub thinned: u64,
    /// Earlier epochs of which something is still held, oldest first.
    #[serde(default)]
    pub ended: Vec<EndedEpoch>,
    /// Why nothing can be accepted, where it cannot.
    #[serde(default)]
    pub trouble: Option<String>,
}

/// An epoch that has ended, of which something is still held.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedEpoch {
    /// Which.
    pub epoch: u64,
    /// Up to where the cloud has everything of it, as far as the box knows.
    pub acknowledged: u64,
    /// The highest sequence number that is held.
    pub last_seq: u64,
}

/// What is known of the LAN.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LanStatus {
    /// The ranges in force.
    pub ranges: Vec<String>,
    /// The fence.
    pub fence: Vec<String>,
    /// Printers known.
    pub printers_known: u32,
    /// Printers that answered last time.
    pub printers_answering: u32,
    /// A search or a round of readings that is under way, in words.
    pub activity: Option<String>,
    /// End of the last search, milliseconds since 1970.
    pub last_scan_unix_ms: Option<u64>,
    /// What went wrong last, where something did.
    pub last_error: Option<String>,
    /// Known printers that were not read when they were last asked, and why.
    #[serde(default)]
    pub silent: Vec<SilentPrinter>,
    /// What the SNMP engine has sent and heard since the agent started.
    #[serde(default)]
    pub snmp: Statistics,
}

impl Status {
    /// What is wrong with the disk, or the memory that stands for one: the worst of it.
    #[must_use]
    pub fn storage_trouble(&self) -> Option<&str> {
        [&self.outbox.trouble, &self.storage_error, &self.runtime_error].into_iter().find_map(|why| why.as_deref())
    }

    /// The word that holds once the cloud has answered.
    #[must_use]
    pub fn word_after_contact(&self) -> &'static str {
        let mut then = self.clone();
        (then.cloud.last_error, then.cloud.cause) = (None, None);
        then.cloud.last_contact_unix_ms = Some(self.updated_unix_ms);
        then.word()
    }

    /// The one word for all of it, worst first.
    #[must_use]
    pub fn word(&self) -> &'static str {
        let phase = self.enrolment.phase.as_str();
        if self.disabled.is_some() {
            "disabled"
        } else if let Some(pairing) = &self.enrolment.pairing {
            match pairing {
                PairingStatus { number: Some(_), .. } => "number",
                PairingStatus { wants_press: true, .. } => "press",
                _ => "pairing",
            }
        } else if phase == "enrolling" {
            "pairing"
        } else if phase == "unclaimed" {
            "unclaimed"
        } else if self.storage_trouble().is_some() {
            "fault"
        } else if self.cloud.last_error.is_some() {
            // The LED's state that goes with the cause: no-cloud, no-network, clock/tls.
            let cause = self.cloud.cause.as_deref().and_then(cause::from_word);
            cause.map_or("no-cloud", |cause| cause::explain(cause).led)
        } else if self.cloud.last_contact_unix_ms.is_none() {
            "starting"
        } else if self.lan.last_scan_unix_ms.is_some() && self.lan.printers_answering == 0 {
            "no-printers"
        } else {
            "ok"
        }
    }
}

/// Keeps the file up to date until `stop`, and takes it away then: nobody shall read the status of an agent that is gone. Where
/// it cannot be written, the box goes on without, says so in the status, and tries again.
pub(super) async fn keep_file(
    runtime_dir: PathBuf,
    status: watch::Sender<Status>,
    clock: impl Clock,
    stop: CancellationToken,
) {
    let file = runtime_dir.join(FILE);
    tokio::select! {
        () = stop.cancelled() => {}
        () = write_changes(&runtime_dir, &file, status, clock) => {}
    }
    if let Err(error) = std::fs::remove_file(&file)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%error, file = %file.display(), "the status of an agent that is gone stays behind");
    }
}

async fn write_changes(runtime_dir: &PathBuf, file: &Path, status: watch::Sender<Status>, clock: impl Clock) {
    let mut changes = status.subscribe();
    loop {
        let mut current = changes.borrow_and_update().clone();
        current.state = current.word().to_owned();
        current.updated_unix_ms = clock.wall_unix_ms();
        current.updated_uptime_ms = uptime_ms();
        let written = write(runtime_dir, file, &current).map_err(|error| format!("{}: {error}", file.display())).err();
        if written != current.runtime_error {
            match &written {
                Some(error) => tracing::error!(error, "nobody can look at the status: it cannot be written"),
                None => tracing::info!("the status is written again"),
            }
            status.send_modify(|status| status.runtime_error = written);
        }
        tokio::select! {
            () = tokio::time::sleep(REFRESH) => {}
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
                tokio::time::sleep(SETTLE).await;
            }
        }
    }
}

fn write(runtime_dir: &PathBuf, file: &Path, current: &Status) -> io::Result<()> {
    super::make_folder(runtime_dir).map_err(io::Error::other)?;
    let text = serde_json::to_vec_pretty(current).map_err(io::Error::other)?;
    write_atomically(file, &text).inspect_err(|_| {
        // What was written of it would be in the way of others.
        let _gone = std::fs::remove_file(file.with_extension("json.tmp"));
    })
}

/// Reads what a running agent wrote.
///
/// # Errors
/// `NotFound` when no agent runs here; or the file cannot be read.
pub fn read(runtime_dir: &Path) -> io::Result<Status> {
    let bytes = read_bounded(&runtime_dir.join(FILE), FILE_MAX_BYTES)?;
    serde_json::from_slice(&bytes).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_news_is_the_word() {
        let mut status = Status::default();
        assert_eq!(status.word(), "starting");
        status.cloud.last_contact_unix_ms = Some(1);
        assert_eq!(status.word(), "ok");
        status.lan.last_scan_unix_ms = Some(1);
        assert_eq!(status.word(), "no-printers");
        status.lan.printers_answering = 3;
        assert_eq!(status.word(), "ok");
        status.cloud.last_error = Some("dns".to_owned());
        assert_eq!(status.word(), "no-cloud");
    }

    #[tokio::test(start_paused = true)]
    async fn a_status_that_cannot_be_written_is_said_and_written_when_it_can_be() {
        let folder = tempfile::tempdir().unwrap();
        let runtime_dir = folder.path().join("run");
        std::fs::write(&runtime_dir, "in the way").unwrap();
        let (status, stop) = (watch::Sender::new(Status::default()), CancellationToken::new());
        let clock = crate::sys::FixedClock::new(0, 0, "boot");
        let keeping = tokio::spawn(keep_file(runtime_dir.clone(), status.clone(), clock, stop.clone()));
        let mut seen = status.subscribe();
        seen.wait_for(|status| status.runtime_error.is_some()).await.unwrap();
        assert_eq!(status.borrow().word(), "fault");
        std::fs::remove_file(&runtime_dir).unwrap();
        seen.wait_for(|status| status.runtime_error.is_none()).await.unwrap();
        tokio::time::sleep(SETTLE * 2).await;
        assert_eq!(read(&runtime_dir).unwrap().runtime_error, None);
        stop.cancel();
        keeping.await.unwrap();
        assert_eq!(read(&runtime_dir).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
