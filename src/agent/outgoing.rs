//! What the box tells the cloud, kept for whoever wants to see it (`platen show-outgoing`): each message, octet for octet, as it is
//! given to gRPC, with the time. It lies in the runtime folder, in memory, and only the newest of it.
//!
//! Not here are GetTime, which carries 32 random octets and nothing else, what MQTT needs to connect (the box's id), and what a box says
//! before it is somebody's: its serial number, the public halves of its keys, its version.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use prost::Message;
use serde::{Deserialize, Serialize};

use crate::cause::Trouble;
use crate::proto::v1;
use crate::store::read_bounded;
use crate::sys::{BoxClock, Clock};
use crate::uplink::{Cloud, Session, UplinkError};

/// The newest messages, a line each, and those before them.
const FILES: [&str; 2] = ["outgoing.jsonl", "outgoing.1.jsonl"];
/// Longest such file, in bytes: the largest batch fits.
const FILE_MAX_BYTES: usize = 1024 * 1024;

/// A message that was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outgoing {
    /// When, by the box's wall clock, milliseconds since 1970.
    pub sent_unix_ms: u64,
    /// The call of the contract's service.
    pub call: String,
    /// Name of the message in the contract.
    pub message: String,
    /// Its length.
    pub bytes: usize,
    /// The message itself (base64); empty where it was longer than what is kept.
    pub base64: String,
}

impl Outgoing {
    /// The message itself; `None` when it was too long to be kept, or is damaged.
    #[must_use]
    pub fn encoded(&self) -> Option<Vec<u8>> {
        BASE64.decode(&self.base64).ok().filter(|encoded| encoded.len() == self.bytes)
    }
}

/// What was sent lately, oldest first. Lines that are none (the box is just writing one) are left out.
///
/// # Errors
/// When the files cannot be read; that there are none is no error.
pub fn read(runtime_dir: &Path) -> io::Result<Vec<Outgoing>> {
    let mut all = Vec::new();
    for name in FILES.iter().rev() {
        let bytes = match read_bounded(&runtime_dir.join(name), FILE_MAX_BYTES) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        all.extend(bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()));
    }
    Ok(all)
}

/// Where messages are kept: those of one part of the agent, which sends one after the other.
#[derive(Clone)]
pub(super) struct OutgoingLog {
    clock: BoxClock,
    runtime_dir: PathBuf,
}

impl OutgoingLog {
    /// What an earlier agent has left is taken away.
    pub(super) fn start(runtime_dir: &Path, clock: BoxClock) -> Self {
        for name in FILES {
            // What cannot be removed is overwritten, or read as what it is: something that was sent.
            let _ = std::fs::remove_file(runtime_dir.join(name));
        }
        Self { clock, runtime_dir: runtime_dir.to_owned() }
    }

    /// Keeps a message that is about to be sent. A runtime folder that is full keeps nothing from being sent.
    fn note(&self, call: &str, name: &str, message: &impl Message) {
        if let Err(error) = self.write(call, name, message) {
            tracing::debug!(%error, "what is sent is not written down");
        }
    }

    fn write(&self, call: &str, name: &str, message: &impl Message) -> io::Result<()> {
        let mut outgoing = Outgoing {
            sent_unix_ms: self.clock.wall_unix_ms(),
            call: call.to_owned(),
            message: name.to_owned(),
            bytes: message.encoded_len(),
            base64: BASE64.encode(message.encode_to_vec()),
        };
        let mut line = serde_json::to_string(&outgoing)? + "\n";
        if line.len() > FILE_MAX_BYTES {
            outgoing.base64.clear();
            line = serde_json::to_string(&outgoing)? + "\n";
        }
        let [newest, before] = FILES.map(|name| self.runtime_dir.join(name));
        let open = || OpenOptions::new().create(true).append(true).mode(0o600).open(&newest);
        let mut file = open()?;
        let mut whole_bytes = file.metadata()?.len();
        if whole_bytes + line.len() as u64 > FILE_MAX_BYTES as u64 {
            std::fs::rename(&newest, &before)?;
            (file, whole_bytes) = (open()?, 0);
        }
        file.write_all(line.as_bytes()).inspect_err(|_| {
            // Half a line would spoil the next one, and be in the way of others in a folder that is full.
            let _cut = file.set_len(whole_bytes);
        })
    }
}

/// A cloud to which nothing is said that is not kept.
#[derive(Clone)]
pub(super) struct Kept<L> {
    pub cloud: L,
    pub log: OutgoingLog,
}

impl<L: Cloud> Cloud for Kept<L> {
    type Session = Kept<L::Session>;

    fn troubles(&self) -> Vec<Trouble> {
        self.cloud.troubles()
    }

    async fn open(&self) -> Result<Self::Session, UplinkError> {
        Ok(Kept { cloud: self.cloud.open().await?, log: self.log.clone() })
    }

    async fn recover(&self, request: v1::RecoverRequest) -> Result<v1::RecoverReply, UplinkError> {
        self.log.note("Recover", "RecoverRequest", &request);
        self.cloud.recover(request).await
    }
}

impl<S: Session> Session for Kept<S> {
    fn transport(&self) -> &'static str {
        self.cloud.transport()
    }

    async fn poll(&mut self, request: v1::PollRequest) -> Result<v1::PollReply, UplinkError> {
        self.log.note("Poll", "PollRequest", &request);
        self.cloud.poll(request).await
    }

    async fn upload(&mut self, batch: v1::ReadingBatch) -> Result<v1::UploadAck, UplinkError> {
        self.log.note("UploadReadings", "ReadingBatch", &batch);
        self.cloud.upload(batch).await
    }

    async fn report_task(&mut self, report: v1::TaskReport) -> Result<(), UplinkError> {
        self.log.note("ReportTask", "TaskReport", &report);
        self.cloud.report_task(report).await
    }

    async fn renew_certificate(
        &mut self,
        request: v1::RenewCertificateRequest,
    ) -> Result<v1::RenewCertificateReply, UplinkError> {
        self.log.note("RenewCertificate", "RenewCertificateRequest", &request);
        self.cloud.renew_certificate(request).await
    }

    async fn leave(&mut self, request: v1::LeaveRequest) -> Result<(), UplinkError> {
        self.log.note("Leave", "LeaveRequest", &request);
        self.cloud.leave(request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::FixedClock;

    fn log(folder: &tempfile::TempDir) -> OutgoingLog {
        OutgoingLog::start(folder.path(), BoxClock::start(FixedClock::new(0, 0, "boot"), None))
    }

    fn report(detail: usize) -> v1::TaskReport {
        v1::TaskReport { message: "x".repeat(detail), ..v1::TaskReport::default() }
    }

    #[test]
    fn what_is_sent_is_kept_octet_for_octet_and_the_newest_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let log = log(&folder);
        for detail in 0..100 {
            log.note("ReportTask", "TaskReport", &report(detail * 1_000));
        }
        let kept = read(folder.path()).unwrap();
        assert!(kept.len() > 5 && kept.len() < 100, "{}", kept.len());
        for (outgoing, detail) in kept.iter().rev().zip((0..100).rev()) {
            assert_eq!(outgoing.encoded(), Some(report(detail * 1_000).encode_to_vec()), "{detail}");
        }
        let on_disk: u64 = FILES.iter().map(|name| folder.path().join(name).metadata().unwrap().len()).sum();
        assert!(on_disk <= 2 * FILE_MAX_BYTES as u64, "{on_disk}");
    }

    #[test]
    fn a_message_that_is_too_long_is_told_and_a_folder_that_is_gone_is_no_fault() {
        let folder = tempfile::tempdir().unwrap();
        let log = log(&folder);
        log.note("ReportTask", "TaskReport", &report(2 * FILE_MAX_BYTES));
        let kept = read(folder.path()).unwrap();
        assert!(kept[0].bytes > FILE_MAX_BYTES && kept[0].encoded().is_none());
        drop(folder);
        log.note("ReportTask", "TaskReport", &report(1));
    }

    #[test]
    fn a_new_start_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        log(&folder).note("ReportTask", "TaskReport", &report(1));
        let _again = log(&folder);
        assert_eq!(read(folder.path()).unwrap(), []);
    }
}
