//! Proxies that customers have: Debian's tinyproxy and squid, with a user and a password where they are wanted.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{Peer, command, free_tcp_port, have, wait_for_tcp};

/// Which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    TinyProxy,
    Squid,
}

/// A running proxy.
pub struct HttpProxy {
    pub port: u16,
    folder: tempfile::TempDir,
    _process: Peer,
}

impl HttpProxy {
    /// Lets CONNECT pass to these ports; to whoever gives "user password", where there are such. `None` where it is not installed.
    pub fn start(kind: Kind, allowed_ports: &[u16], log_in: Option<(&str, &str)>) -> Option<Self> {
        if !have(if kind == Kind::Squid { "squid" } else { "tinyproxy" }) || !have("openssl") {
            return None;
        }
        let folder = folder_for_all();
        let port = free_tcp_port();
        let text = match kind {
            Kind::TinyProxy => tinyproxy(folder.path(), port, allowed_ports, log_in),
            Kind::Squid => {
                let who = log_in.map(|log_in| squid_log_in(folder.path(), log_in)).unwrap_or_default();
                let ports = allowed_ports.iter().map(|port| format!("acl allowed port {port}\n")).collect::<String>();
                let known = if log_in.is_some() { " known" } else { "" };
                let common = squid_common(folder.path());
                format!(
                    "http_port 127.0.0.1:{port}\n{common}{who}{ports}http_access allow CONNECT allowed{known}\nhttp_access deny all\n"
                )
            }
        };
        Some(Self::run(kind, folder, port, &text))
    }

    /// A squid that opens TLS (ssl-bump), shows certificates of its own authority and dials the server anew. `None` where squid is
    /// not installed with TLS.
    pub fn inspecting(allowed_port: u16, authority_pem: &str) -> Option<Self> {
        const CERTGEN: &str = "/usr/lib/squid/security_file_certgen";
        if !have("squid") {
            return None;
        }
        if !Path::new(CERTGEN).is_file() {
            assert!(std::env::var_os("PLATEN_REQUIRE_PEERS").is_none(), "squid has no TLS: install squid-openssl");
            eprintln!("SKIPPED: squid has no TLS (squid-openssl)");
            return None;
        }
        let (folder, port) = (folder_for_all(), free_tcp_port());
        let at = folder.path().display();
        std::fs::write(folder.path().join("ca.pem"), authority_pem).unwrap();
        let made = command(CERTGEN).args(["-c", "-s", &format!("{at}/certificates"), "-M", "4MB"]).output().unwrap();
        assert!(made.status.success(), "{}", super::text(&made));
        give_to_all(folder.path());
        let common = squid_common(folder.path());
        let text = format!(
            "http_port 127.0.0.1:{port} ssl-bump tls-cert={at}/ca.pem generate-host-certificates=on dynamic_cert_mem_cache_size=4MB\n\
             {common}sslcrtd_program {CERTGEN} -s {at}/certificates -M 4MB\nsslcrtd_children 1\n\
             ssl_bump bump all\ntls_outgoing_options flags=DONT_VERIFY_PEER\n\
             acl allowed port {allowed_port}\nhttp_access allow allowed\nhttp_access deny all\n"
        );
        Some(Self::run(Kind::Squid, folder, port, &text))
    }

    fn run(kind: Kind, folder: tempfile::TempDir, port: u16, text: &str) -> Self {
        let file = folder.path().join("proxy.conf");
        std::fs::write(&file, text).unwrap();
        let out = std::fs::File::create(folder.path().join("out")).unwrap();
        let mut process = match kind {
            Kind::TinyProxy => command("tinyproxy"),
            Kind::Squid => command("squid"),
        };
        match kind {
            Kind::TinyProxy => process.arg("-d").arg("-c"),
            Kind::Squid => process.args(["-N", "-f"]),
        };
        let process = process.arg(&file).stdout(out.try_clone().unwrap()).stderr(out).spawn().unwrap();
        let proxy = Self { port, folder, _process: Peer(process) };
        wait_for_tcp(port);
        proxy
    }

    /// `HOST:PORT` of a box's configuration, or `http://USER:PASSWORD@HOST:PORT`.
    pub fn address(&self, log_in: Option<(&str, &str)>) -> String {
        match log_in {
            None => format!("127.0.0.1:{}", self.port),
            Some((user, password)) => format!("http://{user}:{password}@127.0.0.1:{}", self.port),
        }
    }

    /// What it wrote down of its clients.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

/// squid gives its rights up when it is started as root, and must still write here.
fn folder_for_all() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    give_to_all(folder.path());
    folder
}

fn give_to_all(path: &Path) {
    let is_folder = path.is_dir();
    std::fs::set_permissions(path, PermissionsExt::from_mode(if is_folder { 0o777 } else { 0o666 })).unwrap();
    if is_folder {
        std::fs::read_dir(path).unwrap().for_each(|entry| give_to_all(&entry.unwrap().path()));
    }
}

fn tinyproxy(at: &Path, port: u16, allowed_ports: &[u16], log_in: Option<(&str, &str)>) -> String {
    let log_in = log_in.map(|(user, password)| format!("BasicAuth {user} {password}\n")).unwrap_or_default();
    let ports = allowed_ports.iter().map(|port| format!("ConnectPort {port}\n")).collect::<String>();
    format!(
        "Port {port}\nListen 127.0.0.1\nAllow 127.0.0.1\n{ports}LogFile \"{}\"\nLogLevel Info\n{log_in}",
        at.join("log").display()
    )
}

fn squid_common(at: &Path) -> String {
    let at = at.display();
    format!(
        "visible_hostname proxy.test\npid_filename none\naccess_log stdio:{at}/log\ncache_log {at}/cache.log\ncache deny all\n\
         coredump_dir {at}\nshutdown_lifetime 0 seconds\npinger_enable off\nlogfile_rotate 0\nmax_filedescriptors 1024\n"
    )
}

fn squid_log_in(at: &Path, (user, password): (&str, &str)) -> String {
    let hash = command("openssl").args(["passwd", "-apr1", password]).output().unwrap();
    assert!(hash.status.success(), "{}", super::text(&hash));
    let file: PathBuf = at.join("passwords");
    std::fs::write(&file, format!("{user}:{}", String::from_utf8_lossy(&hash.stdout))).unwrap();
    format!(
        "auth_param basic program /usr/lib/squid/basic_ncsa_auth {}\nauth_param basic children 1\nauth_param basic realm test\n\
         acl known proxy_auth REQUIRED\n",
        file.display()
    )
}
