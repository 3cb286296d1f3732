//! Goes through the items of a segment file one after the other, a window of the file in memory at a time.

use std::io;
use std::path::{Path, PathBuf};

use super::StoreError;
use super::record::{Flaw, Head, Item, MAX_ITEM_BYTES, RECORD_HEAD_BYTES, read_head, read_item};
use crate::sys::Fs;

/// Read at once: some hundreds of short records. A longer item is read whole.
const WINDOW_BYTES: usize = 128 * 1024;

/// Why a walk cannot go on.
#[derive(Debug)]
pub(super) enum Obstacle {
    Io(io::Error),
    Flaw(Flaw),
}

impl Obstacle {
    /// As an error of reading this file.
    pub fn at(self, path: &Path) -> StoreError {
        match self {
            Self::Io(cause) => StoreError::io("read", path)(cause),
            Self::Flaw(flaw) => StoreError::Damaged { path: path.to_owned(), what: flaw.what() },
        }
    }
}

/// A place in a segment file.
pub(super) struct Walk<'a> {
    fs: &'a dyn Fs,
    pub path: PathBuf,
    /// Offset in the file of the item that comes next.
    pub offset: u64,
    /// The file counts up to here.
    end: u64,
    window: Vec<u8>,
    /// Where the next item begins in the window.
    start: usize,
}

impl<'a> Walk<'a> {
    /// Begins at `offset`, where an item begins; what lies behind `end` is not looked at.
    pub fn new(fs: &'a dyn Fs, path: PathBuf, offset: u64, end: u64) -> Self {
        Self { fs, path, offset, end, window: Vec::new(), start: 0 }
    }

    /// Sees that so many bytes are in memory, or all there are; answers with those.
    fn fill(&mut self, wanted: usize) -> Result<&[u8], Obstacle> {
        let left = usize::try_from(self.end.saturating_sub(self.offset)).unwrap_or(usize::MAX);
        if self.window.len().saturating_sub(self.start) < wanted.min(left) {
            let bytes = wanted.max(WINDOW_BYTES).min(left);
            self.window = self.fs.read_at(&self.path, self.offset, bytes).map_err(Obstacle::Io)?;
            self.start = 0;
        }
        Ok(self.window.get(self.start..).unwrap_or_default())
    }

    /// The head of the next item; `None` at the end.
    pub fn head(&mut self) -> Result<Option<Head>, Obstacle> {
        match self.fill(RECORD_HEAD_BYTES)? {
            [] => Ok(None),
            bytes => read_head(bytes).map(Some).map_err(Obstacle::Flaw),
        }
    }

    /// The next item, checked, and its length in bytes; `None` at the end.
    pub fn item(&mut self) -> Result<Option<(Item<'_>, usize)>, Obstacle> {
        let Some(head) = self.head()? else { return Ok(None) };
        let bytes = self.fill(head.bytes().min(MAX_ITEM_BYTES))?;
        read_item(bytes).map(Some).map_err(Obstacle::Flaw)
    }

    /// The next so many bytes as they are in the file.
    pub fn raw(&mut self, bytes: usize) -> Result<&[u8], Obstacle> {
        self.fill(bytes)?.get(..bytes).ok_or(Obstacle::Flaw(Flaw::CutOff))
    }

    /// Goes on by an item of this length.
    pub fn pass(&mut self, bytes: usize) {
        self.offset = self.offset.saturating_add(bytes as u64);
        self.start = self.start.saturating_add(bytes).min(self.window.len());
    }
}
