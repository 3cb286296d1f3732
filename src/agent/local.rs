//! What was set at the box itself, over its console: it goes before the configuration file, and the cloud has no say in it.
//! A TOML file in the data folder, replaced whole.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Config;
use super::config::ProxyText;
use crate::discovery::{Fence, RangeError, Ranges};
use crate::store::{read_bounded, write_atomically};
use crate::uplink::{Proxy, ProxyMalformed};

/// Name of the file in the data folder.
const FILE: &str = "local.toml";
/// Largest such file, in bytes.
const FILE_MAX_BYTES: usize = 64 * 1024;

/// What was set. What is absent is as the configuration, or the cloud, has it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LocalSettings {
    /// What the box may ask at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fence: Option<Vec<String>>,
    /// Where to look until the cloud says otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ranges: Option<Vec<String>>,
    /// The proxy, as in the configuration; empty where there is to be none although the configuration names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<ProxyText>,
    /// Whether printers' own pages may be looked at from the portal. `false` goes before whatever the cloud says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnel_allowed: Option<bool>,
    /// Whether the light stays dark while nothing is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub led_muted: Option<bool>,
}

/// Why settings are not taken.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The file cannot be read or written.
    #[error("cannot {act} {path}: {source}. If it stays so, replace the memory card")]
    Disk {
        /// "read" or "write".
        act: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's words.
        source: io::Error,
    },
    /// The file is no TOML, or has a key that does not exist.
    #[error("{path} is not valid: delete it, and set again what was set at the console")]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// A range or the fence cannot be used.
    #[error("{key}: {source}")]
    Range {
        /// "ranges" or "fence".
        key: &'static str,
        /// What is wrong with it.
        source: RangeError,
    },
    /// The fence would let nothing through.
    #[error("fence: give at least one range; without one the box could ask nobody")]
    EmptyFence,
    /// The proxy cannot be used.
    #[error("proxy: {0}")]
    Proxy(#[from] ProxyMalformed),
}

impl LocalSettings {
    /// Reads what was set; nothing where there is no such file.
    ///
    /// # Errors
    /// When it cannot be read or used. It is not taken for empty: a fence that was set would be gone.
    pub fn load(data_dir: &Path) -> Result<Self, LocalError> {
        let path = data_dir.join(FILE);
        let bytes = match read_bounded(&path, FILE_MAX_BYTES) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(LocalError::Disk { act: "read", path, source }),
            Ok(bytes) => Zeroizing::new(bytes),
        };
        // The parser's own words may quote a password.
        let settings: Self = std::str::from_utf8(&bytes)
            .ok()
            .and_then(|text| toml::from_str(text).ok())
            .ok_or(LocalError::Damaged { path })?;
        settings.check()?;
        Ok(settings)
    }

    /// Checks and keeps it, durably.
    ///
    /// # Errors
    /// When a value cannot be used, or the disk refuses; then what was set before holds.
    pub fn save(&self, data_dir: &Path) -> Result<(), LocalError> {
        self.check()?;
        let path = data_dir.join(FILE);
        let text = toml::to_string(self).map(Zeroizing::new).map_err(io::Error::other);
        let written = text.and_then(|text| {
            std::fs::create_dir_all(data_dir)?;
            write_atomically(&path, text.as_bytes())
        });
        written.map_err(|source| LocalError::Disk { act: "write", path, source })
    }

    /// Whether every value can be used, by the parsers that will use it.
    ///
    /// # Errors
    /// Names the first that cannot, and how it is written.
    pub fn check(&self) -> Result<(), LocalError> {
        let range = |key| move |source| LocalError::Range { key, source };
        if let Some(fence) = &self.fence {
            Fence::parse(fence).map_err(range("fence"))?;
            if fence.is_empty() {
                return Err(LocalError::EmptyFence);
            }
        }
        if let Some(ranges) = &self.ranges {
            Ranges::parse(ranges).map_err(range("ranges"))?;
        }
        if let Some(proxy) = self.proxy.as_ref().filter(|proxy| !proxy.is_none()) {
            proxy.parse()?;
        }
        Ok(())
    }

    /// Puts what was set over a configuration. What has no place there (the tunnel, the light) is asked for here.
    pub fn overlay(&self, config: &mut Config) {
        if let Some(fence) = &self.fence {
            config.lan.fence = Some(fence.clone());
        }
        if let Some(ranges) = &self.ranges {
            config.lan.ranges.clone_from(ranges);
        }
        if let Some(proxy) = &self.proxy {
            config.cloud.proxy = Some(proxy.clone()).filter(|proxy| !proxy.is_none());
        }
    }
}

impl ProxyText {
    /// A proxy as it is written.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }

    /// Whether it stands for no proxy at all.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// The proxy.
    ///
    /// # Errors
    /// When it is not written as one is.
    pub fn parse(&self) -> Result<Proxy, ProxyMalformed> {
        Proxy::parse(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str =
        "data_dir = \"d\"\nruntime_dir = \"r\"\n[cloud]\nroot_domain = \"localhost\"\ngrpc = \"https://localhost:1\"
mqtt = \"wss://localhost:1/mqtt\"\nproxy = \"old.example:3128\"\n[lan]\nranges = [\"10.0.0.0/24\"]\n";

    fn strings(items: &[&str]) -> Option<Vec<String>> {
        Some(items.iter().map(|item| (*item).to_owned()).collect())
    }

    #[test]
    fn what_was_set_is_kept_and_goes_before_the_configuration() {
        let folder = tempfile::tempdir().unwrap();
        assert!(LocalSettings::load(folder.path()).unwrap().ranges.is_none());
        let settings = LocalSettings {
            fence: strings(&["192.168.0.0/16"]),
            ranges: strings(&["192.168.1.0/24", "!192.168.1.7"]),
            proxy: Some(ProxyText::new("http://user:pass@proxy.example:8080")),
            tunnel_allowed: Some(false),
            led_muted: None,
        };
        settings.save(folder.path()).unwrap();
        let loaded = LocalSettings::load(folder.path()).unwrap();
        assert_eq!(loaded.tunnel_allowed, Some(false));
        let mut config: Config = toml::from_str(CONFIG).unwrap();
        loaded.overlay(&mut config);
        assert_eq!(config.lan.fence, strings(&["192.168.0.0/16"]));
        assert_eq!(config.lan.ranges.len(), 2);
        assert_eq!(config.endpoints().unwrap().proxy.unwrap().authority(), "proxy.example:8080");
        LocalSettings { proxy: Some(ProxyText::new("")), ..loaded }.overlay(&mut config);
        assert!(config.endpoints().unwrap().proxy.is_none(), "no proxy at all can be set too");
    }

    #[test]
    fn nothing_that_cannot_be_used_is_written_or_believed() {
        let folder = tempfile::tempdir().unwrap();
        let with = |change: fn(&mut LocalSettings)| {
            let mut settings = LocalSettings::default();
            change(&mut settings);
            settings.save(folder.path()).unwrap_err().to_string()
        };
        assert!(with(|s| s.ranges = strings(&["10.0.0.0/40"])).contains("ranges: "));
        assert!(with(|s| s.fence = strings(&["10.0.0.300"])).contains("10.0.0.300"));
        assert!(with(|s| s.fence = strings(&["printer.example"])).contains("fence: "));
        assert!(with(|s| s.fence = Some(Vec::new())).contains("at least one"));
        let refused = with(|s| s.proxy = Some(ProxyText::new("http://user:S3CRET@")));
        assert!(refused.contains("HOST:PORT") && !refused.contains("S3CRET"), "{refused}");
        assert!(!folder.path().join(FILE).exists());
        std::fs::write(folder.path().join(FILE), "proxy = \"S3CRET").unwrap();
        let damaged = LocalSettings::load(folder.path()).unwrap_err().to_string();
        assert!(
            damaged.contains("local.toml") && damaged.contains("delete it") && !damaged.contains("S3CRET"),
            "{damaged}"
        );
    }
}
