//! Who makes the network: NetworkManager or systemd-networkd, whichever runs and has the interface. They are spoken to by their own
//! programs with fixed words, never by a shell.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Settings;
use super::network_manager::NetworkManager;
use super::networkd::Networkd;

/// Longest time for one program.
const PROGRAM_LIMIT: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Of what a program says, so much is kept, in bytes.
const WORDS_MAX_BYTES: u64 = 4_096;
/// Where programs are looked for.
const FOLDERS: [&str; 2] = ["/usr/bin", "/bin"];
/// systemd-networkd writes how it is here while it runs.
const NETWORKD_STATE: &str = "/run/systemd/netif/state";

/// Why the network is not as it shall be.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// Nobody is there who could.
    #[error(
        "neither NetworkManager nor systemd-networkd runs here: set the network of this machine by its own means, or start one of them"
    )]
    Nobody,
    /// A program is missing, fails, or does not end.
    #[error("{program}: {detail}")]
    Program {
        /// The program and what it was to do.
        program: String,
        /// What it said, escaped.
        detail: String,
    },
    /// A file cannot be written or removed.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// The operating system's words.
        source: std::io::Error,
    },
}

/// Makes the network as it shall be.
pub trait Backend: Send + Sync + 'static {
    /// Its name, for a person.
    fn name(&self) -> &'static str;

    /// Makes the network so, in the place of whatever this made before; `None` leaves it to the system's own defaults. May be done
    /// again at any time. Blocks, for a minute at most.
    ///
    /// # Errors
    /// What failed; the network may be anything then.
    fn apply(&self, settings: Option<&Settings>) -> Result<(), BackendError>;
}

impl Backend for Box<dyn Backend> {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    fn apply(&self, settings: Option<&Settings>) -> Result<(), BackendError> {
        (**self).apply(settings)
    }
}

/// Who makes the network of this interface.
///
/// # Errors
/// [`BackendError::Nobody`].
pub fn choose(interface: &str) -> Result<Box<dyn Backend>, BackendError> {
    if let Some(nmcli) = program("nmcli") {
        let manager = NetworkManager::new(nmcli, interface);
        if manager.has_the_interface() {
            return Ok(Box::new(manager));
        }
    }
    match program("networkctl") {
        Some(networkctl) if Path::new(NETWORKD_STATE).exists() => {
            Ok(Box::new(Networkd::new("/etc/systemd/network".into(), networkctl, interface)))
        }
        _ => Err(BackendError::Nobody),
    }
}

fn program(name: &str) -> Option<PathBuf> {
    FOLDERS.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.is_file())
}

/// Runs a program to its end, and says what it printed.
pub(super) fn run(program: &Path, words: &[&str]) -> Result<String, BackendError> {
    let failed = |detail: String| BackendError::Program {
        program: format!("{} {}", program.display(), words.join(" ")),
        detail: detail.trim().escape_debug().to_string(),
    };
    let mut child = Command::new(program)
        .args(words)
        .env_clear()
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| failed(e.to_string()))?;
    let deadline = Instant::now() + PROGRAM_LIMIT;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < deadline => std::thread::sleep(LOOK_EVERY),
            Ok(None) => {
                end(&mut child);
                return Err(failed(format!("it does not end within {} s", PROGRAM_LIMIT.as_secs())));
            }
            Err(error) => {
                end(&mut child);
                return Err(failed(error.to_string()));
            }
        }
    };
    let said = printed(child.stdout.take());
    if status.success() {
        return Ok(said);
    }
    Err(failed(format!("{status}: {} {said}", printed(child.stderr.take()))))
}

fn end(child: &mut Child) {
    // It may have ended just now.
    let _ended = child.kill();
    let _ended = child.wait();
}

fn printed(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    // What cannot be read was not said.
    let _unreadable = pipe.map(|pipe| pipe.take(WORDS_MAX_BYTES).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}
