//! The few file operations that durable rooms need, and what each of them promises after a power cut.
//!
//! Looked at and not taken: the crates `cap-std` and `vfs` (much wider than needed, and neither can lose power).

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::fcntl::{OFlag, PosixFadviseAdvice, posix_fadvise};

/// Readings and inventories are nobody else's business on the box.
const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;
/// Bytes that are written at once where zeros are.
const ZEROS: usize = 1 << 20;
/// Most free space that is filled with zeros: some minutes on a slow card. What lies beyond is only discarded.
const FILL_MAX_BYTES: usize = 4 << 30;

/// A file system. All paths are used as given; nothing is followed or expanded.
pub trait Fs: Send + Sync {
    /// Makes the folder and its parents where they are missing.
    ///
    /// # Errors
    /// The operating system's.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// Makes an empty file, in the place of one that is there. The name is durable after [`sync_dir`](Self::sync_dir).
    ///
    /// # Errors
    /// The operating system's.
    fn create(&self, path: &Path) -> io::Result<Box<dyn FsFile>>;

    /// Opens an existing file for writing at its end.
    ///
    /// # Errors
    /// The operating system's.
    fn open_append(&self, path: &Path) -> io::Result<Box<dyn FsFile>>;

    /// Reads at most `max_bytes` from `offset` on; less means that the file ends there.
    ///
    /// # Errors
    /// The operating system's.
    fn read_at(&self, path: &Path, offset: u64, max_bytes: usize) -> io::Result<Vec<u8>>;

    /// Lets the next reads of a file come from the disk and not from the kernel's memory. After a failed sync the two can
    /// differ: the kernel takes the bytes for written. What is not written yet stays in memory.
    ///
    /// # Errors
    /// The operating system's.
    fn drop_cache(&self, path: &Path) -> io::Result<()>;

    /// Names of the files in a folder, in no order; names that are not UTF-8 are left out (this program makes none).
    ///
    /// # Errors
    /// The operating system's.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Gives a file another name, in the place of a file that has it: at every moment one of the two is there.
    /// Durable after [`sync_dir`](Self::sync_dir).
    ///
    /// # Errors
    /// The operating system's.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Durable after [`sync_dir`](Self::sync_dir).
    ///
    /// # Errors
    /// The operating system's.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes names durable: what was created, renamed and removed in this folder.
    ///
    /// # Errors
    /// The operating system's. Then it is unknown what is durable; asking again proves nothing.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes the lock of a file (made where missing) for as long as the answer lives; `None` when another has it.
    ///
    /// # Errors
    /// The operating system's.
    fn try_lock(&self, path: &Path) -> io::Result<Option<FsLock>>;

    /// Names of the folders in a folder, in no order; a link to one is none.
    ///
    /// # Errors
    /// The operating system's.
    fn list_folders(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Removes an empty folder. Durable after [`sync_dir`](Self::sync_dir) of the one that holds it.
    ///
    /// # Errors
    /// The operating system's.
    fn remove_folder(&self, dir: &Path) -> io::Result<()>;

    /// Puts zeros in the place of a file's bytes, where they lie, durably. Follows no link; what is no file is left alone.
    ///
    /// # Errors
    /// The operating system's; some of the bytes may be overwritten then.
    fn overwrite(&self, path: &Path) -> io::Result<()>;

    /// Puts zeros into the space of this folder's partition that no file uses, and tells the device that it holds nothing: what
    /// was removed durably can no longer be read from the partition. Nothing is done on the partition of the system itself. Two limits: where the device takes no such word, the few per
    /// cent of its blocks that ext4 keeps back for itself are not reached; and flash keeps old pages where no partition shows
    /// them, until it erases them. Makes a file of that name meanwhile.
    ///
    /// # Errors
    /// The operating system's, but that the disk is full.
    fn clear_free_space(&self, dir: &Path, filler: &str) -> io::Result<()>;

    /// The size of the partition on which this path lies, used or not, in bytes.
    ///
    /// # Errors
    /// The operating system's.
    fn partition_bytes(&self, path: &Path) -> io::Result<u64>;
}

/// An open file.
pub trait FsFile: Send {
    /// Writes all bytes at the end of the file. Durable after [`sync_data`](Self::sync_data).
    ///
    /// # Errors
    /// The operating system's; some of the bytes may be written then.
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes the contents and the length durable.
    ///
    /// # Errors
    /// The operating system's. Then it is unknown what is durable, and a second call may falsely succeed
    /// (<https://lwn.net/Articles/752063/>): never retry.
    fn sync_data(&mut self) -> io::Result<()>;

    /// Cuts the file off at this length.
    ///
    /// # Errors
    /// The operating system's.
    fn set_len(&mut self, bytes: u64) -> io::Result<()>;
}

/// A held lock; released when dropped, and by the operating system when the process ends in whatever way.
pub struct FsLock(#[expect(dead_code, reason = "held for its drop")] Box<dyn Send + Sync>);

impl FsLock {
    /// Wraps whatever releases the lock when it is dropped.
    pub fn new(guard: impl Send + Sync + 'static) -> Self {
        Self(Box::new(guard))
    }
}

impl std::fmt::Debug for FsLock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FsLock")
    }
}

/// The operating system's file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemFs;

impl Fs for SystemFs {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn FsFile>> {
        // Emptied by hand and opened for appending, so that both ways of opening write at the end.
        let file = OpenOptions::new().create(true).append(true).mode(FILE_MODE).open(path)?;
        file.set_len(0)?;
        Ok(Box::new(file))
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn FsFile>> {
        Ok(Box::new(OpenOptions::new().append(true).open(path)?))
    }

    fn read_at(&self, path: &Path, offset: u64, max_bytes: usize) -> io::Result<Vec<u8>> {
        let file = File::open(path)?;
        let left = usize::try_from(file.metadata()?.len().saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; max_bytes.min(left)];
        let mut read = 0;
        while let Some(rest) = bytes.get_mut(read..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, offset + read as u64) {
                Ok(0) => break,
                Ok(n) => read += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(read);
        Ok(bytes)
    }

    fn drop_cache(&self, path: &Path) -> io::Result<()> {
        let file = File::open(path)?;
        Ok(posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<FsLock>> {
        let file = OpenOptions::new().create(true).append(true).mode(FILE_MODE).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(FsLock::new(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn list_folders(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn remove_folder(&self, dir: &Path) -> io::Result<()> {
        std::fs::remove_dir(dir)
    }

    fn overwrite(&self, path: &Path) -> io::Result<()> {
        if !std::fs::symlink_metadata(path)?.is_file() {
            return Ok(());
        }
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let mut file = OpenOptions::new().write(true).custom_flags(flags.bits()).open(path)?;
        let mut left = file.metadata()?.len();
        let zeros = vec![0; ZEROS];
        while left > 0 {
            let part = zeros.get(..usize::try_from(left).unwrap_or(ZEROS)).unwrap_or(&zeros);
            Write::write_all(&mut file, part)?;
            left -= part.len() as u64;
        }
        file.sync_all()
    }

    fn clear_free_space(&self, dir: &Path, filler: &str) -> io::Result<()> {
        // What was removed is free when the removal is on the disk.
        self.sync_dir(dir)?;
        // On a box the data has a partition of its own. That of the system is shared with programs that need its space.
        if std::fs::metadata(dir)?.dev() == std::fs::metadata("/")?.dev() {
            tracing::info!("the data lies on the system's partition, whose free space is left as it is");
            return Ok(());
        }
        let path = dir.join(filler);
        let filled = fill(&path);
        std::fs::remove_file(&path)?;
        filled?;
        self.sync_dir(dir)?;
        // The rest, and what the device can do by itself. Not every device, file system and user may.
        let discarded = Command::new("fstrim").arg(dir).stdin(Stdio::null()).output();
        if !discarded.is_ok_and(|output| output.status.success()) {
            tracing::info!("the free space of the disk cannot be discarded; it was overwritten");
        }
        Ok(())
    }

    fn partition_bytes(&self, path: &Path) -> io::Result<u64> {
        let found = nix::sys::statvfs::statvfs(path)?;
        Ok(found.blocks().saturating_mul(found.fragment_size()))
    }
}

/// Makes a file of zeros that takes all free space, or as much as is filled at most.
fn fill(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(FILE_MODE).open(path)?;
    let (mut piece, mut left) = (ZEROS, FILL_MAX_BYTES);
    let zeros = vec![0; ZEROS];
    // Smaller and smaller pieces take the last blocks.
    while piece > 0 && left > 0 {
        match file.write(zeros.get(..piece.min(left)).unwrap_or(&zeros)) {
            Ok(written) if written > 0 => left -= written,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(_) => piece /= 16,
            Err(error) if is_full(&error) => piece /= 16,
            Err(error) => return Err(error),
        }
    }
    match file.sync_all() {
        Err(error) if !is_full(&error) => Err(error),
        _ => Ok(()),
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

impl FsFile for File {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        Write::write_all(self, bytes)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn set_len(&mut self, bytes: u64) -> io::Result<()> {
        File::set_len(self, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_written_is_read_from_any_offset_and_only_by_the_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let mut file = SystemFs.create(&path).unwrap();
        file.write_all(b"hello ").unwrap();
        file.write_all(b"world").unwrap();
        file.set_len(8).unwrap();
        file.write_all(b"!").unwrap();
        assert_eq!(SystemFs.read_at(&path, 6, 100).unwrap(), b"wo!");
        assert_eq!(SystemFs.read_at(&path, 99, 100).unwrap(), b"");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(SystemFs.list(folder.path()).unwrap(), ["a"]);
        SystemFs.drop_cache(&path).unwrap();
        assert_eq!(SystemFs.read_at(&path, 0, 100).unwrap(), b"hello wo!", "what is not written yet is not lost");
        SystemFs.create(&path).unwrap();
        assert_eq!(SystemFs.read_at(&path, 0, 100).unwrap(), b"");
    }

    #[test]
    fn a_partition_has_a_size() {
        let folder = tempfile::tempdir().unwrap();
        assert!(SystemFs.partition_bytes(folder.path()).unwrap() > 1_000_000);
        assert!(SystemFs.partition_bytes(&folder.path().join("missing")).is_err());
    }

    #[test]
    fn a_lock_is_held_once_and_free_again_when_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let lock = SystemFs.try_lock(&path).unwrap();
        assert!(lock.is_some());
        assert!(SystemFs.try_lock(&path).unwrap().is_none());
        drop(lock);
        assert!(SystemFs.try_lock(&path).unwrap().is_some());
    }
}
