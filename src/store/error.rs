//! Why something is not on the disk.

use std::io;
use std::path::{Path, PathBuf};

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or folder failed.
    #[error("{path} cannot be {act}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// "read", "written", …
        act: &'static str,
        /// The operating system's words.
        source: io::Error,
    },
    /// Another process has this outbox open.
    #[error("{path} is in use by another platen: stop that one, or give this one another data folder")]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
    /// The quota is used up.
    #[error(
        "the outbox is full ({limit_bytes} bytes): readings are accepted again when the cloud has taken some; check the connection to the cloud"
    )]
    Full {
        /// The quota, in bytes.
        limit_bytes: u64,
    },
    /// A payload is larger than a record may be.
    #[error("a record of {size_bytes} bytes is larger than the {limit_bytes} that the outbox takes")]
    TooLarge {
        /// Its size, in bytes.
        size_bytes: usize,
        /// The limit, in bytes.
        limit_bytes: usize,
    },
    /// An earlier write failed, so the state of the file is not known.
    #[error("the outbox takes nothing more until it is opened again, because an earlier write to it failed")]
    Broken,
    /// An acknowledgement for something that this box never sent.
    #[error("the acknowledgement of epoch {epoch} up to {seq} is for readings that this box does not have")]
    UnknownAck {
        /// The epoch.
        epoch: u64,
        /// The sequence number.
        seq: u64,
    },
    /// What was written cannot be read back.
    #[error("record {seq} in {path} cannot be read back: the storage may be failing")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The sequence number.
        seq: u64,
    },
    /// The work was stopped from outside.
    #[error("the work on the outbox was stopped: {0}")]
    Stopped(String),
}

impl StoreError {
    /// Names a failure of the file system.
    pub(super) fn file(path: &Path, act: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { path: path.to_owned(), act, source }
    }
}
