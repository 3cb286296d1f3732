//! systemd-networkd: files of ours in its folder, which come before the system's own by their names, and `networkctl`, which makes it
//! read them.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use super::backend::{Backend, BackendError, run};
use super::{Ipv4, Settings};
use crate::sys::{Fs, SystemFs};

/// The files: of the interface; and where there is a VLAN, what it is, and what is in it.
const NETWORK: &str = "10-platen.network";
const NETDEV: &str = "10-platen.netdev";
const VLAN_NETWORK: &str = "10-platen-vlan.network";
/// The interface of the VLAN (IFNAMSIZ: 15 characters).
const VLAN_INTERFACE: &str = "platen-vlan";
const HEAD: &str = "# Written by platen (console command \"network\"): changes here are lost.\n";

/// systemd-networkd, as far as one interface goes.
#[derive(Debug)]
pub struct Networkd {
    folder: PathBuf,
    networkctl: PathBuf,
    interface: String,
}

impl Networkd {
    /// With its folder (/etc/systemd/network), its program and the interface that the cable is in.
    #[must_use]
    pub fn new(folder: PathBuf, networkctl: PathBuf, interface: &str) -> Self {
        Self { folder, networkctl, interface: interface.to_owned() }
    }

    fn tell(&self, words: &[&str]) -> Result<(), BackendError> {
        run(&self.networkctl, words).map(drop)
    }
}

impl Backend for Networkd {
    fn name(&self) -> &'static str {
        "systemd-networkd"
    }

    fn apply(&self, settings: Option<&Settings>) -> Result<(), BackendError> {
        let files = settings.map(|settings| files(settings, &self.interface)).unwrap_or_default();
        for name in [NETDEV, NETWORK, VLAN_NETWORK] {
            let path = self.folder.join(name);
            let text = files.iter().find(|(each, _)| *each == name).map(|(_, text)| text.as_str());
            replace(&path, text).map_err(|source| BackendError::File { path, source })?;
        }
        // A VLAN's id cannot be changed, and one that nobody wants any more stays otherwise. Where there is none, that is said.
        let _none = self.tell(&["delete", VLAN_INTERFACE]);
        self.tell(&["reload"])?;
        self.tell(&["reconfigure", &self.interface])
    }
}

/// Puts a text in the place of a file, or removes it; durably. Unlike the box's own files it must be read by another user.
fn replace(path: &Path, text: Option<&str>) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    match text {
        None => match SystemFs.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        },
        Some(text) => {
            // A name that networkd does not look at.
            let beside = path.with_extension("new");
            let mut file = SystemFs.create(&beside)?;
            file.write_all(text.as_bytes())?;
            file.sync_data()?;
            std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o644))?;
            SystemFs.rename(&beside, path)?;
        }
    }
    SystemFs.sync_dir(path.parent().unwrap_or(path))
}

/// The files and what stands in them (systemd.network(5), systemd.netdev(5)).
fn files(settings: &Settings, interface: &str) -> Vec<(&'static str, String)> {
    let Some(id) = settings.vlan else { return vec![(NETWORK, network(settings, interface))] };
    let outer = format!(
        "{HEAD}[Match]\nName={interface}\n\n[Network]\nVLAN={VLAN_INTERFACE}\nDHCP=no\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n"
    );
    let netdev = format!("{HEAD}[NetDev]\nName={VLAN_INTERFACE}\nKind=vlan\n\n[VLAN]\nId={id}\n");
    vec![(NETDEV, netdev), (NETWORK, outer), (VLAN_NETWORK, network(settings, VLAN_INTERFACE))]
}

fn network(settings: &Settings, interface: &str) -> String {
    let mut text = format!("{HEAD}[Match]\nName={interface}\n\n[Network]\n");
    let mut line = |line: std::fmt::Arguments<'_>| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{line}");
    };
    match &settings.ipv4 {
        Ipv4::Dhcp => line(format_args!("DHCP=ipv4")),
        Ipv4::Static { address, prefix, gateway } => {
            line(format_args!("DHCP=no\nAddress={address}/{prefix}\nGateway={gateway}"));
        }
    }
    for server in &settings.dns {
        line(format_args!("DNS={server}"));
    }
    let (link_local, accept) = if settings.ipv6 { ("ipv6", "yes") } else { ("no", "no") };
    line(format_args!("LinkLocalAddressing={link_local}\nIPv6AcceptRA={accept}"));
    if !settings.dns.is_empty() {
        line(format_args!("\n[DHCPv4]\nUseDNS=no\n\n[DHCPv6]\nUseDNS=no\n\n[IPv6AcceptRA]\nUseDNS=no"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_say_what_was_set_and_nothing_else() {
        let mut settings = Settings::default();
        let dhcp = "[Match]\nName=eth0\n\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=ipv6\nIPv6AcceptRA=yes\n";
        assert_eq!(files(&settings, "eth0"), [(NETWORK, format!("{HEAD}{dhcp}"))]);
        settings = Settings {
            ipv4: Ipv4::Static { address: [10, 0, 0, 7].into(), prefix: 24, gateway: [10, 0, 0, 1].into() },
            dns: vec![[10, 0, 0, 53].into()],
            vlan: Some(7),
            ipv6: false,
        };
        let all = files(&settings, "eth0");
        assert_eq!(all.iter().map(|(name, _)| *name).collect::<Vec<_>>(), [NETDEV, NETWORK, VLAN_NETWORK]);
        assert!(all[0].1.ends_with("Name=platen-vlan\nKind=vlan\n\n[VLAN]\nId=7\n"));
        assert!(all[1].1.contains("Name=eth0\n\n[Network]\nVLAN=platen-vlan\n"));
        let inner = "Name=platen-vlan\n\n[Network]\nDHCP=no\nAddress=10.0.0.7/24\nGateway=10.0.0.1\nDNS=10.0.0.53\n\
                     LinkLocalAddressing=no\nIPv6AcceptRA=no\n\n[DHCPv4]\nUseDNS=no\n";
        assert!(all[2].1.contains(inner), "{}", all[2].1);
    }

    #[test]
    fn files_are_replaced_and_removed_and_the_program_is_told() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (etc, log) = (folder.path().join("etc"), folder.path().join("log"));
        std::fs::create_dir(&etc).unwrap();
        let program = folder.path().join("networkctl");
        let script = format!("#!/bin/sh\necho \"$*\" >> {}\n[ \"$1\" != delete ]\n", log.display());
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let backend = Networkd::new(etc.clone(), program, "eth0");
        let names = || {
            let mut names = SystemFs.list(&etc).unwrap();
            names.sort();
            names
        };
        backend.apply(Some(&Settings { vlan: Some(7), ..Settings::default() })).unwrap();
        assert_eq!(names(), [VLAN_NETWORK, NETDEV, NETWORK]);
        let mode = std::fs::metadata(etc.join(NETWORK)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o644);
        backend.apply(Some(&Settings::default())).unwrap();
        assert_eq!(names(), [NETWORK]);
        backend.apply(None).unwrap();
        assert!(names().is_empty());
        let told = std::fs::read_to_string(&log).unwrap();
        assert_eq!(told, "delete platen-vlan\nreload\nreconfigure eth0\n".repeat(3));
        std::fs::write(folder.path().join("networkctl"), "#!/bin/sh\necho no bus >&2\nexit 1\n").unwrap();
        let error = backend.apply(None).unwrap_err().to_string();
        assert!(error.contains("networkctl reload") && error.contains("no bus"), "{error}");
    }
}
