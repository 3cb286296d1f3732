//! The box's own configuration: a TOML file. Unknown keys are errors, so that a typing error is not a silent default.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::printer::{ProfileKey, ProfileSetError};
use crate::snmp::{AuthAlgorithm, Credentials, PrivacyAlgorithm, Timing, UsmUser};
use crate::uplink::{Endpoint, Proxy, RootDomain, Scheme};

/// Largest configuration file, in bytes.
const FILE_MAX_BYTES: u64 = 256 * 1024;
/// Most credentials that are tried on a device: each costs every silent address a request.
const CREDENTIALS_MAX: usize = 8;

/// What the box was told when it was set up.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What must survive: outbox, inventory, identity.
    pub data_dir: PathBuf,
    /// What may vanish at a restart: status, sockets.
    pub runtime_dir: PathBuf,
    /// The cloud.
    pub cloud: CloudSection,
    /// Where printers are looked for.
    #[serde(default)]
    pub lan: LanSection,
    /// How they are asked.
    #[serde(default)]
    pub snmp: SnmpSection,
    /// How often.
    #[serde(default)]
    pub schedule: ScheduleSection,
    /// Vendor profiles besides the built-in ones.
    #[serde(default)]
    pub profiles: ProfilesSection,
    /// The device that this firmware runs on.
    #[serde(default)]
    pub device: DeviceSection,
}

/// `[device]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceSection {
    /// What is on the label: a TOML file with `serial` and `secret`, written in the factory.
    #[serde(default)]
    pub label: Option<PathBuf>,
    /// Pins, LED and serial line: a `board.toml`. Without it the box has neither LED nor button.
    #[serde(default)]
    pub board: Option<PathBuf>,
    /// A secret of this very chip (a file of at least 16 bytes that the hardware or systemd protects), by which keys are sealed.
    #[serde(default)]
    pub seal: Option<PathBuf>,
}

impl DeviceSection {
    /// The board's name: that of the folder of its `board.toml`.
    #[must_use]
    pub fn model(&self) -> String {
        let folder = self.board.as_deref().and_then(Path::parent).and_then(Path::file_name);
        folder.map_or_else(|| "generic".to_owned(), |name| name.to_string_lossy().into_owned())
    }
}

/// `[profiles]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfilesSection {
    /// The public key by which profiles in DATA/profiles are signed: 64 hexadecimal digits (Ed25519). Without it none is used.
    #[serde(default)]
    pub key: Option<String>,
}

impl ProfilesSection {
    /// The key.
    ///
    /// # Errors
    /// When it is not one.
    pub fn key(&self) -> Result<Option<ProfileKey>, ProfileSetError> {
        self.key.as_deref().map(str::parse).transpose()
    }
}

/// `[cloud]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloudSection {
    /// The domain under which both endpoints must lie.
    pub root_domain: String,
    /// `https://HOST[:PORT]`
    pub grpc: String,
    /// `wss://HOST[:PORT]/PATH` or `mqtts://HOST[:PORT]`
    pub mqtt: String,
    /// The relay through which printers' own pages are opened: `ssh://HOST[:PORT]`. Left out where there is none.
    #[serde(default)]
    pub relay: Option<String>,
    /// The pinned roots and the cloud's signing key (PEM), for a box that is not enrolled yet.
    #[serde(default)]
    pub roots: Option<PathBuf>,
    /// An HTTP proxy: `HOST:PORT`, or `http://USER:PASSWORD@HOST:PORT` (basic authentication).
    #[serde(default)]
    pub proxy: Option<ProxyText>,
}

/// Where the proxy is, as it is written; there may be a password in it, so it is shown nowhere.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProxyText(pub(super) zeroize::Zeroizing<String>);

impl std::fmt::Debug for ProxyText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProxyText(…)")
    }
}

/// `[lan]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LanSection {
    /// Where to look until the cloud says otherwise.
    #[serde(default)]
    pub ranges: Vec<String>,
    /// What the box may ask at all; private addresses when absent. The cloud can narrow this and never widen it.
    #[serde(default)]
    pub fence: Option<Vec<String>>,
    /// Whether to read the text on printers' panels, which may show a person's name. Off by default.
    #[serde(default)]
    pub panel_text: bool,
}

/// `[snmp]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SnmpSection {
    /// UDP port of the agents.
    pub port: u16,
    /// Communities for v2c and v1, tried in this order.
    pub communities: Vec<String>,
    /// SNMPv3 users, tried before the communities.
    pub users: Vec<UserSection>,
    /// First wait for an answer, in milliseconds.
    pub timeout_ms: u64,
    /// Further tries.
    pub retries: u32,
    /// Packets per second while addresses are searched. Left out: 64 in attached networks and 200 behind routers. Attached
    /// networks are never searched faster than the kernel bears (a quarter of gc_thresh3, so usually 256). Known printers
    /// are read with 200, or this where it is more.
    pub packets_per_second: Option<u32>,
}

impl Default for SnmpSection {
    fn default() -> Self {
        Self {
            port: 161,
            communities: vec!["public".to_owned()],
            users: Vec::new(),
            timeout_ms: 2_000,
            retries: 2,
            packets_per_second: None,
        }
    }
}

/// `[[snmp.users]]`
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserSection {
    /// User name.
    pub name: String,
    /// SHA-1, SHA-256, …; absent: noAuthNoPriv.
    #[serde(default)]
    pub auth: Option<String>,
    /// At least 8 characters.
    #[serde(default)]
    pub auth_password: Option<String>,
    /// AES-128, …; absent: authNoPriv.
    #[serde(default)]
    pub privacy: Option<String>,
    /// At least 8 characters.
    #[serde(default)]
    pub privacy_password: Option<String>,
    /// The context in which printers keep their objects for this user; mostly none.
    #[serde(default)]
    pub context: String,
}

impl std::fmt::Debug for UserSection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserSection").field("name", &self.name).finish_non_exhaustive()
    }
}

/// `[schedule]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScheduleSection {
    /// Between two polls of the cloud, in seconds, until the cloud says otherwise.
    pub poll_interval_s: u64,
    /// Between two readings of each printer, in seconds, until the cloud says otherwise.
    pub read_interval_s: u64,
    /// Between two light looks at each printer (status, alerts, total), in seconds; where readings are as frequent, there is
    /// none.
    pub status_interval_s: u64,
    /// Between two searches of the ranges, in seconds.
    pub scan_interval_s: u64,
}

impl Default for ScheduleSection {
    fn default() -> Self {
        Self { poll_interval_s: 300, read_interval_s: 3_600, status_interval_s: 60, scan_interval_s: 86_400 }
    }
}

/// Why a configuration is not usable.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration {path} cannot be read: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's words.
        source: std::io::Error,
    },
    /// The file is no TOML, or has a key that does not exist.
    #[error("the configuration {path} is not valid: {detail}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and what.
        detail: String,
    },
    /// A value cannot be used.
    #[error("{key} in the configuration: {detail}")]
    Value {
        /// The key.
        key: &'static str,
        /// What is wrong and what to write.
        detail: String,
    },
}

fn value_error(key: &'static str, detail: impl std::fmt::Display) -> ConfigError {
    ConfigError::Value { key, detail: detail.to_string() }
}

/// The checked endpoints of the cloud.
#[derive(Debug, Clone)]
pub struct CloudEndpoints {
    /// gRPC.
    pub grpc: Endpoint,
    /// MQTT.
    pub mqtt: Endpoint,
    /// SSH, where there is a relay.
    pub relay: Option<Endpoint>,
    /// The way there.
    pub proxy: Option<Proxy>,
}

impl Config {
    /// Reads and checks a configuration file.
    ///
    /// # Errors
    /// Names the file, the key and what to write.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let read = |source| ConfigError::Read { path: path.to_owned(), source };
        let size = std::fs::metadata(path).map_err(read)?.len();
        if size > FILE_MAX_BYTES {
            let detail = format!("it is larger than {FILE_MAX_BYTES} bytes");
            return Err(ConfigError::Parse { path: path.to_owned(), detail });
        }
        let text = std::fs::read_to_string(path).map_err(read)?;
        let config: Self =
            toml::from_str(&text).map_err(|e| ConfigError::Parse { path: path.to_owned(), detail: e.to_string() })?;
        config.endpoints()?;
        config.snmp.credentials()?;
        Ok(config)
    }

    /// The endpoints, checked against the root domain.
    ///
    /// # Errors
    /// When one is malformed or lies outside.
    pub fn endpoints(&self) -> Result<CloudEndpoints, ConfigError> {
        let root: RootDomain = self.cloud.root_domain.parse().map_err(|e| value_error("cloud.root_domain", e))?;
        let grpc = Endpoint::parse(&self.cloud.grpc, &root).map_err(|e| value_error("cloud.grpc", e))?;
        let mqtt = Endpoint::parse(&self.cloud.mqtt, &root).map_err(|e| value_error("cloud.mqtt", e))?;
        if grpc.scheme() != Scheme::Https {
            return Err(value_error("cloud.grpc", "write https://HOST[:PORT]"));
        }
        if !matches!(mqtt.scheme(), Scheme::Wss | Scheme::Mqtts) {
            return Err(value_error("cloud.mqtt", "write wss://HOST[:PORT]/PATH or mqtts://HOST[:PORT]"));
        }
        let relay = self.cloud.relay.as_deref().map(|text| Endpoint::parse(text, &root)).transpose();
        let relay = relay.map_err(|e| value_error("cloud.relay", e))?;
        if relay.as_ref().is_some_and(|relay| relay.scheme() != Scheme::Ssh) {
            return Err(value_error("cloud.relay", "write ssh://HOST[:PORT]"));
        }
        let proxy = self.cloud.proxy.as_ref().map(|text| parse_proxy(&text.0)).transpose()?;
        Ok(CloudEndpoints { grpc, mqtt, relay, proxy })
    }
}

fn parse_proxy(text: &str) -> Result<Proxy, ConfigError> {
    Proxy::parse(text).map_err(|error| value_error("cloud.proxy", error))
}

impl SnmpSection {
    /// What is tried on a device, in this order: users, then each community by v2c, then by v1.
    ///
    /// # Errors
    /// When a user is incomplete, a password too short, or there is nothing, or too much, to try.
    pub fn credentials(&self) -> Result<Vec<Credentials>, ConfigError> {
        let mut all = Vec::new();
        for user in &self.users {
            all.push(Credentials::V3(user.to_usm_user()?));
        }
        for community in &self.communities {
            all.push(Credentials::V2c { community: community.as_str().into() });
        }
        for community in &self.communities {
            all.push(Credentials::V1 { community: community.as_str().into() });
        }
        if all.is_empty() {
            return Err(value_error("snmp", "give at least one community or one [[snmp.users]]"));
        }
        if all.len() > CREDENTIALS_MAX {
            let detail = format!(
                "{} credentials would be tried on every silent address (a community counts twice, v2c and v1); at most {CREDENTIALS_MAX}",
                all.len()
            );
            return Err(value_error("snmp", detail));
        }
        Ok(all)
    }

    /// Patience with one request.
    #[must_use]
    pub fn timing(&self) -> Timing {
        Timing { timeout: Duration::from_millis(self.timeout_ms.clamp(50, 10_000)), retries: self.retries.min(5) }
    }
}

impl UserSection {
    fn to_usm_user(&self) -> Result<UsmUser, ConfigError> {
        let key = "snmp.users";
        let auth = match (&self.auth, &self.auth_password) {
            (None, None) => None,
            (Some(algorithm), Some(password)) => {
                let algorithm: AuthAlgorithm = algorithm.parse().map_err(|e| value_error(key, e))?;
                Some((algorithm, password.as_str().into()))
            }
            _ => return Err(value_error(key, format!("{}: auth and auth_password go together", self.name))),
        };
        let privacy = match (&self.privacy, &self.privacy_password) {
            (None, None) => None,
            (Some(algorithm), Some(password)) => {
                let algorithm: PrivacyAlgorithm = algorithm.parse().map_err(|e| value_error(key, e))?;
                Some((algorithm, password.as_str().into()))
            }
            _ => return Err(value_error(key, format!("{}: privacy and privacy_password go together", self.name))),
        };
        UsmUser::new(&self.name, auth, privacy, &self.context).map_err(|e| value_error(key, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_asked_for_in_his_context() {
        let text = "[[users]]\nname = \"reader\"\ncontext = \"jetdirect\"\n[[users]]\nname = \"reader\"\n";
        let section: SnmpSection = toml::from_str(text).unwrap();
        let contexts: Vec<String> = section
            .credentials()
            .unwrap()
            .into_iter()
            .filter_map(|credentials| match credentials {
                Credentials::V3(user) => Some(user.context_name().to_owned()),
                Credentials::V1 { .. } | Credentials::V2c { .. } => None,
            })
            .collect();
        assert_eq!(contexts, ["jetdirect", ""]);
    }

    #[test]
    fn a_relay_is_one_of_ssh_below_the_root_domain() {
        let relay = |text: &str| {
            let config = format!(
                "data_dir = \"d\"\nruntime_dir = \"r\"\n[cloud]\nroot_domain = \"a.test\"\ngrpc = \"https://a.test\"\n\
                 mqtt = \"wss://a.test/mqtt\"\nrelay = \"{text}\"\n"
            );
            let config: Config = toml::from_str(&config).unwrap();
            config.endpoints().map(|endpoints| endpoints.relay.unwrap().authority()).map_err(|e| e.to_string())
        };
        assert_eq!(relay("ssh://r.a.test").unwrap(), "r.a.test:22");
        for (text, words) in [("ssh://b.test", "root domain"), ("https://a.test", "write ssh://HOST[:PORT]")] {
            assert!(relay(text).unwrap_err().contains(words), "{text}");
        }
    }
}
