//! The real programs, and a box whose disk fills up, turns read-only or fails, while the box runs or before it starts: it goes on
//! talking with the cloud, says what is wrong, accepts nothing that it cannot keep, and goes on by itself when the disk is
//! well again. What was accepted arrives once.
//!
//! The disks are a tmpfs of some MiB; ext4 in a file on a loop device, which the kernel can be told to find an error in; and one
//! in a file on such a one, which gives I/O errors as dying flash does. Needs root.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed unwrap is a failed test

mod common;
mod house;

use std::path::PathBuf;

use common::Peer;
use house::House;
use house::books::{Accepted, audit, rows};
use house::disk::Disks;
use house::proxy::Proxy;
use platen::agent::status::Status;
use platen::proto::v1::Cause;

const PRINTERS: usize = 40;
const TMPFS: [&str; 5] = ["-t", "tmpfs", "-o", "size=4m", "none"];

/// A box that runs on a disk, with printers and a cloud.
struct Trial {
    house: House,
    disks: Disks,
    proxy: Proxy,
    box_id: String,
    the_box: Option<Peer>,
    printers: Option<Peer>,
    _cloud: Peer,
}

impl Trial {
    /// `mount` makes the disk at the place of the box's data, before the box is enrolled. It does not run yet.
    /// `None`: this machine has no such disks.
    fn new(net: u8, mount: impl FnOnce(&House, &Disks) -> bool) -> Option<Self> {
        let mut house = House::new(net, PRINTERS);
        let disks = Disks::of(&mut house)?;
        if !mount(&house, &disks) {
            return None;
        }
        let (printers, cloud) = (house.start_small_printers(), house.start_cloud(&[]));
        house.wait_for_cloud();
        let box_id = house.enrol("box");
        let proxy = Proxy::to(house.cloud_port, 1);
        proxy.be_kind();
        house.configure("box", proxy.port, "");
        let printers = Some(printers);
        Some(Self { house, disks, proxy, box_id, the_box: None, printers, _cloud: cloud })
    }

    /// A file on the disk.
    fn file(&self, name: &str) -> PathBuf {
        self.house.box_folder("box").join(name)
    }

    fn start(&mut self) {
        self.the_box = Some(self.house.start_box("box"));
    }

    fn kill(&mut self) {
        self.the_box = None;
    }

    fn is_well(status: &Status) -> bool {
        status.word() == "ok" && status.outbox.last_seq > 2 * PRINTERS as u64 && status.outbox.acknowledged > 0
    }

    /// The box runs, and is as it should be.
    fn start_well(&mut self) {
        self.start();
        self.until("being well", Self::is_well);
    }

    fn must_run(&mut self) {
        if let Some(ended) = self.the_box.as_mut().unwrap().0.try_wait().unwrap() {
            panic!("the box ended ({ended}): {}", self.last_words());
        }
    }

    fn until(&mut self, what: &str, is_so: impl Fn(&Status) -> bool) -> Status {
        self.must_run();
        let reached = self.house.reaches_status("box", std::time::Duration::from_secs(60), is_so);
        self.must_run();
        reached
            .unwrap_or_else(|| panic!("{what} did not happen: {:#?}\n{}", self.house.status("box"), self.last_words()))
    }

    fn last_words(&self) -> String {
        let log = self.house.log_text("box");
        let dull = [": accepted ", "printer not read"];
        let words: Vec<_> = log.lines().filter(|line| !dull.iter().any(|it| line.contains(it))).collect();
        words[words.len().saturating_sub(12)..].join("\n")
    }

    /// The cloud has been told that it is the disk, and how.
    fn cloud_knows(&self, word: &str) {
        common::wait_until("telling the cloud", || {
            let told = self.house.told(&self.box_id).troubles;
            told.iter().any(|trouble| trouble.cause() == Cause::Storage && trouble.detail.contains(word))
        });
    }

    /// With a disk that refuses: says so, at home and to the cloud, and still polls. Nothing is accepted meanwhile; on a full disk
    /// something small may still fit into what the last page of a file has left.
    fn refuses(&mut self, word: &str) {
        let failing = self.until("saying that the disk fails", |status| status.outbox.trouble.is_some());
        assert_eq!(failing.word(), "fault");
        let why = failing.outbox.trouble.unwrap();
        assert!(why.contains(word), "{why}");
        let contact = failing.cloud.last_contact_unix_ms;
        let later = self.until("polling all the same", |status| {
            status.cloud.last_contact_unix_ms > contact && status.outbox.trouble.is_some()
        });
        self.cloud_knows(word);
        let accepted = |trial: &Self| Accepted::of_log(&trial.house.log_text("box")).count();
        let before = accepted(self);
        let contact = later.cloud.last_contact_unix_ms;
        self.until("polling once more", |status| status.cloud.last_contact_unix_ms > contact);
        let allowed = if word == "full" { PRINTERS } else { 0 };
        assert!(accepted(self) <= before + allowed, "it accepts what it cannot keep");
    }

    /// Without a status at home: the cloud is told, and readings arrive.
    fn goes_on_unseen(&mut self) {
        self.cloud_knows("status.json");
        let delivered = rows(&self.house.cloud_folder(), &self.box_id).len();
        common::wait_until("delivering all the same", || {
            self.must_run();
            rows(&self.house.cloud_folder(), &self.box_id).len() > delivered + PRINTERS
        });
    }

    /// The disk is well again: readings are accepted, by the same process.
    fn recovers(&mut self) {
        let before = Accepted::of_log(&self.house.log_text("box")).count();
        self.until("being well again", Self::is_well);
        common::wait_until("accepting again", || Accepted::of_log(&self.house.log_text("box")).count() > before);
        common::wait_until("telling the cloud that all is well", || {
            self.house.told(&self.box_id).troubles.iter().all(|trouble| trouble.cause() != Cause::Storage)
        });
    }

    /// Lets everything arrive, and compares the books.
    fn settles(mut self) {
        drop(self.printers.take());
        self.must_run();
        self.house.wait_for_all_delivered("box");
        self.kill();
        let accepted = Accepted::of_log(&self.house.log_text("box"));
        let verdict = audit(&accepted, &rows(&self.house.cloud_folder(), &self.box_id));
        println!("{}", verdict.line());
        assert!(verdict.is_good(), "{}\n{}", verdict.details(), self.last_words());
    }
}

fn on_tmpfs(house: &House, disks: &Disks) -> bool {
    disks.mount(&TMPFS, &house.box_folder("box"));
    true
}

#[test]
fn a_box_whose_disk_is_full_says_so_and_goes_on_when_there_is_room() {
    let Some(mut trial) = Trial::new(40, on_tmpfs) else { return };
    let filler = trial.file("somebody-elses");
    trial.start_well();
    trial.disks.fill(&filler);
    trial.refuses("full");
    trial.disks.empty(&filler);
    trial.recovers();
    trial.settles();
}

#[test]
fn a_box_that_starts_on_a_full_disk_says_so_and_goes_on_when_there_is_room() {
    let Some(mut trial) = Trial::new(41, on_tmpfs) else { return };
    let filler = trial.file("somebody-elses");
    trial.disks.fill(&filler);
    trial.start();
    trial.refuses("full");
    trial.disks.empty(&filler);
    trial.recovers();
    // And one that has something to deliver: what is kept back for acknowledgements makes room for them.
    trial.proxy.open(false);
    let waiting = trial.until("reading without the cloud", |status| status.outbox.pending > PRINTERS as u64).outbox;
    trial.kill();
    trial.disks.fill(&filler);
    trial.proxy.open(true);
    trial.start();
    trial.until("delivering what it has", |status| status.outbox.acknowledged >= waiting.last_seq);
    trial.disks.empty(&filler);
    trial.recovers();
    trial.settles();
}

/// As boxes have it.
fn on_ext4(house: &House, disks: &Disks) -> bool {
    if !disks.can_loop() {
        return false;
    }
    let image = house.at().join("image");
    disks.ext4(&image, 16, &[]);
    disks.mount(&["-o", "loop,errors=remount-ro", image.to_str().unwrap()], &house.box_folder("box"));
    true
}

#[test]
fn a_box_that_starts_on_a_read_only_disk_says_so_and_goes_on_when_it_can_write() {
    let Some(mut trial) = Trial::new(42, on_ext4) else { return };
    trial.start_well();
    trial.proxy.open(false);
    trial.until("reading without the cloud", |status| status.outbox.pending > PRINTERS as u64);
    trial.kill();
    // A broken card leaves more behind than a refusal to write.
    std::fs::write(trial.disks.seen(&trial.file("inventory.json")), "{\"printers\":[{\"dev").unwrap();
    let at = trial.house.box_folder("box").to_str().unwrap().to_owned();
    trial.disks.run("mount", &["-o", "remount,ro", &at]);
    trial.proxy.open(true);
    trial.start();
    trial.refuses("read-only");
    trial.disks.run("mount", &["-o", "remount,rw", &at]);
    trial.recovers();
    trial.settles();
}

#[test]
fn a_box_whose_disk_turns_read_only_says_so_and_goes_on_when_it_is_mended() {
    let Some(mut trial) = Trial::new(43, on_ext4) else { return };
    trial.start_well();
    trial.disks.fail_ext4(&trial.house.box_folder("box"));
    trial.refuses("read-only");
    // As a service manager does that checks it and mounts it again. What the box has open stays on the broken one.
    trial.disks.move_ext4(&trial.house.at().join("image"), &trial.house.box_folder("box"));
    trial.recovers();
    trial.settles();
}

/// Flash that is about to die: ext4 on a loop device whose file lies on another ext4. Without a journal, so that the file system
/// itself stays as it is and each write meets the error.
fn on_dying_flash(house: &House, disks: &Disks) -> bool {
    if !disks.can_loop() {
        return false;
    }
    let (outer, below) = (house.at().join("outer"), house.at().join("below"));
    disks.ext4(&outer, 48, &[]);
    disks.mount(&["-o", "loop,errors=remount-ro", outer.to_str().unwrap()], &below);
    let image = below.join("image");
    disks.ext4(&image, 16, &["-O", "^has_journal"]);
    disks.mount(&["-o", "loop,errors=continue", image.to_str().unwrap()], &house.box_folder("box"));
    true
}

#[test]
fn a_box_whose_flash_gives_errors_says_so_and_loses_nothing_that_it_accepts_before_or_after() {
    let Some(mut trial) = Trial::new(44, on_dying_flash) else { return };
    trial.start_well();
    trial.proxy.open(false);
    trial.until("reading without the cloud", |status| status.outbox.pending > PRINTERS as u64);
    // The file below refuses every write from now on, which for the file system above is an I/O error.
    trial.disks.fail_ext4(&trial.house.at().join("below"));
    trial.until("meeting the error", |status| status.outbox.trouble.is_some());
    trial.proxy.open(true);
    trial.refuses("Input/output error");
    // What can still be read of it is copied to another card.
    trial.disks.move_ext4(&trial.house.at().join("below/image"), &trial.house.box_folder("box"));
    trial.recovers();
    // What is accepted now is on the disk and not only in the memory: that is thrown away.
    trial.proxy.open(false);
    trial.until("reading without the cloud", |status| status.outbox.pending > 2 * PRINTERS as u64);
    trial.kill();
    trial.disks.remount_ext4(&trial.house.box_folder("box"));
    trial.proxy.open(true);
    trial.start();
    trial.recovers();
    trial.settles();
}

/// The runtime folder, where the status and a socket are, is nobody's disk, and full all the same.
#[test]
fn a_box_whose_runtime_folder_is_full_says_so_to_the_cloud_and_goes_on() {
    let mount = |house: &House, disks: &Disks| {
        disks.mount(&["-t", "tmpfs", "-o", "size=4m,nr_inodes=32", "none"], &house.runtime_folder("box"));
        true
    };
    let Some(mut trial) = Trial::new(45, mount) else { return };
    let runtime = trial.house.runtime_folder("box");
    trial.start_well();
    trial.disks.fill(&runtime.join("filler"));
    trial.goes_on_unseen();
    trial.disks.empty(&runtime.join("filler"));
    trial.recovers();
    // And when it starts not even a name is left, for the status or for the socket.
    trial.kill();
    for name in ["status.json", "mqtt.sock"] {
        trial.disks.empty(&runtime.join(name));
    }
    let names: Vec<_> = (0..40).map(|n| runtime.join(format!("filler-{n}"))).collect();
    let taken: Vec<_> = names.iter().filter(|name| std::fs::File::create(trial.disks.seen(name)).is_ok()).collect();
    assert!(taken.len() < names.len(), "there is still room");
    trial.start();
    trial.goes_on_unseen();
    taken.into_iter().for_each(|name| trial.disks.empty(name));
    trial.recovers();
    trial.until("being woken again", |status| status.cloud.wake_link_up);
    trial.settles();
}
