//! What can go wrong between the box and its disk.

use std::io;
use std::path::{Path, PathBuf};

use super::{Epoch, MAX_APPEND_BYTES, MAX_PAYLOAD_BYTES, Seq};
use crate::sys::EntropyError;

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the outbox open.
    #[error("cannot open the outbox {}: another process has it open; end that one first", .0.display())]
    InUse(PathBuf),
    /// The operating system refused.
    #[error("cannot {act} {}: {cause}; {}", .path.display(), remedy(cause))]
    Io {
        /// What was tried: "write", "sync", "rename" ...
        act: &'static str,
        /// With which file.
        path: PathBuf,
        /// The operating system's words.
        #[source]
        cause: io::Error,
    },
    /// The outbox has reached its bound, and there is nothing left to be thinned. Nothing of this append was taken.
    #[error(
        "the outbox is full ({used_bytes} of {max_bytes} bytes): nothing more is accepted until the cloud has taken something"
    )]
    Full {
        /// Bytes of records on the disk.
        used_bytes: u64,
        /// The bound.
        max_bytes: u64,
    },
    /// A payload is too long. Nothing of this append was taken.
    #[error("payload {index} of this append has {bytes} bytes, at most {MAX_PAYLOAD_BYTES} are allowed")]
    PayloadTooLong {
        /// Which of the payloads, from 0.
        index: usize,
        /// Its length.
        bytes: usize,
    },
    /// The payloads together are too long. Nothing of this append was taken.
    #[error("this append has {bytes} bytes, at most {MAX_APPEND_BYTES} are allowed: split it")]
    AppendTooLong {
        /// Their length.
        bytes: usize,
    },
    /// A label names a base that cannot be one. Nothing of this append was taken.
    #[error(
        "payload {index} of this append, {seq}, names {base} as its base: a base comes before what needs it, at most 2^32 - 1 numbers"
    )]
    WrongBase {
        /// Which of the payloads, from 0.
        index: usize,
        /// What it names.
        base: Seq,
        /// The number that it would have had.
        seq: Seq,
    },
    /// An earlier failure left it unknown what is on the disk.
    #[error("the outbox takes nothing since an earlier failure ({0}): close it and open it again")]
    Failed(String),
    /// A file does not hold what was once written into it.
    #[error("{} is damaged ({what}): close the outbox and open it again, it will set the file aside", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// An acknowledgement goes past what there is. Nothing was changed.
    #[error(
        "the acknowledgement of {seq} in epoch {epoch} goes past the last payload ({last}): the cloud mixes up boxes or this box was cloned"
    )]
    AcknowledgedTooMuch {
        /// The epoch.
        epoch: Epoch,
        /// What was acknowledged.
        seq: Seq,
        /// What is the last there.
        last: Seq,
    },
    /// The cloud asks again for numbers that were never given. Nothing was changed.
    #[error(
        "the cloud asks for everything from {seq} of epoch {epoch} on, and the last payload is {last}: the cloud mixes up boxes or this box was cloned"
    )]
    NeverGiven {
        /// The epoch.
        epoch: Epoch,
        /// What was asked for.
        seq: Seq,
        /// What is the last there.
        last: Seq,
    },
    /// An acknowledgement, or a wish for a resend, names an epoch of which nothing is held (any more). Nothing was changed.
    #[error("the cloud names the epoch {0}, of which this outbox holds nothing")]
    UnknownEpoch(Epoch),
    /// No randomness for a new epoch.
    #[error("cannot begin a new epoch: {0}")]
    NoEntropy(#[from] EntropyError),
    /// A file is longer than it may be.
    #[error("{} has more than {max_bytes} bytes: it is none of this program's files; move it away", .path.display())]
    FileTooLong {
        /// The file.
        path: PathBuf,
        /// The bound.
        max_bytes: usize,
    },
    /// The work on the disk was broken off from outside.
    #[error("the work on the outbox was broken off: {0}")]
    Stopped(String),
    /// More printers than an inventory may hold.
    #[error("an inventory holds at most {max} printers, this one has {count}: forget some that are gone")]
    TooManyPrinters {
        /// How many there are.
        count: usize,
        /// The bound.
        max: usize,
    },
}

impl StoreError {
    /// For `map_err`: what was tried with which file.
    pub(super) fn io(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self::Io { act, path: path.to_owned(), cause }
    }

    /// Whether nothing was changed and the outbox can be used on: the caller asked for something that it cannot give.
    #[must_use]
    pub fn leaves_all_as_it_was(&self) -> bool {
        matches!(
            self,
            Self::Full { .. }
                | Self::PayloadTooLong { .. }
                | Self::AppendTooLong { .. }
                | Self::AcknowledgedTooMuch { .. }
                | Self::UnknownEpoch(_)
                | Self::NeverGiven { .. }
                | Self::WrongBase { .. }
        )
    }

    /// Whether the disk has no space left (or the quota of the user is used up).
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Io { cause, .. }
            if matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }

    /// Whether the file system is mounted read-only, as Linux does by itself after errors.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        matches!(self, Self::Io { cause, .. } if cause.kind() == io::ErrorKind::ReadOnlyFilesystem)
    }

    /// Whether it was a sync that failed, after which it is unknown what is on the disk.
    pub(super) fn is_sync(&self) -> bool {
        matches!(self, Self::Io { act, .. } if act.starts_with("sync"))
    }
}

/// What to do about an error of the operating system.
fn remedy(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "the disk is full: make room on it",
        io::ErrorKind::ReadOnlyFilesystem => {
            "the disk is read-only: restart the box, and replace its memory card if that does not help"
        }
        io::ErrorKind::PermissionDenied => "check who owns it: only this program may write there",
        _ => "check that the disk is there, writable and not full",
    }
}
