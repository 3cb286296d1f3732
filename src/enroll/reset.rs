//! The factory reset: everything in the data folder is forgotten, but the few files that are to be kept.
//!
//! Before it begins, the record of the machine of enrolment says durably that the box is forgetting, and that record is among what is
//! kept: a power cut anywhere in it leads to a start that wipes again, and one before it to a box that nothing happened to. What
//! the box shows and signs with goes first.
//!
//! What is left to be found: flash writes to another page each time, and keeps the old ones out of sight until it erases them. Whoever
//! unsolders a chip may find some; on a board with a seal they are worth nothing (`enroll/seal.rs`).

use std::io;
use std::path::{Path, PathBuf};

use super::RECORD;
use crate::sys::{Fs, SystemFs};

/// What stays: whose box this is (the record says that a reset is under way until it is done), and the floor of the clock.
const KEPT: [&str; 2] = [RECORD, "clock.json"];

/// The folder that is wiped first.
const FIRST: &str = "identity";
/// Belongs to the file system: emptied, and left.
const LOST_AND_FOUND: &str = "lost+found";
/// What fills the free space meanwhile.
const FILLER: &str = "wiping";
/// Deepest folder that is looked into. This program makes two levels.
const DEPTH_MAX: usize = 8;

/// Forgets everything in the data folder but the record of enrolment and the floor of the clock. May be begun again at any point.
///
/// # Errors
/// As [`wipe_on`].
pub fn wipe(data_dir: &Path) -> io::Result<()> {
    wipe_on(&SystemFs, data_dir, &KEPT)
}

/// Overwrites and removes all files of the data folder but those of these names in it, then clears what earlier contents left
/// in the free space of the partition. Wiping what is wiped does nothing. Nobody may write there meanwhile.
///
/// # Errors
/// When the disk refuses, or there are more levels of folders than platen makes; call it again, after a restart. A file that cannot
/// be overwritten is removed all the same, and said.
pub fn wipe_on(fs: &dyn Fs, data_dir: &Path, keep: &[&str]) -> io::Result<()> {
    if fs.list_folders(data_dir)?.iter().any(|name| name == FIRST) {
        wipe_folder(fs, &data_dir.join(FIRST), &[], DEPTH_MAX)?;
        remove_folder(fs, &data_dir.join(FIRST))?;
        fs.sync_dir(data_dir)?;
    }
    wipe_folder(fs, data_dir, keep, DEPTH_MAX)?;
    fs.clear_free_space(data_dir, FILLER)
}

fn wipe_folder(fs: &dyn Fs, dir: &Path, keep: &[&str], depth: usize) -> io::Result<()> {
    let folders = fs.list_folders(dir)?;
    let names: Vec<String> = fs.list(dir)?.into_iter().filter(|name| !folders.contains(name)).collect();
    for name in names.iter().filter(|name| !keep.contains(&name.as_str())) {
        let path = dir.join(name);
        if let Err(error) = fs.overwrite(&path) {
            tracing::warn!(file = %path.display(), %error, "a file is removed and was not overwritten before");
        }
        fs.remove(&path)?;
    }
    for name in &folders {
        let path: PathBuf = dir.join(name);
        let Some(depth) = depth.checked_sub(1) else {
            return Err(io::Error::other(format!("{} lies too deep to be wiped", path.display())));
        };
        wipe_folder(fs, &path, &[], depth)?;
        if name != LOST_AND_FOUND {
            remove_folder(fs, &path)?;
        }
    }
    fs.sync_dir(dir)
}

/// Removes an empty folder. One that is a mount of its own is left: it is empty.
fn remove_folder(fs: &dyn Fs, dir: &Path) -> io::Result<()> {
    match fs.remove_folder(dir) {
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::write_atomically_on;
    use crate::sys::{Fault, FaultFs};

    const DATA: &str = "/data";
    const FILES: [&str; 20] = [
        "identity/bound.key",
        "identity/credential.json",
        "identity/credential.next.json",
        "identity/other.tmp",
        "identity/request.key",
        "identity/roots.crt",
        "outbox/0000000000000001.log",
        "outbox/state",
        "outbox/ballast",
        "inventory.json",
        "inventory.json.corrupt",
        "ledger.json",
        "tasks.json",
        "cloud-settings.json",
        "snmp-engines.json",
        "refusals.json",
        "console.json",
        "local.toml",
        "profiles/acme.toml",
        "other.tmp",
    ];

    /// A box that has begun to forget. Each file has been written twice: the earlier contents lie in the free space.
    fn a_box() -> FaultFs {
        let fs = FaultFs::default();
        for turn in ["EARLIER", "LATER"] {
            for (at, name) in FILES.iter().enumerate() {
                let canary = format!("CANARY-{at}-{turn}");
                write_atomically_on(&fs, &Path::new(DATA).join(name), canary.as_bytes()).unwrap();
            }
        }
        write_atomically_on(&fs, &Path::new(DATA).join(KEPT[0]), b"tenant acme, forgetting").unwrap();
        write_atomically_on(&fs, &Path::new(DATA).join(KEPT[1]), b"floor").unwrap();
        fs
    }

    fn canaries(fs: &FaultFs) -> usize {
        fs.raw().windows(7).filter(|part| part == b"CANARY-").count()
    }

    fn wipe_it(fs: &FaultFs) -> io::Result<()> {
        wipe_on(fs, Path::new(DATA), &KEPT)
    }

    /// Nothing is on the disk but the two files that are kept, as they were.
    fn is_wiped(fs: &FaultFs) -> bool {
        let kept = |name: &str| fs.read_at(&Path::new(DATA).join(name), 0, 99).unwrap();
        assert_eq!(kept(KEPT[0]), b"tenant acme, forgetting", "the lock to the tenant is gone");
        assert_eq!(kept(KEPT[1]), b"floor", "time can run back");
        canaries(fs) == 0 && fs.files().len() == 2
    }

    #[test]
    fn p_50_of_20_canaries_none_is_left_on_the_disk_and_whose_box_it_is_stays() {
        let fs = a_box();
        assert_eq!(canaries(&fs), 40);
        for _ in 0..2 {
            wipe_it(&fs).unwrap();
            assert!(is_wiped(&fs));
        }
    }

    #[test]
    fn p_50_a_power_cut_or_a_fault_at_any_call_is_mended_by_the_next_start() {
        let mut random = fastrand::Rng::with_seed(50);
        let faults =
            [Fault::Killed, Fault::ForEver(io::ErrorKind::Other), Fault::Once(io::ErrorKind::Other), Fault::ReadOnly];
        let mut cuts = 0;
        for nth in 1.. {
            let mut has_struck = false;
            for (fault, power_cut) in faults.into_iter().flat_map(|fault| [(fault, false), (fault, true)]) {
                let fs = a_box();
                fs.fail(nth, fault);
                let _ = wipe_it(&fs);
                has_struck |= fs.repair();
                if power_cut {
                    fs.crash(&mut random);
                }
                // And a second cut in the next start.
                fs.fail(random.u64(1..200), Fault::Killed);
                let _ = wipe_it(&fs);
                fs.repair();
                fs.crash(&mut random);
                wipe_it(&fs).unwrap();
                assert!(is_wiped(&fs), "{fault:?} at call {nth}, power cut: {power_cut}");
                cuts += 1;
            }
            if !has_struck {
                break;
            }
        }
        assert!(cuts > 500, "{cuts}");
    }

    #[test]
    fn p_50_the_keys_go_first() {
        let fs = a_box();
        fs.fail(32, Fault::Killed);
        assert!(wipe_it(&fs).is_err());
        let left = fs.files();
        assert!(!left.iter().any(|(path, _)| path.starts_with("/data/identity")), "{left:?}");
        assert!(left.iter().any(|(path, _)| path.starts_with("/data/outbox")), "{left:?}");
    }

    #[test]
    fn p_50_a_wipe_follows_no_link_and_waits_for_no_pipe() {
        let folder = tempfile::tempdir().unwrap();
        let (data, outside) = (folder.path().join("data"), folder.path().join("outside"));
        for dir in [&data, &outside] {
            std::fs::create_dir(dir).unwrap();
            std::fs::write(dir.join("file"), b"of somebody").unwrap();
        }
        std::os::unix::fs::symlink(&outside, data.join("folder-link")).unwrap();
        std::os::unix::fs::symlink(outside.join("file"), data.join("file-link")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(data.join("socket")).unwrap();
        for name in std::fs::read_dir(&data).unwrap() {
            let path = name.unwrap().path();
            SystemFs.overwrite(&path).unwrap();
        }
        assert_eq!(std::fs::read(data.join("file-link")).unwrap(), b"of somebody");
        assert_eq!(std::fs::read(data.join("file")).unwrap(), [0; 11]);
        wipe_folder(&SystemFs, &data, &[], DEPTH_MAX).unwrap();
        assert_eq!(std::fs::read_dir(&data).unwrap().count(), 0);
        assert_eq!(std::fs::read(outside.join("file")).unwrap(), b"of somebody");
    }
}
