//! A factory reset on a real file system: ext4 in a file, as boxes have it, whose raw bytes are searched afterwards. Needs root.
//!
//! A file on a loop device shows what a partition shows. It is no flash: behind a partition, a card keeps pages that it has
//! replaced until it erases them, and nothing here can look at those.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed unwrap is a failed test

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{Peer, have, wait_until};
use platen::enroll::{IdentityFolder, reset};
use platen::store::{Draft, Label, Limits, Outbox, write_atomically};

/// The test's own name, and where its second process finds the data folder.
const NAME: &str = "p_50_after_a_reset_no_canary_is_in_the_raw_image_and_whose_box_it_is_stays";
const IN_THERE: &str = "PLATEN_TEST_WIPES";
const KEPT: [&str; 2] = ["enrolment.json", "clock.json"];
/// Small files of a data folder; with the outbox and the identity, 20 kinds of canaries.
const FILES: [&str; 18] = [
    "identity/credential.json",
    "identity/credential.next.json",
    "identity/roots.crt",
    "identity/credential.json.tmp",
    "inventory.json",
    "inventory.json.corrupt",
    "ledger.json",
    "ledger.log",
    "tasks.json",
    "cloud-settings.json",
    "snmp-engines.json",
    "refusals.json",
    "status.json",
    "console.json",
    "local.toml",
    "profiles/acme.toml",
    "profiles/acme.toml.sig",
    "lost+found/#12",
];

/// An ext4 in a file, mounted in a mount namespace of its own, which goes with the process in it.
struct Disk {
    holder: Peer,
    image: PathBuf,
    at: PathBuf,
}

impl Disk {
    /// `None`: this machine has none.
    fn new(folder: &Path) -> Option<Self> {
        if !["unshare", "nsenter", "mount", "mkfs.ext4", "blockdev", "fstrim"].into_iter().all(have) {
            return None;
        }
        let (image, at, ready) = (folder.join("image"), folder.join("at"), folder.join("ready"));
        std::fs::create_dir(&at).unwrap();
        std::fs::File::create(&image).unwrap().set_len(48 << 20).unwrap();
        assert!(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image).status().unwrap().success());
        let script = "mount -o loop \"$0\" \"$1\" && touch \"$2\" && exec sleep 300";
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", script]).args([&image, &at, &ready]);
        let mut holder = Peer(command.stdin(Stdio::null()).spawn().unwrap());
        wait_until("mounting", || ready.exists() || holder.0.try_wait().unwrap().is_some());
        if !ready.exists() {
            assert!(
                std::env::var_os("PLATEN_REQUIRE_PEERS").is_none(),
                "no ext4 can be mounted from a file: not root?"
            );
            eprintln!("SKIPPED: no ext4 can be mounted from a file here");
            return None;
        }
        Some(Self { holder, image, at })
    }

    /// The data folder: the root of the file system.
    fn data(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{}", self.holder.0.id(), self.at.display()))
    }

    /// Everything that the partition holds.
    fn raw(&self) -> Vec<u8> {
        let id = self.holder.0.id();
        assert!(Command::new("sync").arg("-f").arg(self.data()).status().unwrap().success());
        // Read past the kernel's memory of the device that lies on it.
        assert!(Command::new("blockdev").arg("--flushbufs").arg(self.device(id)).status().unwrap().success());
        std::fs::read(&self.image).unwrap()
    }

    /// Wipes in the namespace, as the box does: this test once more, in there.
    fn wipe(&self) {
        let mut command = Command::new("nsenter");
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.holder.0.id())).arg("--");
        command.arg(std::env::current_exe().unwrap()).args(["--exact", NAME]).env(IN_THERE, &self.at);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", common::text(&output));
    }

    fn device(&self, id: u32) -> String {
        let mounts = std::fs::read_to_string(format!("/proc/{id}/mounts")).unwrap();
        let line = mounts.lines().find(|line| line.split(' ').nth(1) == self.at.to_str()).unwrap();
        line.split(' ').next().unwrap().to_owned()
    }
}

fn count(bytes: &[u8], what: &[u8]) -> usize {
    // The first byte first: a test build is slow.
    let starts = bytes.iter().enumerate().filter(|(_, byte)| **byte == what[0]);
    starts.filter(|(at, _)| bytes[*at..].starts_with(what)).count()
}

/// Fills the folder as a box does that has been at work for long: files are replaced again and again.
fn live(data: &Path) {
    for folder in ["identity", "profiles"] {
        std::fs::create_dir_all(data.join(folder)).unwrap();
    }
    for turn in 0..5 {
        for (at, name) in FILES.iter().enumerate() {
            // Some blocks, and a part of one.
            let text = format!("CANARY-{at:02}-{turn} ").repeat(900);
            write_atomically(&data.join(name), text.as_bytes()).unwrap();
        }
    }
    let (mut outbox, _) = Outbox::open(data.join("outbox"), Limits::default()).unwrap();
    for turn in 0..20 {
        let payload = format!("CANARY-18-{turn} ").repeat(500).into_bytes();
        let label = Label { group: 1, day: 20_000, is_kept: false, base: None };
        outbox.append(&[Draft { payload, label }]).unwrap();
    }
    let last = outbox.last_seq();
    outbox.acknowledge(outbox.epoch(), last, 0).unwrap();
    IdentityFolder::in_data_dir(data).make_bound_key().unwrap();
    write_atomically(&data.join(KEPT[0]), br#"{"tenant":"acme","forgetting":true}"#).unwrap();
    write_atomically(&data.join(KEPT[1]), b"{}").unwrap();
}

#[test]
fn p_50_after_a_reset_no_canary_is_in_the_raw_image_and_whose_box_it_is_stays() {
    if let Some(data) = std::env::var_os(IN_THERE) {
        return reset::wipe(Path::new(&data)).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::new(folder.path()) else { return };
    let data = disk.data();
    live(&data);
    // The bound key's own bytes (RFC 8410: the seed follows 16 bytes) are the twentieth canary.
    let seed = std::fs::read(data.join("identity/bound.key")).unwrap()[16..48].to_vec();
    let before = disk.raw();
    assert!(count(&before, &seed) >= 1 && count(&before, b"CANARY-18-") > 1_000, "the search finds nothing at all");
    for (at, file) in FILES.iter().enumerate() {
        assert!(count(&before, format!("CANARY-{at:02}-4").as_bytes()) > 0, "{file}");
    }
    assert!(count(&before, b"CANARY-00-0") > 0, "no earlier contents: the trial is too easy");

    for _ in 0..2 {
        disk.wipe();
        let after = disk.raw();
        assert_eq!((count(&after, b"CANARY-"), count(&after, &seed)), (0, 0));
    }
    let mut left: Vec<_> = std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["clock.json", "enrolment.json", "lost+found"]);
    assert_eq!(std::fs::read(data.join(KEPT[0])).unwrap(), br#"{"tenant":"acme","forgetting":true}"#);
}
