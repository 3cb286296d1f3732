//! NetworkManager: a connection of ours, which comes before others by its priority, made and unmade by `nmcli`.

use std::net::IpAddr;
use std::path::PathBuf;

use super::backend::{Backend, BackendError, run};
use super::{Ipv4, Settings};

/// The connection that has the address; and where that is in a VLAN, the one of the interface itself.
const CONNECTION: &str = "platen";
const OUTER: &str = "platen-outer";
/// The interface of the VLAN (IFNAMSIZ: 15 characters).
const VLAN_INTERFACE: &str = "platen-vlan";
/// Before all that were not made by hand.
const PRIORITY: &str = "900";
/// How long a connection may take to come up, in seconds: less than the limit of a program. What takes longer, as DHCP where there
/// is none, goes on behind; whether it came up the test finds out.
const UP_LIMIT_S: &str = "15";

/// NetworkManager, as far as one interface goes.
#[derive(Debug)]
pub struct NetworkManager {
    nmcli: PathBuf,
    interface: String,
}

impl NetworkManager {
    /// With its program and the interface that the cable is in.
    #[must_use]
    pub fn new(nmcli: PathBuf, interface: &str) -> Self {
        Self { nmcli, interface: interface.to_owned() }
    }

    /// Whether it runs and has the interface.
    pub(super) fn has_the_interface(&self) -> bool {
        let said = run(&self.nmcli, &["--terse", "--fields", "GENERAL.STATE", "device", "show", &self.interface]);
        // "10 (unmanaged)", "20 (unavailable)", …; an error where it does not run.
        said.is_ok_and(|said| said.contains("GENERAL.STATE:") && !said.contains(":10 "))
    }

    fn tell(&self, words: &[String]) -> Result<(), BackendError> {
        run(&self.nmcli, &words.iter().map(String::as_str).collect::<Vec<_>>()).map(drop)
    }
}

impl Backend for NetworkManager {
    fn name(&self) -> &'static str {
        "NetworkManager"
    }

    fn apply(&self, settings: Option<&Settings>) -> Result<(), BackendError> {
        for connection in [CONNECTION, OUTER] {
            // Where there is none, that is said.
            let _none = self.tell(&words(&["connection", "delete", "id", connection]));
        }
        let Some(settings) = settings else {
            // Its own choice: what was there before, or what it makes by itself. It may have none.
            let _none = self.tell(&words(&["--wait", UP_LIMIT_S, "device", "connect", &self.interface]));
            return Ok(());
        };
        for connection in connections(settings, &self.interface) {
            self.tell(&connection)?;
        }
        for connection in [OUTER, CONNECTION].iter().skip(usize::from(settings.vlan.is_none())) {
            let up = self.tell(&words(&["--wait", UP_LIMIT_S, "connection", "up", "id", connection]));
            if let Err(error) = up {
                tracing::info!(%error, "the connection is not up yet");
            }
        }
        Ok(())
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// The words that add the connections (nm-settings-nmcli(5)).
fn connections(settings: &Settings, interface: &str) -> Vec<Vec<String>> {
    let add = |name: &str, more: &[&str]| {
        let mut add = words(&["connection", "add", "con-name", name, "connection.autoconnect-priority", PRIORITY]);
        add.extend(words(more));
        add
    };
    let mut inner = match settings.vlan {
        None => add(CONNECTION, &["type", "ethernet", "ifname", interface]),
        Some(id) => {
            let id = id.to_string();
            add(CONNECTION, &["type", "vlan", "ifname", VLAN_INTERFACE, "dev", interface, "id", &id])
        }
    };
    match &settings.ipv4 {
        Ipv4::Dhcp => inner.extend(words(&["ipv4.method", "auto"])),
        Ipv4::Static { address, prefix, gateway } => {
            inner.extend(words(&["ipv4.method", "manual", "ipv4.addresses", &format!("{address}/{prefix}")]));
            inner.extend(words(&["ipv4.gateway", &gateway.to_string()]));
        }
    }
    inner.extend(words(&["ipv6.method", if settings.ipv6 { "auto" } else { "disabled" }]));
    if !settings.dns.is_empty() {
        for (family, is_of_it) in [("ipv4", IpAddr::is_ipv4 as fn(&IpAddr) -> bool), ("ipv6", IpAddr::is_ipv6)] {
            let servers: Vec<String> = settings.dns.iter().filter(|ip| is_of_it(ip)).map(ToString::to_string).collect();
            inner.extend([format!("{family}.ignore-auto-dns"), "yes".to_owned()]);
            // It takes no servers of a family that is switched off.
            if !servers.is_empty() && (family == "ipv4" || settings.ipv6) {
                inner.extend([format!("{family}.dns"), servers.join(" ")]);
            }
        }
    }
    let none = ["type", "ethernet", "ifname", interface, "ipv4.method", "disabled", "ipv6.method", "disabled"];
    let outer = settings.vlan.map(|_| add(OUTER, &none));
    outer.into_iter().chain([inner]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nmcli_is_told_what_was_set_in_words_of_its_own() {
        let told =
            |settings: &Settings| connections(settings, "eth0").iter().map(|words| words.join(" ")).collect::<Vec<_>>();
        let head = "connection add con-name platen connection.autoconnect-priority 900 type";
        assert_eq!(
            told(&Settings::default()),
            [format!("{head} ethernet ifname eth0 ipv4.method auto ipv6.method auto")]
        );
        let settings = Settings {
            ipv4: Ipv4::Static { address: [10, 0, 0, 7].into(), prefix: 24, gateway: [10, 0, 0, 1].into() },
            dns: vec![[10, 0, 0, 53].into(), "fd00::53".parse().unwrap(), [10, 0, 0, 54].into()],
            vlan: Some(7),
            ipv6: true,
        };
        let inner = format!(
            "{head} vlan ifname platen-vlan dev eth0 id 7 ipv4.method manual ipv4.addresses 10.0.0.7/24 ipv4.gateway 10.0.0.1 \
             ipv6.method auto ipv4.ignore-auto-dns yes ipv4.dns 10.0.0.53 10.0.0.54 ipv6.ignore-auto-dns yes ipv6.dns fd00::53"
        );
        let all = told(&settings);
        assert_eq!((all.len(), &all[1]), (2, &inner));
        assert!(all[0].contains("con-name platen-outer") && all[0].contains("ipv4.method disabled"));
    }
}
