//! Space kept back on the disk, given up when there is none left: for acknowledgements and for files that are rewritten
//! shorter. Both are what frees space.

use std::path::{Path, PathBuf};

use super::files::{TEMPORARY, with_suffix, write_atomically};
use super::outbox::write_durably;
use super::state::State;
use super::{Limits, StoreError};
use crate::sys::Fs;

/// Name of the state file.
pub(super) const STATE: &str = "state";
/// Name of the file that keeps some space back.
const BALLAST: &str = "ballast";
/// Written at once.
const PIECE_BYTES: u64 = 64 * 1024;

/// The folder of an outbox, as far as writing on a full disk is concerned.
#[derive(Clone, Copy)]
pub(super) struct Reserve<'a> {
    pub fs: &'a dyn Fs,
    pub dir: &'a Path,
    pub limits: Limits,
}

impl Reserve<'_> {
    fn path(&self) -> PathBuf {
        self.dir.join(BALLAST)
    }

    /// Replaces the state file.
    pub fn save(&self, state: &State) -> Result<(), StoreError> {
        let path = self.dir.join(STATE);
        self.spend(&path, || state.save(self.fs, &path))
    }

    /// Replaces a file; on a full disk, gives the ballast up for it.
    pub fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        self.spend(path, || write_atomically(self.fs, path, bytes))
    }

    fn spend(&self, path: &Path, write: impl Fn() -> Result<(), StoreError>) -> Result<(), StoreError> {
        let first = write();
        if !first.as_ref().is_err_and(StoreError::is_disk_full) {
            return first;
        }
        // What was written of it is in the way.
        let _ = self.fs.remove(&with_suffix(path, TEMPORARY));
        if self.fs.remove(&self.path()).is_err() {
            return first;
        }
        // A file system may give blocks back only once the removal is durable.
        let _ = self.fs.sync_dir(self.dir);
        let second = write();
        if second.as_ref().is_err_and(StoreError::is_disk_full) {
            let _ = self.fs.remove(&with_suffix(path, TEMPORARY));
        }
        second
    }

    /// Sees that the ballast is there, whole; says whether it is. Without it the outbox works as well, only not on a full disk.
    pub fn keep_ballast(&self) -> bool {
        let path = self.path();
        let wanted = self.limits.ballast_bytes();
        if wanted == 0 || self.fs.read_at(&path, wanted - 1, 2).is_ok_and(|bytes| bytes.len() == 1) {
            return true;
        }
        let made = self.fs.create(&path).is_ok_and(|mut file| {
            let mut left = wanted;
            while left > 0 {
                let piece = left.min(PIECE_BYTES);
                let bytes = vec![0; usize::try_from(piece).unwrap_or(0)];
                let written = if left > piece {
                    file.write_all(&bytes).is_ok()
                } else {
                    write_durably(file.as_mut(), &bytes, &path).is_ok()
                };
                if !written {
                    return false;
                }
                left -= piece;
            }
            true
        });
        if !made {
            // Half a ballast takes the last room away from those for whom it is meant.
            let _ = self.fs.remove(&path);
        }
        made
    }
}
