//! What was told since the ledger was last written whole: appended, so that an event costs some kilobytes of flash and not the
//! whole ledger. A line is the CRC-32 of its JSON, and the JSON.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::printer::history::Change;
use crate::sys::{Fs, SystemFs};

/// Past this length, in octets, the ledger is written whole and the log begins anew.
const LONGEST_BYTES: u64 = 4 << 20;

/// What was remembered together with events.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Line {
    /// Which writing of the whole ledger it follows.
    pub generation: u64,
    pub changes: Vec<Change>,
    /// How many events were told of each printer then.
    pub told: Vec<(String, u64)>,
}

/// The file.
#[derive(Debug)]
pub(super) struct LedgerLog {
    path: PathBuf,
    /// Whether a line can follow: it was begun, and nothing has failed since.
    is_whole: bool,
    bytes: u64,
}

impl LedgerLog {
    /// The log beside this ledger; also its lines, as far as they are whole. It is begun anew at the first append, so the ledger
    /// must be written whole before.
    pub fn open(ledger: &Path) -> (Self, Vec<Line>) {
        let path = ledger.with_extension("log");
        let most = usize::try_from(LONGEST_BYTES * 2).unwrap_or(usize::MAX);
        // A log that cannot be read is as one that is not there: the events in it are told again under the same ids.
        let bytes = SystemFs.read_at(&path, 0, most).unwrap_or_default();
        let lines = bytes.split(|byte| *byte == b'\n').map_while(parse).collect();
        (Self { path, is_whole: false, bytes: 0 }, lines)
    }

    /// Whether it is so long that the ledger is to be written whole.
    pub fn is_long(&self) -> bool {
        self.bytes > LONGEST_BYTES
    }

    /// Begins anew.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn begin(&mut self) -> io::Result<()> {
        self.is_whole = false;
        self.bytes = 0;
        SystemFs.create(&self.path)?;
        SystemFs.sync_dir(self.path.parent().unwrap_or(Path::new("/")))?;
        self.is_whole = true;
        Ok(())
    }

    /// Adds lines; they are durable when it returns.
    ///
    /// # Errors
    /// When the disk refuses, or [`begin`](Self::begin) has not succeeded since: the ledger is to be written whole then.
    pub fn append(&mut self, lines: &[Line]) -> io::Result<()> {
        let mut text = Vec::new();
        for line in lines {
            let json = serde_json::to_vec(line).map_err(io::Error::other)?;
            text.extend_from_slice(format!("{:08x} ", crc32fast::hash(&json)).as_bytes());
            text.extend_from_slice(&json);
            text.push(b'\n');
        }
        // After a failure nothing is appended to what may be half a line.
        if !std::mem::replace(&mut self.is_whole, false) {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let mut file = SystemFs.open_append(&self.path)?;
        file.write_all(&text)?;
        file.sync_data()?;
        self.is_whole = true;
        self.bytes += text.len() as u64;
        Ok(())
    }
}

fn parse(line: &[u8]) -> Option<Line> {
    let (crc, json) = line.split_at_checked(9)?;
    let crc = u32::from_str_radix(std::str::from_utf8(crc).ok()?.trim_end(), 16).ok()?;
    (crc == crc32fast::hash(json)).then(|| serde_json::from_slice(json).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(n: u64) -> Line {
        Line { generation: 1, changes: Vec::new(), told: vec![("serial:Acme:1".to_owned(), n)] }
    }

    #[test]
    fn whole_lines_come_back_and_what_follows_damage_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = folder.path().join("ledger.json");
        let (mut log, lines) = LedgerLog::open(&ledger);
        assert!(lines.is_empty());
        assert!(log.append(&[line(1)]).is_err(), "it was not begun");
        log.begin().unwrap();
        log.append(&[line(1), line(2)]).unwrap();
        log.append(&[line(3)]).unwrap();
        let told = |lines: Vec<Line>| lines.iter().map(|line| line.told[0].1).collect::<Vec<_>>();
        assert_eq!(told(LedgerLog::open(&ledger).1), [1, 2, 3]);
        let path = folder.path().join("ledger.log");
        let mut bytes = std::fs::read(&path).unwrap();
        let length = bytes.len();
        std::fs::write(&path, &bytes[..length - 5]).unwrap();
        assert_eq!(told(LedgerLog::open(&ledger).1), [1, 2]);
        bytes[length / 3 + 20] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(told(LedgerLog::open(&ledger).1), [1]);
    }
}
