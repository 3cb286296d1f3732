//! Small files of the real file system, with the errors of `std::io`: for identities, settings and status, which have no
//! faults of their own to be tried.

use std::io;
use std::path::Path;

use serde::de::DeserializeOwned;

use super::{StoreError, files};
use crate::sys::{Fs, SystemFs};

/// Puts these bytes in the place of a file of mode 0600, durably: after a power cut the old contents are there or the new.
///
/// # Errors
/// When the disk refuses.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_atomically_on(&SystemFs, path, bytes)
}

/// As [`write_atomically`], on a given file system.
///
/// # Errors
/// As [`write_atomically`].
pub fn write_atomically_on(fs: &dyn Fs, path: &Path, bytes: &[u8]) -> io::Result<()> {
    files::write_atomically(fs, path, bytes).map_err(as_io)
}

/// Reads a whole file of at most `max_bytes`.
///
/// # Errors
/// When there is no such file, it is longer, or the disk refuses.
pub fn read_bounded(path: &Path, max_bytes: usize) -> io::Result<Vec<u8>> {
    read_bounded_on(&SystemFs, path, max_bytes)
}

/// As [`read_bounded`], on a given file system.
///
/// # Errors
/// As [`read_bounded`].
pub fn read_bounded_on(fs: &dyn Fs, path: &Path, max_bytes: usize) -> io::Result<Vec<u8>> {
    files::read_bounded(fs, path, max_bytes).map_err(as_io)?.ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Reads a JSON file of at most `max_bytes`; where there is none, the default. One that is damaged, or cannot be read, is said, set
/// aside as `*.corrupt` where that is possible, and counts as none: what stands in such a file can be had again.
pub fn read_or_set_aside<T: DeserializeOwned + Default>(path: &Path, max_bytes: usize) -> T {
    match read_bounded(path, max_bytes).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?)) {
        Ok(value) => value,
        Err(error) if error.kind() == io::ErrorKind::NotFound => T::default(),
        Err(error) => {
            let set_aside = std::fs::rename(path, files::with_suffix(path, ".corrupt")).is_ok();
            tracing::error!(file = %path.display(), %error, set_aside, "a file is damaged; what it held is asked for anew");
            T::default()
        }
    }
}

fn as_io(error: StoreError) -> io::Error {
    match error {
        StoreError::Io { cause, .. } => cause,
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_file_is_set_aside_and_counts_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.json");
        assert_eq!(read_or_set_aside::<Vec<u8>>(&path, 100), Vec::<u8>::new());
        std::fs::write(&path, b"[1,2]").unwrap();
        assert_eq!(read_or_set_aside::<Vec<u8>>(&path, 100), [1, 2]);
        std::fs::write(&path, b"[1,").unwrap();
        assert_eq!(read_or_set_aside::<Vec<u8>>(&path, 100), Vec::<u8>::new());
        assert!(!path.exists() && folder.path().join("file.json.corrupt").exists());
    }

    #[test]
    fn a_file_is_replaced_whole_private_and_read_within_its_bound() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        assert_eq!(read_bounded(&path, 3).unwrap_err().kind(), io::ErrorKind::NotFound);
        write_atomically(&path, b"one").unwrap();
        write_atomically(&path, b"two").unwrap();
        assert_eq!(read_bounded(&path, 3).unwrap(), b"two");
        assert!(read_bounded(&path, 2).is_err());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
