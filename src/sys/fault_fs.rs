//! A file system in memory for tests: it can fail its n-th call, stop as a killed process does, and lose power.
//!
//! It is meaner than a real disk where it may be: after a power cut only what was synced is certain; of the rest any
//! part may have arrived, cut at any byte or with foreign bytes in it, and any subset of unsynced names. A failed sync
//! behaves as on Linux: the bytes stay readable, the next sync succeeds, and they are not on the disk all the same.
//! Only for tests and simulated worlds: a lock that is poisoned or a file that is not there ends them.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, missing_docs)] // it is part of the tests

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Fs, FsFile, FsLock};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// This one call fails with this error.
    Once(io::ErrorKind),
    /// This call and all after it fail, until [`FaultFs::repair`]: the disk is dead.
    ForEver(io::ErrorKind),
    /// From this call on the disk is read-only, until [`FaultFs::repair`]: reading works, as after Linux has remounted a file
    /// system with errors.
    ReadOnly,
    /// The process is killed in this call: no later call has any effect, until [`FaultFs::repair`] lets the next
    /// process begin. What was written stays in the kernel's memory.
    Killed,
}

#[derive(Debug, Default)]
struct Inode {
    /// As the program sees it.
    live: Vec<u8>,
    /// As it is on the disk for certain.
    durable: Vec<u8>,
    /// Bytes whose sync failed: readable, taken for clean by the kernel, and not on the disk.
    lost: Vec<Range<usize>>,
}

#[derive(Debug, Clone)]
enum NameChange {
    Link(PathBuf, usize),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf, usize),
}

#[derive(Debug, Default)]
struct Disk {
    inodes: Vec<Inode>,
    live: BTreeMap<PathBuf, usize>,
    durable: BTreeMap<PathBuf, usize>,
    unsynced: Vec<NameChange>,
    locks: BTreeSet<PathBuf>,
    calls: u64,
    fault: Option<(u64, Fault)>,
    writes: u64,
    syncs: u64,
    /// What all files together may take, where there is a limit.
    capacity: Option<usize>,
}

impl Disk {
    /// Counts a call that changes nothing; says whether it is to fail.
    fn call(&mut self) -> io::Result<()> {
        self.calls += 1;
        match self.fault {
            Some((_, Fault::ReadOnly)) => Ok(()),
            Some((nth, Fault::Once(kind))) if self.calls == nth => Err(kind.into()),
            Some((nth, Fault::ForEver(kind))) if self.calls >= nth => Err(kind.into()),
            Some((nth, Fault::Killed)) if self.calls >= nth => Err(io::ErrorKind::BrokenPipe.into()),
            _ => Ok(()),
        }
    }

    /// Counts a call that changes something; says whether it is to fail.
    fn change_call(&mut self) -> io::Result<()> {
        self.call()?;
        match self.fault {
            Some((nth, Fault::ReadOnly)) if self.calls >= nth => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
            _ => Ok(()),
        }
    }

    /// How many bytes can still be written.
    fn room(&self) -> usize {
        let used = |capacity: usize| {
            let inodes: BTreeSet<_> = self.live.values().collect();
            capacity.saturating_sub(inodes.iter().map(|inode| self.inodes[**inode].live.len()).sum())
        };
        self.capacity.map_or(usize::MAX, used)
    }

    /// Whether the process was killed in an earlier call than this one.
    fn was_killed(&self) -> bool {
        matches!(self.fault, Some((nth, Fault::Killed)) if self.calls > nth)
    }

    fn inode(&self, path: &Path) -> io::Result<usize> {
        self.live.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn apply(names: &mut BTreeMap<PathBuf, usize>, change: &NameChange) {
        match change {
            NameChange::Link(path, inode) => {
                names.insert(path.clone(), *inode);
            }
            NameChange::Unlink(path) => {
                names.remove(path);
            }
            NameChange::Rename(from, to, inode) => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
        }
    }

    fn change(&mut self, change: NameChange) {
        Self::apply(&mut self.live, &change);
        self.unsynced.push(change);
    }
}

/// The file system; clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct FaultFs(Arc<Mutex<Disk>>);

impl FaultFs {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap()
    }

    /// Lets the n-th call from now on (1 is the next) go wrong.
    pub fn fail(&self, nth: u64, fault: Fault) {
        let mut disk = self.disk();
        disk.calls = 0;
        disk.fault = Some((nth, fault));
    }

    /// Lets everything work again; says whether the fault had struck.
    pub fn repair(&self) -> bool {
        let mut disk = self.disk();
        let calls = disk.calls;
        disk.fault.take().is_some_and(|(nth, _)| calls >= nth)
    }

    /// Gives the disk a size, or takes the limit away.
    pub fn set_capacity(&self, bytes: Option<usize>) {
        self.disk().capacity = bytes;
    }

    /// Whether the process was killed in one of its calls: it does nothing any more.
    #[must_use]
    pub fn is_killed(&self) -> bool {
        let disk = self.disk();
        matches!(disk.fault, Some((nth, Fault::Killed)) if disk.calls >= nth)
    }

    /// How many writes and how many file syncs there have been.
    pub fn writes_and_syncs(&self) -> (u64, u64) {
        let disk = self.disk();
        (disk.writes, disk.syncs)
    }

    /// The power fails. `random` decides what of the unsynced has arrived.
    pub fn crash(&self, random: &mut fastrand::Rng) {
        let mut disk = self.disk();
        let unsynced = std::mem::take(&mut disk.unsynced);
        let mut names = disk.durable.clone();
        let in_order = random.bool();
        let arrived = random.usize(0..=unsynced.len());
        for (i, change) in unsynced.iter().enumerate() {
            // A journal keeps the order; other file systems keep what they like.
            if if in_order { i < arrived } else { random.bool() } {
                Disk::apply(&mut names, change);
            }
        }
        disk.live = names.clone();
        disk.durable = names;
        for inode in &mut disk.inodes {
            let mut found = inode.durable.clone();
            if inode.live.len() >= found.len() && inode.live.starts_with(&found) {
                let kept = random.usize(found.len()..=inode.live.len());
                let synced = found.len();
                found = inode.live[..kept].to_vec();
                if kept > synced && random.u8(0..3) == 0 {
                    // The length arrived before the data: zeros, or what was on the disk before.
                    let hole = random.usize(synced..kept);
                    let foreign = if random.bool() { 0 } else { random.u8(..) };
                    found[hole..].fill(foreign);
                }
                for range in &inode.lost {
                    let end = range.end.min(found.len());
                    if range.start < end {
                        found[range.start..end].fill(0);
                    }
                }
            } else if random.bool() {
                // A cut that was not synced has arrived all the same.
                found.truncate(inode.live.len());
            }
            inode.lost.clear();
            inode.live = found.clone();
            inode.durable = found;
        }
        disk.locks.clear();
        disk.fault = None;
    }

    /// Turns over bits of one byte of a file, on the disk and in memory.
    pub fn flip(&self, path: &Path, offset: usize, mask: u8) {
        let mut disk = self.disk();
        let inode = disk.inode(path).unwrap();
        disk.inodes[inode].live[offset] ^= mask;
        disk.inodes[inode].durable = disk.inodes[inode].live.clone();
    }

    /// Cuts a file short on the disk and in memory.
    pub fn cut(&self, path: &Path, length: usize) {
        let mut disk = self.disk();
        let inode = disk.inode(path).unwrap();
        disk.inodes[inode].live.truncate(length);
        disk.inodes[inode].durable = disk.inodes[inode].live.clone();
    }

    /// All files and their lengths.
    pub fn files(&self) -> Vec<(PathBuf, usize)> {
        let disk = self.disk();
        disk.live.iter().map(|(path, inode)| (path.clone(), disk.inodes[*inode].live.len())).collect()
    }

    /// What lies on the disk, in files, and where files were: all of it.
    pub fn raw(&self) -> Vec<u8> {
        self.disk().inodes.iter().flat_map(|inode| [&*inode.durable, b"|"].concat()).collect()
    }

    /// Puts the contents of another disk in the place of this one's, as who writes an old image onto a memory card.
    pub fn put_back(&self, image: &Self) {
        let copy = image.copy();
        let mut target = self.disk();
        std::mem::swap(&mut *target, &mut *copy.disk());
    }

    /// A second disk with the same contents.
    pub fn copy(&self) -> Self {
        let copy = Self::default();
        let source = self.disk();
        {
            let mut target = copy.disk();
            for (path, inode) in &source.live {
                let bytes = source.inodes[*inode].live.clone();
                target.inodes.push(Inode { durable: bytes.clone(), live: bytes, lost: Vec::new() });
                let new = target.inodes.len() - 1;
                target.live.insert(path.clone(), new);
            }
            target.durable = target.live.clone();
            target.capacity = source.capacity;
        }
        drop(source);
        copy
    }
}

impl Fs for FaultFs {
    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        self.disk().call()
    }

    fn list_folders(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut disk = self.disk();
        disk.call()?;
        let below = |path: &PathBuf| {
            let mut parts = path.strip_prefix(dir).ok()?.components();
            let first = parts.next()?.as_os_str().to_str()?.to_owned();
            parts.next().map(|_| first)
        };
        Ok(disk.live.keys().filter_map(below).collect::<BTreeSet<_>>().into_iter().collect())
    }

    fn remove_folder(&self, _dir: &Path) -> io::Result<()> {
        self.disk().change_call()
    }

    fn overwrite(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.change_call()?;
        let inode = disk.inode(path)?;
        disk.inodes[inode].live.fill(0);
        disk.inodes[inode].lost.clear();
        disk.change_call()?;
        disk.inodes[inode].durable = disk.inodes[inode].live.clone();
        Ok(())
    }

    fn clear_free_space(&self, _dir: &Path, _filler: &str) -> io::Result<()> {
        let mut disk = self.disk();
        disk.change_call()?;
        let used: BTreeSet<_> = disk.live.values().chain(disk.durable.values()).copied().collect();
        for (at, inode) in disk.inodes.iter_mut().enumerate() {
            if !used.contains(&at) {
                *inode = Inode::default();
            }
        }
        Ok(())
    }

    fn partition_bytes(&self, _path: &Path) -> io::Result<u64> {
        let mut disk = self.disk();
        disk.call()?;
        Ok(disk.capacity.map_or(u64::MAX, |bytes| bytes as u64))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn FsFile>> {
        let mut disk = self.disk();
        disk.change_call()?;
        let inode = match disk.inode(path) {
            Ok(inode) => {
                disk.inodes[inode].live.clear();
                disk.inodes[inode].lost.clear();
                inode
            }
            Err(_) => {
                disk.inodes.push(Inode::default());
                let inode = disk.inodes.len() - 1;
                disk.change(NameChange::Link(path.to_owned(), inode));
                inode
            }
        };
        Ok(Box::new(OpenFile { fs: self.clone(), inode }))
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn FsFile>> {
        let mut disk = self.disk();
        disk.change_call()?;
        let inode = disk.inode(path)?;
        Ok(Box::new(OpenFile { fs: self.clone(), inode }))
    }

    fn read_at(&self, path: &Path, offset: u64, max_bytes: usize) -> io::Result<Vec<u8>> {
        let mut disk = self.disk();
        disk.call()?;
        let inode = disk.inode(path)?;
        let bytes = &disk.inodes[inode].live;
        let start = usize::try_from(offset).unwrap().min(bytes.len());
        let end = start.saturating_add(max_bytes).min(bytes.len());
        Ok(bytes[start..end].to_vec())
    }

    fn drop_cache(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.call()?;
        let inode = disk.inode(path)?;
        let inode = &mut disk.inodes[inode];
        for range in inode.lost.drain(..) {
            inode.live[range].fill(0);
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut disk = self.disk();
        disk.call()?;
        let inside = disk.live.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.change_call()?;
        let inode = disk.inode(from)?;
        disk.change(NameChange::Rename(from.to_owned(), to.to_owned(), inode));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.change_call()?;
        disk.inode(path)?;
        disk.change(NameChange::Unlink(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.change_call()?;
        let unsynced = std::mem::take(&mut disk.unsynced);
        for change in unsynced {
            let path = match &change {
                NameChange::Link(path, _) | NameChange::Unlink(path) | NameChange::Rename(path, ..) => path,
            };
            // Renaming is within a folder here.
            if path.parent() == Some(dir) {
                Disk::apply(&mut disk.durable, &change);
            } else {
                disk.unsynced.push(change);
            }
        }
        Ok(())
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<FsLock>> {
        let mut disk = self.disk();
        disk.change_call()?;
        if !disk.locks.insert(path.to_owned()) {
            return Ok(None);
        }
        Ok(Some(FsLock::new(HeldLock { fs: self.clone(), path: path.to_owned() })))
    }
}

struct HeldLock {
    fs: FaultFs,
    path: PathBuf,
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        self.fs.disk().locks.remove(&self.path);
    }
}

struct OpenFile {
    fs: FaultFs,
    inode: usize,
}

impl FsFile for OpenFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.fs.disk();
        disk.writes += 1;
        let mut result = disk.change_call();
        if disk.was_killed() || matches!(disk.fault, Some((_, Fault::ReadOnly))) && result.is_err() {
            return result;
        }
        // A write that fails has written a part.
        let mut written = if result.is_ok() { bytes.len() } else { bytes.len() * 2 / 3 };
        if written > disk.room() {
            written = disk.room();
            result = Err(io::ErrorKind::StorageFull.into());
        }
        disk.inodes[self.inode].live.extend_from_slice(&bytes[..written]);
        result
    }

    fn sync_data(&mut self) -> io::Result<()> {
        let mut disk = self.fs.disk();
        disk.syncs += 1;
        let result = disk.change_call();
        if matches!(disk.fault, Some((_, Fault::Killed))) && result.is_err() {
            return result;
        }
        let inode = &mut disk.inodes[self.inode];
        match result {
            Ok(()) => {
                inode.durable = inode.live.clone();
                for range in &inode.lost {
                    inode.durable[range.clone()].fill(0);
                }
            }
            Err(_) if inode.live.len() > inode.durable.len() => {
                let range = inode.durable.len()..inode.live.len();
                inode.lost.push(range);
            }
            Err(_) => {}
        }
        result
    }

    fn set_len(&mut self, bytes: u64) -> io::Result<()> {
        let mut disk = self.fs.disk();
        disk.change_call()?;
        let bytes = usize::try_from(bytes).unwrap();
        let inode = &mut disk.inodes[self.inode];
        inode.live.truncate(bytes);
        inode.lost.retain_mut(|range| {
            range.end = range.end.min(bytes);
            range.start < range.end
        });
        Ok(())
    }
}
