//! The printers that the box knows: enough to read them again after a restart without a search.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{read_bounded, write_atomically};

/// Most printers that one box keeps.
const PRINTERS_MAX: usize = 5_000;
/// Largest inventory file, in bytes: 5,000 printers of some 300 bytes.
const FILE_MAX_BYTES: u64 = 4 * 1024 * 1024;

/// A printer that was read at least once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownPrinter {
    /// What it is known by; see the contract's `Reading.device_key`.
    pub device_key: String,
    /// Where it answered last.
    pub address: String,
    /// UDP port of its agent.
    pub port: u16,
    /// Which of the configured credentials it answers to.
    pub credentials_index: usize,
    /// When it answered last, by the wall clock, milliseconds since 1970.
    pub last_seen_unix_ms: u64,
}

/// All of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// In the order in which they were found.
    pub printers: Vec<KnownPrinter>,
}

impl Inventory {
    /// Reads the inventory; none is an empty one.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn load(path: &Path) -> io::Result<Self> {
        match read_bounded(path, FILE_MAX_BYTES) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Writes the inventory.
    ///
    /// # Errors
    /// When that fails; the old one is then still there.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        write_atomically(path, &serde_json::to_vec(self).map_err(io::Error::other)?)
    }

    /// Adds a printer, or takes over what is new about one. An address belongs to one printer: who had it before and is
    /// not there any more is forgotten until a search finds it elsewhere.
    ///
    /// # Errors
    /// When there is no room for another printer.
    pub fn remember(&mut self, printer: KnownPrinter) -> Result<(), String> {
        self.printers.retain(|known| {
            known.device_key == printer.device_key || (&known.address, known.port) != (&printer.address, printer.port)
        });
        if let Some(known) = self.printers.iter_mut().find(|known| known.device_key == printer.device_key) {
            *known = printer;
        } else if self.printers.len() < PRINTERS_MAX {
            self.printers.push(printer);
        } else {
            return Err(format!("this box keeps at most {PRINTERS_MAX} printers: give it narrower ranges"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printer(key: &str, address: &str) -> KnownPrinter {
        KnownPrinter {
            device_key: key.to_owned(),
            address: address.to_owned(),
            port: 161,
            credentials_index: 0,
            last_seen_unix_ms: 1,
        }
    }

    #[test]
    fn a_printer_that_moved_stays_one_printer() {
        let mut inventory = Inventory::default();
        inventory.remember(printer("a", "10.0.0.1")).unwrap();
        inventory.remember(printer("b", "10.0.0.2")).unwrap();
        inventory.remember(printer("a", "10.0.0.2")).unwrap();
        assert_eq!(inventory.printers, [printer("a", "10.0.0.2")]);
    }

    #[test]
    fn it_survives_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("inventory.json");
        assert_eq!(Inventory::load(&file).unwrap(), Inventory::default());
        let mut inventory = Inventory::default();
        inventory.remember(printer("a", "10.0.0.1")).unwrap();
        inventory.save(&file).unwrap();
        assert_eq!(Inventory::load(&file).unwrap(), inventory);
    }
}
