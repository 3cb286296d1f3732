//! A button that the kernel knows as a key (`gpio-keys` in the device tree, a power button, a keyboard): `/dev/input/eventN`.

use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use evdev::{Device, EventSummary, KeyCode};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::hardware::{BoardError, Button, EDGES_MAX, Edge};

/// Where the kernel has its input devices.
pub const DEV_INPUT: &str = "/dev/input";

/// Most devices that are looked at.
const DEVICES_MAX: usize = 64;

/// A key of an input device.
#[derive(Debug)]
pub struct EvdevButton {
    device: Device,
    key: KeyCode,
    what: String,
}

impl EvdevButton {
    /// Opens the first device below `root` that has this name and this key (`KEY_RESTART`, …).
    ///
    /// # Errors
    /// [`BoardError`] when there is none, or it may not be read.
    pub fn open(root: &Path, name: &str, key: &str) -> Result<Self, BoardError> {
        let what = format!("button {key} of the input device {name}");
        let failed = |problem: String, remedy| BoardError::new(&what, problem, remedy);
        let code = KeyCode::from_str(key)
            .map_err(|_| failed(format!("there is no key {key}"), "take a name of linux/input-event-codes.h"))?;
        let mut refused = None;
        for path in paths(root) {
            match Device::open(&path) {
                Ok(device) if device.name() == Some(name) => {
                    if !device.supported_keys().is_some_and(|keys| keys.contains(code)) {
                        let problem = format!("{} has no such key", path.display());
                        return Err(failed(
                            problem,
                            "look at /proc/bus/input/devices and the device tree's linux,code",
                        ));
                    }
                    return Ok(Self { device, key: code, what });
                }
                Ok(_) => {}
                Err(error) => refused = refused.or(Some(format!("{}: {error}", path.display()))),
            }
        }
        Err(match refused {
            Some(problem) => failed(problem, "let this service read the input devices"),
            None => failed(format!("not in {}", root.display()), "look for its name in /proc/bus/input/devices"),
        })
    }

    fn forward(&mut self, edges: &mpsc::Sender<Edge>) -> io::Result<()> {
        loop {
            for event in self.device.fetch_events()? {
                let EventSummary::Key(_, code, value) = event.destructure() else { continue };
                // 2 is the kernel's repetition of a key that is held.
                if code != self.key || value == 2 {
                    continue;
                }
                if edges.blocking_send(Edge { pressed: value == 1, at: Instant::now() }).is_err() {
                    return Ok(());
                }
            }
        }
    }
}

/// `eventN` in the order of their numbers.
fn paths(root: &Path) -> Vec<PathBuf> {
    let number = |path: &PathBuf| path.file_name()?.to_str()?.strip_prefix("event")?.parse::<u32>().ok();
    let entries = std::fs::read_dir(root).into_iter().flatten().filter_map(Result::ok);
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).filter(|path| number(path).is_some()).collect();
    paths.sort_by_key(number);
    paths.truncate(DEVICES_MAX);
    paths
}

impl Button for EvdevButton {
    fn is_pressed(&mut self) -> bool {
        self.device.get_key_state().is_ok_and(|keys| keys.contains(self.key))
    }

    /// The thread that reads ends with the first event after nobody wants them any more.
    fn edges(mut self: Box<Self>) -> io::Result<mpsc::Receiver<Edge>> {
        let (sender, edges) = mpsc::channel(EDGES_MAX);
        std::thread::Builder::new().name("button".to_owned()).spawn(move || {
            if let Err(error) = self.forward(&sender) {
                tracing::error!(%error, what = self.what, "the button cannot be read");
            }
        })?;
        Ok(edges)
    }
}
