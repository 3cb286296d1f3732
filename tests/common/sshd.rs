//! OpenSSH's sshd as a relay, on a port of its own, with the confinement that a relay has. It needs no root.

use std::path::PathBuf;
use std::process::Stdio;

use super::{Peer, command, free_tcp_port, have, text, wait_for_tcp, wait_until};

/// A relay; it ends when it is dropped.
pub struct Sshd {
    pub port: u16,
    /// Its host key, as it is pinned: "ssh-ed25519 AAAA…".
    pub host_key: String,
    /// The account: whoever runs the test.
    pub user: String,
    folder: tempfile::TempDir,
    process: Option<Peer>,
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Sshd {
    /// One that authorises these public keys, one a line. `None` where sshd is not installed.
    pub fn start(authorised: &str) -> Option<Self> {
        if !have("sshd") || !have("ssh-keygen") {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().display().to_string();
        let made = command("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "relay", "-f", &format!("{at}/host")])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", text(&made));
        let host_key = std::fs::read_to_string(folder.path().join("host.pub")).unwrap();
        std::fs::write(folder.path().join("authorised"), authorised).unwrap();
        let user = String::from_utf8(command("id").arg("-un").output().unwrap().stdout).unwrap().trim().to_owned();
        if user == "root" {
            // Where sshd, as root, puts its part without rights.
            std::fs::create_dir_all("/run/sshd").unwrap();
        }
        let port = free_tcp_port();
        std::fs::write(
            folder.path().join("sshd.conf"),
            format!(
                "Port {port}\nListenAddress 127.0.0.1\nHostKey {at}/host\nPidFile none\nUsePAM no\nStrictModes no\n\
                 AuthorizedKeysFile {at}/authorised\nAuthenticationMethods publickey\nAllowTcpForwarding remote\n\
                 AllowStreamLocalForwarding no\nGatewayPorts no\nMaxSessions 0\nPermitTTY no\nX11Forwarding no\n\
                 AllowAgentForwarding no\nPermitTunnel no\nPermitUserRC no\nMaxStartups 100\nLoginGraceTime 120\n\
                 PrintMotd no\nLogLevel VERBOSE\n"
            ),
        )
        .unwrap();
        let mut sshd = Self { port, host_key, user, folder, process: None };
        sshd.run();
        Some(sshd)
    }

    /// Starts it (again).
    pub fn run(&mut self) {
        let process = command("sshd")
            .args(["-D", "-f"])
            .arg(self.folder.path().join("sshd.conf"))
            .arg("-E")
            .arg(self.log_file())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        self.process = Some(Peer(process));
        wait_for_tcp(self.port);
    }

    /// Ends it, and the processes of its connections, which outlive it.
    pub fn stop(&mut self) {
        let Some(process) = self.process.take() else { return };
        let mut all = vec![process.0.id()];
        let mut seen = 0;
        while let Some(parent) = all.get(seen) {
            let children = children_of(*parent);
            all.extend(children);
            seen += 1;
        }
        let ids = all.iter().skip(1).map(u32::to_string);
        drop(process);
        let _ = command("kill").arg("-9").args(ids).stderr(Stdio::null()).status();
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// What it wrote down.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Waits until it has written this down.
    pub fn wait_for_log(&self, words: &str) {
        wait_until(&format!("sshd's \"{words}\""), || self.log().contains(words));
    }
}

fn children_of(parent: u32) -> Vec<u32> {
    let processes =
        std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let is_child = |pid: &u32| {
        // "pid (name) state parent …"; the name may hold anything, and ends with the last bracket.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after = stat.rsplit_once(") ").map(|(_, after)| after.to_owned()).unwrap_or_default();
        after.split(' ').nth(1).is_some_and(|ppid| ppid == parent.to_string())
    };
    processes.filter(is_child).collect()
}
