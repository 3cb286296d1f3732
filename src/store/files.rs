//! Small files that are either as they were or as they are to be, never between.

use std::path::{Path, PathBuf};

use super::StoreError;
use crate::sys::Fs;

/// The ending of files that are being written; what is found with it at start is left over and removed.
pub(super) const TEMPORARY: &str = ".tmp";

/// The folder that a path lies in ("." for a bare name).
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// The path with something more at its end.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Puts these bytes in the place of the file: written beside it, synced, renamed, and the folder synced. When it
/// returns, they are durable; whenever the power fails, the old or the new contents are there.
/// One writer per path: the file written beside it has a fixed name.
///
/// # Errors
/// When the disk refuses. Then the old or the new contents are there, and after a crash still one of them.
pub fn write_atomically(fs: &dyn Fs, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let beside = with_suffix(path, TEMPORARY);
    let mut file = fs.create(&beside).map_err(StoreError::io("create", &beside))?;
    file.write_all(bytes).map_err(StoreError::io("write", &beside))?;
    file.sync_data().map_err(StoreError::io("sync", &beside))?;
    drop(file);
    fs.rename(&beside, path).map_err(StoreError::io("rename", &beside))?;
    fs.sync_dir(parent(path)).map_err(StoreError::io("sync the folder of", path))
}

/// Reads a whole file that may not be longer than `max_bytes`; `None` when there is no such file.
///
/// # Errors
/// When the disk refuses or the file is longer.
pub fn read_bounded(fs: &dyn Fs, path: &Path, max_bytes: usize) -> Result<Option<Vec<u8>>, StoreError> {
    match fs.read_at(path, 0, max_bytes.saturating_add(1)) {
        Ok(bytes) if bytes.len() > max_bytes => Err(StoreError::FileTooLong { path: path.to_owned(), max_bytes }),
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::io("read", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{Fault, FaultFs};

    #[test]
    fn a_file_is_old_or_new_wherever_the_power_fails() {
        let path = Path::new("/d/settings");
        let mut random = fastrand::Rng::with_seed(1);
        for nth in 1..100 {
            let mut struck = false;
            for _ in 0..20 {
                let fs = FaultFs::default();
                write_atomically(&fs, path, b"old").unwrap();
                fs.fail(nth, Fault::Killed);
                let result = write_atomically(&fs, path, b"new contents");
                struck = fs.repair();
                assert_eq!(result.is_err(), struck);
                fs.crash(&mut random);
                let found = read_bounded(&fs, path, 100).unwrap().unwrap();
                assert!(found == b"new contents" || (struck && found == b"old"), "{found:?} after call {nth}");
            }
            if !struck {
                assert!(nth > 4, "create, write, sync, rename, sync of the folder");
                return;
            }
        }
        panic!("never ran through");
    }

    #[test]
    fn a_file_that_is_too_long_is_not_read() {
        let fs = FaultFs::default();
        write_atomically(&fs, Path::new("/d/f"), b"12345").unwrap();
        assert!(read_bounded(&fs, Path::new("/d/f"), 5).unwrap().is_some());
        let error = read_bounded(&fs, Path::new("/d/f"), 4).unwrap_err().to_string();
        assert!(error.contains("/d/f") && error.contains("more than 4 bytes"), "{error}");
        assert!(read_bounded(&fs, Path::new("/d/g"), 4).unwrap().is_none());
    }
}
