//! The console's `network` command with the real systemd-networkd and the real NetworkManager, each on a network of its own with a bus
//! of its own: addresses, routes and VLANs come and go as they were set, and what a power cut has interrupted is undone.
//!
//! Needs root, unshare(1), ip(8), dbus-daemon and whichever of the two there is; says so where it is skipped. NetworkManager is not
//! installed for it by anybody: on a machine without, that would take the machine's own network.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed unwrap is a failed test

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::{have, text, wait_until};
use platen::console::network::{Backend, Ipv4, Network, NetworkManager, Networkd, Settings, TrialEnd, choose};

/// Says to the part of the test that runs inside which of the two it has to do with.
const INSIDE: &str = "PLATEN_NETWORK_INSIDE";
/// Everything that the two write goes where nobody else sees it. /sys that cannot be written says to both that there is no udev.
const COMMON: &str = "set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir -p /run/dbus /run/systemd/netif/links /run/systemd/netif/leases /run/systemd/netif/lldp /run/NetworkManager
mount -t sysfs -o ro sysfs /sys
ip link set lo up
ip link add eth0 type veth peer name far
ip link set far up
dbus-daemon --system --fork --nopidfile\n";
const NETWORKD: &str = "mount -t tmpfs tmpfs /etc/systemd/network
chown -R systemd-network:systemd-network /run/systemd/netif
SYSTEMD_LOG_LEVEL=warning /lib/systemd/systemd-networkd &\n";
const NETWORK_MANAGER: &str = "mount -t tmpfs tmpfs /etc/NetworkManager
mount -t tmpfs tmpfs /var/lib/NetworkManager
mkdir -p /etc/NetworkManager/system-connections
cat > /etc/NetworkManager/NetworkManager.conf <<END
[main]
plugins=keyfile
dns=none
no-auto-default=*
auth-polkit=false
[device-eth0]
match-device=interface-name:eth0
managed=1
END
NetworkManager --no-daemon > /run/nm.log 2>&1 &\n";

/// Runs this very test inside. The first process inside is the script; when it ends, so does everything that it started.
fn inside(which: &str, script: &str) {
    let run = "\"$0\" --exact inside_of_a_network_of_its_own --ignored --nocapture";
    let output = Command::new("unshare")
        .args(["--net", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", &format!("{COMMON}{script}{run}")])
        .arg(std::env::current_exe().unwrap())
        .env(INSIDE, which)
        .output()
        .unwrap();
    let said = text(&output);
    assert!(output.status.success() && said.contains("1 passed"), "{which}: {said}");
    said.lines().filter(|line| line.contains("SKIPPED")).for_each(|line| println!("{which}: {line}"));
    println!("{which}: set, tried, undone");
}

/// Whether namespaces with mounts of their own can be made.
fn can_unshare() -> bool {
    let can = have("unshare")
        && have("ip")
        && have("dbus-daemon")
        && Command::new("unshare").args(["--net", "--mount", "--pid", "--fork", "true"]).status().unwrap().success();
    if !can {
        eprintln!("SKIPPED: no namespaces can be made here (not root?)");
    }
    can
}

#[test]
fn systemd_networkd_makes_the_network_as_it_was_set_and_as_it_was_before() {
    if !can_unshare() || !have("networkctl") || !Path::new("/lib/systemd/systemd-networkd").is_file() {
        return;
    }
    inside("systemd-networkd", NETWORKD);
}

#[test]
fn network_manager_makes_the_network_as_it_was_set_and_as_it_was_before() {
    if !Path::new("/usr/bin/nmcli").is_file() {
        eprintln!("SKIPPED: NetworkManager is not installed");
        return;
    }
    if can_unshare() {
        inside("NetworkManager", NETWORK_MANAGER);
    }
}

fn ip(words: &[&str]) -> String {
    text(&Command::new("ip").args(words).output().unwrap())
}

fn at(last: u8) -> Settings {
    Settings {
        ipv4: Ipv4::Static { address: [10, 9, 9, last].into(), prefix: 24, gateway: [10, 9, 9, 1].into() },
        dns: vec![[10, 9, 9, 1].into()],
        vlan: None,
        ipv6: false,
    }
}

/// How long anything may take here, on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Whether this kernel can make a VLAN.
fn has_vlans() -> bool {
    let made = ip(&["link", "add", "link", "eth0", "name", "trial", "type", "vlan", "id", "99"]);
    let _gone = ip(&["link", "del", "trial"]);
    made.is_empty()
}

fn has(interface: &str, address: &str) -> bool {
    ip(&["addr", "show", "dev", interface]).contains(&format!("inet {address}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by the others of this file, inside of a network of its own"]
async fn inside_of_a_network_of_its_own() {
    let Ok(which) = std::env::var(INSIDE) else { return };
    // It takes a moment to start.
    wait_until("its start", || choose("eth0").is_ok_and(|backend| backend.name() == which));
    let backend = || -> Box<dyn Backend> {
        match which.as_str() {
            "NetworkManager" => Box::new(NetworkManager::new("/usr/bin/nmcli".into(), "eth0")),
            _ => Box::new(Networkd::new("/etc/systemd/network".into(), PathBuf::from("/usr/bin/networkctl"), "eth0")),
        }
    };
    wait_until("its bus", || backend().apply(None).is_ok());
    let folder = tempfile::tempdir().unwrap();
    let network = || Network::new(folder.path(), backend());
    let never = || std::future::pending::<()>();

    let passes = async || has("eth0", "10.9.9.2/");
    let ended = tokio::time::timeout(LIMIT, network().try_out(at(2), passes, never())).await;
    assert_eq!(ended.unwrap().unwrap(), TrialEnd::Passed, "{}", ip(&["addr"]));
    wait_until("the route", || ip(&["route"]).contains("default via 10.9.9.1 dev eth0"));

    // The power fails while other settings are tried; the next start has the old ones again.
    let (tried, on_trial) = (network(), at(3));
    let cut = async {
        tokio::select! {
            ended = tried.try_out(on_trial, async || false, never()) => panic!("{ended:?}"),
            () = until(|| has("eth0", "10.9.9.3/")) => {}
        }
    };
    tokio::time::timeout(LIMIT, cut).await.unwrap();
    assert!(network().recover().await.unwrap());
    wait_until("the old address", || has("eth0", "10.9.9.2/") && !has("eth0", "10.9.9.3/"));

    // Somebody types `keep`.
    let keep = until(|| has("eth0", "10.9.9.4/"));
    let ended = tokio::time::timeout(LIMIT, network().try_out(at(4), async || false, keep)).await;
    assert_eq!(ended.unwrap().unwrap(), TrialEnd::Kept);
    assert_eq!(network().settings(), at(4));

    let is_vlan = |id: &str| ip(&["-details", "link", "show", "platen-vlan"]).contains(&format!("id {id} "));
    if has_vlans() {
        for (id, shown) in [(7, "7"), (8, "8")] {
            let passes = async || is_vlan(shown) && has("platen-vlan", "10.9.9.5/");
            let in_vlan = Settings { vlan: Some(id), ..at(5) };
            let ended = tokio::time::timeout(LIMIT, network().try_out(in_vlan, passes, never())).await;
            assert_eq!(ended.unwrap().unwrap(), TrialEnd::Passed, "{}", ip(&["-details", "addr"]));
            wait_until("nothing outside of the VLAN", || !has("eth0", "10.9.9."));
        }
    } else {
        println!("SKIPPED: VLANs; this kernel has none (8021q), so only what is said about them is read");
        backend().apply(Some(&Settings { vlan: Some(7), ..at(5) })).unwrap();
    }

    backend().apply(None).unwrap();
    wait_until("all of it gone", || !ip(&["addr"]).contains("10.9.9.") && !ip(&["link"]).contains("platen-vlan"));
}
