//! What the cloud set, kept across restarts: ranges and rhythm. The fence is not among it and cannot be.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::discovery::Ranges;
use crate::proto::times::{READ_TIMES_MAX, minutes_of_day};
use crate::proto::v1;
use crate::store::{read_or_set_aside, write_atomically};

/// Largest settings file, in bytes.
const FILE_MAX_BYTES: usize = 256 * 1024;

/// Settings of the cloud.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloudSettings {
    /// As the cloud counts them; 0 before the first.
    pub revision: u64,
    /// Where to look; empty: what the box's own configuration says.
    pub ranges: Vec<String>,
    /// Between two readings of each printer, in seconds; 0: what the box's own configuration says.
    pub read_interval_s: u32,
    /// Times of the day at which printers are read besides, "HH:MM" in UTC.
    #[serde(default)]
    pub read_times_utc: Vec<String>,
    /// Between two light looks at each printer, in seconds; 0: what the box's own configuration says.
    #[serde(default)]
    pub look_interval_s: u32,
    #[serde(skip)]
    path: PathBuf,
}

impl CloudSettings {
    /// Reads what was kept; nothing kept is the default, and a damaged file is set aside: the cloud tells it again.
    #[must_use]
    pub fn open(path: PathBuf) -> Self {
        let kept = read_or_set_aside(&path, FILE_MAX_BYTES);
        Self { path, ..kept }
    }

    /// Takes a configuration of the cloud. Ranges that cannot be read leave the old ones in force: half a set of
    /// ranges would silently lose printers.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub fn take(&mut self, config: v1::BoxConfig) -> io::Result<()> {
        self.revision = config.revision;
        self.read_interval_s = config.read_interval_s;
        self.look_interval_s = config.look_interval_s;
        self.read_times_utc = config.read_times_utc;
        self.read_times_utc.retain(|time| minutes_of_day(time).is_some());
        self.read_times_utc.truncate(READ_TIMES_MAX);
        match Ranges::parse(&config.ranges) {
            Ok(_) => self.ranges = config.ranges,
            Err(_) if config.ranges.is_empty() => self.ranges = Vec::new(),
            Err(error) => tracing::warn!(%error, "the cloud's ranges cannot be read; the old ones stay in force"),
        }
        let bytes = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        write_atomically(&self.path, &bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_survive_a_restart_and_bad_ranges_change_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cloud-settings.json");
        let mut settings = CloudSettings::open(path.clone());
        let good = v1::BoxConfig {
            revision: 7,
            ranges: vec!["10.0.0.0/24".to_owned()],
            read_interval_s: 60,
            ..Default::default()
        };
        settings.take(good).unwrap();
        let bad = v1::BoxConfig { revision: 8, ranges: vec!["10.0.0.0/99".to_owned()], ..Default::default() };
        settings.take(bad).unwrap();
        let kept = CloudSettings::open(path);
        assert_eq!((kept.revision, kept.ranges), (8, vec!["10.0.0.0/24".to_owned()]));
    }
}
