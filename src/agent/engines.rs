//! The SNMPv3 engines of printers, kept over a restart: a small file beside the inventory. It holds no secret. What is
//! wrong in it costs one more exchange with that printer, so a damaged file is no more than a line in the log.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::snmp::KnownEngine;
use crate::store::{read_bounded, write_atomically};
use crate::sys::Clock;

/// Name of the file in the data folder.
const FILE: &str = "snmp-engines.json";
/// Largest such file, in bytes: 4,096 engines of some 150 bytes each.
const FILE_MAX_BYTES: usize = 1024 * 1024;

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// By which the seconds are brought up to date; a clock that was set meanwhile costs one exchange.
    at_unix_ms: u64,
    engines: Vec<KeptEngine>,
}

#[derive(Debug, Serialize, Deserialize)]
struct KeptEngine {
    address: std::net::SocketAddr,
    /// In hexadecimal digits.
    engine_id: String,
    boots: u32,
    time_s: u32,
}

/// The file.
#[derive(Debug, Clone)]
pub(super) struct EngineFile(PathBuf);

impl EngineFile {
    pub(super) fn in_data_dir(folder: &std::path::Path) -> Self {
        Self(folder.join(FILE))
    }

    /// The engines that were known before, with their clocks carried on to now.
    pub(super) fn load(&self, clock: &impl Clock) -> Vec<KnownEngine> {
        let kept: Kept =
            match read_bounded(&self.0, FILE_MAX_BYTES).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?)) {
                Ok(kept) => kept,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
                Err(error) => {
                    tracing::warn!(%error, file = %self.0.display(), "SNMPv3 engines are discovered anew");
                    return Vec::new();
                }
            };
        let elapsed_s = clock.wall_unix_ms().saturating_sub(kept.at_unix_ms) / 1_000;
        let elapsed_s = u32::try_from(elapsed_s).unwrap_or(u32::MAX);
        let known = |engine: KeptEngine| {
            Some(KnownEngine {
                target: engine.address,
                engine_id: from_hex(&engine.engine_id)?,
                boots: engine.boots,
                time_s: engine.time_s.saturating_add(elapsed_s),
            })
        };
        kept.engines.into_iter().filter_map(known).collect()
    }

    /// Keeps the engines that have answered.
    pub(super) fn save(&self, engines: Vec<KnownEngine>, clock: &impl Clock) -> io::Result<()> {
        let engines = engines.into_iter().map(|engine| KeptEngine {
            address: engine.target,
            engine_id: engine.engine_id.iter().map(|octet| format!("{octet:02x}")).collect(),
            boots: engine.boots,
            time_s: engine.time_s,
        });
        let kept = Kept { at_unix_ms: clock.wall_unix_ms(), engines: engines.collect() };
        write_atomically(&self.0, &serde_json::to_vec(&kept)?)
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{SystemClock, SystemEntropy};

    #[test]
    fn what_is_kept_comes_back_and_what_is_damaged_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = EngineFile::in_data_dir(folder.path());
        let clock = SystemClock::start(&SystemEntropy).unwrap();
        let engine = KnownEngine {
            target: "10.0.0.1:161".parse().unwrap(),
            engine_id: vec![0x80, 0, 0x0b, 0xff],
            boots: 7,
            time_s: 1_000,
        };
        assert_eq!(file.load(&clock), []);
        file.save(vec![engine.clone()], &clock).unwrap();
        let kept = file.load(&clock);
        assert_eq!((kept.len(), kept[0].target, kept[0].boots), (1, engine.target, 7));
        assert_eq!(kept[0].engine_id, engine.engine_id);
        assert!(kept[0].time_s >= 1_000);
        for damaged in [
            "{",
            "{\"at_unix_ms\":0,\"engines\":[{\"address\":\"10.0.0.1:161\",\"engine_id\":\"8x\",\"boots\":1,\"time_s\":1}]}",
        ] {
            std::fs::write(&file.0, damaged).unwrap();
            assert_eq!(file.load(&clock), [], "{damaged}");
        }
    }
}
