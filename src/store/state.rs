//! The small file beside the segments: which epochs there are, and up to where the cloud has each of them.
//! It is replaced as a whole at each acknowledgement. One line of JSON and one line with its CRC32.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::files::{read_bounded, write_atomically};
use super::limits::{MAX_CLOSED_EPOCHS, MAX_STATE_BYTES};
use super::{Epoch, Seq, StoreError};
use crate::sys::Fs;

/// What is known of one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EpochState {
    /// Counts the epochs of this outbox from 1: their order, and the beginning of their files' names.
    pub generation: u32,
    pub epoch: u64,
    /// Everything up to here is held by the cloud.
    pub acknowledged: u64,
}

impl EpochState {
    pub fn epoch(&self) -> Epoch {
        Epoch(self.epoch)
    }

    pub fn acknowledged(&self) -> Seq {
        Seq(self.acknowledged)
    }
}

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// Format of the store; another one is not read.
    version: u32,
    /// The epoch that is being written.
    pub current: EpochState,
    /// Epochs that ended with damage and still have something to deliver, oldest first.
    pub closed: Vec<EpochState>,
}

const VERSION: u32 = 1;

impl State {
    pub fn new(current: EpochState, closed: Vec<EpochState>) -> Self {
        Self { version: VERSION, current, closed }
    }

    /// Replaces the file.
    pub fn save(&self, fs: &dyn Fs, path: &Path) -> Result<(), StoreError> {
        // Numbers in a struct always serialise; should they not, an unreadable file would be worse than an error.
        let json =
            serde_json::to_string(self).map_err(|error| StoreError::io("write", path)(std::io::Error::other(error)))?;
        let text = format!("{json}\n{:08x}\n", crc32fast::hash(json.as_bytes()));
        write_atomically(fs, path, text.as_bytes())
    }

    /// Reads the file: `Ok(None)` where there is none, `Ok(Some(Err))` where it is not what was written.
    pub fn load(fs: &dyn Fs, path: &Path) -> Result<Option<Result<Self, &'static str>>, StoreError> {
        match read_bounded(fs, path, MAX_STATE_BYTES) {
            Ok(bytes) => Ok(bytes.map(|bytes| Self::parse(&bytes))),
            Err(StoreError::FileTooLong { .. }) => Ok(Some(Err("the state file is too long"))),
            Err(error) => Err(error),
        }
    }

    fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        let text = std::str::from_utf8(bytes).map_err(|_| "the state file is not text")?;
        let (json, crc) = text.split_once('\n').ok_or("the state file is cut off")?;
        if crc != format!("{:08x}\n", crc32fast::hash(json.as_bytes())) {
            return Err("the state file does not match its checksum");
        }
        let state: Self = serde_json::from_str(json).map_err(|_| "the state file is not understood")?;
        if state.version != VERSION || state.closed.len() > MAX_CLOSED_EPOCHS || state.current.epoch == 0 {
            return Err("the state file is of another version of this program");
        }
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::FaultFs;

    #[test]
    fn no_flipped_bit_of_the_state_passes() {
        let fs = FaultFs::default();
        let path = Path::new("/d/state");
        let one = EpochState { generation: 1, epoch: u64::MAX, acknowledged: 7 };
        let state = State::new(EpochState { generation: 2, epoch: 5, acknowledged: 0 }, vec![one]);
        state.save(&fs, path).unwrap();
        assert_eq!(State::load(&fs, path).unwrap(), Some(Ok(state)));
        let length = fs.files()[0].1;
        for i in 0..length * 8 {
            fs.flip(path, i / 8, 1 << (i % 8));
            assert!(State::load(&fs, path).unwrap().unwrap().is_err(), "bit {i}");
            fs.flip(path, i / 8, 1 << (i % 8));
        }
        for cut in (0..length).rev() {
            fs.cut(path, cut);
            assert!(State::load(&fs, path).unwrap().unwrap().is_err(), "cut at {cut}");
        }
    }
}
