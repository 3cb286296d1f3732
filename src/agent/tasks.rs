//! The journal of tasks: what the cloud asked and what became of it. It is written before a task begins, so a task is
//! done at most once, however often it is told and wherever the power fails.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::discovery::{Fence, ScopedIp, ping};
use crate::proto::v1::{self, TaskState};
use crate::store::{read_bounded_on, write_atomically_on};
use crate::sys::{Fs, SystemFs};

/// How many tasks are remembered. The oldest ended ones are forgotten first; by then they have expired.
const REMEMBERED_MAX: usize = 1_024;
/// Longest id of a task, in characters.
const ID_MAX_CHARS: usize = 64;
/// Largest journal file, in bytes: 1,024 entries with a sentence each.
const FILE_MAX_BYTES: usize = 1024 * 1024;
/// Longest sentence in a report, in characters.
const MESSAGE_MAX_CHARS: usize = 256;
/// Requests of a ping where the cloud names no number, and how long each may be answered.
const PING_COUNT: u32 = 4;
const PING_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    id: String,
    /// `TaskState` as its number.
    state: i32,
    message: String,
    addresses_asked: u32,
    printers_read: u32,
    /// Whether the cloud has taken the report of the end.
    reported: bool,
}

/// What to do about a task that the cloud told.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision {
    /// Do it: it is in the journal as running.
    Begin,
    /// Nothing: it is running, or its end is to be reported (again).
    Known,
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Done, failed, refused or unsupported.
    pub state: TaskState,
    /// One sentence.
    pub message: String,
    /// Addresses that were asked.
    pub addresses_asked: u32,
    /// Printers that were read.
    pub printers_read: u32,
}

impl Outcome {
    /// An end without numbers.
    #[must_use]
    pub fn of(state: TaskState, message: impl Into<String>) -> Self {
        Self { state, message: message.into(), addresses_asked: 0, printers_read: 0 }
    }
}

/// Pings an address for the cloud, within the fence.
pub(super) async fn ping_task(asked: &v1::Ping, fence: &Fence) -> Outcome {
    let address = match asked.address.parse::<ScopedIp>() {
        Ok(address) => address,
        Err(error) => return Outcome::of(TaskState::Refused, format!("nothing was sent: {error}")),
    };
    if !fence.allows(address) {
        let message = format!("{address} lies outside of the fence of this box: nothing was sent");
        return Outcome::of(TaskState::Refused, message);
    }
    let count = if asked.count == 0 { PING_COUNT } else { asked.count };
    match ping(address, count, PING_TIMEOUT).await {
        Ok(report) => {
            let state = if report.received > 0 { TaskState::Done } else { TaskState::Failed };
            Outcome { addresses_asked: 1, ..Outcome::of(state, report.to_string()) }
        }
        Err(error) => Outcome::of(TaskState::Failed, error.to_string()),
    }
}

/// The journal.
pub struct TaskJournal {
    fs: Arc<dyn Fs>,
    path: PathBuf,
    entries: Vec<Entry>,
    /// Whether the file has been read: before, nothing is begun and nothing written.
    is_read: bool,
}

impl std::fmt::Debug for TaskJournal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TaskJournal").field("path", &self.path).field("entries", &self.entries).finish_non_exhaustive()
    }
}

impl TaskJournal {
    /// Reads the journal. Tasks that were running when the agent ended are failed now: half a task is not begun again.
    #[must_use]
    pub fn open(path: PathBuf) -> Self {
        Self::open_on(Arc::new(SystemFs), path)
    }

    /// As [`open`](Self::open), on a given file system.
    #[must_use]
    pub fn open_on(fs: Arc<dyn Fs>, path: PathBuf) -> Self {
        let mut journal = Self { fs, path, entries: Vec::new(), is_read: false };
        if let Err(error) = journal.read() {
            tracing::error!(%error, "the journal of tasks cannot be read; no task begins until it can");
        }
        journal
    }

    /// Reads what was kept, unless it was read before. A file that is damaged is set aside; what it held had mostly expired. One
    /// that cannot be read now is another matter: in it stands what must not be done twice.
    fn read(&mut self) -> io::Result<()> {
        if self.is_read {
            return Ok(());
        }
        self.entries = match read_bounded_on(&*self.fs, &self.path, FILE_MAX_BYTES) {
            Ok(bytes) => serde_json::from_slice(&bytes).or_else(|error| {
                tracing::error!(%error, "the journal of tasks is damaged and set aside");
                self.fs.rename(&self.path, &self.path.with_extension("json.corrupt")).map(|()| Vec::new())
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        self.is_read = true;
        let mut changed = false;
        for entry in self.entries.iter_mut().filter(|entry| entry.state == TaskState::Running as i32) {
            entry.state = TaskState::Failed as i32;
            entry.message = "the box restarted while it was doing this".to_owned();
            entry.reported = false;
            changed = true;
        }
        if changed && let Err(error) = self.save() {
            // It is written with the next change; until then the next start would see the same.
            tracing::warn!(%error, "the journal of tasks cannot be written");
        }
        Ok(())
    }

    /// Decides on a task. `now_unix_ms` is the cloud's time, from the same reply that brought the task.
    ///
    /// # Errors
    /// When the decision cannot be written down: then nothing is begun.
    pub fn decide(&mut self, task: &v1::Task, now_unix_ms: u64) -> io::Result<Decision> {
        self.read()?;
        let length = task.id.chars().count();
        if length == 0 || length > ID_MAX_CHARS {
            // Without an id that can be kept there is nothing to report on.
            tracing::warn!(length, "the cloud sent a task whose id has no allowed length; it is not done");
            return Ok(Decision::Known);
        }
        if let Some(known) = self.entries.iter_mut().find(|entry| entry.id == task.id) {
            // It is told again, so the report of its end did not arrive.
            known.reported = false;
            return Ok(Decision::Known);
        }
        let refusal = if task.kind.is_none() {
            Some(Outcome::of(TaskState::Unsupported, "this firmware does not know this kind of task"))
        } else if task.expires_unix_ms <= now_unix_ms {
            Some(Outcome::of(TaskState::Refused, "the task had expired before it reached the box"))
        } else {
            None
        };
        let begin = refusal.is_none();
        let outcome = refusal.unwrap_or_else(|| Outcome::of(TaskState::Running, ""));
        self.forget_oldest_ended();
        self.entries.push(Entry {
            id: task.id.clone(),
            state: outcome.state as i32,
            message: outcome.message,
            addresses_asked: 0,
            printers_read: 0,
            reported: false,
        });
        if let Err(error) = self.save() {
            // As if it had not been told: it will be again, and begin then. Kept as running it would be waited for until the
            // next start.
            self.entries.pop();
            return Err(error);
        }
        Ok(if begin { Decision::Begin } else { Decision::Known })
    }

    /// Writes down how a task ended.
    ///
    /// # Errors
    /// When that fails.
    pub fn end(&mut self, id: &str, outcome: &Outcome) -> io::Result<()> {
        let Some(entry) = self.entries.iter_mut().find(|entry| entry.id == id) else { return Ok(()) };
        entry.state = outcome.state as i32;
        entry.message = outcome.message.chars().take(MESSAGE_MAX_CHARS).collect();
        entry.addresses_asked = outcome.addresses_asked;
        entry.printers_read = outcome.printers_read;
        entry.reported = false;
        self.save()
    }

    /// What the cloud has not been told yet, oldest first.
    #[must_use]
    pub fn unreported(&self) -> Vec<v1::TaskReport> {
        self.entries
            .iter()
            .filter(|entry| !entry.reported)
            .map(|entry| v1::TaskReport {
                task_id: entry.id.clone(),
                state: entry.state,
                message: entry.message.clone(),
                addresses_asked: entry.addresses_asked,
                printers_read: entry.printers_read,
            })
            .collect()
    }

    /// The cloud has taken this report.
    ///
    /// # Errors
    /// When that cannot be written down.
    pub fn reported(&mut self, report: &v1::TaskReport) -> io::Result<()> {
        match self.entries.iter_mut().find(|entry| entry.id == report.task_id && entry.state == report.state) {
            Some(entry) => {
                entry.reported = true;
                self.save()
            }
            // It went on to another state meanwhile, which is still to be reported.
            None => Ok(()),
        }
    }

    fn forget_oldest_ended(&mut self) {
        while self.entries.len() >= REMEMBERED_MAX {
            let ended = self.entries.iter().position(|entry| entry.state != TaskState::Running as i32);
            self.entries.remove(ended.unwrap_or(0));
        }
    }

    /// Writes down what is remembered, where an earlier try failed.
    ///
    /// # Errors
    /// When the disk still refuses, or what was kept before cannot be read yet.
    pub fn keep(&mut self) -> io::Result<()> {
        self.read()?;
        self.save()
    }

    fn save(&self) -> io::Result<()> {
        let bytes = serde_json::to_vec(&self.entries).map_err(io::Error::other)?;
        write_atomically_on(&*self.fs, &self.path, &bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{Fault, FaultFs};

    fn task(id: &str) -> v1::Task {
        let kind = Some(v1::task::Kind::ScanNow(v1::ScanNow {}));
        v1::Task { id: id.to_owned(), expires_unix_ms: 1_000, kind }
    }

    fn journal(folder: &tempfile::TempDir) -> TaskJournal {
        TaskJournal::open(folder.path().join("tasks.json"))
    }

    #[test]
    fn a_task_is_begun_once_however_often_it_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let mut tasks = journal(&folder);
        assert_eq!(tasks.decide(&task("a"), 1).unwrap(), Decision::Begin);
        assert_eq!(tasks.decide(&task("a"), 1).unwrap(), Decision::Known);
        tasks.end("a", &Outcome::of(TaskState::Done, "12 printers")).unwrap();
        assert_eq!(tasks.decide(&task("a"), 1).unwrap(), Decision::Known);
        assert_eq!(journal(&folder).decide(&task("a"), 1).unwrap(), Decision::Known);
    }

    #[test]
    fn a_task_that_could_not_be_written_down_begins_when_it_is_told_again() {
        let fs = FaultFs::default();
        let mut tasks = TaskJournal::open_on(Arc::new(fs.clone()), PathBuf::from("/d/tasks.json"));
        fs.fail(1, Fault::Once(io::ErrorKind::StorageFull));
        assert!(tasks.decide(&task("a"), 1).is_err());
        assert!(tasks.unreported().is_empty());
        assert_eq!(tasks.decide(&task("a"), 1).unwrap(), Decision::Begin);
        assert_eq!(tasks.decide(&task("a"), 1).unwrap(), Decision::Known);
    }

    #[test]
    fn a_journal_that_cannot_be_read_now_is_not_forgotten() {
        let fs = FaultFs::default();
        let open = || TaskJournal::open_on(Arc::new(fs.clone()), PathBuf::from("/d/tasks.json"));
        open().decide(&task("a"), 1).unwrap();
        fs.fail(1, Fault::ForEver(io::ErrorKind::Other));
        let mut after = open();
        assert!(after.decide(&task("b"), 1).is_err());
        fs.repair();
        assert_eq!(after.decide(&task("a"), 1).unwrap(), Decision::Known);
        assert_eq!(after.unreported()[0].state(), TaskState::Failed);
    }

    #[test]
    fn an_end_that_could_not_be_written_down_is_when_the_disk_takes_it_again() {
        let fs = FaultFs::default();
        let open = || TaskJournal::open_on(Arc::new(fs.clone()), PathBuf::from("/d/tasks.json"));
        let mut tasks = open();
        tasks.decide(&task("a"), 1).unwrap();
        fs.fail(1, Fault::ForEver(io::ErrorKind::Other));
        assert!(tasks.end("a", &Outcome::of(TaskState::Done, "12 printers")).is_err());
        assert!(tasks.keep().is_err());
        fs.repair();
        tasks.keep().unwrap();
        assert_eq!(open().unreported()[0].state(), TaskState::Done);
    }

    #[test]
    fn an_end_that_the_cloud_did_not_hear_is_told_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut tasks = journal(&folder);
        tasks.decide(&task("a"), 1).unwrap();
        tasks.end("a", &Outcome::of(TaskState::Done, "")).unwrap();
        let report = tasks.unreported().remove(0);
        tasks.reported(&report).unwrap();
        assert!(tasks.unreported().is_empty());
        tasks.decide(&task("a"), 1).unwrap();
        assert_eq!(tasks.unreported(), [report]);
    }

    #[test]
    fn a_task_that_a_restart_cut_off_is_failed_and_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        journal(&folder).decide(&task("a"), 1).unwrap();
        let mut after = journal(&folder);
        assert_eq!(after.unreported()[0].state(), TaskState::Failed);
        assert_eq!(after.decide(&task("a"), 1).unwrap(), Decision::Known);
    }

    #[test]
    fn expired_and_unknown_tasks_are_answered_and_not_done() {
        let folder = tempfile::tempdir().unwrap();
        let mut tasks = journal(&folder);
        assert_eq!(tasks.decide(&task("late"), 1_000).unwrap(), Decision::Known);
        assert_eq!(tasks.decide(&v1::Task { kind: None, ..task("new") }, 1).unwrap(), Decision::Known);
        let states: Vec<_> = tasks.unreported().iter().map(v1::TaskReport::state).collect();
        assert_eq!(states, [TaskState::Refused, TaskState::Unsupported]);
    }

    #[test]
    fn the_journal_is_bounded_and_keeps_what_is_running() {
        let folder = tempfile::tempdir().unwrap();
        let mut tasks = journal(&folder);
        tasks.entries = (0..REMEMBERED_MAX)
            .map(|n| Entry {
                id: format!("t{n}"),
                state: if n == 0 { TaskState::Running } else { TaskState::Done } as i32,
                message: String::new(),
                addresses_asked: 0,
                printers_read: 0,
                reported: true,
            })
            .collect();
        tasks.decide(&task("newest"), 1).unwrap();
        assert_eq!(tasks.entries.len(), REMEMBERED_MAX);
        assert!(tasks.entries.iter().any(|entry| entry.id == "t0"));
        assert!(!tasks.entries.iter().any(|entry| entry.id == "t1"));
    }
}
