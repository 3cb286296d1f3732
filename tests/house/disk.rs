//! Disks that can be made to fail, in a mount namespace of their own: a process sleeps in it and keeps it, so that all mounts and
//! loop devices are gone when the trial is over, however it ends.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{House, run};
use crate::common::{Peer, have, wait_until};

/// The namespace of one house. What is mounted in it is seen in it only.
pub struct Disks {
    holder: Peer,
    at: PathBuf,
}

impl Disks {
    /// The firmware of the house runs in it from now on. `None` where that is not possible: not as root, or without the programs.
    pub fn of(house: &mut House) -> Option<Self> {
        let programs = ["unshare", "nsenter", "mount", "mkfs.ext4", "e2fsck"];
        if !programs.into_iter().all(have) {
            return None;
        }
        let ready = house.at().join("ready");
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", "touch \"$0\" && exec sleep 900"]).arg(&ready);
        let mut holder = Peer(command.stdin(Stdio::null()).spawn().unwrap());
        wait_until("a mount namespace", || ready.exists() || holder.0.try_wait().unwrap().is_some());
        if !ready.exists() {
            assert!(std::env::var_os("PLATEN_REQUIRE_PEERS").is_none(), "no mount namespace can be made: not root?");
            eprintln!("SKIPPED: no mount namespace can be made: not root?");
            return None;
        }
        let disks = Self { holder, at: house.at().to_owned() };
        house.enter(disks.way_in());
        Some(disks)
    }

    fn way_in(&self) -> Vec<String> {
        vec!["nsenter".to_owned(), format!("--mount=/proc/{}/ns/mnt", self.holder.0.id()), "--".to_owned()]
    }

    /// Runs a program in the namespace to its end; what it printed.
    pub fn run(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = Command::new("nsenter");
        command.args(&self.way_in()[1..]).arg(program).args(arguments);
        String::from_utf8(run(&mut command)).unwrap().trim().to_owned()
    }

    /// Mounts at this place; `options` are what stands before it.
    pub fn mount(&self, options: &[&str], at: &Path) {
        std::fs::create_dir_all(self.seen(at)).unwrap();
        self.run("mount", &[options, &[at.to_str().unwrap()]].concat());
    }

    /// Whether this machine lets ext4 be mounted from files, and be told to find an error: containers often do not. Says so where
    /// not, and the trial is to be left out.
    pub fn can_loop(&self) -> bool {
        let (image, at) = (self.at.join("probe-image"), self.at.join("probe"));
        self.ext4(&image, 4, &[]);
        std::fs::create_dir_all(self.seen(&at)).unwrap();
        let mut command = Command::new("nsenter");
        command.args(&self.way_in()[1..]).args(["mount", "-o", "loop"]).args([&image, &at]);
        let mounted = command.output().unwrap();
        if !mounted.status.success() {
            eprintln!(
                "SKIPPED: no ext4 can be mounted from a file here: {}",
                String::from_utf8_lossy(&mounted.stderr).trim()
            );
            return false;
        }
        let trigger = std::fs::OpenOptions::new().write(true).open(self.trigger(&at));
        self.run("umount", &[at.to_str().unwrap()]);
        if let Err(error) = &trigger {
            eprintln!("SKIPPED: the kernel cannot be told to find an error in ext4 here: {error}");
        }
        trigger.is_ok()
    }

    /// What tells the kernel to find an error in the ext4 that is mounted here.
    fn trigger(&self, at: &Path) -> String {
        let device = self.run("findmnt", &["-n", "-o", "SOURCE", "--target", at.to_str().unwrap()]);
        format!("/sys/fs/ext4/{}/trigger_fs_error", device.trim_start_matches("/dev/"))
    }

    /// A small ext4 in a file; `options` are those of mkfs.
    pub fn ext4(&self, image: &Path, mebibytes: u64, options: &[&str]) {
        std::fs::File::create(self.seen(image)).unwrap().set_len(mebibytes << 20).unwrap();
        self.run("mkfs.ext4", &[&["-q", "-F"], options, &[image.to_str().unwrap()]].concat());
    }

    /// Makes the kernel find an error in the ext4 that is mounted here, as it does on broken flash. What is to become of it, the
    /// mount's option `errors` says.
    pub fn fail_ext4(&self, at: &Path) {
        std::fs::write(self.trigger(at), "a trial").unwrap();
    }

    /// Puts a checked copy of an image in the place of what is mounted here. Who has files open keeps those of the old one.
    pub fn move_ext4(&self, image: &Path, at: &Path) {
        let mended = self.at.join("mended");
        self.run("cp", &[image.to_str().unwrap(), mended.to_str().unwrap()]);
        self.run("umount", &["--lazy", at.to_str().unwrap()]);
        self.check_and_mount(at);
    }

    /// Takes what was [moved](Self::move_ext4) here away, and mounts it again: nothing of it stays in the memory.
    pub fn remount_ext4(&self, at: &Path) {
        self.run("umount", &[at.to_str().unwrap()]);
        self.check_and_mount(at);
    }

    fn check_and_mount(&self, at: &Path) {
        let mended = self.at.join("mended").to_str().unwrap().to_owned();
        // 1: errors were corrected.
        self.run("sh", &["-c", "e2fsck -fy \"$0\" >/dev/null || [ $? -eq 1 ]", &mended]);
        self.mount(&["-o", "loop,errors=remount-ro", &mended], at);
    }

    /// A path of the namespace, as it is seen from outside.
    pub fn seen(&self, path: &Path) -> PathBuf {
        assert!(path.starts_with(&self.at));
        PathBuf::from(format!("/proc/{}/root{}", self.holder.0.id(), path.display()))
    }

    /// Takes the last byte of the file system that this path lies on.
    pub fn fill(&self, path: &Path) {
        let mut filler = std::fs::File::create(self.seen(path)).unwrap();
        for piece in [1 << 16, 1 << 12, 1] {
            let bytes = vec![0xA5; piece];
            while filler.write_all(&bytes).is_ok() {}
        }
        // On a disk with a delayed allocation the write is not refused before this.
        let _full = filler.sync_all();
    }

    /// Gives it back.
    pub fn empty(&self, path: &Path) {
        std::fs::remove_file(self.seen(path)).unwrap();
    }
}
