//! The printers that the box knows, kept over restarts. It can be found again by a sweep, so a file that is damaged or cannot be
//! read is set aside and the inventory begins anew.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::StoreError;
use super::files::{read_bounded, with_suffix, write_atomically};
use super::limits::{MAX_INVENTORY_BYTES, MAX_KNOWN_PRINTERS};
use crate::sys::Fs;

/// A printer as it was last met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownPrinter {
    /// What the device is known by ("serial:VENDOR:SERIAL" ...).
    pub device_key: String,
    /// The address that answered last ("10.0.0.7"; of a link-local one with the interface's name, "fe80::7%eth0").
    pub address: String,
    /// The UDP port there.
    pub port: u16,
    /// What it answered to, in the agent's words and without a secret; empty where that is not known.
    #[serde(default)]
    pub credentials: String,
    /// When it answered last, by the wall clock of the box, milliseconds since 1970-01-01T00:00:00Z.
    pub last_seen_unix_ms: u64,
}

/// The printers, in the order they were met.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// The printers; at most [`MAX_KNOWN_PRINTERS`].
    pub printers: Vec<KnownPrinter>,
}

impl Inventory {
    /// Reads an inventory; an empty one when there is no such file. When the file is damaged or cannot be read, the second value
    /// says what is wrong, and it is set aside as `*.corrupt`; on a disk that does not even let it be renamed it stays, until
    /// another is saved in its place.
    pub fn load(fs: &dyn Fs, path: &Path) -> (Self, Option<String>) {
        let what = match read_bounded(fs, path, MAX_INVENTORY_BYTES) {
            Ok(None) => return (Self::default(), None),
            Ok(Some(bytes)) => match serde_json::from_slice::<Self>(&bytes) {
                Ok(inventory) if inventory.printers.len() <= MAX_KNOWN_PRINTERS => return (inventory, None),
                Ok(_) => format!("more than {MAX_KNOWN_PRINTERS} printers"),
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        };
        let aside = with_suffix(path, ".corrupt");
        let what = match fs.rename(path, &aside) {
            Ok(()) => what,
            Err(error) => format!("{what}; it cannot be set aside: {error}"),
        };
        (Self::default(), Some(what))
    }

    /// Adds a printer, or takes over what is new about one. An address belongs to one printer: who had it before and is
    /// not there any more is forgotten until a search finds it elsewhere.
    ///
    /// # Errors
    /// When there is no room for another printer.
    pub fn remember(&mut self, printer: KnownPrinter) -> Result<(), StoreError> {
        self.printers.retain(|known| {
            known.device_key == printer.device_key || (&known.address, known.port) != (&printer.address, printer.port)
        });
        if let Some(known) = self.printers.iter_mut().find(|known| known.device_key == printer.device_key) {
            *known = printer;
            return Ok(());
        }
        let count = self.printers.len() + 1;
        if count > MAX_KNOWN_PRINTERS {
            return Err(StoreError::TooManyPrinters { count, max: MAX_KNOWN_PRINTERS });
        }
        self.printers.push(printer);
        Ok(())
    }

    /// Writes the inventory in the place of the old one; durable when it returns.
    ///
    /// # Errors
    /// When there are too many printers or the disk refuses; the old file is still there then.
    pub fn save(&self, fs: &dyn Fs, path: &Path) -> Result<(), StoreError> {
        let count = self.printers.len();
        if count > MAX_KNOWN_PRINTERS {
            return Err(StoreError::TooManyPrinters { count, max: MAX_KNOWN_PRINTERS });
        }
        let json =
            serde_json::to_vec(self).map_err(|error| StoreError::io("write", path)(std::io::Error::other(error)))?;
        if json.len() > MAX_INVENTORY_BYTES {
            return Err(StoreError::FileTooLong { path: path.to_owned(), max_bytes: MAX_INVENTORY_BYTES });
        }
        write_atomically(fs, path, &json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{Fault, FaultFs};

    #[test]
    fn a_printer_that_moved_stays_one_printer() {
        let at = |n: usize, address: &str| KnownPrinter { address: address.to_owned(), ..printer(n) };
        let mut inventory = Inventory::default();
        for met in [at(1, "10.0.0.1"), at(2, "10.0.0.2"), at(1, "10.0.0.2")] {
            inventory.remember(met).unwrap();
        }
        assert_eq!(inventory.printers, [at(1, "10.0.0.2")]);
    }

    fn printer(n: usize) -> KnownPrinter {
        let device_key = format!("serial:kyocera:{n}");
        KnownPrinter {
            device_key,
            address: "fd00::7".into(),
            port: 161,
            credentials: String::new(),
            last_seen_unix_ms: 5,
        }
    }

    #[test]
    fn an_inventory_comes_back_as_it_was_saved() {
        let fs = FaultFs::default();
        let path = Path::new("/d/inventory.json");
        assert_eq!(Inventory::load(&fs, path), (Inventory::default(), None));
        let inventory = Inventory { printers: (0..3).map(printer).collect() };
        inventory.save(&fs, path).unwrap();
        fs.crash(&mut fastrand::Rng::with_seed(1));
        assert_eq!(Inventory::load(&fs, path), (inventory, None));
    }

    #[test]
    fn a_damaged_inventory_is_set_aside_and_begins_anew() {
        let fs = FaultFs::default();
        let path = Path::new("/d/inventory.json");
        Inventory { printers: vec![printer(1)] }.save(&fs, path).unwrap();
        fs.cut(path, 20);
        let (inventory, what) = Inventory::load(&fs, path);
        assert!(inventory.printers.is_empty() && what.is_some());
        assert_eq!(fs.files()[0].0, Path::new("/d/inventory.json.corrupt"));
        assert_eq!(Inventory::load(&fs, path).1, None);
    }

    #[test]
    fn a_damaged_inventory_on_a_disk_that_cannot_be_written_or_read_begins_anew_too() {
        let fs = FaultFs::default();
        let path = Path::new("/d/inventory.json");
        Inventory { printers: vec![printer(1)] }.save(&fs, path).unwrap();
        fs.cut(path, 20);
        for (nth, fault, word) in
            [(2, Fault::ReadOnly, "set aside"), (1, Fault::Once(std::io::ErrorKind::Other), "read")]
        {
            fs.fail(nth, fault);
            let (inventory, what) = Inventory::load(&fs, path);
            assert!(inventory.printers.is_empty() && what.as_ref().unwrap().contains(word), "{what:?}");
            fs.repair();
        }
    }

    #[test]
    fn an_inventory_has_a_bound() {
        let inventory = Inventory { printers: (0..=MAX_KNOWN_PRINTERS).map(printer).collect() };
        let error = inventory.save(&FaultFs::default(), Path::new("/d/i")).unwrap_err();
        assert!(error.to_string().contains("at most 4096"), "{error}");
    }
}
